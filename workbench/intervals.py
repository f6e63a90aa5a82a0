"""Rates with intervals: errors and totals (words, or ones) by utterance, and who spoke; no other module makes them."""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

from workbench import blocks as of_speakers
from workbench.blocks import LEVEL, ONE_SPEAKER, Floats
from workbench.records import Interval

MIN_EFFECTIVE_BLOCKS = 3.0
"""With errors from fewer speakers than this, t(K-1) says nothing (K = 2: 12.7 standard errors): see `_exact`."""

FEW_WITH_ERRORS = "too few speakers with errors: interval assumes that speakers differ as usual"


def rate_interval(errors: ArrayLike, totals: ArrayLike, blocks: Any, weights: ArrayLike | None = None,
                  level: float = LEVEL) -> Interval:
    """Estimate sum(w errors) / sum(w totals) with an interval that knows that blocks (speakers) fail together.

    Logit r +/- t(K-1) SE_J / (r (1-r)), with SE_J the jackknife over blocks and K = (sum e)^2 / sum e^2 over the
    blocks' errors, above 50 % their correct words: an effective number of blocks with errors. From 100 % on, log r
    takes the place of logit r. With K under 3, with one block, and with no or nothing but errors, an exact binomial
    interval of the effective size, and a note. Missing blocks count as one each, and a note.
    Returns: fractions; nan without any total.
    Source: cluster jackknife, MacKinnon, Nielsen, Webb, arXiv 2301.04527; blocks, Liu & Peng, arXiv 1912.09508; the
        t(K-1) is ours and covers 94-96 % (benchmarks/intervals.py); the effective size, Korn & Graubard 1998.
    """
    e, n = np.asarray(errors, dtype=float), np.asarray(totals, dtype=float)
    w = np.ones(len(e)) if weights is None else np.asarray(weights, dtype=float)
    codes, note = of_speakers.number(blocks, len(e))
    E, N = of_speakers.sums(codes, w * e), of_speakers.sums(codes, w * n)
    is_used = (N > 0) | (E > 0)
    E, N = E[is_used], N[is_used]
    if N.sum() <= 0:
        return Interval(math.nan, math.nan, math.nan, "nothing to count")
    r, size = float(E.sum() / N.sum()), of_speakers.effective_size(w, n)
    if np.count_nonzero(N) < 2:
        return Interval(r, *_exact(r, 0.0, size, N, level), note or ONE_SPEAKER)
    se, K = of_speakers.jackknife_se(E, N), effective_failures(E, N)
    if se == 0 or K < MIN_EFFECTIVE_BLOCKS:
        return Interval(r, *_exact(r, se, size, N, level), note or FEW_WITH_ERRORS)
    return Interval(r, *_jackknife(r, se, K, level), note)


def relative_change(before: ArrayLike, after: ArrayLike, blocks: Any) -> Interval:
    """Estimate by which share the errors of the same utterances changed: sum after / sum before - 1.

    Plus one that is the odds that an error of either is one of after, and odds have the interval of their rate: a
    jackknife of their logarithm, or an exact one, and a note, where few blocks or a single one have errors. It covers
    95 to 98 % from 5 speakers on.
    Returns: a fraction, -0.33 where a third went, -1 where all did; nan where there was none and now is.
    Source: benchmarks/intervals.py.
    """
    a, b = np.asarray(before, dtype=float), np.asarray(after, dtype=float)
    if not a.any():
        return (Interval(math.nan, math.nan, math.nan, "no errors before: no share of them") if b.any() else
                Interval(0.0, -1.0, 1.0, "no errors before: nothing to change"))
    share = rate_interval(b, a + b, blocks)
    least = 0.5 / (a + b).sum()  # few errors may all be of after: half an error before keeps the end finite
    low, high = (part / max(1 - part, least) - 1 for part in (share.low, share.high))
    return Interval(float(b.sum() / a.sum()) - 1, low, high, share.note)


def effective_failures(E: Floats, N: Floats) -> float:
    """Say on how many blocks the rarer of errors and correct words is spread: the K of `rate_interval`."""
    r = E.sum() / N.sum()
    return of_speakers.effective_number(E if r <= 0.5 or r >= 1 else np.maximum(N - E, 0))


def _jackknife(r: float, se: float, K: float, level: float) -> tuple[float, float]:
    t = float(stats.t.ppf((1 + level) / 2, K - 1))
    if r >= 1:
        return r * math.exp(-t * se / r), r * math.exp(t * se / r)
    low, high = special.expit(special.logit(r) + np.array([-1, 1]) * t * se / (r * (1 - r)))
    return float(low), float(high)


def _exact(r: float, se: float, size: float, N: Floats, level: float) -> tuple[float, float]:
    """Clopper-Pearson's interval at size / design effect: the larger of the data's own and the one assumed.

    Without errors its end is 1 - alpha^(1/n): about 3 / n, the rule of three, one-sided. Of one speaker, who says
    nothing of how others differ, the assumed alone: it holds the WER of all in 98 sets of 100 where speakers differ so
    much, in 88 to 96 where twice as much; Wilson's of 400 words does in 31 of 100 (benchmarks/intervals.py).
    """
    deff, p = of_speakers.assumed_effect(N, size), min(r, 1.0)
    if 0 < p < 1:
        deff = max(deff, se**2 * size / (p * (1 - p)))
    n, alpha = size / deff, 1 - level
    tail = alpha if p in (0, 1) else alpha / 2
    low = 0.0 if p == 0 else float(stats.beta.ppf(tail, p * n, (1 - p) * n + 1))
    high = 1.0 if p == 1 else float(stats.beta.ppf(1 - tail, p * n + 1, (1 - p) * n))
    return low, max(high, r)
