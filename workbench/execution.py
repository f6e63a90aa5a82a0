"""One notebook executed by papermill in a kernel that is there already, and why it did not end if it did not.

Only this module imports papermill, and only when a notebook is executed.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench import errors
from workbench.errors import SettingsError, StageError, WorkbenchError
from workbench.live import Display
from workbench.notebooks import StageNotebook

if TYPE_CHECKING:
    from workbench.kernels import Kernel

# No cell of ours takes two days; the limit is there so that a hung kernel ends at all.
MAX_SECONDS_A_CELL = 2 * 24 * 3600
SECONDS_BETWEEN_SAVES = 1.0
"""Papermill writes the whole notebook before and after each cell, which costs more than most cells do."""
MAX_SECONDS_TO_ANSWER = 60
"""From a kernel's birth to its first answer; what it imports before takes what it takes. Source: nbclient's own limit,
startup_timeout."""
ENGINE = "workbench"
_LAST_WORDS = ("No space left on device", "database or disk is full", "Disk quota exceeded")


class KernelLost(Exception):  # noqa: N818 - nobody's mistake
    """A kernel died or was silent before it ran anything, so that another may be tried."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a stage did not end: `cell` is the number Jupyter shows beside it, 0 when none is to blame.

    `mistake` is what the user can mend, None for any other failure.
    """

    message: str
    cell: int = 0
    mistake: WorkbenchError | None = None

    def sentence(self) -> str:
        """Say it in one line."""
        return f"in cell [{self.cell}], {self.message}" if self.cell else self.message


def execute(notebook: StageNotebook, target: Path, passed: Mapping[str, Any], kernel: "Kernel",
            display: Display) -> Failure | None:
    """Execute a stage's notebook with parameters into `target`, and tell the display of each cell.

    Returns: None when all cells ran; what they ran, and an error, is in `target` in any case.

    Raises: KernelLost when no cell was begun.
    """
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    def cell_starts(cell: Any, cell_index: int) -> None:
        n_before = sum(c.kind == "code" for c in notebook.cells[:cell_index])
        display.cell(min(n_before + 1, notebook.n_code_cells))

    kernel.wait_until_born()
    try:
        papermill.execute_notebook(
            notebook.path, target, parameters=dict(passed), kernel_name="python3", language="python",
            engine_name=_engine(), progress_bar=False, execution_timeout=MAX_SECONDS_A_CELL,
            start_timeout=MAX_SECONDS_TO_ANSWER, on_cell_start=cell_starts, km=kernel,
            on_notebook_start=kernel.tell_environment)
    except KeyboardInterrupt:
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # that the kernel which now ends has ended is no news
        raise
    except PapermillExecutionError as error:
        return _failure_of_cell(error.ename, error.evalue, error.exec_count or 0)
    except DeadKernelError:
        return Failure("the kernel died, out of memory or killed from outside; the same command runs this stage again")
    except CellTimeoutError:
        return Failure(f"a cell took longer than {MAX_SECONDS_A_CELL} s and was stopped")
    except RuntimeError as error:
        if kernel.has_answered:
            raise
        raise KernelLost(str(error)) from error
    return None


def run_code(code: str, kernel: "Kernel") -> list[str]:
    """Run code in a kernel. Returns: the lines that it printed. Raises: StageError when it did not end well."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError
    from nbformat import v4

    notebook = v4.new_notebook(cells=[v4.new_code_cell(code)])
    try:
        NotebookClient(notebook, km=kernel, timeout=MAX_SECONDS_A_CELL).execute()
    except CellExecutionError as error:
        raise StageError(_failure_of_cell(error.ename, error.evalue, 0).sentence()) from error
    except RuntimeError as error:  # it died, at work or before it was ready
        raise StageError("the kernel died") from error
    printed = (output.text for output in notebook.cells[0].outputs if output.get("name") == "stdout")
    return "".join(printed).splitlines()


@cache
def _engine() -> str:
    """Make papermill know an engine that saves at most once a second, and at the end. Returns: its name."""
    from papermill.engines import NBClientEngine, NotebookExecutionManager, papermill_engines

    class Notebook(NotebookExecutionManager):
        """The notebook as it is executed."""

        def save(self, **_: Any) -> None:
            if self.end_time or (self.now() - self.last_save_time).total_seconds() >= SECONDS_BETWEEN_SAVES:
                super().save()

    class Engine(NBClientEngine):
        """Papermill's own, but for who saves."""

        @classmethod
        def execute_notebook(cls, nb: Any, kernel_name: str, output_path: str | None = None,
                             progress_bar: bool = False, **options: Any) -> Any:
            running = Notebook(nb, output_path=output_path, progress_bar=progress_bar)
            running.notebook_start()
            try:
                cls.execute_managed_notebook(running, kernel_name, **options)
            finally:
                running.notebook_complete()
            return running.nb

    papermill_engines.register(ENGINE, Engine)
    return ENGINE


def _failure_of_cell(name: str, value: str, cell: int) -> Failure:
    leaf = getattr(errors, name, None)
    if isinstance(leaf, type) and issubclass(leaf, errors.WorkbenchError):
        return Failure(value, cell, leaf(value))
    if any(words in value for words in _LAST_WORDS):
        message = f"the disk is full ({value}); free some space and run the same command"
        return Failure(message, cell, SettingsError(message))
    first_line = value.strip().splitlines()[0] if value.strip() else ""
    return Failure(f"{name}: {first_line}", cell)
