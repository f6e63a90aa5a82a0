"""Speakers as blocks: their arithmetic by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from workbench import blocks


def test_the_jackknife_leaves_one_speaker_out_at_a_time() -> None:
    E, N = np.array([1.0, 2.0, 6.0]), np.array([10.0, 20.0, 30.0])
    left_out = np.array([8 / 50, 7 / 40, 3 / 30])
    assert blocks.jackknife_se(E, N) == pytest.approx(np.sqrt(2 / 3 * ((left_out - 9 / 60) ** 2).sum()))
    assert blocks.jackknife_se(E[:1], N[:1]) == 0


def test_an_effective_number_counts_those_who_share_evenly() -> None:
    assert blocks.effective_number(np.array([3.0, 3.0, 3.0, 0.0])) == pytest.approx(3)
    assert blocks.effective_number(np.array([9.0, 1.0])) == pytest.approx(100 / 82)
    assert blocks.effective_number(np.zeros(4)) == 0


def test_few_speakers_are_flipped_in_every_way_and_many_by_chance() -> None:
    assert sorted(blocks.signed(np.array([1.0, 2.0]), 4, seed=0)) == [-3, -1, 1, 3]
    drawn = blocks.signed(np.ones(100), 5000, seed=0)
    assert len(drawn) == 5000 and stats.kstest(drawn / 10, "norm").statistic < 0.06


def test_whoever_is_unknown_is_a_block_of_its_own_and_no_speaker_that_is_known() -> None:
    names = pd.Series(["unknown", "s1", "unknown", "s1", ""])
    codes, note = blocks.number(names, 5)
    assert codes.tolist() == [1, 0, 2, 0, 3] and note == "3 of 5 speakers unknown: interval too narrow"
    assert blocks.n_known(names) == 1


@pytest.mark.parametrize("kind", ["object", "str", "category"])
def test_speakers_numbered_once_are_the_blocks_they_would_be_if_numbered_by_each_rate(kind: str) -> None:
    names = pd.Series(["s2", "s1", "", "s2", None, "s10", "s1"], dtype=object)
    codes, note = blocks.number(names, len(names))
    again, told = blocks.number(blocks.numbered(names.astype(kind)), len(names))
    assert again.tolist() == codes.tolist() == [0, 1, 3, 0, 4, 2, 1] and told == note
