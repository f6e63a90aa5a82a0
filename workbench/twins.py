"""After a run: a still of each dashboard page among its reports, for mail and archive.

What a still holds is its page's to say; one whose data is not there yet is left out. What writes them loads only then.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from workbench import pages, storage
from workbench.errors import StageError, WorkbenchError

Body = Callable[[str], str]


def _error_analysis(run: str) -> str:
    _wait_for("train", run)
    from workbench import explorer

    return explorer.twin(run)


def _monitoring(run: str) -> str:
    _wait_for("monitor", run)
    from workbench import monitoring_page

    return monitoring_page.twin(run)


def _wait_for(stage: str, run: str) -> None:
    """Look for a stage's record before the seconds that it takes to load what writes the page."""
    if storage.read_record(run, stage) is None:
        raise StageError(f"{stage} of run {run} has not happened")


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
