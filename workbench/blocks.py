"""Speakers as blocks: utterances of one speaker fail together, so speakers, not utterances, are the sample.

Sums by block come first; what intervals, differences and plans need to know of an error is told from those alone.
"""

import math
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEVEL = 0.95
"""Of all intervals."""

SPEAKER_CORRELATION = 0.05
"""Intra-speaker correlation of errors, where the data cannot tell; 11 to 39 words a speaker: design effect 1.5-2.9."""

UNKNOWN_SPEAKER = "unknown"
"""What datasets say where nobody knows who spoke; "" and a missing value mean the same."""

ONE_SPEAKER = "one speaker: interval assumes that speakers differ as usual"

_CHUNK = 4_000_000
"""Draws held at a time, to bound memory at 32 MB."""


def number(blocks: Any, n: int) -> tuple[NDArray[np.int64], str]:
    """Number the blocks of n utterances; one whose speaker is unknown is a block of its own.

    Returns: a number an utterance, and a note ("" when all speakers are known).
    """
    if blocks is None:
        return np.arange(n), "speakers unknown: interval too narrow"
    is_numbered = isinstance(getattr(blocks, "dtype", None), pd.CategoricalDtype)
    named = pd.Categorical(blocks) if is_numbered else numbered(blocks)
    codes, known = np.array(named.codes, np.int64), named.categories
    unknown = codes < 0
    codes[unknown] = len(known) + np.arange(unknown.sum())
    note = f"{unknown.sum()} of {n} speakers unknown: interval too narrow" if unknown.any() else ""
    return codes, note


def numbered(blocks: Any) -> pd.Categorical:
    """Number blocks in the order of their first utterances, once for many rates: `number` takes it ten times faster."""
    values = pd.Series(blocks if isinstance(getattr(blocks, "dtype", None), pd.CategoricalDtype) else
                       np.asarray(blocks, dtype=object))
    codes, known = pd.factorize(values.where(~is_unknown(values), None))
    return pd.Categorical.from_codes(codes, pd.RangeIndex(len(known)))


def is_unknown(speakers: "pd.Series[Any]") -> "pd.Series[bool]":
    """Say of each utterance whether nobody knows who spoke."""
    return speakers.isna() | speakers.isin(["", UNKNOWN_SPEAKER])


def n_known(speakers: Any) -> int:
    """Count the speakers that are known."""
    return len(numbered(speakers).categories)


def sums(codes: NDArray[np.int64], values: Floats) -> Floats:
    """Add values up by block."""
    return np.bincount(codes, weights=values).astype(np.float64)


def jackknife_se(E: Floats, N: Floats) -> float:
    """Give the standard error of sum(E) / sum(N) over blocks; 0 where it cannot be told.

    Source: cluster jackknife, MacKinnon, Nielsen, Webb, arXiv 2301.04527.
    """
    rest, G = N.sum() - N, len(N)
    if G < 2 or (rest <= 0).any():
        return 0.0
    return math.sqrt((G - 1) / G * float((((E.sum() - E) / rest - E.sum() / N.sum()) ** 2).sum()))


def effective_number(totals: Floats) -> float:
    """Say over how many blocks a total is spread: (sum x)^2 / sum x^2, 0 where there is nothing."""
    return float(totals.sum() ** 2 / (totals**2).sum()) if totals.any() else 0.0


def effective_size(w: Floats, n: Floats) -> float:
    """Say how many words, or utterances, weights leave. Source: Kish 1965."""
    return float((w * n).sum() ** 2 / (w * w * n).sum())


def design_effect(n_per_speaker: float, correlation: float = SPEAKER_CORRELATION) -> float:
    """Say how many times more utterances it takes because speakers repeat. Source: Kish 1965, 1 + (m - 1) rho."""
    return 1 + (n_per_speaker - 1) * correlation


def assumed_effect(N: Floats, size: float) -> float:
    """Give the design effect of blocks of these totals at the correlation that is assumed, 1 at least."""
    return max(1.0, design_effect(size * float((N**2).sum() / N.sum() ** 2)))


def signed(totals: Floats, n_resamples: int, seed: int) -> Floats:
    """Flip the sign of each block's total, again and again, and add up: all ways of flipping where there are so few.

    Shape: totals [blocks, ...]; returns [n_resamples, ...], or [2^blocks, ...] where that is no more.
    """
    G = len(totals)
    if 2 ** min(G, 60) <= n_resamples:
        return np.asarray((1.0 - 2.0 * (np.arange(2**G)[:, None] >> np.arange(G) & 1)) @ totals)
    rng, step = np.random.default_rng(seed), max(1, _CHUNK // G)
    # 2 * sum over a random half of the blocks - sum of all = the sum with random signs
    parts = [2 * (rng.integers(2, size=(min(step, n_resamples - start), G), dtype=bool) @ totals) - totals.sum(axis=0)
             for start in range(0, n_resamples, step)]
    return np.concatenate(parts)
