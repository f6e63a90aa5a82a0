"""How fast is a comparison of two models? Scores, slices and 10,000 resamples, against jiwer file by file and a loop.

    python benchmarks/scoring.py --sizes 1000 10000 100000 --rounds 3

Both count the errors of two models on the same invented queries (four words of 5,000, a tenth of them changed, fifty
queries a speaker), their WER by slice with an interval, and whether one is better: ours by jackknife and sign flips
over speakers, the peer by a bootstrap that draws speakers, a resample at a time. The peer's loop runs `--loops` times
and is scaled to 10,000; it neither normalizes texts nor counts characters, as ours does. Times are of the processor,
so that other programs disturb less. Wanted: 100,000 queries in 10 s, twenty times as fast as the peer, and a cost that
grows no faster than their number. The table goes to reports/benchmarks/scoring.csv.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import jiwer
import numpy as np
import pandas as pd

from workbench import differences, scoring, slicing, storage

N_RESAMPLES, QUERIES_A_SPEAKER, WORDS_A_QUERY, N_WORDS, CHANGED = 10_000, 50, 4, 5_000, 0.1
COLUMNS = {"noise": 4, "accent": 6, "gender": 2, "device": 5, "intent": 8}
"""Slice columns and how many values each has."""
PARTS = ("errors", "slices", "resamples")


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
    """Gives the processor seconds since it was asked last."""

    def __init__(self) -> None:
        self.last_s = time.process_time()

    def lap(self) -> float:
        before_s, self.last_s = self.last_s, time.process_time()
        return self.last_s - before_s


def ours(table: pd.DataFrame, a: Sequence[str], b: Sequence[str]) -> list[float]:
    """Compare as the notebooks do. Returns: seconds by part."""
    clock = Clock()
    scores_a, scores_b = scoring.score(table, a), scoring.score(table, b)
    seconds = [clock.lap()]
    slicing.slice_table(scores_a, list(COLUMNS))
    seconds.append(clock.lap())
    differences.paired_difference(scores_a["n_errors"], scores_b["n_errors"], scores_a["n_words"], scores_a["speaker"],
                                n_resamples=N_RESAMPLES)
    return [*seconds, clock.lap()]


def peer(table: pd.DataFrame, a: Sequence[str], b: Sequence[str], n_loops: int) -> list[float]:
    """Compare file by file, and resample by resample, each slice too. Returns: seconds by part."""
    clock = Clock()
    counts = [[jiwer.process_words(r, h) for r, h in zip(table["reference"], heard, strict=True)] for heard in (a, b)]
    errors = [np.array([o.substitutions + o.deletions + o.insertions for o in outputs]) for outputs in counts]
    n_words = np.array([o.hits + o.substitutions + o.deletions for o in counts[0]])
    seconds = [clock.lap()]
    members = [table[column].eq(value).to_numpy() for column in COLUMNS for value in table[column].unique()]
    seconds.append(sum(bootstrap_s(errors[0][m], n_words[m], table["speaker"][m], n_loops) for m in members))
    return [*seconds, bootstrap_s(errors[1] - errors[0], n_words, table["speaker"], n_loops)]


def bootstrap_s(errors: np.ndarray, n_words: np.ndarray, speakers: pd.Series, n_loops: int) -> float:
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
    contestants: dict[str, Callable[..., list[float]]] = {
        "ours": ours, "peer": lambda table, a, b: peer(table, a, b, n_loops)}
    rows = []
    for seed in range(n_rounds):
        for n in sizes:
            invented = queries(n, seed)
            for name, compare in contestants.items():
                seconds = compare(*invented)
                rows.append({"n_utterances": n, "contestant": name, **dict(zip(PARTS, seconds, strict=True)),
                             "all_s": sum(seconds)})
    return pd.DataFrame(rows)


def main() -> None:
    """Run the benchmark and print medians by size, how often faster, and the exponent of growth."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--loops", type=int, default=20, help="of the peer's 10,000 resamples, how many are run")
    options = parser.parse_args()
    found = measure(options.sizes, options.rounds, options.loops)
    grouped = found.groupby(["contestant", "n_utterances"])
    table = grouped.median().assign(all_min_s=grouped["all_s"].min(), all_max_s=grouped["all_s"].max())
    print(f"processor seconds, {options.rounds} rounds, medians; {N_RESAMPLES:,} resamples")
    print(table.to_string(float_format="%.2f"))
    both = table["all_s"].unstack("contestant")
    print("times as fast:", ", ".join(f"{n:,}: {row['peer'] / row['ours']:.0f}" for n, row in both.iterrows()))
    for name in both if len(both) > 1 else ():
        slope = np.polyfit(np.log(both.index), np.log(both[name]), 1)[0]
        print(f"{name} grows with the number of utterances to the power {slope:.2f}")
    storage.write_text(Path(__file__).parents[1] / "reports" / "benchmarks" / "scoring.csv", table.to_csv())


if __name__ == "__main__":
    main()
