"""What a manifest lists and cannot come in is set aside with its reason, or stops the collection."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Project
from tests.corpora.listed import Row, clip, manifest, rows
from workbench import audio, corpora
from workbench.errors import ManifestError


def test_a_missing_manifest_is_named(project: Project) -> None:
    with pytest.raises(ManifestError, match="no manifest or folder at .*absent.csv; give demo, a manifest"):
        corpora.collect(["absent.csv"])
    with pytest.raises(ManifestError, match="name demo, a manifest"):
        corpora.collect([])


@pytest.mark.parametrize(("column", "wanted"), [("audio_path", r"audio_path \(or audio_filepath\)"), ("text", "text")])
def test_a_missing_column_is_named_beside_those_there_are(corpus: Path, column: str, wanted: str) -> None:
    listed = [{name: value for name, value in row.items() if name != column} for row in rows()]
    with pytest.raises(ManifestError, match=f"has no column {wanted}; it has utterance_id(?!.*line).*add the column"):
        corpora.collect([manifest(corpus, listed)])


@pytest.mark.parametrize(("name", "content", "action"), [
    ("m.csv", b"audio_path,text\n", "lists no recordings; add rows"),
    ("m.csv", b"", "cannot be read as csv.*export it again"),
    ("m.csv", b"audio_path,text\na.wav,caf\xe9\n", "cannot be read as csv.*in UTF-8"),
    ("m.csv", b"audio_path,text, text\na.wav,a,b\n", "has several columns text; rename or drop all but one"),
    ("m.csv", b"audio_path,text\na.wav,play, please\nb.wav,b\n", "line 2 has more fields than the header; put each"),
    ("m.csv", b"audio_path,text\nb.wav,b\na.wav,play, please\n", "Expected 2 fields in line 3, saw 3; put each text"),
    ("m.csv", b'audio_path,text\na.wav,"a\nb.wav,b\n', "EOF inside string .*in quotation marks, and close them"),
    ("m.jsonl", b'{"audio_filepath": "a.wav"\n', "cannot be read as jsonl .line 1.*export it again"),
    ("m.jsonl", b"[1]\n", "line 1 is not an object"),
    ("m.parquet", b"PAR", "cannot be read as parquet.*export it again"),
    ("m.xlsx", b"PK", "give a .csv, .jsonl or .parquet file")])
def test_a_manifest_that_cannot_be_read_says_what_to_give(
    project: Project, name: str, content: bytes, action: str
) -> None:
    (project.root / name).write_bytes(content)
    with pytest.raises(ManifestError, match=action):
        corpora.collect([name])


def without_text(folder: Path) -> Row:
    return {"text": "  "}


def with_punctuation_only(folder: Path) -> Row:
    return {"text": "..."}


def without_a_file(folder: Path) -> Row:
    return {"audio_path": "absent.wav"}


def of_no_length(folder: Path) -> Row:
    audio.write(folder / "zero.wav", clip(0)[:0])
    return {"audio_path": "zero.wav"}


def of_no_sound(folder: Path) -> Row:
    (folder / "words.wav").write_text("these are words " * 100)
    return {"audio_path": "words.wav"}


def of_negative_duration(folder: Path) -> Row:
    return {"duration_s": -1.5}


def of_wordy_duration(folder: Path) -> Row:
    return {"duration_s": "long"}


def with_a_taken_id(folder: Path) -> Row:
    return {"utterance_id": "u01"}


def from_elsewhere(folder: Path) -> Row:
    shutil.copy(folder / "00.wav", folder.parent / "outside.wav")
    return {"audio_path": "../outside.wav"}


def by_a_link(folder: Path) -> Row:
    shutil.copy(folder / "00.wav", folder.parent / "outside.wav")
    (folder / "link.wav").unlink(missing_ok=True)
    (folder / "link.wav").symlink_to(folder.parent / "outside.wav")
    return {"audio_path": "link.wav"}


def of_an_unknown_split(folder: Path) -> Row:
    return {"split": "holdout"}


def of_a_minute(folder: Path) -> Row:
    audio.write(folder / "minute.wav", clip(99, seconds=60))
    return {"audio_path": "minute.wav"}


def from_a_longer_recording(folder: Path) -> Row:
    return {"offset": 12.5}


BAD: list[tuple[Callable[[Path], Row], str]] = [
    (without_text, "text is empty; write down"), (with_punctuation_only, "text is empty; write down"),
    (without_a_file, "file is absent; correct its path"), (of_no_length, "zero-length.*record it again or drop it"),
    (of_no_sound, "is not audio.*export it as wav"), (of_negative_duration, "above 0; correct it"),
    (of_wordy_duration, "above 0; correct it"), (with_a_taken_id, "utterance_id is a duplicate; make it unique"),
    (from_elsewhere, "is outside .*; move it there or give its folder with --root"), (by_a_link, "is outside .*--root"),
    (of_an_unknown_split, "split is not one of train, valid, dev, gate, test"), (of_a_minute, "cut it into queries"),
    (from_a_longer_recording, "cut the audio into queries")]


@pytest.mark.parametrize(("spoil", "reason"), BAD)
def test_a_bad_row_is_set_aside_with_its_reason_and_the_rest_goes_on(
    corpus: Path, spoil: Callable[[Path], Row], reason: str
) -> None:
    listed = rows()
    listed[7] |= spoil(corpus)
    collection = corpora.collect([manifest(corpus, listed)])
    assert len(collection.dataset.table) == 39
    assert collection.rejected["line"].tolist() == [9]  # the first line is the header
    assert collection.rejected["reason"].str.contains(reason).all(), collection.rejected["reason"].iloc[0]


@pytest.mark.parametrize(("spoil", "reason"), BAD)
def test_a_manifest_of_mostly_bad_rows_is_an_error_that_shows_the_first(
    corpus: Path, spoil: Callable[[Path], Row], reason: str
) -> None:
    with pytest.raises(ManifestError, match=f"rows cannot be used.*line .: .*{reason}.*Mend or drop these rows"):
        corpora.collect([manifest(corpus, [row | spoil(corpus) for row in rows()[:4]])])


def test_more_bad_rows_than_allowed_are_an_error_unless_a_parameter_allows_them(corpus: Path) -> None:
    listed = [{**row, "text": "" if i < 3 else row["text"]} for i, row in enumerate(rows())]
    source = manifest(corpus, listed)
    with pytest.raises(ManifestError, match="3 of 40 rows cannot be used, at most 5% .*or allow more with max_bad"):
        corpora.collect([source])
    with pytest.raises(ManifestError, match="3 of 40 rows cannot be used, at most 5% .*Mend or drop these rows$"):
        corpora.read_rows([source])
    assert len(corpora.collect([source], max_bad_share=0.1).dataset.table) == 37


def test_no_good_row_is_an_error_whatever_is_allowed(corpus: Path) -> None:
    listed = [{**row, "text": ""} for row in rows()]
    with pytest.raises(ManifestError, match="40 of 40 rows cannot be used, none is good"):
        corpora.collect([manifest(corpus, listed)], max_bad_share=1.0)


def test_bad_rows_stop_a_collection_before_anything_is_written(corpus: Path, project: Project) -> None:
    with pytest.raises(ManifestError):
        corpora.collect([manifest(corpus, [{**row, "text": ""} for row in rows()])])
    assert not (project.root / "data").exists()


def test_several_reasons_for_one_row_are_all_told(corpus: Path) -> None:
    listed = rows()
    listed[7] |= {"text": "", "audio_path": "absent.wav"}
    reason = corpora.collect([manifest(corpus, listed)]).rejected["reason"].iloc[0]
    assert "text is empty" in reason and "file is absent" in reason
