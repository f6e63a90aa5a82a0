"""The command line: exit codes, one clear message, and no heavy library before it is needed."""

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from tests.conftest import Project
from tests.processes import wait_until
from workbench import clusters, errors, locks, service_cli, traffic
from workbench.serving import server

HEAVY = ("torch", "whisper", "papermill", "nbconvert", "plotly", "pandas", "mlflow", "scipy")
SPY = f"""
import sys
from workbench import cli
sys.argv = ["workbench", *sys.argv[1:]]
try:
    cli.main()
finally:
    print("loaded:", *sorted(set({HEAVY!r}) & set(sys.modules)))
"""


def nothing_was_written(project: Project) -> bool:
    return not (project.root / "reports").exists() and not (project.root / "data").exists()


@pytest.mark.parametrize(("words", "message"), [
    (["frist"], "unknown stage 'frist', did you mean first"), (["-p", "first.n_item=1"], "did you mean n_items"),
    (["-p", "first.n_items=many"], "must be int"), (["--size", "huge"], "toy, small, full"),
    (["--run", "a/b"], "cannot name a batch run"), (["--params", "absent.yaml"], "there is no such file")])
def test_a_mistake_ends_with_2_and_one_message_and_nothing_is_written(
        project: Project, words: list[str], message: str) -> None:
    ended = project.workbench("run", *words)
    assert ended.returncode == 2
    assert message in ended.stderr and ended.stderr.startswith("workbench: ") and ended.stderr.count("\n") == 1
    assert "Traceback" not in ended.stderr + ended.stdout
    assert nothing_was_written(project)


@pytest.mark.parametrize(("words", "message"), [
    (["serve", "--port", "99999"], "--port"), (["serve", "--replicas", "-1"], "--replicas"),
    (["dashboards", "--port", "99999"], "--port"), (["simulate", "--week", "0"], "--week"),
    (["simulate", "--manifest", "m.csv", "--concurrency", "0"], "--concurrency"),
    (["simulate", "--manifest", "m.csv", "--consent-share", "2"], "--consent-share"),
    (["promote", "2", "--by", ""], "--by"), (["rollback", "--by", " "], "--by")])
def test_an_amount_that_cannot_be_is_refused_at_the_door(project: Project, words: list[str], message: str) -> None:
    ended = project.workbench(*words)
    assert ended.returncode == 2 and f"Invalid value for '{message}'" in ended.stderr
    assert "Traceback" not in ended.stderr and nothing_was_written(project)


@pytest.mark.parametrize(("words", "message"), [
    (["forget", ""], "no user is named"), (["simulate", "--week", "1", "--name", "../../out"], "cannot name a folder"),
    (["evaluate", "m", "--manifest", ""], "--manifest is empty"),
    (["run", "--params", "torn.yaml"], "torn.yaml\", line 2, column 1"),
    (["evaluate", "m", "--manifest", "m.csv", "--json", "."], "--json . is no file"),
    (["evaluate", "m", "--manifest", "m.csv", "--json", "absent/n.json"], "--json absent/n.json is no file")])
def test_what_could_not_end_well_is_not_begun(project: Project, words: list[str], message: str) -> None:
    (project.root / "torn.yaml").write_text("first: [1,\n")
    ended = project.workbench(*words)
    assert ended.returncode == 2 and message in ended.stderr and ended.stderr.count("\n") == 1, ended.stderr


def test_a_second_server_is_not_mistaken_for_the_one_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "find", lambda: server.Running("http://127.0.0.1:8000", os.getpid(), "key"))
    with pytest.raises(errors.ServiceError, match="runs already at http://127.0.0.1:8000; end it first"):
        service_cli.serve(port=8001, no_auth=True, detach=True, is_started=True)


def test_a_simulation_that_nobody_answered_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {"status": [0, 0], "latency_ms": [1.0, 1.0], "error": ["ReadError", "ReadError"], "sent_s": [math.inf] * 2}
    monkeypatch.setattr(traffic, "simulate", lambda *_, **how: pd.DataFrame(rows))
    told = CliRunner().invoke(service_cli.app, ["simulate", "--week", "1"])
    assert told.exit_code == 1 and "0 of 2 queries were answered" in told.output and "2 failed" in told.output
    rows["sent_s"] = [0.0, 0.0]
    assert "nothing was sent" in CliRunner().invoke(service_cli.app, ["simulate", "--week", "1"]).output


@pytest.mark.parametrize(("asked", "n"), [
    ({"engine": "ray"}, "1"), ({"max_replicas": 3}, "1"), ({"replicas": 2, "max_replicas": 3}, "2"), ({}, "0")])
def test_a_detached_server_is_told_a_number_of_replicas(
        monkeypatch: pytest.MonkeyPatch, asked: dict[str, Any], n: str) -> None:
    told = list[str]()
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")  # `serve` sets it for its process
    monkeypatch.setattr(clusters, "choose", lambda *_, **__: None)
    monkeypatch.setattr(service_cli, "_detach", lambda *flags, **_: told.extend(flags))
    service_cli.serve(**asked, no_auth=True, detach=True, is_started=True)
    assert told[told.index("--replicas") + 1] == n


def test_a_setting_that_cannot_be_is_named_as_it_is_set(project: Project) -> None:
    ended = project.workbench("runs", WORKBENCH_ENGINE="warp", WORKBENCH_MAX_BATCH="many",
                              WORKBENCH_N_BEST="0", WORKBENCH_BATCH_WAIT_MS="-1")
    assert ended.returncode == 2 and ended.stderr.count("\n") == 1
    assert "WORKBENCH_ENGINE is 'warp': input should be 'local' or 'ray'" in ended.stderr
    assert "WORKBENCH_MAX_BATCH is 'many'" in ended.stderr and "WORKBENCH_N_BEST is '0'" in ended.stderr
    assert "WORKBENCH_BATCH_WAIT_MS is '-1': input should be greater than or equal to 0" in ended.stderr


def test_a_run_that_is_held_ends_with_3(project: Project) -> None:
    with locks.held("default"):
        ended = project.workbench("run")
    assert ended.returncode == 3 and "held by process" in ended.stderr


def test_a_folder_without_notebooks_is_a_mistake(project: Project, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    ended = subprocess.run(project.command("runs"), env=project.environment(WORKBENCH_ROOT=str(tmp_path / "empty")),
                           capture_output=True, text=True, check=False)
    assert ended.returncode == 2 and "has no notebooks/ folder" in ended.stderr


def test_an_unchanged_run_loads_nothing_heavy_and_runs_and_diff_tell_of_it(project: Project) -> None:
    assert project.workbench("run", "first", "-p", "first.rate=0.25").returncode == 0
    spied = subprocess.run([sys.executable, "-c", SPY, "run", "first", "-p", "first.rate=0.25"], check=False,
                           env=project.environment(), capture_output=True, text=True)
    assert "unchanged" in spied.stdout and spied.stdout.endswith("loaded:\n")

    record = project.record("01_first")
    record["parameters"]["n_items"], record["metrics"]["dev_wer"]["value"] = 5, 0.35
    other = project.root / "data/runs/other/01_first"
    other.mkdir(parents=True)
    (other / "record.json").write_text(json.dumps(record))
    listed = project.workbench("runs").stdout
    assert "default" in listed and "other" in listed and "1/2" in listed and "done: There are 3 items." in listed
    told = project.workbench("diff", "default", "other").stdout
    assert "n_items" in told and "data and versions: the same" in told and "+10.0 points" in told
    refused = project.workbench("diff", "default", "nothing")
    assert refused.returncode == 2 and "there are: default, other" in refused.stderr


def test_help_loads_nothing_heavy_and_gives_examples(project: Project) -> None:
    spied = subprocess.run([sys.executable, "-c", SPY, "run", "--help"], check=False, capture_output=True, text=True,
                           env=project.environment())
    said = " ".join(spied.stdout.split())
    assert "workbench run --run toy --to train" in said and "-p 'collect.sources=[digits/manifest.csv]'" in said
    assert spied.stdout.endswith("loaded:\n")


def test_without_a_terminal_a_long_cell_is_told_in_plain_lines(project: Project, tmp_path: Path) -> None:
    import io

    from rich.console import Console

    from workbench.live import Display

    said, file = io.StringIO(), tmp_path / "progress.json"
    file.write_text(json.dumps({"description": "training", "done": 812, "total": 1800}))
    display = Display(Console(file=said, width=80), file, seconds_between_lines=0.05)
    with display.stage("03_train", 9):
        display.cell(4)
        wait_until(lambda: said.getvalue().count("\n") > 1)
    lines = said.getvalue().splitlines()
    assert lines[0] == "03_train     starts, 9 cells"
    assert re.fullmatch(r"03_train +\d+\.\d s +cell 4/9 +training 812/1,800 \(45%\)", lines[1].strip()), lines[1]


def test_on_a_terminal_one_line_moves(project: Project, tmp_path: Path) -> None:
    import io

    from rich.console import Console

    from workbench.live import Display

    said = io.StringIO()
    display = Display(Console(file=said, width=80, force_terminal=True), tmp_path / "none.json")
    with display.stage("03_train", 9):
        display.cell(4)
        wait_until(lambda: "cell 4/9" in said.getvalue())
    assert "cell 4/9" in said.getvalue() and "starts" not in said.getvalue()
