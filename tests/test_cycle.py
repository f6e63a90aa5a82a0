"""The real stages at toy size, through the real command: what a run leaves, what it repeats, and what a kill costs."""

import base64
import html
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from tests.conftest import Project, make_float32_project, make_project
from workbench import settings

STAGES = ("01_scope", "02_collect", "03_train", "04_analyze", "05_improve")
ORDER = ("run", "--to", "improve", "--run", "toy", "--size", "toy", "-p", "improve.n_steps=8")
QUIET = {"OMP_NUM_THREADS": "1", "WORKBENCH_SAVE_EVERY_S": "0"}
"""One thread, so that sums are added in one order; a save after every step, so that there is something to resume."""

pytestmark = pytest.mark.timeout(900)


def workbench(project: Project, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(project.command(*words), env=project.environment(**QUIET, **environment), cwd=project.root,
                          capture_output=True, text=True, timeout=600, check=False)


def records(project: Project) -> dict[str, Any]:
    return {stage: project.record(stage, "toy") for stage in STAGES}


@pytest.fixture(scope="module")
def unbroken(toy_run: tuple[Project, Project], tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(shutil.copytree(toy_run[1].root, tmp_path_factory.mktemp("unbroken") / "project"))
    done = workbench(project, *ORDER)
    assert done.returncode == 0, done.stdout + done.stderr
    return project


def test_a_run_leaves_a_record_and_an_offline_page_for_every_stage(unbroken: Project) -> None:
    for stage, record in records(unbroken).items():
        assert record["decision"]["sentence"]
        page = unbroken.report(f"{stage}.html", "toy").read_text()
        assert record["decision"]["sentence"][:20] in page
        assert "http://" not in page.replace("http://www.w3.org", "") and "https://" not in page
    index = unbroken.report("index.html", "toy").read_text()
    assert all(record["decision"]["sentence"].split(":")[0] in index for record in records(unbroken).values())
    assert unbroken.report("plotly.min.js", "toy").stat().st_size > 1_000_000


def test_dev_and_gate_voices_were_never_trained_on(unbroken: Project) -> None:
    version = records(unbroken)["05_improve"]["versions"]["dataset"]
    table = pd.read_parquet(unbroken.root / "data" / "datasets" / version / "manifest.parquet")
    voices = table.groupby("split")["speaker"].agg(set)
    assert not voices["train"] & (voices["dev"] | voices["gate"] | voices["test"] | voices["valid"])
    assert not voices["dev"] & voices["gate"]


def test_unchanged_stages_are_skipped_without_starting_a_kernel(unbroken: Project) -> None:
    before = {path: path.stat().st_mtime_ns for path in (unbroken.root / "reports" / "toy").glob("*.ipynb")}
    again = workbench(unbroken, *ORDER)
    assert again.returncode == 0
    assert again.stdout.count("unchanged") == len(STAGES)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def edit(project: Project, stage: str, change: Callable[[str], str]) -> None:
    """Change the text of a notebook's file."""
    path = project.root / "notebooks" / f"{stage}.ipynb"
    path.write_text(change(path.read_text()))


def test_editing_prose_runs_that_stage_again_and_trains_nothing(unbroken: Project) -> None:
    fits = sorted((unbroken.root / "data" / "cache" / "fits").iterdir())
    edit(unbroken, "03_train", lambda text: text.replace("Does the model learn from it?", "Does it learn from it?"))
    done = workbench(unbroken, *ORDER)
    assert done.returncode == 0, done.stderr
    assert sorted((unbroken.root / "data" / "cache" / "fits").iterdir()) == fits
    assert done.stdout.count("unchanged") == 4, done.stdout  # all but train
    assert "Does it learn from it?" in unbroken.report("03_train.html", "toy").read_text()


def test_running_analyze_again_asks_for_the_same_and_spends_no_look_of_improve(unbroken: Project) -> None:
    before = records(unbroken)
    assert len(pd.read_parquet(unbroken.root / "data" / "runs" / "toy" / "05_improve" / "predictions.parquet"))
    edit(unbroken, "04_analyze", lambda text: text.replace("Where it fails", "Where it fails most"))
    done = workbench(unbroken, *ORDER)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("unchanged") == 4, done.stdout  # all but analyze
    assert records(unbroken)["04_analyze"]["outputs"] == before["04_analyze"]["outputs"]


def test_what_a_recipe_invents_once_reaches_every_stage(unbroken: Project) -> None:
    recipe = unbroken.root / "notebooks" / "recipes" / "default.py"
    text = recipe.read_text()
    invented = (
        "\n\ndef whispered(waveform, rng):\n    return waveform * 0.1\n\n\n"
        "import dataclasses\nrecipe = dataclasses.replace(recipe, augmentations=(*recipe.augmentations, whispered),\n"
        "    slices={'noisy_car': 'noise == \"car\" and snr_db < 3'})\n"
    )
    recipe.write_text(text + invented)
    done = workbench(unbroken, *ORDER)
    recipe.write_text(text)
    assert done.returncode == 0, done.stderr
    found = records(unbroken)
    for stage in ("03_train", "05_improve"):
        assert "whispered" in found[stage]["parameters"]["recipe"]["augmentations"]
        assert "noisy_car" in found[stage]["parameters"]["recipe"]["slices"]
    assert "noisy_car" in found["04_analyze"]["parameters"]["slices"]
    slices = pd.read_parquet(unbroken.root / "data" / "runs" / "toy" / "04_analyze" / "slices.parquet")
    assert "noisy_car" in set(slices["name"])


def test_a_notebook_run_by_hand_reads_the_latest_run_and_leaves_batch_records_alone(unbroken: Project) -> None:
    batch = records(unbroken)["04_analyze"]
    words = [sys.executable, "-m", "jupyter", "execute", "notebooks/04_analyze.ipynb"]
    subprocess.run(words, env=unbroken.environment(**QUIET), cwd=unbroken.root, check=True, capture_output=True,
                   timeout=300)
    by_hand = unbroken.record("04_analyze", settings.lab_run())
    assert by_hand["metrics"]["wer"] == batch["metrics"]["wer"]
    assert records(unbroken)["04_analyze"] == batch


def saved_step(project: Project) -> int:
    """Give the step of the training under way, -1 when none is saved."""
    for path in (project.root / "data" / "cache" / "fits").glob("*/resume.pt"):
        try:
            return int(torch.load(path)["past"]["step"])
        except (OSError, RuntimeError, EOFError):
            continue
    return -1


def is_under_way(project: Project, stage: str) -> bool:
    folder = project.root / "data" / "runs" / "toy" / stage
    return folder.is_dir() and not (folder / "record.json").is_file()


def kill_when(project: Project, moment: Callable[[], bool]) -> None:
    """Start the run, and kill it at a moment."""
    process = subprocess.Popen(project.command(*ORDER), env=project.environment(**QUIET), cwd=project.root,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while not moment():
        assert process.poll() is None and time.monotonic() < deadline, "the run ended before the moment came"
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def comparable(record: Mapping[str, Any]) -> Any:
    """Keep what seeds fix: no times, no paths, no versions of code."""
    return {name: record[name] for name in ("metrics", "decision")}


@pytest.mark.slow
def test_a_run_killed_in_every_stage_and_twice_in_training_ends_as_an_unbroken_one(
    tmp_path: Path, toy_run: tuple[Project, Project]
) -> None:
    reference, broken = toy_run[0], make_float32_project(tmp_path)
    for stage in ("01_scope", "02_collect"):
        kill_when(broken, lambda stage=stage: is_under_way(broken, stage))  # type: ignore[misc]
    kill_when(broken, lambda: saved_step(broken) >= 2)
    kill_when(broken, lambda: saved_step(broken) >= 6)
    kill_when(broken, lambda: is_under_way(broken, "04_analyze"))
    kill_when(broken, lambda: is_under_way(broken, "05_improve"))
    done = workbench(broken, *ORDER)
    assert done.returncode == 0, done.stdout + done.stderr
    expected, found = records(reference), records(broken)
    for stage in STAGES:
        assert json.dumps(comparable(found[stage])) == json.dumps(comparable(expected[stage])), stage
    assert found["02_collect"]["outputs"] == expected["02_collect"]["outputs"]


@pytest.fixture(scope="module")
def scoped(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = make_project(tmp_path_factory.mktemp("scoped"))
    assert workbench(project, "run", "scope", "--run", "toy", "--size", "toy").returncode == 0
    return project


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("-p", "collect.sources=[nowhere/manifest.csv]"), "nowhere/manifest.csv"),
        (("-p", "collect.sources=[few.csv]"), "text"),
        (("--size", "huge"), "toy, small, full"),
        (("-p", "collect.seeds=1"), "seed"),
        (("-p", "collect.seed=one"), "int"),
    ],
)
def test_a_users_mistake_is_one_message_and_leaves_nothing_half_written(
    scoped: Project, words: tuple[str, ...], message: str
) -> None:
    (scoped.root / "few.csv").write_text("audio_path,speaker\na.wav,b\n")
    done = workbench(scoped, "run", "collect", "--run", "toy", "--size", "toy", *words)
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stdout + done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (scoped.root / "data" / "runs" / "toy" / "02_collect" / "record.json").exists()
    assert not list((scoped.root / "data").glob("datasets/*/manifest.parquet"))


def test_without_the_demo_voices_the_message_names_the_command(scoped: Project, tmp_path: Path) -> None:
    (tmp_path / "espeakng_loader.py").write_text("raise ModuleNotFoundError('No module', name='espeakng_loader')")
    done = workbench(scoped, "run", "collect", "--run", "toy", "--size", "toy", PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    assert "pip install -e '.[demo]'" in done.stderr


def test_the_runs_model_transcribes_and_is_evaluated(unbroken: Project) -> None:
    version = records(unbroken)["02_collect"]["versions"]["dataset"]
    table = pd.read_parquet(unbroken.root / "data" / "datasets" / version / "manifest.parquet")
    rows = table[(table["split"] == "dev") & table["text"].ne("")].head(8)
    table = rows.assign(audio_path=[str(unbroken.root / "data" / path) for path in rows["audio_path"]])
    table[["audio_path", "text", "speaker", "noise"]].to_csv(unbroken.root / "some.csv", index=False)
    spoken = workbench(unbroken, "transcribe", *table["audio_path"].head(2), "--model", "toy")
    assert spoken.returncode == 0 and len(spoken.stdout.strip().splitlines()) == 2
    done = workbench(unbroken, "evaluate", "toy", "--manifest", "some.csv", "--by", "noise", "--json", "out.json",
                     "--root", str(unbroken.root))
    assert done.returncode == 0, done.stderr
    found = json.loads((unbroken.root / "out.json").read_text())
    assert found[0]["slice"] == "all" and found[0]["n_utterances"] == 8
    assert found[0]["wer_low"] <= found[0]["wer"] <= found[0]["wer_high"]
    assert {row["slice"] for row in found[1:]} == {f"noise = {noise}" for noise in table["noise"]}
    refused = workbench(unbroken, "evaluate", "toy", "--manifest", "some.csv", "--by", "weather",
                        "--root", str(unbroken.root))
    assert refused.returncode == 2 and "no column 'weather'" in refused.stderr


def test_a_base_that_is_no_whisper_checkpoint_is_refused(unbroken: Project) -> None:
    (unbroken.root / "bad.pt").write_bytes(b"nothing")
    done = workbench(unbroken, "run", "train", "--run", "toy", "--size", "toy", "-p", "train.base=bad.pt")
    assert done.returncode == 2
    assert "not a PyTorch checkpoint" in done.stderr


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Give a project whose data/ is a disk of its own, mounted with some options; needs the right to mount."""
    project = make_project(tmp_path)
    data = project.root / "data"
    data.mkdir()

    def mount(options: str) -> Path:
        words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(data)]
        done = subprocess.run(words, capture_output=True, check=False)
        if done.returncode:
            pytest.skip(f"mounting is not allowed here: {done.stderr.decode().strip()}")
        return data

    yield mount
    subprocess.run(["umount", "-l", str(data)], capture_output=True, check=False)


@pytest.mark.parametrize(("options", "message"), [("size=3m", "disk is full"), ("ro", "cannot be written to")])
def test_a_full_or_read_only_disk_is_one_message_and_leaves_no_half_stage(
    small_disk: Callable[[str], Path], tmp_path: Path, options: str, message: str
) -> None:
    data = small_disk(options)
    done = workbench(Project(tmp_path), "run", "--to", "collect", "--run", "toy", "--size", "toy")
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr and "Traceback" not in done.stdout + done.stderr
    assert not (data / "runs" / "toy" / "02_collect" / "record.json").exists()
    assert not list(data.glob("**/.*.parquet"))


# --- the second half, with a live server in the middle ---------------------------------------------------------------


@pytest.fixture(scope="module")
def cycle(unbroken: Project) -> Iterator[Project]:
    """Go on where improve ended: deploy, weeks of traffic, retraining; the server that deploy starts is stopped."""
    try:
        done = workbench(unbroken, *(word for word in ORDER if word not in ("--to", "improve")),
                         "-p", "monitor.n_queries=150")
        assert done.returncode == 0, done.stdout + done.stderr
        yield unbroken
    finally:
        workbench(unbroken, "stop")


def log_rows(project: Project) -> pd.DataFrame:
    with closing(sqlite3.connect(project.root / "data" / "queries.db")) as database:
        return pd.read_sql("select * from queries", database)


def test_a_server_outlives_deploy_and_every_answered_query_is_in_its_log(cycle: Project) -> None:
    sent = pd.concat([pd.read_parquet(path) for path in (cycle.root / "data" / "traffic").glob("*/sent.parquet")])
    logged = log_rows(cycle).query("role != 'shadow'")
    assert sent["week"].value_counts().to_dict() == {1: 150, 2: 150, 3: 150, 4: 150}
    assert sent["status"].eq(200).all() and logged["request_id"].is_unique
    assert set(sent["request_id"]) <= set(logged["request_id"])
    assert cycle.record("06_deploy", "toy")["metrics"]["n_failed"]["value"] == 0


def test_monitor_reads_the_weeks_that_people_sent_and_no_load_test(cycle: Project) -> None:
    windows = pd.read_parquet(cycle.root / "data" / "runs" / "toy" / "07_monitor" / "windows.parquet")
    assert windows["window"].tolist() == [1, 2, 3] and windows["n_queries"].tolist() == [150, 150, 150]


def test_retraining_learns_from_consented_queries_of_users_that_judge_nothing(cycle: Project) -> None:
    record = cycle.record("08_retrain", "toy")
    table = pd.read_parquet(cycle.root / "data" / "datasets" / record["versions"]["dataset"] / "manifest.parquet")
    judged = pd.read_parquet(cycle.root / "data" / "runs" / "toy" / "08_retrain" / "judged.parquet")
    learned, logged = table[table["source"].eq("production")], log_rows(cycle).set_index("request_id")
    assert len(learned) and len(judged)
    assert logged.loc[learned["utterance_id"], "consent"].eq("audio").all()
    assert not set(learned["speaker"]) & set(judged["speaker"])


def test_pages_hold_no_words_of_production(cycle: Project) -> None:
    said = set(log_rows(cycle)["hypothesis"]) | set(log_rows(cycle)["heard_letters"])
    said = {words for words in said if len(words) > 12}
    assert said
    for stage in ("07_monitor", "08_retrain"):
        pages = cycle.report(f"{stage}.html", "toy").read_text() + cycle.report(f"{stage}.ipynb", "toy").read_text()
        assert not [words for words in said if words in pages]


def test_the_whole_cycle_unchanged_starts_no_kernel(cycle: Project) -> None:
    again = workbench(cycle, *(word for word in ORDER if word not in ("--to", "improve")), "-p",
                      "monitor.n_queries=150")
    assert again.returncode == 0 and again.stdout.count("unchanged") == 8, again.stdout + again.stderr


def readable(path: Path) -> str:
    """Give all that a file says: tables and pages decoded, whatever notebooks and pages carry in base64 too."""
    raw = path.read_bytes()
    words = [raw.decode("latin-1"), html.unescape(raw.decode("utf-8", "ignore"))]
    if path.suffix == ".parquet":
        words.append(pd.read_parquet(path).to_csv())
    if path.suffix in (".ipynb", ".html"):
        words += [base64.b64decode(found + b"=" * (-len(found) % 4)).decode("latin-1")
                  for found in re.findall(rb"[A-Za-z0-9+/]{80,}", raw)]
    return "\n".join(words)


def mention(needles: set[str], text: str) -> re.Match[str] | None:
    """Find the first mention of any needle that is a word of its own: plainly first, as most texts have none."""
    if not any(needle in text for needle in needles):
        return None
    # not after a backslash: "\\u0003" in a vocabulary is a letter, and no user
    return re.search(rf"(?<![\w\\-])(?:{'|'.join(map(re.escape, sorted(needles)))})(?![\w-])", text)


def test_a_forgotten_user_is_in_no_database_file_dataset_artifact_notebook_or_page(cycle: Project) -> None:
    record = cycle.record("08_retrain", "toy")
    manifest = cycle.root / "data" / "datasets" / record["versions"]["dataset"] / "manifest.parquet"
    table, logged = pd.read_parquet(manifest), log_rows(cycle).set_index("request_id")
    sent = pd.concat([pd.read_parquet(path) for path in (cycle.root / "data" / "traffic").glob("*/sent.parquet")])
    learned = sent[sent["request_id"].isin(table["utterance_id"])]
    user = learned["user"].iloc[0]
    theirs = sent[sent["user"] == user]
    hashed = logged.loc[theirs["request_id"], "user_hash"].iloc[0]
    own = {sha for sha in logged.loc[theirs["request_id"], "audio_sha"] if sha}
    is_theirs = table["speaker"] == hashed
    own |= set(table.loc[is_theirs, "audio_sha"]) - set(table.loc[~is_theirs, "audio_sha"])
    assert own and hashed
    done = workbench(cycle, "forget", user)
    assert done.returncode == 0 and "toy/retrain" in done.stdout, done.stdout + done.stderr
    assert "toy-retrain-" in done.stdout

    needles = {user, hashed, *own}
    files = [path for place in ("data", "reports") for path in (cycle.root / place).rglob("*") if path.is_file()]
    assert {path.suffix for path in files} >= {".db", ".parquet", ".ipynb", ".html", ".json"}
    left = {str(path.relative_to(cycle.root)): hit[0] for path in files
            if (hit := mention(needles, path.name + "\n" + readable(path)))}
    assert not left
    kept = log_rows(cycle).set_index("request_id").loc[theirs["request_id"]]
    assert kept["user_hash"].eq("").all() and kept["hypothesis"].eq("").all() and kept["duration_s"].gt(0).all()
    card = json.loads(manifest.with_name("card.json").read_text())
    assert card["tombstones"] and not card["is_reproducible"]
