"""What a slice lags is its own where no other column explains it."""

import numpy as np
import pytest

from workbench import confounding

IS_LONG = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0])
IS_PLACE = np.array([1, 1, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0])
WORDS = np.full(12, 10.0)


def test_a_slice_that_is_bad_for_what_it_is_made_of_is_explained_by_it() -> None:
    found = confounding.own_parts(5.0 * IS_LONG, WORDS, {"length": IS_LONG, "about": IS_PLACE}, ["length", "about"])
    assert found["length"].parts[1] == pytest.approx(1.0) and found["length"].explained_by[1] == ""
    assert found["about"].parts[1] == pytest.approx(0.0) and found["about"].explained_by[1] == "length"


def test_two_causes_share_what_they_bring_by_hand() -> None:
    errors = 3.0 * IS_LONG + 1.0 * IS_PLACE
    found = confounding.own_parts(errors, WORDS, {"length": IS_LONG, "about": IS_PLACE}, ["length", "about"])
    plain = errors[IS_PLACE == 1].mean() - errors[IS_PLACE == 0].mean()
    assert found["about"].parts[1] == pytest.approx(1.0 / plain) and found["about"].explained_by[1] == "length"
    assert found["length"].parts[1] == pytest.approx(3.0 / (errors[IS_LONG == 1].mean() - errors[IS_LONG == 0].mean()))


def test_a_column_that_says_the_same_in_other_words_explains_nothing() -> None:
    found = confounding.own_parts(5.0 * IS_LONG, WORDS, {"a": IS_LONG, "b": IS_LONG}, ["a", "b"])
    assert found["a"].parts.tolist() == [1.0, 1.0] and found["b"].explained_by == ["", ""]


def test_what_is_better_than_the_rest_and_what_has_no_value_lag_nothing_to_explain() -> None:
    codes = np.where(np.arange(12) == 11, -1, IS_LONG)
    found = confounding.own_parts(5.0 * IS_LONG, WORDS, {"a": codes, "b": IS_PLACE}, ["b"])
    assert found["a"].parts[0] == 1.0 and len(found["a"].parts) == 2


def test_chance_takes_little_from_a_cause_of_its_own() -> None:
    rng = np.random.default_rng(3)
    columns = {name: rng.integers(4, size=3_000) for name in "abcdefg"}
    errors = rng.binomial(5, np.where(columns["a"] == 2, 0.25, 0.10)).astype(float)
    own = confounding.own_parts(errors, np.full(3_000, 5.0), columns, list(columns))["a"]
    assert own.parts[2] > 0.95 and own.explained_by[2] == ""
