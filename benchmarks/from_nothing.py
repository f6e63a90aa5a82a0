"""How soon does training from nothing hear the queries? The default recipe of today and the project's first, at once.

    python benchmarks/from_nothing.py --first 2973453 --loop c42fbd7 --minutes 9

Both learn the default size from the same clips of a dataset of this project (`workbench run --to collect` makes one),
each on a core of its own, with the package, the recipe and the number of steps of its time. From a third of the steps
on, the WER on quiet dev clips is taken twenty times, off the clock. `--first` is the first commit where a fit can run
from end to end, and the loop and the recipe of `--loop` are put into it: the commit that brought them could not import
all that it needs. A contestant that is not done after `--minutes` is stopped. Wanted: 5 % in half of the first
version's time. The table goes to reports/benchmarks/from_nothing.csv.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from workbench import datasets, storage

REPOSITORY = Path(__file__).parents[1]
GOALS = (0.20, 0.10, 0.05)
OF_LOOP = ("workbench/training.py", "notebooks/recipes/default.py")
# What each contestant runs, with the package of its own time; the clock stands still while the WER is taken.
FIT = """
import json, os, sys, time
from dataclasses import replace
import pandas as pd, torch
from whisper import decoding
from workbench import audio, recipes, recognizers, scoring, settings, training, whisper_model
folder, n_steps, n_threads, seed = sys.argv[1], *map(int, sys.argv[2:])
torch.set_num_threads(n_threads)
train, quiet = (pd.read_parquet(f"{folder}/{name}.parquet") for name in ("train", "quiet"))
recordings = [audio.read(path) for path in quiet["audio_path"]]
# Each has one hypothesis; Whisper's choice among several divides by a length, which is zero while nothing is learned.
decoding.MaximumLikelihoodRanker.rank = lambda self, tokens, sum_logprobs: [0] * len(tokens)
how, n_steps = recipes.load("default"), n_steps or settings.amounts("small").n_steps
how = replace(how, fit=replace(how.fit, n_validations=1))
listens = {round(n_steps * (i + 10) / 30) for i in range(21)}
seconds, losses, step = {"wall_s": 0.0, "cpu_s": 0.0}, [], training._Training._step
def timed(self, number):
    began = time.monotonic(), time.process_time()
    losses.append(step(self, number))
    seconds["wall_s"] += time.monotonic() - began[0]
    seconds["cpu_s"] += time.process_time() - began[1]
    if number + 1 in listens or (number + 1) % 100 == 0:
        row = {"step": number + 1, "of": n_steps, **seconds, "loss": sum(losses) / len(losses), "wer": None}
        losses.clear()
        if number + 1 in listens:
            heard = recognizers.WhisperRecognizer(self.model).transcribe(recordings)
            scores = scoring.score(quiet, [hypothesis.text for hypothesis in heard])
            row["wer"] = float(scores["n_errors"].sum() / scores["n_words"].sum())
        print(json.dumps(row), flush=True)
    return losses[-1] if losses else row["loss"]
training._Training._step = timed
training.fit(whisper_model.build("", "small", seed=seed), train, valid=None, recipe=how, n_steps=n_steps, seed=seed)
"""


def extract(commit: str, folder: Path, paths: Sequence[str] = ()) -> None:
    """Write a commit's files into a folder."""
    command = ["git", "archive", commit, *paths]
    packed = subprocess.run(command, cwd=REPOSITORY, check=True, stdout=subprocess.PIPE).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")


def start(name: str, code: Path, folder: Path, options: argparse.Namespace) -> "subprocess.Popen[bytes]":
    """Begin to train with the package that lies in a folder; what it tells is written as it comes."""
    (folder / name / "notebooks").mkdir(parents=True)
    (folder / name / "notebooks" / "recipes").symlink_to(code / "notebooks" / "recipes")
    environment = {**os.environ, "PYTHONPATH": str(code), "WORKBENCH_ROOT": str(folder / name)}
    n_steps = options.steps if name == "today" else 0
    command = [sys.executable, "-c", FIT, str(folder), *map(str, (n_steps, options.threads, options.seed))]
    with (folder / f"{name}.jsonl").open("wb") as told, (folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen(command, cwd=code, env=environment, stdout=told, stderr=log)


def curve(file: Path) -> pd.DataFrame:
    """Read what a contestant told. Returns: step, of (all its steps), wall_s, cpu_s, loss, wer."""
    lines = [line for line in file.read_text().splitlines() if line.startswith("{") and line.endswith("}")]
    columns = ["step", "of", "wall_s", "cpu_s", "loss", "wer"]
    return pd.DataFrame([json.loads(line) for line in lines], columns=columns).astype({"wer": float})


def write_data(version: str, folder: Path, n_quiet: int) -> None:
    """Lay out what both learn from and are judged on."""
    versions = [path.parent for path in datasets.folder("x").parent.glob("*/card.json")]
    speech = datasets.load(version or max(versions, key=lambda path: path.stat().st_mtime).name)
    quiet = speech.dev[speech.dev["noise"].eq("quiet")].head(n_quiet)
    for name, table in (("train", speech.train), ("quiet", quiet)):
        storage.write_table(folder / f"{name}.parquet", table.reset_index(drop=True))
    print(f"dataset {speech.version}: {len(speech.train):,} clips to learn from, {len(quiet)} quiet ones of dev")


def reached(told: pd.DataFrame) -> Iterator[dict[str, object]]:
    """Say when each goal was reached first, by the clock of the steps; nan for never."""
    last = told.iloc[-1] if len(told) else pd.Series(0, told.columns)
    for goal in GOALS:
        there = told[told["wer"].le(goal)].head(1)[["step", "wall_s", "cpu_s"]]
        yield {"wer": goal, **(there.iloc[0] if len(there) else pd.Series(np.nan, ["step", "wall_s", "cpu_s"])),
               "last_wer": told["wer"].dropna().iloc[-1] if told["wer"].notna().any() else np.nan,
               "last_step": int(last["step"]), "of": int(last["of"]), "last_wall_s": last["wall_s"],
               "last_cpu_s": last["cpu_s"]}


def main() -> None:
    """Run the benchmark and print when each reached which WER."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--first", default="2973453", help="commit; empty: only what is here")
    parser.add_argument("--loop", default="c42fbd7", help="commit whose loop and recipe are put into the first")
    parser.add_argument("--version", default="", help="of the dataset; empty: the newest")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=0, help="of today's; 0: as the size says")
    parser.add_argument("--quiet", type=int, default=200, help="clips to judge by")
    parser.add_argument("--threads", type=int, default=1, help="of each")
    parser.add_argument("--minutes", type=float, default=60.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_data(options.version, folder, options.quiet)
        contestants = {"today": REPOSITORY}
        if options.first:
            contestants["first"] = folder / "code"
            extract(options.first, folder / "code")
            extract(options.loop or options.first, folder / "code", OF_LOOP if options.loop else ())
        running = {each: start(each, code, folder, options) for each, code in contestants.items()}
        end = pd.Timestamp.now() + pd.Timedelta(minutes=options.minutes)
        for process in running.values():
            try:
                process.wait(max(0.1, (end - pd.Timestamp.now()).total_seconds()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        failed = [f"{each} failed: {(folder / f'{each}.log').read_text()[-2000:]}" for each, process in running.items()
                  if process.returncode > 0]  # below 0 it was stopped
        curves = {each: curve(folder / f"{each}.jsonl") for each in running}
    for each, told in curves.items():
        print(f"\n{each}\n{told.to_string(index=False, float_format='%.3f')}")
    table = pd.DataFrame([{"contestant": each, **row} for each, told in curves.items() for row in reached(told)])
    print(f"\nseconds of steps, threads each: {options.threads}, until quiet clips were heard with a WER; nan: not yet")
    print(table.to_string(index=False, float_format="%.3f"))
    if failed:
        raise SystemExit("\n".join(failed))
    storage.write_text(REPOSITORY / "reports" / "benchmarks" / "from_nothing.csv", table.to_csv(index=False))


if __name__ == "__main__":
    main()
