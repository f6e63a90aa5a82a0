"""When words were said: by the character head's likeliest path, in seconds."""

import json

import torch

from workbench import recognizers
from workbench.letters import CHARACTERS


def letters(spelled: str) -> torch.Tensor:
    """Hear one letter a frame, "_" for none. Shape: [F, 1 + characters], log-probabilities."""
    found = torch.full((len(spelled), len(CHARACTERS) + 1), -10.0)
    for frame, letter in enumerate(spelled):
        found[frame, 0 if letter == "_" else CHARACTERS.index(letter) + 1] = 0.0
    return found.log_softmax(-1)


def test_each_word_has_the_time_of_its_letters() -> None:
    assert recognizers.word_times(letters("__go__ to_"), "go to") == [("go", 0.04, 0.08), ("to", 0.14, 0.18)]


def test_a_letter_twice_needs_a_pause_between_and_stays_in_its_word() -> None:
    assert recognizers.word_times(letters("al_l_ _up"), "All up!") == [("all", 0.0, 0.08), ("up", 0.14, 0.18)]


def test_an_answer_that_does_not_fit_the_sound_or_the_letters_has_no_times() -> None:
    assert recognizers.word_times(letters("go"), "go to the town hall") == []
    assert recognizers.word_times(letters("____"), "") == []
    assert [word for word, _, _ in recognizers.word_times(letters("_go___a"), "go é a")] == ["go", "a"]


def test_times_are_written_only_where_they_are_asked_for() -> None:
    from workbench import whisper_model
    from workbench.recognizers import WhisperRecognizer

    model = whisper_model.build("", "toy", seed=0)
    clip = [torch.zeros(16_000).numpy()]
    plain = WhisperRecognizer(model).transcribe(clip)[0]
    timed = WhisperRecognizer(model, has_times=True).transcribe(clip)[0]
    assert plain.word_times == "" and isinstance(json.loads(timed.word_times), list)
    assert (plain.text, plain.heard_letters) == (timed.text, timed.heard_letters)
