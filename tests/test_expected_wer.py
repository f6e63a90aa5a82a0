"""What confidence and sound let one expect is near the truth where it was calibrated, and says when it is not there."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from workbench import expected_wer
from workbench.expected_wer import Calibration


def answered(rng: np.random.Generator, n: int, *, n_users: int = 100, harder: float = 0.0, unknown: float = 0.0,
             snr_db: tuple[float, float] = (0, 40), narrow: float = 0.0) -> pd.DataFrame:
    """Draw scored queries whose sound, and a habit of their speaker, set errors and doubts.

    `harder` adds errors that no doubt shows; an `unknown` share says what the model cannot write: the letters heard lie
    apart from its answer, which is wrong in half of its words; a `narrow` share of speakers loses the upper half of the
    band.
    """
    user = rng.integers(n_users, size=n)
    snr, is_narrow = rng.uniform(*snr_db, n), rng.random(n_users)[user] < narrow
    hard = 0.4 * np.exp(-snr / 8) + 0.15 * is_narrow + 0.02 * rng.gamma(1, 1, n_users)[user]
    is_unknown, n_words = rng.random(n) < unknown, rng.integers(2, 7, n)
    seen = hard * rng.gamma(4, 0.25, n)
    speaker = pd.Series([f"s{i}" for i in user])
    return pd.DataFrame({
        "request_id": [f"q{i}" for i in range(n)], "speaker": speaker, "block": speaker, "n_words": n_words,
        "n_errors": rng.binomial(n_words, np.clip(np.where(is_unknown, 0.5, seen) + harder, 0, 0.95)),
        "avg_logprob": -seen - rng.gamma(1, 0.02, n), "no_speech_prob": rng.beta(0.3, 8, n), "compression_ratio": 0.8,
        "ctc_gap": 2 * seen + is_unknown + rng.gamma(2, 0.05, n), "snr_db": snr + rng.normal(0, 2, n),
        "bandwidth_hz": np.where(is_narrow, 3_400, 7_000) + rng.normal(0, 200, n),
        "level_dbfs": rng.normal(-20, 4, n), "duration_s": 0.6 + 0.35 * n_words + rng.uniform(0, 0.3, n)})


def calibrated(seed: int = 0, n: int = 900, **how: Any) -> tuple[Calibration, pd.DataFrame]:
    rows = answered(np.random.default_rng([7, seed]), n, **how)
    return expected_wer.calibrate(rows), rows


def true_wer(rows: pd.DataFrame) -> float:
    return float(rows["n_errors"].sum() / rows["n_words"].sum())


def test_windows_like_the_calibration_are_estimated_within_two_points() -> None:
    calibration, _ = calibrated()
    windows = [answered(np.random.default_rng(seed), 900, n_users=300) for seed in range(20)]
    off = [abs(expected_wer.expect(rows, calibration).value - true_wer(rows)) for rows in windows]
    assert np.mean(np.array(off) < 0.02) >= 0.9


def test_accuracy_is_estimated_too() -> None:
    calibration, _ = calibrated()
    rows = answered(np.random.default_rng(3), 3_000, n_users=1_000)
    found = expected_wer.expect_accuracy(rows, calibration)
    assert found.value == pytest.approx(rows["n_errors"].eq(0).mean(), abs=0.03)
    assert found.low < found.value < found.high <= 1 and found.note == expected_wer.ESTIMATE


@pytest.mark.slow
def test_intervals_cover_what_writing_all_down_shows_as_often_as_they_say() -> None:
    covered = []
    for seed in range(200):
        calibration, _ = calibrated(seed)
        rows = answered(np.random.default_rng([8, seed]), 1_500, n_users=500)
        found = expected_wer.expect(rows, calibration, level=0.9)
        covered.append(found.low <= true_wer(rows) <= found.high)
    assert 0.85 <= np.mean(covered) <= 0.97  # 0.9 +/- 2.4 standard errors below; the jackknife errs to the safe side


@pytest.mark.slow
def test_quiet_windows_are_seldom_called_extrapolating_and_unknown_words_nearly_always() -> None:
    told = {"quiet": 0, "louder": 0, "unknown": 0}
    for seed in range(100):
        calibration, reference = calibrated(seed)
        rng = np.random.default_rng([9, seed])
        windows = {"quiet": answered(rng, 1_500, n_users=500),
                   "louder": answered(rng, 1_500, n_users=500, snr_db=(0, 15)),
                   "unknown": answered(rng, 1_500, n_users=500, unknown=0.15)}
        for name, rows in windows.items():
            told[name] += expected_wer.extrapolation(rows, reference, calibration) != ""
    assert told["quiet"] <= 3 and told["louder"] <= 5  # of 100, at 1 %
    assert told["unknown"] >= 90


def test_what_is_said_beyond_the_calibration_is_called_extrapolating_with_its_reason() -> None:
    calibration, reference = calibrated()
    rows = answered(np.random.default_rng(1), 1_500, n_users=500, unknown=0.2)
    why = expected_wer.extrapolation(rows, reference, calibration)
    assert why.startswith("extrapolating: ") and "letters heard than their sound explains" in why
    assert expected_wer.expect(rows, calibration).value < true_wer(rows) - 0.02


def test_a_sound_beyond_the_calibration_is_called_extrapolating_and_one_within_is_not() -> None:
    calibration, reference = calibrated(narrow=0.3)
    rng = np.random.default_rng(1)
    within = answered(rng, 1_500, n_users=500, narrow=0.6)
    assert expected_wer.extrapolation(within, reference, calibration) == ""
    beyond = within.assign(bandwidth_hz=within["bandwidth_hz"].where(rng.random(1_500) < 0.8, 900.0))
    assert "sound like none" in expected_wer.extrapolation(beyond, reference, calibration)


def test_copies_teach_what_a_doubt_means_where_open_speech_did_not_go() -> None:
    rng = np.random.default_rng(4)
    clean, loud = answered(rng, 900, snr_db=(20, 40)), answered(rng, 900, snr_db=(-5, 10))
    window = answered(rng, 3_000, n_users=900, snr_db=(0, 12))
    alone = expected_wer.calibrate(clean)
    taught = expected_wer.calibrate(pd.concat([clean.assign(is_copy=False), loud.assign(is_copy=True)],
                                              ignore_index=True))
    off = [abs(expected_wer.expect(window, made).value - true_wer(window)) for made in (alone, taught)]
    assert off[1] < 0.02 and off[1] < off[0]


def test_less_speech_to_calibrate_on_leaves_more_doubt() -> None:
    rows = answered(np.random.default_rng(5), 20_000, n_users=7_000)  # so many that chance counts for little
    little, much = (expected_wer.expect(rows, calibrated(n=n)[0]) for n in (200, 3_000))
    assert little.high - little.low > 1.5 * (much.high - much.low)


def test_a_calibration_comes_back_from_its_file_as_it_was() -> None:
    calibration, rows = calibrated()
    back = expected_wer.read_calibration(json.loads(json.dumps(calibration.as_dict())))
    assert expected_wer.expect(rows, back) == expected_wer.expect(rows, calibration)
    assert expected_wer.extrapolation(rows, rows, back) == ""


def test_the_order_of_queries_changes_no_expectation() -> None:
    calibration, rows = calibrated()
    mixed = rows.sample(frac=1, random_state=0)
    assert expected_wer.expect(mixed, calibration).value == pytest.approx(expected_wer.expect(rows, calibration).value)


def test_a_model_without_a_character_head_is_calibrated_on_the_rest() -> None:
    rows = answered(np.random.default_rng(0), 600).assign(ctc_gap=np.nan)
    calibration = expected_wer.calibrate(rows)
    assert "ctc_gap" not in set(calibration.ramps["feature"])
    assert expected_wer.expect(rows, calibration).value == pytest.approx(true_wer(rows), abs=0.005)
    assert expected_wer.extrapolation(rows, rows, calibration) == ""


def test_letters_infinitely_far_from_the_answer_are_just_very_far() -> None:
    rows = answered(np.random.default_rng(0), 600)
    rows["ctc_gap"] = rows["ctc_gap"].mask(rows["ctc_gap"].gt(rows["ctc_gap"].quantile(0.9)), np.inf)
    calibration = expected_wer.calibrate(rows)
    assert np.isfinite(calibration.ramps[["low", "high"]].to_numpy()).all()
    assert expected_wer.expect(rows, calibration).value == pytest.approx(true_wer(rows), abs=0.005)


def test_a_model_that_was_never_seen_to_err_is_expected_to_err_seldom() -> None:
    rows = answered(np.random.default_rng(0), 300).assign(n_errors=0)
    found = expected_wer.expect(rows, expected_wer.calibrate(rows))
    assert 0 < found.value < 0.002


def test_no_answered_query_lets_one_expect_nothing() -> None:
    calibration, rows = calibrated()
    for expect in (expected_wer.expect, expected_wer.expect_accuracy):
        found = expect(rows.head(0), calibration)
        assert np.isnan(found.value) and found.note == "no answered query"
    assert expected_wer.extrapolation(rows.head(0), rows, calibration) == ""


def test_lost_words_change_no_estimate() -> None:
    calibration, rows = calibrated()
    assert expected_wer.expect(rows.assign(hypothesis=""), calibration) == expected_wer.expect(rows, calibration)
