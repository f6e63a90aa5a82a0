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
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from workbench import settings
from workbench.errors import SettingsError

PACKAGES = {"hf": "huggingface_hub", "http": "aiohttp", "https": "aiohttp", "az": "adlfs", "abfs": "adlfs"}
"""What to install for an address that fsspec cannot open by itself."""

RIGHTS = {"s3": "AWS_* in the environment", "gs": "GOOGLE_APPLICATION_CREDENTIALS", "hf": "HF_TOKEN"}
"""Where the libraries of stores read who is asking."""

BY_ARROW = ("s3", "gs")
"""Stores that pyarrow opens itself: it is always there, and lists all that is below a folder at once."""

UNLISTED = ("http", "https")
"""Stores without listings: whether a file is there shows when it is read."""

UNKNOWN = "?"
"""The state of a file in a store without listings."""

CONNECT_S, REQUEST_S = 10.0, 60.0
"""How long S3 may take for one try; ours: a dead address is told of within the minute."""

GOOGLE_RETRY_S = 5.0
"""How long Google's client tries again; ours: its own fifteen minutes say nothing to who wrote a wrong address."""

N_FETCHERS = 32

PIN = "#sha256="
_PINNED = re.compile(rf"(.+){PIN}([0-9a-f]{{64}})", re.DOTALL)
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://")
_GOOGLE_SAYS = re.compile(r"with a last message of (.+?) error_info=", re.DOTALL)
_CHANGES = ("ETag", "etag", "md5Hash", "blob_id", "mtime", "LastModified", "last_modified", "created")
"""What listings of S3, Google, Hugging Face and memory say that changes with the content."""


def is_url(place: str) -> bool:
    """Tell an address from a path; `file://` begins an address too."""
    return "://" in place and _SCHEME.match(place) is not None


def is_folder(url: str) -> bool:
    """Tell the address of a folder by its name, for stores know only files: it ends in `/`, or has no suffix."""
    return url.endswith("/") or not PurePosixPath(url).suffix


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
        store = _store(_scheme(place))
        if _scheme(place) not in BY_ARROW:
            return bytes(store.cat_file(place))
        with store.open_input_stream(_inside(place)) as file:
            return bytes(file.read())


def pieces(url: str, n_bytes: int = 8 * 2**20) -> Generator[bytes]:
    """Read a file piece by piece, so that memory need not hold it. Raises: as `read_bytes`."""
    with _explained(url):
        store = _store(_scheme(url))
        with store.open_input_stream(_inside(url)) if _scheme(url) in BY_ARROW else store.open(url) as file:
            while piece := file.read(n_bytes):
                yield piece


def read_all(urls: Sequence[str]) -> list[bytes]:
    """Read whole files side by side: waiting for a store takes no core. Raises: as `read_bytes`."""
    with ThreadPoolExecutor(N_FETCHERS) as fetchers:
        return list(fetchers.map(read_bytes, urls))


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


def files_below(folder: str) -> dict[str, str]:
    """List a folder with all below it. Returns: the state of each file by its path in the folder.

    Raises: SettingsError when its store cannot be used, or has no listings.
    """
    if _scheme(folder) in UNLISTED:
        raise SettingsError(f"{folder} cannot be listed, as no web server can; give a manifest (csv, jsonl, parquet)")
    with contextlib.suppress(FileNotFoundError), _explained(folder):
        return _listing(folder, is_deep=True)
    return {}


def files_here(folder: str) -> Iterator[str]:
    """List a folder of this machine with all below it: each real folder once, by links too, and no link to nowhere.

    Returns: paths in the folder.
    """
    start, seen, waiting = len(folder.rstrip("/")) + 1, set[str](), [folder]
    for top in waiting:  # links wait until all real folders are seen
        for place, folders, names in os.walk(top):
            if (real := os.path.realpath(place)) in seen:
                folders.clear()
                continue
            seen.add(real)
            folders.sort()
            waiting += [path for path in (f"{place}/{name}" for name in folders) if Path(path).is_symlink()]
            paths = (f"{place}/{name}" for name in names)
            yield from (path[start:] for path in paths if os.path.exists(path))  # noqa: PTH110  a third of a Path's time


def _listed(folder: str, files: list[str]) -> dict[str, str]:
    with contextlib.suppress(FileNotFoundError), _explained(folder):
        there = _listing(folder, is_deep=False)
        names = ((url, url.rpartition("/")[2]) for url in files)
        return {url: there[name] for url, name in names if name in there}
    return {}


def _listing(folder: str, *, is_deep: bool) -> dict[str, str]:
    store, place = _store(_scheme(folder)), _inside(folder)
    if _scheme(folder) in BY_ARROW:
        return _listing_by_arrow(store, place, is_deep=is_deep)
    store.invalidate_cache()
    depth = None if is_deep else 1
    return {_below(str(entry["name"]), place): _state(entry)
            for _, _, files in store.walk(folder, maxdepth=depth, detail=True, on_error="raise")
            for entry in files.values() if entry["type"] == "file"}


def _listing_by_arrow(store: Any, place: str, *, is_deep: bool) -> dict[str, str]:
    from pyarrow.fs import FileSelector, FileType

    found = store.get_file_info(FileSelector(place, allow_not_found=True, recursive=is_deep))
    bucket = place.partition("/")[0]
    if not found and store.get_file_info(bucket).type is FileType.NotFound:
        raise OSError(f"there is no bucket {bucket}")
    return {_below(info.path, place): f"{info.size} {info.mtime}" for info in found if info.type is FileType.File}


def _below(name: str, folder: str) -> str:
    return name.strip("/").removeprefix(folder.strip("/") + "/")


def _state(entry: dict[str, Any]) -> str:
    changes = (str(entry[name]) for name in _CHANGES if entry.get(name) is not None)
    return f"{entry['size']} {next(changes, '')}"


# --- stores ----------------------------------------------------------------------------------------------------------


def _scheme(url: str) -> str:
    found = _SCHEME.match(url)
    assert found, url
    return "gs" if found[1] == "gcs" else found[1]


def _inside(url: str) -> str:
    """Name a place as its store does."""
    return url.partition("://")[2].rstrip("/")


@cache
def _store(scheme: str) -> Any:
    """Open the store of a kind of address."""
    if scheme not in BY_ARROW:
        import fsspec

        return fsspec.filesystem(scheme)
    return google_store() if scheme == "gs" else _s3()


def _s3() -> Any:
    """Open S3, with the usual AWS_* variables, which pyarrow reads but for the endpoint."""
    from pyarrow.fs import S3FileSystem

    scheme, _, host = settings.Settings().aws_endpoint_url.rpartition("://")
    return S3FileSystem(endpoint_override=host or None, scheme=scheme or "https", connect_timeout=CONNECT_S,
                        request_timeout=REQUEST_S)


def google_store() -> Any:
    """Open Google's store as the account that its tools are signed in with, an emulator as nobody."""
    from pyarrow.fs import GcsFileSystem

    scheme, _, host = settings.Settings().google_endpoint_url.rpartition("://")
    return GcsFileSystem(anonymous=bool(host), scheme=scheme or "https", endpoint_override=host or None,
                         retry_time_limit=timedelta(seconds=GOOGLE_RETRY_S))


def said(error: Exception) -> str:
    """Give the first line of what went wrong; Google's client hides it among what it did about it."""
    words = str(error)
    found = _GOOGLE_SAYS.search(words)
    return " ".join(found[1].split())[:300] if found else (words.splitlines() or [type(error).__name__])[0]


@contextlib.contextmanager
def _explained(url: str) -> Iterator[None]:
    """Turn whatever a store's library raises, each its own, into one sentence; only what is absent stays as it is."""
    try:
        yield
    except ImportError as error:
        package = PACKAGES.get(_scheme(url), "")
        what = f"the package {package}: pip install {package}" if package else str(error)
        raise SettingsError(f"{url} cannot be opened without {what}") from error
    except Exception as error:
        if isinstance(error, FileNotFoundError) and "repository not found" not in str(error):
            raise
        rights = f"the rights and {RIGHTS[_scheme(url)]}" if _scheme(url) in RIGHTS else "the rights"
        raise SettingsError(f"{url} cannot be read ({said(error)}); check the address, {rights}, then run the same "
                            "command") from error


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
