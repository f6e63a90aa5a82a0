"""Fetching a published file once, from the web or a store: resumed where the web broke off, checked by its SHA-256.

What a file is for is its caller's business.
"""

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx

from workbench import progress, remote, storage
from workbench.errors import FetchError, SettingsError

TIMEOUT_S = 30
"""Without a byte for this long, a server is as good as away."""
SHA = re.compile(r"[0-9a-f]{64}")


def sha_of(url: str) -> str:
    """Give the checksum that an address promises: after `#sha256=`, or its last folder. Returns: 64 hex digits or "".

    Source: pip's way to pin a download, and the addresses of OpenAI's checkpoints (whisper._download).
    """
    parts = urlsplit(url)
    folder = parts.path.rsplit("/", 2)[-2] if parts.path.count("/") > 1 else ""
    found = parts.fragment.removeprefix("sha256=") or folder
    return found if SHA.fullmatch(found) else ""


def target(url: str, folder: Path) -> Path:
    """Say where a fetched file lies: under its own name, in a folder that is named by its address or checksum."""
    address = url.partition("#")[0]
    return folder / (sha_of(url) or storage.hash_value(address))[:12] / unquote(Path(urlsplit(address).path).name)


def fetch(url: str, path: Path) -> Path:
    """Fetch a file to `path` unless it is there; what an earlier try brought from the web is not fetched again.

    Without a checksum nothing tells that the rest is of the same file, and it is fetched whole, as from a store.
    Raises: FetchError when it cannot be had, or is not what its checksum says.
    """
    if path.is_file():
        return path
    part = path.with_name(f".{path.name}.part")
    with storage.explaining(part):
        part.parent.mkdir(parents=True, exist_ok=True)
        if not sha_of(url):
            part.unlink(missing_ok=True)
        with _explained(url):
            (_fetch_rest if _is_web(url) else _fetch_whole)(url.partition("#")[0], part)
        sha, found = sha_of(url), storage.hash_file(part)
        if sha and found != sha:
            part.unlink()
            raise FetchError(f"{url} brought a file whose SHA-256 is {found[:12]}…, wanted {sha[:12]}…; fetch it again")
        part.replace(path)
    return path


def ask(url: str) -> None:
    """Make sure that an address has a file for us, of which no more than its beginning is fetched.

    Not by HEAD: addresses that are signed for a GET refuse it.
    Raises: FetchError when it has none.
    """
    address = url.partition("#")[0]
    with _explained(url):
        if not _is_web(url):
            with closing(remote.pieces(address)) as found:
                next(found, b"")
            return
        with httpx.stream("GET", address, headers={"Range": "bytes=0-0"}, follow_redirects=True,
                          timeout=TIMEOUT_S) as answer:
            answer.raise_for_status()


@contextmanager
def _explained(url: str) -> Iterator[None]:
    try:
        yield
    except httpx.HTTPError as error:
        raise FetchError(f"{url} could not be fetched ({str(error) or type(error).__name__})") from error
    except FileNotFoundError as error:
        raise FetchError(f"{url} could not be fetched (there is no such file)") from error
    except SettingsError as error:
        raise FetchError(str(error)) from error


def _is_web(url: str) -> bool:
    return urlsplit(url).scheme in remote.UNLISTED


def _fetch_whole(address: str, part: Path) -> None:
    with part.open("wb") as file, progress.Bar(f"fetching bytes of {Path(urlsplit(address).path).name}") as bar:
        for piece in remote.pieces(address):
            file.write(piece)
            bar.update(file.tell())


def _fetch_rest(address: str, part: Path) -> None:
    have = part.stat().st_size if part.is_file() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    with httpx.stream("GET", address, headers=headers, follow_redirects=True, timeout=TIMEOUT_S) as answer:
        if have and answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            if answer.headers.get("Content-Range", "").rpartition("/")[2] != str(have):
                part.unlink()  # of another file, which lay there then
                _fetch_rest(address, part)
            return  # all of it is there
        answer.raise_for_status()
        is_rest = answer.status_code == httpx.codes.PARTIAL_CONTENT
        n_bytes = int(answer.headers.get("Content-Length", 0)) + (have if is_rest else 0)
        bar = progress.Bar(f"fetching {Path(urlsplit(address).path).name}", total=max(1, n_bytes))
        with part.open("ab" if is_rest else "wb") as file, bar:
            for piece in answer.iter_bytes():
                file.write(piece)
                bar.update(file.tell())
