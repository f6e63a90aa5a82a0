"""The order in which utterances are taught."""

import numpy as np
import pytest

from workbench import batches

DURATIONS_S = np.random.default_rng(0).uniform(1, 6, 200)


@pytest.mark.parametrize("is_eased", [False, True])
def test_an_epoch_teaches_every_utterance_once(is_eased: bool) -> None:
    order = batches.epoch_order(DURATIONS_S, 8, 0, 0, is_eased=is_eased)
    assert sorted(np.concatenate(order)) == list(range(200))


def test_an_eased_epoch_goes_from_short_to_long_with_the_same_batches() -> None:
    usual, eased = (batches.epoch_order(DURATIONS_S, 8, 0, 0, is_eased=eased) for eased in (False, True))
    means = [DURATIONS_S[rows].mean() for rows in eased]
    assert means == sorted(means)
    assert {tuple(rows) for rows in usual} == {tuple(rows) for rows in eased}


def test_epochs_and_seeds_differ() -> None:
    seeds_and_epochs = ((0, 0), (0, 1), (1, 0))
    orders = [np.concatenate(batches.epoch_order(DURATIONS_S, 8, *which)).tolist() for which in seeds_and_epochs]
    assert orders[0] != orders[1] != orders[2] != orders[0]
