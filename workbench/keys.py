"""Who may use the service: bearer keys by name. Only their hashes are kept; a key is shown once, when it is made."""

import fcntl
import hashlib
import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from workbench import storage
from workbench.errors import KeysError

PREFIX = "wb_"  # lets people, and scanners for leaked secrets, see what it is
SERVER = "server-"  # with a process after it, the name of a running server's own key
KEY_BYTES = 32  # nobody guesses 256 bits, so that a plain hash, without salt or stretching, is enough


@dataclass(frozen=True, slots=True)
class Key:
    """A key as it is kept: who has it, the SHA-256 of it, and since when (UTC)."""

    name: str
    sha256: str
    created: str


_known: dict[Path, tuple[tuple[int, ...], dict[str, str]]] = {}
"""What each key file said, and its fingerprint then: a request costs one `stat`."""


def create(name: str) -> str:
    """Make a key for somebody. Returns: the key itself, which is nowhere kept.

    Raises: KeysError when the name is taken, empty or a server's; SettingsError when `data/` cannot be written to.
    """
    if not name.strip():
        raise KeysError("a key needs a name, to be revoked by: `workbench keys create NAME`")
    if server_of(name) is not None:
        raise KeysError(f"{name!r} is what a server calls its own key, which goes when the server has ended; choose "
                        "another name, such as room-server")
    return _create(name)


def create_for_server(pid: int) -> str:
    """Make a server's own key, as `create` does."""
    return _create(f"{SERVER}{pid}")


def server_of(name: str) -> int | None:
    """Tell by a key's name the process of the server whose own it is; None for people's keys."""
    number = name.removeprefix(SERVER)
    return int(number) if name == f"{SERVER}{number}" and number.isdecimal() and number.isascii() else None


def _create(name: str) -> str:
    key = PREFIX + secrets.token_urlsafe(KEY_BYTES)
    with _alone():
        kept = listing()
        if name in [other.name for other in kept]:
            raise KeysError(f"there is a key {name!r} already; choose another name, or revoke that one first")
        _write([*kept, Key(name, _hash(key), time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))])
    return key


def listing() -> list[Key]:
    """Give all keys, oldest first. Raises: KeysError when the file of keys is damaged."""
    path = _file()
    try:
        return [Key(**fields) for fields in json.loads(path.read_text(encoding="utf-8"))]
    except FileNotFoundError:
        return []
    except (ValueError, TypeError) as error:
        raise KeysError(f"{path} is damaged ({error}); mend it, or delete it and make new keys") from error


def revoke(name: str) -> None:
    """Make a key worthless; a running server notices. Raises: KeysError when there is none of that name."""
    with _alone():
        kept = listing()
        if name not in [key.name for key in kept]:
            raise KeysError(f"no key {name!r}; there are: {', '.join(key.name for key in kept) or 'none'}")
        _write([key for key in kept if key.name != name])


def is_valid(key: str) -> str | None:
    """Tell whose key this is, None when nobody's. Raises: KeysError when the file of keys is damaged."""
    path = _file()
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    fingerprint = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
    if _known.get(path, ((), {}))[0] != fingerprint:
        _known[path] = (fingerprint, {kept.sha256: kept.name for kept in listing()})
    return _known[path][1].get(_hash(key))


def _file() -> Path:
    return storage.data_folder() / "keys.json"


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()


def _write(keys: list[Key]) -> None:
    with storage.replacing(_file(), mode=0o600) as temporary:
        temporary.write_text(json.dumps([asdict(key) for key in keys], indent=1) + "\n", encoding="utf-8")


@contextmanager
def _alone() -> Iterator[None]:
    """Keep other processes from changing the keys meanwhile; the lock is on `data/` itself, and dies with us."""
    folder = storage.data_folder()
    with storage.explaining(_file()):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
