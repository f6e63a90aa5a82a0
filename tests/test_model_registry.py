"""Released models on a real MLflow store: who answers, what a kill leaves, and what is said when the store is away."""

import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests import watched
from tests.processes import wait_until
from workbench import model_registry, registry, service_cli
from workbench.errors import CheckpointError, ParameterError, RegistryError, WorkbenchError
from workbench.model_registry import ModelVersion
from workbench.records import Interval


@pytest.fixture
def project(root: Path) -> Path:
    watched.give_store(root)
    return root


def release(root: Path, weights: str, **tags: str) -> ModelVersion:
    checkpoint, engine = root / "model.pt", root / "engine"
    checkpoint.write_text(weights)
    engine.mkdir(exist_ok=True)
    (engine / "model.bin").write_text(weights * 2)
    return model_registry.register(
        checkpoint, engine, run="mine", stage="deploy", metrics={"wer": Interval(0.1, 0.05, 0.2)}, tags=tags
    )


def test_a_version_keeps_its_files_and_says_what_it_is(project: Path) -> None:
    card = project / "card.md"
    card.write_text("# A model")
    (project / "model.pt").write_text("weights")
    made = model_registry.register(project / "model.pt", None, run="mine", stage="deploy", metrics={"n": 3.0},
                                   tags={"gate": "yes"}, card=card)
    with_engine = release(project, "other")
    assert [v.version for v in model_registry.versions()] == [made.version, with_engine.version] == ["1", "2"]
    assert sorted(p.name for p in made.folder.iterdir()) == ["card.md", "facts.json", "model.pt"]
    assert (made.folder / "model.pt").read_text() == "weights" and made.facts["metrics"] == {"n": 3.0}
    assert (with_engine.folder / "engine" / "model.bin").read_text() == "otherother"
    assert with_engine.facts["metrics"]["wer"]["high"] == 0.2
    assert made.tags["gate"] == "yes" and made.tags["run"] == "mine" and made.aliases == ()
    (project / "model.pt").write_text("weights")
    card.write_text("# The same model, beside another rival")
    again = model_registry.register(project / "model.pt", None, run="mine", stage="deploy", metrics={"n": 3.0}, tags={},
                                    card=card)
    assert again.version == "1" and (again.folder / "card.md").read_text() == "# A model"


def test_the_same_files_are_the_same_version_and_damage_is_mended(project: Path) -> None:
    made = release(project, "a")
    (made.folder / "model.pt").write_text("damaged")
    again = release(project, "a", gate="yes")
    assert (again.version, again.folder, again.tags["gate"]) == (made.version, made.folder, "yes")
    assert (again.folder / "model.pt").read_text() == "a"
    assert release(project, "b").version == "2"


def test_who_is_champion_already_is_not_promoted_and_a_way_back_is_promised_only_where_there_is_one(
        project: Path) -> None:
    for weights in "ab":
        release(project, weights)

    def told(version: str) -> str:
        return CliRunner().invoke(service_cli.app, ["promote", version, "--by", "ann lee"]).output.strip()

    assert told("1") == "version 1 is the champion"
    model_registry.promote("1", by="deploy")
    assert told("champion") == told("1") == "version 1 is the champion already"
    assert model_registry.resolve("1").tags["promoted_by"] == "deploy"
    assert told("2") == "version 2 is the champion; back with: workbench rollback --by 'ann lee'"


def test_promotion_and_rollback_move_who_answers(project: Path) -> None:
    for weights in "abc":
        release(project, weights)
    assert model_registry.promote("1", by="ann").aliases == ("champion",)
    with pytest.raises(RegistryError, match="no previous champion to go back to"):
        model_registry.rollback(by="ann")
    model_registry.set_challenger("2", "canary", 0.2)
    assert model_registry.alias_state() == {
        "champion": "1", "challenger": "2", "previous": "", "challenger_mode": "canary", "share": 0.2,
    }
    model_registry.set_challenger("2")
    assert model_registry.alias_state()["challenger_mode"] == "shadow" and model_registry.alias_state()["share"] == 0
    assert model_registry.promote("challenger", by="ann").version == "2"
    assert model_registry.alias_state() == {
        "champion": "2", "challenger": "", "previous": "1", "challenger_mode": "", "share": 0.0,
    }
    model_registry.promote("2", by="ann")  # once more: nothing is lost
    assert model_registry.resolve("previous").version == "1"
    assert model_registry.rollback(by="bob").version == "1"
    assert [v.aliases for v in model_registry.versions()] == [("champion",), ("previous",), ()]
    assert model_registry.resolve("2").tags["rolled_back_by"] == "bob"
    assert model_registry.rollback(by="bob").version == "2"
    assert model_registry.resolve("2").tags["promoted_by"] == "ann"


def test_who_answers_beside_the_champion_is_said_by_a_command(project: Path) -> None:
    for weights in "ab":
        release(project, weights)
    model_registry.promote("1", by="ann")
    said = CliRunner().invoke(service_cli.app, ["challenge", "2"])
    assert said.exit_code == 0 and "nobody sees its answers" in said.output
    assert model_registry.alias_state()["challenger_mode"] == "shadow"
    assert CliRunner().invoke(service_cli.app, ["challenge", "2", "--share", "0.05"]).exit_code == 0
    assert model_registry.alias_state()["share"] == 0.05
    assert "the champion answers alone" in CliRunner().invoke(service_cli.app, ["challenge", "none"]).output
    assert model_registry.alias_state()["challenger"] == ""


def test_a_challenger_is_another_version_in_a_known_role(project: Path) -> None:
    release(project, "a")
    model_registry.promote("1", by="ann")
    with pytest.raises(RegistryError, match="version 1 is the champion"):
        model_registry.set_challenger("champion")
    with pytest.raises(ParameterError, match="wanted shadow or canary"):
        model_registry.set_challenger("1", "loud")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="a share of 0 to 1"):
        model_registry.set_challenger("1", "canary", 20)
    release(project, "b")
    model_registry.set_challenger("2")
    model_registry.clear_challenger()
    model_registry.clear_challenger()
    assert model_registry.alias_state()["challenger"] == ""


def test_what_is_not_there_is_refused_with_what_there_is(project: Path) -> None:
    with pytest.raises(RegistryError, match=r"no model 'champion'.*nothing is registered yet"):
        model_registry.resolve("champion")
    made = release(project, "a")
    model_registry.promote("1", by="ann")
    with pytest.raises(RegistryError, match="there is 1 champion"):
        model_registry.promote("7", by="ann")
    shutil.rmtree(made.folder)
    with pytest.raises(RegistryError, match="register its checkpoint again"):
        model_registry.resolve("champion")
    assert release(project, "a").version == model_registry.resolve("champion").version
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        model_registry.register(project / "no.pt", None, run="mine", stage="deploy", metrics={}, tags={})


def test_the_state_is_cheap_enough_to_ask_every_second(project: Path) -> None:
    release(project, "a")
    model_registry.promote("1", by="ann")
    taken_s = []
    for _ in range(30):
        started_s = time.perf_counter()
        model_registry.alias_state()
        taken_s.append(time.perf_counter() - started_s)
    assert min(taken_s) < 0.020  # the quickest: other work on this machine is none of ours


def _release_and_hang(root: str, where: str) -> None:
    os.environ["WORKBENCH_ROOT"] = root

    def hang(*_: object, **__: object) -> None:
        (Path(root) / "hung").touch()
        time.sleep(600)

    if where == "while copying":
        copy, copied = shutil.copyfile, list[str]()
        shutil.copyfile = lambda *a: (copy(*a), copied.append(""), len(copied) > 1 and hang())  # type: ignore
    else:
        model_registry._register = hang  # type: ignore[assignment]
    release(Path(root), "a")


@pytest.mark.parametrize("where", ["while copying", "before registering"])
def test_a_release_that_was_killed_is_completed_by_the_next(where: str, project: Path) -> None:
    killed = multiprocessing.get_context("spawn").Process(target=_release_and_hang, args=(str(project), where))
    killed.start()
    wait_until(lambda: (project / "hung").exists() or not killed.is_alive(), within_s=120)
    assert killed.is_alive() and killed.pid is not None
    os.kill(killed.pid, signal.SIGKILL)
    killed.join()
    assert model_registry.versions() == []
    made = release(project, "a")
    assert made.version == "1" and (made.folder / "engine" / "model.bin").read_text() == "aa"
    assert sorted(p.name for p in model_registry.folder().iterdir()) == [".lock", made.folder.name]


@pytest.mark.parametrize("step", ["_point", "_clear_challenger", "_note"])
def test_a_promotion_that_was_cut_off_leaves_a_champion_and_can_be_repeated(
    step: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for weights in "ab":
        release(project, weights)
    model_registry.promote("1", by="ann")
    model_registry.set_challenger("2", "canary", 0.5)
    real: Callable[..., None] = getattr(model_registry, step)

    def cut_off(client: object, *how: str) -> None:
        if step == "_point" and how[0] == "previous":
            real(client, *how)
        else:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(model_registry, step, cut_off)
        model_registry.promote("2", by="ann")
    state = model_registry.alias_state()
    assert (state["champion"], state["challenger"]) == (("1", "2") if step == "_point" else ("2", ""))
    model_registry.promote("2", by="ann")
    assert model_registry.alias_state() == {
        "champion": "2", "challenger": "", "previous": "1", "challenger_mode": "", "share": 0.0,
    }


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "postgresql://me@127.0.0.1:9/mlflow", "sqlite:////proc/no.db"])
def test_a_store_that_does_not_answer_is_named_within_seconds(
    url: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("WORKBENCH_TRACKING_URL", url)  # nothing listens there
    for ask in (model_registry.alias_state, lambda: release(project, "a"), lambda: model_registry.promote("1", by="a")):
        with pytest.raises(WorkbenchError, match="WORKBENCH_TRACKING_URL"):
            ask()
    monkeypatch.delenv("WORKBENCH_TRACKING_URL")
    assert model_registry.versions() == []
    assert release(project, "a").version == "1"  # whose files were copied already


def test_a_damaged_database_is_named(project: Path) -> None:
    (project / "data" / "mlflow.db").write_bytes(b"not a database" * 100)
    with pytest.raises(RegistryError, match="file is not a database"):
        model_registry.alias_state()
    assert "mlflow.db" in registry.tracking_url()
