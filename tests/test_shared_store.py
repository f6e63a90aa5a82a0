"""The team's store on a shared folder: whole or not at all, and two project folders that share what is finished."""

import json
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests import watched
from tests.conftest import FIRST, SECOND, Project
from tests.test_datasets import rows
from workbench import (
    data_requests,
    datasets,
    model_registry,
    settings,
    shared_runs,
    shared_store,
    sharing,
    storage,
    whisper_model,
)
from workbench.errors import CheckpointError, ManifestError, ParameterError, RegistryError, StoreError
from workbench.monitoring import Rules
from workbench.records import Decision
from workbench.shared_store import SharedStore
from workbench.watching import Watcher

Machine = Callable[[str], Project]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "shared").mkdir()
    monkeypatch.setenv("WORKBENCH_STORE_URL", f"file://{tmp_path}/shared")
    return str(tmp_path / "shared")


@pytest.fixture
def on(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Go to a machine: a project folder of its own, which modules in this process then work on."""
    def go(name: str) -> Project:
        made = Project(tmp_path / name)
        if not made.root.exists():
            (made.root / "notebooks" / "recipes").mkdir(parents=True)
            made.notebook("01_first", FIRST)
            made.notebook("02_second", SECOND)
        monkeypatch.setenv("WORKBENCH_ROOT", str(made.root))
        return made

    return go


def opened() -> SharedStore:
    found = shared_store.opened()
    assert found is not None
    return found


def folder_of(project: Project, **files: str) -> Path:
    folder = project.root / "data" / "things" / "one"
    (folder / "deep").mkdir(parents=True, exist_ok=True)
    for name, content in {"facts": "{}", **files}.items():
        (folder / name).write_text(content)
    return folder


# --- folders ---------------------------------------------------------------------------------------------------------


def test_a_folder_comes_whole_on_another_machine_without_what_is_hidden(on: Machine) -> None:
    folder = folder_of(on("here"), a="words")
    (folder / "deep" / "b").write_bytes(b"\0" * 3_000_000)
    (folder / ".lock").write_text("held")
    opened().push(folder, "facts")
    there = on("there").root / "data" / "things" / "one"
    assert opened().fetch(there, "facts")
    assert sorted(path.name for path in there.rglob("*")) == ["a", "b", "deep", "facts"]
    assert (there / "deep" / "b").stat().st_size == 3_000_000 and (there / "a").read_text() == "words"
    assert not opened().fetch(there.with_name("none"), "facts")


def test_what_is_new_replaces_what_was_there_and_what_is_gone_goes(on: Machine) -> None:
    folder = folder_of(on("here"), old="words")
    opened().push(folder, "facts")
    (folder / "old").unlink()
    opened().push(folder_of(on("here"), facts="{1}", new="more"), "facts")
    there = on("there").root / "data" / "things" / "one"
    there.mkdir(parents=True)
    (there / "stray").write_text("of before")
    assert opened().fetch(there, "facts")
    assert sorted(path.name for path in there.iterdir() if path.is_file()) == ["facts", "new"]


@pytest.mark.parametrize("n_files", [0, 1, 2])
def test_a_push_that_was_cut_off_counts_for_nobody_and_the_next_one_completes_it(
        n_files: int, on: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_of(on("here"), a="old", b="old")
    opened().push(folder, "facts")
    folder_of(on("here"), a="new", b="new", facts="{2}")
    write, written = SharedStore._write, list[Path]()

    def dies(self: SharedStore, path: Path, source: object) -> None:
        if len(written) >= n_files:
            raise KeyboardInterrupt
        written.append(path)
        write(self, path, source)

    monkeypatch.setattr(shared_store, "AT_ONCE", 1)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(SharedStore, "_write", dies)
        opened().push(folder, "facts")
    there = on("there").root / "data" / "things" / "one"
    assert not opened().fetch(there, "facts") and not there.exists()
    on("here")
    opened().push(folder, "facts")
    on("there")
    assert opened().fetch(there, "facts") and (there / "a").read_text() == (there / "b").read_text() == "new"


def test_a_fetch_that_was_cut_off_leaves_what_was_here(
        on: Machine, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened_here = folder_of(on("here"), a="new", b="new")
    opened().push(opened_here, "facts")
    there = folder_of(on("there"), a="old")
    (Path(store) / "data/things/one/b").unlink()
    monkeypatch.setattr(SharedStore, "sizes", lambda *_: {there / name: 1 for name in ("a", "b", "facts")})
    with pytest.raises(StoreError, match="somebody deleted it"):
        opened().fetch(there, "facts")
    assert (there / "a").read_text() == "old" and not list(storage.cache_folder("fetched").iterdir())


@pytest.mark.parametrize(("url", "message"), [
    ("file:///tmp/no-such-folder-at-all", "no folder /tmp/no-such-folder-at-all; make it"),
    ("s4://bucket/x", "cannot be opened"), ("s3://", "write s3://bucket/folder"), ("nowhere", "no folder .*nowhere")])
def test_a_store_that_is_none_is_named(url: str, message: str, on: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    on("here")
    monkeypatch.setenv("WORKBENCH_STORE_URL", url)
    with pytest.raises(StoreError, match=message):
        opened().check()


def test_a_check_leaves_nothing(on: Machine, store: str) -> None:
    on("here")
    opened().check()
    assert not list(Path(store).iterdir())


def test_without_the_setting_there_is_no_store(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not settings.Settings().store_url and shared_store.opened() is None
    assert shared_runs.publish("default") == "" and not shared_runs.bring("default") and shared_runs.names() == []
    shared_runs.claim("default")
    assert not (root / "data").exists()
    with pytest.raises(StoreError, match="set WORKBENCH_STORE_URL"):
        list(sharing.publish())


# --- datasets --------------------------------------------------------------------------------------------------------


def test_a_dataset_version_is_found_on_another_machine_with_its_clips(on: Machine, store: str) -> None:
    on("here")
    made = datasets.save(datasets.store_rows(rows()), salt="pepper")
    on("there")
    seen = datasets.load(made.version, needs_audio=False)
    assert len(seen.table) == 60 and not Path(seen.table["audio_path"].iloc[0]).exists()
    with pytest.raises(ManifestError, match="no dataset version"):
        datasets.load("0000")
    again = datasets.load(made.version)
    assert all(Path(path).is_file() for path in again.table["audio_path"])
    assert storage.hash_table(datasets._canonical(again.table))[:12] == made.version and again.card == made.card
    grown = datasets.extend(again, rows(30, first=60), note="more")
    on("here")
    assert len(datasets.load(grown.version).split("train")) > len(made.train)


def test_a_clip_that_the_store_lost_is_named(on: Machine, store: str) -> None:
    on("here")
    made = datasets.save(datasets.store_rows(rows()))
    next((Path(store) / "data/datasets/audio").glob("*/*.wav")).unlink()
    on("there")
    with pytest.raises(StoreError, match="datasets/audio/.*somebody deleted it"):
        datasets.load(made.version)


def test_a_page_that_asks_for_recordings_does_not_wait_for_a_corpus(on: Machine) -> None:
    on("here")
    made = datasets.save(datasets.store_rows(rows()).assign(noise=["car", "quiet"] * 30))
    there = on("there")
    request = data_requests.ask_for("mine", {"noise": "car"}, 5, by="eve", reason="few", dataset_version=made.version)
    assert request.run == "mine" and not (there.root / "data/datasets/audio").exists()


# --- models ----------------------------------------------------------------------------------------------------------


def with_one_registry(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    watched.give_store(project.root)
    monkeypatch.setenv("WORKBENCH_TRACKING_URL", f"sqlite:///{project.root}/data/mlflow.db")


def test_a_released_model_is_found_by_its_name_on_another_machine(
        on: Machine, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    here = on("here")
    with_one_registry(here, monkeypatch)
    watched.release(here.root, "first")
    model_registry.promote("1", by="ann", over="")
    on("there")
    found = model_registry.resolve("champion")
    assert (found.folder / "model.pt").read_text() == "first" and (found.folder / "basis").is_dir()
    assert str(found.folder).startswith(str(on("there").root))
    assert whisper_model.find("1") == found.folder / "model.pt"
    shutil.rmtree(found.folder)
    (Path(store) / "data/models/registry" / found.folder.name / "model.pt").write_text("bitten")
    with pytest.raises(RegistryError, match="damaged"):
        model_registry.resolve("champion")
    assert not found.folder.exists()


def test_production_is_watched_by_the_rules_of_the_colleague_whose_model_answers(
        on: Machine, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    here = on("here")
    here.notebook("07_monitor", FIRST)
    with_one_registry(here, monkeypatch)
    monkeypatch.setenv("WORKBENCH_QUERY_LOG_URL", f"sqlite:///{here.root}/data/queries.db")
    watched.fill(watched.week(1, 40))
    watched.release(here.root, "first")
    model_registry.promote("1", by="ann", over="")
    stage = storage.open_stage("monitor", "mine")
    stage.save_json("seen", {"rules": Rules(max_latency_ms=250.0).as_dict()})
    stage.close(parameters={}, metrics={}, decision=Decision("done", "Watched."))
    storage.write_text(shared_runs.reports_folder("mine") / "index.html", "the report")
    shared_runs.publish("mine")
    on("there").notebook("07_monitor", FIRST)
    (owner,) = Path(store).rglob(f"mine/{shared_runs.OWNER}")
    storage.write_text(storage.run_folder("mine") / shared_runs.OWNER, owner.read_text())  # as what broke off leaves it
    with closing(Watcher()) as watcher:
        assert watcher.refresh().rules.max_latency_ms == 250
    Path(store).rename(f"{store}-away")  # what is here does not need it
    with closing(Watcher()) as watcher:
        assert watcher.refresh().rules.max_latency_ms == 250


def test_a_model_from_before_the_store_is_published_by_hand(on: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    here = on("here")
    with_one_registry(here, monkeypatch)
    with monkeypatch.context() as before:
        before.delenv("WORKBENCH_STORE_URL")
        watched.release(here.root, "first")
    on("there")
    with pytest.raises(RegistryError, match="workbench publish"):
        model_registry.resolve("1")
    on("here")
    assert [line.split(":")[0] for line in sharing.publish()] == ["version 1"]
    with pytest.raises(ParameterError, match="no run 'frist' here"):
        list(sharing.publish(["frist"]))
    on("there")
    assert (model_registry.resolve("1").folder / "model.pt").read_text() == "first"


def test_who_was_judged_against_another_champion_is_not_promoted(on: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    here = on("here")
    with_one_registry(here, monkeypatch)
    for weights in "abc":
        watched.release(here.root, weights, has_basis=False)
    model_registry.promote("1", by="ann", over="")
    model_registry.promote("2", by="ann", over="1")
    with pytest.raises(RegistryError, match="judged against 1, but by now 2 is the champion; judge it again"):
        model_registry.promote("3", by="bob", over="1")
    model_registry.promote("2", by="ann", over="1")  # the same again
    assert model_registry.alias_state()["champion"] == "2" and model_registry.alias_state()["previous"] == "1"
    assert model_registry.reigns("1", "2") and not model_registry.reigns("1", "3")


# --- runs ------------------------------------------------------------------------------------------------------------


def test_a_run_is_published_when_it_ends_and_read_from_a_third_folder(on: Machine, store: str) -> None:
    said = {}
    for name, n_items in (("ada", "3"), ("bob", "5")):
        done = on(name).workbench("run", "--run", name, "-p", f"first.n_items={n_items}")
        assert done.returncode == 0, done.stderr
        said[name] = done.stdout
    assert f"published: file://{store}/reports/ada/index.html" in said["ada"]
    assert {path.name for path in (Path(store) / "reports/ada").iterdir()} >= {"index.html", "01_first.ipynb",
                                                                              "02_second.html"}
    eve = on("eve")
    told = eve.workbench("diff", "ada", "bob").stdout
    assert "n_items" in told and "sum" not in told and "total" in told
    listed = eve.workbench("runs").stdout
    assert "ada" in listed and "bob" in listed and "2/2" in listed
    assert not (eve.root / "reports").exists()


@pytest.mark.slow
def test_an_unchanged_run_writes_nothing_there_and_a_changed_one_reaches_the_copies(on: Machine, store: str) -> None:
    ada, place = on("ada"), Path(store)
    assert ada.workbench("run", "--run", "ada").returncode == 0
    on("eve").workbench("diff", "ada", "ada")
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*") if path.is_file()}
    assert "unchanged" in on("ada").workbench("run", "--run", "ada").stdout
    assert before == {path: path.stat().st_mtime_ns for path in place.rglob("*") if path.is_file()}
    assert ada.workbench("run", "--run", "ada", "-p", "first.n_items=4").returncode == 0
    eve = on("eve")
    shared_runs.bring("ada")
    assert eve.record("01_first", "ada")["parameters"]["n_items"] == 4
    assert not shared_runs.is_ours("ada")


def test_a_run_s_name_is_one_project_s_and_another_is_refused_before_any_work(on: Machine, store: str) -> None:
    assert on("ada").workbench("run", "--run", "ours", "--to", "first").returncode == 0
    bob = on("bob")
    refused = bob.workbench("run", "--run", "ours")
    assert refused.returncode == 2 and "run ours belongs to" in refused.stderr and "--run NAME" in refused.stderr
    assert not (bob.root / "reports").exists() and not list((bob.root / "data").rglob("record.json"))
    (Path(store) / "data/runs/ours/owner.json").unlink()
    assert bob.workbench("run", "--run", "ours").returncode == 0


@pytest.mark.slow
def test_a_failed_stage_is_taken_back_and_its_evidence_published(on: Machine, store: str) -> None:
    ada = on("ada")
    assert ada.workbench("run", "--run", "ada").returncode == 0
    ada.notebook("02_second", [*SECOND[:2], "raise RuntimeError('broken')"])
    assert ada.workbench("run", "--run", "ada").returncode == 1
    there = Path(store) / "data/runs/ada"
    assert (there / "01_first/record.json").is_file() and not (there / "02_second/record.json").exists()
    assert "broken" in (there / "02_second/failure.json").read_text()
    assert "broken" in (Path(store) / "reports/ada/02_second.html").read_text()


@pytest.mark.slow
def test_a_run_that_could_not_be_published_is_done_and_published_by_the_same_command(on: Machine, store: str) -> None:
    ada = on("ada")
    ada.notebook("02_second", [*SECOND[:3], f"import pathlib; pathlib.Path({store!r}).rename({store + '-away'!r})",
                               *SECOND[3:]])
    away = ada.workbench("run", "--run", "ada")
    assert away.returncode == 2 and "the shared store" in away.stderr and ada.record("02_second", "ada")
    refused = ada.workbench("run", "--run", "ada")
    assert refused.returncode == 2 and "no folder" in refused.stderr and not Path(store).exists()
    Path(store + "-away").rename(store)
    again = ada.workbench("run", "--run", "ada")
    assert again.returncode == 0 and again.stdout.count("unchanged") == 2 and "published" in again.stdout


def a_run_with_a_model(weights: str, run: str = "ada") -> None:
    stage = storage.open_stage("first", run)
    storage.write_text(stage.file("weights"), weights)
    stage.save_model(stage.file("weights"))
    stage.keep(stage.file("weights"))
    stage.close(parameters={"w": weights}, metrics={}, decision=Decision("done", "Made."))
    storage.write_text(shared_runs.reports_folder(run) / "index.html", weights)
    shared_runs.publish(run)


def test_a_colleague_s_run_is_a_model_by_its_name_and_follows_what_they_do(on: Machine) -> None:
    on("ada")
    a_run_with_a_model("one")
    eve = on("eve")
    shared_runs.bring("ada")
    assert not list((eve.root / "data/runs").rglob("*.pt"))  # tables first: models are large
    assert whisper_model.find("ada").read_text() == "one"
    on("ada")
    a_run_with_a_model("two")
    on("eve")
    assert whisper_model.find("ada").read_text() == "two"
    with pytest.raises(CheckpointError, match="no model 'adb'"):
        whisper_model.find("adb")


@pytest.mark.parametrize("is_left_over", [False, True])
def test_a_colleague_s_run_whose_bringing_broke_off_at_once_comes_the_next_time(
        on: Machine, is_left_over: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    on("ada")
    a_run_with_a_model("one")
    eve, real = on("eve"), SharedStore.place

    def place(self: SharedStore, path: Path) -> str:
        if path.name == shared_runs.OWNER:
            raise ConnectionResetError("the line went dead")
        return real(self, path)

    with monkeypatch.context() as broken, pytest.raises(StoreError, match="the line went dead"):
        broken.setattr(SharedStore, "place", place)
        shared_runs.bring("ada")
    if is_left_over:  # as earlier versions left it
        storage.run_folder("ada").mkdir(parents=True)
    assert is_left_over == storage.run_folder("ada").exists()
    assert shared_runs.names() == ["ada"] and shared_runs.bring("ada")
    assert eve.record("01_first", "ada")["parameters"] == {"w": "one"}


def test_a_copy_that_is_renewed_meanwhile_is_said_to_be(
        on: Machine, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    on("ada")
    a_run_with_a_model("one")
    on("eve")
    real = SharedStore.get

    def get(self: SharedStore, targets: "dict[Path, Path]") -> None:
        real(self, targets)
        if any(path.name == "weights" for path in targets):
            (Path(store) / "data/runs/ada/01_first/record.json").unlink()

    monkeypatch.setattr(SharedStore, "get", get)
    with pytest.raises(StoreError, match="try again in a minute"):
        shared_runs.bring("ada")
    assert storage.read_record("ada", "first") is None
    assert json.loads((storage.run_folder("ada") / "owner.json").read_text())["project"]


def test_a_run_that_cannot_be_brought_does_not_keep_others_from_coming(
        on: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    on("ada")
    for run in ("broken", "whole"):
        a_run_with_a_model("one", run)
    on("eve")
    real = SharedStore.place

    def place(self: SharedStore, path: Path) -> str:
        if "broken" in path.parts and path.name == storage.RECORD:
            raise ConnectionResetError("the line went dead")
        return real(self, path)

    with monkeypatch.context() as broken, pytest.raises(StoreError, match="the line went dead"):
        broken.setattr(SharedStore, "place", place)
        shared_runs.bring_all()
    assert storage.read_record("broken", "first") is None
    record = storage.read_record("whole", "first")
    assert record is not None and record.content["parameters"] == {"w": "one"}
