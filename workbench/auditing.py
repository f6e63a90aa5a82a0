"""What a random audit of a window says: alone, together with what was expected, and against it.

What was expected makes the audit surer; the audit makes it unbiased, wherever the model and people have gone.
"""

import math

import numpy as np
import pandas as pd
from scipy import stats

from workbench import blocks, expected_wer, intervals, scoring
from workbench.expected_wer import Calibration
from workbench.records import Interval

MIN_AUDIT = 30
"""Labelled queries below which an audit says nothing: at 10 % WER fewer than three errors are expected in ten."""
LEAST = 0.02
"""Two points of WER: what an expectation may be wrong by before anybody should act on it."""


def audited(rows: pd.DataFrame, labels: pd.DataFrame) -> pd.DataFrame:
    """Score the queries of a window that the random audit labelled; what was chosen by value is no fair sample.

    Returns: the rows with reference, n_errors, n_words; empty while no such label has come in.
    """
    fair = labels.loc[labels["kind"] == "audit", ["request_id", "reference"]]
    found = rows.merge(fair, on="request_id").assign(utterance_id=lambda table: table["request_id"])
    return scoring.score(found.assign(text=found["reference"]), found["hypothesis"].tolist()) if len(found) else found


def audited_wer(scores: pd.DataFrame) -> Interval:
    """Give the WER of audited queries alone, with users as blocks; nan below the least that says anything."""
    if len(scores) < MIN_AUDIT:
        return _too_few(scores)
    return intervals.rate_interval(scores["n_errors"], scores["n_words"], scores["block"])


def combine(rows: pd.DataFrame, scores: pd.DataFrame, calibration: Calibration, *, level: float = 0.95) -> Interval:
    """Say what writing down all queries of a window would show, from its expectation and a random audit of it.

    (sum p + N/n sum(e - p)) / (sum k + N/n sum(w - k)) over N queries, n of them audited: p errors and k words are
    expected, e and w were found. Users are blocks; an audit of all leaves no doubt. Where errors were found with users
    who count as fewer than three, there is no telling how far e - p goes, and the audit speaks alone.
    Source: prediction-powered inference, Angelopoulos et al., arXiv 2311.01453; the ratio's error by linearization; the
        t(K-1) as in `intervals.rate_interval`: at 2 to 25 % WER and 30 to 400 labels it covers 92-100 %, and t of all
        users 83-96 %, its misses being too low (benchmarks/audits.py).
    """
    if len(scores) < MIN_AUDIT:
        return _too_few(scores)
    K = blocks.effective_number(scores.groupby("block")["n_errors"].sum().to_numpy(float))
    if K < intervals.MIN_EFFECTIVE_BLOCKS:
        return audited_wer(scores)
    rows, scale = expected_wer.measured(rows), len(rows) / len(scores)
    off, off_words = (scores["n_errors"] - calibration.errors(scores), scores["n_words"] - calibration.words(scores))
    words = float(calibration.words(rows).sum() + scale * off_words.sum())
    value = float(calibration.errors(rows).sum() + scale * off.sum()) / words
    half = _half(off - value * off_words, scores["block"], level, K) * scale * math.sqrt(max(1 - 1 / scale, 0)) / words
    return Interval(max(0.0, value), max(0.0, value - half), value + half)


def disagreement(scores: pd.DataFrame, calibration: Calibration, *, level: float = 0.95) -> Interval:
    """Say by how much more WER the audited queries hold than their confidence and sound let one expect.

    The interval knows that calibrating was no more than a sample either; nan below the least that says anything.
    """
    if len(scores) < MIN_AUDIT:
        return _too_few(scores)
    words = float(scores["n_words"].sum())
    expected = calibration.rates(scores, "errors") * calibration.words(scores)
    value = float(scores["n_errors"].sum() - expected[0].sum()) / words
    chance = _half(scores["n_errors"] - expected[0] - value * scores["n_words"], scores["block"], level) / words
    calibrating = math.sqrt(expected_wer.jackknife_variance(expected.sum(axis=1) / words))
    half = math.hypot(chance, float(stats.t.ppf((1 + level) / 2, max(len(expected) - 2, 1))) * calibrating)
    return Interval(value, value - half, value + half)


def is_disagreeing(found: Interval) -> bool:
    """Whether audit and expectation differ beyond chance (at the interval's level), and by as much as matters."""
    return abs(found.value) >= LEAST and not found.low <= 0 <= found.high


def _half(off: "pd.Series[float]", users: "pd.Series[str]", level: float, K: float = math.inf) -> float:
    """Give half the width of the interval of a sum whose blocks come by chance, of which but K may count."""
    sums = (off - off.mean()).groupby(users.to_numpy()).sum().to_numpy()
    n = max(len(sums), 2)
    return float(stats.t.ppf((1 + level) / 2, min(n, K) - 1)) * math.sqrt(n / (n - 1) * float(np.square(sums).sum()))


def _too_few(scores: pd.DataFrame) -> Interval:
    return Interval(math.nan, math.nan, math.nan, f"{len(scores)} audited queries; {MIN_AUDIT} are the least")
