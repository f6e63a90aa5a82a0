"""Published corpora in their true layouts come in with their splits, speakers and licence, and after a kill, too."""

import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import soundfile

from tests import miniature_corpora
from tests.conftest import Project
from workbench import archives, audio, corpora, corpus_cards, datasets, fingerprints, notebooks, parameters
from workbench import published_corpora as published
from workbench.errors import ManifestError, SettingsError

os.environ.setdefault("HF_DATASETS_OFFLINE", "1")


def prepared(name: str, place: Path | str, **more: Any) -> pd.DataFrame:
    return pd.read_parquet(published.prepare(name, str(place), **more))


def table_of(name: str, place: Path) -> pd.DataFrame:
    return corpora.collect([f"{name}:{place}"]).dataset.table


@pytest.fixture(scope="module")
def librispeech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("spoken")
        (root / "notebooks").mkdir()
        patch.setenv("WORKBENCH_ROOT", str(root))
        return miniature_corpora.librispeech(root, n_speakers=24, n_each=4)


@pytest.fixture(scope="module")
def tarball(librispeech: Path) -> Path:
    return miniature_corpora.tarball(librispeech, librispeech.with_name("miniature.tar.gz"))


# --- LibriSpeech -----------------------------------------------------------------------------------------------------


def test_librispeech_keeps_its_splits_and_says_who_reads(root: Path, librispeech: Path) -> None:
    table = prepared("librispeech", librispeech)
    shares = table.groupby("subset")["speaker"].nunique().to_dict()
    assert shares == {"train-clean-100": 14, "dev-clean": 5, "test-clean": 5}
    assert (table["split"] == table["subset"].str.partition("-")[0]).all()
    assert set(table["gender"]) == {"female", "male"} and len(table) > 80
    first = table.iloc[0]
    words = (Path(first["audio_path"]).parent / f"{first['utterance_id'].rpartition('-')[0]}.trans.txt").read_text()
    assert f"{first['utterance_id']} {first['text'].upper()}\n" in words
    assert first["utterance_id"].startswith(first["speaker"] + "-")


def test_what_a_corpus_has_no_split_for_is_taken_from_its_training_speakers(root: Path, librispeech: Path) -> None:
    table, own = table_of("librispeech", librispeech), prepared("librispeech", librispeech)
    assert set(table["split"]) == set(datasets.SPLITS) and set(table["source"]) == {"librispeech"}
    assert table.groupby("speaker")["split"].nunique().eq(1).all()
    was = table.merge(own[["utterance_id", "split"]], on="utterance_id", suffixes=("", "_own"))
    assert len(was) == len(table)
    assert set(was.loc[was["split_own"] == "train", "split"]) == {"train", "valid", "gate"}
    assert (was.loc[was["split_own"] != "train", "split"] == was.loc[was["split_own"] != "train", "split_own"]).all()


def test_a_tarball_and_its_folder_are_the_same_dataset(root: Path, librispeech: Path, tarball: Path) -> None:
    assert corpora.collect([f"librispeech:{tarball}"]).dataset.version == corpora.collect(
        [f"librispeech:{librispeech}"]).dataset.version


def test_what_is_unpacked_is_unpacked_once_and_another_archive_of_the_name_anew(root: Path, tarball: Path) -> None:
    shown: list[str] = []

    def watch(items: Any, description: str, total: int | None = None) -> Any:
        shown.append(description)
        return items

    copied = Path(shutil.copy(tarball, root / "miniature.tar.gz"))
    assert len(prepared("librispeech", copied, progress=watch)) == len(prepared("librispeech", copied, progress=watch))
    assert len([words for words in shown if words.startswith("unpacking")]) == 1
    copied.rename(root / "elsewhere")
    assert len(prepared("librispeech", copied)) > 80, "an archive may go when it is unpacked"
    (root / "elsewhere").rename(copied)
    folder = archives.folder_of("librispeech", copied)
    gone = next(folder.rglob("*.flac"))
    (folder / "of the old one.txt").touch()
    gone.unlink()
    os.utime(copied, (1, 1))
    prepared("librispeech", copied)
    assert gone.is_file() and not (folder / "of the old one.txt").exists()


def test_a_subset_may_be_named_alone_and_needs_no_splits_when_it_is_divided_anew(
        root: Path, librispeech: Path) -> None:
    own = prepared("librispeech", librispeech / "dev-clean")
    assert set(own["split"]) == {"dev"} and own["speaker"].nunique() == 5
    with pytest.raises(ManifestError, match="in one split .dev.*workbench prepare --no-splits"):
        corpora.collect([f"librispeech:{librispeech / 'dev-clean'}"])
    anew = published.prepare("librispeech", str(librispeech / "train-clean-100"), to=root / "anew.parquet",
                             has_splits=False)
    assert set(corpora.collect([str(anew)]).dataset.table["split"]) == set(datasets.SPLITS)


def test_several_parts_of_a_corpus_are_collected_together(root: Path, librispeech: Path) -> None:
    parts = [f"librispeech:{librispeech / name}" for name in ("train-clean-100", "dev-clean", "test-clean")]
    together = corpora.collect(parts).dataset
    assert together.version == corpora.collect([f"librispeech:{librispeech}"]).dataset.version
    assert [card["name"] for card in together.card["corpora"]] == ["librispeech"]


def test_a_clip_too_long_for_whisper_is_turned_away_with_its_reason_and_the_rest_comes_in(
        root: Path, librispeech: Path) -> None:
    own = root / "LibriSpeech"
    shutil.copytree(librispeech, own)
    words = next(own.rglob("train-clean-100/*/*/*.trans.txt"))
    name = f"{words.name.partition('.')[0]}-0099"
    words.write_text(words.read_text() + f"{name} {'WORDS ' * 60}\n")
    soundfile.write(words.with_name(f"{name}.flac"), miniature_corpora.sound(3, 34.9), 16_000)
    collection = corpora.collect([f"librispeech:{own}"])
    rejected = collection.rejected.set_index("utterance_id")["reason"]
    assert list(rejected.index) == [name] and "34.9 s long, Whisper hears 30 s at once" in rejected[name]
    assert len(collection.dataset.table) == len(prepared("librispeech", own)) - 1


def test_sounds_without_words_and_words_without_a_sound_are_turned_away_by_name(root: Path, librispeech: Path) -> None:
    own = root / "LibriSpeech"
    shutil.copytree(librispeech, own)
    sounds = sorted(own.rglob("*.flac"))
    sounds[0].unlink()
    shutil.copy(sounds[-1], sounds[-1].with_name("x-unwritten.flac"))
    reasons = corpora.collect([f"librispeech:{own}"]).rejected.set_index("utterance_id")["reason"]
    assert "audio file is absent" in reasons[sounds[0].stem] and "text is empty" in reasons["x-unwritten"]


# --- the others ------------------------------------------------------------------------------------------------------


def test_speech_commands_has_its_lists_for_splits_and_the_hash_for_a_speaker(root: Path) -> None:
    place = miniature_corpora.speech_commands(root)
    table = prepared("speech_commands", place)
    assert table["split"].value_counts().to_dict() == {"train": 48, "valid": 6, "test": 6}
    assert set(table["text"]) == {"yes", "no", "marvin"} and table["speaker"].nunique() == 20
    row = table.set_index("utterance_id").loc["yes/0a7c2a8d_nohash_0"]
    assert row["speaker"] == "0a7c2a8d" and row["split"] == "train"
    packed = miniature_corpora.tarball(place, root / "speech_commands_v0.02.tar.gz", name=".")
    assert prepared("speech_commands", packed).drop(columns="audio_path").equals(table.drop(columns="audio_path"))
    assert set(table_of("speech_commands", place)["split"]) == set(datasets.SPLITS)


def test_common_voice_keeps_splits_accents_ages_and_genders(root: Path) -> None:
    place = miniature_corpora.common_voice(root)
    table = prepared("common_voice", place)
    assert table["split"].value_counts().to_dict() == {"train": 32, "dev": 4, "test": 4}
    assert table.groupby("speaker").size().eq(2).all(), "what is validated only is left out, as the release does"
    assert table.set_index("utterance_id").loc["common_voice_en_39000000", "text"] == '"Hello", she said.'
    assert set(table["gender"].dropna()) == {"male", "female"} and set(table["age"].dropna()) == {"twenties", "fifties"}
    assert "United States English" in set(table["accent"]) and "variant" not in table
    packed = miniature_corpora.tarball(place, root / "cv-corpus-17.0-2024-03-15-en.tar.gz")
    assert prepared("common_voice", packed).drop(columns="audio_path").equals(table.drop(columns="audio_path"))
    collected = corpora.collect([f"common_voice:{place}"])
    assert len(collected.dataset.table) == 40 and collected.rejected.empty


def test_common_voice_without_splits_is_all_that_is_validated(root: Path) -> None:
    place = miniature_corpora.common_voice(root) / "en"
    for name in ("train", "dev", "test"):
        (place / f"{name}.tsv").unlink()
    assert len(prepared("common_voice", place)) == 60
    assert set(table_of("common_voice", place)["split"]) == set(datasets.SPLITS)


def test_of_several_languages_one_must_be_named(root: Path) -> None:
    place = miniature_corpora.common_voice(root)
    shutil.copytree(place / "en", place / "cy")
    with pytest.raises(ManifestError, match="several of a language of Common Voice: .*/cy, .*/en; name one"):
        prepared("common_voice", place)


def test_fleurs_is_the_same_from_tables_from_parquet_and_from_what_was_saved(root: Path) -> None:
    pytest.importorskip("datasets")
    saved = root / "saved"
    miniature_corpora.fleurs_splits().save_to_disk(saved)
    tables = [table_of("fleurs", place) for place in (
        miniature_corpora.fleurs_tables(root), miniature_corpora.fleurs_snapshot(root), saved)]
    assert len(tables[0]) == 36 and set(tables[0]["split"]) == set(datasets.SPLITS)
    seen = [table.sort_values("audio_sha")[["audio_sha", "text", "gender"]].reset_index(drop=True) for table in tables]
    assert seen[0].equals(seen[1]) and seen[1].equals(seen[2])
    assert set(tables[1]["gender"]) == {"male", "female"} and set(tables[1]["speaker"]) == {datasets.UNKNOWN_SPEAKER}
    assert [prepared("fleurs", root / place)["split"].value_counts().to_dict() for place in ("fleurs", "snapshot")] == [
        {"train": 24, "dev": 6, "test": 6}] * 2


def test_audio_that_a_table_holds_is_written_once_and_only_what_is_taken(root: Path) -> None:
    pytest.importorskip("datasets")
    place = miniature_corpora.fleurs_snapshot(root)
    few = prepared("fleurs", place, limit=9)
    written = sorted((root / "data" / "raw" / "fleurs").rglob("*.wav"))
    assert len(written) == len(few) == 9 and set(few["split"]) == {"train", "dev", "test"}
    before = {path: path.stat().st_mtime_ns for path in written}
    assert len(prepared("fleurs", place)) == 36
    assert {path: path.stat().st_mtime_ns for path in written} == before
    assert len(list((root / "data" / "raw" / "fleurs").rglob("*.wav"))) == 36


def test_minds14_has_intents_and_is_divided_at_the_door(root: Path) -> None:
    pytest.importorskip("datasets")
    place = miniature_corpora.minds14_snapshot(root)
    table = prepared("minds14", place)
    assert len(table) == 20 and "split" not in table and {"abroad", "pay_bill"} <= set(table["intent"])
    assert set(table_of("minds14", place)["split"]) == set(datasets.SPLITS)


def test_minds14_as_its_authors_publish_it_is_the_same_packed_and_unpacked(root: Path) -> None:
    packed = miniature_corpora.minds14_release(root)
    with zipfile.ZipFile(packed) as zipped:
        zipped.extractall(root)
    half = root / "MInDS-14"
    whole = root / "unpacked" / "MInDS-14"
    for part in ("text", "audio"):
        with zipfile.ZipFile(half / f"{part}.zip") as zipped:
            zipped.extractall(whole / part)
    tables = [prepared("minds14", f"{place}/en-US") for place in (packed, half, whole)]
    for table in tables:
        assert table.drop(columns="audio_path").equals(tables[0].drop(columns="audio_path")) and len(table) == 20
        assert all(Path(path).is_file() for path in table["audio_path"]) and set(table["intent"]) == {
            "abroad", "app_error", "card_issues", "joint_account", "pay_bill"}
    assert tables[0]["text"].str.endswith(", please").all() and "split" not in tables[0]
    assert tables[0]["utterance_id"].str.match(r"en-US~[A-Z_]+/[0-9a-f]{24}$").all()
    packed.unlink()
    made = corpora.collect([f"minds14:{packed}/en-US"])
    assert set(made.dataset.table["split"]) == set(datasets.SPLITS) and "intent" in made.dataset.table
    assert made.corpora["license"].tolist() == ["CC BY 4.0"] and "Gerz" in made.corpora["citation"].iloc[0]


def test_a_release_of_minds14_wants_its_language_and_all_its_parts(root: Path) -> None:
    packed = miniature_corpora.minds14_release(root)
    for place in (packed, f"{packed}/xx-XX"):
        with pytest.raises(ManifestError, match="has the languages cs-CZ, en-US; name one of them behind it"):
            prepared("minds14", place)
    assert not list((root / "data").rglob("*.wav")), "half a gigabyte is not unpacked for nothing"
    alone = miniature_corpora.minds14_release(root / "data", languages=("en-US",))
    assert len(prepared("minds14", alone)) == 20
    place = root / "MInDS-14"
    with zipfile.ZipFile(packed) as zipped:
        zipped.extractall(root)
    (place / "audio.zip").unlink()
    with pytest.raises(ManifestError, match="audio.zip is absent; every copy of MInDS-14 has it"):
        prepared("minds14", f"{place}/en-US")
    (place / "text").mkdir()
    (place / "text" / "en-US.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ManifestError, match="whose tables have the columns filepath, text_asr"):
        prepared("minds14", f"{place}/en-US")


def test_a_language_that_neither_lies_here_nor_can_be_fetched_is_a_clear_error(root: Path) -> None:
    pytest.importorskip("datasets")
    with pytest.raises(ManifestError, match="cannot be opened from the hub, google/fleurs en_us .*give a language"):
        prepared("fleurs", "en_us")
    with pytest.raises(ManifestError, match="nothing at /nowhere/en_us.*huggingface.co/datasets/google/fleurs"):
        prepared("fleurs", "/nowhere/en_us")
    with pytest.raises(ManifestError, match="not a snapshot of fleurs: it is empty"):
        (root / "empty").mkdir()
        prepared("fleurs", root / "empty")
    with pytest.raises(ManifestError, match="has a column intent_class, what was given has id, .*give a snapshot"):
        prepared("minds14", miniature_corpora.fleurs_snapshot(root))
    (root / "cut").mkdir()
    (root / "cut" / "train-00000-of-00001.parquet").write_bytes(b"PAR1 cut short")
    with pytest.raises(ManifestError, match="fleurs cannot be opened from .*/cut .*snapshot of the repository"):
        prepared("fleurs", root / "cut")
    miniature_corpora.fleurs_snapshot(root / "more", "en_us", "fr_fr")
    with pytest.raises(ManifestError, match="several of a language of fleurs: .*/en_us, .*/fr_fr; name one"):
        prepared("fleurs", root / "more" / "snapshot")


@pytest.mark.parametrize(("library", "name", "extra"), [("datasets", "minds14", "hub"), ("lhotse", "lhotse", "lhotse")])
def test_a_missing_extra_is_named(root: Path, monkeypatch: pytest.MonkeyPatch, library: str, name: str,
                                  extra: str) -> None:
    (root / "place").mkdir()
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(SettingsError, match=rf"pip install -e '.\[{extra}\]'"):
        prepared(name, root / "place")


# --- lhotse ----------------------------------------------------------------------------------------------------------


def test_supervisions_of_lhotse_become_utterances_and_pieces_of_recordings_are_cut_out(root: Path) -> None:
    pytest.importorskip("lhotse")
    place = miniature_corpora.lhotse_manifests(root)
    table = prepared("lhotse", place)
    assert table["split"].value_counts().to_dict() == {"train": 60, "test": 5}
    assert set(table["accent"]) == {"scottish", "indian"} and set(table["gender"]) == {"female", "male"}
    whole, piece = (table.set_index("utterance_id")["audio_path"][name] for name in ("test-02-0", "train-02-1"))
    assert whole == str(place / "audio" / "test-02.wav"), "a whole recording stays where it is"
    cut, of = audio.read(piece), audio.read(place / "audio" / "train-02.wav")
    assert cut.tolist() == of[16_000:32_000].tolist()
    collected = table_of("lhotse", place)
    assert len(collected) == 65 and collected["duration_s"].eq(1.0).all()


def test_recordings_whose_paths_are_relative_lie_under_their_manifest(root: Path) -> None:
    lhotse = pytest.importorskip("lhotse")
    place = miniature_corpora.lhotse_manifests(root)
    for part in ("train", "test"):
        manifest = place / f"mini_recordings_{part}.jsonl.gz"
        relative = list(lhotse.load_manifest(manifest))
        for recording in relative:
            recording.sources[0].source = f"audio/{recording.id}.wav"
        lhotse.RecordingSet.from_recordings(relative).to_file(manifest)
    assert len(prepared("lhotse", place / "mini_supervisions_train.jsonl.gz")) == 60
    table = table_of("lhotse", place)
    assert len(table) == 65 and table["duration_s"].eq(1.0).all()


def test_a_recording_that_ends_too_early_for_its_piece_is_named(root: Path) -> None:
    pytest.importorskip("lhotse")
    place = miniature_corpora.lhotse_manifests(root)
    audio.write(place / "audio" / "train-07.wav", miniature_corpora.sound(1, 1.5))
    with pytest.raises(ManifestError, match="train-07.wav cannot be read from .*leave train-07-.* out of the manifest"):
        prepared("lhotse", place)


def test_cuts_of_lhotse_are_read_and_what_is_no_file_is_refused(root: Path) -> None:
    lhotse = pytest.importorskip("lhotse")
    place = miniature_corpora.lhotse_manifests(root)
    cuts = lhotse.CutSet.from_manifests(**{kind: lhotse.load_manifest(place / f"mini_{kind}_train.jsonl.gz")
                                           for kind in ("recordings", "supervisions")})
    cuts.to_file(root / "cuts.jsonl.gz")
    assert prepared("lhotse", root / "cuts.jsonl.gz")["utterance_id"].tolist() == [
        f"train-{n:02d}-{i}" for n in range(20) for i in range(3)]
    mixed = cuts[0].mix(cuts[1], snr=10)
    lhotse.CutSet.from_cuts([mixed]).to_file(root / "cuts_mixed.jsonl.gz")
    with pytest.raises(ManifestError, match="is a mix, only files are read here"):
        prepared("lhotse", root / "cuts_mixed.jsonl.gz")
    source = lhotse.audio.AudioSource("command", [0], "touch /tmp/must-not-run")
    cuts[0].recording.sources[0] = source
    lhotse.CutSet.from_cuts([cuts[0]]).to_file(root / "cuts_of_commands.jsonl.gz")
    with pytest.raises(ManifestError, match="is command, only files are read here; save its audio as files"):
        prepared("lhotse", root / "cuts_of_commands.jsonl.gz")
    (root / "cuts_broken.jsonl.gz").write_bytes(b"no gzip")
    with pytest.raises(ManifestError, match="cannot be read by lhotse .BadGzipFile.*make it again"):
        prepared("lhotse", root / "cuts_broken.jsonl.gz")
    with pytest.raises(ManifestError, match="not a lhotse manifest: .*give a file of cuts"):
        prepared("lhotse", place / "audio")


# --- whose work it is ------------------------------------------------------------------------------------------------


def test_licence_and_citation_travel_with_the_manifest_onto_the_card_and_to_versions_made_of_it(
        root: Path, librispeech: Path) -> None:
    manifest = published.prepare("librispeech", str(librispeech), to=root / "mine" / "words.parquet")
    collection = corpora.collect([str(manifest)])
    row = collection.corpora.to_dict("records")[0]
    assert row["license"] == "CC BY 4.0" and "Panayotov" in row["citation"] and row["title"] == "LibriSpeech"
    assert collection.dataset.card["corpora"][0]["url"] == "https://www.openslr.org/12"
    assert set(collection.dataset.table["source"]) == {"words"}
    more = [{"utterance_id": "new", "text": "hello", "speaker": "n", "source": "n",
             "samples": miniature_corpora.sound(5)}]
    assert datasets.extend(collection.dataset, more, "more").card["corpora"] == collection.dataset.card["corpora"]


def test_a_corpus_of_ones_own_has_no_card(root: Path) -> None:
    place = miniature_corpora.speech_commands(root)
    prepared("speech_commands", place, to=root / "m.parquet").to_csv(root / "own.csv", index=False)
    collection = corpora.collect([str(root / "own.csv")])
    assert collection.corpora.empty and collection.dataset.card["corpora"] == []


def test_a_limit_spreads_over_splits_and_speakers_and_is_the_same_each_time(root: Path, librispeech: Path) -> None:
    few = prepared("librispeech", librispeech, limit=30)
    assert len(few) == 30 and few["speaker"].nunique() >= 22
    assert few["split"].value_counts()["train"] == pytest.approx(17, abs=1)
    assert few.equals(prepared("librispeech", librispeech, limit=30))


# --- killed at any moment --------------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from workbench import published_corpora
def progress(items, description, total=None):
    for number, item in enumerate(items):
        if description.startswith(sys.argv[3]) and number == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        yield item
published_corpora.prepare(sys.argv[1], sys.argv[2], progress=progress)
"""


def killed(root: Path, name: str, place: Path, moment: str) -> None:
    """Prepare in a process of its own that is killed at a moment."""
    done = subprocess.run([sys.executable, "-c", KILLED, name, str(place), moment], check=False, capture_output=True,
                          text=True, env={**os.environ, "WORKBENCH_ROOT": str(root)})
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_an_unpacking_that_was_killed_is_completed_and_writes_nothing_twice(root: Path, tarball: Path) -> None:
    killed(root, "librispeech", tarball, "unpacking")
    folder = archives.folder_of("librispeech", tarball)
    there = {path: path.stat().st_mtime_ns for path in folder.rglob("*.flac") if not path.name.startswith(".")}
    assert there and json.loads((folder / archives.NOTE).read_text())["is_whole"] is False
    next(iter(there)).with_name(".1-1-0000.flac.half.flac").write_bytes(b"half a file, as a kill leaves it")
    after = prepared("librispeech", tarball)
    n_sounds = len([path for path in folder.rglob("*.flac") if not path.name.startswith(".")])
    assert 0 < len(there) < n_sounds == len(after)
    assert {path: path.stat().st_mtime_ns for path in there} == there


@pytest.mark.parametrize("moment", ["reading chapters", "unpacking"])
def test_wherever_it_was_killed_the_next_call_ends_as_if_it_had_not_been(
        root: Path, librispeech: Path, tarball: Path, moment: str) -> None:
    killed(root, "librispeech", tarball, moment)
    after, never = prepared("librispeech", tarball), prepared("librispeech", librispeech)
    assert after.drop(columns="audio_path").equals(never.drop(columns="audio_path"))


def test_writing_the_audio_of_tables_goes_on_after_a_kill(root: Path) -> None:
    pytest.importorskip("datasets")
    place = miniature_corpora.fleurs_snapshot(root)
    killed(root, "fleurs", place, "writing audio")
    assert len(list((root / "data" / "raw").rglob("*.wav"))) == 2 and not list((root / "data").rglob("*.parquet"))
    table = prepared("fleurs", place)
    assert len(table) == 36 and all(Path(path).is_file() for path in table["audio_path"])


# --- what cannot be prepared -----------------------------------------------------------------------------------------


def test_an_unknown_corpus_lists_what_there_is(root: Path) -> None:
    for act in (lambda: corpora.collect(["voxceleb:/data/vox"]), lambda: published.prepare("voxceleb", "/data/vox")):
        with pytest.raises(ManifestError, match="no corpus 'voxceleb'; there are: librispeech, speech_commands"):
            act()
    assert corpus_cards.find("Common-Voice").name == "common_voice"


@pytest.mark.parametrize(("name", "wanted"), [
    ("librispeech", "train-clean-100"), ("speech_commands", "validation_list.txt"), ("common_voice", "clips/"),
    ("musan", "noise/free-sound"), ("demand", "ch01.wav")])
def test_a_wrong_folder_says_what_it_has_and_what_is_wanted(root: Path, name: str, wanted: str) -> None:
    (root / "photos" / "summer").mkdir(parents=True)
    with pytest.raises(ManifestError, match=f"photos is not .*: it has summer; give .*{wanted}"):
        published.report(name, str(root / "photos"), base_folder=root)
    with pytest.raises(ManifestError, match=f"{name}: there is nothing at .*absent; give .*; it is at http"):
        published.report(name, "absent", base_folder=root)


@pytest.mark.parametrize("name", [
    "librispeech", "speech_commands", "common_voice", "fleurs", "minds14", "musan", "demand"])
def test_a_file_in_the_place_of_a_folder_is_said_to_be_one(root: Path, name: str) -> None:
    (root / "notes.txt").write_text("words")
    with pytest.raises(ManifestError, match=r"notes.txt is not .*: it is no folder; give "):
        published.report(name, "notes.txt", base_folder=root)


def test_a_missing_file_is_named(root: Path, librispeech: Path) -> None:
    own = root / "LibriSpeech"
    shutil.copytree(librispeech, own)
    (own / "SPEAKERS.TXT").unlink()
    with pytest.raises(ManifestError, match="SPEAKERS.TXT is absent.*every tarball of LibriSpeech has it"):
        prepared("librispeech", own)
    commands = miniature_corpora.speech_commands(root)
    (commands / "testing_list.txt").unlink()
    with pytest.raises(ManifestError, match="not Speech Commands v0.02, without testing_list.txt"):
        prepared("speech_commands", commands)
    (miniature_corpora.fleurs_tables(root) / "data" / "en_us" / "audio" / "dev.tar.gz").unlink()
    with pytest.raises(ManifestError, match="dev.tar.gz is absent, but .*dev.tsv lists what it holds"):
        prepared("fleurs", root / "fleurs")
    voice = miniature_corpora.common_voice(root) / "en"
    (voice / "train.tsv").write_text("name\tsentence\n")
    with pytest.raises(ManifestError, match="train.tsv has no column client_id, path; it has name, sentence"):
        prepared("common_voice", voice)


def test_a_damaged_archive_is_to_be_fetched_again_and_then_it_is_taken(root: Path, tarball: Path) -> None:
    copied = root / "half.tar.gz"
    copied.write_bytes(tarball.read_bytes()[: tarball.stat().st_size // 2])
    for _ in range(2):
        with pytest.raises(ManifestError, match="half.tar.gz cannot be unpacked.*fetch it again"):
            prepared("librispeech", copied)
    shutil.copy(tarball, copied)
    assert len(prepared("librispeech", copied)) > 80
    (root / "words.tar.gz").write_text("these are words")
    with pytest.raises(ManifestError, match=r"words.tar.gz cannot be unpacked \(.*\); it is damaged") as told:
        prepared("librispeech", root / "words.tar.gz")
    assert "\n" not in str(told.value)


def test_an_archive_cannot_write_outside_its_folder(root: Path) -> None:
    import tarfile

    (root / "x").write_text("x")
    with tarfile.open(root / "bad.tar.gz", "w:gz") as tar:
        tar.add(root / "x", arcname="../../../../escaped.txt")
    with pytest.raises(ManifestError, match="cannot be unpacked .*outside"):
        prepared("librispeech", root / "bad.tar.gz")
    assert not list(root.rglob("escaped.txt"))


def test_noise_is_not_collected_and_a_manifest_must_be_able_to_hold_the_licence(root: Path) -> None:
    place = miniature_corpora.musan(root)
    with pytest.raises(ManifestError, match=r"noise without words.*RecordedNoise\('musan:.*/musan', 5, 20\)"):
        corpora.collect([f"musan:{place}"])
    with pytest.raises(ManifestError, match="give a name that ends in .parquet"):
        prepared("speech_commands", miniature_corpora.speech_commands(root), to=root / "m.csv")


def test_the_page_about_corpora_has_them_all_and_says_the_same() -> None:
    page = (Path(__file__).parents[1] / "docs" / "corpora.md").read_text()
    for card in corpus_cards.CARDS.values():
        row = next(line for line in page.splitlines() if line.startswith(f"| `{card.name}` |"))
        assert card.url in row and (card.name == "lhotse" or card.license.split(" (")[0] in row)


# --- the command line and the pipeline -------------------------------------------------------------------------------


def test_the_command_prepares_says_what_there_is_and_what_to_do_next(project: Project, librispeech: Path) -> None:
    done = project.workbench("prepare", "librispeech", librispeech.name, "--to", "mine/m.parquet", "--limit", "40",
                             folder=librispeech.parent)
    assert done.returncode == 0, done.stderr
    manifest = librispeech.parent / "mine" / "m.parquet"
    assert "LibriSpeech: 40 utterances of" in done.stdout and "licence: CC BY 4.0" in done.stdout
    assert f"collect.sources=[{manifest}]" in done.stdout and "splits: dev 9" in done.stdout
    assert len(corpora.collect([str(manifest)]).dataset.table) == 40
    noise = project.workbench("prepare", "demand", str(miniature_corpora.demand(project.root)))
    assert "96 recordings" in noise.stdout and "CC BY-SA 3.0" in noise.stdout and "RecordedNoise(" in noise.stdout


def test_the_command_has_help_with_an_example_and_mistakes_end_with_2(project: Project) -> None:
    told = project.workbench("prepare", "--help").stdout
    assert "workbench prepare librispeech /data/LibriSpeech" in told and "--limit" in told and "--to" in told
    wrong = project.workbench("prepare", "voxceleb", "/data")
    assert wrong.returncode == 2 and wrong.stderr.startswith("workbench: no corpus 'voxceleb'; there are: librispeech")


def test_a_source_that_names_a_corpus_is_anchored_at_the_callers_folder_and_watched(project: Project) -> None:
    place = miniature_corpora.speech_commands(project.root)
    found = notebooks.discover()

    def values(text: str) -> Any:
        given = {"first": {"names": [text]}}
        return parameters.check(found, given, run="r", size="", folder=project.root)["first"]

    named = values(f"speech_commands:{place.name}")
    assert named["names"] == [f"speech_commands:{place}"] and values("fleurs:en_us")["names"] == ["fleurs:en_us"]
    before = fingerprints.fingerprint(found[0], named, "r")
    assert before == fingerprints.fingerprint(found[0], named, "r")
    audio.write(place / "yes" / "0a7c2a99_nohash_0.wav", miniature_corpora.sound(77))
    assert before != fingerprints.fingerprint(found[0], named, "r")


@pytest.mark.slow
def test_the_page_of_collect_says_whose_work_it_is(tmp_path: Path, librispeech: Path) -> None:
    from tests.conftest import make_project

    project = make_project(tmp_path)
    done = project.workbench("run", "collect", "-p", f"collect.sources=[librispeech:{librispeech}]", timeout_s=170)
    assert done.returncode == 0, done.stdout + done.stderr
    page = project.report("02_collect.html").read_text()
    assert "CC BY 4.0" in page and "Panayotov" in page and "openslr.org/12" in page
