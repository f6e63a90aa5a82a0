"""How do decoding and training grow with workers: one process here, and one and two nodes of a Ray cluster?

    pip install -c constraints.txt -e ".[dev]" && python benchmarks/many_machines.py decode
    python benchmarks/many_machines.py train

The nodes are processes of this machine with one processor each, so two cores are all that two nodes can have, and the
process has one thread. The cluster is up before anything is timed. What a job costs whatever its size (workers that
start, load PyTorch and the model) is timed by itself, with one clip or one step, before and after the sizes; it is
`start_s`, and taken off the wall time it leaves `work_s`. Answers are compared to six digits, losses to three. The
process goes first and, at the largest size, last: the two tell how still the machine was. `--places` measures some
places now and keeps what is known of the others. Wanted: two nodes take 0.6 of one node's work or less, and work grows
as the size does (exponent 1). The figures go to reports/benchmarks/many_machines_JOB.csv, what they say to .txt; other
sizes have a name of their own.
"""

import argparse
import functools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
os.environ["OMP_NUM_THREADS"] = "1"

import ray_nodes  # noqa: E402
import report  # noqa: E402
import test_training  # noqa: E402

from workbench import many_machines, recognizers, storage, training, whisper_model  # noqa: E402
from workbench.recipes import Fit, Recipe  # noqa: E402

PLACES = BASE, ONE, TWO, AGAIN = "process", "1 node", "2 nodes", "process again"
CLIPS = Recipe(augmentations=(), spec_augment=None, fit=Fit(batch_size=32, n_validations=1))


@dataclass(frozen=True, slots=True)
class Job:
    """What is done at which sizes; what comes out is equal everywhere."""

    do: Callable[[Path, int], str | float]
    sizes: Sequence[int]


def decode(folder: Path, n: int) -> str:
    """Decode `n` clips with a toy. Returns: the hash of what was heard."""
    clips = test_training.tones(folder, 128, 2)
    table = clips.iloc[np.arange(n) % len(clips)].reset_index(drop=True)
    table["utterance_id"] = [f"u{i}" for i in range(n)]
    heard = many_machines.decode(functools.partial(recognizers.load, folder / "model.pt"), table)
    return storage.hash_table(heard)


def train(folder: Path, n: int) -> float:
    """Train small's shape for `n` steps of 32 clips. Returns: the loss."""
    table = test_training.tones(folder, 320, 0)
    done = training.fit(whisper_model.build("", "small", seed=0), table, valid=None, recipe=CLIPS, n_steps=n)
    for path in done.checkpoint.parent.iterdir():
        path.unlink()
    return float(done.curve["train_loss"].iloc[-1])


JOBS = {"decode": Job(decode, (512, 1024, 2048)), "train": Job(train, (8, 16, 32))}


def timed(job: Job, folder: Path, n: int) -> tuple[float, str | float]:
    """Do it once. Returns: seconds, what came out."""
    began_s = time.monotonic()
    found = job.do(folder, n)
    return time.monotonic() - began_s, found


def measure(job: Job, place: str, folder: Path) -> Iterator[dict[str, object]]:
    """Time all sizes in one place."""
    starts_s, rows = [timed(job, folder, 1)[0]], list[tuple[int, float, str | float]]()
    for n in job.sizes:
        rows.append((n, *timed(job, folder, n)))
        print(f"{place}: {n} in {rows[-1][1]:.1f} s, load {os.getloadavg()[0]:.1f}", flush=True)
    start_s = (starts_s[0] + timed(job, folder, 1)[0]) / 2
    for n, wall_s, found in rows:
        yield {"n": n, "place": place, "wall_s": wall_s, "start_s": start_s, "work_s": wall_s - start_s, "found": found}


def everywhere(job: Job, folder: Path, places: Sequence[str]) -> Iterator[dict[str, object]]:
    """Time the job in this process, on one node, on two, and the largest size in this process again."""
    timed(job, folder, 1)  # libraries are loaded
    if BASE in places:
        yield from measure(job, BASE, folder)
    if ONE in places or TWO in places:
        with ray_nodes.running() as nodes:
            os.environ.update(WORKBENCH_ENGINE="ray", WORKBENCH_RAY_ADDRESS=nodes.address)
            timed(job, folder, 1)
            if ONE in places:
                yield from measure(job, ONE, folder)
            if TWO in places:
                nodes.be_two()
                yield from measure(job, TWO, folder)
        os.environ["WORKBENCH_ENGINE"] = "local"
    if AGAIN in places:
        yield from measure(Job(job.do, job.sizes[-1:]), AGAIN, folder)


def joined(found: pd.DataFrame, kept: Path) -> pd.DataFrame:
    """Add what is known of other places, and see that all came to the same."""
    if kept.is_file():
        known = pd.read_csv(kept)
        found = pd.concat([known[~known["place"].isin(found["place"]) & known["n"].isin(found["n"])], found])
    for _, alike in found.groupby("n"):
        first = alike["found"].iloc[0]
        same = np.isclose(alike["found"], first, rtol=1e-3) if isinstance(first, float) else alike["found"] == first
        assert same.all(), f"a place answers otherwise: {alike}"
    return found


def table(found: pd.DataFrame) -> pd.DataFrame:
    """Put places side by side: work and its ratios, with the exponent by which work grows, and the start apart."""
    wide = found.pivot(index="n", columns="place", values="work_s").reindex(columns=PLACES).add_suffix(", s")
    for place in (ONE, TWO, AGAIN):
        wide[f"{place} / {BASE}"] = wide[f"{place}, s"] / wide[f"{BASE}, s"]
    wide[f"{TWO} / {ONE}"] = wide[f"{TWO}, s"] / wide[f"{ONE}, s"]
    ends = {"exponent": _slope, "start_s": lambda rows: rows["start_s"].iloc[0]}
    for name, end in ends.items():
        wide.loc[name] = {f"{place}, s": end(rows) for place in PLACES[:3]
                          if len(rows := found[found["place"] == place])}
    return wide


def _slope(rows: pd.DataFrame) -> float:
    return report.exponent(rows["n"], rows["work_s"].clip(lower=0.1))


def main() -> None:
    """Measure one job and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("job", choices=JOBS)
    parser.add_argument("--sizes", type=int, nargs=3, help="clips or steps, if not the usual")
    parser.add_argument("--places", nargs="+", choices=PLACES, default=PLACES)
    options = parser.parse_args()
    job = JOBS[options.job]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "notebooks").mkdir()
        os.environ.update(WORKBENCH_ROOT=name, WORKBENCH_PROGRESS_FILE=str(folder / "progress.json"),
                          WORKBENCH_ENGINE="local")
        whisper_model.save(whisper_model.build("", "toy", seed=1), folder / "model.pt")
        sized = Job(job.do, options.sizes or job.sizes)
        found = pd.DataFrame(everywhere(sized, folder, options.places))
    name = "_".join(["many_machines", options.job, *map(str, options.sizes or ())])
    found = joined(found, report.FOLDER / f"{name}.csv")
    report.publish(name, found, f"{options.job}, work without its start", table(found).round(2).to_string(na_rep=""))


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
