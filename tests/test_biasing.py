"""The biasing list in answers: exact against CTC itself, and sure before it changes anything."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from workbench import audio, biasing, engines, recognizers, whisper_model
from workbench.biasing import BiasingList, Rules, chosen, n_listed
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


# --- several hypotheses ----------------------------------------------------------------------------------------------

TEXTS, SCORES = ["play oasis", "play hozier", "play dua lipa", "play hozier by lizzo"], [-1.0, -3.0, -6.5, -9.0]


@pytest.mark.parametrize(("names", "bonus", "wanted"), [
    ((), 9.0, 0),  # nothing to choose by
    (("adele",), 9.0, 0),  # nobody says it
    (("hozier",), 0.33, 0), (("hozier",), 0.34, 1),  # six letters against two nats
    (("hozier", "dua lipa"), 0.34, 1), (("dua lipa",), 0.78, 0), (("dua lipa",), 0.79, 2),  # seven against 5.5 nats
    (("hozier", "lizzo"), 1.19, 1), (("hozier", "lizzo"), 1.21, 3),  # five more letters against six nats
    (("oasis", "hozier"), 1.9, 0), (("oasis", "hozier"), 2.1, 1),  # one letter more than the first, which is listed too
    (("lipa",), 9.0, 2), (("lip", "hoz"), 9.0, 0),  # whole words
])
def test_the_hypothesis_with_the_listed_name_wins_exactly_where_the_sum_says(names: tuple[str, ...], bonus: float,
                                                                            wanted: int) -> None:
    assert chosen(TEXTS, SCORES, names, bonus) == wanted
    rules = Rules(n_best=4, name_bonus=bonus, letters_weight=0.0)
    assert listing(names, rules).chosen(TEXTS, SCORES, heard("play hozier").numpy()) == wanted


def test_a_word_in_two_names_counts_once_and_silence_stays_silence() -> None:
    assert n_listed("Flights to New York!", ("new york", "york")) == 7
    assert n_listed("new york new jersey", ("new york",)) == 7
    assert chosen(["", "hozier"], [-1.0, -1.1], ("hozier",), 9.0) == 0


def test_letters_that_were_heard_count_as_they_weigh() -> None:
    letters, texts = heard("play hozier").numpy(), ["play oasis", "play hozier", "play lizzo"]
    scores = [-1.0, -9.0, -2.0]
    said = [fit(torch.from_numpy(letters), each) for each in texts]
    names = ["hozier", "lizzo"]
    deaf, hearing = (listing(names, Rules(n_best=3, name_bonus=0.5, letters_weight=w)) for w in (0.0, 1.0))
    assert deaf.chosen(texts, scores, letters) == 2 and hearing.chosen(texts, scores, letters) == 1
    weight = (7.0 - 0.5) / (said[1] - said[2])  # hozier and lizzo are equal here: seven nats against one letter
    for times, wanted in ((0.99, 2), (1.01, 1)):
        rules = Rules(n_best=3, name_bonus=0.5, letters_weight=weight * times)
        assert listing(names, rules).chosen(texts, scores, letters) == wanted
    assert hearing.chosen(texts, scores) == 2, "a model without a head has none"


def test_without_a_name_one_hypothesis_is_asked_for() -> None:
    assert BiasingList({}, Rules(n_best=5)).n_best == 1 and listing(["hozier"]).n_best == 1
    assert listing(["hozier"], Rules(n_best=5)).n_best == 5


def test_the_list_that_is_served_asks_for_as_many_hypotheses_as_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert biasing.served({"hozier": ""}).n_best == 1
    monkeypatch.setenv("WORKBENCH_N_BEST", "4")
    assert biasing.served({"hozier": ""}).n_best == 4


def test_both_engines_choose_among_hypotheses_and_say_what_the_decoder_wrote(
    forgetful: Path, trained: tuple[Path, pd.DataFrame], tmp_path: Path
) -> None:
    clips = [audio.read(path) for path in trained[1]["audio_path"][:24]]
    rules = Rules(margin=np.inf, n_best=4, name_bonus=50.0)
    slow = recognizers.load(forgetful)
    quick = engines.FastRecognizer(engines.export(forgetful, tmp_path / "engine", quantization="float32"))
    changed = []
    for each in (slow, quick):
        plain = each.transcribe(clips)
        assert each.biased(listing((), rules)).transcribe(clips) == plain, "an empty list is no list"
        found = each.biased(listing(["two two"], rules)).transcribe(clips)
        changed.append({i for i, h in enumerate(found) if h.biased_from})
        counts = [[n_listed(text, ["two two"]) for text in (found[i].text, found[i].biased_from)]
                  for i in sorted(changed[-1])]
        assert counts and all(after > before for after, before in counts)
    assert len(changed[0] ^ changed[1]) <= 2  # whisper's beam ends searching otherwise than CTranslate2's
