"""Kernels that wait for their stage: what they have imported by then, and that a lost one is replaced."""

import io
import json

from rich.console import Console

from tests.conftest import FIRST, SECOND, Project
from workbench import kernels, notebooks, pipeline

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


def test_the_imports_ahead_are_those_of_libraries_in_all_that_a_notebook_stands_on(project: Project) -> None:
    project.notebook("03_third", ["%parameters\nrun: str = ''", "from workbench import registry, training"])
    by_name = {notebook.name: kernels.imports(notebook) for notebook in notebooks.discover()}
    assert {"import torch", "import pandas as pd", "import mlflow"} <= set(by_name["third"])
    assert "import pandas as pd" in by_name["second"] and "import torch" not in by_name["second"]
    assert not [line for line in by_name["third"] if "workbench" in line or line == "import os"]
