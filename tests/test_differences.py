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
    assert one.p_better == 0.5 and one.difference.note == "one speaker: interval too narrow"


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
