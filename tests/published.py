"""Checkpoints of the published shapes and format, with random weights, and a server that hands out files in pieces."""

import hashlib
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
import whisper
from whisper.model import ModelDimensions

TINY = {"n_audio_ctx": 1500, "n_audio_state": 384, "n_audio_head": 6, "n_audio_layer": 4,
        "n_text_ctx": 448, "n_text_state": 384, "n_text_head": 6, "n_text_layer": 4}
"""The sizes of tiny and tiny.en. Source: their checkpoints."""
N_TOKENS = {"english": 51_864, "multilingual": 51_865, "large-v3": 51_866}


def checkpoint(path: Path, *, kind: str = "english", n_mels: int = 80, width: int = 384, n_layers: int = 4,
               seed: int = 0) -> Path:
    """Write a checkpoint as OpenAI publishes them: `dims` and half-precision `model_state_dict`, nothing else."""
    sizes = TINY | {f"n_{part}_{what}": n for part in ("audio", "text")
                    for what, n in (("state", width), ("head", width // 64), ("layer", n_layers))}
    dims = ModelDimensions(n_mels=n_mels, n_vocab=N_TOKENS[kind], **sizes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = whisper.model.Whisper(dims)
        torch.nn.init.normal_(model.decoder.token_embedding.weight, std=width**-0.5)
        torch.nn.init.normal_(model.decoder.positional_embedding, std=0.01)
    weights = {name: tensor.half() for name, tensor in model.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"dims": vars(dims), "model_state_dict": weights}, path)
    return path


@dataclass
class Shop:
    """A running file server: its address, and the ranges that were asked for; it breaks off after `n_bytes`."""

    url: str
    folder: Path
    asked: list[str] = field(default_factory=list)
    n_bytes: int | None = None

    def address(self, path: Path) -> str:
        """Give a file's address as OpenAI's are: its checksum is its last folder."""
        return f"{self.url}/{hashlib.sha256(path.read_bytes()).hexdigest()}/{path.name}"


@contextmanager
def shop(folder: Path) -> Iterator[Shop]:
    """Serve a folder's files by name, whatever folders stand before it, on a port of its own."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802  http.server's own name
            content = (folder / self.path.rsplit("/", 1)[-1]).read_bytes()
            wanted = self.headers.get("Range", "")
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
            open_shop.asked.append(wanted)
            if wanted and start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206 if wanted else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            end = None if open_shop.n_bytes is None else start + open_shop.n_bytes
            self.wfile.write(content[start:end])

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    open_shop = Shop(f"http://127.0.0.1:{server.server_port}", folder)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield open_shop
    finally:
        server.shutdown()
        server.server_close()
