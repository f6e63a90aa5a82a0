"""How fast is a comparison of two models? Scores, slices and 10,000 resamples, against jiwer file by file and a loop.

    python benchmarks/scoring.py --sizes 1000 10000 100000 --rounds 3

Both count the errors of two models on the same invented queries (four words of 5,000, a tenth of them changed, fifty
queries a speaker), their WER by slice with an interval, and whether one is better: ours by jackknife and sign flips
over speakers, the peer by a bootstrap that draws speakers, a resample at a time. The peer's loop runs `--loops` times
and is scaled to 10,000; it neither normalizes texts nor counts characters, as ours does. Times are of the processor,
so that other programs disturb less, and all of them together of the clock too. Wanted: 100,000 queries in under 10 s,
at least twenty times as fast as the peer, and a cost that grows no faster than their number. The rounds go to
reports/benchmarks/scoring.csv, what they say to scoring.txt; other sizes have a name of their own.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence

import jiwer
import numpy as np
import pandas as pd
import report
from numpy.typing import NDArray

from workbench import differences, scoring, slicing

N_RESAMPLES, QUERIES_A_SPEAKER, WORDS_A_QUERY, N_WORDS, CHANGED = 10_000, 50, 4, 5_000, 0.1
COLUMNS = {"noise": 4, "accent": 6, "gender": 2, "device": 5, "intent": 8}
"""Slice columns and how many values each has."""
PARTS = ("errors", "slices", "resamples")
SIZES = [1_000, 10_000, 100_000]
GOAL_S, GOAL_TIMES = 10.0, 20.0
Seconds = NDArray[np.float64]
"""Of the processor, and of the clock. Shape: [2]"""


def queries(n: int, seed: int) -> tuple[pd.DataFrame, list[str], list[str]]:
    """Invent utterances and what two models heard."""
    rng = np.random.default_rng(seed)
    letters = list("abcdefghijklmnoprstuw")
    vocabulary = np.array(["".join(rng.choice(letters, rng.integers(3, 9))) for _ in range(N_WORDS)])
    said = rng.integers(N_WORDS, size=(n, WORDS_A_QUERY))
    heard = [np.where(rng.random(said.shape) < CHANGED, rng.integers(N_WORDS, size=said.shape), said) for _ in "ab"]
    texts = [[" ".join(words) for words in vocabulary[rows]] for rows in (said, *heard)]
    table = pd.DataFrame({"utterance_id": [f"u{i}" for i in range(n)], "reference": texts[0], "text": texts[0],
                          "speaker": [f"s{i // QUERIES_A_SPEAKER}" for i in range(n)],
                          **{name: [f"{name}{v}" for v in rng.integers(k, size=n)] for name, k in COLUMNS.items()}})
    return table, texts[1], texts[2]


class Clock:
    """Gives the seconds since it was asked last."""

    def __init__(self) -> None:
        self.last_s = self._now_s()

    def lap(self) -> Seconds:
        before_s, self.last_s = self.last_s, self._now_s()
        return self.last_s - before_s

    def _now_s(self) -> Seconds:
        return np.array([time.process_time(), time.monotonic()])


def ours(table: pd.DataFrame, a: Sequence[str], b: Sequence[str]) -> list[Seconds]:
    """Compare as the notebooks do. Returns: seconds by part."""
    clock = Clock()
    scores_a, scores_b = scoring.score(table, a), scoring.score(table, b)
    seconds = [clock.lap()]
    slicing.slice_table(scores_a, list(COLUMNS))
    seconds.append(clock.lap())
    differences.paired_difference(scores_a["n_errors"], scores_b["n_errors"], scores_a["n_words"], scores_a["speaker"],
                                n_resamples=N_RESAMPLES)
    return [*seconds, clock.lap()]


def peer(table: pd.DataFrame, a: Sequence[str], b: Sequence[str], n_loops: int) -> list[Seconds]:
    """Compare file by file, and resample by resample, each slice too. Returns: seconds by part."""
    clock = Clock()
    counts = [[jiwer.process_words(r, h) for r, h in zip(table["reference"], heard, strict=True)] for heard in (a, b)]
    errors = [np.array([o.substitutions + o.deletions + o.insertions for o in outputs]) for outputs in counts]
    n_words = np.array([o.hits + o.substitutions + o.deletions for o in counts[0]])
    seconds = [clock.lap()]
    members = [table[column].eq(value).to_numpy() for column in COLUMNS for value in table[column].unique()]
    seconds.append(sum((bootstrap_s(errors[0][m], n_words[m], table["speaker"][m], n_loops) for m in members),
                       start=np.zeros(2)))
    return [*seconds, bootstrap_s(errors[1] - errors[0], n_words, table["speaker"], n_loops)]


def bootstrap_s(errors: np.ndarray, n_words: np.ndarray, speakers: pd.Series, n_loops: int) -> Seconds:
    """Draw speakers with replacement for a rate's interval. Returns: the seconds that 10,000 times would take."""
    clock, rng, rates = Clock(), np.random.default_rng(0), []
    rows = list(speakers.groupby(speakers.to_numpy()).indices.values())
    before_s = clock.lap()
    for _ in range(n_loops):
        drawn = np.concatenate([rows[g] for g in rng.integers(len(rows), size=len(rows))])
        rates.append(errors[drawn].sum() / n_words[drawn].sum())
    np.quantile(rates, [0.025, 0.975])
    return before_s + clock.lap() * N_RESAMPLES / n_loops


def measure(sizes: Sequence[int], n_rounds: int, n_loops: int) -> pd.DataFrame:
    """Let both go in turn. Returns: one row a round, size and contestant, seconds by part and in all."""
    contestants: dict[str, Callable[..., list[Seconds]]] = {
        "ours": ours, "peer": lambda table, a, b: peer(table, a, b, n_loops)}
    rows = []
    for number in range(n_rounds):
        for n in sizes:
            invented = queries(n, number)
            for name, compare in contestants.items():
                cpu, wall = np.array(compare(*invented)).T
                rows.append({"round": number, "n_utterances": n, "contestant": name,
                             **dict(zip(PARTS, cpu, strict=True)), "all_s": cpu.sum(), "wall_s": wall.sum()})
    return pd.DataFrame(rows)


def summary(found: pd.DataFrame) -> Iterator[str]:
    """Say, by size, the medians and how often faster by round; how each grows; and what of it was wanted."""
    grouped = found.drop(columns="round").groupby(["contestant", "n_utterances"])
    table = grouped.median().assign(all_min_s=grouped["all_s"].min(), all_max_s=grouped["all_s"].max())
    yield f"processor seconds, and wall_s of the clock; {found['round'].nunique()} rounds, medians"
    yield f"{N_RESAMPLES:,} resamples\n{table.to_string(float_format='%.2f')}"
    wide = found.pivot(index=["n_utterances", "round"], columns="contestant", values=["all_s", "wall_s"])
    times = wide.xs("peer", axis=1, level=1) / wide.xs("ours", axis=1, level=1)
    for n, part in times.groupby(level=0):
        yield (f"{n:,} utterances: times as fast by the processor {report.spread(part['all_s'])}, by the clock "
               f"{report.spread(part['wall_s'])}")
    for name in ("ours", "peer") if found["n_utterances"].nunique() > 1 else ():
        grown = report.exponent(table.loc[name].index, table.loc[name, "all_s"])
        yield f"{name} grows with the number of utterances to the power {grown:.2f}"
    n, last = max(times.index)[0], table.loc["ours"].iloc[-1]
    is_met = last["wall_s"] < GOAL_S and times.loc[n, "all_s"].median() >= GOAL_TIMES
    yield (f"{n:,} utterances take ours {last['wall_s']:.1f} s, {last['all_s']:.1f} of the processor; wanted of "
           f"{max(SIZES):,}: under {GOAL_S:g} s, at least {GOAL_TIMES:g} times as fast by the processor: "
           f"{'not tried' if n < max(SIZES) else 'yes' if is_met else 'no'}")


def main() -> None:
    """Run the benchmark and print medians by size, how often faster, and the exponent of growth."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--loops", type=int, default=20, help="of the peer's 10,000 resamples, how many are run")
    options = parser.parse_args()
    found = measure(options.sizes, options.rounds, options.loops)
    report.publish("_".join(["scoring", *(str(n) for n in options.sizes if options.sizes != SIZES)]), found,
                   *summary(found))


if __name__ == "__main__":
    main()
