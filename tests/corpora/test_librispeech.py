"""LibriSpeech in its true layout comes in with its splits, speakers and licence."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import soundfile

from tests import miniature_corpora
from tests.conftest import Project
from tests.corpora.preparing import prepared, table_of
from workbench import archives, audio, corpora, datasets, fingerprints, notebooks, parameters
from workbench import published_corpora as published
from workbench.errors import ManifestError


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
