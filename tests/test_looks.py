"""Looks at growing data: each is noted once, and all of them together spend one risk."""

from pathlib import Path

import numpy as np
import pytest

from workbench import differences, looks, planning, spending
from workbench.differences import PairedResult


def paired(n_speakers: int, seed: int = 0) -> PairedResult:
    rng, n = np.random.default_rng(seed), 10 * n_speakers
    return differences.paired_difference(rng.binomial(4, 0.2, n), rng.binomial(4, 0.19, n), np.full(n, 4),
                                         np.repeat(np.arange(n_speakers), 10), n_resamples=99)


def planned_for(first: PairedResult, n_utterances: int) -> float:
    """Give the difference that so many utterances would show."""
    variance = planning.pilot(first).variance
    return float(np.sqrt(planning.utterances(1.0, variance * 1e6) / 1e6 / n_utterances))


def test_a_look_at_half_of_the_plan_leaves_most_of_the_risk_for_later(root: Path) -> None:
    planned = planned_for(paired(40), 800)
    first = looks.take("better?", "m1", paired(40), planned)
    assert first.number == 1 and first.fraction == pytest.approx(0.5, rel=0.01) and not first.is_last
    assert first.alpha == pytest.approx(spending.look_level([first.fraction]))
    second = looks.take("better?", "m1", paired(80), planned)
    assert second.number == 2 and second.fraction == pytest.approx(2 * first.fraction)
    assert second.alpha == pytest.approx(spending.look_level([first.fraction, second.fraction]))
    assert 0.005 < first.alpha < 0.006 and second.alpha > 0.04


def test_the_plan_of_the_first_look_holds_for_those_that_follow(root: Path) -> None:
    first = looks.take("better?", "m1", paired(40), planned_for(paired(40), 800))
    assert looks.take("better?", "m1", paired(80), 0.9).fraction == pytest.approx(2 * first.fraction)


def test_the_same_look_again_is_no_other_look(root: Path) -> None:
    planned = planned_for(paired(40), 800)
    first = looks.take("better?", "m1", paired(40), planned)
    looks.take("better?", "m1", paired(80), planned)
    assert looks.take("better?", "m1", paired(40), planned) == first
    assert looks.take("another question?", "m1", paired(40), planned) == first


def test_another_model_shares_the_risk_without_counting_on_likeness(root: Path) -> None:
    planned = planned_for(paired(40), 800)
    first = looks.take("better?", "m1", paired(40), planned)
    second = looks.take("better?", "m2", paired(80), planned)
    assert first.alpha + second.alpha == pytest.approx(spending.spent(second.fraction), abs=1e-4)
    assert second.n_models == 2 and "2 models tried" in second.sentence


def test_a_second_model_on_the_same_data_is_a_claim_of_its_own_and_is_counted(root: Path) -> None:
    planned = planned_for(paired(40), 800)
    first = looks.take("better?", "m1", paired(40), planned)
    again = looks.take("better?", "m2", paired(40), planned)
    assert again.alpha == first.alpha and again.number == 1 and again.n_models == 2


def test_where_the_plan_was_in_nothing_is_left_to_spend(root: Path) -> None:
    planned = planned_for(paired(40), 400)
    assert looks.take("better?", "m1", paired(40), planned).is_last
    assert looks.take("better?", "m1", paired(40), planned).alpha == pytest.approx(0.05, rel=0.01)
    assert looks.take("better?", "m1", paired(80), planned).alpha < 1e-3
