"""Lists of names before the decoder's input: what is drawn, what is taught, and that both engines read it alike."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_training import RECIPE, tones
from whisper.decoding import DecodingTask

from tests import published
from workbench import (
    audio,
    batches,
    engines,
    fast,
    objective,
    probes,
    prompts,
    recipes,
    recognizers,
    training,
    whisper_model,
)
from workbench.batches import IGNORED, BatchSource
from workbench.biasing import BiasingList, Rules
from workbench.errors import RecipeError
from workbench.recognizing import ShortContextRecognizer
from workbench.whisper_model import SpeechModel

REFERENCES = [f"play {a} {b} in {c}" for a in ("olivia", "elton", "dua") for b in ("rodrigo", "john", "lipa")
              for c in ("oslo", "boston")] + ["", "play in"]
WORDS = batches.tokenizer(False)
NOISES = [np.random.default_rng(n).normal(0, 0.1, n).astype("float32") for n in (3_000, 16_000, 16_001)]
ALONE = Rules(margin=np.inf)
"""Nothing but the prompt: letters are never believed."""


def listing(names: Sequence[str], rules: Rules = ALONE) -> BiasingList:
    return BiasingList(dict.fromkeys(names, ""), rules)


def taught(seed: int = 0, n_names: int = prompts.MAX_NAMES) -> SpeechModel:
    model = whisper_model.build("", "toy", seed=seed)
    model.n_prompt_names = n_names
    return model


# --- lists -----------------------------------------------------------------------------------------------------------


def test_lists_are_drawn_of_rarer_words_half_of_them_with_the_utterances_own_and_the_nominal_share_is_empty() -> None:
    lists, rng = prompts.Lists(REFERENCES, 0.6), np.random.default_rng(0)
    assert prompts.common_words(REFERENCES) == {"play", "in"}
    drawn = [lists.draw(0, rng) for _ in range(4_000)]
    filled = [names for names in drawn if names]
    assert abs(len(filled) / len(drawn) - 0.6) < 0.05
    assert not {name for names in filled for name in names if {name.split()[0], name.split()[-1]} & {"play", "in"}}
    assert {"olivia rodrigo", "rodrigo in oslo", "oslo"} <= {name for names in filled for name in names}
    assert max(map(len, filled)) <= prompts.MAX_NAMES and all(len(set(names)) == len(names) for names in filled)
    one = [names[0] for names in filled if len(names) == 1]
    assert 0.5 < np.mean([f" {name} " in f" {REFERENCES[0]} " for name in one]) < 0.8  # others say the same words
    assert len({names.index("olivia rodrigo") for names in filled if "olivia rodrigo" in names}) > 3


def test_an_utterance_of_common_words_alone_has_no_name_of_its_own() -> None:
    lists, rng = prompts.Lists(REFERENCES, 1.0), np.random.default_rng(0)
    assert REFERENCES[-1] == "play in"
    drawn = [name for _ in range(200) for name in lists.draw(len(REFERENCES) - 1, rng)]
    assert "oslo" in drawn and not {"play", "in", "play in"} & set(drawn)
    assert prompts.Lists(["", ""], 1.0).draw(0, rng) == []


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(RecipeError, match=f"prompt_share is {share}; give the share"):
        prompts.Lists(REFERENCES, share)


def test_a_list_that_is_too_long_keeps_the_last_names_whole() -> None:
    names = ["olivia rodrigo", "dua lipa", "hozier"]
    everything = WORDS.encode(" olivia rodrigo, dua lipa, hozier")
    assert prompts.spell(names, WORDS.encode, len(everything)) == everything
    assert prompts.spell(names, WORDS.encode, len(everything) - 1) == WORDS.encode(" dua lipa, hozier")
    assert prompts.spell(names, WORDS.encode, 1) == prompts.spell([], WORDS.encode, 99) == []
    assert prompts.n_longest(448) + 1 + prompts.START_TOKENS + 448 // 2 == 448


# --- what is taught --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_multilingual", [False, True])
def test_a_prompt_has_whispers_own_form_and_nothing_of_it_is_to_be_written(is_multilingual: bool) -> None:
    words = batches.tokenizer(is_multilingual)
    for text in ("play lizzo", ""):
        plain_read, plain_write = batches.spell_tokens(text, words)
        read, write = batches.spell_tokens(text, words, ["lizzo", "dua lipa"])
        prompt = [words.sot_prev, *words.encode(" lizzo, dua lipa")]
        assert read == prompt + plain_read and write == [IGNORED] * len(prompt) + plain_write
        assert len(read) == len(write) and read[len(prompt)] == words.sot
    options = recognizers.decoding_options(prompt=words.encode(" lizzo, dua lipa"))
    task = DecodingTask(whisper_model.build("", "toy", seed=0).whisper, options)
    assert is_multilingual or list(task.initial_tokens) == batches.spell_tokens("", WORDS, ["lizzo", "dua lipa"])[0]


def test_a_long_reference_leaves_less_room_for_names() -> None:
    text, names = " ".join(["play"] * 200), [f"name{i}" for i in range(100)]
    read, write = batches.spell_tokens(text, WORDS, names)
    assert len(read) == len(write) <= 448 and read[0] == WORDS.sot_prev
    assert len(batches.spell_tokens("", WORDS, names)[0]) <= 448 // 2
    assert batches.spell_tokens(" ".join(["play"] * 446), WORDS, names)[0][0] == WORDS.sot


def source(folder: Path, share: float) -> BatchSource:
    recipe = replace(RECIPE, fit=replace(RECIPE.fit, prompt_share=share, batch_size=8))
    return BatchSource(tones(folder, 40, 0), recipe, whisper_model.build("", "toy", seed=0), seed=3)


def test_a_step_has_the_same_batch_however_often_it_is_asked_for_and_the_same_sound_without_lists(
    tmp_path: Path
) -> None:
    with_lists, again, without = source(tmp_path, 0.7), source(tmp_path, 0.7), source(tmp_path, 0.0)
    for step in (4, 0, 9):
        first, second, plain = (s.batch(step) for s in (with_lists, again, without))
        for name in ("mel", "tokens", "targets", "letters", "n_letters", "n_frames"):
            assert torch.equal(getattr(first, name), getattr(second, name)), name
        assert torch.equal(first.mel, plain.mel) and torch.equal(first.letters, plain.letters)
        for read, write, plain_read, plain_write in zip(first.tokens, first.targets, plain.tokens, plain.targets,
                                                        strict=True):
            at = read.tolist().index(WORDS.sot)
            n = int((plain_write != IGNORED).sum())
            assert torch.equal(read[at : at + n], plain_read[:n]) and torch.equal(write[at : at + n], plain_write[:n])
            assert (write[:at] == IGNORED).all() and (write[at + n :] == IGNORED).all()
            assert at == 0 or read[0] == WORDS.sot_prev
    starts = [int(row[0]) for step in range(40) for row in with_lists.batch(step).tokens]
    assert abs(np.mean([start == WORDS.sot_prev for start in starts]) - 0.7) < 0.08


def test_every_token_that_a_prompt_can_hold_is_scored(tmp_path: Path) -> None:
    references = [*REFERENCES, "Beyoncé's, o'clock", "naïve 東京"]
    model = whisper_model.build("", "toy", seed=0)
    scored = objective.occurring_tokens(references, model, has_prompts=True)
    lists, rng = prompts.Lists(references, 1.0), np.random.default_rng(0)
    for row in range(len(references)):
        for _ in range(20):
            read, write = batches.spell_tokens(references[row], WORDS, lists.draw(row, rng))
            assert {*read, *write} - {IGNORED} <= set(scored.tolist())
    assert WORDS.sot_prev not in objective.occurring_tokens(references, model)


def test_a_fit_with_lists_is_noted_in_its_checkpoint_and_the_next_fit_without_takes_the_note_away(root: Path) -> None:
    train, base = tones(root, 20, 0), published.checkpoint(root / "base.pt", width=64, n_layers=1)
    first = whisper_model.load(base, context="fitted")
    shown = replace(RECIPE, fit=replace(RECIPE.fit, prompt_share=0.5, n_validations=1))
    done = training.fit(first, train, valid=None, recipe=shown, n_steps=3, is_finetuning=True)
    assert whisper_model.notes(done.checkpoint)["prompt_names"] == prompts.MAX_NAMES
    model = whisper_model.load(done.checkpoint)
    assert recognizers.WhisperRecognizer(model).n_prompt_names == prompts.MAX_NAMES
    plain = replace(RECIPE, fit=replace(RECIPE.fit, n_validations=1))
    after = training.fit(model, train, valid=None, recipe=plain, n_steps=1, is_finetuning=True)
    assert "prompt_names" not in whisper_model.notes(after.checkpoint)
    assert recipes.Fit().prompt_share == 0.0


# --- what is read ----------------------------------------------------------------------------------------------------


def texts(recognizer: ShortContextRecognizer) -> list[str]:
    return [h.text for h in recognizer.transcribe(NOISES)]


@pytest.mark.parametrize("kind", ["english", "multilingual"])
def test_both_engines_answer_alike_after_a_prompt_and_otherwise_than_without(kind: str, tmp_path: Path) -> None:
    base = published.checkpoint(tmp_path / "base.pt", kind=kind, width=64, n_layers=1)
    model = whisper_model.load(base, context="fitted")
    model.n_prompt_names = 3
    path = whisper_model.save(model, tmp_path / "taught.pt")
    slow = recognizers.load(path)
    quick = engines.FastRecognizer(engines.export(path, tmp_path / "engine", quantization="float32"))
    answers = {}
    for names in ((), ("hozier",), ("olivia rodrigo", "dua lipa", "beyoncé"), tuple(f"somebody {i}" for i in range(9))):
        found = [each.biased(listing(names)).transcribe(NOISES) for each in (slow, quick)]
        assert [h.text for h in found[0]] == [h.text for h in found[1]]
        for name in ("avg_logprob", "no_speech_prob"):
            ours, theirs = ([getattr(h, name) for h in each] for each in found)
            np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3, err_msg=name)
        answers[names] = [h.avg_logprob for h in found[0]]
    assert len({tuple(each) for each in answers.values()}) == 4
    last = slow.biased(listing([f"somebody {i}" for i in range(6, 9)])).transcribe(NOISES)
    assert [h.avg_logprob for h in last] == list(answers.values())[-1], "the last three names are shown"


def test_the_longest_prompt_leaves_room_for_the_longest_answer_in_both_engines(tmp_path: Path) -> None:
    path = whisper_model.save(taught(n_names=500), tmp_path / "model.pt")
    slow = recognizers.load(path).biased(listing([f"{i} somebody" for i in range(500)]))
    quick = engines.FastRecognizer(engines.export(path, tmp_path / "engine", quantization="float32"))
    assert prompts.n_longest(448) - 6 <= len(slow._prompt()) <= prompts.n_longest(448)
    clip = np.random.default_rng(0).normal(0, 0.1, 16_000 * 29).astype("float32")
    found, wanted = (each.transcribe([clip]) for each in (quick.biased(slow.biasing), slow))
    assert found[0].text == wanted[0].text
    assert found[0].compression_ratio == wanted[0].compression_ratio > 10  # random weights never end an answer


def test_a_model_that_was_taught_no_prompts_is_shown_none(tmp_path: Path) -> None:
    path = whisper_model.save(taught(n_names=0), tmp_path / "model.pt")
    quick = engines.FastRecognizer(engines.export(path, tmp_path / "engine", quantization="float32"))
    for each in (recognizers.load(path), quick):
        assert each.biased(listing(["hozier"])).transcribe(NOISES) == each.transcribe(NOISES)


def test_an_engine_spells_as_whispers_tokenizer_does(tmp_path: Path) -> None:
    for kind in ("english", "multilingual"):
        path = published.checkpoint(tmp_path / f"{kind}.pt", kind=kind, width=64, n_layers=1)
        words = fast.Words(engines.export(path, tmp_path / kind), "en")
        wanted = batches.tokenizer(kind == "multilingual")
        for text in (" olivia rodrigo, beyoncé, o'clock, 東京", " naïve, fish & chips, it's 1984,", " zażółć"):
            assert words.encode(text) == wanted.encode(text)
        assert words.start_after([5]) == [wanted.sot_prev, 5, *wanted.sot_sequence_including_notimestamps]


@pytest.mark.parametrize(("n_names", "n_best"), [(3, 1), (0, 3), (0, 1)])
def test_what_a_probe_calls_before_was_heard_without_the_list(n_names: int, n_best: int, tmp_path: Path) -> None:
    clips = tones(tmp_path, 4, 0)
    recognizer = recognizers.WhisperRecognizer(taught(n_names=n_names))
    listed = listing(["hozier", "lizzo"], replace(ALONE, n_best=n_best))
    heard = probes.hear(recognizer, clips, listed)
    wanted = recognizers.decode(recognizer, clips)["hypothesis"]
    assert heard["before"].tolist() == wanted.tolist()
    biased = [h.text for h in recognizer.biased(listed).transcribe([audio.read(path) for path in clips["audio_path"]])]
    assert heard["after"].tolist() == biased and (n_names == 0 or biased != wanted.tolist())
