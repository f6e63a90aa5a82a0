"""How do decoding and training grow with workers: one process here, and one and two nodes of a Ray cluster?

    pip install -c constraints.txt -e ".[dev]" && python benchmarks/many_machines.py

The nodes are processes of this machine with one processor each, so two cores are all that two nodes can have. The work
is a toy's: decoding of tones at three sizes, and the steps of one training at three lengths; answers are compared to
the bit, losses to rounding. Wanted: at the largest size two nodes take 0.6 of one node's time or less, and a fixed
cost (`start_s`, where the line through the sizes meets zero) that is told apart from the work. The table goes to
reports/benchmarks/.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
os.environ["OMP_NUM_THREADS"] = "1"

import ray_nodes  # noqa: E402
import test_training  # noqa: E402

from workbench import many_machines, recognizers, settings, storage, training, whisper_model  # noqa: E402

N_CLIPS = (128, 512, 1024)
N_STEPS = (10, 40, 80)
PLACES = ("process", "1 node", "2 nodes")


def decode(folder: Path, n: int) -> list[str]:
    """Decode `n` clips. Returns: what was heard."""
    clips = test_training.tones(folder, 128, 2)
    table = clips.iloc[np.arange(n) % len(clips)].reset_index(drop=True)
    table["utterance_id"] = [f"u{i}" for i in range(n)]
    return list(many_machines.decode(lambda: recognizers.load(folder / "model.pt"), table)["hypothesis"])


def train(folder: Path, n: int) -> list[float]:
    """Train for `n` steps. Returns: the losses."""
    recipe, table = test_training.RECIPE, test_training.tones(folder, 60, 0)
    model = whisper_model.build("", "toy", seed=0)
    done = training.fit(model, table, valid=None, recipe=recipe, n_steps=n)
    for path in done.checkpoint.parent.iterdir():
        path.unlink()
    return [round(loss, 3) for loss in done.curve["train_loss"]]


def measure(place: str, folder: Path) -> list[dict[str, object]]:
    """Time everything in one place. Returns: a row a size."""
    rows: list[dict[str, object]] = []
    work: dict[str, tuple[Callable[[Path, int], object], tuple[int, ...]]] = {
        "decode": (decode, N_CLIPS), "train": (train, N_STEPS)}
    for name, (do, sizes) in work.items():
        do(folder, sizes[0])  # libraries and worker processes are warm
        for n in sizes:
            began_s = time.monotonic()
            found = do(folder, n)
            rows.append({"job": name, "n": n, "place": place, "wall_s": time.monotonic() - began_s, "found": found})
            print(rows[-1]["job"], n, place, f"{rows[-1]['wall_s']:.1f} s", flush=True)
    return rows


def table(rows: list[dict[str, object]]) -> pd.DataFrame:
    """Put places side by side, with the fixed cost and the rate that a line through the sizes says."""
    found = pd.DataFrame(rows)
    for _, alike in found.groupby(["job", "n"]):
        assert all(one == alike["found"].iloc[0] for one in alike["found"]), "a place answers otherwise"
    lines = {(job, place): np.polyfit(each["n"].astype(float), each["wall_s"].astype(float), 1)
             for (job, place), each in found.groupby(["job", "place"])}
    found["start_s"] = [lines[row.job, row.place][1] for row in found.itertuples()]
    found["n_a_second"] = [1 / lines[row.job, row.place][0] for row in found.itertuples()]
    return found.drop(columns="found")


def main() -> None:
    """Run the places in turn and print the table."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    out = settings.root() / "reports" / "benchmarks" / "many_machines.csv"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "notebooks").mkdir()
        os.environ.update(WORKBENCH_ROOT=name, WORKBENCH_PROGRESS_FILE=str(folder / "progress.json"))
        whisper_model.save(whisper_model.build("", "toy", seed=1), folder / "model.pt")
        rows = measure(PLACES[0], folder)
        with ray_nodes.running() as nodes:
            os.environ.update(WORKBENCH_ENGINE="ray", WORKBENCH_RAY_ADDRESS=nodes.address)
            rows += measure(PLACES[1], folder)
            nodes.be_two()
            rows += measure(PLACES[2], folder)
    found = table(rows)
    storage.write_text(out, found.to_csv(index=False))
    wide = found.pivot(index=["job", "n"], columns="place", values="wall_s")[list(PLACES)]
    wide["2 nodes / 1 node"] = wide["2 nodes"] / wide["1 node"]
    print(wide.round(2).to_string())
    print(found.drop_duplicates(["job", "place"])[["job", "place", "start_s", "n_a_second"]].round(2).to_string())


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
