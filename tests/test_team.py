"""A team on real servers: eight stages of two researchers at once, seen by a third who has nothing but the settings."""

import json
import os
import subprocess
from contextlib import closing

import pytest

from tests import team_servers
from tests.conftest import REPOSITORY, Project, make_project
from tests.team_servers import team as team  # a fixture
from workbench import answers, audio, datasets, shared_runs, storage
from workbench.marks import Marks

PEOPLE = {"ada": ("1", "0"), "bob": ("2", "1")}
"""Whose phones say what: two who simulate on one log send other people, as docs/team.md says."""


STAGES = tuple(path.stem for path in sorted((REPOSITORY / "notebooks").glob("[0-9][0-9]_*.ipynb")))


def _files_there(prefix: str) -> set[str]:
    """Name the files in the team's bucket under a prefix, by AWS's own client; an empty one is none."""
    pages = team_servers.client(os.environ).get_paginator("list_objects_v2").paginate(
        Bucket=team_servers.BUCKET, Prefix=prefix)
    return {found["Key"].removeprefix(prefix) for page in pages for found in page.get("Contents", []) if found["Size"]}


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Project]:
    """Give three project folders, as on three machines, with the key of users' names copied to all."""
    made = {name: make_project(tmp_path_factory.mktemp(name)) for name in (*PEOPLE, "eve")}
    for project in made.values():
        (project.root / "data").mkdir()
        (project.root / "data" / "secret.key").write_bytes(b"0123456789abcdef0123456789abcdef")
    return made


@pytest.fixture(scope="module")
def finished(projects: dict[str, Project], team: dict[str, str]) -> dict[str, tuple[int, str]]:
    """Let both run all eight stages at once. Returns: exit code and what was said, by person."""
    running = {}
    for person, (phones, seed) in PEOPLE.items():
        project = projects[person]
        words = project.command("run", "--run", person, "--size", "toy", "--json", "-p", f"monitor.seed={phones}",
                                "-p", f"train.seed={seed}")
        running[person] = subprocess.Popen(words, env=project.environment(OMP_NUM_THREADS="1"), text=True,
                                           cwd=project.root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    ended = {person: (process.communicate(timeout=2000)[0], process.returncode) for person, process in running.items()}
    for person in PEOPLE:
        projects[person].workbench("stop")
    return {person: (code, said) for person, (said, code) in ended.items()}


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_both_go_through_all_stages_and_nobody_is_in_the_other_s_way(
        finished: dict[str, tuple[int, str]], projects: dict[str, Project], team: dict[str, str]) -> None:
    for person, (code, said) in finished.items():
        told = json.loads(said.splitlines()[-1])
        assert code == told["exit_code"] == 0 and not told["is_waiting"], said
        assert len(told["stages"]) == 8 and all(stage["finished"] for stage in told["stages"])
        assert told["published"] == f"{team['WORKBENCH_STORE_URL']}/reports/{person}/index.html"
        there = _files_there(f"voice/reports/{person}/")
        assert {"index.html", *(f"{stage}.{kind}" for stage in STAGES for kind in ("ipynb", "html"))} <= there
    versions = [line.split() for line in projects["ada"].workbench("models").stdout.splitlines()[1:] if line]
    assert sorted(words[0] for words in versions) == ["1", "2", "3", "4"]
    assert sum("champion" in words for words in versions) == 1


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_a_third_folder_sees_both_side_by_side_and_serves_their_champion(
        finished: dict[str, tuple[int, str]], projects: dict[str, Project]) -> None:
    eve = projects["eve"]
    listed = eve.workbench("runs").stdout
    assert "ada  8/8" in listed and "bob  8/8" in listed
    compared = eve.workbench("diff", "ada", "bob")
    assert compared.returncode == 0, compared.stderr
    seeds = next(line.split() for line in compared.stdout.splitlines() if line.startswith("monitor") and "seed" in line)
    assert seeds == ["monitor", "seed", "1", "2"]
    assert "paired" in compared.stdout  # the same dev speakers heard both models
    served = eve.workbench("serve", "--model", "champion", "--port", "0", "--detach", "--no-auth")
    assert served.returncode == 0 and ", with " in served.stdout, served.stderr
    assert eve.workbench("stop").returncode == 0
    assert not list((eve.root / "data" / "runs").rglob("*.pt")) and not (eve.root / "data" / "mlflow.db").exists()


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_a_colleague_s_page_opens_on_another_machine_and_one_clip_is_heard(
        finished: dict[str, tuple[int, str]], projects: dict[str, Project], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_ROOT", str(projects["eve"].root))
    shared_runs.bring_all()
    source = next(found for found in answers.sources("ada") if found.stage == "train")
    train = storage.read_record("ada", "train")
    assert train is not None
    heard = train.table("listened").assign(audio_path="/of/another/machine.wav").iloc[0]
    assert source.finished and audio.duration_s(answers.samples(dict(heard))) > 0.2
    assert len(list(datasets.folder("audio").rglob("*.wav"))) == 1
    with closing(Marks()) as kept:
        kept.add("cause", "noise", utterance_id=str(heard["utterance_id"]), audio_sha=str(heard["audio_sha"]), by="eve")
    monkeypatch.setenv("WORKBENCH_ROOT", str(projects["bob"].root))
    with closing(Marks()) as kept:
        assert kept.latest("cause")["by"].tolist() == ["eve"]
