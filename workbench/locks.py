"""One run, one runner: an advisory lock that dies with its holder, so that a stale one needs no care."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workbench import storage
from workbench.errors import RunHeldError

# A kernel whose runner was killed notices within a second (ipykernel's parent poller) and holds the lock until then.
SECONDS_FOR_ORPHAN = 20.0


@contextmanager
def held(run: str) -> Iterator[int]:
    """Hold a run; gives the lock's file descriptor, which a kernel inherits so that no two ever write to one run.

    Raises: RunHeldError when another runner holds it; SettingsError when the folder cannot be written to.
    """
    path = storage.run_folder(run) / ".lock"
    with storage.explaining(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        _take(descriptor, run)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def _take(descriptor: int, run: str) -> None:
    patience_ends_s = time.monotonic() + SECONDS_FOR_ORPHAN
    while True:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        holder = os.pread(descriptor, 32, 0).decode().strip()
        if _is_alive(holder) or time.monotonic() > patience_ends_s:
            raise RunHeldError(f"run {run} is held by process {holder or 'unknown'}; wait for it, "
                               "stop it, or use another --run NAME")
        time.sleep(0.2)


def _is_alive(pid: str) -> bool:
    if not pid.isdigit():
        return False
    try:
        # A killed process that its parent has not yet collected is a zombie: dead, though its number still answers.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return not Path("/proc/self").exists() and _answers(int(pid))


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
