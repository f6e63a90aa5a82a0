import json
import os
from pathlib import Path

import pandas as pd
import pytest

from workbench import settings, storage
from workbench.errors import ParameterError, SettingsError, StageError
from workbench.records import Decision, Interval


@pytest.fixture
def stages(root: Path) -> Path:
    for name in ("01_scope", "02_collect"):
        (root / "notebooks" / f"{name}.ipynb").touch()
    return root


def finish(stage: storage.Stage) -> None:
    stage.close(
        parameters={"a": 1}, metrics={"wer": Interval(0.1, 0.05, 0.2), "n": 3.0}, decision=Decision("yes", "Good.")
    )


def test_a_stage_hands_over_through_its_record(stages: Path) -> None:
    first = storage.open_stage("scope", "mine")
    first.save_json("items", [1, 2])
    first.save_table("rows", pd.DataFrame({"x": [1]}))
    finish(first)
    read = storage.open_stage("collect", "mine").input("scope")
    assert read.json("items") == [1, 2] and read.table("rows")["x"].tolist() == [1]
    assert read.metrics["wer"] == Interval(0.1, 0.05, 0.2) and read.metrics["n"].low == 3.0
    assert read.decision == Decision("yes", "Good.") and read.parameters == {"a": 1}


def test_a_stage_without_a_record_did_not_happen(stages: Path) -> None:
    storage.open_stage("scope", "mine").save_json("items", [1])
    with pytest.raises(StageError, match="workbench run --to scope --run mine"):
        storage.open_stage("collect", "mine").input("scope")


def test_opening_a_stage_again_forgets_what_it_was(stages: Path) -> None:
    stage = storage.open_stage("scope", "mine")
    stage.save_json("items", [1])
    finish(stage)
    storage.open_stage("scope", "mine")
    assert storage.read_record("mine", "scope") is None
    assert not stage.file("items.json").exists()


def test_a_notebook_run_by_hand_reads_the_latest_run_and_writes_apart(stages: Path) -> None:
    batch = storage.open_stage("scope", "batch")
    batch.save_json("items", [7])
    finish(batch)
    by_hand = storage.open_stage("collect", "")
    assert by_hand.run == settings.lab_run() and by_hand.run.startswith("lab-")
    assert by_hand.input("scope").json("items") == [7]
    with pytest.raises(StageError):
        storage.open_stage("collect", "other").input("scope")


def test_a_missing_output_names_those_there_are(stages: Path) -> None:
    stage = storage.open_stage("scope", "mine")
    stage.save_json("items", [1])
    finish(stage)
    record = storage.read_record("mine", "scope")
    assert record is not None
    with pytest.raises(StageError, match="gives no model.pt, but items.json"):
        record.path("model.pt")


def test_a_damaged_record_is_no_record(stages: Path) -> None:
    stage = storage.open_stage("scope", "mine")
    finish(stage)
    (stage.folder / storage.RECORD).write_text('{"stage": ')
    assert storage.read_record("mine", "scope") is None


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path: Path) -> None:
    target = storage.write_text(tmp_path / "a.txt", "old")

    def fail() -> None:
        with storage.replacing(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError):
        fail()
    assert target.read_text() == "old" and list(tmp_path.iterdir()) == [target]


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="cannot be written to"):
        storage.write_text(tmp_path / "file" / "a.txt", "x")


def test_a_full_disk_is_said_plainly(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")

    def fill() -> None:
        with storage.replacing(tmp_path / "a.txt"), Path("/dev/full").open("w") as full:
            full.write("x" * 100_000)

    with pytest.raises(SettingsError, match="disk is full"):
        fill()
    assert not list(tmp_path.iterdir())


def test_hashes_keep_parts_apart_and_ignore_the_order_of_keys() -> None:
    assert storage.hash_bytes(b"ab", b"c") != storage.hash_bytes(b"a", b"bc")
    assert storage.hash_value({"a": 1, "b": 2}) == storage.hash_value({"b": 2, "a": 1})
    assert storage.hash_table(pd.DataFrame({"x": [1.0]})) != storage.hash_table(pd.DataFrame({"x": [2.0]}))


def test_records_are_readable_json(stages: Path) -> None:
    stage = storage.open_stage("scope", "mine")
    finish(stage)
    content = json.loads((stage.folder / storage.RECORD).read_text())
    assert content["decision"]["sentence"] == "Good." and content["versions"]["torch"].startswith("2.11")


def test_a_size_that_does_not_exist_names_those_that_do() -> None:
    with pytest.raises(ParameterError, match="toy, small, full"):
        settings.amounts("huge")


def test_no_project_here_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORKBENCH_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match="set WORKBENCH_ROOT"):
        settings.root()
    monkeypatch.setenv("WORKBENCH_ROOT", str(tmp_path))
    with pytest.raises(SettingsError, match="no notebooks/ folder"):
        settings.root()


def test_what_a_run_has_fixed_outlasts_a_new_start_of_the_stage(stages: Path) -> None:
    asked = [("a", "row", 7), ("a", "row", 9), ("b", "row", 9), ("a", "other", 1), ("a", "row", 2)]
    assert [storage.open_stage("scope", run).fixed(name, value) for run, name, value in asked] == [7, 7, 9, 1, 7]


def test_a_damaged_output_says_how_to_make_it_again(root: Path) -> None:
    (root / "notebooks" / "04_analyze.ipynb").write_text("{}")
    stage = storage.open_stage("analyze", "mine")
    stage.save_table("slices", pd.DataFrame({"wer": [0.1]}))
    stage.save_json("request", {"request_id": ""})
    stage.close(parameters={}, metrics={}, decision=Decision("done", "Done."))
    record = storage.read_record("mine", "analyze")
    assert record is not None and record.table("slices")["wer"].tolist() == [0.1]
    for name in ("slices.parquet", "request.json"):
        record.path(name).write_bytes(b"PAR1 and nothing else")
    for read, name in ((record.table, "slices"), (record.json, "request")):
        with pytest.raises(StageError, match=f"{name}.* damaged .*workbench run analyze --run mine --force"):
            read(name)


def test_what_is_no_file_is_written_to_and_never_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    storage.write_text(pipe, "said")
    assert os.read(reader, 10) == b"said" and pipe.is_fifo()
    os.close(reader)
