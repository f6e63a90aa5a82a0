"""Processes that tests start and end: who lives, who started whom, and waiting for what they do."""

import time
from collections.abc import Callable
from pathlib import Path


def is_running(pid: int) -> bool:
    """Tell whether a process lives; one that ended and that nobody has asked about does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children(pid: int) -> set[int]:
    """Name the processes that a process started or forked."""
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def descendants(pid: int) -> set[int]:
    """Name the processes below one, and those below them."""
    found = children(pid)
    return found.union(*map(descendants, found))


def wait_until(happened: Callable[[], object], within_s: float = 60, otherwise: str = "it did not happen") -> None:
    """Ask until something has happened. Raises: AssertionError when it takes longer."""
    ends_s = time.monotonic() + within_s
    while not happened():
        assert time.monotonic() < ends_s, otherwise
        time.sleep(0.02)


def wait_until_gone(*pids: int, within_s: float = 60) -> None:
    """Wait until processes have ended."""
    wait_until(lambda: not any(map(is_running, pids)), within_s, f"of the processes {pids} one lives on")
