"""Speech Commands, Common Voice, FLEURS and MInDS-14 in their true layouts come in with their splits and speakers."""

import shutil
import sys
import zipfile
from pathlib import Path

import pytest

from tests import miniature_corpora
from tests.corpora.preparing import prepared, table_of
from workbench import corpora, datasets
from workbench.errors import ManifestError, SettingsError


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
