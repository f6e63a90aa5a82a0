"""Intervals, comparisons and verdicts, proved by hand at the edges and by simulation in between."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from workbench import decisions
from workbench.decisions import PairedResult
from workbench.errors import ScoringError
from workbench.records import Interval

WORDS = 4
Ints = NDArray[np.int64]


def speakers_speak(n_sets: int, n_speakers: int, n_queries: int, wer: float, seed: int,
                   correlation: float = 0.05) -> Iterator[tuple[Ints, Ints]]:
    """Draw sets of four-word queries whose errors agree within a speaker (beta-binomial); yields errors, speakers."""
    rng, k = np.random.default_rng(seed), 1 / correlation - 1
    speakers = np.repeat(np.arange(n_speakers), n_queries)
    for _ in range(n_sets):
        rates = rng.beta(wer * k, (1 - wer) * k, n_speakers)
        yield rng.binomial(WORDS, rates[speakers]), speakers


def coverage(n_sets: int, n_speakers: int, wer: float = 0.10, n_queries: int = 15) -> float:
    found = [decisions.rate_interval(errors, np.full(len(errors), WORDS), speakers)
             for errors, speakers in speakers_speak(n_sets, n_speakers, n_queries, wer, seed=n_speakers)]
    return float(np.mean([interval.low <= wer <= interval.high for interval in found]))


def false_betters(n_sets: int, n_speakers: int, n_queries: int = 10) -> float:
    """Count how often one of two equally good models, with speakers of their own difficulty, is called better."""
    a = speakers_speak(n_sets, n_speakers, n_queries, 0.10, seed=1)
    b = speakers_speak(n_sets, n_speakers, n_queries, 0.10, seed=2)
    p = [decisions.paired_difference(errors_a, errors_b, np.full(len(errors_a), WORDS), speakers, n_resamples=999,
                                     seed=i).p_better
         for i, ((errors_a, speakers), (errors_b, _)) in enumerate(zip(a, b, strict=True))]
    return float(np.mean(np.array(p) <= decisions.ALPHA))


def monte_carlo_error(p: float, n: int) -> float:
    """Three standard errors of a simulated share: one honest claim in 700 fails."""
    return 3 * math.sqrt(p * (1 - p) / n)


@pytest.mark.parametrize("n_speakers", [20, 50])
def test_intervals_hold_the_true_wer_about_as_often_as_they_say(n_speakers: int) -> None:
    assert 0.93 - monte_carlo_error(0.95, 400) < coverage(400, n_speakers)


@pytest.mark.slow
@pytest.mark.parametrize(("n_speakers", "wer"), [(20, 0.10), (50, 0.10), (20, 0.02), (5, 0.10), (20, 0.90)])
def test_intervals_hold_the_true_wer_in_94_to_99_of_100_sets(n_speakers: int, wer: float) -> None:
    n = 4000
    assert 0.94 - monte_carlo_error(0.95, n) < coverage(n, n_speakers, wer) < 0.99


@pytest.mark.parametrize("n_speakers", [10, 30])
def test_equal_models_are_rarely_called_better(n_speakers: int) -> None:
    assert false_betters(500, n_speakers) < 0.055 + monte_carlo_error(0.05, 500)


@pytest.mark.slow
@pytest.mark.parametrize("n_speakers", [6, 10, 20, 50])
def test_equal_models_are_called_better_in_at_most_5_of_100_sets(n_speakers: int) -> None:
    assert false_betters(4000, n_speakers) < 0.055 + monte_carlo_error(0.05, 4000)


def test_the_interval_is_the_logit_jackknife_with_t_of_the_effective_speakers() -> None:
    E, N = np.array([2, 4, 6, 8]), np.array([40, 40, 50, 60])
    r = 20 / 190
    left_out = (20 - E) / (190 - N)
    se = math.sqrt(3 / 4 * ((left_out - r) ** 2).sum())
    t = stats.t.ppf(0.975, 20**2 / (4 + 16 + 36 + 64) - 1)
    ends = [1 / (1 + math.exp(-(math.log(r / (1 - r)) + s * t * se / (r * (1 - r))))) for s in (-1, 1)]
    found = decisions.rate_interval(E, N, list("abcd"))
    assert [found.value, found.low, found.high] == pytest.approx([r, *ends])
    assert found.note == ""


def test_no_errors_still_allow_what_the_rule_of_three_allows() -> None:
    found = decisions.rate_interval(np.zeros(100), np.ones(100), np.arange(100))
    assert (found.value, found.low) == (0, 0)
    assert found.high == pytest.approx(3 / 100, rel=0.02)


def test_without_errors_many_words_of_few_speakers_promise_less() -> None:
    few = decisions.rate_interval(np.zeros(100), np.ones(100), np.repeat(np.arange(5), 20))
    assert few.high == pytest.approx(1 - 0.05 ** (decisions.design_effect(20) / 100))
    assert few.high > 1.7 * 3 / 100


def test_nothing_but_right_answers_mirrors_nothing_but_errors() -> None:
    right = decisions.rate_interval(np.ones(60), np.ones(60), np.repeat(np.arange(20), 3))
    wrong = decisions.rate_interval(np.zeros(60), np.ones(60), np.repeat(np.arange(20), 3))
    assert (right.value, right.high) == (1, 1)
    assert right.low == pytest.approx(1 - wrong.high)


def test_errors_of_a_single_speaker_among_many_give_a_finite_and_wide_interval() -> None:
    errors = np.zeros((20, 10))
    errors[0, :4] = 1
    found = decisions.rate_interval(errors.ravel(), np.full(200, WORDS), np.repeat(np.arange(20), 10))
    assert 0 <= found.low < 4 / 800 < 0.015 < found.high < 0.10


def test_one_speaker_gives_wilsons_interval_and_says_that_it_is_too_narrow() -> None:
    found = decisions.rate_interval([1, 0, 0, 0, 1], [4] * 5, ["anna"] * 5)
    expected = stats.binomtest(2, 20).proportion_ci(method="wilson")
    assert [found.low, found.high] == pytest.approx([expected.low, expected.high])
    assert found.note == "one speaker: interval too narrow"


def test_unknown_speakers_count_alone_and_leave_a_note() -> None:
    errors, totals = [1, 0, 1, 0, 2, 0], [4] * 6
    nobody = decisions.rate_interval(errors, totals, None)
    assert nobody.note == "speakers unknown: interval too narrow"
    some = decisions.rate_interval(errors, totals, pd.Series(["a", "a", None, float("nan"), "", "b"]))
    assert some.note == "3 of 6 speakers unknown: interval too narrow"
    assert 0 < some.low < some.value < some.high < 1


def test_nothing_to_count_gives_no_number() -> None:
    found = decisions.rate_interval([0, 2], [0, 0], ["a", "b"])
    assert math.isnan(found.value) and math.isnan(found.high) and found.note == "nothing to count"
    assert decisions.target_verdict(found, 0.1, "<=") == "cannot_tell"


def test_more_errors_than_words_give_an_interval_beyond_one() -> None:
    rng = np.random.default_rng(0)
    found = decisions.rate_interval(rng.poisson(6, 100), np.full(100, 4), np.repeat(np.arange(20), 5))
    assert 1 < found.low < found.value < found.high < 2


def test_weights_are_those_of_a_ratio_and_equal_ones_change_nothing() -> None:
    errors, totals, speakers = [4, 0, 1, 1, 0, 2], [4, 4, 2, 6, 4, 4], list("aabbcc")
    weighted = decisions.rate_interval(errors, totals, speakers, [3, 1, 1, 1, 2, 2])
    assert weighted.value == pytest.approx((12 + 0 + 1 + 1 + 0 + 4) / (12 + 4 + 2 + 6 + 8 + 8))
    plain = decisions.rate_interval(errors, totals, speakers)
    scaled = decisions.rate_interval(errors, totals, speakers, np.full(6, 7.0))
    assert [plain.value, plain.low, plain.high] == pytest.approx([scaled.value, scaled.low, scaled.high])


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 5), st.integers(0, 4), st.floats(0.1, 9)),
                min_size=1, max_size=30))
def test_whatever_is_counted_the_interval_holds_its_estimate(rows: list[tuple[int, int, int, float]]) -> None:
    errors, totals, speakers, weights = map(np.array, zip(*rows, strict=True))
    found = decisions.rate_interval(errors, totals, speakers, weights)
    if totals.any():
        assert 0 <= found.low <= found.value + 1e-9 and found.value <= found.high + 1e-9 and math.isfinite(found.high)
    else:
        assert math.isnan(found.value)


def pair(better_by: float, n_speakers: int = 30, n_queries: int = 20, seed: int = 0) -> PairedResult:
    """Compare a model at 20 % WER with one that mends a share of its errors; negative makes some."""
    rng = np.random.default_rng(seed)
    a = rng.binomial(WORDS, 0.2, n_speakers * n_queries)
    change = rng.binomial(a, better_by) if better_by >= 0 else -rng.binomial(WORDS - a, -better_by)
    return decisions.paired_difference(a, a - change, np.full(len(a), WORDS),
                                       np.repeat(np.arange(n_speakers), n_queries))


def test_a_clear_gain_is_a_yes_with_the_difference_in_the_sentence() -> None:
    paired = pair(0.3)
    assert paired.difference.high < 0 and paired.p_better < 0.001 and paired.p_worse > 0.999
    assert paired.difference.value == pytest.approx(paired.rate_b - paired.rate_a)
    decision = decisions.verdict(paired, 0.01)
    assert decision.outcome == "yes" and paired.difference.points() in decision.sentence


def test_a_clear_loss_is_a_no() -> None:
    paired = pair(-0.05)
    assert decisions.verdict(paired, 0.01).outcome == "no"
    assert decisions.noninferiority(paired, 0.01) is False


def test_a_gain_that_the_interval_rules_out_is_a_no_though_nothing_got_worse() -> None:
    paired = pair(0.0)
    decision = decisions.verdict(paired, 0.01, planned_difference=0.05)
    assert decision.outcome == "no" and "Not better by the 5.0 points planned" in decision.sentence


def test_too_few_utterances_cannot_tell_and_ask_for_a_finite_number_from_the_planned_difference() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.binomial(WORDS, 0.2, 60), rng.binomial(WORDS, 0.2, 60)
    paired = decisions.paired_difference(a, b, np.full(60, WORDS), np.repeat(np.arange(12), 5))
    needed = math.ceil(((1.644854 + 0.841621) * paired.se / 0.02) ** 2 * 60) - 60
    decision = decisions.verdict(paired, 0.005, planned_difference=0.02)
    assert decision.outcome == "cannot_tell" and f"label {needed:,} more utterances" in decision.sentence
    assert decisions.noninferiority(paired, 0.005) is None


def test_a_verdict_needs_a_difference_worth_finding() -> None:
    with pytest.raises(ValueError, match="give the gain worth finding"):
        decisions.verdict(pair(0.0), 0.0)


def test_two_models_that_never_differ_are_not_proved_equal_by_a_few_utterances() -> None:
    a = np.ones(60)
    few = decisions.paired_difference(a, a, np.full(60, WORDS), np.repeat(np.arange(12), 5))
    assert few.difference.value == 0 and few.difference.low < 0 < few.difference.high
    assert few.p_better == few.p_worse == 1
    assert few.difference.high == pytest.approx(1 - 0.05 ** (decisions.design_effect(20) / 240))
    assert decisions.noninferiority(few, 0.005) is None
    assert decisions.noninferiority(few, 0.03) is True


def test_few_speakers_cannot_reach_five_percent_whatever_they_say() -> None:
    four = decisions.paired_difference(np.full(40, 2), np.zeros(40), np.full(40, WORDS), np.repeat(np.arange(4), 10))
    assert four.p_better == 1 / 16
    one = decisions.paired_difference([2, 1, 2], [0, 0, 1], [4, 4, 4], ["a"] * 3)
    assert one.p_better == 0.5 and one.difference.note == "one speaker: interval too narrow"


def test_drawn_sign_flips_agree_with_all_of_them() -> None:
    rng = np.random.default_rng(0)
    a, b, totals, speakers = rng.poisson(3, 96), rng.poisson(2.6, 96), np.full(96, 20), np.repeat(np.arange(12), 8)
    every = decisions.paired_difference(a, b, totals, speakers, n_resamples=2**12)
    drawn = decisions.paired_difference(a, b, totals, speakers, n_resamples=4000)
    assert drawn.p_better == pytest.approx(every.p_better, abs=0.02)
    assert decisions.paired_difference(a, b, totals, speakers, n_resamples=4000, seed=0) == drawn


def test_weights_decide_which_speakers_difference_counts() -> None:
    a, b, totals = [2, 0, 2, 0], [0, 2, 0, 2], [4] * 4
    toward_b = decisions.paired_difference(a, b, totals, list("abcd"), [3, 1, 3, 1])
    assert toward_b.difference.value == pytest.approx((-6 + 2 - 6 + 2) / 32)


def test_a_comparison_without_words_is_refused() -> None:
    with pytest.raises(ScoringError, match="choose utterances with speech"):
        decisions.paired_difference([0], [1], [0], ["a"])


@pytest.mark.parametrize(("low", "high", "sense", "outcome"), [
    (0.05, 0.10, "<=", "yes"), (0.05, 0.11, "<=", "cannot_tell"), (0.11, 0.2, "<=", "no"),
    (0.10, 0.2, "<=", "cannot_tell"), (0.10, 0.2, ">=", "yes"), (0.05, 0.2, ">=", "cannot_tell"),
    (0.05, 0.09, ">=", "no"),
])
def test_a_target_is_met_or_missed_only_by_the_whole_interval(low: float, high: float, sense: Any,
                                                              outcome: str) -> None:
    assert decisions.target_verdict(Interval((low + high) / 2, low, high), 0.10, sense) == outcome


def test_a_target_knows_two_senses() -> None:
    with pytest.raises(ValueError, match="give '<=' or '>='"):
        decisions.target_verdict(Interval(0, 0, 0), 0.1, "<")  # type: ignore[arg-type]


def test_the_number_of_utterances_follows_the_formula() -> None:
    expected = (1.644854 + 0.841621) ** 2 * (0.1 * 0.9 / 4) * 2 / 0.01**2
    assert decisions.utterances_needed(0.01, 0.1, 2.0, 4.0) == math.ceil(expected)
    table = decisions.power_table([0.01, 0.02], [0.1, 0.2], design_effect=2.0, words_per_query=4.0)
    assert table[["wer", "difference"]].values.tolist() == [[0.1, 0.01], [0.1, 0.02], [0.2, 0.01], [0.2, 0.02]]
    assert table["n_utterances"].iloc[0] == math.ceil(expected)
    assert table["n_utterances"].iloc[0] == pytest.approx(4 * table["n_utterances"].iloc[1], rel=0.01)


@pytest.mark.slow
def test_the_planned_number_of_utterances_finds_the_planned_difference_about_as_often_as_promised() -> None:
    n = decisions.utterances_needed(0.02, 0.10, 1.0, WORDS)
    rng, found = np.random.default_rng(0), 0
    for i in range(400):
        share = rng.random((n, WORDS)) < decisions.PAIR_CORRELATION
        said_a = rng.random((n, WORDS))
        said_b = np.where(share, said_a, rng.random((n, WORDS)))
        a, b = (said_a < 0.11).sum(1), (said_b < 0.09).sum(1)
        paired = decisions.paired_difference(a, b, np.full(n, WORDS), np.arange(n), n_resamples=999, seed=i)
        found += paired.p_better <= decisions.ALPHA
    assert found / 400 == pytest.approx(decisions.POWER, abs=monte_carlo_error(0.8, 400) + 0.02)


@pytest.mark.parametrize(("difference", "wer"), [(0.0, 0.1), (-0.01, 0.1), (0.01, 0.0), (0.01, 1.0)])
def test_planning_for_nothing_is_a_wrong_call(difference: float, wer: float) -> None:
    with pytest.raises(ValueError, match="give fractions above 0"):
        decisions.utterances_needed(difference, wer, 1.0, 4.0)


def test_poststratification_gives_every_value_its_share_of_use() -> None:
    values = pd.Series(["quiet"] * 8 + ["car"] * 2, name="noise")
    weights = decisions.poststratification_weights(values, {"quiet": 0.5, "car": 0.3, "tram": 0.2})
    assert weights.mean() == pytest.approx(1)
    assert weights[8:].sum() / weights.sum() == pytest.approx(0.3 / 0.8)


def test_values_without_a_share_are_named() -> None:
    values = pd.Series(["quiet", "tram", None], name="noise")
    with pytest.raises(ScoringError, match="no share of use for noise = tram, \\(missing\\); declared are quiet, car"):
        decisions.poststratification_weights(values, {"quiet": 0.5, "car": 0.5})
    with pytest.raises(ScoringError, match="declare one above 0"):
        decisions.poststratification_weights(pd.Series(["quiet"]), {"quiet": 0.0})
