"""Manifests and folders of audio become a dataset, with splits that share no speaker."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.conftest import Project
from tests.corpora.listed import Row, clip, manifest, rows
from workbench import audio, corpora, datasets, hearing
from workbench.errors import AudioError, ManifestError, ParameterError


def test_a_manifest_becomes_a_dataset_of_five_splits_without_a_shared_speaker(corpus: Path) -> None:
    collection = corpora.collect([manifest(corpus, rows())])
    table = collection.dataset.table
    assert len(table) == 40 and set(table["split"]) == set(datasets.SPLITS)
    assert table.groupby("speaker")["split"].nunique().eq(1).all()
    assert set(table["source"]) == {"corpus"} and table["noise"].value_counts().to_dict() == {"car": 20, "quiet": 20}
    assert table["duration_s"].eq(0.5).all() and table["snr_db"].notna().all()
    assert collection.rejected.empty and collection.warnings.empty
    assert collection.dataset.version == datasets.load(collection.dataset.version).version


def test_csv_jsonl_and_parquet_say_the_same(corpus: Path) -> None:
    table = pd.DataFrame(rows())
    nemo = table.rename(columns={"audio_path": "audio_filepath"}).assign(duration=0.5)
    nemo.to_json(corpus / "manifest.jsonl", orient="records", lines=True)
    (corpus / "parquet").mkdir()
    table.to_parquet(corpus / "manifest.parquet")
    made = [corpora.collect([source]).dataset.version for source in (
        manifest(corpus, rows()), str(corpus / "manifest.jsonl"), str(corpus / "manifest.parquet"))]
    assert len(set(made)) == 1


def test_a_folder_of_audio_with_text_beside_it_is_a_corpus_and_its_subfolders_are_speakers(corpus: Path) -> None:
    spoken = corpus.with_name("spoken")
    for row in rows(n_speakers=12):
        audio_path = spoken / row["speaker"] / row["audio_path"]
        audio_path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(corpus / row["audio_path"], audio_path)
        audio_path.with_suffix(".txt").write_text(row["text"])
    table = corpora.collect([str(spoken)]).dataset.table
    assert len(table) == 40 and table["speaker"].nunique() == 12
    assert set(table.loc[table["utterance_id"] == "s3/03", "reference"]) == {"play song d"}


def test_words_that_look_like_missing_values_or_numbers_stay_words(corpus: Path) -> None:
    listed = [{**row, "text": "null" if i == 0 else "nan", "speaker": f"{i % 20:03d}"} for i, row in enumerate(rows())]
    table = corpora.collect([manifest(corpus, listed)]).dataset.table
    assert table["text"].iloc[:2].tolist() == ["null", "nan"] and "007" in set(table["speaker"])


def test_relative_sources_start_at_the_base_folder_and_audio_may_lie_under_another_root(corpus: Path) -> None:
    lists = corpus.with_name("lists")
    lists.mkdir()
    manifest(lists, rows())
    found = corpora.read_rows(["lists/manifest.csv"], base_folder=corpus.parent, audio_root=corpus)
    assert len(found) == 40


def test_rows_to_be_scored_leave_nothing_behind(corpus: Path, project: Project) -> None:
    found = corpora.read_rows([manifest(corpus, rows())], is_stored=False)
    assert found["audio_path"].iloc[0] == str(corpus / "00.wav") and found["reference"].iloc[0] == "play song a"
    assert not (project.root / "data").exists()


def test_an_snr_that_the_manifest_tells_is_believed(corpus: Path) -> None:
    listed = [{**row, "snr_db": 7.5 if i else ""} for i, row in enumerate(rows())]
    told = corpora.collect([manifest(corpus, listed)]).dataset.table["snr_db"]
    assert told.iloc[1:].eq(7.5).all() and told.notna().all()


def test_progress_is_told_of_every_clip(corpus: Path) -> None:
    seen: list[tuple[str, int | None, int]] = []

    def watch(items: Any, description: str, total: int | None = None) -> Any:
        listed = list(items)
        seen.append((description, total, len(listed)))
        return listed

    corpora.collect([manifest(corpus, rows())], progress=watch)
    assert seen == [("reading audio", 40, 40)]


def with_splits(splits: list[str], n_speakers: int = 20) -> list[Row]:
    return [{**row, "split": splits[int(row["speaker"][1:]) % len(splits)]} for row in rows(n_speakers)]


def test_a_manifests_own_splits_are_kept(corpus: Path) -> None:
    listed = with_splits(["train", "validation", "dev", "gate", "test"])
    table = corpora.collect([manifest(corpus, listed)]).dataset.table
    told = {row["utterance_id"]: row["split"].replace("validation", "valid") for row in listed}
    assert dict(zip(table["utterance_id"], table["split"], strict=True)) == told


def test_all_speakers_in_one_split_is_an_error(corpus: Path) -> None:
    with pytest.raises(ManifestError, match="all 20 speakers are in one split .train.*or drop the split column"):
        corpora.collect([manifest(corpus, with_splits(["train"]))])


def test_a_single_speaker_is_an_error(corpus: Path) -> None:
    with pytest.raises(ManifestError, match="of one speaker .s0.*add recordings of other speakers"):
        corpora.collect([manifest(corpus, rows(n_speakers=1))])


def test_a_speaker_in_two_splits_is_leakage(corpus: Path) -> None:
    listed = [{**row, "split": "train" if i < 30 else "test"} for i, row in enumerate(rows())]
    with pytest.raises(ManifestError, match="is in train and test.*put each speaker in one split"):
        corpora.collect([manifest(corpus, listed)])


def test_a_recording_in_two_splits_is_leakage(corpus: Path) -> None:
    listed = with_splits(["train", "valid", "dev", "gate", "test"])
    listed[1] |= {name: listed[0][name] for name in ("audio_path", "text")}
    with pytest.raises(ManifestError, match="recording .* is in train and valid.*put each recording in one split"):
        corpora.collect([manifest(corpus, listed)])


def test_splits_that_a_corpus_lacks_are_taken_from_its_training_speakers(corpus: Path) -> None:
    listed = with_splits(["train", "train", "train", "test"])
    table = corpora.collect([manifest(corpus, listed)]).dataset.table
    assert set(table["split"]) == set(datasets.SPLITS)
    told_test = {row["speaker"] for row in listed if row["split"] == "test"}
    assert set(table.loc[table["split"] == "test", "speaker"]) == told_test
    with pytest.raises(ManifestError, match="too few speakers.*drop the split column"):
        corpora.collect([manifest(corpus, with_splits(["train", "test"], n_speakers=10))])


def test_below_ten_speakers_everything_is_train(corpus: Path) -> None:
    collection = corpora.collect([manifest(corpus, rows(n_speakers=9))])
    assert collection.dataset.is_few_speakers and collection.report["is_few_speakers"]


def test_without_speakers_recordings_are_split_and_every_one_is_warned_of(corpus: Path) -> None:
    listed = [{name: value for name, value in row.items() if name != "speaker"} for row in rows()]
    collection = corpora.collect([manifest(corpus, listed)])
    assert set(collection.dataset.table["split"]) == set(datasets.SPLITS)
    assert collection.warnings["warning"].value_counts().to_dict() == {"speaker unknown": 40}


def another(folder: Path, first: int, n_speakers: int = 15) -> str:
    other = folder.with_name(f"other{first}")
    other.mkdir()
    for i in range(30):
        audio.write(other / f"{i:02d}.wav", clip(first + i))
    return manifest(other, [{"audio_path": f"{i:02d}.wav", "text": "stop", "speaker": f"o{first}-{i % n_speakers}",
                             "utterance_id": f"u{i:02d}"} for i in range(30)])


def test_a_source_that_joins_leaves_the_first_ones_rows_as_they_were(corpus: Path) -> None:
    first, second = manifest(corpus, rows(n_speakers=10)), another(corpus, 1000)
    alone, both = (corpora.collect(sources).dataset.table for sources in ([first], [first, second]))
    assert len(both) == 70 and set(both["source"]) == {"corpus", "other1000"}
    pd.testing.assert_frame_equal(both[both["source"] == "corpus"].reset_index(drop=True)[list(alone)], alone)


def test_speakers_that_join_a_manifest_move_nobody(corpus: Path) -> None:
    few, more = (pd.DataFrame(rows()).query(f"speaker in {[f's{i}' for i in range(n)]}") for n in (11, 20))
    before, after = (corpora.collect([manifest(corpus, part.to_dict("records"))]).dataset for part in (few, more))
    was, now = (part.table.set_index("utterance_id")["split"] for part in (before, after))
    assert before.card["salt"] != "voice-search" and after.card["salt"] == before.card["salt"]
    assert now[was.index].equals(was) and len(now) > len(was)


def test_a_source_with_splits_of_its_own_that_joins_moves_nobody(corpus: Path) -> None:
    few = manifest(corpus, pd.DataFrame(rows()).query(f"speaker in {[f's{i}' for i in range(11)]}").to_dict("records"))
    told = pd.read_csv(another(corpus, 1000)).assign(split=[*datasets.SPLITS] * 6)
    second = manifest(corpus.with_name("other1000"), told.to_dict("records"))
    before, after = (corpora.collect(sources).dataset for sources in ([few], [few, second]))
    was, now = (part.table.set_index("utterance_id")["split"] for part in (before, after))
    assert now[was.index].equals(was) and len(now) == len(was) + 30 and after.card["salt"] == before.card["salt"]


def test_a_recording_that_is_there_already_is_set_aside_with_whose_it_is(corpus: Path) -> None:
    listed = rows()
    listed[1] |= {"audio_path": "00.wav", "speaker": "s0", "text": listed[0]["text"]}
    collection = corpora.collect([manifest(corpus, listed)])
    assert len(collection.dataset.table) == 39
    assert collection.rejected["reason"].tolist() == ["the same recording as u00"]


def test_of_a_recording_that_rows_write_down_differently_none_is_kept(corpus: Path) -> None:
    listed = rows()
    listed[1] |= {"audio_path": "00.wav", "speaker": "s0"}
    collection = corpora.collect([manifest(corpus, listed)])
    assert len(collection.dataset.table) == 38 and collection.rejected["line"].tolist() == [2, 3]
    assert collection.rejected["reason"].str.contains("other words for this recording; cut its segments into").all()


def segments(n_each: int = 4) -> list[Row]:
    """List pieces of longer recordings, which columns cut that nobody reads."""
    return [{**row, "audio_path": f"{i // n_each:02d}.wav", "start": i % n_each, "end": i % n_each + 1}
            for i, row in enumerate(rows())]


def test_a_manifest_of_segments_is_an_error_that_says_to_cut_them(corpus: Path) -> None:
    source = manifest(corpus, segments())
    wanted = "40 of 40 rows cannot be used, none is good. line 2: other rows .*cut its segments into files of their own"
    for act in (lambda: corpora.collect([source], max_bad_share=0.8), lambda: corpora.read_rows([source])):
        with pytest.raises(ManifestError, match=wanted):
            act()
    source = manifest(corpus, [*segments()[:8], *rows()[8:]])
    with pytest.raises(ManifestError, match="8 of 40 rows cannot be used, at most 5% .*cut its segments"):
        corpora.collect([source])
    assert len(corpora.collect([source], max_bad_share=0.2).dataset.table) == 32


def test_sources_that_write_the_same_recordings_down_differently_are_an_error_too(corpus: Path) -> None:
    first, second = (manifest(corpus, [{**row, "text": words} for row in rows()[:n]], f"{n}.csv")
                     for n, words in ((40, "play adele"), (3, "stop")))
    with pytest.raises(ManifestError, match="6 of 43 rows cannot be used.*utterance_id u00: .*or keep one row"):
        corpora.collect([first, second])
    collection = corpora.collect([first, second], max_bad_share=0.2)
    assert len(collection.dataset.table) == 37 and collection.report["n_repeats"] == 6


def test_what_was_left_out_of_a_source_is_told_by_its_first_reasons(corpus: Path) -> None:
    listed = rows()
    changes: list[Row] = [{"text": ""}, {"text": ""}, {"split": "x"}, {"audio_path": "x.wav"}, {"offset": 1}]
    for row, change in zip(listed, changes, strict=False):
        row |= change
    found = corpora.check(manifest(corpus, listed), max_bad_share=0.2)
    assert len(found.good) == 35 and found.left_out.startswith("5 of 40 rows left out: line 2: text is empty; write")
    assert "; line 4: split is not one of" in found.left_out and found.left_out.endswith("; and 1 other reasons")
    assert corpora.check(manifest(corpus, rows())).left_out == ""


def test_an_unknown_size_is_refused_before_the_demo_world_speaks(project: Project) -> None:
    with pytest.raises(ParameterError, match="choose one of toy, small, full"):
        corpora.collect(["demo"], size="huge")


@pytest.mark.parametrize(("change", "samples", "warning"), [
    ({"text": "call 9"}, clip(50), "digits in the text"),
    ({"text": "call <noise> mum"}, clip(51), "markup in the text"),
    ({"text": "CALL MUM"}, clip(52), "text in upper case"),
    ({"text": "a very long query that nobody could say in half a second"}, clip(53), "implausible speaking rate"),
    ({"text": "hi"}, clip(54, seconds=10), "implausible speaking rate"),
    ({}, np.sign(clip(55)) * np.float32(1), "clipped"),
    ({}, clip(56, amplitude=1e-4), "near-silent"),
    ({"duration_s": 3.0}, clip(57), "duration differs"),
    ({"speaker": ""}, clip(58), "speaker unknown")])
def test_what_is_odd_is_kept_and_flagged(corpus: Path, change: Row, samples: audio.Samples, warning: str) -> None:
    audio.write(corpus / "07.wav", samples)
    listed = rows()
    listed[7] |= change
    collection = corpora.collect([manifest(corpus, listed)])
    assert collection.warnings[["utterance_id", "warning"]].to_numpy().tolist() == [["u07", warning]]
    flags = collection.dataset.table.set_index("utterance_id")["flags"]
    assert flags["u07"] == warning and (flags.drop("u07") == "").all()


def test_a_jsonl_row_keeps_the_line_it_came_from(corpus: Path) -> None:
    lines = [json.dumps(row) for row in rows()]
    lines[5] = json.dumps(rows()[5] | {"text": None})
    (corpus / "m.jsonl").write_text("\n\n" + "\n".join(lines))
    assert corpora.collect([str(corpus / "m.jsonl")]).rejected["line"].tolist() == [8]


def test_clips_are_let_go_of_as_soon_as_they_are_measured(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive, most = 0, 0

    class Counted(np.ndarray):
        def __del__(self) -> None:
            nonlocal alive
            alive -= self.base is not None and self.shape == (8_000,)

    def read(path: str) -> Any:
        nonlocal alive, most
        alive += 1
        most = max(most, alive)
        return clip(int(Path(path).stem)).view(Counted)

    monkeypatch.setattr(audio, "read", read)
    assert len(corpora.read_rows([manifest(corpus, rows())], is_stored=False)) == 40
    assert most <= 2 * hearing.N_READERS


def heard(monkeypatch: pytest.MonkeyPatch, stop_at: int = 10**9) -> list[str]:
    """Note the names of the files that are read, and break off at one."""
    read, names = audio.read, list[str]()

    def reading(path: str) -> audio.Samples:
        if len(names) >= stop_at:
            raise KeyboardInterrupt
        names.append(Path(path).name)
        return read(path)

    monkeypatch.setattr(audio, "read", reading)
    return names


def test_who_was_interrupted_hears_only_what_was_not_written_down(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = manifest(corpus, rows())
    monkeypatch.setattr(hearing, "PART", 10)
    monkeypatch.setattr(hearing, "N_READERS", 1)
    with monkeypatch.context() as patch:
        heard(patch, stop_at=25)
        with pytest.raises(KeyboardInterrupt):
            corpora.collect([source])
    names = heard(monkeypatch)
    resumed = corpora.collect([source])
    assert names == [f"{i:02d}.wav" for i in range(25, 40)]
    shutil.rmtree(resumed.dataset.table["audio_path"].map(Path).iloc[0].parents[3] / "cache")
    assert corpora.collect([source]).dataset.version == resumed.dataset.version


def test_a_file_that_has_changed_or_whose_copy_is_gone_is_heard_again(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = corpora.collect([manifest(corpus, rows())]).dataset.table.set_index("utterance_id")
    audio.write(corpus / "03.wav", clip(333, seconds=0.7))
    Path(first["audio_path"]["u05"]).unlink()
    names = heard(monkeypatch)
    table = corpora.collect([manifest(corpus, rows())]).dataset.table.set_index("utterance_id")
    assert sorted(names) == ["03.wav", "05.wav"] and Path(table["audio_path"]["u05"]).is_file()
    assert table["duration_s"]["u03"] == 0.7 and table["audio_sha"].drop("u03").equals(first["audio_sha"].drop("u03"))


def test_audio_in_place_leaves_no_copy_and_is_pinned_to_what_was_heard(corpus: Path, project: Project) -> None:
    table = corpora.collect([manifest(corpus, rows())], is_copied=False).dataset.table
    copied = corpora.collect([manifest(corpus, rows())]).dataset.table
    assert table["audio_path"].str.startswith(f"{corpus}/").all()
    assert table.drop(columns="audio_path").equals(copied.drop(columns="audio_path"))
    audio.write(corpus / "00.wav", clip(77))
    with pytest.raises(AudioError, match="00.wav has changed since it was collected.*or run collect again"):
        audio.read(table["audio_path"].iloc[0])
