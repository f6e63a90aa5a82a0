"""A real Ray cluster on this machine, each node some of its processes, so that one can die as a machine does."""

import os
import random
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import psutil
import pytest

PATIENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_raylet_start_wait_time_s": "120",
           "RAY_gcs_server_port_wait_time_s": "60", "RAY_agent_register_timeout_ms": "120000", "OMP_NUM_THREADS": "1"}
"""Nothing is told to anybody, and a busy machine may take its time to start a node."""

STORE_BYTES = 120_000_000
PORTS = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")


def free_ports() -> dict[str, int]:
    """Name the ports of a node's agents: a raylet waits no more than 15 s to hear of those that they would choose.

    They lie below those that the system gives to whoever calls out, who might take one before its agent does.
    """
    with ExitStack() as held:
        return {name: _free_port(held) for name in PORTS}


def _free_port(held: ExitStack) -> int:
    while True:
        port = random.randrange(12_000, 32_000)
        with suppress(OSError):
            held.enter_context(socket.socket()).bind(("", port))
            return port


class Nodes:
    """A head node, at whose address one works, and others that may be killed and replaced: two that work in all.

    A head that does no work itself leaves both of them to be killed, wherever the work went.
    """

    def __init__(self, *, is_working_head: bool) -> None:
        from ray.cluster_utils import Cluster

        self.n_others = 2 - is_working_head
        self.cluster = Cluster(initialize_head=True, head_node_args={
            **self._size(), "num_cpus": int(is_working_head), "no_monitor": True})
        self.others: list[Any] = []
        self.address: str = self.cluster.address

    def _size(self) -> dict[str, Any]:
        return {"num_cpus": 1, "object_store_memory": STORE_BYTES, "include_dashboard": False,
                "include_log_monitor": False, **free_ports()}

    def be(self, n_others: int) -> None:
        """Start nodes until there are so many beside the head."""
        while len(self.others) < n_others:
            self.others.append(self.cluster.add_node(**self._size()))
        self.cluster.wait_for_nodes()

    def be_two(self) -> None:
        """Start what is missing of two nodes that work."""
        self.be(self.n_others)

    def working(self, title: str) -> list[Any]:
        """Find the nodes beside the head with a worker whose title begins so."""
        found = []
        for node in self.others:
            for process in self._processes(node):
                with suppress(psutil.Error):
                    if " ".join(process.cmdline()).startswith(title):
                        found.append(node)
        return found

    def kill(self, node: Any) -> None:
        """Kill all that runs on a node, its workers first, without a word."""
        for process in self._processes(node):
            with suppress(psutil.Error):
                process.kill()
        self.cluster.remove_node(node, allow_graceful=False)
        self.others.remove(node)

    def _processes(self, node: Any) -> list[psutil.Process]:
        with suppress(psutil.Error):
            return psutil.Process(node.all_processes["raylet"][0].process.pid).children(recursive=True)
        return []


def started(*, is_working_head: bool, n_tries: int = 3) -> Nodes:
    """Start a cluster; on a busy machine a raylet may give up on its agents, and the next one comes through."""
    for _ in range(n_tries - 1):
        with suppress(Exception):
            return Nodes(is_working_head=is_working_head)
    return Nodes(is_working_head=is_working_head)


@contextmanager
def running(*, is_working_head: bool = True) -> Iterator[Nodes]:
    """Run a cluster, and leave no process of it behind."""
    import ray

    with pytest.MonkeyPatch.context() as patch:
        for name, value in PATIENT.items():
            patch.setenv(name, value)
        nodes = started(is_working_head=is_working_head)
        assert nodes.cluster.head_node is not None
        session = os.path.basename(nodes.cluster.head_node.get_session_dir_path())  # noqa: PTH119
        try:
            yield nodes
        finally:
            ray.shutdown()
            nodes.cluster.shutdown()
        words = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
        assert not [word for word in words if session in word], "a process of the cluster is left"
