"""How do decoding and training grow with workers: one process here, and one and two nodes of a Ray cluster?

    pip install -c constraints.txt -e ".[dev]" && python benchmarks/many_machines.py decode
    python benchmarks/many_machines.py train

The nodes are processes of this machine with one processor each, so two cores are all that two nodes can have, and the
process has one thread. The cluster is up before anything is timed. What a job costs whatever its size (workers that
start, load PyTorch and the model) is timed by itself, with one clip or one step; it is `start_s`, and taken off the
wall time it leaves `work_s`. Answers are compared to the bit, losses to rounding. The process goes first and, at the
largest size, last: the two tell how still the machine was. Wanted: two nodes take 0.6 of one node's work or less, and
work grows as the size does (exponent 1). The figures go to reports/benchmarks/.
"""

import argparse
import functools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
os.environ["OMP_NUM_THREADS"] = "1"

import ray_nodes  # noqa: E402
import test_training  # noqa: E402

from workbench import many_machines, recognizers, storage, training, whisper_model  # noqa: E402
from workbench.recipes import Fit, Recipe  # noqa: E402

BASE, ONE, TWO, AGAIN = "process", "1 node", "2 nodes", "process again"
CLIPS = Recipe(augmentations=(), spec_augment=None, fit=Fit(batch_size=32, n_validations=1))


@dataclass(frozen=True, slots=True)
class Job:
    """What is done at which sizes; its result is equal everywhere."""

    do: Callable[[Path, int], list[object]]
    sizes: tuple[int, int, int]


def decode(folder: Path, n: int) -> list[object]:
    """Decode `n` clips with a toy. Returns: what was heard."""
    clips = test_training.tones(folder, 128, 2)
    table = clips.iloc[np.arange(n) % len(clips)].reset_index(drop=True)
    table["utterance_id"] = [f"u{i}" for i in range(n)]
    return list(many_machines.decode(functools.partial(recognizers.load, folder / "model.pt"), table)["hypothesis"])


def train(folder: Path, n: int) -> list[object]:
    """Train small's shape for `n` steps of 32 clips. Returns: the loss."""
    table = test_training.tones(folder, 320, 0)
    done = training.fit(whisper_model.build("", "small", seed=0), table, valid=None, recipe=CLIPS, n_steps=n)
    for path in done.checkpoint.parent.iterdir():
        path.unlink()
    return list(done.curve["train_loss"])


JOBS = {"decode": Job(decode, (512, 1024, 2048)), "train": Job(train, (8, 16, 32))}


def timed(job: Job, folder: Path, n: int) -> tuple[float, list[object]]:
    """Do it once. Returns: seconds, what came out."""
    began_s = time.monotonic()
    found = job.do(folder, n)
    return time.monotonic() - began_s, found


def measure(job: Job, place: str, folder: Path, sizes: Sequence[int]) -> list[dict[str, object]]:
    """Time sizes in one place. Returns: a row a size."""
    start_s, rows = timed(job, folder, 1)[0], list[dict[str, object]]()
    for n in sizes:
        wall_s, found = timed(job, folder, n)
        rows.append({"n": n, "place": place, "wall_s": wall_s, "start_s": start_s, "work_s": wall_s - start_s,
                     "found": found})
        print(f"{place}: {n} in {wall_s:.1f} s, of them {start_s:.1f} s to start; load {os.getloadavg()[0]:.1f}",
              flush=True)
    return rows


def everywhere(job: Job, folder: Path) -> pd.DataFrame:
    """Time the job in this process, on one node, on two, and the largest size in this process again."""
    timed(job, folder, 1)  # libraries are loaded
    rows = measure(job, BASE, folder, job.sizes)
    with ray_nodes.running() as nodes:
        os.environ.update(WORKBENCH_ENGINE="ray", WORKBENCH_RAY_ADDRESS=nodes.address)
        timed(job, folder, 1)
        rows += measure(job, ONE, folder, job.sizes)
        nodes.be_two()
        rows += measure(job, TWO, folder, job.sizes)
    os.environ["WORKBENCH_ENGINE"] = "local"
    found = pd.DataFrame(rows + measure(job, AGAIN, folder, job.sizes[-1:]))
    for _, alike in found.groupby("n"):
        assert all(_is_same(one, alike["found"].iloc[0]) for one in alike["found"]), "a place answers otherwise"
    return found.drop(columns="found")


def _is_same(one: list[Any], other: list[Any]) -> bool:
    return one == other or (isinstance(one[0], float) and np.allclose(one, other, rtol=1e-3))


def table(found: pd.DataFrame) -> pd.DataFrame:
    """Put places side by side: work and its ratios, with the exponent by which work grows, and the start apart."""
    wide = found.pivot(index="n", columns="place", values="work_s")[[BASE, ONE, TWO, AGAIN]].add_suffix(", s")
    for place in (ONE, TWO, AGAIN):
        wide[f"{place} / {BASE}"] = wide[f"{place}, s"] / wide[f"{BASE}, s"]
    wide[f"{TWO} / {ONE}"] = wide[f"{TWO}, s"] / wide[f"{ONE}, s"]
    ends = {"exponent": _slope, "start_s": lambda rows: rows["start_s"].iloc[0]}
    for name, end in ends.items():
        wide.loc[name] = {f"{place}, s": end(found[found["place"] == place]) for place in (BASE, ONE, TWO)}
    return wide


def _slope(rows: pd.DataFrame) -> float:
    return float(np.polyfit(np.log(rows["n"].astype(float)), np.log(rows["work_s"].clip(lower=0.1)), 1)[0])


def main() -> None:
    """Measure one job and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("job", choices=JOBS)
    parser.add_argument("--sizes", type=int, nargs=3, help="clips or steps, if not the usual")
    options = parser.parse_args()
    job = JOBS[options.job]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "notebooks").mkdir()
        os.environ.update(WORKBENCH_ROOT=name, WORKBENCH_PROGRESS_FILE=str(folder / "progress.json"),
                          WORKBENCH_ENGINE="local")
        whisper_model.save(whisper_model.build("", "toy", seed=1), folder / "model.pt")
        found = everywhere(Job(job.do, tuple(options.sizes or job.sizes)), folder)
    storage.write_text(ROOT / "reports" / "benchmarks" / f"many_machines_{options.job}.csv", found.to_csv(index=False))
    print(f"{options.job}, work without its start; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(table(found).round(2).to_string(na_rep=""))


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
