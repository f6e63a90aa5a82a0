"""The order in which utterances are taught."""

import threading

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


@pytest.mark.parametrize("n_threads", [0, 1, 3])
def test_batches_made_ahead_come_in_their_order_each_made_once(n_threads: int) -> None:
    made: list[int] = []

    def make(number: int) -> int:
        made.append(number)
        return number

    asked = batches.ahead(make, range(5, 45), n_threads)
    assert [next(asked) for _ in range(3)] == [5, 6, 7]
    assert len(made) <= 3 + batches.N_AHEAD * n_threads, "no more is held than was promised"
    assert list(asked) == list(range(8, 45)) and sorted(made) == list(range(5, 45))


def test_what_a_batch_fails_of_is_raised_where_it_is_asked_for_and_ends_the_threads() -> None:
    def fails(number: int) -> batches.Batch:
        raise ValueError(f"batch {number}")

    asked = batches.ahead(fails, range(10), 2)
    with pytest.raises(ValueError, match="batch 0"):
        next(asked)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("batch")]
