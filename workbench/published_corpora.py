"""Published corpora become ordinary manifests: a source such as `librispeech:/data/LibriSpeech` is prepared and read.

What is prepared is one Parquet file with our columns, the corpus's own splits, and a note of where its audio lies, its
licence and its citation. It is written last: after a kill the same call completes what there is.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet

from workbench import (
    archives,
    corpus_cards,
    corpus_layouts,
    hub_corpora,
    lhotse_manifests,
    noise_recordings,
    remote,
    settings,
    storage,
)
from workbench.corpus_cards import CorpusCard
from workbench.corpus_layouts import Listing, Reader
from workbench.errors import ManifestError
from workbench.progress import Progress, pass_through

NOTE = b"workbench_corpus"
"""The key under which a prepared manifest holds its corpus's card and the folder of its audio."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A manifest, the folder that its audio lies under, and what is known of its corpus (nothing of any other)."""

    manifest: str
    audio_root: str | Path | None = None
    card: Mapping[str, Any] = field(default_factory=dict)


def locate(source: str, *, base_folder: Path, audio_root: str | Path | None = None,
           progress: Progress = pass_through) -> Prepared:
    """Find a source's manifest: one that names a corpus is prepared first, a prepared one tells where its audio lies.

    Raises: ManifestError for a corpus that does not exist, or whose place is not what it should be.
    """
    if remote.is_url(source):
        return Prepared(source, audio_root)
    found = corpus_cards.named(source)
    if found is not None and not (base_folder / source).exists():
        manifest = prepare(found[0], found[1], base_folder=base_folder, progress=progress)
        return locate(str(manifest), base_folder=base_folder, audio_root=audio_root)
    note = _note(base_folder / Path(source).expanduser())
    own = Path(note["audio_root"]) if note else None
    return Prepared(source, audio_root or own, note.get("card", {}))


def prepare(name: str, place: str, *, base_folder: Path | None = None, to: Path | None = None, limit: int = 0,
            has_splits: bool = True, progress: Progress = pass_through) -> Path:
    """Write a corpus's manifest: all its utterances, or `limit` of them spread evenly over splits and speakers.

    With `has_splits` false the corpus's own splits are left out, for a part of it that shall be divided anew.
    Returns: the manifest, `to` or a file under data/raw.
    Raises: ManifestError when there is no such corpus, the place is not it, or it is noise that cannot be collected.
    """
    card = corpus_cards.find(name)
    where = _where(card, place, base_folder)
    if card.is_noise:
        raise ManifestError(f"{card.name} is noise without words, and cannot be collected; name it in a recipe: "
                            f"RecordedNoise({f'{card.name}:{where}'!r}, 5, 20)")
    listing = _read(card, where, progress, may_fetch="/" not in place and card.name in hub_corpora.CORPORA)
    rows = _spread(listing.rows if has_splits else listing.rows.drop(columns="split", errors="ignore"), limit)
    if listing.write is not None:
        listing.write(rows, progress)
    default = archives.folder_of(card.name, where, limit, has_splits) / f"{card.name}.parquet"
    return _save(to or default, rows, listing.root, card)


def report(name: str, place: str, *, base_folder: Path, to: Path | None = None, limit: int = 0,
           has_splits: bool = True, progress: Progress = pass_through) -> str:
    """Prepare a corpus of speech or of noise, and say what there is now, under which licence, and what to do next."""
    card = corpus_cards.find(name)
    if card.is_noise:
        path = prepare_noise(name, place, base_folder=base_folder, to=to, progress=progress)
        what, then = "recordings", f"in a recipe: RecordedNoise({f'{card.name}:{place}'!r}, 5, 20)"
    else:
        path = prepare(name, place, base_folder=base_folder, to=to, limit=limit, has_splits=has_splits,
                       progress=progress)
        what, then = "utterances", f"workbench run --run {card.name} -p 'collect.sources=[{path}]'"
    rows = pd.read_parquet(path)
    groups = rows.get("speaker", pd.Series("", rows.index)).replace("", None).nunique()
    shares = rows.groupby("split").size() if "split" in rows else pd.Series(dtype=int)
    return "\n".join([
        f"{card.title}: {len(rows):,} {what}" + (f" of {groups:,} speakers" if groups else ""),
        "splits: " + (", ".join(f"{split} {n:,}" for split, n in shares.items() if split) or "made by collect"),
        f"licence: {card.license}", f"cite: {card.citation}", f"manifest: {path}", f"next: {then}"])


def prepare_noise(name: str, place: str, *, base_folder: Path | None = None, to: Path | None = None,
                  progress: Progress = pass_through) -> Path:
    """Write the table of a corpus of noise: recording, audio_path, noise, split, size.

    Raises: ManifestError when the place is not it.
    """
    card = corpus_cards.find(name)
    where = _where(card, place, base_folder)
    if not card.is_noise:
        raise ValueError(f"{card.name} is speech; prepare it with prepare()")
    if not where.exists():
        raise ManifestError(f"{card.name}: there is nothing at {where}; give {card.place}; it is at {card.url}")
    rows = noise_recordings.listed(card.name, where, progress)
    return _save(to or archives.folder_of(card.name, where) / f"{card.name}.parquet", rows, where, card)


def _where(card: CorpusCard, place: str, base_folder: Path | None) -> Path:
    if remote.is_url(place):
        other = "" if card.is_noise else "; a manifest at an address (csv, jsonl, parquet) is a source without the name"
        raise ManifestError(f"{card.name}: {place} is an address, and a published corpus is read from this machine: "
                            f"fetch it, and give {card.place}{other}")
    return ((base_folder or settings.root()) / Path(place).expanduser()).resolve()


def _read(card: CorpusCard, where: Path, progress: Progress, *, may_fetch: bool) -> Listing:
    """List a corpus's utterances; an archive is unpacked first, under data/raw, once, and may be gone afterwards."""
    where, language = _split_language(where) if card.name == "minds14" else (where, "")
    if archives.is_archive(where):
        where = archives.unpack(where, archives.folder_of(card.name, where), progress)
    elif not where.exists() and archives.is_unpacked(archives.folder_of(card.name, where)):
        where = archives.folder_of(card.name, where)
    elif not where.exists() and not may_fetch:
        raise ManifestError(f"{card.name}: there is nothing at {where}; give {card.place}; it is at {card.url}")
    listing = _reader(card.name, where, language)(where, progress)
    if listing.rows.empty:
        raise ManifestError(f"{card.name}: {where} lists no utterance; give {card.place}")
    return listing


def _split_language(where: Path) -> tuple[Path, str]:
    """Take a language off its release, as in MInDS-14.zip/en-US. Returns: the release, and the language or ""."""
    release = where.parent
    is_behind = not where.exists() and (archives.is_archive(release) or corpus_layouts.is_minds14_release(release)
                                        or archives.is_unpacked(archives.folder_of("minds14", release)))
    return (release, where.name) if is_behind else (where, "")


def _reader(name: str, where: Path, language: str) -> Reader:
    if name == "minds14" and corpus_layouts.is_minds14_release(where):
        return partial(corpus_layouts.minds14_release, language=language)
    if name == "fleurs" and corpus_layouts.is_fleurs_tables(where):
        return corpus_layouts.fleurs_tables
    readers: dict[str, Reader] = {
            "librispeech": corpus_layouts.librispeech, "speech_commands": corpus_layouts.speech_commands,
            "common_voice": corpus_layouts.common_voice, "lhotse": lhotse_manifests.read,
            "fleurs": partial(hub_corpora.read, "fleurs"), "minds14": partial(hub_corpora.read, "minds14")}
    return readers[name]


def _spread(rows: pd.DataFrame, limit: int) -> pd.DataFrame:
    """Take `limit` rows evenly from all in the order of splits and speakers; 0 takes all."""
    if not limit or limit >= len(rows):
        return rows
    order = [name for name in ("split", "speaker", "utterance_id") if name in rows]
    chosen = np.linspace(0, len(rows) - 1, limit).round().astype(int)
    return rows.sort_values(order, kind="stable").iloc[chosen].reset_index(drop=True)


# --- the note in a manifest ------------------------------------------------------------------------------------------


def _save(path: Path, rows: pd.DataFrame, root: Path, card: CorpusCard) -> Path:
    if path.suffix.lower() != ".parquet":
        raise ManifestError(f"{path} would not hold where the audio lies and the licence; give a name that ends in "
                            ".parquet")
    note = {"audio_root": str(root), "card": {k: v for k, v in asdict(card).items() if k not in ("place", "is_noise")}}
    table = pyarrow.Table.from_pandas(rows, preserve_index=False)
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), NOTE: json.dumps(note).encode()})
    with storage.replacing(path) as temporary:
        pyarrow.parquet.write_table(table, temporary)
    return path


def _note(path: Path) -> dict[str, Any]:
    """Read what a prepared manifest says of its corpus; any other file says nothing."""
    if path.suffix.lower() != ".parquet" or not path.is_file():
        return {}
    try:
        metadata = pyarrow.parquet.read_schema(path).metadata or {}
    except (OSError, ValueError):  # what is wrong with it, reading it will say
        return {}
    return json.loads(metadata.get(NOTE, b"{}"))
