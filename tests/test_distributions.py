"""Shares, pulls and costs by hand, and chance that is as wide as users make it."""

import numpy as np
import pandas as pd
import pytest

from workbench import distributions
from workbench.distributions import Sides


def sides(reference: list[int], window: list[int], weight: list[float] | None = None) -> Sides:
    tables = pd.DataFrame({"user": reference}), pd.DataFrame({"user": window})
    return Sides.of(tables[0].assign(weight=weight) if weight else tables[0], tables[1], "user")


def test_shares_and_pulls_by_hand() -> None:
    x = np.array([0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0])
    found = distributions.curve(x, sides([1, 1, 2, 3], [4, 5, 5]), is_share=True)
    assert (found.before.tolist(), found.now.tolist()) == ([0.25], pytest.approx([2 / 3]))
    without = [1 / 2, 1 / 3, 0, 1 / 2, 1]  # the share on their side, was each of the five not there
    assert found.pulls[:3, 0] == pytest.approx([share - 0.25 for share in without[:3]])
    assert found.pulls[3:, 0] == pytest.approx([2 / 3 - share for share in without[3:]])


def test_weights_count_and_missing_values_do_not() -> None:
    x = np.array([0.0, 1.0, np.nan, 1.0])
    found = distributions.curve(x, sides([1, 2, 3], [4], [3.0, 1.0, 9.0]), is_share=True)
    assert found.before.tolist() == [0.25] and found.now.tolist() == [1.0]


def test_a_distribution_is_compared_at_values_of_both_sides() -> None:
    x = np.concatenate([np.arange(100.0), np.arange(100.0) + 1000])
    found = distributions.curve(x, sides(list(range(100)), list(range(100, 200))), is_share=False)
    assert found.points.min() < 100 and found.points.max() >= 1000
    assert found.before[found.points < 1000].max() == pytest.approx(0.96) and found.now[found.points < 1000].max() == 0


def test_what_lies_elsewhere_beyond_a_tolerance_by_hand() -> None:
    x, points = np.array([1.0, 2.0, 3.0, 4.0, 1.5, 2.5, 3.5, 9.0]), np.array([2.0, 4.0])
    higher, lower = distributions.beyond(x, sides([1, 2, 3, 4], [5, 6, 7, 8]), points, 0.5)
    assert higher.tolist() == [0.5 - 0.5, 1.0 - 0.75] and lower.tolist() == [0.25 - 0.5, 0.75 - 1.0]


@pytest.mark.parametrize(("share", "n_users"), [(0.03, 300), (0.5, 60), (0.9, 60)])
def test_chance_in_angles_is_as_wide_as_redrawn_users_make_it(share: float, n_users: int) -> None:
    rng, distances = np.random.default_rng(0), []
    who = sides(list(range(n_users)), list(range(n_users, 2 * n_users)))
    for _ in range(300):
        found = distributions.curve((rng.random(2 * n_users) < share).astype(float), who, is_share=True)
        distances.append(found.distance[0])
    (drawn,) = distributions.by_chance([found], 2000, seed=0)
    assert drawn.std() == pytest.approx(float(np.std(distances)), rel=0.15)
    assert np.std(distances) == pytest.approx(np.sqrt(2 / (4 * n_users)), rel=0.15)  # Anscombe: 1/4n a side


def test_curves_are_drawn_together() -> None:
    x = np.random.default_rng(1).normal(size=400)
    who = sides(list(range(200)), list(range(200, 400)))
    first, same = (distributions.curve(values, who, is_share=False) for values in (x, 2 * x))
    a, b = distributions.by_chance([first, same], 50, seed=0)
    assert a == pytest.approx(b, abs=1e-6)


def test_what_a_mix_costs_by_hand() -> None:
    is_car = np.array([1.0] * 20 + [0.0] * 80 + [1.0] * 40 + [0.0] * 60)
    errors, words = np.where(is_car > 0, 3.0, 1.0), np.full(200, 10.0)
    who = sides(list(range(100)), list(range(100, 200)))
    curve = distributions.curve(is_car, who, is_share=True)
    found = distributions.rate_change(is_car, (errors, words), who, curve, is_share=True)
    assert found.value == pytest.approx(0.2 * (0.3 - 0.1))
    assert found.high - found.value == pytest.approx(1.96 * 0.2 * np.sqrt(0.16 / 100 + 0.24 / 100), rel=0.02)


def test_a_value_that_only_the_window_has_counts_with_the_windows_errors() -> None:
    is_new = np.array([0.0] * 100 + [1.0] * 50 + [0.0] * 50)
    errors = np.where(is_new > 0, 5.0, 1.0)
    errors[:3] = np.nan  # not known: left out
    who = sides(list(range(100)), list(range(100, 200)))
    curve = distributions.curve(is_new, who, is_share=True)
    found = distributions.rate_change(is_new, (errors, np.full(200, 10.0)), who, curve, is_share=True)
    assert found.value == pytest.approx(0.5 * (0.5 - 0.1))


def test_what_else_changed_is_no_cost_of_the_mix() -> None:
    is_new = np.array([0.0] * 100 + [1.0] * 50 + [0.0] * 50)
    errors = np.array([1.0] * 100 + [2.0] * 100)  # all of the window is answered worse, whatever the phone
    who = sides(list(range(100)), list(range(100, 200)))
    curve = distributions.curve(is_new, who, is_share=True)
    found = distributions.rate_change(is_new, (errors, np.full(200, 10.0)), who, curve, is_share=True)
    assert found.value == pytest.approx(0)
