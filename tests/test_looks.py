"""Looks at growing data: each is noted once, and all of them together spend one risk."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from workbench import differences, looks, planning, spending
from workbench.differences import PairedResult


def ids(n_speakers: int, first: int = 0) -> list[str]:
    return [f"u{number}" for number in range(10 * first, 10 * (first + n_speakers))]


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
    first = looks.take("better?", "m1", ids(40), paired(40), planned)
    assert first.number == 1 and first.fraction == pytest.approx(0.5, rel=0.01) and not first.is_last
    assert first.alpha == pytest.approx(spending.look_level([first.fraction]))
    second = looks.take("better?", "m1", ids(80), paired(80), planned)
    assert second.number == 2 and second.fraction == pytest.approx(2 * first.fraction)
    assert second.alpha == pytest.approx(spending.look_level([first.fraction, second.fraction]))
    assert 0.005 < first.alpha < 0.006 and second.alpha > 0.04


def test_the_plan_of_the_first_look_holds_for_those_that_follow(root: Path) -> None:
    first = looks.take("better?", "m1", ids(40), paired(40), planned_for(paired(40), 800))
    assert looks.take("better?", "m1", ids(80), paired(80), 0.9).fraction == pytest.approx(2 * first.fraction)


def test_the_same_look_again_is_no_other_look(root: Path) -> None:
    planned = planned_for(paired(40), 800)
    first = looks.take("better?", "m1", ids(40), paired(40), planned)
    looks.take("better?", "m1", ids(80), paired(80), planned)
    assert looks.take("better?", "m1", ids(40), paired(40), planned) == first
    assert looks.take("another question?", "m1", ids(40), paired(40), planned) == first


def test_another_model_shares_the_risk_without_counting_on_likeness(root: Path) -> None:
    planned = planned_for(paired(40), 800)
    first = looks.take("better?", "m1", ids(40), paired(40), planned)
    second = looks.take("better?", "m2", ids(80), paired(80), planned)
    assert first.alpha + second.alpha == pytest.approx(spending.spent(second.fraction), abs=1e-4)
    assert second.n_models == 2 and "2 models tried" in second.sentence


def test_a_second_model_on_the_same_data_is_a_claim_of_its_own_and_is_counted(root: Path) -> None:
    planned = planned_for(paired(40), 800)
    first = looks.take("better?", "m1", ids(40), paired(40), planned)
    again = looks.take("better?", "m2", ids(40), paired(40), planned)
    assert again.alpha == first.alpha and again.number == 1 and again.n_models == 2


def test_where_the_plan_was_in_nothing_is_left_to_spend(root: Path) -> None:
    planned = planned_for(paired(40), 400)
    assert looks.take("better?", "m1", ids(40), paired(40), planned).is_last
    assert looks.take("better?", "m1", ids(40), paired(40), planned).alpha == pytest.approx(0.05, rel=0.01)
    assert looks.take("better?", "m1", ids(80), paired(80), planned).alpha < 1e-3


def test_other_data_shares_the_risk_for_the_same_model_and_is_a_claim_of_its_own_for_another(root: Path) -> None:
    planned = planned_for(paired(40), 1200)
    first = looks.take("better?", "m1", ids(40), paired(40), planned)
    again = looks.take("better?", "m1", ids(40, first=40), paired(40), planned)
    assert again.number == 2 and again.fraction == pytest.approx(2 * first.fraction)
    assert again.alpha == pytest.approx(spending.another_level([first.fraction, again.fraction]))
    other = looks.take("better?", "m2", ids(40, first=80), paired(40), planned)
    assert other.number == 1 and other.alpha == pytest.approx(first.alpha) and other.n_models == 2
    mixed = looks.take("better?", "m3", ids(40, first=60), paired(40), planned)  # of which all was looked at
    assert mixed.number == 3 and mixed.n_models == 3 and mixed.alpha == 0, "nothing new is seen"


SIZES = [(40, 60, 80, 100, 120), (100,) * 5, (100, 98, 96, 94, 92), (120, 100, 80, 60, 40)]


@pytest.mark.parametrize("is_nested", [True, False])
@pytest.mark.parametrize("sizes", SIZES)
def test_all_looks_at_one_model_are_wrong_no_more_often_than_stated(
        root: Path, sizes: tuple[int, ...], is_nested: bool) -> None:
    ends, rng = np.cumsum(sizes), np.random.default_rng(sum(sizes))
    planned = planned_for(paired(sizes[0]), 10 * sum(sizes))
    levels = [looks.take("better?", "m", ids(int(end)) if is_nested else ids(size, int(end) - size),
                         paired(int(end) if is_nested else size), planned).alpha
              for end, size in zip(ends, sizes, strict=True)]
    steps = rng.normal(0, np.sqrt(sizes), (4000, len(sizes)))  # of two systems that are equal
    z = np.cumsum(steps, axis=1) / np.sqrt(ends) if is_nested else steps / np.sqrt(sizes)
    share = (stats.norm.sf(z) <= levels).any(axis=1).mean()
    assert share <= 0.059  # of 4,000, more at 5 % happen once in two hundred
    assert sum(levels) > 0.03, "and the risk is spent"
