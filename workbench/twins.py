"""After a run: a still of each dashboard page among its reports, for mail and archive.

What a still holds is its page's to say; one whose data is not there yet is left out. What writes them loads only then.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from workbench import pages, storage
from workbench.errors import StageError, WorkbenchError

Body = Callable[[str], str]
STAGES = {"error_analysis": "train", "monitoring": "monitor"}
"""Whose record each page waits for."""

MODULES = ("workbench.explorer", "workbench.monitoring_page")
CODE = "from pathlib import Path\nfrom workbench import twins\ntwins.write({run!r}, Path({folder!r}), print)"
"""What a kernel runs, in which those modules' libraries are loaded already; the runner would load them for seconds."""


def due(run: str) -> bool:
    """Tell whether there is a page to write; a project without a page's stage has none."""
    for page in STAGES:
        with suppress(StageError):
            _wait_for(page, run)
            return True
    return False


def clear(folder: Path) -> None:
    """Take all stills away."""
    for name, _, _ in pages.TWINS:
        (folder / f"{name}.html").unlink(missing_ok=True)


def _error_analysis(run: str) -> str:
    _wait_for("error_analysis", run)
    from workbench import explorer

    return explorer.twin(run)


def _monitoring(run: str) -> str:
    _wait_for("monitoring", run)
    from workbench import monitoring_page

    return monitoring_page.twin(run)


def _wait_for(page: str, run: str) -> None:
    """Look for a stage's record before the seconds that it takes to load what writes the page."""
    if storage.read_record(run, STAGES[page]) is None:
        raise StageError(f"{STAGES[page]} of run {run} has not happened")


BODIES: Mapping[str, Body] = {"error_analysis": _error_analysis, "monitoring": _monitoring}
"""What writes each page's body for a run."""


def write(run: str, folder: Path, say: Callable[[str], None], bodies: Mapping[str, Body] = BODIES) -> list[Path]:
    """Write the stills that can be written, and take away the others; `say` is told what was in the way.

    Returns: the files.
    """
    made = [_write(run, folder / f"{name}.html", title, bodies[name], say)
            for name, title, _ in pages.TWINS if name in bodies]
    return [path for path in made if path]


def _write(run: str, path: Path, title: str, body_of: Body, say: Callable[[str], None]) -> Path | None:
    path.unlink(missing_ok=True)
    try:
        body = body_of(run)
    except StageError:
        return None  # its stages have not come yet
    except WorkbenchError as error:
        say(f"no still of {title.lower()}: {error}")
        return None
    return pages.write_twin(path, title=title, run=run, body=body)
