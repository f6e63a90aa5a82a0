"""Does the memory of batch jobs grow with the number of utterances? Checking a manifest, hearing, scoring, decoding.

    python benchmarks/memory.py --sizes 300 1000 3000

Each size runs in a process of its own, over recordings of three seconds that are invented first. `check` reads a
manifest with all its checks, as collect and `workbench evaluate` do; `basis` measures the sound of open speech, as
deploy does, and the engine in it answers nothing, so that no model's memory hides the rest; `score` counts errors of
invented queries, a hundred times as many; `decode` and `transcribe` hear all with the fast engine of a toy of random
weights, as a table and as a list of files. Told is the peak beyond that of the same process before it began. Wanted: a
recording more costs what its row in a table takes, a few kilobytes, and not its 192 KB of samples, from some hundreds
on: jobs hold portions of about a hundred. The table goes to reports/benchmarks/memory.csv, what it says to memory.txt;
other sizes have a name of their own.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import report

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.peak import peak_mb
from benchmarks.scoring import queries
from workbench import audio, bases, corpora, recognizing, scoring, settings
from workbench.fast import FastRecognizer
from workbench.records import Hypothesis

SIZES = [300, 1_000, 3_000]
CLIP_S, N_SCORED = 3.0, 100
MAX_KB = 10.0
"""Wanted of an utterance more: the few kilobytes of its row, a twentieth of its samples."""
LEAST_MB = 0.1
"""Less than that is as good as nothing, whose logarithm no line fits."""
NOTHING = Hypothesis("", -0.1, 0.1, 0.8)


def invent(folder: Path, n: int) -> None:
    """Write recordings of noise, a manifest of them, and references."""
    rng = np.random.default_rng(0)
    table, *_ = queries(n, 0)
    for i in range(n):
        audio.write(folder / f"{i}.wav", rng.normal(0, 0.05, int(CLIP_S * audio.SAMPLE_RATE_HZ)).astype(np.float32))
    told = table[["utterance_id", "text", "reference", "speaker"]].assign(
        audio_path=[str(folder / f"{i}.wav") for i in range(n)])
    told.to_csv(folder / "manifest.csv", index=False)


def check(folder: Path) -> object:
    """Read the manifest and listen to all that it names."""
    return corpora.read_rows([str(folder / "manifest.csv")], is_stored=False)


def basis(folder: Path) -> object:
    """Measure all recordings, and worse copies of them."""
    told = pd.read_csv(folder / "manifest.csv")
    heard = pd.DataFrame({name: np.zeros(len(told)) for name in bases.HEARD})
    return bases.as_log(told, heard), bases.worsened(told, _answer_nothing, seed=0)


def _answer_nothing(clips: Sequence[audio.Samples]) -> list[Hypothesis]:
    return [NOTHING] * len(clips)


def score(folder: Path) -> object:
    """Score a hundred times as many invented queries as there are recordings."""
    n = N_SCORED * len(pd.read_csv(folder / "manifest.csv"))
    table, heard, _ = queries(n, 1)
    return scoring.score(table, heard)


def decode(folder: Path) -> object:
    """Hear all recordings as a table."""
    return recognizing.decode(FastRecognizer(_engine()), pd.read_csv(folder / "manifest.csv"))


def transcribe(folder: Path) -> object:
    """Hear all recordings as a list of files."""
    return recognizing.transcribe_paths(FastRecognizer(_engine()), pd.read_csv(folder / "manifest.csv")["audio_path"])


def _engine() -> Path:
    return settings.root() / "engine"


def export(root: Path) -> None:
    """Write the engine of a toy; PyTorch is loaded for it, which no job's process does."""
    from workbench import engines, whisper_model

    model = whisper_model.save(whisper_model.build("", "toy", seed=0), root / "model.pt")
    engines.export(model, root / "engine")


JOBS: dict[str, Callable[[Path], object]] = {"check": check, "basis": basis, "score": score, "decode": decode,
                                             "transcribe": transcribe}


def one(name: str, folder: Path) -> str:
    """Run a job once on a few rows, so that imports are behind it, then on the folder. Returns: MB before and more."""
    with tempfile.TemporaryDirectory(prefix="workbench-memory-") as few:
        invent(Path(few), 8)
        JOBS[name](Path(few))
    before_mb = peak_mb()
    JOBS[name](folder)
    return f"{before_mb} {peak_mb() - before_mb}"


def measure(sizes: Sequence[int]) -> pd.DataFrame:
    """Run each job on each size in a process of its own."""
    rows = []
    for n in sizes:
        with tempfile.TemporaryDirectory(prefix="workbench-memory-") as folder:
            (Path(folder) / "notebooks").mkdir()
            invent(Path(folder), n)
            export(Path(folder))
            for name in JOBS:
                done = subprocess.run([sys.executable, __file__, "--one", name, folder], check=True, text=True,
                                      stdout=subprocess.PIPE, env={**os.environ, "WORKBENCH_ROOT": folder})
                before_mb, more_mb = map(float, done.stdout.split())
                n_rows = n * N_SCORED if name == "score" else n
                rows.append({"job": name, "n_utterances": n_rows, "before_mb": before_mb, "more_mb": more_mb,
                             "kb_an_utterance": more_mb * 1e3 / n_rows})
    return pd.DataFrame(rows).sort_values(["job", "n_utterances"], ignore_index=True)


def summary(found: pd.DataFrame) -> Iterator[str]:
    """Say how the memory of each job grows, and what an utterance more costs between its two largest sizes."""
    yield found.to_string(index=False, float_format="%.1f")
    for name, part in found.groupby("job", sort=False):
        if len(part) > 1:
            n, more_mb = part["n_utterances"], part["more_mb"]
            grown = report.exponent(n, more_mb.clip(lower=LEAST_MB))
            each_kb = 1e3 * (more_mb.iloc[-1] - more_mb.iloc[-2]) / (n.iloc[-1] - n.iloc[-2])
            yield (f"{name}: more memory grows with the utterances to the power {grown:.2f}; one more costs "
                   f"{each_kb:.1f} KB, wanted at most {MAX_KB:g}: {'yes' if each_kb <= MAX_KB else 'no'}")


def main() -> None:
    """Run the benchmark and print the table."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--one", nargs=2, default=[], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(one(options.one[0], Path(options.one[1])))
        return
    found = measure(options.sizes)
    report.publish("_".join(["memory", *(str(n) for n in options.sizes if options.sizes != SIZES)]), found,
                   *summary(found))


if __name__ == "__main__":
    main()
