"""Intervals, comparisons and verdicts, with speakers as blocks; every verdict may be "cannot tell yet".

Numbers in, records out: errors and totals (words, or ones) by utterance, and who spoke. No other module computes an
interval. Utterances of one speaker fail together, so speakers, not utterances, are the sample.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from workbench.errors import ScoringError
from workbench.records import Decision, Interval, Outcome

Floats = NDArray[np.float64]

LEVEL, POWER, ALPHA = 0.95, 0.8, 0.05
"""ALPHA: one-sided risk of calling a change better that is not, and of passing one that is worse than the margin."""

SPEAKER_CORRELATION = 0.05
"""Intra-speaker correlation of errors, where the data cannot tell; 11 to 39 words a speaker: design effect 1.5-2.9."""

PAIR_CORRELATION = 0.5
"""Share of the errors' variance that two models of one family have in common; our assumption for planning only."""

MIN_EFFECTIVE_BLOCKS = 3.0
"""With errors from fewer speakers than this, t(K-1) says nothing (K = 2: 12.7 standard errors): see `_exact`."""

ONE_SPEAKER = "one speaker: interval too narrow"

_CHUNK = 4_000_000
"""Signs drawn at a time, to bound memory at 32 MB."""


def rate_interval(errors: ArrayLike, totals: ArrayLike, blocks: Any, weights: ArrayLike | None = None,
                  level: float = LEVEL) -> Interval:
    """Estimate sum(w errors) / sum(w totals) with an interval that knows that blocks (speakers) fail together.

    Logit r +/- t(K-1) SE_J / (r (1-r)), with SE_J the jackknife over blocks and K = (sum e)^2 / sum e^2 over the
    blocks' errors, above 50 % their correct words: an effective number of blocks with errors. From 100 % on, log r
    takes the place of logit r. With K under 3, and with no or nothing but errors, an exact binomial interval of the
    effective size; with one block Wilson's, and a note. Missing blocks count as one each, and a note.
    Returns: fractions; nan without any total.
    Source: cluster jackknife, MacKinnon, Nielsen, Webb, arXiv 2301.04527; blocks, Liu & Peng, arXiv 1912.09508; the
        t(K-1) is ours and covers 94-95 % at 20 speakers; the effective size, Korn & Graubard 1998.
    """
    e, n = np.asarray(errors, dtype=float), np.asarray(totals, dtype=float)
    w = np.ones(len(e)) if weights is None else np.asarray(weights, dtype=float)
    codes, note = _block_codes(blocks, len(e))
    E, N = _sums(codes, w * e), _sums(codes, w * n)
    is_used = (N > 0) | (E > 0)
    E, N = E[is_used], N[is_used]
    if N.sum() <= 0:
        return Interval(math.nan, math.nan, math.nan, "nothing to count")
    r = float(E.sum() / N.sum())
    if np.count_nonzero(N) < 2:
        return Interval(r, *_wilson(r, _kish(w, n), level), note or ONE_SPEAKER)
    return Interval(r, *_jackknife_interval(E, N, _kish(w, n), level), note)


def _jackknife_interval(E: Floats, N: Floats, size: float, level: float) -> tuple[float, float]:
    r, se = float(E.sum() / N.sum()), _jackknife_se(E, N)
    K = _effective(E if r <= 0.5 or r >= 1 else np.maximum(N - E, 0))
    if se == 0 or K < MIN_EFFECTIVE_BLOCKS:
        return _exact(r, se, size, N, level)
    t = float(stats.t.ppf((1 + level) / 2, K - 1))
    if r >= 1:
        return r * math.exp(-t * se / r), r * math.exp(t * se / r)
    low, high = special.expit(special.logit(r) + np.array([-1, 1]) * t * se / (r * (1 - r)))
    return float(low), float(high)


def _exact(r: float, se: float, size: float, N: Floats, level: float) -> tuple[float, float]:
    """Clopper-Pearson's interval at size / design effect: the larger of the data's own and the one assumed.

    Without errors its end is 1 - alpha^(1/n): about 3 / n, the rule of three, one-sided.
    """
    deff, p = _block_effect(N, size), min(r, 1.0)
    if 0 < p < 1:
        deff = max(deff, se**2 * size / (p * (1 - p)))
    n, alpha = size / deff, 1 - level
    tail = alpha if p in (0, 1) else alpha / 2
    low = 0.0 if p == 0 else float(stats.beta.ppf(tail, p * n, (1 - p) * n + 1))
    high = 1.0 if p == 1 else float(stats.beta.ppf(1 - tail, p * n + 1, (1 - p) * n))
    return low, max(high, r)


def _wilson(r: float, size: float, level: float) -> tuple[float, float]:
    p, z = min(r, 1.0), float(stats.norm.ppf((1 + level) / 2))
    centre = (p + z * z / (2 * size)) / (1 + z * z / size)
    half = z / (1 + z * z / size) * math.sqrt(p * (1 - p) / size + z * z / (4 * size * size))
    return max(0.0, centre - half), max(r, centre + half)


def _jackknife_se(E: Floats, N: Floats) -> float:
    """Give the standard error of sum(E) / sum(N) over blocks; 0 where it cannot be told."""
    rest, G = N.sum() - N, len(N)
    if G < 2 or (rest <= 0).any():
        return 0.0
    return math.sqrt((G - 1) / G * float((((E.sum() - E) / rest - E.sum() / N.sum()) ** 2).sum()))


def _kish(w: Floats, n: Floats) -> float:  # how many words, or utterances, weights leave (Kish 1965)
    return float((w * n).sum() ** 2 / (w * w * n).sum())


def _block_effect(N: Floats, size: float) -> float:
    return max(1.0, design_effect(size * float((N**2).sum() / N.sum() ** 2)))


def _effective(sums: Floats) -> float:
    return float(sums.sum() ** 2 / (sums**2).sum()) if sums.any() else 0.0


def _sums(codes: NDArray[np.int64], values: Floats) -> Floats:
    return np.bincount(codes, weights=values).astype(np.float64)


def _block_codes(blocks: Any, n: int) -> tuple[NDArray[np.int64], str]:
    """Number the blocks; an utterance whose speaker is unknown is a block of its own."""
    if blocks is None:
        return np.arange(n), "speakers unknown: interval too narrow"
    if isinstance(getattr(blocks, "dtype", None), pd.CategoricalDtype):  # numbered already: ten times faster
        numbered = pd.Categorical(blocks)
        codes, known = np.array(numbered.codes, np.int64), numbered.categories
    else:
        values = pd.Series(np.asarray(blocks, dtype=object))
        codes, known = pd.factorize(values.where(values.ne(""), None))
    unknown = codes < 0
    codes[unknown] = len(known) + np.arange(unknown.sum())
    note = f"{unknown.sum()} of {n} speakers unknown: interval too narrow" if unknown.any() else ""
    return codes.astype(np.int64), note


@dataclass(frozen=True, slots=True)
class PairedResult:
    """Two models on the same utterances: rate of b minus rate of a, negative where b is better.

    `p_better` and `p_worse` are one-sided, from sign flips by speaker; `se` and `df` belong to the jackknife interval.
    """

    difference: Interval
    p_better: float
    p_worse: float
    rate_a: float
    rate_b: float
    se: float
    df: float
    n_utterances: int
    n_blocks: int


def paired_difference(errors_a: ArrayLike, errors_b: ArrayLike, totals: ArrayLike, blocks: Any,
                      weights: ArrayLike | None = None, *, n_resamples: int = 10_000, seed: int = 0) -> PairedResult:
    """Compare two models on the same utterances, by speaker.

    The tests flip the sign of each speaker's sum(w (e_b - e_a)), all ways of flipping where `n_resamples` allow it;
    the interval is a jackknife over speakers with t(K-1), K the effective number of speakers that differ (2 at least).
    Where the two never differ the interval is what the rule of three still allows.
    Raises: ScoringError without any word.
    Source: sign flips hold 3-5 % at a nominal 5 % with 10 to 200 speakers, resampled utterances do not (7-17 %).
    """
    a, b, n = (np.asarray(values, dtype=float) for values in (errors_a, errors_b, totals))
    w = np.ones(len(a)) if weights is None else np.asarray(weights, dtype=float)
    codes, note = _block_codes(blocks, len(a))
    D, N = _sums(codes, w * (b - a)), _sums(codes, w * n)
    total = float(N.sum())
    if total <= 0:
        raise ScoringError("no reference word to compare two models on; choose utterances with speech")
    is_one = np.count_nonzero(N) < 2
    se, df = _paired_error(w * (b - a), w * n, _kish(w, n)) if is_one else _paired_error(D, N, _kish(w, n))
    value, half = float(D.sum() / total), float(stats.t.ppf((1 + LEVEL) / 2, df)) * se
    p_better, p_worse = _sign_flips(D, n_resamples, seed)
    difference = Interval(value, value - half, value + half, note or (ONE_SPEAKER if is_one else ""))
    return PairedResult(difference, p_better, p_worse, float((w * a).sum() / total), float((w * b).sum() / total),
                        se, df, len(a), len(N))


def _paired_error(D: Floats, N: Floats, size: float) -> tuple[float, float]:
    """Give standard error and degrees of freedom; where nothing varies, what the rule of three still allows."""
    se = _jackknife_se(D, N)
    if se > 0:
        return se, max(_effective(np.abs(D)) - 1, 1.0)
    share = -math.expm1(math.log(1 - LEVEL) * _block_effect(N, size) / size)
    return share / float(stats.norm.ppf((1 + LEVEL) / 2)), math.inf


def _sign_flips(D: Floats, n_resamples: int, seed: int) -> tuple[float, float]:
    """Give the shares of sign flips whose sum is as low, and as high, as the one seen."""
    D = D[D != 0]
    seen, G, slack = float(D.sum()), len(D), 1e-9 * float(np.abs(D).sum())
    if 2**min(G, 60) <= n_resamples:
        flips = np.arange(2**G)[:, None] >> np.arange(G) & 1
        sums = (1.0 - 2.0 * flips) @ D
        return float((sums <= seen + slack).mean()), float((sums >= seen - slack).mean())
    rng, n_low, n_high, step = np.random.default_rng(seed), 1, 1, max(1, _CHUNK // G)
    for start in range(0, n_resamples, step):
        # 2 * sum over a random half of the speakers - sum of all = the sum with random signs
        sums = 2 * (rng.random((min(step, n_resamples - start), G), dtype=np.float32) < 0.5) @ D - D.sum()
        n_low += int((sums <= seen + slack).sum())
        n_high += int((sums >= seen - slack).sum())
    return n_low / (n_resamples + 1), n_high / (n_resamples + 1)


def noninferiority(paired: PairedResult, margin: float) -> bool | None:
    """Say whether b is worse than a by less than `margin` (a fraction), at a one-sided risk of 5 %.

    Returns: True when shown, False when b is shown to be worse by more than the margin, None when neither is.
    """
    value, half = paired.difference.value, float(stats.t.ppf(1 - ALPHA, paired.df)) * paired.se
    if value + half < margin:
        return True
    return False if value - half > margin else None


def verdict(paired: PairedResult, margin: float, planned_difference: float = 0.0) -> Decision:
    """Conclude yes (b is better, one-sided 5 %), no, or cannot tell yet and how many utterances more it takes.

    No: b is worse, or beyond the margin, or the interval rules out a gain as large as the planned one. The number to
    label comes from the planned difference (the margin when 0), never from the one seen, so it is finite; where the
    plan was met already it asks for a fresh set of that size, for naive further looks find too much.
    Raises: ValueError when neither margin nor planned difference is above zero.
    """
    planned = planned_difference or margin
    if planned <= 0:
        raise ValueError(f"planned_difference is {planned}; give the gain worth finding, as a fraction above 0")
    seen = paired.difference.points()
    if paired.p_better <= ALPHA:
        return Decision("yes", f"Better by WER: {seen}, p = {paired.p_better:.3f}.")
    if paired.p_worse <= ALPHA or noninferiority(paired, margin) is False:
        return Decision("no", f"Worse by WER: {seen}, p = {paired.p_worse:.3f}.")
    if paired.difference.low > -planned:
        return Decision("no", f"Not better by the {100 * planned:.1f} points planned: {seen}.")
    needed = math.ceil((_z(ALPHA, POWER) * paired.se / planned) ** 2 * paired.n_utterances)
    n_more = needed - paired.n_utterances if needed > paired.n_utterances else needed
    return Decision("cannot_tell", f"Cannot tell yet: {seen}; label {n_more:,} more utterances to see a gain of "
                                   f"{100 * planned:.1f} points.")


def target_verdict(interval: Interval, target: float, sense: Literal["<=", ">="]) -> Outcome:
    """Say whether a target is met: yes or no only when the whole interval is on one side of it."""
    if sense not in ("<=", ">="):
        raise ValueError(f"sense is {sense!r}; give '<=' or '>='")
    if (interval.high <= target) if sense == "<=" else (interval.low >= target):
        return "yes"
    return "no" if ((interval.low > target) if sense == "<=" else (interval.high < target)) else "cannot_tell"


def design_effect(n_per_speaker: float, correlation: float = SPEAKER_CORRELATION) -> float:
    """Say how many times more utterances it takes because speakers repeat. Source: Kish 1965, 1 + (m - 1) rho."""
    return 1 + (n_per_speaker - 1) * correlation


def _z(alpha: float, power: float) -> float:
    return float(stats.norm.ppf(1 - alpha) + stats.norm.ppf(power))


def utterances_needed(difference: float, wer: float, design_effect: float, words_per_query: float,
                      power: float = POWER, alpha: float = ALPHA) -> int:
    """Say how many utterances, heard by both models, show a difference in WER (one-sided).

    n = (z_alpha + z_power)^2 sd^2 DEFF / difference^2, with sd^2 = 2 (1 - PAIR_CORRELATION) wer (1 - wer) / words.
    Raises: ValueError for a difference that is not above 0 or a wer outside 0 to 1.
    """
    if difference <= 0 or not 0 < wer < 1:
        raise ValueError(f"difference is {difference} and wer {wer}; give fractions above 0 (wer below 1)")
    variance = 2 * (1 - PAIR_CORRELATION) * wer * (1 - wer) / words_per_query
    return math.ceil(_z(alpha, power) ** 2 * variance * design_effect / difference**2)


def power_table(differences: Sequence[float], wers: Sequence[float], *, design_effect: float, words_per_query: float,
                power: float = POWER, alpha: float = ALPHA) -> pd.DataFrame:
    """Tabulate `utterances_needed`. Returns: wer, difference (fractions), n_utterances; a row a pair, wer by wer."""
    return pd.DataFrame([
        {"wer": wer, "difference": difference,
         "n_utterances": utterances_needed(difference, wer, design_effect, words_per_query, power, alpha)}
        for wer in wers for difference in differences])


def poststratification_weights(values: pd.Series, shares: Mapping[str, float]) -> Floats:
    """Weigh utterances so that each value counts as in use: its share of use / its share of the set; the mean is 1.

    Declared values that the set lacks cannot be weighted up; the others keep their proportions.
    Raises: ScoringError when the set holds values without a share.
    """
    found = values.value_counts(dropna=False)
    strange = ["(missing)" if pd.isna(value) else str(value) for value in found.index if value not in shares]
    if strange:
        raise ScoringError(f"no share of use for {values.name} = {', '.join(strange)}; declared are "
                           f"{', '.join(shares)}: add them to the use shares, or leave those utterances out")
    present = {value: shares[value] for value in found.index}
    if sum(present.values()) <= 0:
        raise ScoringError(f"all use shares of {', '.join(map(str, present))} are 0; declare one above 0")
    weights = {value: share / sum(present.values()) * len(values) / found[value] for value, share in present.items()}
    return values.map(weights).to_numpy(float)
