"""A real server process on loopback, over a small model with random weights: what it writes down is nonsense."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.serving import clips
from workbench import storage, whisper_model

PATIENCE_S = 240.0  # two busy cores take minutes to start a cluster's replicas, each of which imports torch


@dataclass
class Server:
    """A server process of a project, and what one asks of it."""

    root: Path
    process: "subprocess.Popen[bytes]"
    url: str
    key: str = ""

    def send(self, content: bytes = b"", *, model: str = "champion", form: dict[str, str] | None = None,
             headers: Mapping[str, Any] | None = None) -> httpx.Response:
        """Ask for one transcription; without content, of a good recording."""
        own = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        return httpx.post(f"{self.url}/v1/audio/transcriptions", timeout=PATIENCE_S, headers={**own, **(headers or {})},
                          files={"file": ("query.wav", content or GOOD)}, data={"model": model, **(form or {})})

    def send_many(self, n: int, content: bytes = b"", **more: Any) -> list[httpx.Response]:
        """Ask for many at once."""
        with ThreadPoolExecutor(n) as pool:
            return list(pool.map(lambda _: self.send(content, **more), range(n)))

    def readiness(self) -> dict[str, Any]:
        """Ask whether it is ready; {} when it does not answer."""
        with suppress(httpx.HTTPError, ValueError):
            return dict(httpx.get(f"{self.url}/health/ready", timeout=10).json())
        return {}

    def wait(self, is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait for readiness to say something."""
        deadline_s = time.monotonic() + PATIENCE_S
        while not is_so(said := self.readiness()):
            assert time.monotonic() < deadline_s and self.process.poll() is None, (said, self.said())
            time.sleep(0.02)
        return said

    def wait_ready(self) -> "Server":
        """Wait until it answers queries."""
        self.wait(lambda said: said.get("status") == "ready")
        return self

    def rows(self, where: str = "1") -> list[dict[str, Any]]:
        """Read the query log past the program that wrote it."""
        with sqlite3.connect(self.root / "data" / "queries.db") as log:
            log.row_factory = sqlite3.Row
            return [dict(row) for row in log.execute(f"select * from queries where {where} order by row_id")]

    def metric(self, line: str) -> float:
        """Read one number of /metrics; 0 for what has not happened."""
        values = [text.rpartition(" ")[2] for text in httpx.get(f"{self.url}/metrics").text.splitlines()
                  if text.startswith(f"{line} ")]
        return float(values[0]) if values else 0.0

    def stop(self) -> int:
        """Ask it to end, and give its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)

    def said(self) -> str:
        """Give what the process wrote."""
        return (self.root / "server.log").read_text()


GOOD = clips.wav(1.0)


def environment(root: Path, **more: str) -> dict[str, str]:
    """Give the environment of a command on a project."""
    return {**os.environ, "WORKBENCH_ROOT": str(root), "OMP_NUM_THREADS": "1", **more}


def command(root: Path, *words: str, **more: str) -> "subprocess.CompletedProcess[str]":
    """Run a `workbench` command to its end."""
    return subprocess.run([sys.executable, "-m", "workbench.cli", *words], env=environment(root, **more), cwd=root,
                          capture_output=True, text=True, timeout=PATIENCE_S, check=False)


@contextmanager
def serving(root: Path, *words: str, **more: str) -> Iterator[Server]:
    """Run a server until the test is done with it."""
    with (root / "server.log").open("w+b") as log:
        process = subprocess.Popen([sys.executable, "-m", "workbench.cli", "serve", "--port", "0", *words], cwd=root,
                                   env=environment(root, **more), stdout=log, stderr=log)
    try:
        server = Server(root, process, "")
        deadline_s = time.monotonic() + PATIENCE_S
        while not (found := [line for line in server.said().splitlines() if line.startswith("serving at ")]):
            assert time.monotonic() < deadline_s and process.poll() is None, server.said()
            time.sleep(0.02)
        server.url = found[0].removeprefix("serving at ")
        server.wait(bool)
        yield server
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def new_root(folder: Path) -> Path:
    """Make a project with a model, in the run `toy`."""
    (folder / "notebooks").mkdir()
    os.environ["WORKBENCH_ROOT"] = str(folder)
    whisper_model.save(whisper_model.build("", "toy", seed=1), storage.run_folder("toy") / "model.pt")
    return folder


@pytest.fixture
def served_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a project of the test's own, with a model."""
    monkeypatch.setenv("WORKBENCH_ROOT", str(tmp_path))
    return new_root(tmp_path)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run one server for all tests that do it no harm."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKBENCH_ROOT", "")
        root = new_root(tmp_path_factory.mktemp("service"))
    with serving(root, "--model", "toy", "--no-auth", "--simulated-clock") as running:
        yield running.wait_ready()
