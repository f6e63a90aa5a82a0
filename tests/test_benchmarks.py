"""Benchmarks run: each says what it takes, its docstring shows nothing else, and small ones leave their tables."""

import ast
import contextlib
import importlib.util
import io
import json
import multiprocessing
import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest

import workbench

ROOT = Path(workbench.__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"
FILES = {path.stem: path for path in sorted(BENCHMARKS.glob("*.py")) if "ArgumentParser(" in path.read_text()}
DOCSTRINGS = {name: ast.get_docstring(ast.parse(path.read_text())) or "" for name, path in FILES.items()}
PEERS = ("faster_whisper", "tokenizers")
"""What only the extra `peers` is sure to install."""


def slow(test: Callable[..., None]) -> Callable[..., None]:
    """Mark what starts many processes: on a busy machine five minutes may not do."""
    return pytest.mark.slow(pytest.mark.timeout(1200)(test))


def asked_for_help(files: Mapping[str, Path]) -> dict[str, str]:
    """Run all files with --help in this process, from where their docstrings run them. Returns: what each said."""
    usual = [place for place in sys.path if place not in ("", str(ROOT), str(Path(__file__).parent))]
    said = {}
    for name, path in files.items():
        sys.path[:] = [str(ROOT if f"-m benchmarks.{name}" in DOCSTRINGS[name] else BENCHMARKS), *usual]
        sys.argv, before = [str(path), "--help"], set(sys.modules)
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            try:
                runpy.run_path(str(path), run_name="__main__")
            except SystemExit as end:
                said[name] = printed.getvalue() if end.code == 0 else f"ended with {end.code}"
            except Exception as error:  # a test of its own tells of it
                said[name] = f"{type(error).__name__}: {error}"
        for each in set(sys.modules) - before:  # the next one finds by itself what it needs
            if each.startswith(("benchmarks", "tests")) or {BENCHMARKS, BENCHMARKS.parent / "tests"} & set(
                    Path(str(getattr(sys.modules[each], "__file__", ""))).parents):
                del sys.modules[each]
    return said


@pytest.fixture(scope="module")
def helps() -> Iterator[dict[str, str]]:
    """Give what each benchmark says of itself: all in one process, which loads PyTorch once."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        yield pool.apply(asked_for_help, (FILES,))


@pytest.mark.parametrize("name", FILES)
def test_a_benchmark_says_what_it_takes_and_its_docstring_shows_no_other(name: str, helps: dict[str, str]) -> None:
    if any(f"No module named '{module}'" in helps[name] for module in PEERS):
        pytest.skip("needs what the extra `peers` installs")
    assert helps[name].startswith("usage: "), helps[name]
    taken = set(re.findall(r"^  (--[\w-]+)", helps[name], re.M))
    commands = re.findall(r"^ {4}(?:.*&& )?python (?:-m benchmarks\.|benchmarks/)(.*)$", DOCSTRINGS[name], re.M)
    assert commands
    for command in commands:
        assert re.match(rf"{name}(\.py)?( |$)", command), f"{command} is no command of {name}"
        shown = set(re.findall(r"(?<= |\[)--[\w-]+", command.partition(" # ")[0]))
        assert shown <= taken, f"{name} does not take {shown - taken}"


class Trial(NamedTuple):
    """A small call of a benchmark, and what its table must hold: a column with these values."""

    name: str
    words: str
    column: str
    values: tuple[str | int | float, ...]


TRIALS = (
    Trial("scoring", "--sizes 50 100 --rounds 1 --loops 1", "n_utterances", (50, 100)),
    Trial("memory", "--sizes 8 16", "n_utterances", (8, 16, 800, 1600)),
    Trial("monitor_rows", "--rows 1000 2000 --rounds 1", "rows", (1000, 2000)),
    Trial("startup", "--rounds 1", "command", (
        "python -c pass", "import workbench", "workbench --help", "workbench run --help", "workbench runs",
        "import pandas", "import torch")),
    Trial("training", "--sizes toy --batches 2 --clips 1 2 --rounds 1 --steps 2 --usual-steps 1", "clip_s", (1.0, 2.0)),
    Trial("stage_overhead", "--work 0.1 --rounds 1", "work_s", (0.1,)),
    Trial("kept_memory", "--shape tiny --clips 2 --rounds 1", "shape", ("tiny",)),
    Trial("replicas", "--phones 1 2 --rounds 1", "place", ("process, 1 thread", "process", "1 replica", "2 replicas")),
    Trial("attention", "--frames 10 20 --rounds 1", "frames", (10, 20)),
    Trial("spinning", "--counts 5000 --busy 0 --rounds 1 --steps 2", "threads", (1, os.cpu_count() or 1)),
    Trial("batches_ahead", "--sizes toy --batches 2 --makers 0 --steps 2", "batch_size", (2,)),
    Trial("at_once", "--clips 1 2 --rounds 1", "clips", (1, 2)),
    Trial("batch_decoding", "--sizes 2 4 --rounds 1 --contestants ours 'ours in torch'", "n_clips", (2, 4)),
)
AGAINST_PEERS = (
    Trial("batch_decoding", "--sizes 2 4 --rounds 1 --most 1", "contestant",
          ("ours", "ours in torch", "openai-whisper", "faster-whisper")),
    Trial("http_throughput", "--rounds 1 --peer-workers 1", "contestant", ("ours", "peer, 1 worker")),
)


def tried(trial: Trial, folder: Path) -> tuple[pd.DataFrame, str]:
    """Call a benchmark as its docstring does. Returns: its table, and what it said of it."""
    is_module = f"-m benchmarks.{trial.name}" in DOCSTRINGS[trial.name]
    program = ["-m", f"benchmarks.{trial.name}"] if is_module else [str(FILES[trial.name])]
    done = subprocess.run([sys.executable, *program, *shlex.split(trial.words)], cwd=ROOT, text=True, check=False,
                          capture_output=True, env={**os.environ, "WORKBENCH_BENCHMARKS": str(folder)})
    assert done.returncode == 0, done.stderr[-3000:]
    (table,) = folder.glob(f"{trial.name}*.csv")
    said = table.with_suffix(".txt").read_text()
    assert said.partition("\n")[2].partition("\n")[2] in done.stdout
    return pd.read_csv(table), said


def assert_told(trial: Trial, folder: Path) -> None:
    table, said = tried(trial, folder)
    assert set(table[trial.column]) == set(trial.values)
    assert said.startswith(f"{trial.name}.py ")
    numbers = said.replace(",", "").split()
    for value in trial.values:
        assert value in said if isinstance(value, str) else f"{value:g}" in numbers


@slow
@pytest.mark.parametrize("trial", TRIALS, ids=lambda trial: trial.name)
def test_a_small_trial_ends_and_leaves_a_row_of_each_size(trial: Trial, tmp_path: Path) -> None:
    assert_told(trial, tmp_path)


@slow
@pytest.mark.skipif(importlib.util.find_spec("faster_whisper") is None, reason="needs the extra `peers`")
@pytest.mark.parametrize("trial", AGAINST_PEERS, ids=lambda trial: trial.name)
def test_a_small_trial_against_peers_ends_and_leaves_a_row_of_each(trial: Trial, tmp_path: Path) -> None:
    assert_told(trial, tmp_path)


@slow
def test_a_small_trial_of_the_live_server_ends_and_leaves_a_row_of_each_number_of_phones(root: Path) -> None:
    assert_told(Trial("service", "--rounds 1", "phones", (1, 4, 8, 16, 32)), root)


def test_another_decision_and_a_figure_that_left_its_interval_are_told(tmp_path: Path,
                                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import decisions

    def record(when: str, stage: str, outcome: str, wer: float) -> None:
        path = tmp_path / when / "data" / "runs" / decisions.RUN / stage / "record.json"
        path.parent.mkdir(parents=True)
        interval = {"value": wer, "low": wer - 1, "high": wer + 1, "note": ""}
        metrics = {"wer": interval, "n": {**interval, "low": wer, "high": wer}}
        path.write_text(json.dumps({"stage": stage, "metrics": metrics, "decision": {"outcome": outcome}}))

    for when, shipped, wer in (("before", "yes", 10.0), ("now", "no", 10.5)):
        record(when, "train", "done", 2 * wer)
        record(when, "deploy", shipped, wer + 2 * (when == "now"))
    lines = decisions.told(decisions.side_by_side(tmp_path / "before", tmp_path / "now"))
    assert "1 of 2 decisions are the same" in lines and "1 of 2 figures lie in the interval that they had" in lines
    assert lines[-1] == "outside: deploy wer"


@slow
def test_training_from_nothing_is_followed_to_its_end(root: Path) -> None:
    from test_training import tones

    from workbench import corpora

    parts = [tones(root, 40, number).assign(split=split, speaker=split, noise="quiet")
             for number, split in enumerate(("train", "valid", "dev", "gate", "test"))]
    pd.concat(parts).query("text != ''").drop(columns="reference").to_csv(root / "manifest.csv", index=False)
    corpora.collect([str(root / "manifest.csv")])
    table, said = tried(Trial("from_nothing", "--first '' --size toy --quiet 4", "", ()), root)
    assert set(table["contestant"]) == {"today"} and table["step"].iloc[-1] == table["of"].iloc[-1]
    assert table["wer"].notna().all() and table["cpu_s"].is_monotonic_increasing
    assert said.count("today") == 3, "one row for each goal"
