"""Two models on the same utterances, proved by hand at the edges and by simulation in between."""

import numpy as np
import pytest

from benchmarks import comparisons as bench
from benchmarks.simulated_errors import monte_carlo_error
from workbench import blocks, differences
from workbench.differences import PairedResult
from workbench.errors import ScoringError

WORDS = 4


@pytest.mark.parametrize("n_speakers", [10, 30])
def test_equal_models_are_rarely_called_better(n_speakers: int) -> None:
    found = bench.false_betters(n_speakers, n_sets=500, seed=1)
    assert found["false_better"] < 0.055 + 3 * monte_carlo_error(0.05, 500)


@pytest.mark.slow
@pytest.mark.parametrize("n_speakers", [10, 20, 50, 200])
def test_equal_models_are_called_better_in_at_most_5_of_100_sets(n_speakers: int) -> None:
    found = bench.false_betters(n_speakers, n_sets=2000, seed=2)
    assert found["false_better"] < 0.05 + 3 * monte_carlo_error(0.05, 2000)


@pytest.mark.slow
def test_of_slices_that_are_called_changed_one_in_twenty_is_not() -> None:
    nothing, something = (bench.discoveries(gain, n_sets=150, seed=3) for gain in (0.0, 0.5))
    assert nothing["false_discovery_rate"] < 0.05 + 3 * monte_carlo_error(0.05, 150)
    assert something["false_discovery_rate"] < 0.05 + 3 * something["mc_error"]
    assert something["found_the_slice"] > 0.3


@pytest.mark.parametrize(("talk", "most"), [("2 of 12 say most", 0.08), ("12 alike", 0.07), ("20 alike", 0.07),
                                            ("one alone", 0.01)])
def test_a_model_that_is_worse_by_the_margin_is_seldom_kept_however_few_or_unequal_speakers_are(talk: str,
                                                                                               most: float) -> None:
    assert bench.kept(talk, 0.10, 0.10, n_sets=1200, seed=5)["false_kept"] < most


def test_a_model_that_is_no_worse_is_kept_nine_times_in_ten_where_fifty_speak() -> None:
    assert bench.kept("50 alike", 0.10, 0.10, n_sets=400, seed=5)["kept"] > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("talk", ["8 alike", "12 alike", "20 alike", "50 alike", "200 alike", "2 of 12 say most",
                                  "12 of all sorts"])
def test_of_models_that_are_worse_by_the_margin_no_more_are_kept_than_is_said(talk: str) -> None:
    most = 0.06 if "alike" in talk else 0.09
    for correlation in (0.05, 0.10):
        found = bench.kept(talk, 0.10, correlation, n_sets=5000, seed=6)
        assert found["false_kept"] < most + 3 * monte_carlo_error(most, 5000)


def pair(better_by: float, n_speakers: int = 30, n_queries: int = 20, seed: int = 0) -> PairedResult:
    """Compare a model at 20 % WER with one that mends a share of its errors; negative makes some."""
    rng = np.random.default_rng(seed)
    a = rng.binomial(WORDS, 0.2, n_speakers * n_queries)
    change = rng.binomial(a, better_by) if better_by >= 0 else -rng.binomial(WORDS - a, -better_by)
    return differences.paired_difference(a, a - change, np.full(len(a), WORDS),
                                         np.repeat(np.arange(n_speakers), n_queries))


def test_a_clear_gain_and_a_clear_loss_show_on_their_own_side() -> None:
    gain, loss = pair(0.3), pair(-0.05)
    assert gain.difference.high < 0 and gain.p_better < 0.001 and gain.p_worse > 0.999
    assert gain.difference.value == pytest.approx(gain.rate_b - gain.rate_a)
    assert loss.p_worse < 0.001 and gain.p == pytest.approx(2 * gain.p_better)
    assert differences.noninferiority(loss, 0.01) is False and differences.noninferiority(gain, 0.01) is True


def test_two_models_that_never_differ_are_not_proved_equal_by_a_few_utterances() -> None:
    a = np.ones(60)
    few = differences.paired_difference(a, a, np.full(60, WORDS), np.repeat(np.arange(12), 5))
    assert few.difference.value == 0 and few.difference.low < 0 < few.difference.high
    assert few.p_better == few.p_worse == 1
    assert few.difference.high == pytest.approx(1 - 0.05 ** (blocks.design_effect(20) / 240))
    assert differences.noninferiority(few, 0.005) is None
    assert differences.noninferiority(few, 0.03) is True


def test_few_speakers_cannot_reach_five_percent_whatever_they_say() -> None:
    four = differences.paired_difference(np.full(40, 2), np.zeros(40), np.full(40, WORDS), np.repeat(np.arange(4), 10))
    assert four.p_better == 1 / 16
    one = differences.paired_difference([2, 1, 2], [0, 0, 1], [4, 4, 4], ["a"] * 3)
    assert one.p_better == 0.5 and one.difference.note == "one speaker: interval assumes that speakers differ as usual"


def test_what_one_speaker_tells_is_as_unsure_as_speakers_are_assumed_to_differ() -> None:
    a, b, words = np.tile([1, 0, 2, 0], 25), np.tile([0, 0, 1, 1], 25), np.full(100, WORDS)
    one, all_apart = (differences.paired_difference(a, b, words, who) for who in (["a"] * 100, np.arange(100)))
    effect = blocks.design_effect(400) / blocks.design_effect(WORDS)
    assert one.se == pytest.approx(all_apart.se * effect**0.5) and one.df == all_apart.df
    assert differences.noninferiority(all_apart, 0.02) is True and differences.noninferiority(one, 0.02) is None
    alike = differences.paired_difference(a, a, words, ["a"] * 100)
    assert alike.difference.high == pytest.approx(1 - 0.05 ** (blocks.design_effect(400) / 400))


def test_a_few_who_lose_much_keep_a_model_from_being_called_as_good() -> None:
    few_lose = np.where(np.arange(40) < 4, 6, -1)
    lost, won = (differences.paired_difference(np.full(40, 9), 9 + change, np.full(40, 100), np.arange(40))
                 for change in (few_lose, -few_lose))
    assert lost.se == pytest.approx(won.se) and lost.skew == pytest.approx(-won.skew) and lost.skew > 0.2
    beyond = 2.1 * won.se  # enough for a t of as few degrees of freedom
    assert differences.noninferiority(won, won.difference.value + beyond) is True
    assert differences.noninferiority(lost, lost.difference.value + beyond) is None
    assert differences.noninferiority(lost, lost.difference.value + 2 * beyond) is True


def test_a_speaker_who_says_most_leaves_the_standard_error_unknown() -> None:
    b, words = np.tile([1, 0, 2], 4), np.full(12, 40)
    even = differences.paired_difference(np.zeros(12), b, words, np.arange(12))
    b[2], words[2] = 40, 800
    uneven = differences.paired_difference(np.zeros(12), b, words, np.arange(12))
    assert uneven.se_df == 1 < 3 < even.se_df


def test_drawn_sign_flips_agree_with_all_of_them() -> None:
    rng = np.random.default_rng(0)
    a, b, totals, speakers = rng.poisson(3, 96), rng.poisson(2.6, 96), np.full(96, 20), np.repeat(np.arange(12), 8)
    every = differences.paired_difference(a, b, totals, speakers, n_resamples=2**12)
    drawn = differences.paired_difference(a, b, totals, speakers, n_resamples=4000)
    assert drawn.p_better == pytest.approx(every.p_better, abs=0.02)
    assert differences.paired_difference(a, b, totals, speakers, n_resamples=4000, seed=0) == drawn


def test_weights_decide_which_speakers_difference_counts() -> None:
    a, b, totals = [2, 0, 2, 0], [0, 2, 0, 2], [4] * 4
    toward_b = differences.paired_difference(a, b, totals, list("abcd"), [3, 1, 3, 1])
    assert toward_b.difference.value == pytest.approx((-6 + 2 - 6 + 2) / 32)


def test_a_comparison_without_words_is_refused() -> None:
    with pytest.raises(ScoringError, match="choose utterances with speech"):
        differences.paired_difference([0], [1], [0], ["a"])


def test_slices_are_called_by_the_step_up_rule_over_all_of_them() -> None:
    q, words = differences.changed([0.002, 0.02, 0.04, 0.8], [-0.01, 0.01, -0.01, -0.01])
    assert q.tolist() == pytest.approx([0.008, 0.04, 4 / 3 * 0.04, 0.8])
    assert words == ["better", "worse", "cannot tell", "cannot tell"]
    assert differences.changed([0.04], [-0.01])[1] == ["better"]  # alone it would have been


def test_no_slices_are_no_discoveries() -> None:
    q, words = differences.changed([], [])
    assert len(q) == 0 and words == []


def test_heavy_tails_leave_a_standard_error_less_well_known() -> None:
    even, uneven = np.tile([1, 0], 100), np.zeros(200)
    uneven[:4] = 25
    known, unknown = (differences.paired_difference(np.zeros(200), b, np.full(200, 40), np.arange(200))
                      for b in (even, uneven))
    assert unknown.se_df < 5 < 60 < known.se_df
