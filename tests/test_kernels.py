"""Kernels that wait for their stage: what they have imported by then, and that a lost one is replaced."""

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from rich.console import Console

from tests.conftest import FIRST, SECOND, Project
from tests.processes import is_running, wait_until, wait_until_gone
from workbench import kernels, notebooks, nursery, pipeline

LOOK = "import sys\nprint(sorted({'pandas', 'torch', 'workbench'} & set(sys.modules)), 'pandas' in globals())"
KILL_WAITING = (
    "import os, pathlib, signal\nparent = os.getppid()\n"
    "children = pathlib.Path(f'/proc/{parent}/task/{parent}/children').read_text().split()\n"
    "waiting, = {int(pid) for pid in children} - {os.getpid()}\n"
    "os.kill(waiting, signal.SIGKILL)"
)


def go() -> tuple[int, str]:
    said = io.StringIO()
    return pipeline.run(pipeline.Order(), Console(file=said, width=300)), said.getvalue()


def printed(project: Project, name: str, cell: int) -> str:
    """Give what a cell of an executed notebook printed; papermill's cell of parameters is not counted."""
    cells = json.loads(project.report(f"{name}.ipynb").read_text())["cells"]
    code = [c for c in cells if c["cell_type"] == "code" and "injected-parameters" not in c["metadata"].get("tags", [])]
    return "".join(code[cell]["outputs"][0]["text"])


def test_a_stage_begins_where_its_libraries_are_imported_and_nothing_of_ours_and_no_name_is(project: Project) -> None:
    project.notebook("02_second", [*SECOND[:2], LOOK, *SECOND[2:]])
    code, _ = go()
    assert code == 0 and printed(project, "02_second", 1) == "['pandas'] False\n"


def test_a_kernel_that_died_while_it_waited_is_replaced(project: Project) -> None:
    project.notebook("01_first", [*FIRST[:3], KILL_WAITING, *FIRST[3:]])
    code, said = go()
    assert code == 0 and "yes: The sum is 3." in said


def stillborn(monkeypatch: pytest.MonkeyPatch, *numbers: int) -> None:
    """Have some of the kernels of this process, by the order of their start, killed as soon as they are born."""
    started = list[kernels.Kernel]()
    start = kernels.Nursery.start

    def start_or_kill(self: kernels.Nursery, imports: Sequence[str], *, log: Path) -> kernels.Kernel:
        kernel = start(self, imports, log=log)
        started.append(kernel)
        if len(started) in numbers:
            os.kill(kernel.wait_until_born(), signal.SIGKILL)
        return kernel

    monkeypatch.setattr(kernels.Nursery, "start", start_or_kill)


def test_a_kernel_that_dies_before_it_answers_is_replaced(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    stillborn(monkeypatch, 1)
    code, said = go()
    assert code == 0 and "01_first: a kernel was lost before the first cell" in said and "yes: The sum is 3." in said


def test_a_stage_whose_kernels_never_answer_fails_and_says_where_their_words_are(
        project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    stillborn(monkeypatch, 1, 3)  # the second is the one that waits for the next stage
    code, said = go()
    assert code == 1 and "2 kernels in turn were lost before the first cell: Kernel died" in said
    assert Path(said.partition("printed: ")[2].split()[0]).is_file()
    assert go()[0] == 0


def test_the_imports_ahead_are_those_of_libraries_in_all_that_a_notebook_stands_on(project: Project) -> None:
    project.notebook("03_third", ["%parameters\nrun: str = ''", "from workbench import registry, training"])
    by_name = {notebook.name: kernels.imports(notebook.modules) for notebook in notebooks.discover()}
    assert {"import torch", "import pandas as pd", "import mlflow"} <= set(by_name["third"])
    assert "import pandas as pd" in by_name["second"] and "import torch" not in by_name["second"]
    assert not [line for line in by_name["third"] if "workbench" in line or line == "import os"]


# --- whose asker was killed -----------------------------------------------------------------------------------------


@pytest.fixture
def alone() -> Iterator["subprocess.Popen[str]"]:
    """Start a nursery that no run asks."""
    process = subprocess.Popen([sys.executable, "-P", nursery.__file__], text=True, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE)
    with process:
        yield process
        process.kill()


def order(process: "subprocess.Popen[str]", folder: Path, number: int) -> None:
    words = {"imports": ["import ipykernel.kernelapp"], "arguments": ["-f", str(folder / f"{number}.json")],
             "log": str(folder / f"{number}.log"), "environment": dict(os.environ), "folder": str(folder)}
    assert process.stdin is not None
    print(json.dumps(words), file=process.stdin, flush=True)


def at_work_in(folder: Path) -> set[int]:
    """Name the processes whose working folder this is."""
    found = set()
    for link in Path("/proc").glob("[0-9]*/cwd"):
        with suppress(OSError):
            found |= {int(link.parent.name)} if link.readlink() == folder else set()
    return found


def test_a_nursery_that_nobody_hears_ends_and_takes_its_kernels_along(alone: "subprocess.Popen[str]", tmp_path: Path,
                                                                      ) -> None:
    order(alone, tmp_path, 1)
    assert alone.stdout is not None and is_running(first := int(alone.stdout.readline()))
    alone.stdout.close()  # as when the runner is killed while a kernel is being made
    order(alone, tmp_path, 2)
    assert alone.wait(timeout=60) == 0
    wait_until_gone(first, *at_work_in(tmp_path))


def test_a_kernel_whose_nursery_is_killed_ends_too(alone: "subprocess.Popen[str]", tmp_path: Path) -> None:
    order(alone, tmp_path, 1)
    assert alone.stdout is not None
    kernel = int(alone.stdout.readline())
    wait_until(lambda: (tmp_path / "1.json").is_file() or not is_running(kernel))  # it serves
    assert is_running(kernel)
    alone.kill()
    wait_until_gone(kernel)
