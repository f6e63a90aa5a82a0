"""Listening to what a manifest lists: each clip is read, measured and, if so wished, kept; many are heard in parts.

What was heard is written down part by part, so that who was interrupted goes on, and who comes again with the same
files, in whatever manifest, hears only those that are new or have changed. With the engine ray, nodes hear a part each.
"""

import hashlib
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from workbench import audio, datasets, many_machines, remote, storage
from workbench.errors import AudioError
from workbench.progress import Progress

Keeping = Literal["copied", "in place", "nothing"]
"""A copy of each clip under `data/`; the file where it is, pinned to its checksum; or no trace of having heard it."""

MAX_CLIP_S = 30.0  # what Whisper can hear at once
N_READERS = 4  # decoding and hashing leave Python's lock, so that more than one file is read at a time
PART = 2_000  # clips heard between two writings: what a kill costs is some seconds

KEY = ["path", "file_state"]


def hear(listed: pd.DataFrame, keeping: Keeping, progress: Progress) -> pd.DataFrame:
    """Listen to the files of a manifest's rows (`manifests.read`).

    Returns: by the rows' index, reason for those that cannot be used, and for the others audio_path, audio_sha,
    duration_s, level_dbfs, snr_estimate_db, clipped_share, is_near_silent.
    Raises: SettingsError when a store does not answer; what was heard until then need not be heard again.
    """
    known = _known(listed, keeping)
    new = listed.drop(index=known.index)
    rows = iter(progress(_all_heard(new, keeping), "reading audio", len(new)))
    parts = [pd.DataFrame(part) for part in iter(lambda: list(itertools.islice(rows, PART)), [])]
    heard = pd.concat(parts, ignore_index=True).set_axis(new.index) if parts else known.iloc[:0]
    return pd.concat([known, heard]).reindex(listed.index) if len(known) else heard


def _all_heard(new: pd.DataFrame, keeping: Keeping) -> Iterator[dict[str, Any]]:
    """Hear clips side by side, and write each part down, one that is broken off too."""
    parts = [new.iloc[start : start + PART] for start in range(0, len(new), PART)]
    if many_machines.is_chosen() and len(parts) > 1:
        yield from _heard_by_nodes(parts, keeping)
        return
    with _readers(new["audio_path"]) as readers:
        for part in parts:
            rows = list[dict[str, Any]]()
            try:
                for row in readers.map(partial(_hear, keeping=keeping), part["audio_path"]):
                    rows.append(row)
                    yield row
            finally:
                _note(part, rows, keeping)


def _heard_by_nodes(parts: Sequence[pd.DataFrame], keeping: Keeping) -> Iterator[dict[str, Any]]:
    """Let the cluster hear a part a task, and write down each that comes back.

    What a node cannot use is heard again here: it need not see recordings that lie outside of the project's folder.
    """
    paths = [part["audio_path"].tolist() for part in parts]
    told = many_machines.each(partial(_hear_all, keeping=keeping), paths)
    for part, names, rows in zip(parts, paths, told, strict=True):
        again = iter(_hear_all([name for name, row in zip(names, rows, strict=True) if "reason" in row], keeping))
        rows = [next(again) if "reason" in row else row for row in rows]
        _note(part, rows, keeping)
        yield from rows


def _hear_all(paths: Sequence[str], keeping: Keeping) -> list[dict[str, Any]]:
    with _readers(paths) as readers:
        return list(readers.map(partial(_hear, keeping=keeping), paths))


def _readers(paths: Iterable[str]) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(remote.N_FETCHERS if any(map(remote.is_url, paths)) else N_READERS)


def _hear(path: str, keeping: Keeping) -> dict[str, Any]:
    """Read, measure and keep one clip, or say why not."""
    try:
        samples, place = _read(path, keeping)
    except AudioError as error:
        return {"reason": "audio " + str(error).removeprefix(path).strip()}
    if audio.duration_s(samples) > MAX_CLIP_S:
        return {"reason": f"audio is {audio.duration_s(samples):.1f} s long, Whisper hears {MAX_CLIP_S:.0f} s at once; "
                          "cut it into queries"}
    stored = datasets.store_clip(samples) if keeping == "copied" else {"audio_path": place, **datasets.measure(samples)}
    return {**stored, "snr_estimate_db": round(audio.estimate_snr_db(samples), 2),
            "clipped_share": audio.clipped_share(samples), "is_near_silent": audio.is_near_silent(samples)}


def _read(path: str, keeping: Keeping) -> tuple[audio.Samples, str]:
    """Read a clip. Returns: its samples, and its name: pinned where it is to be found again as it was."""
    if keeping != "in place":
        return audio.read(path), path
    content = audio.read_bytes(path)
    return audio.decode(content, path), remote.pinned(path, hashlib.sha256(content).hexdigest())


# --- what was heard before -------------------------------------------------------------------------------------------


def _folder(root: str, keeping: Keeping) -> Path:
    """Give the folder of what was heard under a root, by the code that hears."""
    code = [storage.hash_file(Path(str(file))) for file in (audio.__file__, __file__)]
    return storage.cache_folder("heard") / storage.hash_value([root, keeping, code])[:16]


def _note(part: pd.DataFrame, rows: Sequence[Mapping[str, Any]], keeping: Keeping) -> None:
    """Write down what was heard of a part; what cannot be used is heard again, as somebody may mend it."""
    told = part.iloc[: len(rows)].rename(columns={"audio_path": "path"})[KEY].reset_index(drop=True)
    heard = pd.concat([told, pd.DataFrame(list(rows))], axis=1)
    if "audio_sha" not in heard or keeping == "nothing":
        return
    is_lasting = heard["audio_sha"].notna() & heard["file_state"].ne(remote.UNKNOWN)
    good = heard[is_lasting].drop(columns="reason", errors="ignore")
    name = storage.hash_table(good[KEY])[:16]
    storage.write_table(_folder(str(part["audio_root"].iloc[0]), keeping) / f"{name}.parquet", good)


def _known(listed: pd.DataFrame, keeping: Keeping) -> pd.DataFrame:
    """Look up what was heard of files that are as they were. Returns: as `hear` does, for those rows."""
    nothing = pd.DataFrame(index=listed.index[:0])
    if listed.empty or keeping == "nothing":
        return nothing
    parts = sorted(_folder(str(listed["audio_root"].iloc[0]), keeping).glob("*.parquet"))
    if not parts:
        return nothing
    heard = pd.concat(map(pd.read_parquet, parts), ignore_index=True).drop_duplicates(KEY, keep="last")
    asked = listed[["audio_path", "file_state"]].set_axis(KEY, axis=1)
    found = asked.merge(heard, on=KEY, how="left").set_axis(listed.index)
    found = found[found["audio_sha"].notna()].drop(columns=KEY).astype({"is_near_silent": bool})
    return found[_are_kept(found["audio_path"])] if keeping == "copied" else found


def _are_kept(paths: pd.Series) -> pd.Series:
    """Whether the copies are still there."""
    data = str(storage.data_folder())
    return pd.Series([os.path.exists(f"{data}/{path}") for path in paths], index=paths.index, dtype=bool)  # noqa: PTH110
