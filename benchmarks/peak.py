"""The most memory that this process has held: what `getrusage` says includes what its parent held before the exec."""

import re
from pathlib import Path


def peak_mb(pid: int | str = "self") -> float:
    """Read the high-water mark of a program's own memory, by default this one's, on Linux. Returns: MB (10^6 bytes)."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(encoding="ascii"))
    assert found, "this system does not tell; run the benchmark on Linux"
    return int(found[1]) * 1024 / 1e6


def forget_peak() -> None:
    """Let the high-water mark begin anew, at what the program holds now."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
