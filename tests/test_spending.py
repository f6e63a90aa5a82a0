"""Looking more than once: the levels against published ones, and false alarms counted."""

import pytest

from benchmarks import comparisons as bench
from benchmarks.simulated_errors import monte_carlo_error
from workbench import spending


def test_five_even_looks_have_the_levels_that_lan_and_demets_published() -> None:
    fractions = [0.2, 0.4, 0.6, 0.8, 1.0]
    found = [spending.look_level(fractions[: i + 1], alpha=0.025) for i in range(5)]
    # borders 4.8769, 3.3569, 2.6803, 2.2898, 2.0310 (Reboussin, DeMets, Kim & Lan 2000)
    assert found == pytest.approx([5.4e-7, 0.000394, 0.003679, 0.011016, 0.021126], rel=0.01)


def test_a_single_look_at_all_of_the_data_may_spend_all() -> None:
    assert spending.look_level([1.0]) == pytest.approx(0.05, rel=1e-3)
    assert spending.another_level([1.0]) == pytest.approx(0.05)


def test_new_models_at_each_look_spend_no_more_than_all_together() -> None:
    fractions = [0.1, 0.5, 0.55, 1.0, 1.3]
    found = [spending.another_level(fractions[: i + 1]) for i in range(5)]
    assert sum(found) == pytest.approx(0.05) and found[-1] == 0
    same = [spending.look_level(fractions[: i + 1]) for i in range(4)]
    assert all(a <= b + 1e-6 for a, b in zip(found, same, strict=False))


@pytest.mark.parametrize("fractions", [[], [0.0], [0.5, 0.5], [0.6, 0.4]])
def test_data_that_did_not_grow_cannot_be_looked_at_again(fractions: list[float]) -> None:
    with pytest.raises(ValueError, match="each above the one before"):
        spending.look_level(fractions)


@pytest.mark.slow
@pytest.mark.parametrize(("growth", "rule"), [("speakers", "spending"), ("queries", "spending"),
                                              ("speakers", "another model")])
def test_five_looks_at_equal_models_find_a_better_one_in_at_most_5_of_100(growth: bench.Growth,
                                                                          rule: bench.Rule) -> None:
    found = bench.false_betters(50, n_sets=1500, seed=4, n_looks=5, growth=growth, rule=rule)
    assert found["false_better"] < 0.05 + 3 * monte_carlo_error(0.05, 1500)


@pytest.mark.slow
def test_five_naive_looks_find_too_much() -> None:
    found = bench.false_betters(50, n_sets=500, seed=4, n_looks=5, rule="naive")
    assert found["false_better"] > 0.10
