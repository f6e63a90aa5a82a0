"""How much faster is a table decoded some batches at once, a core each, than batch after batch on all cores?

    python benchmarks/at_once.py
    python benchmarks/at_once.py --shape tiny --clips 1 2 16 128
    python benchmarks/at_once.py --busy 1      # beside so many processes that never rest

Both engines hear the same clips of three seconds with the same weights (of random numbers, at the default size or in a
published shape), in turn, round by round; that all answers are the same is checked. `with numpy's threads` is the
engine batch after batch as it would be without its limit on them. The tables go to reports/benchmarks/.
"""

import argparse
import itertools
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import peers
import report
import threadpoolctl
import torch

from workbench import engines, recognizers, recognizing, whisper_model
from workbench.audio import SAMPLE_RATE_HZ
from workbench.records import Hypothesis

CLIP_S = 3.0
FEW = 16
"""Clips a timing, at least."""
AFTER = "batch after batch"
Ways = Mapping[tuple[str, str], Callable[[list[np.ndarray]], list[Hypothesis]]]


def ways(folder: Path, shape: str) -> Ways:
    """Make what is compared. Returns: what decodes, by engine and how."""
    checkpoint = (peers.checkpoint(shape, folder) if shape in peers.SHAPES else
                  whisper_model.save(whisper_model.build("", "small", seed=0), folder / "model.pt"))
    engine = engines.export(checkpoint, folder / "engine")
    reference, n_cores = recognizers.load(checkpoint), os.cpu_count() or 1
    one, some = engines.FastRecognizer(engine, n_at_once=1), engines.FastRecognizer(engine)
    one.batch_size = some.batch_size * some.n_at_once  # as many clips on their way

    def unlimited(clips: list[np.ndarray]) -> list[Hypothesis]:
        with threadpoolctl.threadpool_limits(n_cores, user_api="blas"):
            return recognizing.ShortContextRecognizer.transcribe(one, clips)

    return {("engine", "with numpy's threads"): unlimited, ("engine", AFTER): one.transcribe,
            ("engine", "at once"): some.transcribe, ("torch", AFTER): _one_by_one(reference),
            ("torch", "at once"): reference.transcribe}


def _one_by_one(reference: recognizers.WhisperRecognizer) -> Callable[[list[np.ndarray]], list[Hypothesis]]:
    size = reference.batch_size
    return lambda clips: [answer for start in range(0, len(clips), size)
                          for answer in reference.transcribe(clips[start : start + size])]


@contextmanager
def beside(n_busy: int) -> Iterator[None]:
    """Keep processes busy meanwhile."""
    busy = [multiprocessing.Process(target=_never_rest, daemon=True) for _ in range(n_busy)]
    for process in busy:
        process.start()
    try:
        yield
    finally:
        for process in busy:
            process.kill()


def _never_rest() -> None:
    while True:
        pass


def measure(compared: Ways, clips: list[np.ndarray], sizes: Sequence[int], n_rounds: int) -> pd.DataFrame:
    """Let all decode in turn. Returns: a row a round, size and way."""
    rows, texts = [], dict[str, list[str]]()
    for number, size in itertools.product(range(n_rounds + 1), sizes):
        n_calls = max(1, FEW // size)  # a lone clip takes too little to be timed
        for (engine, how), decode in compared.items():
            began_s, cpu_s = time.monotonic(), time.process_time()
            heard = [[answer.text for answer in decode(clips[:size])] for _ in range(n_calls)][0]
            took_s, cpu_s = time.monotonic() - began_s, time.process_time() - cpu_s
            known = texts.setdefault(engine, heard)
            assert known[:size] == heard[: len(known)], f"{engine}, {how}: other answers"
            if number:  # the first round warms up
                rows.append({"round": number, "clips": size, "engine": engine, "how": how,
                             "seconds": took_s / n_calls, "cpu_s": cpu_s / n_calls})
    return pd.DataFrame(rows)


def compare(found: pd.DataFrame) -> list[str]:
    """Say by round how much faster each way is than batch after batch, and how its time grows with the clips."""
    lines = []
    for (engine, size), some in found.groupby(["engine", "clips"], sort=False):
        by = some.pivot(index="round", columns="how", values="seconds")
        lines += [f"{engine}, {size} clips, {how}: {report.spread(by[AFTER] / by[how])} times as fast as {AFTER}"
                  for how in by if how != AFTER]
    for (engine, how), some in found.groupby(["engine", "how"], sort=False):
        seconds = some.groupby("clips")["seconds"].median()
        lines.append(f"{engine}, {how}: seconds grow with the clips to the power "
                     f"{report.exponent(seconds.index, seconds):.2f}")
    return lines


def main() -> None:
    """Run the benchmark and publish the table."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--shape", default="default", choices=["default", *peers.SHAPES],
                        help="that of a run's default size, or a published one")
    parser.add_argument("--clips", type=int, nargs="+", default=[1, 16, 128], help="how many are asked for at a time")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--busy", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    clips = list(rng.normal(0, 0.1, (max(options.clips), int(CLIP_S * SAMPLE_RATE_HZ))).astype(np.float32))
    with tempfile.TemporaryDirectory() as folder, beside(options.busy):
        found = measure(ways(Path(folder), options.shape), clips, options.clips, options.rounds)
    grouped = found.drop(columns="round").groupby(["engine", "clips", "how"], sort=False)
    table = grouped.median().join(grouped["seconds"].agg(["min", "max"])).sort_index(level=["engine", "clips"])
    report.publish(report.table_name("at_once", parser, options), found,
                   f"shape {options.shape}, clips of {CLIP_S:g} s, {os.cpu_count()} cores, {torch.get_num_threads()} "
                   f"threads, beside {options.busy} busy processes, {options.rounds} rounds, medians",
                   table.to_string(float_format="%.3f"), *compare(found))


if __name__ == "__main__":
    main()
