"""Errors against hand-counted tables."""

import math
import random
from typing import Any

import jiwer
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench import scoring
from workbench.errors import ParameterError, ScoringError
from workbench.records import EditCounts
from workbench.scoring import Edit

HAND_COUNTED = [  # reference, hypothesis, sub, del, ins, char errors
    ("play some jazz", "play some jazz", 0, 0, 0, 0),
    ("play some jazz", "play jazz", 0, 1, 0, 5),
    ("play some jazz", "please play some jazz", 0, 0, 1, 7),
    ("play some jazz", "play sum jazz", 1, 0, 0, 2),
    ("weather", "whether or not", 1, 0, 2, 9),
    ("weather", "", 0, 1, 0, 7),
    ("", "thank you", 0, 0, 2, 9),
    ("", "", 0, 0, 0, 0),
]


def table(references: list[str], **columns: list[str]) -> pd.DataFrame:
    ids = [f"u{i}" for i in range(len(references))]
    return pd.DataFrame({"utterance_id": ids, "reference": references, **columns})


@pytest.fixture
def scores() -> pd.DataFrame:
    return scoring.score(table([row[0] for row in HAND_COUNTED]), [row[1] for row in HAND_COUNTED])


def test_edits_are_counted_as_by_hand(scores: pd.DataFrame) -> None:
    counted = scores[["reference", "hypothesis", "n_sub", "n_del", "n_ins", "n_char_errors"]]
    assert list(counted.itertuples(index=False, name=None)) == HAND_COUNTED
    assert scores["n_errors"].tolist() == [0, 1, 1, 1, 3, 1, 2, 0]
    assert scores["n_words"].tolist() == [3, 3, 3, 3, 1, 1, 0, 0]
    assert scores["n_chars"].tolist() == [14, 14, 14, 14, 7, 7, 0, 0]
    assert scores["is_exact"].tolist() == [True, False, False, False, False, False, False, True]


@settings(deadline=None)  # jiwer one by one takes as long as the machine is busy
@given(st.lists(st.tuples(*[st.lists(st.sampled_from(["a", "ab", "ba", "b"]), max_size=5).map(" ".join)] * 2),
                min_size=1, max_size=8))
def test_counts_are_those_of_jiwer_file_by_file(pairs: list[tuple[str, str]]) -> None:
    scored = scoring.score(table([said for said, _ in pairs]), [heard for _, heard in pairs])
    for row, (said, heard) in zip(scored.to_dict("records"), pairs, strict=True):
        words, letters = jiwer.process_words(said, heard), jiwer.process_characters(said, heard)
        assert (row["n_sub"], row["n_del"], row["n_ins"]) == (words.substitutions, words.deletions, words.insertions)
        assert row["n_words"] == words.hits + words.substitutions + words.deletions
        assert row["n_char_errors"] == letters.substitutions + letters.deletions + letters.insertions


def test_counts_do_not_depend_on_how_many_texts_are_aligned_at_a_time(
        scores: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "PAIRS_AT_A_TIME", 2)
    again = scoring.score(table([row[0] for row in HAND_COUNTED]), [row[1] for row in HAND_COUNTED])
    pd.testing.assert_frame_equal(again, scores)


def test_an_utterance_with_no_words_has_no_wer_and_its_words_count_as_insertions(scores: pd.DataFrame) -> None:
    assert math.isnan(scores["wer"].iloc[6]) and math.isnan(scores["wer"].iloc[7])
    assert scores["wer"].iloc[4] == 3.0
    assert scoring.words_answered_to_silence(scores) == 2


def test_a_set_of_nothing_but_silence_can_be_scored() -> None:
    scored = scoring.score(table(["", ""]), ["hello", ""])
    assert scored["n_ins"].tolist() == [1, 0]
    with pytest.raises(ScoringError, match="needs utterances with speech"):
        scoring.pooled_wer(scored)


def test_hypotheses_are_normalized_and_the_table_given_stays_as_it_was() -> None:
    given_table = table(["five o'clock main st"])
    before = given_table.copy()
    assert scoring.score(given_table, ["5 O’Clock, Main St."])["is_exact"].all()
    pd.testing.assert_frame_equal(given_table, before)


def test_another_normalizer_goes_over_the_text_as_it_was_written() -> None:
    utterances = table(["the color of main st"], text=["The colour of Main St."])
    scored = scoring.score(utterances, ["the color of main saint"], normalizer="whisper-english")
    assert scored["is_exact"].all() and scored["reference"].iloc[0] == "the color of main saint"
    with pytest.raises(ParameterError, match="choose one of"):
        scoring.score(utterances, ["x"], normalizer="mine")


def test_a_series_by_utterance_id_is_matched_by_it_and_anything_else_by_position() -> None:
    utterances = table(["a", "b", "c"]).set_axis([7, 8, 9])
    by_id = pd.Series({"u2": "c", "u0": "a", "u1": "b"})
    assert scoring.score(utterances, by_id)["is_exact"].all()
    assert scoring.score(utterances, pd.Series(["a", "b", "c"]))["is_exact"].all()
    assert scoring.score(utterances, ["a", "b", "c"]).index.tolist() == [7, 8, 9]


@pytest.mark.parametrize("heard", [["a", None, float("nan")], ["a"], pd.Series({"u0": "a"})])
def test_utterances_without_a_hypothesis_are_counted_in_the_error(heard: Any) -> None:
    with pytest.raises(ScoringError, match="2 of 3 utterances have no hypothesis; transcribe them first"):
        scoring.score(table(["a", "b", "c"]), heard)


def test_more_hypotheses_than_utterances_and_empty_sets_are_refused() -> None:
    with pytest.raises(ScoringError, match="3 hypotheses for 2 utterances; give one each"):
        scoring.score(table(["a", "b"]), ["a", "b", "c"])
    with pytest.raises(ScoringError, match="no utterances to score; choose a split"):
        scoring.score(table([]), [])


def test_an_entity_is_right_when_its_words_stand_together_in_the_hypothesis() -> None:
    utterances = table(["weather in new york", "weather in new york", "play abba", "hello", "songs by u2"],
                       entity=["New York", "New York", "ABBA", "", "U2"])
    scored = scoring.score(utterances, ["the weather new york", "weather in new pork york", "play abbas", "hello",
                                        "songs by u2"])
    assert scored["is_entity_right"].tolist() == [True, False, False, pd.NA, True]


def test_an_alignment_names_every_step_and_where_it_stands() -> None:
    assert scoring.align("play some really good loud jazz", "please play good loud chess") == [
        Edit("ins", "", "please", 0), Edit("equal", "play", "play", 0), Edit("del", "some", "", 1),
        Edit("del", "really", "", 2), Edit("equal", "good", "good", 3), Edit("equal", "loud", "loud", 4),
        Edit("sub", "jazz", "chess", 5)]
    assert scoring.align("", "hm") == [Edit("ins", "", "hm", 0)]


def test_the_list_of_edits_tells_what_happens_at_the_ends_of_queries() -> None:
    scored = scoring.score(table(["play some jazz", "play jazz"]), ["some jazz", "play jazz now"])
    found = scoring.edits(scored)
    assert found["utterance_id"].tolist() == ["u0"] * 3 + ["u1"] * 3
    assert found["kind"].tolist() == ["del", "equal", "equal", "equal", "equal", "ins"]
    assert found["is_first"].tolist() == [True, False, False, True, False, False]
    assert found["is_last"].tolist() == [False, False, True, False, True, True]
    assert found["position"].tolist() == [0, 1, 2, 0, 1, 2]


def test_confusions_deletions_insertions_and_word_accuracy_are_counted_from_edits() -> None:
    scored = scoring.score(table(["play jazz", "play jazz", "play the blues", "hello"]),
                           ["play chess", "play chess", "play blues um", "hello"])
    found = scoring.edits(scored)
    assert scoring.confusions(found).iloc[0].tolist() == ["jazz", "chess", 2]
    accuracy = scoring.word_accuracy(found)
    assert accuracy.iloc[:2].values.tolist() == [["play", 3, 3, 1.0], ["jazz", 2, 0, 0.0]]


def test_words_dropped_at_the_ends_are_told_apart() -> None:
    scored = scoring.score(table(["the a b", "a b the", "a the b"]), ["a b", "a b", "a b"])
    assert scoring.deletions(scoring.edits(scored)).values.tolist() == [["the", 3, 1, 1]]
    heard_more = scoring.score(table(["a", "b"]), ["um a", "b um"])
    assert scoring.insertions(scoring.edits(heard_more)).values.tolist() == [["um", 2]]


def test_counting_tables_of_a_perfect_set_are_empty_with_their_columns() -> None:
    found = scoring.edits(scoring.score(table(["a b"]), ["a b"]))
    assert scoring.confusions(found).columns.tolist() == ["reference_word", "hypothesis_word", "n"]
    assert scoring.deletions(found).columns.tolist() == ["reference_word", "n", "n_first", "n_last"]
    assert scoring.insertions(found).empty and scoring.confusions(found).empty and scoring.deletions(found).empty


def test_a_set_has_one_pooled_wer_and_not_a_mean_of_wers(scores: pd.DataFrame) -> None:
    assert scoring.pooled_wer(scores) == pytest.approx(9 / 14)
    assert scoring.pooled_wer([EditCounts(1, 0, 0, 1), EditCounts(0, 0, 0, 9)]) == pytest.approx(0.1)
    with pytest.raises(ScoringError, match="no reference word in 0 utterances"):
        scoring.pooled_wer([])


def test_the_summary_gives_every_rate_that_the_set_has_with_its_interval() -> None:
    utterances = table(["play abba", "weather", "hello there", ""], speaker=["s1", "s1", "s2", "s2"],
                       entity=["abba", "", "", ""])
    found = scoring.summary(scoring.score(utterances, ["play abba", "whether", "hello there", "uh"]))
    assert {name: rate.value for name, rate in found.items()} == pytest.approx({
        "wer": 2 / 5, "cer": 4 / 27, "query_accuracy": 2 / 3, "entity_accuracy": 1.0, "silence_answered": 1.0})
    assert all(0 <= rate.low <= rate.value <= rate.high for rate in found.values())
    assert "silence_answered" not in scoring.summary(scoring.score(utterances.iloc[:3], ["play abba", "x", "y"]))


def test_the_same_result_rate_is_told_where_results_were_looked_up() -> None:
    utterances = pd.DataFrame({"utterance_id": list("abc"), "reference": ["play abba", "play queen", ""],
                               "speaker": list("xyz")})
    scored = scoring.score(utterances, ["play abba", "the queen", ""])
    assert "same_result" not in scoring.summary(scored)
    found = scoring.summary(scored.assign(finds_same=[True, False, True]))["same_result"]
    assert found.value == 0.5 and found.low < 0.5 < found.high  # silence asks for nothing


def test_weights_move_the_summary_to_the_mix_of_use() -> None:
    utterances = table(["a", "b"], speaker=["s1", "s2"])
    scored = scoring.score(utterances, ["a", "x"])
    assert scoring.summary(scored, [3.0, 1.0])["wer"].value == 0.25


@given(st.lists(st.tuples(st.sampled_from(["a b", "c", "", "a c d"]), st.sampled_from(["a", "c d", "", "b a"])),
                min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_the_order_of_utterances_is_irrelevant(pairs: list[tuple[str, str]], chance: random.Random) -> None:
    utterances, heard = table([r for r, _ in pairs]), [h for _, h in pairs]
    order = chance.sample(range(len(pairs)), len(pairs))
    straight = scoring.score(utterances, heard)
    shuffled = scoring.score(utterances.iloc[order], [heard[i] for i in order])
    pd.testing.assert_frame_equal(shuffled.sort_index(), straight)
    assert straight["n_words"].sum() - straight["n_del"].sum() + straight["n_ins"].sum() == sum(
        len(text.split()) for text in heard)
