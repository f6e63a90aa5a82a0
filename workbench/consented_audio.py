"""The sounds that users of the service gave: `data/production/audio`, each once, named by its content.

Whoever stores one commits a row of the query log that names it; what no row names is swept away (`consent`).
"""

import contextlib
import os
import time
from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from workbench import audio, storage


def clip_path(sha: str) -> Path:
    """Give the place of a clip."""
    return storage.data_folder() / "production" / "audio" / sha[:2] / f"{sha}.wav"


def store_clip(samples: NDArray[np.floating]) -> str:
    """Keep a clip; it is on the disk before the row that names it. Returns: its name, the hash of its content.

    Raises: SettingsError when the disk is full or the folder cannot be written to.
    """
    sha = audio.content_hash(samples)
    path = clip_path(sha)
    if path.is_file():
        os.utime(path)  # so that no sweep takes it before the row is there
    else:
        with storage.replacing(path, mode=0o600) as temporary:
            audio.write(temporary, samples)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
    return sha


def delete_clip(sha: str) -> bool:
    """Delete a clip. Returns: whether it was there."""
    is_there = clip_path(sha).is_file()
    clip_path(sha).unlink(missing_ok=True)
    return is_there


def sweep(kept: Collection[str], *, older_than_s: float) -> int:
    """Delete clips that are not to be kept and were not touched for a while. Returns: how many."""
    limit_s = time.time() - older_than_s
    n_swept = 0
    for path in (storage.data_folder() / "production" / "audio").glob("*/*"):
        with contextlib.suppress(FileNotFoundError):  # a clip that is being written has another name in a moment
            if path.stem not in kept and path.stat().st_mtime < limit_s:
                path.unlink()
                n_swept += 1
    return n_swept
