"""Marks: kept with who and when, on both databases; the last word counts; the list to correct is blind."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from workbench import marks
from workbench.errors import MarkError, QueryLogError
from workbench.marks import Marks
from workbench.query_log import LoggedQuery, QueryLog


@pytest.fixture
def kept(url: str) -> Iterator[Marks]:
    made = Marks(url)
    yield made
    made.close()


def test_a_mark_comes_back_with_who_and_when_after_a_restart(kept: Marks, url: str) -> None:
    kept.add("cause", "noise", utterance_id="u-1", audio_sha="a1", by="ada", run="default", now_s=1.75e9)
    kept.add("reference", "café \0 ☕", utterance_id="u-1", audio_sha="a1", by=" eve ", drawn=marks.RANDOM)
    again = Marks(url)
    first, second = again.table().to_dict("records")
    again.close()
    assert first == {"mark_id": 1, "time_s": 1.75e9, "kind": "cause", "utterance_id": "u-1", "audio_sha": "a1",
                     "value": "noise", "by": "ada", "run": "default", "drawn": ""}
    assert (second["value"], second["by"], second["drawn"]) == ("café  ☕", "eve", "random")
    assert again.table("reference")["mark_id"].tolist() == [2]


def test_the_last_word_on_a_recording_counts_and_the_earlier_one_stays(kept: Marks) -> None:
    for value, by in (("noise", "ada"), ("accent", "eve")):
        kept.add("cause", value, utterance_id="u-1", audio_sha="a1", by=by)
    kept.add("cause", "noise", utterance_id="u-2", audio_sha="a2", by="ada")
    latest = kept.latest("cause").set_index("audio_sha")
    assert latest["value"].to_dict() == {"a1": "accent", "a2": "noise"} and latest["by"]["a1"] == "eve"
    assert len(kept.table("cause")) == 3 and kept.latest("name").empty


def test_where_there_is_no_sound_the_last_word_is_on_the_utterance_or_else_the_value(kept: Marks) -> None:
    kept.add("alarm", "acknowledged", utterance_id="week 3: drift", by="ada")
    kept.add("alarm", "resolved", utterance_id="week 3: drift", by="eve")
    kept.add("name", "olivia rodrigo", by="ada")
    kept.add("name", "kyiv", by="ada")
    kept.add("name", "kyiv", by="eve")
    assert kept.latest("alarm")["value"].tolist() == ["resolved"]
    assert dict(zip(*kept.latest("name")[["value", "by"]].T.to_numpy(), strict=True)) == {
        "olivia rodrigo": "ada", "kyiv": "eve"}


def test_a_reference_may_say_that_nobody_speaks(kept: Marks) -> None:
    kept.add("reference", "", utterance_id="u-1", audio_sha="a1", by="ada")
    assert kept.latest("reference")["value"].tolist() == [""]


def test_a_mark_without_a_name_asks_for_one(kept: Marks) -> None:
    with pytest.raises(MarkError, match="type yours once"):
        kept.add("cause", "noise", utterance_id="u-1", audio_sha="a1", by="  ")
    assert kept.table().empty


@pytest.mark.parametrize(("kind", "value", "message"), [
    ("mood", "good", "kinds are cause"), ("cause", "rain", "causes noise, cut off"), ("reference", "x", "audio_sha"),
])
def test_a_wrong_call_is_told_what_exists(root: Path, kind: str, value: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Marks().add(kind, value, by="ada")


def test_nothing_is_kept_of_a_query_without_consent_or_of_somebody_forgotten(kept: Marks, url: str) -> None:
    log = QueryLog(url)
    log.append([LoggedQuery(request_id="with", time_s=0, user_hash="h", consent="audio", audio_sha="a1"),
                LoggedQuery(request_id="without", time_s=0, user_hash="h")])
    kept.add("cause", "noise", utterance_id="with", audio_sha="a1", by="ada")
    with pytest.raises(MarkError, match="did not consent"):
        kept.add("cause", "noise", utterance_id="without", audio_sha="a2", by="ada")
    log.forget("h")
    with pytest.raises(MarkError, match="asked to be forgotten"):
        kept.add("cause", "accent", utterance_id="with", audio_sha="a1", by="ada")
    assert kept.table().empty
    log.close()


def test_a_project_without_a_database_has_no_marks_and_reading_makes_none(root: Path) -> None:
    assert Marks().latest("cause").empty and list(Marks().table().columns) == list(marks.COLUMNS)
    assert not (root / "data").exists()


def test_a_database_that_is_none_says_what_to_mend(root: Path) -> None:
    (root / "data").mkdir()
    (root / "data" / "queries.db").write_text("nothing of the kind, at some length, so that SQLite sees it" * 20)
    with pytest.raises(QueryLogError, match="mend the database"):
        Marks().table()


def listened() -> pd.DataFrame:
    return pd.DataFrame({
        "utterance_id": [f"u-{i}" for i in range(20)], "audio_sha": [f"a{i}" for i in range(20)],
        "audio_path": "x.wav", "speaker": "s", "duration_s": 1.0, "reference": "play jazz", "hypothesis": "play chess",
        "heard_letters": "playchess"})


def test_the_list_to_correct_is_blind_and_mixes_suspects_with_a_random_sample() -> None:
    suspects = pd.DataFrame({"utterance_id": ["u-3", "u-8"]})
    listed = marks.to_correct(suspects, listened(), n_random=5, seed=1)
    assert not {"hypothesis", "heard_letters"} & set(listed)
    by_group = listed.groupby("drawn")["utterance_id"].agg(set)
    assert by_group["suspect"] == {"u-3", "u-8"} and len(by_group["random"]) == 5
    assert not by_group["random"] & by_group["suspect"]
    assert listed["drawn"].tolist() != sorted(listed["drawn"], reverse=True)  # mixed
    pd.testing.assert_frame_equal(listed, marks.to_correct(suspects, listened(), n_random=5, seed=1))
    assert set(marks.to_correct(suspects, listened(), n_random=5, seed=2)["utterance_id"]) != set(
        listed["utterance_id"])


def test_a_random_sample_is_no_larger_than_what_there_is() -> None:
    assert len(marks.to_correct(pd.DataFrame({"utterance_id": ["u-1"]}), listened(), n_random=100, seed=0)) == 20
