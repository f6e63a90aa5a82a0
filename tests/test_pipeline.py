"""What the batch run promises: skip, resume, kept evidence, one runner, and no kernel left behind."""

import io
import json
import os
import signal
import subprocess
from typing import Any

import pytest
from rich.console import Console

from tests.conftest import FIRST, SECOND, Project
from tests.processes import children, is_running, wait_until, wait_until_gone
from workbench import errors, fingerprints, locks, notebooks, pipeline, storage
from workbench.errors import StageError

SLOW_SECOND = (
    *SECOND[:3],
    "import os, pathlib, time\nhere = pathlib.Path(os.environ['WORKBENCH_ROOT'])\n"
    "(here / 'kernel.pid').write_text(str(os.getpid()))\n"
    "while not (here / 'go').exists():\n    time.sleep(0.05)",
    *SECOND[3:],
)


def go(**order: Any) -> tuple[int, str]:
    """Run in this process. Returns: the exit code and what was printed."""
    said = io.StringIO()
    code = pipeline.run(pipeline.Order(**order), Console(file=said, width=300))
    return code, said.getvalue()


def fingerprint_of(name: str, **passed: Any) -> str:
    notebook = {n.name: n for n in notebooks.discover()}[name]
    return fingerprints.fingerprint(notebook, passed, "default")


# --- done, unchanged, changed ----------------------------------------------------------------------------------------


def test_a_run_goes_on_with_what_it_was_given_until_that_is_forgotten(project: Project) -> None:
    go(assignments=["first.n_items=4"], size="small")
    _, said = go(assignments=["second.target=100"])
    assert "as given before: --size small -p first.n_items=4  (--defaults forgets it)" in said
    assert "01_first     unchanged" in said and "no: The sum is 6." in said
    _, said = go(size="small", run="other")
    assert "as given before" not in said  # each run by itself

    project.notebook("01_first", [source.replace("n_items", "n_things") for source in FIRST])
    _, said = go(size="small")
    assert "as given before: -p second.target=100  (" in said and "done: There are 3 items." in said
    project.notebook("01_first", FIRST)
    _, said = go(assignments=["first.n_items=5"], is_plain=True)
    assert "as given before" not in said and "yes: The sum is 10." in said
    _, said = go()
    assert said.count("unchanged") == 2 and "as given before: -p first.n_items=5  (" in said
    assert json.loads((project.root / "data" / "runs" / "default" / "given.json").read_text()) == {
        "size": "", "parameters": {"first": {"n_items": 5}}}


def test_a_recipe_that_a_stage_is_given_is_followed_by_the_later_ones(project: Project) -> None:
    (project.root / "notebooks/recipes/default.py").write_text("recipe = 1\n")
    (project.root / "notebooks/recipes/loud.py").write_text("recipe = 2\n")
    asks = "\nrecipe: str = 'default'"
    project.notebook("01_first", [FIRST[0], FIRST[1] + asks, *FIRST[2:]])
    project.notebook("02_second", [SECOND[0], SECOND[1] + asks, *SECOND[2:-1], SECOND[-1].replace(
        "parameters={", "parameters={'recipe': recipe, ")])
    go(assignments=["first.recipe=loud"])
    assert project.record("02_second")["parameters"]["recipe"] == "loud"
    _, said = go(assignments=["first.recipe=default"])  # the second was given none that would hold
    assert project.record("02_second")["parameters"]["recipe"] == "default" and "unchanged" not in said
    go(assignments=["first.recipe=loud", "second.recipe=default"])
    assert project.record("02_second")["parameters"]["recipe"] == "default"


def test_what_a_stage_was_given_by_mistake_is_not_kept(project: Project) -> None:
    go(assignments=["first.n_items=4"])
    raises = "from workbench.errors import StageError\nif target == 13:\n    raise StageError('Wanted less.')"
    project.notebook("02_second", [*SECOND[:2], raises, *SECOND[2:]])
    with pytest.raises(StageError, match="Wanted less"):
        go(assignments=["first.n_items=5", "second.target=13"])
    code, said = go()
    assert code == 0 and "as given before: -p first.n_items=5  (" in said and "01_first     unchanged" in said


def test_a_run_leaves_records_pages_and_an_index_and_redoes_only_what_changed(project: Project) -> None:
    code, said = go(assignments=["first.n_items=4"], size="small")
    assert code == 0 and "There are 4 items." in said and "yes: The sum is 6." in said
    assert project.record("01_first")["parameters"]["n_items"] == 4
    for name in ("01_first.html", "01_first.ipynb", "02_second.html", "index.html"):
        assert project.report(name).is_file()

    before = [project.record(stage) for stage in ("01_first", "02_second")]
    code, said = go(assignments=["first.n_items=4"], size="small")
    assert code == 0 and said.count("unchanged") == 2 and "starts" not in said
    assert [project.record(stage) for stage in ("01_first", "02_second")] == before

    project.notebook("01_first", [FIRST[0] + "\n\nMore prose.", *FIRST[1:]])
    code, said = go(assignments=["first.n_items=4"], size="small")
    assert "01_first     starts" in said and "02_second    unchanged" in said  # the same findings came out

    _, said = go(assignments=["first.n_items=4", "second.target=100"], size="small")
    assert "01_first     unchanged" in said and "no: The sum is 6." in said


def test_an_earlier_stage_takes_the_run_s_model_back_only_with_another_result(project: Project) -> None:
    save = "from pathlib import Path\nstage.save_model(storage.write_text(Path(stage.folder.parent, 'weights'), {}))"
    project.notebook("01_first", [*FIRST[:4], save.format("names[0]"), FIRST[5]])
    project.notebook("02_second", [*SECOND[:2], SECOND[2].replace("json('items')", "path('model.pt').read_text()"),
                                   save.format("items + ', improved'"), SECOND[4].replace("total", "2")])
    model = storage.run_folder("default") / "model.pt"
    go()
    assert model.read_text() == "a, improved"
    go(stages=["first"], is_forced=True)
    assert model.read_text() == "a, improved"
    go(stages=["first"], assignments=["first.names=[b]"])
    assert model.read_text() == "b"


def test_force_a_missing_page_and_a_missing_output_make_a_stage_run_again(project: Project) -> None:
    go(stages=["first"])
    record = storage.read_record("default", "first")
    assert record is not None
    batch = pipeline._Batch(pipeline.Order(), [], {}, Console(), 0)
    fingerprint = record.content["fingerprint"]
    assert batch._is_unchanged(record, fingerprint)
    project.report("01_first.html").rename(project.report("away.html"))
    assert not batch._is_unchanged(record, fingerprint)
    project.report("away.html").rename(project.report("01_first.html"))
    record.path("items.json").unlink()
    assert not batch._is_unchanged(record, fingerprint)
    assert "starts" in go(stages=["first"])[1]
    assert "starts" in go(stages=["first"], is_forced=True)[1]


def test_a_fingerprint_follows_sources_values_files_recipe_and_findings_but_never_times(project: Project) -> None:
    manifest = project.root / "speech" / "manifest.csv"
    manifest.parent.mkdir()
    manifest.write_text("audio_path,text\na.wav,hello\n")
    (manifest.parent / "a.wav").write_bytes(b"1")
    values = {"manifest": str(manifest)}
    base = fingerprint_of("first", **values)
    os.utime(manifest)
    os.utime(project.root / "notebooks/01_first.ipynb")
    assert fingerprint_of("first", **values) == base
    assert fingerprint_of("first", **values, n_items=5) != base
    (manifest.parent / "a.wav").write_bytes(b"12")
    with_other_audio = fingerprint_of("first", **values)
    assert with_other_audio != base
    manifest.write_text("audio_path,text\na.wav,goodbye\n")
    assert fingerprint_of("first", **values) != with_other_audio

    recipe = project.root / "notebooks/recipes/default.py"
    recipe.write_text("recipe = 1\n")
    project.notebook("01_first", [FIRST[0], FIRST[1] + "\nrecipe: str = 'default'", *FIRST[2:]])
    base = fingerprint_of("first")
    recipe.write_text("recipe = 2\n")
    assert fingerprint_of("first") != base

    base = fingerprint_of("second")
    folder = project.root / "data/runs/default/01_first"
    folder.mkdir(parents=True)
    (folder / "record.json").write_text('{"outputs": {"items.json": "ab"}, "decision": {}, "finished": "now"}')
    found = fingerprint_of("second")
    assert found != base
    (folder / "record.json").write_text('{"outputs": {"items.json": "ab"}, "decision": {}, "finished": "later"}')
    assert fingerprint_of("second") == found


def test_a_stage_that_names_the_files_it_reads_depends_on_those_alone_and_can_read_no_others(project: Project) -> None:
    folder = project.root / "data/runs/default/01_first"

    def fingerprint_of_second(of_items: str, **others: str) -> str:
        storage.write_json(folder / "record.json", {"outputs": {"items.json": of_items, **others},
                                                    "decision": {"sentence": str(others)}})
        return fingerprint_of("second")

    assert fingerprint_of_second("ab", **{"rest.json": "1"}) != fingerprint_of_second("ab", **{"rest.json": "2"})
    project.notebook("02_second", [cell.replace("input('first')", "input('first', 'items.json')") for cell in SECOND])
    base = fingerprint_of_second("ab", **{"rest.json": "1"})
    assert fingerprint_of_second("ab", **{"rest.json": "2"}) == base
    assert fingerprint_of_second("cd", **{"rest.json": "2"}) != base
    assert notebooks.discover()[1].inputs == {"first": {"items.json"}}
    project.notebook("03_third", [*SECOND[:3], "stage.input('a', 'x.json')", "stage.input('a', 'y.json')",
                                  "stage.input('b', 'x.json'), stage.input('b'), stage.input('b', 'y.json')",
                                  "stage.input('c', name)"])
    read = {"first": frozenset(), "a": {"x.json", "y.json"}, "b": frozenset(), "c": frozenset()}
    assert notebooks.discover()[2].inputs == read, "what a name in a variable says is not known: all"

    storage.write_json(folder / "items.json", [1, 2])
    storage.write_json(folder / "rest.json", [3])
    found = storage.open_stage("second", "default").input("first", "items.json")
    assert found.json("items") == [1, 2]
    with pytest.raises(StageError, match="gives no rest.json, but items.json"):
        found.json("rest")


def test_a_fingerprint_covers_the_modules_that_the_imported_modules_import() -> None:
    names = {path.name for path in fingerprints.source_files({"workbench.storage"})}
    assert {"storage.py", "settings.py", "errors.py", "records.py"} <= names
    assert "pipeline.py" not in names


# --- failures --------------------------------------------------------------------------------------------------------


def test_a_failed_stage_keeps_its_evidence_and_the_same_command_resumes_there(project: Project) -> None:
    project.notebook("02_second", [*SECOND[:3], "1 / 0", *SECOND[3:]])
    code, said = go()
    assert code == 1
    assert "02_second    failed: in cell [4], ZeroDivisionError: division by zero" in said
    assert str(project.report("02_second.ipynb")) in said
    assert "ZeroDivisionError" in project.report("02_second.html").read_text()
    assert "division by zero" in project.report("index.html").read_text()
    assert not (project.root / "data/runs/default/02_second/record.json").exists()

    project.notebook("02_second", SECOND)
    code, said = go()
    assert code == 0 and "01_first     unchanged" in said and "yes: The sum is 3." in said


def test_a_mistake_that_a_stage_meets_is_told_by_its_message_alone(project: Project) -> None:
    project.notebook("01_first", [*FIRST[:3], "from workbench.errors import ManifestError\n"
                                  "raise ManifestError('row 3 has no text; mend it')"])
    with pytest.raises(errors.ManifestError, match="^row 3 has no text; mend it$"):
        go()
    assert project.report("01_first.html").is_file()


def test_a_full_disk_in_a_stage_is_a_mistake_that_the_user_can_mend(project: Project) -> None:
    project.notebook("01_first", [*FIRST[:3], "open('/dev/full', 'w').write('x' * 100_000)"])
    with pytest.raises(errors.SettingsError, match="disk is full"):
        go()


def test_a_kernel_that_dies_fails_its_stage_with_a_clear_message(project: Project) -> None:
    project.notebook("01_first", [*FIRST[:3], "import os\nos.kill(os.getpid(), 9)"])
    code, said = go()
    assert code == 1 and "the kernel died" in said
    assert "the kernel died" in project.report("index.html").read_text()


def test_a_notebook_that_never_closes_its_stage_has_failed(project: Project) -> None:
    project.notebook("01_first", FIRST[:-1])
    code, said = go(stages=["first"])
    assert code == 1 and "without closing its stage" in said


def test_reports_that_cannot_be_written_are_a_mistake_before_any_kernel_starts(project: Project) -> None:
    (project.root / "reports").write_text("in the way")
    with pytest.raises(errors.SettingsError, match="reports"):
        go()


def test_a_stage_whose_input_is_missing_says_what_to_run(project: Project) -> None:
    with pytest.raises(errors.StageError, match="second reads first.*workbench run --to second --run default"):
        go(stages=["second"])
    assert not (project.root / "reports").exists()


# --- waiting ---------------------------------------------------------------------------------------------------------


def test_a_waiting_stage_ends_the_run_without_error_and_goes_on_once_it_is_answered(project: Project) -> None:
    answer = project.root / "data/requests/default/r1.fulfilled.json"
    project.notebook("01_first", [
        *FIRST[:3], f"import pathlib\nis_there = pathlib.Path({str(answer)!r}).exists()\n"
        "if False:\n    from workbench import data_requests\n    data_requests.bring()",
        "stage.save_json('items', [1, 2])\nstage.close(parameters={}, metrics={}, decision=Decision(\n"
        "    'done' if is_there else 'waiting', 'Waits for 40 recordings.'))"])
    code, said = go()
    assert code == 0 and "waiting: Waits for 40 recordings." in said and "02_second" not in said
    assert "unchanged  waiting" in go()[1]
    answer.parent.mkdir(parents=True)
    answer.write_text("{}")
    code, said = go()
    assert code == 0 and "01_first     starts" in said and "yes: The sum is 3." in said
    assert go()[1].count("unchanged") == 2


def test_a_stage_that_only_asks_for_data_is_not_out_of_date_when_the_answer_comes(project: Project) -> None:
    answer = project.root / "data/requests/default/r1.fulfilled.json"
    answer.parent.mkdir(parents=True)
    changes = {}
    for verb in ("ask", "bring"):
        project.notebook("01_first", [*FIRST[:3], f"from workbench import data_requests\ndata_requests.{verb}()"])
        answer.unlink(missing_ok=True)
        before = fingerprint_of("first")
        answer.write_text("{}")
        changes[verb] = fingerprint_of("first") != before
    assert changes == {"ask": False, "bring": True}


# --- one runner, and no kernel left behind ---------------------------------------------------------------------------


def start(project: Project) -> tuple[subprocess.Popen[bytes], set[int]]:
    """Start a run in a process of its own and wait until its second stage is in a long cell.

    Returns: the runner, and its kernels, the one at work and the one that waits, and the nursery.
    """
    project.notebook("02_second", SLOW_SECOND)
    project.notebook("03_third", [cell.replace("second", "third") for cell in SECOND])
    with (project.root / "stderr").open("wb") as said:
        runner = subprocess.Popen(project.command("run"), env=project.environment(), stdout=subprocess.DEVNULL,
                                  stderr=said)
    told = project.root / "kernel.pid"
    wait_until(lambda: told.is_file() and told.read_text())
    nursery, = children(runner.pid)
    wait_until(lambda: len(children(nursery)) >= 2)
    kernels = children(nursery)
    assert int(told.read_text()) in kernels and len(kernels) == 2
    return runner, {nursery, *kernels}


def test_killed_at_once_the_same_command_finishes_and_no_kernel_lives_on(project: Project) -> None:
    runner, kernels = start(project)
    runner.send_signal(signal.SIGKILL)
    runner.wait()
    (project.root / "go").touch()
    code, said = go()  # it waits for the orphaned kernels, which hold the lock until they have noticed
    assert not any(map(is_running, kernels))
    assert code == 0 and "01_first     unchanged" in said and said.count("yes: The sum is 3.") == 2


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_second_runner_is_refused_with_the_pid_and_an_interrupt_ends_cleanly(
        project: Project, stop: signal.Signals) -> None:
    runner, kernels = start(project)
    with pytest.raises(errors.RunHeldError, match=f"held by process {runner.pid}"):
        go()
    runner.send_signal(stop)
    assert runner.wait(timeout=60) == 130
    told = "workbench: stopped; the same command goes on where this one was\n"
    assert (project.root / "stderr").read_text() == told
    wait_until_gone(*kernels, within_s=10)
    assert not (project.root / "data/runs/default/02_second/record.json").exists()
    with locks.held("default"):
        pass


def test_a_lock_left_by_a_dead_process_is_taken_over(project: Project) -> None:
    lock = project.root / "data/runs/default/.lock"
    lock.parent.mkdir(parents=True)
    lock.write_text("999999999\n")
    with locks.held("default"):
        assert lock.read_text() == f"{os.getpid()}\n"


def test_a_stage_may_wait_in_its_middle_for_labels_and_goes_on_when_they_come(project: Project) -> None:
    brought = project.root / "data/labels/default/brought.json"
    waits = (f"import pathlib\nfrom workbench import labelling\nif not pathlib.Path({str(brought)!r}).exists():\n"
             "    stage.wait(Decision('waiting', 'Waits for 12 labels.'))")
    ends = "stage.save_json('items', [1, 2])\nstage.close(parameters={}, metrics={}, decision=Decision('done', 'On.'))"
    project.notebook("01_first", [*FIRST[:3], waits, ends])
    code, said = go()
    assert code == 0 and "waiting: Waits for 12 labels." in said and "02_second" not in said
    page = project.report("01_first.html").read_text()
    assert "Waits for 12 labels." in page and "Traceback" not in page
    assert "unchanged  waiting" in go()[1]
    brought.parent.mkdir(parents=True)
    brought.write_text("{}")
    code, said = go()
    assert code == 0 and "done: On." in said and "02_second" in said
