"""How long does a training step wait for its batch? Made here when it is asked for, and ahead by other processes.

    python benchmarks/batches_ahead.py
    python benchmarks/batches_ahead.py --sizes full --batches 8 64 --makers 0 4 8

The default recipe trains models of a size on invented clips of three seconds, in both precisions. `alone` is the step
with one batch again and again, which waits for nothing; what `making` takes is timed by itself, on one thread. It is
meant for a GPU, where batches are made by processes (`batches.n_makers`). The table goes to
reports/benchmarks/batches_ahead.csv and .txt, with the card in its name, and sizes and batches if others were chosen.
"""

import argparse
import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import report
import torch
from training import CARD, REPOSITORY, SIZES, Case, clips, mean_s, rest

from workbench import batches, recipes, training, whisper_model
from workbench.batches import Batch
from workbench.shares import Share

BATCHES = [8, 64]
CLIP_S, N_SKIPPED = 3.0, 5


def step_s(fit: training._Training, made: Iterator[Batch], n_steps: int) -> float:
    """Take steps, the first ones untimed. Returns: seconds a step."""
    for i in range(N_SKIPPED + n_steps):
        if i == N_SKIPPED:
            rest()
            began_s = time.monotonic()
        fit._step(i, [next(made)])
    rest()
    return (time.monotonic() - began_s) / n_steps


def making_s(fit: training._Training, n: int) -> float:
    """Make batches on one thread. Returns: seconds a batch."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    began_s = time.monotonic()
    for i in range(n):
        fit._batch(i)
    torch.set_num_threads(n_threads)
    return (time.monotonic() - began_s) / n


def measure(folder: Path, size: str, batch_size: int, options: argparse.Namespace) -> Iterator[dict[str, object]]:
    """Time all ways to have batches at one size. Returns: a row a way."""
    n_all = N_SKIPPED + options.steps
    folder.mkdir()
    table, how = clips(folder, Case("ours", size, batch_size, CLIP_S, n_all, 0)), recipes.load("default")
    for precision in options.precisions:
        fit_how = replace(how, fit=replace(how.fit, batch_size=batch_size, precision=precision))
        task = training.Task(table, None, fit_how, n_all, 0, False)
        fit = training._Training(whisper_model.build("", size, seed=0), task, folder, Share())
        found = {"alone": step_s(fit, itertools.repeat(fit._batch(0)), options.steps)}
        for n in options.makers:
            found[f"{n} makers"] = step_s(fit, batches.ahead(fit._batch, range(n_all), n), options.steps)
        found["making"] = making_s(fit, options.steps)
        for way, seconds in found.items():
            yield {"size": size, "batch_size": batch_size, "precision": precision, "way": way, "ms": 1e3 * seconds,
                   "audio_s_a_second": batch_size * mean_s(table) / seconds}


def main() -> None:
    """Run the benchmark and print the table."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=SIZES)
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    parser.add_argument("--makers", type=int, nargs="+", default=[0, 4, 8])
    parser.add_argument("--precisions", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--steps", type=int, default=25)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(REPOSITORY / "notebooks" / "recipes", Path(folder) / "notebooks" / "recipes")
        os.environ["WORKBENCH_ROOT"] = folder
        rows = [row for size, n in itertools.product(options.sizes, options.batches)
                for row in measure(Path(folder) / f"{size}-{n}", size, n, options)]
    table, chosen = pd.DataFrame(rows), [*options.sizes, *options.batches]
    words = ["batches_ahead", *CARD.split(), *(str(one) for one in chosen if chosen != [*SIZES, *BATCHES])]
    report.publish("_".join(words), table, f"{CARD or 'no GPU'}, {options.steps} steps each",
                   table.to_string(index=False, float_format="%.1f"))


if __name__ == "__main__":
    main()
