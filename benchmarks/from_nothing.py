"""How soon does training from nothing hear the queries? The default recipe of today and the project's first, at once.

    python benchmarks/from_nothing.py --first 2973453 --loop c42fbd7 --minutes 25
    python benchmarks/from_nothing.py --first "" --size toy

Both learn a size from the same clips of a dataset of this project (`workbench run --to collect` makes one), each on a
core of its own, with the package, the recipe and the number of steps of its time (see `one_fit.py`). From a third of
the steps on, the WER on quiet dev clips is taken twenty-one times, off the clock. `--first` is the first commit where a
fit can run from end to end, and the loop and the recipe of `--loop` are put into it: the commit that brought them could
not import all that it needs. A contestant that is not done after `--minutes` is stopped; 25 are three times what
today's 1,800 steps take, a quarter of a second each. Wanted: 5 % in half of the first version's time. When which WER
was reached goes to reports/benchmarks/from_nothing.txt, what was told on the way to from_nothing.csv; another size, and
a run without the first version, have names of their own.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import report

from workbench import datasets, settings, storage

REPOSITORY = Path(__file__).parents[1]
GOALS = (0.20, 0.10, 0.05)
TIMES = 2.0
"""Wanted: how often the first version's time holds ours."""
OF_LOOP = ("workbench/training.py", "notebooks/recipes/default.py")
COLUMNS = ["step", "of", "wall_s", "cpu_s", "loss", "wer"]
"""What a contestant tells."""


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
    command = [sys.executable, str(Path(__file__).with_name("one_fit.py")), str(folder), options.size,
               *map(str, (n_steps, options.threads, options.seed))]
    with (folder / f"{name}.jsonl").open("wb") as told, (folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen(command, cwd=code, env=environment, stdout=told, stderr=log)


def curve(file: Path) -> pd.DataFrame:
    """Read what a contestant told. Returns: step, of (all its steps), wall_s, cpu_s, loss, wer."""
    lines = [line for line in file.read_text().splitlines() if line.startswith("{") and line.endswith("}")]
    return pd.DataFrame([json.loads(line) for line in lines], columns=COLUMNS).astype({"wer": float})


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


def compared(table: pd.DataFrame) -> Iterator[str]:
    """Say how many times today's processor time the first version takes, or how many at least if it never got there."""
    for goal, rows in table.set_index("contestant").groupby("wer", sort=False):
        today_s, first_s = rows.loc["today", "cpu_s"], rows.loc["first", "cpu_s"]
        least = rows.loc["first", "last_cpu_s"] / today_s
        times = f"over {least:.2f}" if np.isnan(first_s) else f"{first_s / today_s:.2f}"
        told = "today's did not get there" if np.isnan(today_s) else (
            f"the first version takes {times} times today's processor time; wanted {TIMES:g}")
        yield f"to a WER of {100 * float(goal):g} %: {told}"


def train(contestants: Mapping[str, Path], folder: Path, options: argparse.Namespace) -> list[str]:
    """Let all train at once, and stop who is not done in time. Returns: the words of those that failed."""
    running = {each: start(each, code, folder, options) for each, code in contestants.items()}
    end = pd.Timestamp.now() + pd.Timedelta(minutes=options.minutes)
    for process in running.values():
        try:
            process.wait(max(0.1, (end - pd.Timestamp.now()).total_seconds()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    return [f"{each} failed: {(folder / f'{each}.log').read_text()[-2000:]}" for each, process in running.items()
            if process.returncode > 0]  # below 0 it was stopped


def main() -> None:
    """Run the benchmark and print when each reached which WER, and by how much today's is faster."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--first", default="2973453", help="commit; empty: only what is here")
    parser.add_argument("--loop", default="c42fbd7", help="commit whose loop and recipe are put into the first")
    parser.add_argument("--size", default="small", choices=list(settings.AMOUNTS))
    parser.add_argument("--version", default="", help="of the dataset; empty: the newest")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=0, help="of today's; 0: as the size says")
    parser.add_argument("--quiet", type=int, default=200, help="clips to judge by")
    parser.add_argument("--threads", type=int, default=1, help="of each")
    parser.add_argument("--minutes", type=float, default=25.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, contestants = Path(name), {"today": REPOSITORY}
        write_data(options.version, folder, options.quiet)
        if options.first:
            contestants["first"] = folder / "code"
            extract(options.first, folder / "code")
            extract(options.loop or options.first, folder / "code", OF_LOOP if options.loop else ())
        failed = train(contestants, folder, options)
        curves = {each: curve(folder / f"{each}.jsonl") for each in contestants}
    table = pd.DataFrame([{"contestant": each, **row} for each, told in curves.items() for row in reached(told)])
    found = pd.concat([told.assign(contestant=each) for each, told in curves.items()])
    report.publish(
        "_".join(["from_nothing", *[options.size] * (options.size != "small"), *["today"] * (not options.first)]),
        found, f"size {options.size}, seconds of steps, threads each: {options.threads}, until quiet clips were heard "
        "with a WER; nan: not yet", table.to_string(index=False, float_format="%.3f"),
        *(compared(table) if options.first and not failed else ()), *failed)
    if failed:
        raise SystemExit(f"{len(failed)} failed")


if __name__ == "__main__":
    main()
