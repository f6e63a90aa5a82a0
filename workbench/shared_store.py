"""A team's object store: what is finished on one machine is mirrored there, and fetched where it is absent.

The store is laid out as a project is (`data/...`, `reports/...`), by a URL: s3://, gs://, a folder that all machines
see, or whatever else fsspec knows. A folder counts when its `last` file is there: it is written last and taken away
first. When something is mirrored is its owner's to say; a file of the same size under the same name is the same here.
"""

import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar
from urllib.parse import urlsplit

from workbench import remote, settings, storage
from workbench.errors import StoreError

T = TypeVar("T")
R = TypeVar("R")
AT_ONCE = 16
"""Files on their way at a time: each waits for the network, not for a core."""
CONNECT_S, N_TRIES = 2.0, 2
"""S3's own ten tries take minutes to say that it is gone."""
REFUSALS = ("ACCESS_DENIED", "INVALID_ACCESS_KEY_ID", "SIGNATURE", "HTTP status 403", "OAuth2 access token")
"""What pyarrow passes on when nobody was signed in, or somebody without the right."""


@dataclass(frozen=True, slots=True)
class SharedStore:
    """An open store: its URL, pyarrow's file system, and the folder in it that stands for a project's root."""

    url: str
    files: Any
    prefix: str
    is_local: bool

    def push(self, folder: Path, last: str) -> None:
        """Mirror a folder whole; one whose `last` file is the same there is left alone.

        Raises: StoreError when the store does not take it; what had come until then counts for nobody.
        """
        if self.read(folder / last) == (folder / last).read_bytes():
            return
        self.delete([folder / last])
        mine = files_in(folder)
        self.delete([path for path in self.sizes(folder) if path not in mine])
        self.put([path for path in mine if path != folder / last])
        self.put([folder / last])

    def fetch(self, folder: Path, last: str) -> bool:
        """Bring a folder here whole, in place of what is here. Returns: whether the store has it.

        Raises: StoreError when it does not come whole; then all is as it was.
        """
        if self.read(folder / last) is None:
            return False
        place = storage.cache_folder("fetched") / uuid.uuid4().hex
        try:
            moved = {path: place / path.relative_to(folder) for path in self.sizes(folder)}
            self.get(moved)
            with storage.explaining(folder):
                folder.parent.mkdir(parents=True, exist_ok=True)
                shutil.rmtree(folder, ignore_errors=True)
                place.rename(folder)
        finally:
            shutil.rmtree(place, ignore_errors=True)
        return True

    def put(self, paths: Sequence[Path]) -> None:
        """Write files of this project to the store, each whole."""
        self.replace({path: path for path in paths})

    def replace(self, sources: Mapping[Path, Path]) -> None:
        """Write files to their place in the store from wherever they lie, each whole."""
        self._each(lambda pair: self._put(*pair), list(sources.items()))

    def put_absent(self, paths: Sequence[Path]) -> None:
        """Write those files, named by their content, that the store does not have in the same size."""
        with self._explaining():
            found = self.files.get_file_info([self.place(path) for path in paths])
        self.put([path for path, info in zip(paths, found, strict=True) if info.size != path.stat().st_size])

    def get(self, targets: Mapping[Path, Path]) -> None:
        """Bring files here, by their place in the project, each whole, to where they are wanted."""
        self._each(lambda pair: self._get(*pair), list(targets.items()))

    def read(self, path: Path) -> bytes | None:
        """Read a small file of the store; None when it is not there."""
        with self._explaining():
            try:
                with self.files.open_input_stream(self.place(path)) as file:
                    return bytes(file.read())
            except FileNotFoundError:
                return None

    def read_all(self, paths: Sequence[Path]) -> dict[Path, bytes]:
        """Read small files of the store at once; those that are not there are left out."""
        found = dict(zip(paths, self._each(self.read, paths), strict=True))
        return {path: content for path, content in found.items() if content is not None}

    def sizes(self, folder: Path) -> dict[Path, int]:
        """List all files of a folder in the store, by their place in this project, with their sizes in bytes."""
        from pyarrow.fs import FileSelector, FileType

        with self._explaining():
            found = self.files.get_file_info(FileSelector(self.place(folder), allow_not_found=True, recursive=True))
        sizes = {self._path(info.path): int(info.size) for info in found if info.type == FileType.File}
        # Hidden files are of the moment, and nobody's object may be written outside of the project.
        return {path: size for path, size in sizes.items() if not path.name.startswith(".") and ".." not in path.parts}

    def delete(self, paths: Iterable[Path]) -> None:
        """Delete files from the store; one that is not there is no mistake."""
        def gone(path: Path) -> None:
            try:
                self.files.delete_file(self.place(path))
            except FileNotFoundError:
                return

        self._each(gone, list(paths))

    def check(self) -> None:
        """Write, read and delete something small. Raises: StoreError that says what is missing or not allowed."""
        self.check_root()
        mark, said = settings.root() / f"check-{uuid.uuid4().hex}", b"may be deleted"
        with self._explaining():
            self._write(mark, said)
            if self.read(mark) != said:
                raise StoreError(f"the shared store {self.url} does not give back what was written to it")
            self.delete([mark])

    def check_root(self) -> None:
        """Raise a StoreError where there is no such bucket or folder: a disk that is not mounted must not be filled."""
        from pyarrow.fs import FileType

        top = self.prefix if self.is_local else self.prefix.partition("/")[0]
        with self._explaining():
            found = self.files.get_file_info(top)
        if found.type != FileType.Directory:
            what = f"no folder {top}" if self.is_local else f"no bucket {top}"
            raise StoreError(f"the shared store {self.url} is not there: {what}; make it, or mend WORKBENCH_STORE_URL")

    def place(self, path: Path) -> str:
        """Name a file of this project as the store does."""
        return str(PurePosixPath(self.prefix, path.relative_to(settings.root()).as_posix()))

    def _path(self, place: str) -> Path:
        return settings.root() / PurePosixPath(place.removeprefix("/")).relative_to(self.prefix.removeprefix("/"))

    def _put(self, path: Path, source: Path) -> None:
        with source.open("rb") as file:
            self._write(path, file)

    def _write(self, path: Path, source: Any) -> None:
        """Write one object: S3 shows it when it is closed, a shared folder when it gets its name."""
        place = PurePosixPath(self.place(path))
        target = place.with_name(f".{place.name}.{uuid.uuid4().hex}") if self.is_local else place
        if self.is_local:
            self.files.create_dir(str(place.parent), recursive=True)
        with self.files.open_output_stream(str(target)) as file:
            file.write(source) if isinstance(source, bytes) else shutil.copyfileobj(source, file, 2**20)
        if target != place:
            self.files.move(str(target), str(place))

    def _get(self, path: Path, target: Path) -> None:
        with storage.replacing(target) as temporary, temporary.open("wb") as file, \
                self.files.open_input_stream(self.place(path)) as source:
            shutil.copyfileobj(source, file, 2**20)

    def _each(self, do: Callable[[T], R], what: Sequence[T]) -> list[R]:
        with self._explaining(), ThreadPoolExecutor(AT_ONCE, "store") as threads:
            return list(threads.map(do, what))

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(f"the shared store {self.url} {_reason(error)}") from error


def _reason(error: OSError) -> str:
    """Say what went wrong in words that help; pyarrow passes on what S3 said, as an OSError."""
    whole, told = " ".join(str(error).split()), " ".join(remote.said(error).split())
    if "NO_SUCH_BUCKET" in whole:
        return "has no such bucket; make it, or mend WORKBENCH_STORE_URL"
    if isinstance(error, FileNotFoundError):
        return f"lacks what it should have ({told[:250]}): somebody deleted it; publish it again where it was made"
    if any(word in whole for word in REFUSALS) or isinstance(error, PermissionError):
        key = "GOOGLE_APPLICATION_CREDENTIALS" if "google::" in whole else "AWS_ACCESS_KEY_ID"
        return f"does not let us read and write ({told[:200]}); mend {key} and its rights"
    return f"does not answer ({told[:300]}); mend WORKBENCH_STORE_URL or AWS_ENDPOINT_URL, or try again later"


def files_in(folder: Path) -> list[Path]:
    """List what is worth keeping of a folder: all but hidden files, which are of the moment."""
    return sorted(path for path in folder.rglob("*") if path.is_file()
                  and not any(part.startswith(".") for part in path.relative_to(folder).parts))


def opened() -> SharedStore | None:
    """Open the team's store, or None when WORKBENCH_STORE_URL is not set.

    Raises: StoreError for a URL that cannot be understood, or where there is nothing.
    """
    how = settings.Settings()
    return _open(how.store_url, how.aws_endpoint_url) if how.store_url else None


@lru_cache(maxsize=2)
def _open(url: str, endpoint: str) -> SharedStore:
    kind, where = urlsplit(url).scheme, urlsplit(url)
    if kind in ("", "file"):
        from pyarrow.fs import LocalFileSystem

        return _there(SharedStore(url, LocalFileSystem(), str(Path(where.path).absolute()), is_local=True))
    if not where.netloc:
        raise StoreError(f"WORKBENCH_STORE_URL is {url}; write s3://bucket/folder, gs://bucket/folder or file:///folder")
    prefix = f"{where.netloc}{where.path}".rstrip("/")
    files = _s3(where.netloc, endpoint) if kind == "s3" else _other(url, kind)
    return _there(SharedStore(url, files, prefix, is_local=False))


def _there(store: SharedStore) -> SharedStore:
    store.check_root()
    return store


def _s3(bucket: str, endpoint: str) -> Any:
    """Reach S3, or what speaks its language at an endpoint; keys and region come from AWS_* as for any other tool."""
    from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem, resolve_s3_region

    how: dict[str, Any] = {"connect_timeout": CONNECT_S, "allow_delayed_open": True,
                           "retry_strategy": AwsStandardS3RetryStrategy(max_attempts=N_TRIES)}
    if endpoint:
        parts = urlsplit(endpoint)
        return S3FileSystem(endpoint_override=parts.netloc, scheme=parts.scheme or "https", **how)
    try:
        return S3FileSystem(region=settings.Settings().aws_region or resolve_s3_region(bucket), **how)
    except OSError as error:
        raise StoreError(f"the shared store s3://{bucket} {_reason(error)}") from error


def _other(url: str, kind: str) -> Any:
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    try:
        if kind in ("gs", "gcs"):
            return remote.google_store()
        import fsspec

        return PyFileSystem(FSSpecHandler(fsspec.core.url_to_fs(url)[0]))
    except ImportError as error:
        raise StoreError(f"a store at {kind}:// needs more than is installed ({error}); pip install -e '.[team]' and "
                         "what fsspec names for it") from error
    except (ValueError, OSError) as error:
        raise StoreError(f"WORKBENCH_STORE_URL is {url}, which cannot be opened ({error}); write s3://bucket/folder, "
                         "gs://bucket/folder or file:///folder") from error
