"""WER from confidence is right where confidence means what it did; where it does not, an audit mends it."""

import numpy as np
import pandas as pd
import pytest

from workbench import expected_wer
from workbench.records import Interval


def answered(rng: np.random.Generator, n: int, *, n_users: int = 100, harder: float = 0.0) -> pd.DataFrame:
    """Draw scored queries whose errors follow their confidence; `harder` adds errors that confidence does not show."""
    user = rng.integers(n_users, size=n)
    logprob = -rng.gamma(1.2, 0.25, n) * (1 + 0.3 * rng.normal(size=n_users)[user] ** 2)
    n_words = rng.integers(2, 7, n)
    wrong = np.clip(0.5 * -logprob + harder, 0, 1)
    speaker = pd.Series([f"s{i}" for i in user])
    return pd.DataFrame({"request_id": [f"q{i}" for i in range(n)], "avg_logprob": logprob, "n_words": n_words,
                         "n_errors": rng.binomial(n_words, wrong), "speaker": speaker, "block": speaker,
                         "duration_s": 0.6 + 0.35 * n_words + rng.uniform(0, 0.3, n)})


def true_wer(rows: pd.DataFrame) -> float:
    return float(rows["n_errors"].sum() / rows["n_words"].sum())


def test_windows_like_the_calibration_are_estimated_within_two_points() -> None:
    rng = np.random.default_rng(0)
    calibration = expected_wer.calibrate(answered(rng, 900))
    windows = [answered(rng, 600) for _ in range(20)]
    off = [abs(expected_wer.expect(rows, calibration).value - true_wer(rows)) for rows in windows]
    assert np.mean(np.array(off) < 0.02) >= 0.8


def test_its_interval_covers_the_truth_and_says_that_it_is_an_estimate() -> None:
    rng, covered = np.random.default_rng(1), []
    for _ in range(10):
        calibration, rows = expected_wer.calibrate(answered(rng, 700, n_users=60)), answered(rng, 600)
        estimate = expected_wer.expect(rows, calibration)
        covered.append(estimate.low <= true_wer(rows) <= estimate.high)
    assert np.mean(covered) >= 0.7
    assert estimate.note == expected_wer.ESTIMATE


def test_a_shifted_week_is_estimated_too_well_and_an_audit_mends_it() -> None:
    rng = np.random.default_rng(2)
    calibration, week = expected_wer.calibrate(answered(rng, 900)), answered(rng, 3000, n_users=600, harder=0.08)
    mended = expected_wer.combine(week, week.sample(400, random_state=0), calibration)
    assert expected_wer.expect(week, calibration).value < true_wer(week) - 0.04
    assert mended.value == pytest.approx(true_wer(week), abs=0.03)
    assert mended.low <= true_wer(week) <= mended.high


def test_an_audit_with_expectations_is_surer_than_without() -> None:
    rng = np.random.default_rng(3)
    calibration, week = expected_wer.calibrate(answered(rng, 900)), answered(rng, 3000, n_users=600)
    audit = week.sample(300, random_state=0)
    both, alone = expected_wer.combine(week, audit, calibration), expected_wer.audited_wer(audit)
    assert both.high - both.low < alone.high - alone.low


def test_only_the_random_audit_is_scored() -> None:
    rows = pd.DataFrame({"request_id": ["a", "b", "c"], "hypothesis": ["play adele", "play blur", ""], "block": "u"})
    labels = pd.DataFrame({"request_id": ["a", "b"], "reference": ["play adele", "play queen"],
                           "kind": ["audit", "chosen"], "labeller": "me"})
    scores = expected_wer.audited(rows, labels)
    assert scores[["request_id", "n_errors", "n_words"]].to_numpy().tolist() == [["a", 0, 2]]
    assert expected_wer.audited(rows, labels.iloc[:0]).empty


def test_too_little_to_tell_is_said() -> None:
    rng = np.random.default_rng(4)
    few, calibration = answered(rng, 29), expected_wer.calibrate(answered(rng, 300))
    for interval in (expected_wer.audited_wer(few), expected_wer.combine(few, few, calibration)):
        assert np.isnan(interval.value) and "30" in interval.note
    empty: Interval = expected_wer.expect(few.iloc[:0], calibration)
    assert np.isnan(empty.value) and empty.note


def test_lost_words_change_no_estimate() -> None:
    rng = np.random.default_rng(5)
    calibration, rows = expected_wer.calibrate(answered(rng, 300)), answered(rng, 100)
    assert expected_wer.expect(rows.assign(hypothesis=""), calibration) == expected_wer.expect(rows, calibration)
