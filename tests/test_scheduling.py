"""Runs that start by themselves: the last line of JSON, and that docs/scheduling.md is true."""

import ast
import configparser
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SECOND, Project, make_project
from workbench import locks

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "scheduling.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.M | re.S)
SERVICE, TIMER = (body for kind, body in BLOCKS if kind == "ini")
CYCLE, STAGE = (body for kind, body in BLOCKS if kind == "python")
CRON = next(body for kind, body in BLOCKS if kind == "cron")
COMMAND = ["workbench", "run", "--run", "nightly", "--json"]
OF_EVERY_OPERATOR = {"task_id", "retries", "retry_delay", "do_xcom_push"}
"""Those of BaseOperator that the page uses. Source: apache/airflow, task-sdk/src/airflow/sdk/bases/operator.py."""
OPERATORS = {
    "BashOperator": {"bash_command", "env", "append_env", "output_encoding", "skip_on_exit_code", "cwd",
                     "output_processor"},
    "PapermillOperator": {"input_nb", "output_nb", "parameters", "kernel_name", "language_name", "kernel_conn_id",
                          "log_output", "nbconvert", "nbconvert_args"}}
"""What each takes besides. Source: apache/airflow, `__init__` of the class in providers/standard/.../operators/bash.py
(commit 1782d20) and providers/papermill/.../operators/papermill.py (commit 0ab078f)."""


def last_line(ended: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    return dict(json.loads(ended.stdout.splitlines()[-1]))


def test_the_documented_command_ends_with_one_line_of_what_the_page_shows(project: Project) -> None:
    ended = project.workbench(*COMMAND[1:])
    told = last_line(ended)
    shown = json.loads(next(body for kind, body in BLOCKS if kind == "json"))
    assert set(told) == set(shown) and set(told["stages"][0]) == set(shown["stages"][0])
    assert (ended.returncode, told["run"], told["exit_code"], told["error"]) == (0, "nightly", 0, "")
    assert [(s["stage"], s["outcome"]) for s in told["stages"]] == [("first", "done"), ("second", "yes")]
    assert Path(told["report"]).is_file() and told["published"] == "" and told["is_waiting"] is False


def test_every_exit_code_of_the_page_comes_with_its_line(project: Project, tmp_path: Path) -> None:
    project.notebook("02_second", [*SECOND[:2], "raise RuntimeError('broken')"])
    failed = project.workbench("run", "--json")
    assert failed.returncode == last_line(failed)["exit_code"] == 1
    assert [s["outcome"] for s in last_line(failed)["stages"]] == ["done", "failed"]
    mistaken = project.workbench("run", "--json", "-p", "first.n_item=1")
    assert mistaken.returncode == last_line(mistaken)["exit_code"] == 2
    assert "did you mean n_items" in last_line(mistaken)["error"] and last_line(mistaken)["error"] in mistaken.stderr
    with locks.held("default"):
        held = project.workbench("run", "--json")
    assert held.returncode == last_line(held)["exit_code"] == 3
    (tmp_path / "empty").mkdir()
    nowhere = project.workbench("run", "--json", WORKBENCH_ROOT=str(tmp_path / "empty"))
    assert nowhere.returncode == 2 and last_line(nowhere)["stages"] == []
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, re.M)} == {0, 1, 2, 3, 130}


def test_a_stage_that_waits_is_said_to(project: Project) -> None:
    wait = "stage.wait(Decision('waiting', 'Two recordings are to be made.'))"
    project.notebook("02_second", [*SECOND[:3], wait])
    ended = project.workbench("run", "--json")
    assert ended.returncode == 0 and last_line(ended)["is_waiting"] is True
    assert last_line(ended)["stages"][1]["sentence"] == "Two recordings are to be made."


@pytest.mark.slow
def test_cron_s_line_does_what_it_says(project: Project) -> None:
    line = CRON.splitlines()[-1]
    assert re.match(r"(\S+ ){5}", line) and all("=" in setting for setting in CRON.splitlines()[:-1])
    command = line.split(" ", 5)[5].replace("/srv/voice", str(project.root))
    (project.root / "reports").mkdir()
    programs = project.root / "bin"
    programs.mkdir()
    (programs / "workbench").write_text(f"#!/bin/sh\nexec {sys.executable} -m workbench.cli \"$@\"\n")
    (programs / "workbench").chmod(0o755)
    found = {**project.environment(), "PATH": f"{programs}:/usr/bin:/bin"}
    subprocess.run(["sh", "-c", command], env=found, check=True)
    lines = (project.root / "reports" / "nightly.jsonl").read_text().splitlines()
    assert len(lines) == 1 and json.loads(lines[0])["exit_code"] == 0


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("no systemd-analyze here")
    program = tmp_path / "workbench"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    units = {"workbench-run.service": SERVICE.replace("/srv/voice/.venv/bin/workbench", str(program))
             .replace("User=voice\n", "").replace("/srv/voice", str(tmp_path)), "workbench-run.timer": TIMER}
    for name, unit in units.items():
        (tmp_path / name).write_text(unit)
    checked = subprocess.run([analyze, "verify", *(str(tmp_path / name) for name in units)], check=False,
                             capture_output=True, text=True)
    said = [line for line in (checked.stdout + checked.stderr).splitlines() if "workbench-run" in line]
    assert checked.returncode == 0 and not said, said
    calendar = re.findall("OnCalendar=(.*)", TIMER)[0]
    subprocess.run([analyze, "calendar", calendar], check=True, capture_output=True)


def test_the_unit_runs_the_documented_command_and_lets_the_live_server_live() -> None:
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(SERVICE)
    assert unit["Service"]["ExecStart"].split()[1:] == COMMAND[1:]
    assert unit["Service"]["SuccessExitStatus"] == "3" and unit["Service"]["KillMode"] == "process"


def test_airflow_s_text_is_python_and_its_command_the_documented_one() -> None:
    values = {node.targets[0].id: node.value.value for node in ast.walk(ast.parse(CYCLE))  # type: ignore[attr-defined]
              if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)}
    assert values == {"COMMAND": " ".join(COMMAND)}
    assert _keywords(CYCLE, "BashOperator")["skip_on_exit_code"] == 3


@pytest.mark.parametrize(("text", "operator"), [(CYCLE, "BashOperator"), (STAGE, "PapermillOperator")])
def test_airflow_s_operators_take_what_they_are_given(text: str, operator: str) -> None:
    given = {str(keyword.arg) for keyword in _call(text, operator).keywords}
    assert not given - OPERATORS[operator] - OF_EVERY_OPERATOR


@pytest.mark.slow
def test_a_notebook_runs_under_papermill_as_airflow_s_operator_calls_it(tmp_path: Path) -> None:
    import papermill

    asked = _keywords(STAGE, "PapermillOperator")
    project = make_project(tmp_path / "voice")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKBENCH_ROOT", str(project.root))
        papermill.execute_notebook(
            asked["input_nb"].replace("/srv/voice", str(project.root)), str(tmp_path / "scope.ipynb"),
            parameters=asked["parameters"], kernel_name=asked["kernel_name"], language=asked["language_name"],
            progress_bar=False)
    assert project.record("01_scope", "airflow")["parameters"]["targets"] == ["wer at most 0.10"]


def _call(text: str, operator: str) -> ast.Call:
    return next(node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)
                and getattr(node.func, "id", "") == operator)


def _keywords(text: str, operator: str) -> dict[str, Any]:
    """Read the constants that an operator is called with."""
    found = {}
    for keyword in _call(text, operator).keywords:
        try:
            found[str(keyword.arg)] = ast.literal_eval(keyword.value)
        except ValueError:
            continue
    return found
