"""What does a manifest of a million rows cost? Time and peak memory of collect, of training's start, of a new version.

    python benchmarks/manifests.py --rows 10000 100000 1000000 --heard 1000 3000 10000

A row names a file of its own, a hard link to one of 64 recordings, in folders of a thousand; fifty rows are one
speaker's, a fiftieth of the texts is odd. `heard` is the one step that opens audio: it runs on `--heard` distinct files
of 3 s, each copied, and is told by the clip. In the other steps what it would have found is invented and written where
it writes it down, so that collect reads it as after an interruption. Steps are timed within `corpora.collect` by the
functions that do them. Memory is the high-water mark during each, of the whole process; seconds of the processor stand
beside those of the clock, as other programs disturb them less. Wanted on two cores: collect's tables of a million rows
within 2 minutes and 3 GB, training's start (load, order, first batch) within 15 s and 2 GB, growth no faster than the
rows. The steps go to reports/benchmarks/manifests.csv, what they say to manifests.txt; other rows, clips and jobs have
a name of their own.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import report

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.peak import forget_peak, peak_mb
from benchmarks.scoring import queries
from workbench import (
    audio,
    cards,
    compositions,
    corpora,
    corrections,
    datasets,
    fingerprints,
    hearing,
    manifests,
    progress,
    remote,
    storage,
)

REPOSITORY = Path(__file__).parents[1]
ROWS, HEARD = [10_000, 100_000, 1_000_000], [1_000, 3_000, 10_000]
MEASURES = ("wall_s", "cpu_s", "peak_mb")
N_RECORDINGS, ROWS_A_FOLDER, CLIP_S, ODD_EVERY = 64, 1_000, 3.0, 50


class Watch:
    """Notes the seconds and the peak of each outermost step."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, float, float, float]] = []
        self.is_in_step = False

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time what is done within."""
        forget_peak()
        self.is_in_step, began_s, cpu_s = True, time.perf_counter(), time.process_time()
        yield
        self.rows.append((name, time.perf_counter() - began_s, time.process_time() - cpu_s, peak_mb()))
        self.is_in_step = False

    def over(self, module: Any, function: str, name: str) -> None:
        """Time every call of a module's function that no other step makes."""
        original = getattr(module, function)

        def watched(*positional: Any, **named: Any) -> Any:
            if self.is_in_step:
                return original(*positional, **named)
            with self.step(name):
                return original(*positional, **named)

        setattr(module, function, watched)


def invent(corpus: Path, n: int) -> None:
    """Write a corpus of n rows in all three kinds of manifest."""
    rng = np.random.default_rng(0)
    corpus.mkdir(parents=True)
    for i in range(N_RECORDINGS):
        audio.write(corpus / f"{i}.wav", rng.normal(0, 0.05, 4_800).astype(np.float32))
    for i in range(n):
        folder = corpus / str(i // ROWS_A_FOLDER)
        if i % ROWS_A_FOLDER == 0:
            folder.mkdir()
        (folder / f"{i}.wav").hardlink_to(corpus / f"{i % N_RECORDINGS}.wav")
    table, *_ = queries(n, 0)
    said = table["text"].where(np.arange(n) % ODD_EVERY > 0, table["text"] + " 9")
    told = table.drop(columns=["reference"]).assign(
        text=said, duration_s=rng.uniform(1, 5, n).round(3),
        audio_path=[f"{i // ROWS_A_FOLDER}/{i}.wav" for i in range(n)])
    told.to_csv(corpus / "manifest.csv", index=False)
    told.to_json(corpus / "manifest.jsonl", orient="records", lines=True)
    told.to_parquet(corpus / "manifest.parquet")


def note_as_heard(corpus: Path) -> None:
    """Write down what hearing the corpus would have found."""
    listed = manifests.read(str(corpus / "manifest.csv"), base_folder=corpus)
    for start in range(0, len(listed), hearing.PART):
        part = listed.iloc[start : start + hearing.PART]
        hearing._note(part, [_invented(path, float(told)) for path, told in
                             zip(part["audio_path"], part["duration_s"], strict=True)], "in place")


def _invented(path: str, duration_s: float) -> dict[str, Any]:
    sha = hashlib.sha256(path.encode()).hexdigest()
    return {"audio_path": remote.pinned(path, sha), "audio_sha": sha, "duration_s": duration_s, "level_dbfs": -23.5,
            "snr_estimate_db": 21.5, "clipped_share": 0.0, "is_near_silent": False}


def read(corpus: Path, watch: Watch) -> None:
    """Read the other two kinds of manifest."""
    for kind in ("jsonl", "parquet"):
        with watch.step(f"read {kind}"):
            manifests.read(str(corpus / f"manifest.{kind}"), base_folder=corpus)


def collect(corpus: Path, watch: Watch) -> None:
    """Make a dataset version of the corpus, step by step as the notebook does."""
    for module, function, name in (
            (manifests, "read", "read csv"), (manifests, "reasons", "check rows"), (hearing, "hear", "heard before"),
            (corpora, "_described", "describe"), (datasets, "check_leakage", "leakage"),
            (corpora, "_repeats", "repeats"), (corpora, "_split", "split"), (datasets, "save", "save")):
        watch.over(module, function, name)
    with watch.step("fingerprint"):
        fingerprints._file_state(corpus / "manifest.csv")
    began_s, cpu_s = time.perf_counter(), time.process_time()
    made = corpora.collect([str(corpus / "manifest.csv")], is_copied=False)
    watch.rows.append(("all of collect", time.perf_counter() - began_s, time.process_time() - cpu_s,
                       max(peak for *_, peak in watch.rows)))
    storage.write_text(corpus.parent / "version", made.dataset.version)


def card(corpus: Path, watch: Watch) -> None:
    """Make the tables of the data card."""
    speech = datasets.load((corpus.parent / "version").read_text())
    with watch.step("data card"):
        cards.table(compositions.summary(speech))
        compositions.word_counts(speech.table["reference"]).head(20)
        speech.table["noise"].value_counts(normalize=True)
        speech.table.sample(3, random_state=0)


def start(corpus: Path, watch: Watch) -> None:
    """Begin a training as the notebook does, until the first batch's rows are known and read."""
    from workbench import batches, objective, recipes, whisper_model

    model = whisper_model.build("", "toy", seed=0)
    with watch.step("load"):
        taught = datasets.load((corpus.parent / "version").read_text()).split("train", datasets.LEARNED)
    with watch.step("key"):
        storage.hash_table(taught[["audio_sha", "reference"]])
    with watch.step("words"):
        objective.occurring_tokens(taught["reference"].tolist(), model)
    taught = taught.assign(audio_path=[remote.unpinned(path)[0] for path in taught["audio_path"]])  # invented sums
    with watch.step("order"):
        source = batches.BatchSource(taught, recipes.load(), model, seed=0)
    with watch.step("first batch"):
        source.batch(0)


def grow(corpus: Path, watch: Watch) -> None:
    """Add a tenth as many new recordings to the version, and correct the references of every fiftieth."""
    speech = datasets.load((corpus.parent / "version").read_text())
    new = speech.table.iloc[::10]
    new = new.assign(**{name: [f"new {each}" for each in new[name]] for name in ("utterance_id", "audio_sha")})
    with watch.step("extend"):
        datasets.extend(speech, new, "a tenth more")
    said = speech.table.iloc[::ODD_EVERY][["audio_sha"]].assign(value="something else", by="nobody", drawn="")
    with watch.step("correct"):
        corrections.apply(speech, said)


def heard(corpus: Path, watch: Watch) -> None:
    """Listen to distinct recordings, and copy each."""
    listed = manifests.read(str(corpus / "manifest.csv"), base_folder=corpus)
    with watch.step("heard"):
        hearing.hear(listed, "copied", progress.track)


def invent_distinct(corpus: Path, n: int) -> None:
    """Write n recordings of noise and their manifest."""
    rng = np.random.default_rng(0)
    corpus.mkdir(parents=True)
    for i in range(n):
        audio.write(corpus / f"{i}.wav", rng.normal(0, 0.05, int(CLIP_S * audio.SAMPLE_RATE_HZ)).astype(np.float32))
    pd.DataFrame({"audio_path": [f"{i}.wav" for i in range(n)], "text": "play jazz"}).to_csv(
        corpus / "manifest.csv", index=False)


JOBS: dict[str, Callable[[Path, Watch], None]] = {"read": read, "collect": collect, "card": card, "start": start,
                                                   "grow": grow, "heard": heard}
USUAL = [name for name in JOBS if name != "heard"]


def of_size(root: Path, n: int, jobs: Sequence[str]) -> list[dict[str, object]]:
    """Run jobs on an invented corpus, each in a process of its own. Returns: a row a step."""
    if not (root / "made").is_file():
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(REPOSITORY / "notebooks" / "recipes", root / "notebooks" / "recipes")
        _in_process(root, "--make-distinct" if "heard" in jobs else "--make", str(n))
        (root / "made").touch()
    said = "\n".join(_in_process(root, "--one", job) for job in jobs)
    lines = [line.split("|") for line in said.splitlines() if "|" in line]
    return [{"step": name, "rows": n, **dict(zip(MEASURES, map(float, told), strict=True))} for name, *told in lines]


def _in_process(root: Path, *words: str) -> str:
    done = subprocess.run([sys.executable, __file__, *words], env={**os.environ, "WORKBENCH_ROOT": str(root)},
                          check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


def one(job: str, corpus: Path) -> None:
    """Run a job and print its steps; the imports are behind it."""
    watch = Watch()
    before_mb = peak_mb()
    JOBS[job](corpus, watch)
    steps = pd.DataFrame(watch.rows, columns=["step", *MEASURES])
    told = steps.groupby("step", sort=False).agg({"wall_s": "sum", "cpu_s": "sum", "peak_mb": "max"})
    for row in [(f"({job} begins)", 0.0, 0.0, before_mb), *told.itertuples(name=None)]:
        print("|".join(map(str, row)))


def summary(found: pd.DataFrame) -> str:
    """Set the sizes side by side, with how the processor's seconds of each step grow."""
    wide = {name: found.pivot(index="step", columns="rows", values=name) for name in MEASURES}
    parts = [wide[name].add_prefix(f"{unit} ") for name, unit in zip(MEASURES, ("wall s", "cpu s", "MB"), strict=True)]
    table = pd.concat(parts, axis=1).reindex(found["step"].unique())
    table["power"] = [_power(wide["cpu_s"].loc[step].dropna()) for step in table.index]
    return table.to_string(float_format="%.2f", na_rep="")


def _power(seconds: pd.Series) -> float:
    """Fit how time grows with the rows. Returns: the exponent, nan where there is nothing to fit."""
    return report.exponent(seconds.index, seconds) if len(seconds) and seconds.min() > 0 else float("nan")


def name_of(options: argparse.Namespace) -> str:
    """Name the table after what it is of, where that is not what it is by default."""
    chosen = ((options.rows, ROWS), (options.heard, HEARD), (options.jobs, USUAL))
    return "_".join(["manifests", *(str(one) for ours, usual in chosen if ours != usual for one in ours)])


def main() -> None:
    """Run the benchmark and print the table."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="*", default=ROWS)
    parser.add_argument("--heard", type=int, nargs="*", default=HEARD)
    parser.add_argument("--jobs", nargs="*", default=USUAL)
    parser.add_argument("--keep", default="", help="a folder where invented corpora stay, and are found again")
    parser.add_argument("--one", default="", help=argparse.SUPPRESS)
    parser.add_argument("--make", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--make-distinct", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    corpus = storage.data_folder().parent / "corpus"
    if options.one:
        one(options.one, corpus)
    elif options.make:
        invent(corpus, options.make)
        note_as_heard(corpus)
    elif options.make_distinct:
        invent_distinct(corpus, options.make_distinct)
    else:
        with tempfile.TemporaryDirectory(prefix="workbench-manifests-") as passing:
            kept = Path(options.keep or passing)
            tables = [row for n in options.rows for row in of_size(kept / str(n), n, options.jobs)]
            tables += [row for n in options.heard for row in of_size(kept / f"heard-{n}", n, ["heard"])]
            found = pd.DataFrame(tables)
            report.publish(name_of(options), found, summary(found))


if __name__ == "__main__":
    main()
