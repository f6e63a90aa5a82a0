"""Files by URL, read through fsspec: which store an address means, and what to say when one does not answer.

What is asked for by its checksum is kept on disk under it, so that an epoch does not fetch what the last one has read.
Not by fsspec's own `simplecache`: it writes under the final name, where a kill leaves half a file and another process
reads it, and it would give back a file that has changed since.
"""

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from workbench import settings
from workbench.errors import SettingsError

PACKAGES = {"gs": "gcsfs", "gcs": "gcsfs", "hf": "huggingface_hub", "http": "aiohttp", "https": "aiohttp",
            "az": "adlfs", "abfs": "adlfs"}
"""What to install for an address that fsspec cannot open by itself."""

UNLISTED = ("http", "https")
"""Stores without listings: whether a file is there shows when it is read."""

UNKNOWN = "?"
"""The state of a file in a store without listings."""

CONNECT_S, REQUEST_S = 10.0, 60.0
"""How long S3 may take for one try; ours: a dead address is told of within the minute."""

PIN = "#sha256="
_PINNED = re.compile(rf"(.+){PIN}([0-9a-f]{{64}})", re.DOTALL)
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://")
_CHANGES = ("ETag", "etag", "md5Hash", "blob_id", "mtime", "LastModified", "last_modified", "created")
"""What listings of S3, Google, Hugging Face and memory say that changes with the content."""


def is_url(place: str) -> bool:
    """Tell an address from a path; `file://` begins an address too."""
    return "://" in place and _SCHEME.match(place) is not None


def is_below(place: str, root: str) -> bool:
    """Whether a place lies under another, and does not climb out of it by `..`."""
    return place.startswith(root.rstrip("/") + "/") and ".." not in place.split("/")


def pinned(place: str | Path, sha: str) -> str:
    """Name a file together with the SHA-256 of its bytes: reading that name fails when the file has changed.

    Source: PEP 503, which pins the files of packages by the same ending.
    """
    return f"{place}{PIN}{sha}"


def unpinned(place: str | Path) -> tuple[str, str]:
    """Take a name apart. Returns: path or URL, and the SHA-256 that it is pinned to, or ""."""
    found = _PINNED.fullmatch(str(place))
    return (found[1], found[2]) if found else (str(place), "")


def read_bytes(place: str) -> bytes:
    """Read a whole file from a path or a URL. Raises: OSError; SettingsError when a store cannot be used."""
    if not is_url(place):
        return Path(place).read_bytes()
    with _explained(place):
        return bytes(_store(_scheme(place)).cat_file(_inside(place)))


def read_again(url: str, sha: str) -> bytes:
    """Give a file of known SHA-256 from disk, or fetch it and keep it there while the disk has room.

    Returns: the kept content, or whatever the store has now: the caller compares.
    Raises: FileNotFoundError; SettingsError when its store cannot be used.
    """
    kept = settings.root() / "data" / "cache" / "remote" / sha[:2] / sha
    with contextlib.suppress(FileNotFoundError):
        content = kept.read_bytes()
        if hashlib.sha256(content).hexdigest() == sha:
            return content
    content = read_bytes(url)
    if hashlib.sha256(content).hexdigest() == sha and _has_room(len(content)):
        _keep(kept, content)
    return content


def states(urls: Iterable[str]) -> dict[str, str]:
    """Look up what is there, a listing for each folder. Returns: for each file that is, what changes when it does.

    Raises: SettingsError when a store cannot be used.
    """
    folders: dict[str, list[str]] = {}
    for url in urls:
        folders.setdefault(url.rpartition("/")[0], []).append(url)
    found: dict[str, str] = {}
    for folder, files in folders.items():
        found |= dict.fromkeys(files, UNKNOWN) if _scheme(folder) in UNLISTED else _listed(folder, files)
    return found


def _listed(folder: str, files: list[str]) -> dict[str, str]:
    with _explained(folder), contextlib.suppress(FileNotFoundError):
        store = _store(_scheme(folder))
        store.invalidate_cache()
        there = {str(entry["name"]).rpartition("/")[2]: entry for entry in store.ls(_inside(folder), detail=True)
                 if entry["type"] == "file"}
        names = ((url, url.rpartition("/")[2]) for url in files)
        return {url: _state(there[name]) for url, name in names if name in there}
    return {}


def _state(entry: dict[str, Any]) -> str:
    changes = (str(entry[name]) for name in _CHANGES if entry.get(name) is not None)
    return f"{entry['size']} {next(changes, '')}"


# --- stores ----------------------------------------------------------------------------------------------------------


def _scheme(url: str) -> str:
    found = _SCHEME.match(url)
    assert found, url
    return found[1]


def _inside(url: str) -> str:
    """Name a file to its store; pyarrow's takes what follows a `#` in a key for something else."""
    return url.removeprefix("s3://")


@cache
def _store(scheme: str) -> Any:
    """Open the store of a kind of address.

    S3 by pyarrow, which is always there and reads the usual AWS_* variables, but for the endpoint.
    """
    import fsspec

    if scheme != "s3":
        return fsspec.filesystem(scheme)
    from fsspec.implementations.arrow import ArrowFSWrapper
    from pyarrow.fs import S3FileSystem

    scheme, _, host = settings.Settings().aws_endpoint_url.rpartition("://")
    return ArrowFSWrapper(S3FileSystem(endpoint_override=host or None, scheme=scheme or "https",
                                       connect_timeout=CONNECT_S, request_timeout=REQUEST_S))


@contextlib.contextmanager
def _explained(url: str) -> Iterator[None]:
    """Turn whatever a store's library raises, each its own, into one sentence; only what is absent stays as it is."""
    try:
        yield
    except FileNotFoundError:
        raise
    except ImportError as error:
        package = PACKAGES.get(_scheme(url), "")
        what = f"the package {package}: pip install {package}" if package else str(error)
        raise SettingsError(f"{url} cannot be opened without {what}") from error
    except Exception as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise SettingsError(f"{url} cannot be read ({said}); check the address, the rights and, for s3://, AWS_* "
                            "in the environment, then run the same command") from error


# --- what is kept ----------------------------------------------------------------------------------------------------


def _has_room(n_bytes: int) -> bool:
    """Whether the disk keeps as much free as settings ask for. What is kept stays: epochs come back to all alike."""
    return shutil.disk_usage(settings.root()).free - n_bytes > _keep_free_bytes()


@cache
def _keep_free_bytes() -> float:
    return settings.Settings().keep_free_gb * 1e9


def _keep(path: Path, content: bytes) -> None:
    """Write under another name and rename, so that a reader finds all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=".", dir=path.parent)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    Path(temporary).replace(path)
