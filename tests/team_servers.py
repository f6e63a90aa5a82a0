"""What a team shares, started for real on loopback: an MLflow server, an S3 server, a PostgreSQL server, by URL."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests import postgresql

BUCKET = "team"
STARTS_S = 120.0
KEYS = {"AWS_ACCESS_KEY_ID": "researcher", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def process(*words: str, answers: str, log: Path, **environment: str) -> Iterator[None]:
    """Run a server until the block ends, which begins when an address of it answers."""
    with log.open("wb") as said:
        running = subprocess.Popen(words, stdout=said, stderr=said, start_new_session=True,
                                   env={**os.environ, **environment})
    try:
        deadline_s = time.monotonic() + STARTS_S
        while not _does_answer(answers):
            assert running.poll() is None and time.monotonic() < deadline_s, log.read_text()
            time.sleep(0.1)
        yield
    finally:
        os.killpg(running.pid, 15)
        running.wait(30)


def _does_answer(address: str) -> bool:
    try:
        urllib.request.urlopen(address, timeout=5).close()
    except OSError:
        return False
    return True


@contextmanager
def s3(folder: Path, **environment: str) -> Iterator[dict[str, str]]:
    """Start an S3 server with a bucket. Gives: the settings with which it is reached."""
    url = f"http://127.0.0.1:{free_port()}"
    words = (sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", url.rpartition(":")[2])
    with process(*words, answers=f"{url}/moto-api/", log=folder / "s3.log", **environment):
        reached = {**KEYS, "AWS_ENDPOINT_URL": url}
        client(reached).create_bucket(Bucket=BUCKET)
        yield {**reached, "WORKBENCH_STORE_URL": f"s3://{BUCKET}/voice"}


@contextmanager
def google(folder: Path) -> Iterator[dict[str, str]]:
    """Start an emulator of Google's store with a bucket. Gives: the settings with which it is reached."""
    url = f"http://127.0.0.1:{free_port()}"
    words = (sys.executable, "-m", "gcp_storage_emulator", "start", "--host", "127.0.0.1", "--port",
             url.rpartition(":")[2], "--in-memory", "--default-bucket", BUCKET)
    with process(*words, answers=url, log=folder / "google.log"):
        yield {"CLOUD_STORAGE_EMULATOR_ENDPOINT": url, "WORKBENCH_STORE_URL": f"gs://{BUCKET}/voice"}


def client(reached: Mapping[str, str], service: str = "s3") -> Any:
    """Give AWS's own client for a server."""
    return boto3.client(service, endpoint_url=reached["AWS_ENDPOINT_URL"], region_name=reached["AWS_DEFAULT_REGION"],
                        aws_access_key_id=reached["AWS_ACCESS_KEY_ID"],
                        aws_secret_access_key=reached["AWS_SECRET_ACCESS_KEY"])


@contextmanager
def mlflow(folder: Path) -> Iterator[dict[str, str]]:
    """Start an MLflow server, as docs/team.md does. Gives: the setting with which it is reached."""
    url = f"http://127.0.0.1:{free_port()}"
    words = (sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", url.rpartition(":")[2],
             "--backend-store-uri", f"sqlite:///{folder}/mlflow-server.db", "--workers", "1")
    # Its runners of jobs are half a dozen processes that nothing here asks for.
    no_jobs = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with process(*words, answers=f"{url}/version", log=folder / "mlflow.log", **no_jobs):
        yield {"WORKBENCH_TRACKING_URL": url}


@contextmanager
def all_of_them(folder: Path) -> Iterator[dict[str, str]]:
    """Start everything. Gives: the settings of every machine of the team."""
    with postgresql.running() as database, s3(folder) as store, mlflow(folder) as tracking:
        yield {**store, **tracking, "WORKBENCH_QUERY_LOG_URL": database.new_log()}


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Give the settings of a team whose servers run; they are set for the tests of a module and what they start."""
    with all_of_them(tmp_path_factory.mktemp("servers")) as settings, pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        yield settings
