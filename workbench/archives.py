"""Unpacking what corpora are published in, once: a killed unpacking goes on where it was, a damaged archive says so.

What is unpacked lies under `data/raw`, with a note beside it of the archive that it came from.
"""

import gzip
import json
import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from workbench import storage
from workbench.errors import ManifestError
from workbench.progress import Progress, pass_through

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
SUFFIXES = (*TAR_SUFFIXES, ".zip")
NOTE = "unpacked.json"
MEGABYTE = 1 << 20
DAMAGED = (tarfile.TarError, gzip.BadGzipFile, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError)
"""What the readers of archives raise for one that is damaged."""


def is_archive(path: Path) -> bool:
    """Tell whether a file is named as an archive that can be unpacked here."""
    return path.is_file() and path.name.lower().endswith(SUFFIXES)


def folder_of(corpus: str, place: Path | str, *about: Any) -> Path:
    """Name the folder under `data/raw` that belongs to what lies at a place."""
    name = Path(place).name
    stem = name[: -len(next((s for s in SUFFIXES if name.lower().endswith(s)), "")) or None]
    return storage.data_folder() / "raw" / corpus / f"{stem}-{storage.hash_value([str(place), *about])[:8]}"


def is_unpacked(folder: Path) -> bool:
    """Tell whether a folder holds all of an archive, which may be gone since."""
    note = folder / NOTE
    return note.is_file() and bool(json.loads(note.read_text(encoding="utf-8"))["is_whole"])


def unpack(archive: Path, folder: Path, progress: Progress = pass_through) -> Path:
    """Unpack an archive into a folder unless it has been; what a kill left there is completed.

    Raises: ManifestError when the archive is damaged or would write elsewhere; SettingsError when the disk is full.
    """
    stat, note = archive.stat(), folder / NOTE
    state = {"archive": str(archive), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    known = json.loads(note.read_text(encoding="utf-8")) if note.is_file() else {}
    if known == state | {"is_whole": True}:
        return folder
    if known != state | {"is_whole": False}:  # another archive was here under the same name
        shutil.rmtree(folder, ignore_errors=True)
    storage.write_json(note, state | {"is_whole": False})
    read = _from_zip if archive.name.lower().endswith(".zip") else _from_tar
    n_megabytes = max(1, stat.st_size // MEGABYTE)
    try:
        for _ in progress(read(archive, folder), f"unpacking {archive.name}, MB", n_megabytes):
            pass
    except DAMAGED as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]  # tarfile tells all that it tried
        raise ManifestError(f"{archive} cannot be unpacked ({reason}); it is damaged or was not downloaded to its end: "
                            "fetch it again") from error
    storage.write_json(note, state | {"is_whole": True})
    return folder


def _from_tar(archive: Path, folder: Path) -> Iterator[None]:
    """Write a tarball's files. Yields: once a megabyte of the archive."""
    n_told = 0
    with archive.open("rb") as file, tarfile.open(fileobj=file, mode="r:*") as tar:
        for member in tar:
            if member.isreg():
                safe = tarfile.data_filter(member, str(folder))
                content = tar.extractfile(member)
                assert content is not None
                _write(folder / safe.name, content, member.size)
            while n_told < file.tell() // MEGABYTE:
                n_told += 1
                yield
            tar.members = []  # type: ignore[attr-defined]  # it would remember each of what may be millions of files


def _from_zip(archive: Path, folder: Path) -> Iterator[None]:
    """Write a zip's files. Yields: once a megabyte of the archive."""
    n_told, n_read = 0, 0
    with zipfile.ZipFile(archive) as zipped:
        for member in zipped.infolist():
            target = folder / member.filename
            if not target.resolve().is_relative_to(folder.resolve()):
                raise zipfile.BadZipFile(f"{member.filename!r} would be written outside {folder}")
            if not member.is_dir():
                with zipped.open(member) as content:
                    _write(target, content, member.file_size)
            n_read += member.compress_size
            while n_told < n_read // MEGABYTE:
                n_told += 1
                yield


def _write(target: Path, content: IO[bytes], size: int) -> None:
    """Write one file whole, unless it is there."""
    if not (target.is_file() and target.stat().st_size == size):
        with storage.replacing(target) as temporary, temporary.open("wb") as out:
            shutil.copyfileobj(content, out, MEGABYTE)
