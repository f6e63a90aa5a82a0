"""How far a long cell has come: a bar by hand, a small file that the batch run reads under the pipeline."""

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from workbench import settings

SECONDS_BETWEEN_WRITES = 0.5
T = TypeVar("T")
Progress = Callable[[Iterable[Any], str, int | None], Iterable[Any]]
"""What shows how far a loop has come: `track`, or `pass_through`."""


class Bar:
    """A bar to advance in a loop: `with Bar("training", total=n_steps) as bar: ... bar.update(step)`."""

    def __init__(self, description: str, total: int | None = None) -> None:
        self.description, self.total, self.done = description, total, 0
        file = settings.Settings().progress_file
        self._file = file if file and (file.is_file() or not file.exists()) else None  # never in place of a device
        self._written_s = float("-inf")
        self._drawn = None if self._file else _draw(description, total)
        self._write()

    def update(self, done: int, description: str = "") -> None:
        """Say how many are done in all; a description replaces the words of the bar, for a loss or an accuracy."""
        step, self.done = done - self.done, done
        self.description = description or self.description
        if self._drawn is not None:
            self._drawn.set_description_str(self.description, refresh=False)
            self._drawn.update(step)
        elif time.monotonic() - self._written_s >= SECONDS_BETWEEN_WRITES:
            self._write()

    def advance(self, n: int = 1) -> None:
        """Count `n` more as done."""
        self.update(self.done + n)

    def close(self) -> None:
        """Take the bar away."""
        if self._drawn is not None:
            self._drawn.close()
        elif self._file is not None:
            self._file.unlink(missing_ok=True)

    def _write(self) -> None:
        if self._file is None:
            return
        self._written_s = time.monotonic()
        temporary = self._file.with_name(f".{self._file.name}.{threading.get_ident()}")
        try:
            temporary.write_text(json.dumps({"description": self.description, "done": self.done, "total": self.total}))
            temporary.replace(self._file)
        except OSError:
            self._file = None  # a bar that cannot be shown is no reason to lose the work

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self.close()


def track(iterable: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Go through `iterable` and show how far; `total` is its length when it has one."""
    if total is None:
        total = len(iterable) if isinstance(iterable, Sized) else None
    with Bar(description, total) as bar:
        for item in iterable:
            yield item
            bar.advance()


def pass_through(items: Iterable[Any], description: str, total: int | None = None) -> Iterable[Any]:
    """Show no progress."""
    return items


def read(file: Path) -> str:
    """Word the current bar of a progress file: `training 812/1800 (45 %)`, "" when there is none."""
    try:
        bar = json.loads(file.read_text())
    except (OSError, json.JSONDecodeError):
        return ""
    if not bar["total"]:
        return f"{bar['description']} {bar['done']:,}" if bar["done"] else str(bar["description"])
    return f"{bar['description']} {bar['done']:,}/{bar['total']:,} ({bar['done'] / bar['total']:.0%})"


def _draw(description: str, total: int | None) -> Any:
    from tqdm.auto import tqdm

    return tqdm(desc=description, total=total, leave=False)
