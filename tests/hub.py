"""Servers of a few routes on loopback, and with them the hub of Hugging Face, for its own clients."""

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote, unquote, urlsplit

TOKEN = "hf_of_ada"
Files = dict[str, bytes]
Answer = tuple[int, dict[str, str], bytes]
LARGE = (".parquet", ".wav", ".tar.gz")
"""What repositories of data keep outside of git. Source: the .gitattributes that the hub gives a new one."""


@contextmanager
def answering(answer: Callable[[BaseHTTPRequestHandler], Answer]) -> Iterator[str]:
    """Run a server whose every answer is a function's. Gives: its address."""
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, content = answer(self)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else content)

        do_HEAD = do_POST = do_GET  # noqa: N815  names that the library asks for

        def log_message(self, *_: Any) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Hub:
    """The hub's own routes that its clients ask for: a repository, a folder's tree, what a path resolves to.

    Large files are answered as by LFS: the hub tells checksum and size, and sends on to another host for the content,
    which refuses a token. Repositories called `private` want one. `fetched` lists what was sent, with the bytes asked
    for; `cuts` says of a file after how many bytes its connection breaks, in each of the next answers.
    Source: https://huggingface.co/docs/hub/api, and what hf_hub_download, HfFileSystem and load_dataset send.
    """

    def __init__(self, repositories: dict[str, Files]) -> None:
        self.repositories, self.fetched, self.cuts = repositories, list[str](), dict[str, list[int]]()

    def __call__(self, handler: BaseHTTPRequestHandler) -> Answer:
        path = unquote(urlsplit(handler.path).path)
        owner, name, kind, *rest = [*path.removeprefix("/api").split("/")[2:], "", "", ""]
        repository = f"{owner}/{name}"
        token = handler.headers.get("Authorization")
        if kind == "cdn" and token:
            return 400, {}, b"Only one auth mechanism allowed"
        if name == "private" and kind != "cdn" and token != f"Bearer {TOKEN}":
            return 401, {"X-Error-Message": "Invalid username or password."}, b"{}"
        if repository not in self.repositories:
            return 404, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}, b"{}"
        files, file = self.repositories[repository], "/".join(rest[1:]).strip("/")
        commit = _commit(files)
        if rest[0] not in ("main", commit, ""):
            return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
        if kind == "cdn":
            return self._sent(handler, file, files[file])
        if kind == "resolve":
            return self._resolved(handler, repository, file, commit)
        is_deep = "recursive=true" in handler.path.lower()
        found = _tree(files, file, is_deep=is_deep) if kind == "tree" else {"id": repository, "sha": commit}
        if not found:
            return 404, {"X-Error-Code": "EntryNotFound"}, b"{}"
        return 200, {"Content-Type": "application/json"}, json.dumps(found).encode()

    def _resolved(self, handler: BaseHTTPRequestHandler, repository: str, file: str, commit: str) -> Answer:
        """Say which content a path has; send it along if it is small."""
        about, content = {"X-Repo-Commit": commit}, self.repositories[repository].get(file)
        if content is None:
            return 404, {**about, "X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"}, b"{}"
        if not file.endswith(LARGE):
            status, headers, sent = self._sent(handler, file, content)
            return status, {**about, "ETag": f'"{_oid(content)}"', **headers}, sent
        port = handler.headers["Host"].rpartition(":")[2]
        place = f"http://localhost:{port}/files/{repository}/cdn/{commit}/{quote(file)}"
        return 302, {**about, "Location": place, "X-Linked-Size": str(len(content)),
                     "X-Linked-ETag": f'"{hashlib.sha256(content).hexdigest()}"'}, b""

    def _sent(self, handler: BaseHTTPRequestHandler, file: str, content: bytes) -> Answer:
        """Send a file, or the part of it that is asked for."""
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", handler.headers.get("Range", ""))
        start, end = (int(asked[1]), int(asked[2] or len(content) - 1) + 1) if asked else (0, len(content))
        part, headers = content[start:end], {"Content-Length": str(len(content[start:end]))}
        if asked:
            headers["Content-Range"] = f"bytes {start}-{start + len(part) - 1}/{len(content)}"
        if handler.command == "GET":
            self.fetched.append(f"{file} {asked[0]}" if asked else file)
            part = part[: self.cuts[file].pop(0)] if self.cuts.get(file) else part
        return 206 if asked else 200, headers, part


def _commit(files: Files) -> str:
    """Name a state of a repository: it is another one when any file is."""
    return _oid("".join(f"{path} {_oid(content)}\n" for path, content in sorted(files.items())).encode())


def _oid(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


def _tree(files: Files, folder: str, *, is_deep: bool) -> list[dict[str, Any]]:
    start = f"{folder}/" if folder else ""
    below = [path for path in files if path.startswith(start)]
    tops = {path[: path.index("/", len(start))] for path in below if "/" in path[len(start):]}
    shown = [path for path in below if is_deep or "/" not in path[len(start):]]
    return [*({"type": "directory", "path": path, "oid": "0" * 40} for path in sorted(tops)),
            *({"type": "file", "path": path, "size": len(files[path]), "oid": _oid(files[path])}
              for path in shown)]
