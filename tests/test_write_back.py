"""What people say reaches the stages: real stages at toy size, through the real command, without a browser."""

import contextlib
import shutil
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import Project
from tests.test_cycle import ORDER, workbench
from workbench import data_requests, marks, storage
from workbench.marks import Marks

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def project(toy_run: tuple[Project, Project], tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(shutil.copytree(toy_run[0].root, tmp_path_factory.mktemp("said") / "project"))


@pytest.fixture(autouse=True)
def here(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_ROOT", str(project.root))


def table(name: str) -> pd.DataFrame:
    stage, _, file = name.partition("/")
    record = storage.read_record("toy", stage)
    assert record is not None
    return record.table(file)


def fits(project: Project) -> set[Path]:
    return set((project.root / "data" / "cache" / "fits").iterdir())


def manifest(project: Project, version: str) -> bytes:
    return (project.root / "data" / "datasets" / version / "manifest.parquet").read_bytes()


def test_a_correction_a_cause_and_a_request_are_what_the_next_run_reads(project: Project) -> None:
    before = project.record("02_collect", "toy")["versions"]["dataset"]
    kept, trained = manifest(project, before), fits(project)
    heard = table("train/listened")
    wrong, right = heard[heard["reference"].ne("")].iloc[0], heard[heard["reference"].ne("")].iloc[1]
    with contextlib.closing(Marks()) as said:
        for row, words, drawn in ((wrong, "Nobody said that!", marks.SUSPECT), (right, right["text"], marks.RANDOM)):
            said.add("reference", words, utterance_id=row["utterance_id"], audio_sha=row["audio_sha"], by="eve",
                     drawn=drawn)
        said.add("cause", "accent", utterance_id=right["utterance_id"], audio_sha=right["audio_sha"], by="eve")
    request = data_requests.ask_for("toy", {"noise": "car", "device": "budget"}, 6, by="ada", reason="my street",
                                    dataset_version=before)

    done = workbench(project, *ORDER)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("unchanged") == 1 and "01_scope     unchanged" in done.stdout

    collected = project.record("02_collect", "toy")
    assert collected["versions"]["dataset"] != before and manifest(project, before) == kept
    assert "1 references corrected" in collected["decision"]["sentence"]
    again = table("collect/corrections").set_index("utterance_id")
    assert again["is_wrong"].to_dict() == {wrong["utterance_id"]: True, right["utterance_id"]: False}
    page = project.report("02_collect.html", "toy").read_text()
    assert "heard again by eve" in page and "nobody said that" in page

    scored = table("train/listened").set_index("utterance_id")["reference"]
    assert scored[wrong["utterance_id"]] == "nobody said that" and scored[right["utterance_id"]] == right["reference"]
    assert "commonest cause is accent" in project.report("04_analyze.html", "toy").read_text()

    rounds = table("improve/rounds")
    assert rounds["by"].tolist() == ["ada", "analyze"][:len(rounds)] and rounds["n_clips"].iloc[0] == 6
    assert data_requests.state(request) == "6 are in the data"
    version = project.record("05_improve", "toy")["versions"]["dataset"]
    grown = pd.read_parquet(project.root / "data" / "datasets" / version / "manifest.parquet")
    asked = grown[grown["utterance_id"].str.startswith("more-") & grown["noise"].eq("car")]
    assert (asked["device"] == "budget").sum() >= 6
    assert trained <= fits(project) and len(fits(project) - trained) <= 2 * len(rounds)  # train's own is not made again


def test_once_read_nothing_runs_again(project: Project) -> None:
    again = workbench(project, *ORDER)
    assert again.returncode == 0 and again.stdout.count("unchanged") == 5, again.stdout


def test_a_cause_runs_analyze_and_nothing_else_and_a_name_runs_nothing(project: Project) -> None:
    row = table("train/listened").iloc[2]
    with contextlib.closing(Marks()) as said:
        said.add("name", "kyiv", by="eve")
        assert workbench(project, *ORDER).stdout.count("unchanged") == 5
        said.add("cause", "noise", utterance_id=row["utterance_id"], audio_sha=row["audio_sha"], by="eve")
    done = workbench(project, *ORDER)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("unchanged") == 4 and "04_analyze   starts" in done.stdout, done.stdout
    assert "Of 2 errors that people listened to" in project.report("04_analyze.html", "toy").read_text()
