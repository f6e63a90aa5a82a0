"""Where the audio that a manifest names lies: absolute paths and addresses, and whether a file is there.

No audio is opened. A folder is looked up once, a file by one call: a million rows name a million files.
"""

import os
import stat
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from workbench import remote


def root_of(place: str) -> str:
    """Write the place under which audio must lie: an address as it is, a folder without links."""
    return place.rstrip("/") if _is_remote(place) else str(Path(place.removeprefix("file://")).resolve())


def is_below(places: "pd.Series[str]", root: str) -> "pd.Series[bool]":
    """Whether each place lies under the root."""
    prefix = root.rstrip("/") + "/"
    is_climbing = places.str.contains("/../", regex=False) | places.str.endswith("/..")
    return (places.str.startswith(prefix) & ~is_climbing) | places.eq(root)


def placed(names: Sequence[str], root: str) -> pd.DataFrame:
    """Find the files of a manifest, whose relative names start at the root.

    Returns: audio_path (absolute, without links; "" for no name) and file_state, which changes when the file does, and
    is "" for what is no file.
    Raises: SettingsError when a store cannot be used.
    """
    names = [name.removeprefix("file://") for name in names]
    paths, states = _under_address(names, root) if _is_remote(root) else _under_folder(names, Path(root))
    return pd.DataFrame({"audio_path": pd.Series(paths, dtype="str"), "file_state": pd.Series(states, dtype="str")})


def _is_remote(place: str) -> bool:
    return remote.is_url(place) and not place.startswith("file://")


def _under_address(names: list[str], root: str) -> tuple[list[str], list[str]]:
    paths = [name if not name or remote.is_url(name) or name.startswith("/") else f"{root}/{name.removeprefix('./')}"
             for name in names]
    found = remote.states(path for path in paths if remote.is_below(path, root))
    return paths, [found.get(path, "") for path in paths]


def _under_folder(names: list[str], root: Path) -> tuple[list[str], list[str]]:
    folders: dict[str, str] = {}
    found = []
    for name in names:
        start = name.rfind("/") + 1
        folder, file = name[:start], name[start:]
        if remote.is_url(name) or file in ("", ".", ".."):
            found.append(_whole(name, root))
            continue
        if folder not in folders:
            folders[folder] = str((root / folder).resolve()).rstrip("/")
        found.append(_looked_up(f"{folders[folder]}/{file}"))
    return [path for path, _ in found], [state for _, state in found]


def _looked_up(path: str) -> tuple[str, str]:
    """Give a file's path and state by a single call; only a link needs more."""
    try:
        found = os.lstat(path)
        if stat.S_ISLNK(found.st_mode):
            path = os.path.realpath(path)
            found = os.lstat(path)
    except (OSError, ValueError):  # absent, or no name that a file can have
        return path, ""
    return path, f"{found.st_size} {found.st_mtime_ns}" if stat.S_ISREG(found.st_mode) else ""


def _whole(name: str, root: Path) -> tuple[str, str]:
    """Place a name that is no file of a folder: none, an address, or one that ends in dots."""
    return (name, "") if not name or remote.is_url(name) else _looked_up(str((root / name).resolve()))
