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


@pytest.mark.parametrize("index", [
    pd.Index([3, 3]), pd.Index(["b", "a"], name="speaker"), pd.Index([7, 7], name="line"),
    pd.MultiIndex.from_tuples([("b", 1), ("a", 1)], names=["speaker", None])])
def test_a_parquet_index_is_a_column_where_it_has_a_name_and_nothing_otherwise(corpus: Path, index: pd.Index) -> None:
    table = pd.DataFrame({"audio_path": ["x.wav", "in.wav"], "text": ["a", "b"]}, index=index)
    table.to_parquet(corpus / "manifest.parquet")
    found = manifests.read(str(corpus / "manifest.parquet"), base_folder=corpus)
    assert found["speaker"].tolist() == (["b", "a"] if "speaker" in index.names else ["unknown"] * 2)
    assert found["line"].tolist() == [1, 2] and manifests.reasons(found).empty
    table.set_index("audio_path").to_parquet(corpus / "manifest.parquet")
    found = manifests.read(str(corpus / "manifest.parquet"), base_folder=corpus)
    assert found["audio_path"].tolist() == [str(corpus / "x.wav")] * 2


@pytest.mark.parametrize("end", [",", ",,"])
def test_commas_at_the_end_of_rows_say_nothing(corpus: Path, end: str) -> None:
    rows = [f"x.wav,a,007{end}", "in.wav,b,008", f"a/y.b.wav,c,{end}"]
    (corpus / "manifest.csv").write_text("\n".join(["audio_path,text,speaker", *rows]))
    found = manifests.read(str(corpus / "manifest.csv"), base_folder=corpus)
    assert found["text"].tolist() == ["a", "b", "c"] and found["speaker"].tolist() == ["007", "008", "unknown"]
    assert manifests.reasons(found).empty


@pytest.mark.parametrize(("kind", "separator"), [("csv", ","), ("tsv", "\t")])
def test_a_quotation_mark_that_is_not_closed_is_named_with_its_line_and_the_rows_it_swallows(
    corpus: Path, kind: str, separator: str
) -> None:
    lines = ["audio_path,text,note,speaker", 'x.wav,"play jazz\n",none,s1', 'in.wav,play,"two\nlines",s1',
             'x.wav,"play,,s1', "x.wav,stop,,s2", 'x.wav,go "now",,s3', "in.wav,stop,,s4", 'x.wav,stop,,"s5',
             'in.wav,stop,,"', "x.wav,,,"]
    path = corpus / f"manifest.{kind}"
    path.write_text("\r\n".join(lines).replace(",", separator))
    found = manifests.reasons(table := manifests.read(str(path), base_folder=corpus))
    told = dict(zip(table["line"][found.index], found, strict=True))
    wanted = "the quotation mark opened on line {} is not closed there and swallows all up to line {}; close it on line"
    assert table["line"].tolist() == [2, 4, 6, 9, 10, 12] and list(told) == [6, 10, 12]
    assert told[6].startswith(wanted.format(6, 8)) and told[10].startswith(wanted.format(10, 11))
    assert told[12] == "text is empty; write down what is said"


def test_line_breaks_in_a_json_text_are_no_open_quotation(corpus: Path) -> None:
    row = {"audio_path": "x.wav", "text": "play\njazz", "row_fault": "not ours"}
    assert manifests.reasons(read(corpus, [row], "jsonl")).empty


def test_a_text_file_that_is_not_utf_8_is_no_reference(corpus: Path) -> None:
    for name, content in (("a/deep/z", "\ufeffplay caf\u00e9\r\n".encode()), ("a/y.b", b"play caf\xe9")):
        (corpus / f"{name}.txt").write_bytes(content)
    table = manifests.read(str(corpus), base_folder=corpus).set_index("utterance_id", drop=False)
    found = manifests.reasons(table[table["text"].ne("")])
    assert table["text"]["a/deep/z"] == "play caf\u00e9"
    assert found.to_dict() == {"a/y.b": "its text file is not UTF-8; export it again, in UTF-8"}


def test_linked_folders_are_read_once_by_whatever_way_and_no_circle_holds_anybody_up(corpus: Path) -> None:
    other = corpus.parent / "disk" / "eve"
    other.mkdir(parents=True)
    (other / "e.wav").write_bytes(b"sound")
    for link, target in (("eve", other), ("a/round", corpus), ("1", corpus / "a" / "deep")):
        (corpus / link).symlink_to(target)
    (other / "up").symlink_to(corpus.parent / "disk")
    found = manifests.read(str(corpus), base_folder=corpus, audio_root=corpus.parent)
    names = found["audio_path"].str.removeprefix(f"{corpus.parent}/")
    assert sorted(zip(names, found["speaker"], strict=True)) == [
        ("corpus/a/deep/z.wav", "a"), ("corpus/a/y.b.wav", "a"), ("corpus/x.wav", "unknown"),
        ("corpus/x.wav", "unknown"), ("disk/eve/e.wav", "eve"), ("outside.wav", "unknown")]


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
