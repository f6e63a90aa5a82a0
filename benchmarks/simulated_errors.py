"""Errors of recognizers on speakers who differ, drawn by speaker: what intervals and comparisons are tried on.

A speaker says 5 to 40 queries of four words; how often words are misheard differs between speakers (beta-binomial, by
an intra-speaker correlation). Two systems share half of their errors' variance, and speakers have their own opinion of
which is better.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from workbench import storage

Counts = NDArray[np.int64]
WORDS = 4
QUERIES = (5, 40)
SHARED = 0.5
"""Of the errors of the first of two systems, the share that the second makes too."""

TASTE = 0.3
"""Standard deviation between speakers of the second system's own errors, as a share of them."""


class Errors(NamedTuple):
    """Shape: [sets, speakers], errors and words."""

    n_errors: Counts
    n_words: Counts


class Pairs(NamedTuple):
    """Shape: [sets, speakers], errors of two systems on the same words."""

    n_errors_a: Counts
    n_errors_b: Counts
    n_words: Counts


def draw(rng: np.random.Generator, shape: tuple[int, int], wer: float, correlation: float, *,
         share_bad: float = 0.0) -> Errors:
    """Draw errors; a share of speakers may be heard sixfold worse, the WER over all staying as given."""
    n_words = WORDS * rng.integers(QUERIES[0], QUERIES[1] + 1, shape)
    return Errors(rng.binomial(n_words, _rates(rng, shape, wer, correlation, share_bad)), n_words)


def _rates(rng: np.random.Generator, shape: tuple[int, int], wer: float, correlation: float,
           share_bad: float = 0.0) -> NDArray[np.float64]:
    mean = wer / (1 + 5 * share_bad) * np.where(rng.random(shape) < share_bad, 6.0, 1.0)
    if not correlation:
        return mean
    k = 1 / correlation - 1
    return rng.beta(mean * k, (1 - mean) * k)


def draw_pairs(rng: np.random.Generator, shape: tuple[int, int], wer: float, correlation: float, gain: float = 0.0, *,
               n_parts: int = 1) -> Pairs:
    """Draw two systems; the second makes `gain` (a share) fewer errors than the first, give or take a speaker's taste.

    With several parts each speaker comes back as often, and says an n-th each time. Shape: [sets, speakers], or
    [parts, sets, speakers].
    """
    queries = rng.integers(QUERIES[0], QUERIES[1] + 1, shape)
    n_words = WORDS * np.array([(queries + part) // n_parts for part in range(n_parts)])
    rates = _rates(rng, shape, wer, correlation)
    taste = np.maximum((1 - SHARED - gain) * (1 + TASTE * rng.standard_normal(shape)), 0)
    both, a_alone = rng.binomial(n_words, SHARED * rates), rng.binomial(n_words, (1 - SHARED) * rates)
    pairs = Pairs(both + a_alone, both + rng.binomial(n_words, np.minimum(taste * rates, 1)), n_words)
    return pairs if n_parts > 1 else Pairs(*(counts[0] for counts in pairs))


def variance(pairs: Pairs) -> float:
    """Measure the variance an utterance of the difference of WERs, speakers as they are: the world's, of many sets."""
    change, words = pairs.n_errors_b - pairs.n_errors_a, pairs.n_words
    residual = change - change.sum() / words.sum() * words
    return float(residual.var() / words.mean() / WORDS)


def swapped(rng: np.random.Generator, pairs: Pairs) -> Pairs:
    """Swap the systems' labels at random, speaker by speaker: whatever they are, neither is better then."""
    is_swapped = rng.random(pairs.n_words.shape[-2:]) < 0.5
    a, b = pairs.n_errors_a, pairs.n_errors_b
    return Pairs(np.where(is_swapped, b, a), np.where(is_swapped, a, b), pairs.n_words)


def monte_carlo_error(p: float, n: int) -> float:
    """Give the standard error of a simulated share."""
    return float(np.sqrt(p * (1 - p) / n))


def report(title: str, table: pd.DataFrame, name: str) -> None:
    """Print a table, and keep it in reports/benchmarks."""
    print(f"\n{title}\n{table.to_string(index=False)}", flush=True)
    folder = storage.data_folder().parent / "reports" / "benchmarks"
    storage.write_text(folder / f"{name}.csv", table.to_csv(index=False))
