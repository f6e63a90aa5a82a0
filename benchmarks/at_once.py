"""How much faster is a table decoded some batches at once, a core each, than batch after batch on all cores?

    python benchmarks/at_once.py
    python benchmarks/at_once.py --busy 1      # beside so many processes that never rest

Both engines hear the same clips of three seconds with the same weights (of random numbers, at the default size), in
turn, round by round; that all answers are the same is checked. `with numpy's threads` is the engine batch after batch
as it would be without its limit on them. The table goes to reports/benchmarks/at_once.csv.
"""

import argparse
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import threadpoolctl
import torch

from workbench import engines, recognizers, recognizing, storage, whisper_model
from workbench.audio import SAMPLE_RATE_HZ
from workbench.records import Hypothesis

CLIP_S = 3.0
REPORT = Path(__file__).parents[1] / "reports" / "benchmarks" / "at_once.csv"
Ways = Mapping[tuple[str, str], Callable[[list[np.ndarray]], list[Hypothesis]]]


def ways(folder: Path) -> Ways:
    """Make what is compared. Returns: what decodes, by engine and how."""
    checkpoint = whisper_model.save(whisper_model.build("", "small", seed=0), folder / "model.pt")
    engine = engines.export(checkpoint, folder / "engine")
    reference, n_cores = recognizers.load(checkpoint), os.cpu_count() or 1
    one, some = (engines.FastRecognizer(engine, n_at_once=n) for n in (1, n_cores))

    def unlimited(clips: list[np.ndarray]) -> list[Hypothesis]:
        with threadpoolctl.threadpool_limits(n_cores, user_api="blas"):
            return recognizing.ShortContextRecognizer.transcribe(one, clips)

    return {("engine", "with numpy's threads"): unlimited, ("engine", "batch after batch"): one.transcribe,
            ("engine", "at once"): some.transcribe, ("torch", "batch after batch"): _one_by_one(reference),
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


def measure(compared: Ways, clips: list[np.ndarray], n_rounds: int) -> pd.DataFrame:
    """Let all decode in turn. Returns: engine, how, seconds, cpu_s; a row a round and way."""
    rows, texts = [], dict[str, list[str]]()
    for number in range(n_rounds + 1):
        for (engine, how), decode in compared.items():
            began_s, cpu_s = time.monotonic(), time.process_time()
            heard = [answer.text for answer in decode(clips)]
            assert texts.setdefault(engine, heard) == heard, f"{engine}, {how}: other answers"
            if number:  # the first round warms up
                rows.append({"engine": engine, "how": how, "seconds": time.monotonic() - began_s,
                             "cpu_s": time.process_time() - cpu_s})
    return pd.DataFrame(rows)


def main() -> None:
    """Run the benchmark and print the table."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--clips", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--busy", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    clips = list(rng.normal(0, 0.1, (options.clips, int(CLIP_S * SAMPLE_RATE_HZ))).astype(np.float32))
    with tempfile.TemporaryDirectory() as folder, beside(options.busy):
        found = measure(ways(Path(folder)), clips, options.rounds)
    table = found.groupby(["engine", "how"], sort=False).median()
    spread = found.groupby(["engine", "how"], sort=False)["seconds"].agg(["min", "max"])
    table = table.join(spread)
    table["times as fast"] = table.groupby("engine")["seconds"].transform(
        lambda s: s.xs("batch after batch", level="how").iloc[0] / s)
    print(f"{options.clips} clips of {CLIP_S:g} s, {os.cpu_count()} cores, {torch.get_num_threads()} threads, beside "
          f"{options.busy} busy processes, {options.rounds} rounds, medians\n{table.to_string(float_format='%.2f')}")
    storage.write_text(REPORT, table.to_csv())


if __name__ == "__main__":
    main()
