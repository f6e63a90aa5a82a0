"""What two spellings say about each other: weights learned from letters, and the sum along the best alignment."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench import mishearing

A_HEAD = [("banana bread", "bamama bred"), ("tennis", "temmis"), ("cinema", "cimema"), ("onion", "omiom"),
          ("pizza", "pizza"), ("moon", "mom"), ("lemon", "lemom")] * 20
"""A head that writes m for n, and leaves letters out."""
WEIGHTS = mishearing.learn(A_HEAD)
spellings = st.text("abcdefghijklmnopqrstuvwxyz ", max_size=12)


def of(letter: str) -> int:
    return ord(letter) - ord("a")


def test_a_letter_that_is_often_written_for_another_speaks_for_it() -> None:
    assert WEIGHTS.said[of("n"), of("m")] > 0 > WEIGHTS.said[of("n"), of("z")]
    assert WEIGHTS.alike[of("n"), of("m")] > 0 > WEIGHTS.alike[of("n"), of("z")]


def test_weights_are_log_odds_counted_by_hand() -> None:
    weights = mishearing.learn([("ab", "ab")] * 10_000)  # a and b alone, always right: as good as no prior counts
    assert weights.said[of("a"), of("a")] == pytest.approx(np.log(2), abs=0.01)
    assert weights.alike[of("b"), of("b")] == pytest.approx(np.log(2), abs=0.01)


def test_the_best_alignment_is_the_sum_of_its_weights() -> None:
    m, gap = WEIGHTS.alike, mishearing.GAP
    expected = m[of("p"), of("p")] + m[of("i"), of("i")] + m[of("z"), of("z")] + m[of("z"), gap] + m[of("a"), of("a")]
    assert mishearing.evidence(["pizza"], ["piza"], m)[0, 0] == pytest.approx(expected, abs=1e-4)


def test_one_thing_misheard_twice_is_likelier_one_than_two() -> None:
    found = mishearing.evidence(["lemom", "temmis"], ["lemon", "tenmis", "pizza"], WEIGHTS.alike)
    assert found.shape == (2, 3)
    assert found[0, 0] > 2 and found[1, 1] > 2
    assert found[0, 2] < 0 and found[1, 0] < 0 and found[1, 2] < 0


@given(st.lists(spellings, min_size=1, max_size=5), st.lists(spellings, min_size=1, max_size=5))
def test_evidence_of_a_pair_does_not_depend_on_the_others_nor_on_who_comes_first(some: list[str],
                                                                                 others: list[str]) -> None:
    found = mishearing.evidence(some, others, WEIGHTS.alike)
    assert np.allclose(found, mishearing.evidence(others, some, WEIGHTS.alike).T, atol=1e-4)
    assert found[0, -1] == pytest.approx(mishearing.evidence(some[:1], others[-1:], WEIGHTS.alike)[0, 0], abs=1e-4)


def test_spaces_say_nothing() -> None:
    assert mishearing.evidence(["shak shuka"], ["shakshuka"], WEIGHTS.alike) == mishearing.evidence(
        ["shakshuka"], ["shakshuka"], WEIGHTS.alike)


def test_nothing_against_nothing_is_an_empty_table() -> None:
    assert mishearing.evidence([], ["a"], WEIGHTS.alike).shape == (0, 1)
    assert mishearing.evidence(["a"], [], WEIGHTS.alike).shape == (1, 0)


def test_without_any_answer_letters_speak_for_themselves() -> None:
    weights = mishearing.learn([])
    assert weights.said[of("q"), of("q")] > 0 > weights.said[of("q"), of("a")]
