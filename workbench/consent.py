"""What users may ask for and what time limits demand: out of the log, the clips, the datasets and the stages' tables.

A forgetting that was cut off is simply done again: the log's rows, which know what is whose, are the last to go.
"""

import contextlib
import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow
import pyarrow.parquet

from workbench import consented_audio, datasets, query_log, shared_datasets, shared_store, storage
from workbench.blocks import n_known
from workbench.query_log import QueryLog

PRODUCTION = "production"  # the `source` of those rows of a dataset that users gave
TABLES_IN = ("runs", "traffic", "labels", "requests")  # where stages, phones and people leave tables of queries
TABLES = (".parquet", ".csv")
DAY_S = 86_400.0
COMMIT_S = 600.0  # a clip is stored just before its row; one that has waited longer than this has lost its row


@dataclass(frozen=True, slots=True)
class Forgetting:
    """What was removed, and what had used it: dataset versions by name, models as `run/stage` or released folder.

    `is_known` is false for who left nothing, and has not been forgotten before.
    """

    n_queries: int
    n_clips: int
    n_table_rows: int
    datasets: tuple[str, ...]
    models: tuple[str, ...]
    unreadable: tuple[str, ...]
    is_known: bool = True

    def __str__(self) -> str:
        found = (f"Forgotten: {self.n_queries} queries keep their measurements alone, {self.n_clips} clips and "
                 f"{self.n_table_rows} rows of tables are deleted.") if self.is_known else (
                 "No query of this user was ever logged here; is it the id that the app sends in X-User-Id?")
        lines = [f"{found} Later queries of this user leave no words or sound.",
                 f"Datasets that held them, no longer reproducible: {', '.join(self.datasets) or 'none'}",
                 f"Models that learned from those: {', '.join(self.models) or 'none'}"]
        unread = f"Could not be read, so look yourself: {', '.join(self.unreadable)}"
        return "\n".join(lines + [unread] * bool(self.unreadable))


@dataclass(frozen=True, slots=True)
class Retention:
    """What time limits took: rows that lost their words, clips that were deleted."""

    n_queries: int
    n_clips: int


def forget(user: str, log: QueryLog | None = None) -> Forgetting:
    """Remove a user everywhere, keep nothing of theirs from now on, and tell what had used them.

    Raises: QueryLogError when the log does not work, StoreError when the team's store does not, SettingsError when the
        secret of users' names is not the log's; the same call again finishes what this one began.
    """
    if log is None:
        with contextlib.closing(QueryLog()) as own:
            return forget(user, own)
    log.check_secret()
    user = user.strip()  # as the server does
    name = query_log.user_hash(user)
    was_forgotten, requests = log.is_forgotten(name), log.refuse(name)
    whose = {"request_id": set(requests), "utterance_id": set(requests), "user_hash": {name}, "speaker": {name},
             "user": {user}}
    used, n_given = _forget_in_datasets(whose, storage.data_folder(), _delete_clips)
    n_rows, unreadable = _forget_in_tables(whose, storage.data_folder())
    used_there, n_rows_there, unreadable_there = _forget_in_store(whose)
    used = tuple(sorted({*used, *used_there}))
    if requests or used:
        shutil.rmtree(storage.cache_folder("decodes"), ignore_errors=True)
    left = log.forget(name)
    n_clips = sum(consented_audio.delete_clip(sha) for sha in left.audio_shas) + _sweep(log)
    log.erase_traces()
    n_rows += n_rows_there
    return Forgetting(left.n_queries, n_clips + n_given, n_rows, used, _models_of(used),
                      (*unreadable, *unreadable_there), is_known=bool(was_forgotten or requests or n_rows or used))


def enforce_retention(log: QueryLog, now_s: float, days_words: float, days_audio: float) -> Retention:
    """Drop the words of older queries without consent, and older clips; `now_s` is on the log's clock.

    Clips in datasets stay: they are training data that people chose, until their user is forgotten.
    Raises: QueryLogError when the log does not work.
    """
    n_queries = log.drop_words(now_s - days_words * DAY_S)
    expired = log.expired_audio(now_s - days_audio * DAY_S)
    n_clips = sum(consented_audio.delete_clip(sha) for sha in expired) + _sweep(log)
    if n_queries or n_clips:
        log.erase_traces()
    return Retention(n_queries, n_clips)


def _sweep(log: QueryLog) -> int:
    """Delete clips whose row never came: the server was killed between the two, or its user was forgotten then."""
    return consented_audio.sweep(log.audio_shas(), older_than_s=COMMIT_S)


# --- datasets --------------------------------------------------------------------------------------------------------


def _forget_in_datasets(whose: Mapping[str, Collection[str]], data: Path,
                        delete: Callable[[Collection[str]], int]) -> tuple[tuple[str, ...], int]:
    """Take a user's rows out of all versions under `data`, clips first: without its rows nobody would find a clip.

    Returns: the versions, those included that an earlier call got to, and how many clips were deleted.
    """
    cards = sorted((data / "datasets").glob("*/card.json"))
    tables = {card: pd.read_parquet(card.with_name("manifest.parquet")) for card in cards}
    theirs = {card: _is_theirs(table, whose) & table["source"].eq(PRODUCTION) for card, table in tables.items()}
    given = {sha for card, table in tables.items() for sha in table.loc[theirs[card], "audio_sha"]}
    others = {sha for card, table in tables.items() for sha in table.loc[~theirs[card], "audio_sha"]}
    n_clips = delete(given - others)
    (name,) = whose["user_hash"]
    mark = hashlib.sha256(f"buried {name}".encode()).hexdigest()[:32]  # as the log has it: not even the hash stays
    for card in cards:
        if theirs[card].any():
            _bury(card, tables[card], theirs[card], mark)
    return tuple(card.parent.name for card in cards if mark in _marks_on(card)), n_clips


def _clip(sha: str) -> Path:
    return datasets.folder("audio") / sha[:2] / f"{sha}.wav"


def _delete_clips(shas: Collection[str]) -> int:
    """Delete clips of datasets. Returns: how many were there."""
    there = [_clip(sha) for sha in shas if _clip(sha).is_file()]
    for clip in there:
        clip.unlink(missing_ok=True)
    return len(there)


def _marks_on(card: Path) -> set[str]:
    return {stone.get("mark", "") for stone in _json(card).get("tombstones", [])}


def _bury(card: Path, table: pd.DataFrame, is_theirs: pd.Series, mark: str) -> None:
    """Rewrite a version without some rows: it keeps its name, and its card says that it is no longer what it was."""
    left = table[~is_theirs]
    known = _json(card)
    stone = {"n_removed": int(is_theirs.sum()), "time": time.strftime("%Y-%m-%d %H:%M:%S"), "mark": mark}
    storage.write_json(card, {
        **known, "n_utterances": len(left), "hours": round(left["duration_s"].sum() / 3600, 4),
        "n_speakers": n_known(left["speaker"]), "sources": sorted(left["source"].unique()),
        "tombstones": [*known.get("tombstones", []), stone], "is_reproducible": False})
    storage.write_table(card.with_name("manifest.parquet"), left)


def _is_theirs(table: pd.DataFrame, whose: Mapping[str, Collection[str]]) -> pd.Series:
    columns = [table[name].astype(str).isin(list(values)) for name, values in whose.items() if name in table]
    return pd.concat(columns, axis=1).any(axis=1) if columns else pd.Series(False, index=table.index)


# --- what stages, phones and people left -----------------------------------------------------------------------------


def _forget_in_tables(whose: Mapping[str, Collection[str]], data: Path) -> tuple[int, tuple[str, ...]]:
    """Take a user's rows out of all tables under `data`. Returns: how many rows, and the files that cannot be read."""
    n_rows, unreadable = 0, []
    for path in sorted(path for place in TABLES_IN for path in (data / place).rglob("*")):
        try:
            n_rows += _forget_in(path, whose) if path.suffix in TABLES else 0
        except (pyarrow.ArrowException, ValueError):  # pandas' errors of CSV files are ValueErrors
            unreadable.append(str(path.relative_to(data)))
    return n_rows, tuple(unreadable)


def _forget_in_store(whose: Mapping[str, Collection[str]]) -> tuple[tuple[str, ...], int, tuple[str, ...]]:
    """Do both in the team's store, by way of a copy of its tables; other machines' own copies are theirs to mend.

    Returns: the versions that held them, the number of rows, and the files that cannot be read.
    """
    store, data = shared_store.opened(), storage.data_folder()
    if store is None:
        return (), 0, ()

    def delete(shas: Collection[str]) -> int:
        store.delete([_clip(sha) for sha in shas])
        return len(shas)

    there = [path for place in (*TABLES_IN, "datasets") for path in store.sizes(data / place)
             if path.suffix in TABLES or path.name == shared_datasets.CARD]
    with tempfile.TemporaryDirectory() as folder:
        copies = {path: Path(folder) / path.relative_to(data) for path in there}
        store.get(copies)
        before = {path: storage.hash_file(copy) for path, copy in copies.items()}
        used, _ = _forget_in_datasets(whose, Path(folder), delete)
        n_rows, unreadable = _forget_in_tables(whose, Path(folder))
        changed = {path: copy for path, copy in copies.items() if storage.hash_file(copy) != before[path]}
        cards = {path: copy for path, copy in changed.items() if path.name == shared_datasets.CARD}
        store.replace(cards)  # as in `_bury`, so that a repeated call still finds whom a version held
        store.replace({path: copy for path, copy in changed.items() if path not in cards})
    return used, n_rows, unreadable


def _forget_in(path: Path, whose: Mapping[str, Collection[str]]) -> int:
    is_parquet = path.suffix == ".parquet"
    if is_parquet and not set(whose) & set(pyarrow.parquet.read_schema(path).names):
        return 0
    table = pd.read_parquet(path) if is_parquet else pd.read_csv(path, dtype=str, keep_default_na=False)
    is_theirs = _is_theirs(table, whose)
    if not is_theirs.any():
        return 0
    left = table[~is_theirs]
    if "audio_sha" in table:
        _forget_phone_clips(path.parent, set(table.loc[is_theirs, "audio_sha"]) - set(left["audio_sha"]))
    with storage.replacing(path) as temporary:
        left.to_parquet(temporary, index=False) if is_parquet else left.to_csv(temporary, index=False)
    return int(is_theirs.sum())


def _forget_phone_clips(folder: Path, shas: Collection[str]) -> None:
    """Delete the recordings beside a table of simulated phones (`synthesis.collect_week`)."""
    for sha in shas:
        (folder / "audio" / f"{sha}.wav").unlink(missing_ok=True)


def _models_of(versions: Collection[str]) -> tuple[str, ...]:
    """List the stages that fitted a model on these datasets, and the released models with the same weights."""
    records = [_json(path) for path in sorted(storage.run_folder("*").parent.glob("*/[0-9][0-9]_*/record.json"))]
    used = [record for record in records if record.get("versions", {}).get("dataset") in versions]
    weights = {sha for record in used for name, sha in record["outputs"].items() if name.endswith(".pt")}
    fitted = [record for record in used if "fit" in record["versions"] or weights & set(record["outputs"].values())]
    names, released = [f"{record['run']}/{record['stage']}" for record in fitted], []
    for path in sorted((storage.data_folder() / "models" / "registry").glob("*/facts.json")):
        facts = _json(path)
        if facts.get("checkpoint") in weights or f"{facts.get('run')}/{facts.get('stage')}" in names:
            released.append(path.parent.name)
    return (*names, *released)


def _json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))
