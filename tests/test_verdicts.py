"""Pass, fail, cannot tell and what would settle it, or a tie: every way a gate can end."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.test_differences import WORDS, pair
from workbench import differences, planning, verdicts
from workbench.differences import PairedResult
from workbench.records import Interval
from workbench.verdicts import Gate, Stakes

STAKES = Stakes(planned=0.02, margin=0.005)


def unlike(n_speakers: int = 12, n_queries: int = 5, seed: int = 3) -> PairedResult:
    """Compare two models that err apart from each other, equally often."""
    rng, n = np.random.default_rng(seed), n_speakers * n_queries
    return differences.paired_difference(rng.binomial(WORDS, 0.2, n), rng.binomial(WORDS, 0.2, n), np.full(n, WORDS),
                                         np.repeat(np.arange(n_speakers), n_queries))


def better(paired: PairedResult, stakes: Stakes = STAKES) -> Gate:
    return Gate("over all use", "better", paired, stakes)


# --- one gate --------------------------------------------------------------------------------------------------------


def test_a_clear_gain_passes_with_the_difference_in_the_sentence() -> None:
    found = better(pair(0.3)).verdict
    assert found.outcome == "yes" and pair(0.3).difference.points() in found.sentence and found.more is None


def test_a_clear_loss_fails() -> None:
    found = better(pair(-0.05)).verdict
    assert found.outcome == "no" and "got worse" in found.sentence


def test_a_gain_that_the_interval_rules_out_fails_though_nothing_got_worse() -> None:
    found = better(pair(0.0), Stakes(0.05, 0.005)).verdict
    assert found.outcome == "no" and "below the 5.0 points planned for" in found.sentence


def test_too_little_speech_cannot_tell_and_asks_for_a_finite_amount_from_the_planned_difference() -> None:
    paired, found = unlike(), better(unlike()).verdict
    needed = math.ceil(((1.644854 + 0.841621) * paired.se / 0.02) ** 2 * 60)
    assert found.outcome == "cannot_tell" and found.more is not None
    assert found.more.n_utterances == needed - 60
    assert found.more.n_speakers == math.ceil((needed - 60) / 5)
    assert found.more.n_low < found.more.n_utterances < found.more.n_high
    assert f"label {needed - 60:,} more utterances (90 % range" in found.sentence
    assert f"in the mix of use from {found.more.n_speakers:,} new speakers to tell 2.0 points" in found.sentence


def test_an_early_look_says_why_what_seems_clear_is_not_enough() -> None:
    paired = pair(0.3)
    found = better(paired, replace(STAKES, alpha=paired.p_better / 2)).verdict
    assert found.outcome != "yes" and "that this look may spend" in found.sentence
    assert "this look" not in better(unlike()).verdict.sentence


def test_what_was_asked_for_settles_it_about_as_often_as_planned() -> None:
    """With as much speech as was asked for, a gain as planned is found four times out of five; else it is a tie."""
    asked = better(unlike()).verdict.more
    assert asked is not None
    n_each, n_speakers = 5, 12 + asked.n_speakers
    rng, outcomes = np.random.default_rng(0), []
    for seed in range(100):
        a = rng.binomial(WORDS, 0.2, n_speakers * n_each)
        b = rng.binomial(WORDS, 0.18, len(a))
        paired = differences.paired_difference(a, b, np.full(len(a), WORDS), np.repeat(np.arange(n_speakers), n_each),
                                               n_resamples=999, seed=seed)
        outcomes.append(better(paired).verdict.outcome)
    assert outcomes.count("yes") == pytest.approx(80, abs=15)  # the pilot of 12 speakers was as lucky as it was
    assert outcomes.count("no") + outcomes.count("tie") + outcomes.count("cannot_tell") == 100 - outcomes.count("yes")


def test_speech_enough_for_the_plan_that_tells_neither_is_a_tie() -> None:
    paired = pair(0.02, n_speakers=200)
    undecided = replace(paired, p_better=0.2, p_worse=0.8, difference=Interval(-0.01, -0.025, 0.004))
    found = better(undecided, Stakes(0.02, 0.05)).verdict
    assert found.outcome == "tie" and "speech enough to tell 2.0 points" in found.sentence


def test_where_the_plan_of_the_first_look_is_in_it_is_a_tie_and_asks_for_nothing() -> None:
    found = better(unlike(), replace(STAKES, alpha=0.046, is_last=True)).verdict
    assert found.outcome == "tie" and found.more is None and "no risk is left to look again" in found.sentence


def test_more_than_anybody_will_label_is_a_tie_too() -> None:
    found = better(unlike(), replace(STAKES, most_labels=100)).verdict
    assert found.outcome == "tie" and "100 are the most" in found.sentence


def test_a_look_that_may_spend_less_asks_for_more_evidence() -> None:
    paired = replace(unlike(), p_better=0.03)
    assert better(paired).verdict.outcome == "yes"
    assert better(paired, replace(STAKES, alpha=0.01)).verdict.outcome == "cannot_tell"


def test_fewer_than_five_speakers_cannot_pass_and_ask_for_new_ones() -> None:
    four = differences.paired_difference(np.full(400, 2), np.tile([1, 1, 1, 2], 100), np.full(400, WORDS),
                                         np.repeat(np.arange(4), 100))
    more = verdicts.missing(four, 0.10)
    assert four.p_better == 1 / 16 and more is not None
    assert more.n_speakers == 1 and more.n_utterances == 100
    assert str(more) == "label 100 more utterances in the mix of use from 1 new speaker to tell 10.0 points"


def test_a_protected_slice_is_kept_spared_or_harmed() -> None:
    def ask(paired: PairedResult) -> verdicts.Verdict:
        return Gate("with noise quiet", "spared", paired, Stakes(0.02, 0.01), of="with noise quiet").verdict

    assert ask(pair(0.05)).outcome == "yes"
    harmed = ask(pair(-0.05))
    assert harmed.outcome == "no" and "with noise quiet it got worse" in harmed.sentence
    assert "the margin is 1 points" in harmed.sentence
    small = ask(unlike())
    assert small.outcome == "cannot_tell" and "utterances" in small.sentence and small.more is not None
    assert small.more.of == "with noise quiet" and small.more.sees == 0.01


@pytest.mark.parametrize(("planned", "margin"), [(0.0, 0.01), (0.02, 0.0)])
def test_a_gate_needs_a_difference_and_a_margin(planned: float, margin: float) -> None:
    with pytest.raises(ValueError, match="give fractions above 0"):
        Stakes(planned, margin)


# --- several gates ---------------------------------------------------------------------------------------------------


def conclude(*gates: Gate) -> verdicts.Verdict:
    return verdicts.conclude(gates, yes="Ships", no="Does not ship", not_yet="Does not ship yet")


def test_any_no_is_a_no_and_the_first_one_is_told() -> None:
    harmed = Gate("with noise quiet", "spared", pair(-0.05), STAKES)
    found = conclude(better(pair(0.3)), harmed)
    assert found.outcome == "no" and found.sentence.startswith("Does not ship: with noise quiet it got worse")


def test_what_must_be_shown_and_is_not_holds_a_model_back_and_says_what_is_missing() -> None:
    found = conclude(better(pair(0.3)), Gate("on the base gate", "kept", unlike(), Stakes(0.02, 0.02)))
    assert found.outcome == "cannot_tell" and found.sentence.startswith("Does not ship yet: on the base gate")
    assert found.more is not None and str(found.more) in found.sentence


def test_a_spared_slice_that_cannot_be_told_does_not_hold_a_model_back_but_is_named() -> None:
    found = conclude(better(pair(0.3)), Gate("with noise quiet", "spared", unlike(), STAKES))
    assert found.outcome == "yes" and found.sentence.startswith("Ships: over all use the WER changed by")
    assert "Not told: with noise quiet" in found.sentence


def test_a_tie_is_told_as_one() -> None:
    found = conclude(better(unlike(), replace(STAKES, most_labels=100)))
    assert found.outcome == "tie" and found.sentence.startswith("Does not ship: ")


def test_the_table_says_how_much_more_of_each() -> None:
    table = verdicts.table([better(pair(0.3)), better(unlike())])
    assert table["verdict"].tolist() == ["yes", "cannot tell"]
    assert table["n_more_utterances"][0] == 0 < table["n_more_utterances"][1]
    assert table["n_more_speakers"].tolist()[1] == math.ceil(table["n_more_utterances"][1] / 5)


# --- targets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("low", "high", "sense", "outcome"), [
    (0.05, 0.10, "<=", "yes"), (0.05, 0.11, "<=", "cannot_tell"), (0.11, 0.2, "<=", "no"),
    (0.10, 0.2, "<=", "cannot_tell"), (0.10, 0.2, ">=", "yes"), (0.05, 0.2, ">=", "cannot_tell"),
    (0.05, 0.09, ">=", "no"),
])
def test_a_target_is_met_or_missed_only_by_the_whole_interval(low: float, high: float, sense: Any,
                                                              outcome: str) -> None:
    assert verdicts.target_verdict(Interval((low + high) / 2, low, high), 0.10, sense) == outcome


def test_a_target_knows_two_senses() -> None:
    with pytest.raises(ValueError, match="give '<=' or '>='"):
        verdicts.target_verdict(Interval(0, 0, 0), 0.1, "<")  # type: ignore[arg-type]


def test_a_target_too_near_to_tell_says_how_much_would() -> None:
    wide = Interval(0.10, 0.07, 0.13)
    more = verdicts.missing_for_target(wide, 300, 30, 0.02)
    wanted = 0.02 * 1.959964 / (1.959964 + 0.841621)
    assert more is not None and more.n_utterances == math.ceil(300 * ((0.03 / wanted) ** 2 - 1))
    assert more.n_speakers == math.ceil(more.n_utterances / 10)
    assert verdicts.missing_for_target(Interval(0.10, 0.095, 0.105), 300, 30, 0.02) is None
    assert planning.POWER == 0.8
