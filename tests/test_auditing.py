"""An audit is unbiased whatever confidence says; with the expectation it is surer, and against it it can alarm."""

import numpy as np
import pandas as pd
import pytest

from tests.test_expected_wer import answered, calibrated, true_wer
from workbench import auditing, expected_wer


def test_a_shifted_week_is_estimated_too_well_and_an_audit_mends_it() -> None:
    calibration, _ = calibrated()
    week = answered(np.random.default_rng(2), 3_000, n_users=600, harder=0.08)
    mended = auditing.combine(week, week.sample(400, random_state=0), calibration)
    assert mended.value == pytest.approx(true_wer(week), abs=0.03)
    assert mended.low <= true_wer(week) <= mended.high


def test_an_audit_with_expectations_is_surer_than_without() -> None:
    calibration, _ = calibrated()
    week = answered(np.random.default_rng(3), 3_000, n_users=600)
    audit = week.sample(300, random_state=0)
    both, alone = auditing.combine(week, audit, calibration), auditing.audited_wer(audit)
    assert both.high - both.low < alone.high - alone.low


def test_an_audit_of_all_leaves_no_doubt() -> None:
    calibration, _ = calibrated()
    week = answered(np.random.default_rng(4), 200)
    found = auditing.combine(week, week, calibration)
    assert found.low == pytest.approx(found.high) and found.value == pytest.approx(true_wer(week))


@pytest.mark.slow
def test_audits_are_unbiased_and_their_intervals_honest_where_expectations_are_not() -> None:
    off, covered, alone = [], [], []
    for seed in range(300):
        calibration, _ = calibrated(seed % 20)
        week = answered(np.random.default_rng([5, seed]), 1_500, n_users=500, harder=0.08)
        audit = week.sample(400, random_state=seed)
        found = auditing.combine(week, audit, calibration, level=0.9)
        off.append(found.value - true_wer(week))
        alone.append(auditing.audited_wer(audit).value - true_wer(week))
        covered.append(found.low <= true_wer(week) <= found.high)
    assert abs(np.mean(off)) < 3 * np.std(off) / np.sqrt(300)
    assert 0.85 <= np.mean(covered) <= 0.96  # 0.9 +/- 1.7 % is one standard error
    assert np.std(off) < np.std(alone)


def of_a_good_model(seed: list[int], n: int, n_users: int) -> pd.DataFrame:
    """Draw queries of which three in four are right whatever they sound like."""
    rows = answered(np.random.default_rng(seed), n, n_users=n_users)
    return rows.assign(n_errors=rows["n_errors"].where(np.arange(n) % 4 == 0, 0))


@pytest.mark.parametrize("n_users", [500, 40])
def test_a_small_audit_of_a_good_model_says_no_more_than_it_knows(n_users: int) -> None:
    calibrations = [expected_wer.calibrate(of_a_good_model([8, seed], 900, 100)) for seed in range(6)]
    n_low = 0
    for seed in range(80):
        week = of_a_good_model([7, seed], 1_500, n_users)
        found = auditing.combine(week, week.sample(30, random_state=seed), calibrations[seed % 6])
        n_low += found.high < true_wer(week)
    assert n_low <= 6  # 2.5 % are meant; of 80, seven come once in two hundred times


@pytest.mark.slow
def test_audits_disagree_with_expectations_over_nothing_no_more_often_than_they_say() -> None:
    n_false = n_found = 0
    for seed in range(200):
        calibration, _ = calibrated(seed)
        rng = np.random.default_rng([6, seed])
        same, harder = (answered(rng, 400, n_users=300, harder=more) for more in (0.0, 0.08))
        n_false += auditing.is_disagreeing(auditing.disagreement(same, calibration, level=0.99))
        n_found += auditing.is_disagreeing(auditing.disagreement(harder, calibration, level=0.99))
    assert n_false <= 6  # 1 % of 200 is two; seven come once in two hundred times
    assert n_found >= 190


def test_only_the_random_audit_is_scored() -> None:
    rows = pd.DataFrame({"request_id": ["a", "b", "c"], "hypothesis": ["play adele", "play blur", ""], "block": "u"})
    labels = pd.DataFrame({"request_id": ["a", "b"], "reference": ["play adele", "play queen"],
                           "kind": ["audit", "chosen"], "labeller": "me"})
    scores = auditing.audited(rows, labels)
    assert scores[["request_id", "n_errors", "n_words"]].to_numpy().tolist() == [["a", 0, 2]]
    assert auditing.audited(rows, labels.iloc[:0]).empty


def test_too_little_to_tell_is_said() -> None:
    calibration, rows = calibrated()
    few = rows.head(29)
    for found in (auditing.audited_wer(few), auditing.combine(rows, few, calibration),
                  auditing.disagreement(few, calibration)):
        assert np.isnan(found.value) and "29 audited queries; 30 are the least" in found.note
        assert not auditing.is_disagreeing(found)


def test_what_is_beyond_chance_but_small_is_no_disagreement() -> None:
    calibration, rows = calibrated(n=3_000)
    found = auditing.disagreement(rows.assign(n_errors=rows["n_errors"] + (np.arange(3_000) % 20 == 0)), calibration)
    assert 0 < found.value < auditing.LEAST and not auditing.is_disagreeing(found)
