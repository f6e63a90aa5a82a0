"""A PostgreSQL server that the tests start themselves, where its programs are installed."""

import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest


class Server:
    """A PostgreSQL cluster in a temporary folder, reached through a socket in that folder."""

    def __init__(self, programs: Path) -> None:
        self.programs, self.folder = programs, Path(tempfile.mkdtemp(prefix="workbench-pg-", dir="/tmp"))
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres")
        self.run("initdb", "--auth", "trust", "--username", "postgres", "--no-sync")

    def run(self, program: str, *words: str) -> None:
        """Run one of PostgreSQL's programs on the cluster; they refuse to work for root."""
        who = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        subprocess.run([*who, str(self.programs / program), "-D", str(self.folder / "cluster"), *words], check=True,
                       stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, cwd="/", timeout=120)

    def start(self) -> None:
        self.run("pg_ctl", "start", "-w", "-l", str(self.folder / "log"), "-o",
                 f"-c listen_addresses='' -c unix_socket_directories='{self.folder}' "
                 "-c recovery_init_sync_method=syncfs")

    def crash(self) -> None:
        self.run("pg_ctl", "stop", "-w", "-m", "immediate")

    def new_log(self) -> str:
        """Give the URL of a schema of its own, which takes no time to make."""
        name = f"log_{uuid.uuid4().hex}"
        with psycopg.connect(host=str(self.folder), user="postgres", dbname="postgres", autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}")
        return f"postgresql://postgres@/postgres?host={self.folder}&options=-csearch_path%3D{name}"


@contextmanager
def running() -> Iterator[Server]:
    """Start a server, and take it away afterwards; without its programs, the test is skipped."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("no PostgreSQL server under /usr/lib/postgresql; apt-get install postgresql")
    if os.geteuid() == 0 and "postgres" not in [user.pw_name for user in pwd.getpwall()]:
        pytest.skip("PostgreSQL refuses to run as root, and there is no user postgres to run it")
    server = Server(found[-1].parent)
    try:
        server.start()
        yield server
        server.crash()
    finally:
        shutil.rmtree(server.folder, ignore_errors=True)
