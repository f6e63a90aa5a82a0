"""Two models on the same utterances: their difference by speaker, whether it is luck, and that for many slices."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from workbench import blocks as of_speakers
from workbench.blocks import LEVEL, ONE_SPEAKER, Floats
from workbench.errors import ScoringError
from workbench.records import Interval

ALPHA = 0.05
"""One-sided risk of calling a change better that is not, and of passing one that is worse than the margin; what the
second comes to with few speakers, `noninferiority` says."""

FALSE_DISCOVERIES = 0.05
"""Of the slices that are called changed, the expected share that is not."""


@dataclass(frozen=True, slots=True)
class PairedResult:
    """Two models on the same utterances: rate of b minus rate of a, negative where b is better.

    `p_better` and `p_worse` are one-sided, from sign flips by speaker; `se` and `df` belong to the jackknife interval;
    `se_df` says how well the standard error is itself known, which plans made from this comparison have to; `skew` is
    the difference's own, above 0 where few speakers lose much.
    """

    difference: Interval
    p_better: float
    p_worse: float
    rate_a: float
    rate_b: float
    se: float
    df: float
    se_df: float
    skew: float
    n_utterances: int
    n_blocks: int

    @property
    def p(self) -> float:
        """Give the two-sided p-value."""
        return min(1.0, 2 * min(self.p_better, self.p_worse))


def paired_difference(errors_a: ArrayLike, errors_b: ArrayLike, totals: ArrayLike, blocks: Any,
                      weights: ArrayLike | None = None, *, n_resamples: int = 10_000, seed: int = 0) -> PairedResult:
    """Compare two models on the same utterances, by speaker.

    The tests flip the sign of each speaker's sum(w (e_b - e_a)), all ways of flipping where `n_resamples` allow it;
    the interval is a jackknife over speakers with t(K-1), K the effective number of speakers that differ (2 at least).
    Where the two never differ the interval is what the rule of three still allows. Of one speaker utterances are
    compared, as much less surely as speakers are assumed to differ.
    Raises: ScoringError without any word.
    Source: sign flips hold 3-5 % at a nominal 5 % with 10 to 200 speakers, resampled utterances do not (7-17 %):
        benchmarks/comparisons.py.
    """
    a, b, n = (np.asarray(values, dtype=float) for values in (errors_a, errors_b, totals))
    w = np.ones(len(a)) if weights is None else np.asarray(weights, dtype=float)
    codes, note = of_speakers.number(blocks, len(a))
    D, N = of_speakers.sums(codes, w * (b - a)), of_speakers.sums(codes, w * n)
    by_speaker, total = D, float(N.sum())
    if total <= 0:
        raise ScoringError("no reference word to compare two models on; choose utterances with speech")
    is_one, size = np.count_nonzero(N) < 2, of_speakers.effective_size(w, n)
    effect = of_speakers.assumed_effect(N, size)
    if is_one:
        D, N = w * (b - a), w * n
    se, df, skew = _error(D, N, size, effect)
    value, half = float(D.sum() / total), float(stats.t.ppf((1 + LEVEL) / 2, df)) * se
    p_better, p_worse = map(float, sign_flips(by_speaker[by_speaker != 0], n_resamples, seed))
    difference = Interval(value, value - half, value + half, note or (ONE_SPEAKER if is_one else ""))
    return PairedResult(difference, p_better, p_worse, float((w * a).sum() / total), float((w * b).sum() / total),
                        se, df, _se_df(D - value * N, N, df), skew, len(a), len(by_speaker))


def _error(D: Floats, N: Floats, size: float, effect: float) -> tuple[float, float, float]:
    """Give standard error, degrees of freedom and skew; where nothing varies, what the rule of three still allows.

    `effect` is the design effect assumed of speakers; where D and N are of one speaker's utterances, it takes the place
    of theirs.
    """
    se = of_speakers.jackknife_se(D, N)
    if se > 0:
        without = (D.sum() - D) / (N.sum() - N)
        skew = float(((D.sum() / N.sum() - without) ** 3).sum()) / se**3
        df = max(of_speakers.effective_number(np.abs(D)) - 1, 1.0)
        return se * math.sqrt(effect / of_speakers.assumed_effect(N, size)), df, skew
    share = -math.expm1(math.log(1 - LEVEL) * effect / size)
    return share / float(stats.norm.ppf((1 + LEVEL) / 2)), math.inf, 0.0


def _se_df(residuals: Floats, N: Floats, df: float) -> float:
    """Say with how many degrees of freedom a chi-square describes se^2: 1 / df = 1 / (K - 1) + 1 / (2 df_4).

    df_4 = 2 G / (kurtosis - (G - 3) / (G - 1)) matches the fourth moment, which few speakers show too small; K, the
    effective number of speakers that differ, or by words where that is less, makes up for it.
    Source: df_4 from the variance of s^2, Bonett 2006; their sum is ours, chosen on draws of its own and tried on
        others: benchmarks/comparisons.py.
    """
    G, spread = len(residuals), float((residuals**2).mean())
    if G < 3 or spread == 0 or math.isinf(df):
        return df
    df = max(min(df, of_speakers.effective_number(N) - 1), 1.0)
    kurtosis = float((residuals**4).mean()) / spread**2
    fourth = 2 * G / max(kurtosis - (G - 3) / (G - 1), 0.1)
    return max(1 / (1 / df + 1 / (2 * fourth)), 1.0)


def sign_flips(totals: Floats, n_resamples: int, seed: int) -> tuple[Floats, Floats]:
    """Flip signs by speaker; the one seen is among the flips. Shape: totals [speakers], or [speakers, comparisons].

    Returns: p_better and p_worse of each comparison, the shares of flips whose sum is as low, and as high.
    """
    sums = of_speakers.signed(totals, n_resamples, seed)
    seen, slack = totals.sum(axis=0), 1e-9 * np.abs(totals).sum(axis=0)
    n_seen = 0 if len(sums) == 2 ** min(len(totals), 60) else 1  # all ways of flipping hold the one seen
    counts = ((sums <= seen + slack).sum(axis=0), (sums >= seen - slack).sum(axis=0))
    low, high = ((count + n_seen) / (len(sums) + n_seen) for count in counts)
    return low, high


def noninferiority(paired: PairedResult, margin: float, alpha: float = ALPHA) -> bool | None:
    """Say whether b is worse than a by less than `margin` (a fraction), at a one-sided risk of `alpha`.

    Harm is shown when the whole interval (at 1 - 2 alpha) lies beyond the margin. That there is none takes more: where
    few speakers lose much, a set that lacks them shows little loss and a small standard error at once. So t is mended
    for skew, t + skew / 6 + skew t^2 / 3 + skew^2 t^3 / 27, though never in b's favour, and has `se_df`. Of models that
    are worse by the whole margin (a fifth of a WER of 10 %) it passes 4 to 6 % with 8 to 200 speakers who say as much,
    and 9 at most where few say most; where speakers are most unlike (correlation .2) 7, and 10. The t of the interval
    would pass 5 to 8, and 12; 10, and 15: benchmarks/comparisons.py.
    Returns: True when shown, False when b is shown to be worse by more than the margin, None when neither is.
    Source: the mended t, Hall 1992, "On the removal of skewness by transformation"; that it is one-sided is ours.
    """
    excess, se, skew = paired.difference.value - margin, paired.se, max(paired.skew, 0.0)
    if excess > float(stats.t.ppf(1 - alpha, paired.df)) * se:
        return False
    t = excess / se
    mended = t + skew / 6 + skew * t**2 / 3 + skew**2 * t**3 / 27
    return True if mended < -float(stats.t.ppf(1 - alpha, paired.se_df)) else None


def changed(p: ArrayLike, change: ArrayLike) -> tuple[NDArray[np.float64], list[str]]:
    """Tell which of many slices changed, at a false discovery rate of 5 % over all of them.

    `p` are two-sided, `change` is of an error rate.
    Returns: q (the rate at which a slice would just be called changed), and better, worse or cannot tell of each.
    Source: Benjamini & Hochberg 1995; slices of one set overlap, and it holds all the same: benchmarks/comparisons.py.
    """
    values = np.asarray(p, dtype=float)
    q = np.asarray(stats.false_discovery_control(values), dtype=float) if len(values) else values
    words = ["cannot tell" if rate > FALSE_DISCOVERIES else "better" if value < 0 else "worse"
             for rate, value in zip(q, np.asarray(change, dtype=float), strict=True)]
    return q, words
