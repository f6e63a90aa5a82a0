"""A team on real servers: eight stages of two researchers at once, seen by others who have nothing but the settings."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests import team_servers, watched
from tests.conftest import REPOSITORY, Project, make_project
from tests.dashboards.conftest import Door, Visitors, opened
from tests.dashboards.conftest import browser as browser  # a fixture
from tests.dashboards.conftest import visit as visit  # a fixture
from tests.processes import wait_until
from tests.team_servers import team as team  # a fixture
from workbench import (
    answers,
    audio,
    datasets,
    explorer,
    model_registry,
    monitoring,
    monitoring_page,
    shared_runs,
    standing,
    storage,
)
from workbench.answers import Opened
from workbench.cards import Tile
from workbench.marks import Marks
from workbench.query_log import QueryLog
from workbench.watching import Watcher
from workbench.widgets.timelines import SPANS

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


# --- dashboards ------------------------------------------------------------------------------------------------------


@contextmanager
def _away(projects: Mapping[str, Project]) -> Iterator[None]:
    """Take the researchers' folders away for a while: another machine does not have them."""
    moved = {person: projects[person].root.with_name(f"{person}-elsewhere") for person in PEOPLE}
    for person, elsewhere in moved.items():
        projects[person].root.rename(elsewhere)
    try:
        yield
    finally:
        for person, elsewhere in moved.items():
            elsewhere.rename(projects[person].root)


@pytest.fixture
def first(finished: dict[str, tuple[int, str]], projects: dict[str, Project], monkeypatch: pytest.MonkeyPatch) -> str:
    """Name whose model answers the team's users, and work in their folder, as they would."""
    monkeypatch.setenv("WORKBENCH_ROOT", str(projects["ada"].root))
    champion = model_registry.alias_state()["champion"]
    person = next(found.tags["run"] for found in model_registry.versions() if found.version == champion)
    monkeypatch.setenv("WORKBENCH_ROOT", str(projects[person].root))
    return person


@pytest.fixture(scope="module")
def newcomer(finished: dict[str, tuple[int, str]], tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Give a folder with nothing but the notebooks."""
    return make_project(tmp_path_factory.mktemp("newcomer"))


@pytest.fixture(scope="module")
def door(newcomer: Project, projects: dict[str, Project]) -> Iterator[Door]:
    """Give the newcomer's dashboards, which were refused until they had the key of users' names."""
    refused = newcomer.workbench("dashboards", "--port", str(team_servers.free_port()))
    assert refused.returncode == 2 and "secret.key" in refused.stderr, refused.stderr
    (newcomer.root / "data").mkdir(exist_ok=True)
    shutil.copy(projects["ada"].root / "data" / "secret.key", newcomer.root / "data")
    with ExitStack() as to_end:
        with _away(projects):
            found = to_end.enter_context(opened(newcomer, WORKBENCH_DASHBOARD_BRING_S="5"))
        yield found


def _analysis(visit: Visitors, door: Door, truth: Opened) -> Page:
    """Open the error analysis, and turn it to a model."""
    page = visit(door.page("error_analysis"))
    page.locator(".wb-model select").select_option(truth.source.title)
    run, _, model = truth.source.title.partition(" · ")
    expect(page.locator(".wb-path")).to_contain_text(f"run {run} · model of {model}")
    return page


def _show_query(page: Page, utterance_id: str) -> Locator:
    """Look a query up, and open it. Returns: its card."""
    page.locator(".wb-search").fill(utterance_id)
    rows = page.locator("table[aria-label=queries] tbody tr")
    expect(rows).to_have_count(1)
    rows.first.click()
    card = page.locator(".wb-clip").first
    expect(card.locator(".wb-player")).to_have_attribute("data-drawn", utterance_id)
    return card


def _expect_tiles(page: Page, tiles: Sequence[Tile]) -> None:
    words = ["".join([tile.label, tile.value, tile.interval, tile.verdict]) for tile in tiles]
    expect(page.locator(".wb-tile")).to_have_text(words)


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_on_a_newcomer_s_page_a_colleague_s_run_is_as_they_see_it_a_clip_plays_and_a_mark_comes_back(
        first: str, newcomer: Project, projects: dict[str, Project], door: Door, visit: Visitors) -> None:
    truth = answers.read(answers.latest(first))
    query = truth.data.scores.sort_values("duration_s").iloc[-1]
    clip = Path("data", "datasets", "audio", query["audio_sha"][:2], f"{query['audio_sha']}.wav")
    assert not (newcomer.root / clip).exists()
    with _away(projects):
        page = _analysis(visit, door, truth)
        expect(page.locator(".wb-headline")).to_have_text(explorer.opening(truth))
        _expect_tiles(page, explorer.tiles(truth))
        expect(page.locator(".wb-told")).to_have_text(f"{len(truth.data)} of {len(truth.data)} queries")
        player = _show_query(page, query["utterance_id"]).locator(".wb-player")
        n_bytes = int(player.get_attribute("data-bytes") or 0)
        assert n_bytes == pytest.approx(2 * audio.SAMPLE_RATE_HZ * query["duration_s"], abs=100)
        player.get_by_role("button", name="play", exact=True).click()
        expect(player).not_to_have_attribute("data-at", "0.00")
        assert player.get_attribute("data-refused") is None
        page.keyboard.press("1")
        page.get_by_label("your name").fill("Nia")
        page.get_by_role("button", name="go on").click()
        expect(page.locator(".wb-toast")).to_contain_text(f"{query['utterance_id']} marked: noise")
    assert (newcomer.root / clip).read_bytes() == (projects[first].root / clip).read_bytes()
    with opened(projects[first]) as theirs:
        seen = _show_query(_analysis(visit, theirs, truth), query["utterance_id"])
        expect(seen.locator(".wb-marks")).to_contain_text("noise by Nia")


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_on_a_newcomer_s_page_production_is_as_a_colleague_sees_it_and_goes_on(
        first: str, projects: dict[str, Project], door: Door, visit: Visitors) -> None:
    with closing(Watcher()) as watcher:
        scene = watcher.refresh()
    now, since_s = standing.stand(scene), max(scene.reading.start_s, scene.reading.last_s - SPANS["21 days"])
    with _away(projects):
        page = visit(door.page("monitoring"))
        expect(page.locator("[data-state]")).to_have_attribute("data-state", now.state)
        expect(page.locator(".wb-standing .wb-headline")).to_contain_text(now.sentence)
        expect(page.locator(".wb-rule")).to_have_text(now.rule)
        expect(page.locator(".wb-head")).to_contain_text(f"champion voice-search v{scene.lineup['champion']}")
        _expect_tiles(page, standing.tiles(scene, since_s))
        moved = page.locator("table[aria-label='what moved'] tbody tr")
        for name in monitoring_page.features(scene)["name"]:
            expect(moved.filter(has_text=name)).to_have_count(1)
        page.get_by_role("button", name="all", exact=True).click()
        queries = page.locator(".wb-tile", has_text="Queries").locator(".wb-value")
        expect(queries).to_have_text(f"{_n_asked():,}")
    with closing(QueryLog()) as log:
        log.append([replace(watched.asked(log, 0, 99)[-1], request_id="asked-while-they-look")])
    expect(queries).to_have_text(f"{_n_asked():,}")


def _n_asked() -> int:
    with closing(QueryLog()) as log:
        return len(monitoring.of_people(log.read()))


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_a_run_that_ends_while_the_dashboards_run_is_there_for_the_next_visitor(
        first: str, newcomer: Project, door: Door, visit: Visitors) -> None:
    for folder in (storage.run_folder, shared_runs.reports_folder):
        shutil.copytree(folder(first), folder("late"), ignore=shutil.ignore_patterns(shared_runs.OWNER))
    shared_runs.publish("late")
    wait_until(lambda: (newcomer.root / "data" / "runs" / "late" / "03_train" / storage.RECORD).is_file())
    options = visit(door.page("error_analysis")).locator(".wb-model option")
    expect(options.filter(has_text="late · train")).to_have_count(1)
