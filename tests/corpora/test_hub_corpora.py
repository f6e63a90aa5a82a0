"""The hub's own client libraries, unmodified, prepare FLEURS and MInDS-14 from a hub on loopback, by HF_ENDPOINT.

What they read of the environment they read when they are imported, so that each time is a process of its own.
"""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow.parquet
import pytest

from tests import miniature_corpora
from tests.corpora.listed import clip
from tests.corpora.preparing import table_of
from tests.hub import TOKEN, Files, Hub, answering
from workbench import audio, corpora, datasets
from workbench.errors import ManifestError

pytest.importorskip("datasets")

README = "README.md"
TRAIN, MORE, DEV, TEST = (f"parquet-data/en_us/{name}.parquet" for name in (
    "train-00000-of-00002", "train-00001-of-00002", "validation-00000-of-00001", "test-00000-of-00001"))
MINDS14 = "en-US/train-00000-of-00001.parquet"
CHUNK = 10 * 2**20
"""What huggingface_hub writes down at once; of a piece that is cut short it fetches all again."""

COLLECT = """
import sys
from workbench import corpora
made = corpora.collect(sys.argv[1:])
print(made.dataset.version, *made.corpora["license"])
"""
READ = """
import json, sys
from workbench import audio, remote
read = [(len(audio.read(url)), [len(piece) for piece in remote.pieces(url, 10_000)]) for url in sys.argv[1:]]
print(json.dumps(read))
"""


@dataclass(frozen=True)
class Client:
    """Processes that know a hub by its address, and keep what they fetch under a project."""

    root: Path
    address: str

    def run(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run Python to its end, with no setting of the hub but these and what is given."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
        given = {"HF_ENDPOINT": self.address, "HF_HOME": str(self.root / "hf"), "HF_TOKEN": TOKEN}
        return subprocess.run([sys.executable, *words], env={**kept, **given, **more}, cwd=self.root,
                              capture_output=True, text=True, timeout=120, check=False)

    def prepare(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run `workbench prepare`."""
        return self.run("-m", "workbench.cli", "prepare", *words, **more)


def files_of(folder: Path) -> Files:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def fleurs(root: Path) -> Files:
    """Make the repository with two languages, which keeps its older tables and tarballs beside the Parquet."""
    older = files_of(miniature_corpora.fleurs_tables(root / "older"))
    return older | files_of(miniature_corpora.with_card(miniature_corpora.fleurs_snapshot(root, "en_us", "fr_fr")))


def minds14(root: Path, seconds: float = 0.6) -> Files:
    """Make the repository with two languages."""
    miniature_corpora.minds14_snapshot(root, language="cs-CZ")
    miniature_corpora.minds14_snapshot(root, seconds=seconds)
    return files_of(miniature_corpora.with_card(root / "minds14"))


def told_by(table: pd.DataFrame) -> list[tuple[str, str, str, bytes]]:
    """Give split, words, gender and audio of each row of a manifest."""
    return sorted((row.split, row.text, row.gender, Path(row.audio_path).read_bytes()) for row in table.itertuples())


def held_by(hub: Hub) -> list[tuple[str, str, str, bytes]]:
    """Give the same of what is on the hub."""
    files = hub.repositories["google/fleurs"]
    return sorted((split, row["transcription"], ("male", "female")[row["gender"]], row["audio"]["bytes"])
                  for file, split in ((TRAIN, "train"), (MORE, "train"), (DEV, "dev"), (TEST, "test"))
                  for row in pyarrow.parquet.read_table(pyarrow.BufferReader(files[file])).to_pylist())


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    return done.stderr.splitlines()[-1]


def times_of(table: pd.DataFrame) -> list[int]:
    return [Path(path).stat().st_mtime_ns for path in table["audio_path"]]


def test_fleurs_is_fetched_once_from_the_hub_and_is_there_without_it(root: Path) -> None:
    hub = Hub({"google/fleurs": fleurs(root)})
    with answering(hub) as address:
        client = Client(root, address)
        first = client.prepare("fleurs", "en_us", "--to", "fleurs.parquet")
        assert first.returncode == 0, first.stderr
        assert "FLEURS: 36 utterances\nsplits: dev 6, test 6, train 24\nlicence: CC BY 4.0\n" in first.stdout
        assert sorted(hub.fetched) == sorted([README, TRAIN, MORE, DEV, TEST]), "one language, and nothing twice"
        table = pd.read_parquet(root / "fleurs.parquet")
        assert told_by(table) == held_by(hub) and "speaker" not in table, "it does not say who speaks"
        before = times_of(table)
        hub.fetched.clear()
        assert client.prepare("fleurs", "en_us", "--to", "fleurs.parquet").stdout == first.stdout
        assert not hub.fetched and times_of(pd.read_parquet(root / "fleurs.parquet")) == before
    assert client.prepare("fleurs", "en_us", "--to", "fleurs.parquet", HF_HUB_OFFLINE="1").stdout == first.stdout
    assert times_of(pd.read_parquet(root / "fleurs.parquet")) == before
    other = client.prepare("fleurs", "fr_fr", HF_HUB_OFFLINE="1")
    assert other.returncode == 2 and "Couldn't find cache for google/fleurs for config 'fr_fr'" in last_line(other)


def test_of_a_corpus_that_has_changed_on_the_hub_only_the_changed_files_are_fetched(root: Path) -> None:
    hub = Hub({"google/fleurs": fleurs(root)})
    with answering(hub) as address:
        client = Client(root, address)
        client.prepare("fleurs", "en_us", "--to", "fleurs.parquet")
        hub.fetched.clear()
        miniature_corpora.fleurs_splits({"test": 6})["test"].to_parquet(root / "test.parquet")
        hub.repositories["google/fleurs"][TEST] = (root / "test.parquet").read_bytes()
        assert client.prepare("fleurs", "en_us", "--to", "fleurs.parquet").returncode == 0
    assert hub.fetched == [TEST] and told_by(pd.read_parquet(root / "fleurs.parquet")) == held_by(hub)


def test_minds14_is_collected_by_a_languages_name_over_a_connection_that_breaks(root: Path) -> None:
    hub = Hub({"PolyAI/minds14": minds14(root)})
    hub.cuts[MINDS14] = [1_000]
    with answering(hub) as address:
        done = Client(root, address).run("-c", COLLECT, "minds14:en-US")
    assert done.returncode == 0, done.stderr
    version, *licence = done.stdout.split()
    assert licence == ["CC", "BY", "4.0"]
    assert hub.fetched == [README, MINDS14, MINDS14], "what is short is fetched again"
    made, same = datasets.load(version).table, table_of("minds14", root / "minds14" / "en-US")
    assert set(made["split"]) == set(datasets.SPLITS) and set(made["speaker"]) == {datasets.UNKNOWN_SPEAKER}
    about = ["audio_sha", "text", "intent"]
    assert len(made) == 20 and made[about].sort_values("audio_sha").reset_index(drop=True).equals(
        same[about].sort_values("audio_sha").reset_index(drop=True))


@pytest.mark.parametrize(("language", "changed", "message"), [
    ("xx-XX", {}, r"BuilderConfig 'xx-XX' not found. Available: \['cs-CZ', 'en-US'\]"),
    ("en-US", {"minds14.py": b"import datasets\n"}, "scripts are no longer supported, but found minds14.py"),
    ("en-US", {MINDS14: b"PAR1 cut short"}, "Parquet")])
def test_what_the_hub_has_not_or_has_wrongly_is_told_in_one_sentence(
        language: str, changed: Files, message: str, root: Path) -> None:
    with answering(Hub({"PolyAI/minds14": {**minds14(root), **changed}})) as address:
        done = Client(root, address).prepare("minds14", language)
    told = last_line(done)
    assert done.returncode == 2 and "Traceback" not in done.stderr and len(told) < 450 and not (root / "data").exists()
    assert re.match(rf"workbench: minds14 cannot be opened from the hub, PolyAI/minds14 {language} \(.*{message}.*\); "
                    "if the connection failed run the same command, or give a language", told), told


@pytest.mark.parametrize("n_left", [0.5, 0.97])
def test_a_snapshots_table_that_is_cut_short_is_told_in_one_sentence(n_left: float, root: Path) -> None:
    folder = miniature_corpora.fleurs_snapshot(root, "en_us")
    (damaged,) = folder.rglob(Path(MORE).name)
    damaged.write_bytes(damaged.read_bytes()[: int(n_left * damaged.stat().st_size)])
    with pytest.raises(ManifestError, match="^fleurs cannot be opened from .* \\(.*\\); give a language"):
        corpora.collect([f"fleurs:{folder}"])
    assert not list((root / "data").glob("datasets/*"))


@pytest.mark.slow
def test_of_a_large_file_only_the_rest_is_fetched_when_the_connection_breaks(root: Path) -> None:
    hub = Hub({"PolyAI/minds14": minds14(root, seconds=17.0)})
    hub.cuts[MINDS14] = [CHUNK + 1_000]
    with answering(hub) as address:
        done = Client(root, address).prepare("minds14", "en-US")
    assert "20 utterances" in done.stdout and hub.fetched == [README, MINDS14, f"{MINDS14} bytes={CHUNK}-"]


@pytest.mark.slow
def test_a_connection_that_breaks_for_good_is_told_and_the_same_command_fetches_only_the_rest(root: Path) -> None:
    hub = Hub({"google/fleurs": fleurs(root)})
    hub.cuts[DEV] = [0] * 6  # the client tries five times again
    with answering(hub) as address:
        client = Client(root, address)
        done = client.prepare("fleurs", "en_us")
        told = last_line(done)
        assert done.returncode == 2 and "Traceback" not in done.stderr and len(told) < 450, done.stderr
        assert re.search(r"google/fleurs en_us \(peer closed connection.*\); if the connection failed run", told), told
        whole = {file for file in hub.fetched if file != DEV}
        hub.fetched.clear()
        assert "36 utterances" in client.prepare("fleurs", "en_us").stdout
        assert TRAIN in whole and set(hub.fetched) == {README, TRAIN, MORE, DEV, TEST} - whole


@pytest.mark.slow
def test_what_was_fetched_is_there_while_the_hub_does_not_answer(root: Path) -> None:
    with answering(Hub({"PolyAI/minds14": minds14(root)})) as address:
        first = Client(root, address).prepare("minds14", "en-US")
    again = Client(root, address).prepare("minds14", "en-US")
    assert "MInDS-14: 20 utterances" in first.stdout and again.stdout == first.stdout


def test_audio_is_read_from_the_hub_whole_and_in_pieces(root: Path) -> None:
    content = audio.wav_bytes(clip(1))
    hub = Hub({name: {"clips/a 1.wav": content} for name in ("ada/queries", "ada/private")})
    with answering(hub) as address:
        done = Client(root, address).run(
            "-c", READ, "hf://datasets/ada/queries/clips/a 1.wav", "hf://datasets/ada/private@main/clips/a 1.wav")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[8_000, [10_000, len(content) - 10_000]]] * 2
