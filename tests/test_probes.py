"""What the list is worth: clips of names, harm to other answers, and when a new model needs a name no longer."""

from pathlib import Path

import pandas as pd
import pytest

from workbench import audio, catalogue, demo_world, probes, recognizers
from workbench.biasing import BiasingList
from workbench.marks import Marks
from workbench.name_list import NameList, Probe


def test_a_probe_is_said_by_people_of_dev_in_ways_that_put_the_name_everywhere() -> None:
    planned = probes.plan("olivia rodrigo", n_clips=20)
    assert len(planned) == 20 and planned["text"].str.contains("olivia rodrigo").all()
    assert planned["split"].eq("dev").all() and planned["speaker"].nunique() > 10 and planned["snr_db"].notna().all()
    places = planned["text"].str.partition("olivia rodrigo")
    assert places[0].eq("").any() and places[2].eq("").any() and (places[0].ne("") & places[2].ne("")).any()
    assert set(planned["noise"]) <= set(demo_world.USE_SHARES) and planned["noise"].nunique() >= 4
    pd.testing.assert_frame_equal(planned, probes.plan("olivia rodrigo", n_clips=20))
    assert set(probes.plan("hozier")["seed"]) != set(planned["seed"]), "another name is said by others"


def test_a_name_counts_word_for_word_and_in_whole_words() -> None:
    answers = pd.Series(["play Hozier", "play hoziers", "hozier", "play olivia rodrigo", "olivia and rodrigo", ""])
    names = pd.Series(["hozier", "hozier", "Hozier", "olivia rodrigo", "olivia rodrigo", "hozier"])
    assert probes.has_name(answers, names).tolist() == [True, False, True, True, False, False]


@pytest.mark.parametrize(("n_clips", "n_before", "n_won", "is_learned"), [
    (60, 58, 0, True), (60, 58, 1, True), (60, 58, 2, False),  # the exact bound is 4.9, 7.7 and 10.1 %
    (20, 20, 0, False),  # 13.9 %: too few clips to be sure
    (60, 29, 0, False),  # neither the model nor the list recognizes it
    (0, 0, 0, False),
])
def test_a_name_is_learned_when_the_list_would_surely_win_next_to_nothing(
    n_clips: int, n_before: int, n_won: int, is_learned: bool
) -> None:
    assert probes.is_learned(Probe("hozier", "2", n_clips, n_before, n_before + n_won, n_won)) is is_learned


def test_what_a_model_has_learned_expires_and_what_another_has_not_comes_back(root: Path) -> None:
    listed = NameList(Marks())
    listed.add("hozier", by="ada", sounds="osya")
    learned, unlearned = Probe("hozier", "2", 60, 58, 58, 0), Probe("hozier", "3", 60, 20, 45, 25)
    assert probes._settled(listed, listed.entry("hozier"), unlearned, "retrain") == "stays"
    assert probes._settled(listed, listed.entry("hozier"), learned, "retrain") == "expires"
    assert listed.sounds("2") == {} and listed.sounds("1") == {"hozier": "osya"}
    assert probes._settled(listed, listed.entry("hozier"), Probe("hozier", "3", 0, 0, 0, 0), "retrain") == "stays"
    assert probes._settled(listed, listed.entry("hozier"), unlearned, "retrain") == "comes back"
    assert listed.sounds("3") == {"hozier": "osya"}


def test_harm_counts_changed_answers_spoiled_ones_and_words_by_speaker() -> None:
    heard = pd.DataFrame({
        "utterance_id": [f"u{i}" for i in range(10)], "speaker": [f"s{i % 5}" for i in range(10)],
        "reference": ["play the song now"] * 10, "before": ["play a song now", *["play the song now"] * 9],
        "after": ["play the song now", "play hozier", *["play the song now"] * 8]})
    found = probes.harm(heard)
    assert (found.n_utterances, found.n_changed, found.n_spoiled) == (10, 2, 1)
    assert found.wer_difference.value == pytest.approx((3 - 1) / 40)
    assert found.wer_difference.low < 0 < found.wer_difference.high


def test_one_hearing_gives_both_what_the_decoder_wrote_and_what_the_list_makes_of_it(
    forgetful: Path, trained: tuple[Path, pd.DataFrame]
) -> None:
    recognizer, said = recognizers.load(forgetful), trained[1].head(30)
    heard = probes.hear(recognizer, said, BiasingList({"three": ""}))
    plain = recognizers.decode(recognizer, said)
    assert heard["before"].tolist() == plain["hypothesis"].tolist()
    is_three = heard["reference"].eq("three")
    assert heard.loc[is_three, "after"].eq("three").all() and not heard["before"].str.contains("three").any()
    alone = [recognizer.biased(BiasingList({"three": ""})).transcribe([clip])[0].text
             for clip in map(audio.read, said["audio_path"])]
    assert alone == heard["after"].tolist()


def test_reports_tell_what_became_of_the_list_without_a_name(root: Path) -> None:
    settled = pd.DataFrame({"name": ["hozier", "lizzo"], "n_clips": 60, "n_before": [58, 0], "n_after": [58, 30],
                            "became": ["expires", "stays"]})
    sentence = probes.told(settled)
    assert "58 of 120 clips by itself, 88 with the list; 1 it has learned" in sentence
    assert not any(name in sentence for name in settled["name"])
    assert "No name" in probes.told(settled.head(0)) and "espeak-ng" in probes.told(settled.assign(n_clips=0))


def test_frames_are_ways_of_asking_with_room_for_one_name() -> None:
    assert len(probes.FRAMES) >= 8 and all(len(catalogue.SLOT.findall(form)) == 1 for form in probes.FRAMES)
