"""The order in which utterances are taught."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from test_training import RECIPE, tones
from whisper.decoding import DecodingTask

from tests import published
from workbench import batches, objective, recognizers, whisper_model
from workbench.errors import AudioError, CheckpointError, ManifestError

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


@pytest.mark.parametrize("n_makers", [0, 1, 2])
def test_batches_made_ahead_come_in_their_order_and_leave_chance_alone(n_makers: int) -> None:
    torch.manual_seed(0)
    wanted, who = torch.rand(2), os.getpid()
    torch.manual_seed(0)
    asked = batches.ahead(lambda number: (number, os.getpid()), range(5, 45), n_makers)
    found = [next(asked) for _ in range(3)] + list(asked)
    assert [number for number, _ in found] == list(range(5, 45))
    makers = {maker for _, maker in found}
    assert len(makers) == max(1, n_makers) and (who in makers) == (n_makers == 0)
    assert torch.equal(torch.rand(2), wanted)


@pytest.mark.parametrize("n_makers", [0, 2])
def test_what_a_batch_fails_of_is_raised_where_it_is_asked_for(n_makers: int) -> None:
    def fails(number: int) -> None:
        raise AudioError(f"clip {number} is gone")

    with pytest.raises(AudioError, match="clip 0 is gone"):
        next(batches.ahead(fails, range(10), n_makers))


def test_a_process_makes_the_batch_that_this_one_would(tmp_path: Path) -> None:
    model = whisper_model.build("", "toy", seed=0)
    source = batches.BatchSource(tones(tmp_path, 40, 0), RECIPE, model, seed=3)
    for number, made in zip(range(3, 9), batches.ahead(source.batch, range(3, 9), 2), strict=True):
        here = source.batch(number)
        for name in ("mel", "tokens", "targets", "letters", "n_letters", "n_frames"):
            assert torch.equal(getattr(made, name), getattr(here, name)), name


@pytest.mark.parametrize(("kind", "language"), [("english", "en"), ("multilingual", "de"), ("large-v3", "yue")])
def test_a_batch_teaches_the_tokens_that_whispers_own_decoding_begins_with(kind: str, language: str, tmp_path: Path,
                                                                          ) -> None:
    base = published.checkpoint(tmp_path / "base.pt", kind=kind, width=64, n_layers=1)
    model = whisper_model.load(base, context="fitted", language=language)
    table = tones(tmp_path, 8, 0)
    batch = batches.BatchSource(table, RECIPE, model, seed=0).batch(0)
    task = DecodingTask(model.whisper, recognizers.decoding_options(language=language))
    begins = list(task.initial_tokens)
    assert (batch.tokens[:, : len(begins)] == torch.tensor(begins)).all()
    silent = batches.spell_tokens("", batches.tokenizer_of(model))[1]
    assert silent[0] == task.tokenizer.no_speech and silent[-1] == task.tokenizer.eot
    occurring = objective.occurring_tokens(list(table["reference"]), model).tolist()
    assert {*begins, task.tokenizer.no_speech} <= {*occurring}


def test_a_model_knows_no_language_that_came_after_it(tmp_path: Path) -> None:
    base = published.checkpoint(tmp_path / "base.pt", kind="multilingual", width=64, n_layers=1)
    with pytest.raises(CheckpointError, match="does not know language 'yue'"):
        whisper_model.load(base, language="yue")


def test_a_reference_that_the_decoder_cannot_hold_is_named(tmp_path: Path) -> None:
    clips, model = tones(tmp_path, 8, 0), whisper_model.build("", "toy", seed=0)
    limit = model.dims.n_text_ctx
    fitting = clips.assign(reference=["a" * (limit + 50), *clips["reference"][1:]])  # many letters, few tokens
    batches.BatchSource(fitting, RECIPE, model, seed=0)
    clips = clips.assign(reference=["one " * (limit - 1), *clips["reference"][1:]])
    with pytest.raises(ManifestError, match=f"the reference of {clips['utterance_id'].iloc[0]} has .* at most {limit}"):
        batches.BatchSource(clips, RECIPE, model, seed=0)
