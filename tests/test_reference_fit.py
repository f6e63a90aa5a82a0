"""How well texts fit what a character head hears: by hand-made letters, and by a model's own."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from workbench import audio, recognizers, reference_fit, whisper_model
from workbench.letters import CHARACTERS


def spelled(word: str, sure: float = 0.9) -> torch.Tensor:
    """Hear each letter of a word for two frames with a blank after it, and every other letter a little."""
    classes = [c for letter in word for c in (CHARACTERS.index(letter) + 1,) * 2 + (0,)]
    probabilities = torch.full((len(classes), len(CHARACTERS) + 1), (1 - sure) / len(CHARACTERS))
    probabilities[torch.arange(len(classes)), torch.tensor(classes)] = sure
    return probabilities.log()


def test_what_is_heard_fits_best_and_by_how_much_grows_with_the_wrong_letters() -> None:
    right, near, far = reference_fit.fits(spelled("play queen"), ["play queen", "play queens", "songs by prince"])
    assert right > near > far
    assert right - near < 10 < right - far


def test_of_words_that_sound_says_nothing_of_no_side_is_taken() -> None:
    left, right = reference_fit.fits(spelled("boston", sure=1 / (len(CHARACTERS) + 1)), ["austin", "boston"])
    assert left == pytest.approx(right, abs=1e-3)


def test_a_text_too_long_for_the_clip_cannot_be_in_it() -> None:
    short, none = reference_fit.fits(spelled("ab"), ["a much longer sentence than that", ""])
    assert short == -np.inf and np.isfinite(none)


@pytest.fixture
def utterances(root: Path) -> pd.DataFrame:
    rng, rows = np.random.default_rng(0), []
    for i, seconds in enumerate((0.5, 1.5, 0.7, 2.0)):
        audio.write(root / f"{i}.wav", (0.1 * rng.normal(size=int(16_000 * seconds))).astype("float32"))
        rows.append({"utterance_id": f"u{i}", "audio_path": str(root / f"{i}.wav"), "audio_sha": f"sha-{i}",
                     "reference": "play adele", "speaker": "s"})
    return pd.DataFrame(rows)


def test_a_gap_is_of_two_texts_and_does_not_depend_on_the_other_clips(utterances: pd.DataFrame) -> None:
    model = whisper_model.build("", "toy", seed=0)
    answers = pd.Series(["play adele", "Play Adele!", "songs", "noon"])
    found = reference_fit.gaps(model, utterances, answers)
    assert found[:2].tolist() == [0.0, 0.0] and (found[2:] != 0).all()
    swapped = reference_fit.gaps(model, utterances.assign(reference=answers), pd.Series(["play adele"] * 4))
    np.testing.assert_allclose(swapped, -found, atol=1e-3)
    alone = reference_fit.gaps(model, utterances.iloc[2:3], answers.iloc[2:3])
    np.testing.assert_allclose(alone, found[2:3], atol=1e-3)


def test_without_a_character_head_nobody_knows(utterances: pd.DataFrame) -> None:
    model = whisper_model.build("", "toy", seed=0)
    model.head = None
    assert np.isnan(reference_fit.gaps(model, utterances, utterances["reference"])).all()


def test_who_listens_weighs_each_answer_and_a_corrected_reference_anew(root: Path, utterances: pd.DataFrame) -> None:
    checkpoint = whisper_model.save(whisper_model.build("", "toy", seed=0), root / "toy.pt")
    heard = reference_fit.listen(checkpoint, utterances)
    wanted = recognizers.transcribe(checkpoint, utterances)
    pd.testing.assert_frame_equal(heard.drop(columns="reference_gap"), wanted)
    corrected = utterances.assign(reference=heard["hypothesis"])
    again = reference_fit.listen(checkpoint, corrected)
    assert again["reference_gap"].tolist() == [0.0] * 4
    assert heard["reference_gap"].tolist() == reference_fit.listen(checkpoint, utterances)["reference_gap"].tolist()
