"""WER without references: what confidence lets one expect, and what a random audit adds to it.

An expectation assumes that confidence means what it meant where it was calibrated. In a shifted week it does not, and
errs to the good side; so it is shown as an estimate, never as met or missed.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from workbench import intervals, scoring
from workbench.records import Interval

Floats = NDArray[np.float64]

N_RESAMPLES = 200
"""Enough for the ends of a 95 % interval of an estimate that is only ever shown to the point."""
ESTIMATE = "an estimate from confidence, no labels"
MIN_AUDIT = 30
"""Labelled queries below which an audit says nothing: at 10 % WER fewer than three errors are expected in ten."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Error rate by confidence, the best fit first, then fits to resampled speakers; and how fast people speak."""

    curves: tuple[tuple[Floats, Floats], ...]
    words_per_s: float

    def words(self, rows: pd.DataFrame) -> Floats:
        """Give the words that a query of its length holds: known also where the words themselves are dropped."""
        return np.asarray(self.words_per_s * rows["duration_s"].to_numpy(float))

    def errors(self, rows: pd.DataFrame, curve: int = 0) -> Floats:
        """Give the errors to expect in each query."""
        logprobs, rates = self.curves[curve]
        return np.asarray(np.interp(rows["avg_logprob"].to_numpy(float), logprobs, rates) * self.words(rows))


def calibrate(scored: pd.DataFrame, *, seed: int = 0) -> Calibration:
    """Fit the error rate as a falling function of avg_logprob, by speakers' queries that somebody transcribed.

    `scored` holds avg_logprob, n_errors, n_words, duration_s, speaker (as `scoring.score` leaves them).
    Source: isotonic calibration, Zadrozny & Elkan 2002; within two points in 98 % of windows like the calibration's.
    """
    words_per_s = float(scored["n_words"].sum() / scored["duration_s"].sum())
    words = words_per_s * scored["duration_s"].to_numpy(float)
    rates, logprobs = scored["n_errors"].to_numpy(float) / words, scored["avg_logprob"].to_numpy(float)
    codes, speakers = pd.factorize(scored["speaker"])
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(speakers), np.full(len(speakers), 1 / len(speakers)), size=N_RESAMPLES)
    weights = [np.ones(len(speakers)), *drawn]
    return Calibration(tuple(_isotonic(logprobs, rates, words * w[codes]) for w in weights), words_per_s)


def _isotonic(logprobs: Floats, rates: Floats, weights: Floats) -> tuple[Floats, Floats]:
    from sklearn.isotonic import IsotonicRegression  # a second to import; only calibrating needs it

    is_in = weights > 0
    fit = IsotonicRegression(increasing=False).fit(logprobs[is_in], rates[is_in], weights[is_in])
    return fit.X_thresholds_, fit.y_thresholds_


def expect(rows: pd.DataFrame, calibration: Calibration, *, seed: int = 0) -> Interval:
    """Say what WER a window's confidence lets one expect; the interval knows who calibrated and who asked.

    `rows` holds avg_logprob, duration_s and block (whose query it is).
    Returns: fractions, and a note that it is an estimate; nan without rows.
    """
    rows = rows[rows["avg_logprob"].notna() & rows["duration_s"].notna()]
    if rows.empty:
        return Interval(math.nan, math.nan, math.nan, "no answered query")
    codes, blocks = pd.factorize(rows["block"])
    words, rng, rates = calibration.words(rows), np.random.default_rng(seed), []
    for curve in range(len(calibration.curves)):
        drawn = rng.multinomial(len(blocks), np.full(len(blocks), 1 / len(blocks))) if curve else np.ones(len(blocks))
        w = drawn[codes]
        rates.append(float((w * calibration.errors(rows, curve)).sum() / (w * words).sum()))
    low, high = np.quantile(rates[1:], [0.025, 0.975]) if len(rates) > 1 else (math.nan, math.nan)
    return Interval(rates[0], float(low), float(high), ESTIMATE)


def audited(rows: pd.DataFrame, labels: pd.DataFrame) -> pd.DataFrame:
    """Score the queries of a window that the random audit labelled; what was chosen by value is no fair sample.

    Returns: the rows with reference, n_errors, n_words; empty while no such label has come in.
    """
    fair = labels.loc[labels["kind"] == "audit", ["request_id", "reference"]]
    found = rows.merge(fair, on="request_id").assign(utterance_id=lambda table: table["request_id"])
    return scoring.score(found.assign(text=found["reference"]), found["hypothesis"].tolist()) if len(found) else found


def audited_wer(scores: pd.DataFrame) -> Interval:
    """Give the WER of audited queries, with users as blocks; nan below the least that says anything."""
    if len(scores) < MIN_AUDIT:
        return Interval(math.nan, math.nan, math.nan, f"{len(scores)} audited queries; {MIN_AUDIT} are the least")
    return intervals.rate_interval(scores["n_errors"], scores["n_words"], scores["block"])


def combine(rows: pd.DataFrame, scores: pd.DataFrame, calibration: Calibration) -> Interval:
    """Correct a window's expectation by what its audit found, which is unbiased and surer than the audit alone.

    (sum p k + N/n sum(e - p k)) / sum k over N queries, n of them audited; users are blocks.
    Source: prediction-powered inference, Angelopoulos et al., arXiv 2311.01453.
    """
    if len(scores) < MIN_AUDIT:
        return Interval(math.nan, math.nan, math.nan, f"{len(scores)} audited queries; {MIN_AUDIT} are the least")
    words, scale = float(calibration.words(rows).sum()), len(rows) / len(scores)
    wrong = pd.Series(scores["n_errors"].to_numpy(float) - calibration.errors(scores))
    sums = wrong.groupby(scores["block"].to_numpy()).sum()
    centred = sums - wrong.mean() * scores.groupby("block").size()
    expected = pd.Series(calibration.errors(rows)).groupby(rows["block"].to_numpy()).sum()
    sampling = expected - expected.sum() / len(rows) * rows.groupby("block").size()
    se = math.sqrt(scale**2 * float((centred**2).sum()) + float((sampling**2).sum())) / words
    value = float(expected.sum() + scale * wrong.sum()) / words
    half = float(stats.t.ppf(0.975, max(len(sums) - 1, 1))) * se
    return Interval(value, max(0.0, value - half), value + half)
