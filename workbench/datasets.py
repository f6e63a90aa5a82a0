"""Dataset versions: tables of utterances named by their content, over one store of clips named by theirs.

What is stored never changes. What comes in through the door is checked before it gets here (`corpora`). A team's store
gets each version when it is written, and gives those that are not here.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from workbench import audio, remote, shared_datasets, storage, text
from workbench.blocks import UNKNOWN_SPEAKER as UNKNOWN_SPEAKER
from workbench.blocks import n_known
from workbench.errors import ManifestError

SPLITS = ("train", "valid", "dev", "gate", "test")
PROPORTIONS = {"train": 0.60, "valid": 0.05, "dev": 0.10, "gate": 0.15, "test": 0.10}
"""Shares of the speakers. Ours: gate is the largest of the scored sets, since its verdicts are what rounds hang on."""

MIN_SPEAKERS = 10
"""With fewer, five splits would judge a model by one or two voices: all is train, and one is left out in turn."""

LEARNED = ("utterance_id", "audio_path", "reference", "speaker", "duration_s", "audio_sha")
"""What a training reads of an utterance: of a million rows a third of the memory that all columns take."""

COLUMNS = ("utterance_id", "audio_path", "text", "reference", "speaker", "duration_s", "split", "audio_sha",
           "level_dbfs", "source")


@dataclass(frozen=True)
class Dataset:
    """One version: a row an utterance (`COLUMNS`, then slice columns), audio paths absolute; `card` says where from.

    Its table is read when somebody first asks for all of it.
    """

    version: str
    given: pd.DataFrame | None = None
    card: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def table(self) -> pd.DataFrame:
        """Give all utterances."""
        return _read(self.version) if self.given is None else self.given

    def split(self, name: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Give the utterances of one split, numbered from 0, or only these columns of them (`LEARNED`).

        Raises: ValueError for a split that does not exist.
        """
        if name not in SPLITS:
            raise ValueError(f"split is {name!r}; choose one of {', '.join(SPLITS)}")
        if self.given is None and "table" not in self.__dict__:
            return _read(self.version, columns, filters=[("split", "==", name)])
        part = self.table[self.table["split"] == name].reset_index(drop=True)
        return part if columns is None else part[list(columns)]

    @property
    def train(self) -> pd.DataFrame:
        """What models learn from; all there is when speakers are few."""
        return self.split("train")

    @property
    def valid(self) -> pd.DataFrame:
        """What stops training, chooses checkpoints and calibrates confidence."""
        return self.split("valid")

    @property
    def dev(self) -> pd.DataFrame:
        """What is open for browsing and mining."""
        return self.split("dev")

    @property
    def gate(self) -> pd.DataFrame:
        """What is only scored, for verdicts."""
        return self.split("gate")

    @property
    def test(self) -> pd.DataFrame:
        """What the audit before a deployment opens, alone."""
        return self.split("test")

    @property
    def is_few_speakers(self) -> bool:
        """Whether there are no splits, so that models are judged by leaving one speaker out at a time."""
        splits = self.table["split"] if self.given is not None else _read(self.version, ["split"])["split"]
        return bool((splits == "train").all())


# --- clips -----------------------------------------------------------------------------------------------------------


def store_audio(samples: NDArray[np.floating]) -> tuple[str, str]:
    """Keep a clip under its content's name, once. Returns: that name, and the path relative to `data/`."""
    sha = audio.content_hash(samples)
    relative = f"datasets/audio/{sha[:2]}/{sha}.wav"
    path = storage.data_folder() / relative
    if not path.is_file():
        with storage.replacing(path) as temporary:
            audio.write(temporary, samples)
    return sha, relative


def store_clip(samples: NDArray[np.floating]) -> dict[str, Any]:
    """Keep a clip and measure it. Returns: the columns audio_path, audio_sha, duration_s, level_dbfs."""
    sha, path = store_audio(samples)
    return {"audio_path": path, **_measured(samples, sha)}


def measure(samples: NDArray[np.floating]) -> dict[str, Any]:
    """Give the columns that a clip's samples decide: audio_sha, duration_s, level_dbfs."""
    return _measured(samples, audio.content_hash(samples))


def _measured(samples: NDArray[np.floating], sha: str) -> dict[str, Any]:
    return {"audio_sha": sha, "duration_s": round(audio.duration_s(samples), 4),
            "level_dbfs": round(audio.level_dbfs(samples), 2)}


def store_rows(rows: pd.DataFrame | Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Keep the clip of each row that brings `samples`, one at a time, and give the rows without them."""
    records = rows.to_dict("records") if isinstance(rows, pd.DataFrame) else rows
    table = pd.DataFrame([_without_samples({str(name): value for name, value in row.items()}) for row in records])
    return table if table.empty or "reference" in table else table.assign(reference=table["text"].map(text.normalize))


def _without_samples(row: dict[str, Any]) -> dict[str, Any]:
    samples = row.pop("samples", None)
    return row if samples is None else row | store_clip(samples)


# --- splits ----------------------------------------------------------------------------------------------------------


def assign_splits(speakers: Iterable[str], salt: str, proportions: Mapping[str, float] = PROPORTIONS) -> dict[str, str]:
    """Give each speaker the split that the salted hash of the name falls into, whoever else there is."""
    names, edges, different = list(proportions), np.cumsum(list(proportions.values())), list(set(speakers))
    places = np.searchsorted(edges / edges[-1], [_hashed(speaker, salt) for speaker in different], "right")
    return {speaker: names[min(place, len(names) - 1)] for speaker, place in zip(different, places, strict=True)}


def _hashed(name: str, salt: str) -> float:
    """Give a number from 0 to 1 that is uniform over names."""
    return int.from_bytes(hashlib.sha256(f"{salt}\0{name}".encode()).digest()[:8]) / 2**64


def blocks(table: pd.DataFrame) -> pd.Series:
    """Name what must not be torn apart by splits: the speaker, or the recording itself when nobody knows who spoke."""
    return table["speaker"].where(table["speaker"] != UNKNOWN_SPEAKER, table["audio_sha"])


def check_leakage(table: pd.DataFrame) -> None:
    """Make sure that no voice and no recording is in two splits. Raises: ManifestError that names them."""
    known = table[table["speaker"] != UNKNOWN_SPEAKER]
    for column, word, rows in (("speaker", "speaker", known), ("audio_sha", "recording", table)):
        n_splits = rows.groupby(column)["split"].nunique()
        torn = list(n_splits.index[n_splits > 1])
        if torn:
            where = rows[rows[column] == torn[0]].drop_duplicates("split")
            raise ManifestError(
                f"{word} {str(torn[0])[:40]} is in {' and '.join(where['split'])} (utterances "
                f"{', '.join(where['utterance_id'])}), and so are {len(torn) - 1} more; "
                "a model may not be judged on what it learned from: "
                f"put each {word} in one split, or drop the split column to have splits made")


# --- versions --------------------------------------------------------------------------------------------------------


def folder(version: str) -> Path:
    """Give a version's folder."""
    return storage.data_folder() / "datasets" / version


def save(table: pd.DataFrame, *, parent: str = "", note: str = "", salt: str = "",
         corpora: Sequence[Mapping[str, Any]] = ()) -> Dataset:
    """Write a dataset version, named by the hash of its rows; the same rows in any order are the same version.

    `corpora` are the published ones that it is made of, with licence and citation; a parent's stay on the card.
    Raises: ManifestError when a speaker or a recording is in two splits; ValueError when a column is missing.
    """
    missing = [name for name in COLUMNS if name not in table]
    if missing or table["utterance_id"].duplicated().any() or not table["split"].isin(SPLITS).all():
        raise ValueError(f"a dataset needs unique utterance_id, a split of {SPLITS} and the columns {COLUMNS}; "
                         f"missing: {missing}")
    check_leakage(table)
    table = _canonical(table)
    version = storage.hash_table(table)[:12]
    if not (folder(version) / "card.json").is_file():
        storage.write_table(folder(version) / "manifest.parquet", table)
        storage.write_json(folder(version) / "card.json", {
            "version": version, "parent": parent, "note": note, "salt": salt, "normalizer": text.NORMALIZER_VERSION,
            "n_utterances": len(table), "hours": round(table["duration_s"].sum() / 3600, 4),
            "n_speakers": n_known(table["speaker"]), "sources": sorted(table["source"].unique()),
            "corpora": [*_corpora_of(parent), *corpora]})
    shared_datasets.publish(folder(version))
    return load(version)


def _corpora_of(version: str) -> list[Mapping[str, Any]]:
    card = folder(version) / "card.json"
    return json.loads(card.read_text(encoding="utf-8")).get("corpora", []) if version and card.is_file() else []


def _canonical(table: pd.DataFrame) -> pd.DataFrame:
    """Fix what must not change a version's name: the order of rows and columns, where `data/` lies, mixed types."""
    data = f"{storage.data_folder()}/"
    relative = [str(path).removeprefix(data) for path in table["audio_path"]]
    table = table.assign(audio_path=relative)[[*COLUMNS, *sorted(str(name) for name in table if name not in COLUMNS)]]
    mixed = [name for name, kind in table.dtypes.items()
             if not (pd.api.types.is_numeric_dtype(kind) or isinstance(kind, pd.StringDtype))]
    as_words = {str(name): table[name].map(lambda value: None if pd.isna(value) else str(value)) for name in mixed}
    return table.assign(**as_words).sort_values("utterance_id", ignore_index=True)


def _read(version: str, columns: Sequence[str] | None = None, filters: list[tuple[str, str, Any]] | None = None,
          ) -> pd.DataFrame:
    """Read a version's rows, or what is wanted of them, with audio paths made absolute."""
    wanted = None if columns is None else list(columns)
    table = pd.read_parquet(folder(version) / "manifest.parquet", columns=wanted, filters=filters)
    if "audio_path" not in table:
        return table
    data = storage.data_folder()
    return table.assign(audio_path=[path if path.startswith("/") or remote.is_url(path) else f"{data}/{path}"
                                    for path in table["audio_path"]])


def load(version: str, *, needs_audio: bool = True) -> Dataset:
    """Open a dataset version; what of it is not here is fetched from the team's store, clips only if they are needed.

    Raises: ManifestError when there is none of that name; StoreError when it does not come whole.
    """
    card = folder(version) / "card.json"
    if version and not card.is_file():
        shared_datasets.fetch(card.parent)
    if not version or not card.is_file():
        known = sorted(path.parent.name for path in folder("x").parent.glob("*/card.json"))
        raise ManifestError(f"no dataset version {version!r} under data/datasets; `workbench run collect` makes one; "
                            f"there are: {', '.join(known) or 'none'}")
    if needs_audio:
        shared_datasets.fetch_all_clips(card.parent)
    return Dataset(version, card=json.loads(card.read_text(encoding="utf-8")))


def kin(recordings: pd.Series, salt: str) -> Dataset | None:
    """Find the version, split by a salt or by one of its series (`salt#3`), that shares most recordings with these.

    Returns: the latest of equals; None where none shares any. Names are no help: many a corpus has a speaker 1.
    """
    cards = sorted(folder("x").parent.glob("*/card.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    salts = {card.parent.name: str(json.loads(card.read_text(encoding="utf-8")).get("salt", "")) for card in cards}
    alike = [version for version, used in salts.items() if used == salt or used.startswith(f"{salt}#")]
    wanted = pd.Index(recordings.unique()) if alike else ()
    shared = {version: int(_read(version, ["audio_sha"])["audio_sha"].isin(wanted).sum()) for version in alike}
    nearest = max(shared, key=shared.__getitem__, default="")  # of equals the first, which is the latest
    return load(nearest, needs_audio=False) if nearest and shared[nearest] else None


def extend(dataset: Dataset, rows: pd.DataFrame | Iterable[Mapping[str, Any]], note: str) -> Dataset:
    """Make a version that holds new rows too; recordings that are there already are left out.

    A known speaker keeps their split; a new one has the split the row says, or else the one of the salted hash.
    Raises: ManifestError when nothing is new, an id is taken, or a row would tear its speaker apart.
    """
    new = store_rows(rows)
    if len(new):
        new = new[~new["audio_sha"].isin(set(dataset.table["audio_sha"]))].drop_duplicates("audio_sha")
    if new.empty:
        raise ManifestError(f"nothing new for dataset {dataset.version}: all recordings are in it; bring others")
    taken = sorted(set(new["utterance_id"]) & set(dataset.table["utterance_id"]))
    if taken:
        raise ManifestError(f"{len(taken)} utterance ids are already in dataset {dataset.version}, the first is "
                            f"{taken[0]}; give the new recordings other ids")
    table = pd.concat([dataset.table, new.assign(split=splits_of_new(dataset, new))], ignore_index=True)
    return save(table, parent=dataset.version, note=note, salt=str(dataset.card.get("salt", "")))


def splits_of_new(dataset: Dataset, new: pd.DataFrame) -> pd.Series:
    """Say where new rows go, as `extend` does."""
    said = new["split"] if "split" in new else pd.Series(None, index=new.index, dtype=object)
    if dataset.is_few_speakers:
        return pd.Series("train", index=new.index)
    known = dict(zip(blocks(dataset.table), dataset.table["split"], strict=True))
    hashed = assign_splits(blocks(new), str(dataset.card.get("salt", "")))
    return said.fillna(blocks(new).map(known)).fillna(blocks(new).map(hashed))
