"""Corpora that the Hugging Face hub keeps as tables with audio inside: FLEURS and MInDS-14 (extra `hub`).

From the hub by a language's name, or offline from a snapshot's folder of Parquet or one that `save_to_disk` made. Audio
that a table holds as bytes is written once, as the file that it is.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from workbench import archives, remote, storage
from workbench.corpus_layouts import Listing, gender, missing, only
from workbench.errors import ManifestError, SettingsError, WorkbenchError
from workbench.progress import Progress, pass_through

DICT, STATE = "dataset_dict.json", "state.json"
"""What `save_to_disk` leaves in the folder of several splits, and of one. Source: datasets.load_from_disk."""
_SPLIT_IN_NAME = re.compile(r"(train|validation|test)[-_.]")


@dataclass(frozen=True, slots=True)
class HubCorpus:
    """A corpus's repository, the column of its words, its slice columns under our names, and ours for its splits."""

    repository: str
    text: str
    slices: Mapping[str, str]
    splits: Mapping[str, str] = field(default_factory=dict)


CORPORA = {
    "fleurs": HubCorpus("google/fleurs", "transcription", {"gender": "gender"},
                        {"train": "train", "validation": "dev", "test": "test"}),
    "minds14": HubCorpus("PolyAI/minds14", "transcription", {"intent": "intent_class"}),
}
"""MInDS-14 has one split, which judges nothing by itself: its recordings are divided at the door."""


def read(name: str, place: Path, progress: Progress = pass_through) -> Listing:
    """List a corpus's utterances; `place` is a folder, or else its last part is a language's name on the hub.

    Nobody tells who speaks: every recording is a speaker of its own to splits, and intervals are too narrow.
    Raises: ManifestError when it cannot be opened or is another corpus; SettingsError without the extra `hub`.
    """
    corpus, parts = CORPORA[name], _opened(name, place)
    state = [str(file) for part in parts.values() for file in part.files]
    root = archives.folder_of(name, place, state) / "audio"
    with _explaining(name, place):
        tables = [_listed(corpus, split, part, root) for split, part in parts.items()]

    def write(rows: pd.DataFrame, shown: Progress) -> None:
        wanted = [Path(path) for path in rows["audio_path"] if not Path(path).is_file()]
        sounds = _sounds({root / split: part for split, part in parts.items()}, wanted, _explaining(name, place))
        _write(sounds, len(wanted), shown)

    return Listing(pd.concat(tables, ignore_index=True), root, write)


@dataclass(frozen=True, slots=True)
class _Part:
    """One split: its rows with the audio's bytes undecoded, and what tells it from another of the same place."""

    rows: Any
    files: list[tuple[str, int, int]]


def _library() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise SettingsError("FLEURS and MInDS-14 are read by the library datasets, which is not installed; "
                            "do: pip install -e '.[hub]'") from error
    return datasets


def _opened(name: str, place: Path) -> dict[str, _Part]:
    """Open the splits of a place, whichever of the three kinds it is, without decoding any audio."""
    library = _library()
    with _explaining(name, place):
        found = _found(library, name, place)
    undecoded = library.Audio(decode=False)
    absent = [split for split, (rows, _) in found.items() if "audio" not in rows.column_names]
    if absent:
        raise missing(place, f"{name}, whose tables hold audio", "a snapshot of " + CORPORA[name].repository)
    return {split: _Part(rows.cast_column("audio", undecoded), [_state(file) for file in files])
            for split, (rows, files) in found.items()}


@contextmanager
def _explaining(name: str, place: Path) -> Iterator[None]:
    """Say in words why a place cannot be read: datasets lets through what the libraries below it raise, each its own.
    """
    try:
        yield
    except WorkbenchError:
        raise
    except Exception as error:
        raise _unopened(name, place, error) from error


def _unopened(name: str, place: Path, error: Exception) -> ManifestError:
    """Word why a place cannot be read: `datasets` says only that a table failed, and its cause says how."""
    cause = error.__cause__ if isinstance(error, _library().exceptions.DatasetGenerationError) else None
    words = remote.said(cause if isinstance(cause, Exception) else error)
    source, again = (place, "") if place.exists() else (
        f"the hub, {CORPORA[name].repository} {place.name}", "if the connection failed run the same command, or ")
    return ManifestError(f"{name} cannot be opened from {source} ({words}); {again}give a language that the hub has "
                         "(fleurs:en_us, minds14:en-US), or the folder of a snapshot of the repository")


def _found(library: Any, name: str, place: Path) -> dict[str, tuple[Any, list[Path]]]:
    if place.is_file():
        raise missing(place, f"a snapshot of {name}", f"a folder of {CORPORA[name].repository} with Parquet files")
    if not place.is_dir():
        loaded = library.load_dataset(CORPORA[name].repository, place.name)
        return {split: (rows, _cached(rows)) for split, rows in loaded.items()}
    saved = [p for p in (place, *sorted(place.glob("*/"))) if (p / DICT).is_file()]
    if saved:
        loaded = library.load_from_disk(str(only(saved, place, f"a language of {name}")))
        return {split: (rows, _cached(rows)) for split, rows in loaded.items()}
    if (place / STATE).is_file():
        rows = library.load_from_disk(str(place))
        return {str(rows.split or "train"): (rows, _cached(rows))}
    return _parquet(library, name, place)


def _parquet(library: Any, name: str, place: Path) -> dict[str, tuple[Any, list[Path]]]:
    """Read a snapshot's files in place: `parquet-data/en_us/train-00000-of-00002.parquet`, `en-US/train-...`."""
    folders = sorted({p.parent for pattern in ("*", "*/*", "*/*/*") for p in place.glob(f"{pattern}.parquet")})
    if not folders:
        raise missing(place, f"a snapshot of {name}", f"a folder of {CORPORA[name].repository} with Parquet files")
    files: dict[str, list[Path]] = {}
    for file in sorted(only(folders, place, f"a language of {name}").glob("*.parquet")):
        split = _SPLIT_IN_NAME.search(file.name)
        files.setdefault(split[1] if split else "train", []).append(file)
    streams = library.load_dataset("parquet", data_files={k: [str(f) for f in v] for k, v in files.items()},
                                   streaming=True)  # as a stream no second copy is made of what is on disk
    return {split: (streams[split], files[split]) for split in files}


def _cached(rows: Any) -> list[Path]:
    return [Path(file["filename"]) for file in rows.cache_files]


def _state(file: Path) -> tuple[str, int, int]:
    stat = file.stat()
    return file.name, stat.st_size, stat.st_mtime_ns


def _listed(corpus: HubCorpus, split: str, part: _Part, root: Path) -> pd.DataFrame:
    """Read all but the audio of one split."""
    wanted = [corpus.text, *corpus.slices.values()]
    absent = [name for name in wanted if name not in part.rows.column_names]
    if absent:
        raise ManifestError(f"{corpus.repository} has a column {', '.join(absent)}, what was given has "
                            f"{', '.join(part.rows.column_names)}; give a snapshot of that repository")
    told = pd.DataFrame(list(part.rows.select_columns(wanted)), columns=wanted)
    slices = {ours: _spelled(part.rows.features[theirs], told[theirs]) for ours, theirs in corpus.slices.items()}
    names = [f"{split}/{number:06d}" for number in range(len(told))]
    table = pd.DataFrame({"utterance_id": names, "audio_path": [str(root / f"{name}.wav") for name in names],
                          "text": told[corpus.text].fillna(""), **slices})
    return table.assign(split=corpus.splits.get(split, "")) if corpus.splits else table


def _spelled(feature: Any, column: "pd.Series[Any]") -> "pd.Series[str]":
    """Write a class's name for its number."""
    names = getattr(feature, "names", None)
    words = column.map(lambda number: names[number] if names and number is not None and number >= 0 else number)
    return gender(words.astype(str)) if column.name == "gender" else words


def _write(sounds: Iterator[tuple[Path, dict[str, Any]]], n: int, progress: Progress) -> None:
    """Write the audio of `n` rows; a table's row that has none leaves none."""
    for path, sound in progress(sounds, "writing audio", n):
        content = sound["bytes"] if sound["bytes"] is not None else _content(sound["path"])
        if content is not None:
            with storage.replacing(path) as temporary:
                temporary.write_bytes(content)


def _content(path: str | None) -> bytes | None:
    return Path(path).read_bytes() if path and Path(path).is_file() else None


def _sounds(parts: Mapping[Path, _Part], wanted: list[Path], explaining: AbstractContextManager[None],
            ) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Give the audio, undecoded, of the files that are wanted."""
    with explaining:
        for folder, part in parts.items():
            numbers = sorted(int(path.stem) for path in wanted if path.parent == folder)
            paths = {number: folder / f"{number:06d}.wav" for number in numbers}
            if hasattr(part.rows, "select"):  # rows can be reached by number
                chosen = zip(numbers, part.rows.select(numbers), strict=True)
            else:
                chosen = enumerate(part.rows)  # type: ignore[assignment]
            yield from ((paths[number], row["audio"]) for number, row in chosen if number in paths)
