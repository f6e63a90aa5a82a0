"""The biasing list in answers: exact against CTC itself, and sure before it changes anything."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from workbench import biasing, whisper_model
from workbench.biasing import BiasingList, Rules
from workbench.letters import CHARACTERS
from workbench.recognizers import WhisperRecognizer
from workbench.records import Hypothesis

CAREFREE = Rules(bonus=0.0, margin=1e-6, max_misfit=np.inf)
"""Rules under which the likeliest text always wins."""


def heard(written: str, *, sure: float = 6.0, seed: int = 0, blur: float = 1.0) -> Tensor:
    """Make letters as a character head would hear a text: three frames a letter, the middle one `sure` of it."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, blur, (3 * len(written) + 6, 1 + len(CHARACTERS)))
    logits[:, 0] += sure
    for i, letter in enumerate(written):
        logits[3 + 3 * i, 0] -= sure
        logits[3 + 3 * i, 1 + CHARACTERS.index(letter)] += sure
    return torch.from_numpy(logits).log_softmax(-1).float()


def listing(names: Sequence[str], rules: Rules | None = None) -> BiasingList:
    """Make a list of names of which nobody knows how they sound."""
    return BiasingList(dict.fromkeys(names, ""), rules)


def fit(letters: Tensor, written: str) -> float:
    """Give PyTorch's own log-likelihood of a text."""
    target = torch.tensor([[1 + CHARACTERS.index(letter) for letter in written]])
    return -float(F.ctc_loss(letters.double()[:, None], target, torch.tensor([len(letters)]),
                             torch.tensor([target.shape[1]]), reduction="sum"))


def texts_with(name: str, words: list[str]) -> list[str]:
    """Write every text that has the name in place of some words, or between two."""
    n = len(words) + 1
    return [" ".join([*words[:i], name, *words[j:]]) for i in range(n) for j in range(i, n)]


def test_a_name_that_the_decoder_cannot_write_takes_the_place_of_what_it_wrote() -> None:
    listed = listing(["hozier", "olivia rodrigo"])
    assert listed.rescored(heard("play olivia rodrigo"), "play elton john") == "play olivia rodrigo"
    assert listed.rescored(heard("hozier tickets in paris"), "tickets in paris") == "hozier tickets in paris"
    assert listed.rescored(heard("songs by hozier"), "songs by") == "songs by hozier"


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(["play", "to", "me", "oslo", "aa", "it's"]), min_size=1, max_size=4),
       st.sampled_from(["hozier", "lizzo", "dua lipa", "anna"]), st.integers(0, 1_000))
def test_the_text_that_wins_is_the_likeliest_by_ctcs_own_loss(words: list[str], said: str, seed: int) -> None:
    names = ["hozier", "lizzo", "dua lipa", "anna"]
    letters = heard(f"play {said} oslo", sure=2.0, seed=seed)
    found = listing(names, CAREFREE).rescored(letters, " ".join(words))
    best = {name: max(fit(letters, each) for each in texts_with(name, words)) for name in names}
    winner = max(best, key=best.__getitem__)
    if best[winner] > fit(letters, " ".join(words)) + 1e-3:
        assert found != " ".join(words) and fit(letters, found) == pytest.approx(best[winner], abs=1e-3)
    else:
        assert found == " ".join(words)


def test_an_answer_whose_letters_fit_is_left_alone_whatever_is_on_the_list() -> None:
    listed = listing(["play", "elton jon", "john elton", "boston"])
    assert listed.rescored(heard("play elton john"), "Play Elton John!") == "Play Elton John!"


def test_silence_stays_silence_and_an_empty_list_changes_nothing() -> None:
    assert listing(["hozier"]).rescored(heard("hozier"), "") == ""
    assert BiasingList().rescored(heard("play hozier"), "play oasis") == "play oasis"
    assert len(listing(["", "東京"])) == 0


def test_of_two_names_that_sound_alike_neither_is_taken_and_of_two_spelled_alike_the_first() -> None:
    blurred = heard("play beyonce", sure=3.0)
    blurred[3 + 3 * 6] = blurred[3 + 3 * 6].mean()  # the letter that tells them apart was not heard
    blurred = blurred.log_softmax(-1)
    assert listing(["beyonce"]).rescored(blurred, "play oasis") == "play beyonce"
    assert listing(["beyonce", "beionce"]).rescored(blurred, "play oasis") == "play oasis"
    assert listing(["Beyoncé", "beyonce"]).rescored(blurred, "play oasis") == "play beyoncé"


def test_a_name_that_is_not_said_as_it_is_spelled_is_found_by_the_letters_that_people_were_heard_to_say() -> None:
    letters = heard("recipe for nyoki")
    assert listing(["gnocchi", "shakshuka"]).rescored(letters, "recipe for tacos") == "recipe for tacos"
    found = BiasingList({"gnocchi": "nyoki", "shakshuka": ""}).rescored(letters, "recipe for tacos")
    assert found == "recipe for gnocchi", "and its two spellings are no rivals"


def test_noise_and_words_that_cannot_be_spelled_change_nothing() -> None:
    noise = torch.from_numpy(np.random.default_rng(1).normal(0, 1, (150, 1 + len(CHARACTERS)))).log_softmax(-1).float()
    listed = listing(["lizzo", "hozier", "dua lipa"])
    assert listed.rescored(noise, "play oasis") == "play oasis"
    assert listed.rescored(heard("play lizzo"), "play 東京") == "play 東京"


def test_a_clip_of_half_a_minute_does_not_run_out_of_what_a_float_holds() -> None:
    long = torch.cat([heard("play "), heard("", sure=20.0).repeat(200, 1), heard("lizzo")])
    assert len(long) > 1_200
    assert listing(["lizzo", "hozier"]).rescored(long, "play oasis") == "play lizzo"


def test_more_names_than_are_tried_everywhere_find_the_one_that_was_said() -> None:
    rng = np.random.default_rng(3)
    others = ["".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), 7)) for _ in range(40 * biasing.N_LIKELY)]
    found = listing([*others, "shakshuka"]).rescored(heard("how to make shakshuka"), "how to make pasta")
    assert found == "how to make shakshuka"


def test_what_was_heard_before_the_list_is_kept_and_the_gap_is_that_of_the_answer() -> None:
    letters, plain = heard("play lizzo"), Hypothesis("play oasis", -0.5, 0.1, 0.9)
    recognizer = WhisperRecognizer(whisper_model.build("", "toy", seed=0))
    biased = recognizer.biased(listing(["lizzo"]))
    found, before = (each._with_letters([plain], letters[None])[0] for each in (biased, recognizer))
    assert (found.text, found.biased_from) == ("play lizzo", "play oasis")
    assert (before.text, before.biased_from) == ("play oasis", "")
    assert found.heard_letters == before.heard_letters == "play lizzo" and found.ctc_gap < before.ctc_gap
    assert found.avg_logprob == before.avg_logprob == -0.5
