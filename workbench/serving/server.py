"""One server process: in the foreground, or detached so that it outlives whoever starts it; found by `service.json`."""

import contextlib
import json
import logging
import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx

from workbench import keys, model_registry, name_list, settings, storage
from workbench.errors import KeysError, ServiceError
from workbench.name_list import Entry

DRAIN_S = 30
"""How long a stopping server goes on with what it has accepted."""

ANSWER_S = 5
"""A server that takes longer to say that it lives is as good as away."""

MEMORY = "process_resident_memory_bytes "
"""The line of /metrics that tells of it. Source: prometheus_client.ProcessCollector."""

KEEP_ALIVE_S = 30
"""How long an idle connection stays open: a phone's next query comes within it."""


@dataclass(frozen=True, slots=True)
class Running:
    """Where a server answers, its process, and its own key for notebooks and commands here ("" when none is needed)."""

    url: str
    pid: int
    key: str = ""

    @property
    def headers(self) -> dict[str, str]:
        """Give what a client must send to be let in."""
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}


def state_file() -> Path:
    """Give the file that says where the server is."""
    return storage.data_folder() / "service.json"


def find() -> Running | None:
    """Find the project's server, or None when none runs."""
    try:
        running = Running(**json.loads(state_file().read_text(encoding="utf-8")))
    except (FileNotFoundError, json.JSONDecodeError, TypeError):
        return None
    return running if _is_alive(running) else None


def reached(url: str = "", key: str = "") -> tuple[str, str]:
    """Make sure that a server answers, whatever it says. Returns: its URL and key, the project's own without a URL.

    Raises: ServiceError when none does.
    """
    if not url:
        running = find()
        if running is None:
            raise ServiceError("no server of this project runs; start one with `workbench serve --detach`, or give "
                               "--url")
        return running.url, running.key
    try:
        httpx.get(f"{url}/health/live", timeout=ANSWER_S)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ServiceError(f"no server answers at {url} ({error}); write http://host:port of one that runs") from error
    return url, key


def _is_alive(running: Running) -> bool:
    """Ask the address itself: a number in a file may by now belong to another process."""
    try:
        answer = httpx.get(f"{running.url}/health/live", timeout=ANSWER_S)
        return bool(answer.json().get("pid") == running.pid)
    except (httpx.HTTPError, ValueError, AttributeError):
        return False


def run(app: Any, *, host: str, port: int, needs_key: bool = True) -> None:
    """Serve in this process until it is told to stop; then answer what was accepted, and end the process.

    Raises: ServiceError when the address cannot be used.
    """
    import uvicorn

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    with (listening(host, port) as listener, own_key(needs_key) as key,
          announced(host, listener.getsockname()[1], key)):
        config = uvicorn.Config(app, loop="asyncio", http="h11", ws="none", lifespan="on", access_log=False,
                                log_config=None, server_header=False, timeout_keep_alive=KEEP_ALIVE_S,
                                timeout_graceful_shutdown=DRAIN_S)
        # uvicorn raises the signal again when it has stopped; by then there is nothing left to interrupt.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: None)
        uvicorn.Server(config).run(sockets=[listener])
    os._exit(0)  # Python would wait for threads, and one may wait for ever, for a database that hangs


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """Hold an address. Raises: ServiceError when it cannot be used."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named, or asyncio leaves Nagle's algorithm on, and each answer waits 40 ms for the phone's ACK.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise ServiceError(f"{host}:{port} cannot be used ({error.strerror}); give another with --port, or stop "
                               "the server that has it with `workbench stop`") from error
        yield listener


@contextlib.contextmanager
def own_key(needs_key: bool) -> Iterator[str]:
    """Make a key that lives as long as this process; those of killed servers go now."""
    for pid in [keys.server_of(key.name) for key in keys.listing()]:
        if pid is not None and (pid == os.getpid() or not _is_process(pid)):
            _revoke(f"{keys.SERVER}{pid}")
    if not needs_key:
        yield ""
        return
    try:
        yield keys.create_for_server(os.getpid())
    finally:
        _revoke(f"{keys.SERVER}{os.getpid()}")


def _revoke(name: str) -> None:
    with contextlib.suppress(KeysError):  # another server cleans up, too
        keys.revoke(name)


@contextlib.contextmanager
def announced(host: str, port: int, key: str) -> Iterator[None]:
    """Leave the address in `service.json`, unless another server of this project has its own there."""
    name = f"[{host}]" if ":" in host else host
    running = Running(f"http://{'127.0.0.1' if host in ('0.0.0.0', '::') else name}:{port}", os.getpid(), key)
    print(f"serving at {running.url}", flush=True)
    if find() is not None:
        yield
        return
    _write(running)
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
            if json.loads(state_file().read_text(encoding="utf-8")).get("pid") == os.getpid():
                state_file().unlink()


def _write(running: Running) -> None:
    with storage.replacing(state_file(), mode=0o600) as temporary:
        temporary.write_text(json.dumps(asdict(running)), encoding="utf-8")


def start(*words: str, port: int = 0, needs_key: bool = True, within_s: float = 120.0) -> Running:
    """Start `workbench serve` with these words, detached; if the project's server runs already, give that one.

    Raises: ServiceError, with the end of the server's own log, when it does not answer in time.
    """
    running = find()
    if running is not None:
        return running
    process = spawn(["serve", "--started", "--port", str(port), *([] if needs_key else ["--no-auth"]), *words])
    deadline_s = time.monotonic() + within_s
    while time.monotonic() < deadline_s and process.poll() is None:
        running = find()
        if running is not None and running.pid == process.pid:
            return running
        time.sleep(0.1)
    raise ServiceError(f"the server did not start; the end of {log_file()} says: {_tail(log_file())}")


def log_file() -> Path:
    """Give the file that a detached server writes its own log to."""
    return storage.data_folder() / "service.log"


def spawn(words: Sequence[str]) -> "subprocess.Popen[bytes]":
    """Start a `workbench` command that outlives whoever starts it; what it says goes to the server's log."""
    log_file().parent.mkdir(exist_ok=True)
    with log_file().open("ab") as log:
        return subprocess.Popen([sys.executable, "-m", "workbench.cli", *words],
                                env={**os.environ, "WORKBENCH_ROOT": str(settings.root())}, start_new_session=True,
                                stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def _tail(path: Path, n_lines: int = 5) -> str:
    return " | ".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-n_lines:])


def readiness(running: Running) -> dict[str, Any]:
    """Ask a server whether it is ready. Raises: ServiceError when it does not answer."""
    try:
        return dict(httpx.get(f"{running.url}/health/ready", timeout=10).json())
    except (httpx.HTTPError, ValueError) as error:
        raise ServiceError(f"{running.url} does not answer ({type(error).__name__}); see {log_file()}, or start it "
                           "with `workbench serve`") from error


def has_simulated_clock(url: str = "") -> bool:
    """Tell whether a server, the project's own without a URL, takes a query's time from its sender.

    Raises: ServiceError when none answers.
    """
    return readiness(Running(reached(url)[0], 0)).get("clock") == "simulated"


def require_own_clock(running: Running) -> None:
    """Make sure that people's queries are logged at the time when they come. Raises: ServiceError when they are not."""
    if has_simulated_clock(running.url):
        raise ServiceError(f"the server at {running.url} has a simulated clock, which stands still while people ask; "
                           "end it with `workbench stop`, and run the same command again")


def memory_mb(running: Running) -> float:
    """Ask a server how much memory it holds. Returns: MB (10^6 bytes) resident, nan where the system does not tell."""
    lines = httpx.get(f"{running.url}/metrics", timeout=10).text.splitlines()
    return next((float(line.split()[1]) / 1e6 for line in lines if line.startswith(MEMORY)), math.nan)


def wait_ready(running: Running, *, version: str = "", within_s: float = 120.0) -> str:
    """Wait until a server answers queries, with a certain champion if one is named, or one that came after it.

    Returns: the version of the model that answers.
    Raises: ServiceError with what the server says is wrong, when it is not ready in time.
    """
    deadline_s = time.monotonic() + within_s
    while True:
        said = readiness(running)
        if said["status"] == "ready" and (version in ("", said["model_version"]) or not model_registry.reigns(version)):
            return str(said["model_version"])
        if time.monotonic() > deadline_s:
            reasons = "; ".join(said["problems"]) or said["warning"] or f"it still answers with {said['model_version']}"
            raise ServiceError(f"{running.url} is not ready after {within_s:g} s: {reasons}")
        time.sleep(0.1)


def wait_names(running: Running, entries: Sequence[Entry], within_s: float = 20.0) -> str:
    """Wait until a server holds its answers against the biasing list as it is now.

    Returns: the version of the model that answers.
    Raises: ServiceError when it does not in time, as when its model has no character head.
    """
    deadline_s = time.monotonic() + within_s
    while True:
        said = readiness(running)
        if said["names"] == name_list.digest([e for e in entries if e.is_for(said["model_version"])]):
            return str(said["model_version"])
        if time.monotonic() > deadline_s:
            raise ServiceError(f"{running.url} does not hold its answers against the list after {within_s:g} s; it "
                               f"answers with {said['model_version']}, which can use names only if it was trained here "
                               f"(a character head); else see {log_file()}")
        time.sleep(0.1)


def stop(within_s: float = DRAIN_S + 15.0) -> Running:
    """Tell the project's server to finish and wait until it has. Returns: which one it was.

    Raises: ServiceError when none runs, or it does not end in time.
    """
    running = find()
    if running is None:
        raise ServiceError("no server of this project runs; `workbench serve` starts one")
    os.kill(running.pid, signal.SIGTERM)
    deadline_s = time.monotonic() + within_s
    while _is_process(running.pid):
        if time.monotonic() > deadline_s:
            raise ServiceError(f"the server (process {running.pid}) has not ended after {within_s:g} s; see "
                               f"{log_file()}")
        time.sleep(0.05)
    return running


def _is_process(pid: int) -> bool:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # our own child stays as a zombie until somebody asks for its end
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError, OverflowError):
        return False  # no process, or by now another user's, or no number of one: no server that kept its files here
    return True
