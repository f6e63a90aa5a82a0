"""What is no corpus, or a damaged one, is said so, with what is wanted."""

import shutil
from pathlib import Path

import pytest

from tests import miniature_corpora
from tests.conftest import REPOSITORY
from tests.corpora.preparing import prepared
from workbench import corpora, corpus_cards
from workbench import published_corpora as published
from workbench.errors import ManifestError


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


@pytest.mark.parametrize(("source", "wanted"), [
    ("librispeech:s3://speech/LibriSpeech", r"give the folder LibriSpeech.*; a manifest at an address \(csv"),
    ("fleurs:hf://datasets/google/fleurs", "give a language on the hub"), ("musan:https://x.example/musan.tar.gz",
     "give the folder musan, or musan.tar.gz$")])
def test_an_address_in_the_place_of_a_folder_is_said_to_be_one(root: Path, source: str, wanted: str) -> None:
    name, _, place = source.partition(":")
    for act in (lambda: corpora.collect([source]), lambda: published.report(name, place, base_folder=root)):
        with pytest.raises(ManifestError, match=f"{name}: {place} is an address, .* this machine: fetch it.*{wanted}"):
            act()
    assert not (root / "data").exists()


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
    page = (REPOSITORY / "docs" / "corpora.md").read_text()
    for card in corpus_cards.CARDS.values():
        row = next(line for line in page.splitlines() if line.startswith(f"| `{card.name}` |"))
        assert card.url in row and (card.name == "lhotse" or card.license.split(" (")[0] in row)
