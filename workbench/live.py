"""What a person sees while a run goes on: one moving line on a terminal, plain lines everywhere else."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.text import Text

from workbench import progress
from workbench.records import Decision

SECONDS_BETWEEN_LINES = 30.0
WORDS = {"yes": "yes", "no": "no", "cannot_tell": "cannot tell", "tie": "tie", "waiting": "waiting", "done": "done"}
COLOURS = {"yes": "green", "no": "red", "cannot_tell": "yellow", "tie": "yellow", "waiting": "yellow", "done": "blue"}
SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


class Display:
    """Tells about one run; every stage goes through `stage` or `unchanged`."""

    def __init__(self, console: Console, progress_file: Path,
                 seconds_between_lines: float = SECONDS_BETWEEN_LINES) -> None:
        self.console, self.progress_file = console, progress_file
        self._seconds_between_lines = seconds_between_lines
        self._name, self._cell, self._n_cells, self._started_s = "", 0, 0, 0.0

    def cell(self, number: int) -> None:
        """Note which code cell runs now."""
        self._cell = number

    @contextmanager
    def stage(self, name: str, n_cells: int) -> Iterator[None]:
        """Show a stage while it runs."""
        self._name, self._cell, self._n_cells, self._started_s = name, 0, n_cells, time.monotonic()
        if self.console.is_terminal:
            with Live(get_renderable=self._moving_line, console=self.console, refresh_per_second=8, transient=True):
                yield
            return
        self.line(f"{name:<12} starts, {n_cells} cells")
        is_over = threading.Event()
        teller = threading.Thread(target=self._tell, args=(is_over,), daemon=True)
        teller.start()
        try:
            yield
        finally:
            is_over.set()
            teller.join()

    def ended(self, name: str, decision: Decision, wall_time_s: float) -> None:
        """Tell what a stage concluded and how long it took."""
        self._concluded(name, decision, duration(wall_time_s))

    def unchanged(self, name: str, decision: Decision) -> None:
        """Tell that a stage is as it was, and what it had concluded."""
        self._concluded(name, decision, "unchanged")

    def failed(self, name: str, message: str) -> None:
        """Tell that a stage failed, and why."""
        self.line(f"[red]{name:<12} failed[/]: {escape(message)}")

    def line(self, text: str) -> None:
        """Print one line, whole."""
        self.console.print(text, soft_wrap=True, highlight=False)

    def _concluded(self, name: str, decision: Decision, when: str) -> None:
        word = f"[{COLOURS[decision.outcome]}]{WORDS[decision.outcome]}[/]"
        self.line(f"{name:<12} {when:>9}  {word}: {escape(decision.sentence)}")

    def _status(self) -> str:
        elapsed = duration(time.monotonic() - self._started_s)
        where = f"{self._name:<12} {elapsed:>9}  cell {self._cell}/{self._n_cells}"
        return f"{where}  {progress.read(self.progress_file)}".rstrip()

    def _moving_line(self) -> Text:
        wheel = SPINNER[int(time.monotonic() * 8) % len(SPINNER)]
        return Text(f"{wheel} {self._status()}", no_wrap=True, overflow="ellipsis")

    def _tell(self, is_over: threading.Event) -> None:
        while not is_over.wait(self._seconds_between_lines):
            self.line(escape(self._status()))


def duration(seconds: float) -> str:
    """Word a time as people do: `4.2 s`, `3:07`, `1:02:03`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
