"""How much speech shows a difference, by the formula and by counting how often it does."""

import math

import numpy as np
import pytest
from scipy import stats

from benchmarks import comparisons as bench
from workbench import differences, planning


def test_the_number_of_utterances_follows_the_formula() -> None:
    expected = (1.644854 + 0.841621) ** 2 * (0.1 * 0.9 / 4) * 2 / 0.01**2
    assert planning.utterances_needed(0.01, 0.1, 2.0, 4.0) == math.ceil(expected)
    table = planning.power_table([0.01, 0.02], [0.1, 0.2], design_effect=2.0, words_per_query=4.0)
    assert table[["wer", "difference"]].values.tolist() == [[0.1, 0.01], [0.1, 0.02], [0.2, 0.01], [0.2, 0.02]]
    assert table["n_utterances"].iloc[0] == math.ceil(expected)
    assert table["n_utterances"].iloc[0] == pytest.approx(4 * table["n_utterances"].iloc[1], rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize(("n_speakers", "wer"), [(50, 0.10), (200, 0.02)])
def test_a_plan_made_with_the_worlds_variance_has_the_power_it_says(n_speakers: int, wer: float) -> None:
    found = bench.power(n_speakers, wer, 0.05, n_sets=1000, seed=1)
    assert found["power"] == pytest.approx(planning.POWER, abs=0.05 + 3 * found["mc_error"])


@pytest.mark.slow
@pytest.mark.parametrize("n_speakers", [10, 20, 50])
def test_the_range_of_a_pilot_holds_what_it_really_takes_nine_times_out_of_ten(n_speakers: int) -> None:
    found = bench.pilots(n_speakers, 0.10, 0.05, n_sets=1500, seed=2)
    assert found["holds"] > planning.SURE_OF_RANGE - 3 * found["mc_error"]
    assert found["power_from"] < 0.7 < 0.9 < found["power_to"]  # the plan itself promises too much, or too little


def test_a_pilot_tells_its_variance_and_a_range_around_it() -> None:
    rng = np.random.default_rng(0)
    a, b, speakers = rng.binomial(4, 0.2, 200), rng.binomial(4, 0.18, 200), np.repeat(np.arange(20), 10)
    paired = differences.paired_difference(a, b, np.full(200, 4), speakers)
    told = planning.pilot(paired)
    assert told.variance == pytest.approx(200 * paired.se**2) and told.n_per_speaker == 10
    low, high = told.range
    assert low == pytest.approx(told.variance * told.df / stats.chi2.ppf(0.95, told.df))
    table = planning.pilot_table([0.02, 0.05], told)
    assert (table["n_low"] < table["n_utterances"]).all() and (table["n_utterances"] < table["n_high"]).all()
    assert table["n_utterances"].iloc[0] == math.ceil(6.182557 * told.variance / 0.02**2)
    assert table["n_speakers"].iloc[1] == math.ceil(table["n_utterances"].iloc[1] / 10)


def test_models_that_never_differ_leave_no_range() -> None:
    same = differences.paired_difference(np.ones(60), np.ones(60), np.full(60, 4), np.repeat(np.arange(12), 5))
    assert planning.pilot(same).range == (planning.pilot(same).variance,) * 2


@pytest.mark.parametrize(("difference", "wer", "message"), [
    (0.0, 0.1, "difference is 0.0; give a fraction above 0"), (-0.01, 0.1, "give a fraction above 0"),
    (0.01, 0.0, "wer is 0.0; give a fraction"), (0.01, 1.0, "below 1")])
def test_planning_for_nothing_is_a_wrong_call(difference: float, wer: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        planning.utterances_needed(difference, wer, 1.0, 4.0)
