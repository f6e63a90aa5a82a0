"""Rates with intervals, proved by hand at the edges and by simulation in between."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from benchmarks import intervals as bench
from workbench import blocks, intervals, verdicts

WORDS = 4


@pytest.mark.parametrize("n_speakers", [20, 50])
def test_intervals_hold_the_true_wer_about_as_often_as_they_say(n_speakers: int) -> None:
    found = bench.coverage(n_speakers, 0.10, 0.05, n_sets=400, seed=3)
    assert abs(found["coverage"] - 0.95) < 0.02 + 3 * found["mc_error"]


@pytest.mark.slow
@pytest.mark.parametrize(("n_speakers", "wer", "correlation"), [
    (20, 0.02, 0.0), (20, 0.02, 0.05), (20, 0.10, 0.05), (50, 0.02, 0.02), (50, 0.40, 0.05), (200, 0.10, 0.02),
    (50, 0.75, 0.05)])
def test_intervals_hold_the_true_rate_of_new_speakers_in_93_to_97_of_100_sets(n_speakers: int, wer: float,
                                                                              correlation: float) -> None:
    found = bench.coverage(n_speakers, wer, correlation, n_sets=1500, seed=7)
    assert 0.93 - 3 * found["mc_error"] < found["coverage"] < 0.97 + 3 * found["mc_error"]


@pytest.mark.slow
def test_sets_whose_errors_come_from_too_few_speakers_are_said_to_and_their_wide_intervals_hold() -> None:
    found = bench.coverage(20, 0.01, 0.05, n_sets=1000, seed=5)
    assert 150 < found["n_too_few"] < 600
    assert found["coverage_too_few"] > 0.93


def test_the_interval_is_the_logit_jackknife_with_t_of_the_effective_speakers() -> None:
    E, N = np.array([2, 4, 6, 8]), np.array([40, 40, 50, 60])
    r = 20 / 190
    left_out = (20 - E) / (190 - N)
    se = math.sqrt(3 / 4 * ((left_out - r) ** 2).sum())
    t = stats.t.ppf(0.975, 20**2 / (4 + 16 + 36 + 64) - 1)
    ends = [1 / (1 + math.exp(-(math.log(r / (1 - r)) + s * t * se / (r * (1 - r))))) for s in (-1, 1)]
    found = intervals.rate_interval(E, N, list("abcd"))
    assert [found.value, found.low, found.high] == pytest.approx([r, *ends])
    assert found.note == ""


def test_no_errors_still_allow_what_the_rule_of_three_allows() -> None:
    found = intervals.rate_interval(np.zeros(100), np.ones(100), np.arange(100))
    assert (found.value, found.low) == (0, 0)
    assert found.high == pytest.approx(3 / 100, rel=0.02)


def test_without_errors_many_words_of_few_speakers_promise_less() -> None:
    few = intervals.rate_interval(np.zeros(100), np.ones(100), np.repeat(np.arange(5), 20))
    assert few.high == pytest.approx(1 - 0.05 ** (blocks.design_effect(20) / 100))
    assert few.high > 1.7 * 3 / 100


def test_nothing_but_right_answers_mirrors_nothing_but_errors() -> None:
    right = intervals.rate_interval(np.ones(60), np.ones(60), np.repeat(np.arange(20), 3))
    wrong = intervals.rate_interval(np.zeros(60), np.ones(60), np.repeat(np.arange(20), 3))
    assert (right.value, right.high) == (1, 1)
    assert right.low == pytest.approx(1 - wrong.high)


def test_errors_of_a_single_speaker_among_many_give_a_finite_and_wide_interval() -> None:
    errors = np.zeros((20, 10))
    errors[0, :4] = 1
    found = intervals.rate_interval(errors.ravel(), np.full(200, WORDS), np.repeat(np.arange(20), 10))
    assert 0 <= found.low < 4 / 800 < 0.015 < found.high < 0.10
    assert found.note.startswith("too few speakers with errors")


def test_one_speaker_gives_the_exact_interval_of_as_few_words_as_speakers_are_assumed_to_leave() -> None:
    found = intervals.rate_interval([9] + [0] * 38, [1] * 39, ["anna"] * 39)
    assert blocks.design_effect(39) == pytest.approx(2.9)
    n = 39 / 2.9
    ends = stats.beta.ppf(0.025, n * 9 / 39, n * 30 / 39 + 1), stats.beta.ppf(0.975, n * 9 / 39 + 1, n * 30 / 39)
    assert [found.value, found.low, found.high] == pytest.approx([9 / 39, *ends])
    assert found.note == "one speaker: interval assumes that speakers differ as usual"


@pytest.mark.parametrize(("n_queries", "wer"), [(100, 0.10), (200, 0.10), (100, 0.30)])
def test_one_speaker_seldom_speaks_for_all_and_a_target_is_not_met_by_their_luck(n_queries: int, wer: float) -> None:
    found = bench.alone(n_queries, wer, 0.05, n_sets=300, seed=4)
    assert found["coverage"] > 0.95 and found["too_low"] < 0.025
    twice_as_unlike = bench.alone(n_queries, wer, 0.10, n_sets=300, seed=4)
    assert twice_as_unlike["coverage"] > 0.85


# --- the share by which errors changed -------------------------------------------------------------------------------


@pytest.mark.parametrize(("n_speakers", "wer"), [(5, 0.10), (8, 0.10), (12, 0.10), (8, 0.03), (30, 0.10)])
def test_a_relative_change_holds_the_true_one_about_as_often_as_it_says(n_speakers: int, wer: float) -> None:
    found = bench.relative(n_speakers, wer, 0.2, n_sets=400, seed=8)
    assert found["coverage"] > 0.95 - 3 * found["mc_error"]
    assert (found["n_noted"] > 80) == (n_speakers == 5 or wer < 0.05)


def test_a_relative_change_is_the_jackknife_of_its_logarithm() -> None:
    a, b = np.array([6, 8, 7, 9, 5, 8.0]), np.array([4, 5, 6, 5, 3, 6.0])
    ratio = b.sum() / a.sum()
    left_out = np.log((b.sum() - b) / (a.sum() - a)) - math.log(ratio)
    half = stats.t.ppf(0.975, b.sum()**2 / (b**2).sum() - 1) * math.sqrt(5 / 6 * (left_out**2).sum())
    found = intervals.relative_change(a, b, list("abcdef"))
    assert found.value == pytest.approx(ratio - 1) and found.note == ""
    assert [found.low, found.high] == pytest.approx([ratio * math.exp(s * half) - 1 for s in (-1, 1)], abs=0.005)


def test_where_all_errors_went_or_none_were_the_interval_says_what_can_still_be() -> None:
    gone = intervals.relative_change([1] * 20, [0] * 20, np.arange(20))
    assert (gone.value, gone.low) == (-1, -1) and gone.high == pytest.approx((1 - 0.05**(1 / 20)) / 0.05**(1 / 20) - 1)
    assert gone.note == intervals.FEW_WITH_ERRORS
    never = intervals.relative_change([0, 0], [0, 0], ["a", "b"])
    assert (never.value, never.low, never.high, never.note) == (0, -1, 1, "no errors before: nothing to change")
    new = intervals.relative_change([0, 0], [0, 3], ["a", "b"])
    assert math.isnan(new.value) and new.note == "no errors before: no share of them"


def test_a_relative_change_of_few_speakers_says_so_and_has_ends() -> None:
    two = intervals.relative_change([9, 7], [5, 4], ["a", "b"])
    assert two.note == intervals.FEW_WITH_ERRORS and two.low < two.value < 0 < two.high
    one = intervals.relative_change([1, 0], [0, 999], ["a", "a"])
    assert one.note == blocks.ONE_SPEAKER and math.isfinite(one.high) and one.value == 998


def test_unknown_speakers_count_alone_and_leave_a_note() -> None:
    errors, totals = [1, 0, 1, 0, 2, 0], [4] * 6
    nobody = intervals.rate_interval(errors, totals, None)
    assert nobody.note == "speakers unknown: interval too narrow"
    some = intervals.rate_interval(errors, totals, pd.Series(["a", "a", None, float("nan"), "", "b"]))
    assert some.note == "3 of 6 speakers unknown: interval too narrow"
    assert 0 < some.low < some.value < some.high < 1


def test_nothing_to_count_gives_no_number() -> None:
    found = intervals.rate_interval([0, 2], [0, 0], ["a", "b"])
    assert math.isnan(found.value) and math.isnan(found.high) and found.note == "nothing to count"
    assert verdicts.target_verdict(found, 0.1, "<=") == "cannot_tell"


def test_more_errors_than_words_give_an_interval_beyond_one() -> None:
    rng = np.random.default_rng(0)
    found = intervals.rate_interval(rng.poisson(6, 100), np.full(100, 4), np.repeat(np.arange(20), 5))
    assert 1 < found.low < found.value < found.high < 2


def test_weights_are_those_of_a_ratio_and_equal_ones_change_nothing() -> None:
    errors, totals, speakers = [4, 0, 1, 1, 0, 2], [4, 4, 2, 6, 4, 4], list("aabbcc")
    weighted = intervals.rate_interval(errors, totals, speakers, [3, 1, 1, 1, 2, 2])
    assert weighted.value == pytest.approx((12 + 0 + 1 + 1 + 0 + 4) / (12 + 4 + 2 + 6 + 8 + 8))
    plain = intervals.rate_interval(errors, totals, speakers)
    scaled = intervals.rate_interval(errors, totals, speakers, np.full(6, 7.0))
    assert [plain.value, plain.low, plain.high] == pytest.approx([scaled.value, scaled.low, scaled.high])


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 5), st.integers(0, 4), st.floats(0.1, 9)),
                min_size=1, max_size=30))
def test_whatever_is_counted_the_interval_holds_its_estimate(rows: list[tuple[int, int, int, float]]) -> None:
    errors, totals, speakers, weights = map(np.array, zip(*rows, strict=True))
    found = intervals.rate_interval(errors, totals, speakers, weights)
    if totals.any():
        assert 0 <= found.low <= found.value + 1e-9 and found.value <= found.high + 1e-9 and math.isfinite(found.high)
    else:
        assert math.isnan(found.value)
