"""A real Ray cluster on this machine, each node some of its processes, so that one can die as a machine does."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pytest

PATIENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_raylet_start_wait_time_s": "120",
           "RAY_gcs_server_port_wait_time_s": "60", "RAY_agent_register_timeout_ms": "120000", "OMP_NUM_THREADS": "1"}
"""Nothing is told to anybody, and a busy machine may take its time to start a node."""

STORE_BYTES = 120_000_000
PORTS = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")


def free_ports() -> dict[str, int]:
    """Name the ports of a node's agents: a raylet waits no more than 15 s to hear of those that they would choose."""
    with ExitStack() as held:
        sockets = {name: held.enter_context(socket.socket()) for name in PORTS}
        for one in sockets.values():
            one.bind(("", 0))
        return {name: int(one.getsockname()[1]) for name, one in sockets.items()}


class Nodes:
    """A head node, at whose address one works, and a second node that may be killed and replaced."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self.cluster = Cluster(initialize_head=True, head_node_args={**self._size(), "no_monitor": True})
        self.second: Any = None
        self.address: str = self.cluster.address

    def _size(self) -> dict[str, Any]:
        return {"num_cpus": 1, "object_store_memory": STORE_BYTES, "include_dashboard": False,
                "include_log_monitor": False, **free_ports()}

    def be_two(self) -> None:
        """Start the second node, if it is not there."""
        if self.second is None:
            self.second = self.cluster.add_node(**self._size())
            self.cluster.wait_for_nodes()

    def kill_second(self) -> None:
        """Kill all that runs on the second node, its workers among it, without a word."""
        self.cluster.remove_node(self.second, allow_graceful=False)
        self.second = None


def started(n_tries: int = 3) -> Nodes:
    """Start a cluster; on a busy machine a raylet may give up on its agents, and the next one comes through."""
    for _ in range(n_tries - 1):
        with suppress(Exception):
            return Nodes()
    return Nodes()


@contextmanager
def running() -> Iterator[Nodes]:
    """Run a cluster, and leave no process of it behind."""
    import psutil
    import ray

    with pytest.MonkeyPatch.context() as patch:
        for name, value in PATIENT.items():
            patch.setenv(name, value)
        nodes = started()
        assert nodes.cluster.head_node is not None
        session = os.path.basename(nodes.cluster.head_node.get_session_dir_path())  # noqa: PTH119
        try:
            yield nodes
        finally:
            ray.shutdown()
            nodes.cluster.shutdown()
        words = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
        assert not [word for word in words if session in word], "a process of the cluster is left"
