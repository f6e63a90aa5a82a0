"""The Ray cluster that the settings name: connecting to it, and what must be so before it gets any work.

The project's folder is shared by all nodes under one path, and each has this very package. Ray loads only here and in
what works with it, and only when asked for.
"""

import logging
import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from workbench import settings, storage
from workbench.errors import ClusterError

KNOCK_S = 5.0
"""How long a head node may take to accept a connection."""

ANSWER_S = 120.0
"""How long a node may take to start its first worker: seconds at leisure, half a minute on a busy machine."""

FRONT = "workbench.serving.replicas:front"
"""What the proxies of a server put around requests; they learn it from the environment when they start."""

HOW = ("give --ray-address auto or HOST:PORT on a machine that is one of its nodes (ray start --address HOST:PORT "
       "--num-cpus 0 makes it one that takes no work)")
"""Which addresses are understood; a client's `ray://` would have another machine drive, with settings of its own."""

SAME = ("torch", "numpy", "ctranslate2", "soundfile", "av")
"""Libraries that decide about bits, or whether weights and audio can be read at all. Ray compares itself and Python."""


@contextmanager
def prepared(engine: str = "", address: str = "") -> Iterator[None]:
    """Make a cluster ready for a command; what is wrong with it is said before any work starts.

    An engine or address that is not given is the settings'. The kernels that the command starts find both in their
    environment. A cluster of this machine alone, made because there is no address, ends with the command. From another
    the command parts again: Ray ends every process that is connected when the head is lost, and somebody must tell.
    """
    known = settings.Settings()
    os.environ.update(WORKBENCH_ENGINE=engine or known.engine, WORKBENCH_RAY_ADDRESS=address or known.ray_address)
    if settings.Settings().engine != "ray":
        yield
        return
    ray = connect()
    try:
        check()
        if settings.Settings().ray_address:
            ray.shutdown()
        else:
            os.environ["WORKBENCH_RAY_ADDRESS"] = ray.get_runtime_context().gcs_address
        yield
    finally:
        ray.shutdown()


def choose(address: str, *, is_needed_here: bool) -> None:
    """Name the cluster to a server and to what it starts, and see that it answers before anything else is done."""
    os.environ.update({"WORKBENCH_ENGINE": "ray", "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": FRONT})
    if address:
        os.environ["WORKBENCH_RAY_ADDRESS"] = address
    if address or is_needed_here:
        connect()


def connect() -> Any:
    """Connect this process with the settings' cluster, once. Returns: the module `ray`.

    Raises: ClusterError when Ray is absent, nothing answers at the address, or its versions are not ours.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ClusterError(f"the engine ray needs Ray ({error}); pip install -e '.[ray]'") from error
    if ray.is_initialized():
        return ray
    address = settings.Settings().ray_address
    if address.startswith("ray://"):
        raise ClusterError(f"{address} is an address for Ray's client, which commands are not; {HOW}")
    own: dict[str, Any] = {} if address else {"include_dashboard": False}
    try:
        _knock(address)
        ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR, namespace="workbench",
                 runtime_env={"env_vars": _environment()}, **own)
    except (OSError, RuntimeError, ValueError) as error:
        raise ClusterError(_why_not(address, error)) from error
    for name in ("ray.data", "ray.train", "ray.serve"):
        logging.getLogger(name).setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    return ray


def _environment() -> dict[str, str]:
    """Give what workers must find in their environment; they work themselves, and show nothing."""
    ours = {name: value for name, value in os.environ.items() if name.startswith(("WORKBENCH_", "RAY_SERVE_"))}
    ours.pop("WORKBENCH_PROGRESS_FILE", None)
    return ours | {"WORKBENCH_ROOT": str(settings.root()), "WORKBENCH_ENGINE": "local"}


def _knock(address: str) -> None:
    """See whether anybody listens where the head node should: Ray itself would wait for minutes. Raises: OSError."""
    from ray._private import services  # the address that `auto` means is told nowhere else before connecting

    if address:
        place = services.get_ray_address_from_environment(address, None)
        host, _, port = place.rpartition(":")
        socket.create_connection((host, int(port)), timeout=KNOCK_S).close()


def _why_not(address: str, error: Exception) -> str:
    said = " ".join(str(error).split())
    if "Version mismatch" in said:
        return f"the cluster at {address} runs other versions than this machine; give both the same. {said[:300]}"
    return (f"no Ray cluster answers at {address or 'this machine'!r} ({said[:300]}); {HOW}, or start "
            "one: ray start --head")


def check() -> None:
    """Ask every node whether it could do our work. Raises: ClusterError that names the node and what it lacks."""
    ray = connect()
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ours, token = _facts(), storage.data_folder() / f".seen-{uuid.uuid4().hex}"
    with storage.replacing(token):
        pass
    look = ray.remote(_look)
    try:
        asked = [(node["NodeManagerHostname"], look.options(
            num_cpus=0, max_retries=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False),
        ).remote(str(token))) for node in nodes(ray)]
        for name, answer in asked:
            _compare(name, ours, _ask(ray, name, answer))
    finally:
        token.unlink()


def _ask(ray: Any, node: str, answer: Any) -> dict[str, str]:
    try:
        return dict(ray.get(answer, timeout=ANSWER_S))
    except ray.exceptions.RayError as error:
        last = str(error).strip().splitlines()[-1]
        raise ClusterError(f"node {node} cannot do our work ({last[:200]}); install the workbench there as it is here, "
                           "and give it the time to start a worker") from error


def _compare(node: str, ours: dict[str, str], its: dict[str, str]) -> None:
    for what, wanted in ours.items():
        if its[what] != wanted:
            raise ClusterError(f"node {node} has {what} {its[what]}, wanted {wanted} as here; make them the same")
    if not its["sees"]:
        raise ClusterError(f"node {node} does not see {settings.root()}; the project's folder must be shared by all "
                           "nodes under the same path (NFS or the like)")


def _look(token: str) -> dict[str, str]:
    return {**_facts(), "sees": "yes" if Path(token).is_file() else ""}


def _facts() -> dict[str, str]:
    """Tell what must be the same on all nodes for results to be the same."""
    sources = sorted(Path(__file__).parent.rglob("*.py"))
    return {"the workbench's code": storage.hash_value([storage.hash_file(path) for path in sources])[:12],
            **{name: version(name) for name in SAME}}


def nodes(ray: Any) -> list[dict[str, Any]]:
    """Give the nodes that live."""
    return [node for node in ray.nodes() if node["Alive"]]


def n_working(ray: Any) -> int:
    """Count the nodes that take work: a head node is often told to take none."""
    return max(1, sum(node["Resources"].get("CPU", 0) >= 1 for node in nodes(ray)))


def places(ray: Any) -> tuple[str, int]:
    """Say what a worker takes and how many of it there are: GPUs where there are any, else processors."""
    there = ray.cluster_resources()
    kind = "GPU" if there.get("GPU") else "CPU"
    return kind, max(1, int(there.get(kind, 1)))
