"""What a manifest's rows become before any audio is heard: names, places, numbers; in parts, whatever their number."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import soundfile

from workbench import manifests, placing, text
from workbench.corpus_cards import AUDIO_SUFFIXES


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Give a folder with three files in two subfolders, a link between them, and one that leads out."""
    folder = tmp_path / "corpus"
    (folder / "a" / "deep").mkdir(parents=True)
    for name in ("x.wav", "a/y.b.wav", "a/deep/z.wav", "../outside.wav"):
        (folder / name).write_bytes(b"sound")
    (folder / "in.wav").symlink_to(folder / "x.wav")
    (folder / "out.wav").symlink_to(tmp_path / "outside.wav")
    (folder / "linked").symlink_to(folder / "a")
    return folder


def read(folder: Path, rows: list[dict[str, Any]], kind: str = "csv") -> pd.DataFrame:
    path = folder / f"manifest.{kind}"
    if kind == "csv":
        pd.DataFrame(rows).to_csv(path, index=False)
    else:
        path.write_text("\n".join(map(json.dumps, rows)))
    return manifests.read(str(path), base_folder=folder)


NAMES = ["x.wav", "./x.wav", "a/../x.wav", "a/y.b.wav", "linked/deep/z.wav", "in.wav", "out.wav", "../outside.wav",
         "none.wav", "no/such.wav", "a", "a/", "..", ""]


def test_paths_are_what_resolving_each_by_itself_gives(corpus: Path) -> None:
    found = placing.placed([*NAMES, str(corpus / "x.wav"), f"file://{corpus}/x.wav"], str(corpus))
    wanted = [str((corpus / name).resolve()) if name else "" for name in NAMES]
    assert found["audio_path"].tolist() == [*wanted, str(corpus / "x.wav"), str(corpus / "x.wav")]
    is_file = [bool(path) and Path(path).is_file() for path in found["audio_path"]]
    assert found["file_state"].ne("").tolist() == is_file


def test_a_files_state_changes_when_it_does(corpus: Path) -> None:
    before = placing.placed(["x.wav", "in.wav"], str(corpus))["file_state"]
    (corpus / "x.wav").write_bytes(b"another sound")
    after = placing.placed(["x.wav", "in.wav"], str(corpus))["file_state"]
    assert before[0] == before[1] != after[0] == after[1]


def test_utterances_without_ids_are_named_after_their_files_and_numbered_when_listed_again(corpus: Path) -> None:
    rows = [{"audio_path": name, "text": "hi"} for name in ("a/y.b.wav", "x.wav", "in.wav", "a/deep/z.wav")]
    assert read(corpus, rows)["utterance_id"].tolist() == ["a/y.b", "x", "x#2", "a/deep/z"]


def test_a_long_jsonl_manifest_is_read_in_parts_as_if_it_were_whole(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[dict[str, Any]] = [
        {"audio_filepath": "x.wav", "text": f"Call {i}!", "speaker": i % 3, "duration": None if i % 4 else i + 0.5,
         **({"noise": "car"} if i > 7 else {})} for i in range(20)]
    whole = read(corpus, rows, "jsonl")
    monkeypatch.setattr(manifests, "ROWS_AT_A_TIME", 6)
    pd.testing.assert_frame_equal(read(corpus, rows, "jsonl"), whole)
    assert whole["reference"].tolist() == [text.normalize(row["text"]) for row in rows]
    assert whole["line"].tolist() == list(range(1, 21))


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_number_as_a_speaker_is_the_same_one_where_others_have_none(corpus: Path, kind: str) -> None:
    rows: list[dict[str, Any]] = [{"audio_path": "x.wav", "text": 5, "speaker": 1001}]
    gap = {"audio_path": "a/y.b.wav", "text": None, "speaker": None}
    for table in (rows, [*rows, gap], [*rows, {"audio_path": "in.wav"}]):
        pd.DataFrame(table).to_parquet(corpus / "manifest.parquet")
        (corpus / "manifest.jsonl").write_text("\n".join(map(json.dumps, table)))
        found = manifests.read(str(corpus / f"manifest.{kind}"), base_folder=corpus)
        assert found["speaker"].tolist() == ["1001", "unknown"][: len(table)]
        assert found["text"].tolist() == ["5", ""][: len(table)]


def test_a_speaker_of_seventeen_digits_keeps_them_all_where_others_have_none(corpus: Path) -> None:
    found = read(corpus, [{"audio_path": "x.wav", "text": "hi", "speaker": 12345678901234567},
                          {"audio_path": "in.wav", "text": "hi"}], "jsonl")
    assert found["speaker"].tolist() == ["12345678901234567", "unknown"]


def test_missing_words_of_a_nullable_column_are_none(corpus: Path) -> None:
    pd.DataFrame({"audio_path": ["x.wav", "in.wav"], "text": ["a", "b"], "speaker": pd.array([7, None], "Int64"),
                  }).to_parquet(corpus / "manifest.parquet")
    found = manifests.read(str(corpus / "manifest.parquet"), base_folder=corpus)
    assert found["speaker"].tolist() == ["7", "unknown"]


def test_what_libsndfile_reads_is_a_recording_but_raw_samples_which_tell_no_rate(corpus: Path) -> None:
    formats = {f".{name.lower()}" for name in soundfile.available_formats()}
    assert formats - set(AUDIO_SUFFIXES) == {".raw"}
    (corpus / "x.raw").write_bytes(b"sound")
    assert not manifests.read(str(corpus), base_folder=corpus)["audio_path"].str.endswith(".raw").any()


def test_line_separators_within_a_json_text_do_not_end_its_row(corpus: Path) -> None:
    (corpus / "m.jsonl").write_text(json.dumps({"audio_path": "x.wav", "text": "a\u2028b"}, ensure_ascii=False))
    assert manifests.read(str(corpus / "m.jsonl"), base_folder=corpus)["reference"].tolist() == ["a b"]


@pytest.mark.parametrize(("told", "is_right"), [
    ("", True), ("2", True), (" 2.5 ", True), ("1e1", True), ("0", False), ("-1", False), ("inf", False),
    ("nan", False), ("long", False)])
def test_a_duration_is_a_number_above_zero_or_nothing(corpus: Path, told: str, is_right: bool) -> None:
    row = {"audio_path": "x.wav", "text": "hi", "duration_s": told}
    assert manifests.reasons(read(corpus, [row])).empty == is_right


def test_the_reasons_of_a_row_come_in_the_order_of_the_checks(corpus: Path) -> None:
    rows = [{"utterance_id": "u", "audio_path": "x.wav", "text": "hi", "split": "train"}] * 2 + [
        {"utterance_id": "v", "audio_path": "none.wav", "text": "", "split": "holdout"}]
    found = manifests.reasons(read(corpus, rows))
    assert found.index.tolist() == [1, 2] and found[1] == "utterance_id is a duplicate; make it unique"
    assert [reason.split(";")[0] for reason in found[2].split(", ")[:3]] == [
        "text is empty", "audio file is absent", "split is not one of train"]
