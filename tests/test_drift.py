"""Drift is claimed at a stated risk, seen when it matters, and not claimed to be absent where nobody could see it."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from simulated_log import queries, users

from workbench import drift

FEW_DRAWS = 300


def alarm_rate(n_trials: int, level: float, **sides: tuple[int, float]) -> float:
    """Count quiet windows in which some p-value passes the level, whatever the effect."""
    n_alarms = 0
    for trial in range(n_trials):
        rng = np.random.default_rng([trial, *map(ord, str(sides))])
        reference, window = (queries(rng, *size, prefix=name) for name, size in sides.items())
        table = drift.compare(reference, window, n_draws=FEW_DRAWS, seed=trial).table
        n_alarms += bool((table["p_value"] <= level).any())
    return n_alarms / n_trials


@pytest.mark.parametrize("per_user", [1, 3, 10])
def test_quiet_windows_alarm_about_as_often_as_stated(per_user: float) -> None:
    rate = alarm_rate(60, 0.05, reference=(600, per_user), window=(600, per_user))
    assert rate <= 0.15  # of 60, more than nine at 5 % happen once in a thousand


@pytest.mark.slow
@pytest.mark.parametrize(("reference", "window"), [((600, 1), (600, 1)), ((600, 3), (600, 3)), ((600, 10), (600, 10)),
                                                   ((700, 11), (600, 3)), ((1200, 6), (600, 3))])
def test_quiet_windows_alarm_as_often_as_stated(reference: tuple[int, float], window: tuple[int, float]) -> None:
    assert alarm_rate(400, 0.05, reference=reference, window=window) <= 0.085  # 5 % and three standard errors


def test_users_who_come_back_are_the_same_users_on_both_sides() -> None:
    n_alarms = 0
    for trial in range(40):
        rng = np.random.default_rng([trial, 1])
        known = users(rng, 200)
        result = drift.compare(queries(rng, 4800, 24, who=known), queries(rng, 600, 3, who=known), seed=trial,
                               n_draws=FEW_DRAWS)
        n_alarms += result.outcome == "drift"
    assert n_alarms <= 2


@pytest.mark.parametrize(("change", "feature"), [({"car": 0.4}, "snr_db"), ({"narrow": 0.25}, "bandwidth_hz"),
                                                 ({"unseen": 0.10}, "has_unseen")])
def test_it_sees_cars_phones_and_words_and_says_which(change: dict[str, Any], feature: str) -> None:
    n_seen = 0
    for trial in range(20):
        rng = np.random.default_rng([trial, 2])
        result = drift.compare(queries(rng, 1200, 6, prefix="r"), queries(rng, 600, 3, **change), seed=trial)
        n_seen += feature in result.moved
    assert n_seen >= 16


def test_a_harmless_shift_of_a_large_window_stays_silent() -> None:
    rng = np.random.default_rng(3)
    result = drift.compare(queries(rng, 10_000, 5, prefix="r"), queries(rng, 10_000, 5, shift=0.1), n_draws=500)
    assert result.table["p_value"].min() <= 0.01, "the shift is there to be seen"
    assert result.outcome == "quiet"


def test_a_surer_model_is_no_alarm() -> None:
    rng = np.random.default_rng(4)
    before, now = queries(rng, 600, 3, prefix="r"), queries(rng, 600, 3)
    better = now.assign(avg_logprob=now["avg_logprob"] / 4, ctc_gap=now["ctc_gap"] / 4, has_unseen=0.0)
    assert drift.compare(before, better).outcome == "quiet"
    worse = now.assign(avg_logprob=now["avg_logprob"] * 4)
    assert drift.compare(before, worse).moved == ["avg_logprob"]


def test_too_small_a_window_cannot_tell_and_says_what_would_do() -> None:
    rng = np.random.default_rng(5)
    before = queries(rng, 1200, 3, prefix="r")
    small = drift.compare(before, queries(rng, 120, 3))
    assert small.outcome == "cannot_tell" and 120 < small.n_needed < 2000
    assert f"{small.n_needed:,}" in small.sentence
    assert drift.compare(before, queries(rng, 2 * small.n_needed, 3)).outcome == "quiet"


def test_few_users_say_nothing_however_much_they_ask() -> None:
    rng = np.random.default_rng(6)
    result = drift.compare(queries(rng, 600, 3), queries(rng, 600, 60))
    assert result.outcome == "cannot_tell" and "users" in result.sentence and result.table.empty


def test_missing_values_and_columns_are_left_out() -> None:
    rng = np.random.default_rng(7)
    before, now = queries(rng, 600, 3, prefix="r"), queries(rng, 600, 3).drop(columns="ctc_gap")
    before.loc[::2, "snr_db"] = np.nan
    table = drift.compare(before, now, n_draws=FEW_DRAWS).table.set_index("feature")
    assert "ctc_gap" not in table.index and np.isfinite(table.loc["snr_db", "effect"])


def test_the_order_of_queries_is_irrelevant_and_arguments_stay_as_they_were() -> None:
    rng = np.random.default_rng(8)
    before, now = queries(rng, 300, 3, prefix="r"), queries(rng, 300, 3)
    kept = before.copy()
    first = drift.compare(before, now, n_draws=FEW_DRAWS).table
    again = drift.compare(before.sample(frac=1, random_state=0), now.sample(frac=1, random_state=0),
                          n_draws=FEW_DRAWS).table
    pd.testing.assert_frame_equal(before, kept)
    columns = ["effect", "effect_low", "effect_high"]
    by_feature = [table.set_index("feature").sort_index()[columns] for table in (first, again)]
    pd.testing.assert_frame_equal(*by_feature)


def test_effects_by_hand() -> None:
    before = pd.DataFrame({"user_hash": [f"r{i}" for i in range(100)], "has_unseen": [1.0] * 5 + [0.0] * 95,
                           "snr_db": np.arange(100.0)})
    now = pd.DataFrame({"user_hash": [f"w{i}" for i in range(100)], "has_unseen": [1.0] * 25 + [0.0] * 75,
                        "snr_db": np.arange(100.0) - 50})
    table = drift.compare(before, now).table.set_index("feature")
    assert table.loc["has_unseen", ["reference", "window", "effect"]].tolist() == pytest.approx([0.05, 0.25, 0.20])
    assert table.loc["snr_db", "effect"] == pytest.approx(0.5, abs=0.02)
    assert "SNR 49.5 to -0.5 dB" in drift.describe(table.loc["snr_db"].to_dict() | {"feature": "snr_db"})


def test_weights_of_the_reference_count() -> None:
    rng = np.random.default_rng(9)
    before, now = queries(rng, 1200, 3, prefix="r", car=0.0), queries(rng, 600, 3, car=0.4)
    noisy = queries(rng, 240, 3, prefix="n", car=1.0)
    both = pd.concat([before.assign(weight=0.6), noisy.assign(weight=0.4 * 1200 / 240)], ignore_index=True)
    assert "snr_db" in drift.compare(both.drop(columns="weight"), now).moved
    assert "snr_db" not in drift.compare(both, now).moved
