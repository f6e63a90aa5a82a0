from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import Project
from workbench import audio, compositions, datasets
from workbench.datasets import PROPORTIONS, SPLITS, Dataset
from workbench.errors import ManifestError, SettingsError

N_SPEAKERS = 30


def clip(seed: int, seconds: float = 0.1) -> audio.Samples:
    return (np.random.default_rng(seed).normal(size=round(seconds * 16_000)) * 0.1).astype(np.float32)


def rows(n: int = 60, first: int = 0, **columns: Any) -> Iterator[dict[str, Any]]:
    for i in range(first, first + n):
        yield {"samples": clip(i), "utterance_id": f"u{i:03d}", "text": f"Play song {i % 7}", "source": "ours",
               "speaker": f"s{i % N_SPEAKERS}", "split": SPLITS[i % N_SPEAKERS % 5], **columns}


@pytest.fixture
def speech(project: Project) -> Dataset:
    return datasets.save(datasets.store_rows(rows()), salt="pepper")


def test_a_version_is_named_by_its_rows_in_any_order(project: Project) -> None:
    table = datasets.store_rows(rows())
    version = datasets.save(table).version
    assert datasets.save(table.sample(frac=1, random_state=1)[sorted(table.columns)]).version == version
    assert datasets.save(table.assign(noise="car")).version != version
    assert datasets.save(table.drop(index=0)).version != version


def test_a_version_reads_back_as_it_was_saved_with_paths_that_can_be_opened(speech: Dataset) -> None:
    again = datasets.load(speech.version)
    pd.testing.assert_frame_equal(again.table, speech.table)
    row = again.table.iloc[3]
    assert Path(row["audio_path"]).is_absolute()
    assert audio.content_hash(audio.read(row["audio_path"])) == row["audio_sha"] == audio.content_hash(clip(3))
    assert (row["reference"], row["duration_s"]) == ("play song three", 0.1)


def test_a_moved_project_finds_its_audio(speech: Dataset, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = project.root.with_name(project.root.name + "-moved")
    project.root.rename(moved)
    monkeypatch.setenv("WORKBENCH_ROOT", str(moved))
    assert all(Path(path).is_file() for path in datasets.load(speech.version).table["audio_path"])


def test_an_unknown_version_is_an_error_that_lists_those_there_are(speech: Dataset) -> None:
    with pytest.raises(ManifestError, match=f"there are: {speech.version}"):
        datasets.load("0000")


def test_a_clip_is_kept_once(project: Project) -> None:
    sha, path = datasets.store_audio(clip(1))
    written = project.root / "data" / path
    before = written.stat().st_mtime_ns
    assert datasets.store_audio(clip(1)) == (sha, path)
    assert written.stat().st_mtime_ns == before
    assert path == f"datasets/audio/{sha[:2]}/{sha}.wav"


def test_a_full_disk_is_named_and_nothing_is_half_written(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> int:
        with path.open("wb") as file:
            file.write(content[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(SettingsError, match="disk is full.*free some space"):
        datasets.store_audio(clip(1))
    assert not [path for path in (project.root / "data").rglob("*") if path.is_file()]


def test_splits_hold_their_own_utterances_numbered_from_zero(speech: Dataset) -> None:
    parts = {name: speech.split(name) for name in SPLITS}
    assert {name: len(part) for name, part in parts.items()} == dict.fromkeys(SPLITS, 12)
    assert list(speech.gate.index) == list(range(12)) and set(speech.gate["split"]) == {"gate"}
    assert not speech.is_few_speakers
    with pytest.raises(ValueError, match="choose one of train, valid, dev, gate, test"):
        speech.split("eval")


def test_a_split_can_be_read_with_the_columns_that_a_training_needs(speech: Dataset) -> None:
    from_file, in_memory = datasets.load(speech.version), datasets.load(speech.version)
    assert len(in_memory.table) == 60
    for name in SPLITS:
        pd.testing.assert_frame_equal(from_file.split(name), in_memory.split(name))
        learned = from_file.split(name, datasets.LEARNED)
        pd.testing.assert_frame_equal(learned, in_memory.split(name, datasets.LEARNED))
        assert tuple(learned) == datasets.LEARNED and Path(learned["audio_path"].iloc[0]).is_file()
    assert "table" not in vars(from_file)


def test_audio_elsewhere_keeps_its_name(project: Project) -> None:
    names = ["s3://bucket/a b.wav#sha256=" + "0" * 64, "/elsewhere/b.wav", "datasets/audio/c.wav"]
    table = datasets.store_rows(rows(3, speaker="unknown")).assign(audio_path=names)
    saved = datasets.save(table).table["audio_path"].tolist()
    assert saved == [*names[:2], str(project.root / "data" / names[2])]


def test_words_are_counted_the_most_frequent_first() -> None:
    counts = compositions.word_counts(pd.Series(["play jazz", "", "stop jazz"]))
    assert list(counts.items()) == [("jazz", 2), ("play", 1), ("stop", 1)]


@given(st.sets(st.text(min_size=1, max_size=5), min_size=1), st.sets(st.text(min_size=1, max_size=5)), st.text())
def test_a_speakers_split_never_depends_on_the_others(some: set[str], others: set[str], salt: str) -> None:
    alone, together = datasets.assign_splits(some, salt), datasets.assign_splits(some | others, salt)
    assert alone == {speaker: together[speaker] for speaker in some}


def test_splits_come_in_the_proportions_asked_for_and_change_with_the_salt() -> None:
    speakers = [f"s{i}" for i in range(20_000)]
    splits = pd.Series(datasets.assign_splits(speakers, "salt"))
    for name, share in PROPORTIONS.items():
        assert (splits == name).mean() == pytest.approx(share, abs=0.02)
    assert (splits != pd.Series(datasets.assign_splits(speakers, "other"))).mean() > 0.4


def test_a_speaker_in_two_splits_is_refused(project: Project) -> None:
    table = datasets.store_rows(rows())
    table.loc[0, "split"] = "test"
    with pytest.raises(ManifestError, match="speaker s0 is in .*u000.*put each speaker in one split"):
        datasets.save(table)


def test_a_recording_in_two_splits_is_refused_even_when_nobody_knows_the_speakers(project: Project) -> None:
    table = datasets.store_rows([*rows(5, speaker="unknown"), *rows(1, speaker="unknown", split="dev")])
    with pytest.raises(ManifestError, match="recording .* is in train and dev.*put each recording in one split"):
        datasets.save(table.assign(utterance_id=[f"v{i}" for i in range(6)]))


def test_a_table_without_a_column_is_a_wrong_call(project: Project) -> None:
    with pytest.raises(ValueError, match="missing: \\['speaker'\\]"):
        datasets.save(datasets.store_rows(rows()).drop(columns="speaker"))


def test_extending_keeps_every_known_speakers_split_and_the_parent(speech: Dataset) -> None:
    more = [{**row, "split": None} for row in rows(40, first=100)]
    grown = datasets.extend(speech, more, note="more songs")
    assert len(grown.table) == 100 and grown.card["parent"] == speech.version and grown.card["note"] == "more songs"
    assert grown.table.groupby("speaker")["split"].nunique().eq(1).all()
    old = grown.table[grown.table["utterance_id"].isin(speech.table["utterance_id"])]
    pd.testing.assert_frame_equal(old.reset_index(drop=True), speech.table)


def test_a_new_speaker_gets_the_split_of_the_hash_or_the_one_the_row_says(speech: Dataset) -> None:
    new = [{**next(rows(1, first=200 + i)), "speaker": f"new{i}", "split": None} for i in range(20)]
    grown = datasets.extend(speech, [*new, {**next(rows(1, first=300)), "speaker": "z", "split": "gate"}], note="")
    splits = dict(zip(grown.table["speaker"], grown.table["split"], strict=True))
    assert {s: splits[s] for s in splits if s.startswith("new")} == datasets.assign_splits(
        [f"new{i}" for i in range(20)], "pepper")
    assert splits["z"] == "gate"


def test_with_few_speakers_new_rows_join_train(project: Project) -> None:
    few = datasets.save(datasets.store_rows(rows(4, split="train")))
    assert few.is_few_speakers
    assert datasets.extend(few, rows(4, first=100), note="").is_few_speakers


def test_recordings_that_are_there_already_are_not_taken_twice(speech: Dataset) -> None:
    again = [{**row, "utterance_id": f"again-{row['utterance_id']}"} for row in rows(5)]
    assert len(datasets.extend(speech, [*again, *rows(1, first=100)], note="").table) == 61
    with pytest.raises(ManifestError, match="nothing new.*bring others"):
        datasets.extend(speech, again, note="")


def test_new_rows_may_not_take_ids_or_move_a_speaker(speech: Dataset) -> None:
    with pytest.raises(ManifestError, match="u000; give the new recordings other ids"):
        datasets.extend(speech, [{**next(rows(1, first=100)), "utterance_id": "u000"}], note="")
    with pytest.raises(ManifestError, match="put each speaker in one split"):
        datasets.extend(speech, [{**next(rows(1, first=120)), "split": "test"}], note="")


def test_the_summary_counts_each_split_and_all(project: Project) -> None:
    table = datasets.store_rows([
        {"samples": clip(1, 1.0), "utterance_id": "a", "text": "play jazz", "speaker": "x", "split": "train"},
        {"samples": clip(2, 3.0), "utterance_id": "b", "text": "Play jazz", "speaker": "y", "split": "train"},
        {"samples": clip(3, 2.0), "utterance_id": "c", "text": "play the blues loud", "speaker": "z", "split": "dev"},
        {"samples": clip(4, 2.0), "utterance_id": "d", "text": "", "speaker": "z", "split": "dev"},
    ]).assign(source="ours", snr_db=[10.0, 20.0, 5.0, np.nan])
    summary = compositions.summary(datasets.save(table)).set_index("split")
    assert list(summary.index) == ["train", "dev", "all"]
    train, dev = summary.loc["train"], summary.loc["dev"]
    assert (train["n_utterances"], train["n_speakers"], train["n_queries"], train["n_words"]) == (2, 2, 1, 4)
    assert (train["duration_s"], train["duration_s_min"], train["duration_s_max"]) == (2.0, 1.0, 3.0)
    assert train["hours"] == pytest.approx(4 / 3600) and train["snr_db"] == 15.0
    assert train["level_dbfs"] == pytest.approx(-20, abs=0.2)
    assert (dev["n_distinct_words"], dev["share_unseen_words"], dev["share_no_speech"]) == (4, 0.75, 0.5)
    assert summary.loc["all", "n_distinct_words"] == 5
