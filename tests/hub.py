"""Servers of a few routes on loopback, and with them the hub of Hugging Face, for its own client."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_of_ada"
Files = dict[str, bytes]


@contextmanager
def answering(answer: Callable[[BaseHTTPRequestHandler], tuple[int, dict[str, str], bytes]]) -> Iterator[str]:
    """Run a server whose every answer is a function's. Gives: its address."""
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, content = answer(self)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else content)

        do_HEAD = do_POST = do_GET  # noqa: N815  names that the library asks for

        def log_message(self, *_: Any) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Hub:
    """The hub's own routes that its client asks for a file: the repository, a folder's tree, what a path resolves to.

    Source: https://huggingface.co/docs/hub/api and what HfFileSystem sends. Repositories called `private` want a token.
    """

    def __init__(self, repositories: dict[str, Files]) -> None:
        self.repositories, self.fetched = repositories, list[str]()

    def __call__(self, handler: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        path = unquote(urlsplit(handler.path).path)
        name = "/".join(path.removeprefix("/api").split("/")[2:4])
        if name.endswith("private") and handler.headers.get("Authorization") != f"Bearer {TOKEN}":
            return 401, {"X-Error-Message": "Invalid username or password."}, b"{}"
        if name not in self.repositories:
            return 404, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}, b"{}"
        files, rest = self.repositories[name], path.partition(name)[2].strip("/")
        if rest.startswith("resolve/main/"):
            self.fetched.append(rest.removeprefix("resolve/main/"))
            return 200, {}, files[self.fetched[-1]]
        is_deep = "recursive=true" in handler.path.lower()
        found = _tree(files, rest.removeprefix("tree/main").strip("/"), is_deep=is_deep) if "tree" in rest else None
        if found == []:
            return 404, {"X-Error-Code": "EntryNotFound"}, b"{}"
        about: object = {"id": name, "sha": "0" * 40} if found is None else found
        return 200, {"Content-Type": "application/json"}, json.dumps(about).encode()


def _tree(files: Files, folder: str, *, is_deep: bool) -> list[dict[str, Any]]:
    start = f"{folder}/" if folder else ""
    below = [path for path in files if path.startswith(start)]
    tops = {path[: path.index("/", len(start))] for path in below if "/" in path[len(start):]}
    shown = [path for path in below if is_deep or "/" not in path[len(start):]]
    return [*({"type": "directory", "path": path, "oid": "0" * 40} for path in sorted(tops)),
            *({"type": "file", "path": path, "size": len(files[path]), "oid": hashlib.sha1(files[path]).hexdigest()}
              for path in shown)]
