"""What is broken is said by readiness, and nothing that was acknowledged is lost: models, databases, kills."""

import os
import signal
import sqlite3
import threading
import time
from pathlib import Path

import httpx
import pytest

from tests import processes
from tests.postgresql import Server as Database
from tests.serving import clips
from tests.serving.conftest import Server, command, serving
from workbench.serving.journal import STALL_S
from workbench.serving.server import DRAIN_S

NO_DATABASE = "postgresql+psycopg://nobody:hush@127.0.0.1:9/none"


def test_a_damaged_model_and_a_database_out_of_reach_are_named_and_nothing_is_acknowledged(served_root: Path) -> None:
    model = served_root / "data" / "runs" / "toy" / "model.pt"
    model.write_bytes(model.read_bytes()[:50_000])
    with serving(served_root, "--model", "toy", "--no-auth", WORKBENCH_QUERY_LOG_URL=NO_DATABASE) as server:
        said = server.wait(lambda said: all(word in str(said["problems"]) for word in ("checkpoint", "127.0.0.1:9")))
        assert said["status"] == "not ready" and "hush" not in str(said)
        assert httpx.get(f"{server.url}/health/ready").status_code == 503
        assert httpx.get(f"{server.url}/health/live").status_code == 200
        answer = server.send()
        assert answer.status_code == 503 and answer.json()["error"]["type"] == "server_error"
        assert "checkpoint" in answer.json()["error"]["message"] and int(answer.headers["Retry-After"]) > 0
        assert server.stop() == 0


def test_a_log_that_goes_away_stops_the_answers_and_one_that_comes_back_starts_them(server: Server) -> None:
    acknowledged = [answer.headers["X-Request-Id"] for answer in server.send_many(4)]
    with sqlite3.connect(server.root / "data" / "queries.db") as log:
        log.execute("alter table queries rename to hidden")
    try:
        answer = server.send()
        assert answer.status_code == 503 and answer.json()["error"]["code"] in ("log_unavailable", "not_ready")
    finally:
        with sqlite3.connect(server.root / "data" / "queries.db") as log:
            log.execute("drop table if exists queries")
            log.execute("alter table hidden rename to queries")
    acknowledged.append(server.wait_ready().send().headers["X-Request-Id"])
    logged = [row["request_id"] for row in server.rows("error = ''")]
    assert set(acknowledged) <= set(logged) and answer.headers["X-Request-Id"] not in logged


def test_without_the_secret_of_users_names_nobody_is_answered_or_forgotten_until_it_is_back(server: Server) -> None:
    assert server.send(headers={"X-User-Id": "ann"}).status_code == 200
    secret = server.root / "data" / "secret.key"
    known = secret.read_bytes()
    secret.write_bytes(b"cut")
    try:
        refused = server.send(headers={"X-User-Id": "ann"})
        assert refused.status_code == 503 and "bring the old file back" in refused.json()["error"]["message"]
        assert refused.json()["error"]["code"] in ("log_unavailable", "not_ready")
        said = server.wait(lambda said: said["status"] == "not ready")
        assert "bring the old file back" in str(said["problems"])
        kept = httpx.delete(f"{server.url}/v1/users/ann", timeout=60)
        assert kept.status_code == 503 and "bring the old file back" in kept.json()["error"]["message"]
        assert kept.json()["error"]["code"] == "not_forgotten" and int(kept.headers["Retry-After"]) > 0
    finally:
        secret.write_bytes(known)
    assert server.wait_ready().send(headers={"X-User-Id": "ann"}).status_code == 200


def signal_postgres(postgres: Database, number: int) -> None:
    main = int((postgres.folder / "cluster" / "postmaster.pid").read_text().split()[0])
    for pid in (main, *processes.children(main)):
        os.kill(pid, number)


@pytest.mark.slow
def test_a_database_that_hangs_is_not_ready_refuses_in_time_and_lets_the_server_end(
        postgres: Database, served_root: Path) -> None:
    url = postgres.new_log()
    with serving(served_root, "--model", "toy", "--no-auth", WORKBENCH_QUERY_LOG_URL=url) as server:
        assert server.wait_ready().send().status_code == 200
        signal_postgres(postgres, signal.SIGSTOP)
        try:
            began_s = time.monotonic()
            answer = server.send()
            assert answer.status_code == 503 and answer.json()["error"]["code"] in ("log_unavailable", "not_ready")
            said = server.wait(lambda said: said["status"] == "not ready")
            assert "has not answered" in str(said["problems"]) and time.monotonic() - began_s < 3 * STALL_S
            began_s = time.monotonic()
            assert server.stop() == 0 and time.monotonic() - began_s < DRAIN_S
        finally:
            signal_postgres(postgres, signal.SIGCONT)


@pytest.mark.slow
def test_a_name_that_does_not_exist_ends_the_command(served_root: Path) -> None:
    ended = command(served_root, "serve", "--model", "nobody")
    assert ended.returncode == 2 and "no model 'nobody'" in ended.stderr and "toy" in ended.stderr


def kill_under_load(root: Path, n_answers: int) -> int:
    """Kill a server in the middle of its work. Returns: how many queries it had acknowledged."""
    with serving(root, "--model", "toy", "--no-auth", "--engine", "torch") as server:
        server.wait_ready()
        acknowledged: list[str] = []
        is_over = threading.Event()
        phones = [threading.Thread(target=call, args=(server, acknowledged, is_over)) for _ in range(8)]
        for phone in phones:
            phone.start()
        while len(acknowledged) < n_answers:
            assert server.process.poll() is None
            is_over.wait(0.005)
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
        is_over.set()
        for phone in phones:
            phone.join()
        logged = [row["request_id"] for row in server.rows("error = ''")]
        assert len(set(logged)) == len(logged), "a query is in the log twice"
        assert set(acknowledged) <= set(logged), "an acknowledged query is not in the log"
        return len(acknowledged)


def call(server: Server, acknowledged: list[str], is_over: threading.Event) -> None:
    """Ask again and again, as a phone would, until the server is gone."""
    with httpx.Client(timeout=60) as client:
        while not is_over.is_set():
            try:
                answer = client.post(f"{server.url}/v1/audio/transcriptions", data={"model": "champion"},
                                     files={"file": ("a.wav", clips.wav(0.5))}, headers={"X-Consent": "audio"})
            except httpx.HTTPError:
                return
            if answer.status_code == 200:
                acknowledged.append(answer.headers["X-Request-Id"])


def test_every_answer_before_a_kill_is_in_the_log_once_and_the_server_starts_again(served_root: Path) -> None:
    assert kill_under_load(served_root, 25) >= 25
    with serving(served_root, "--model", "toy", "--no-auth") as server:
        assert server.wait_ready().send().status_code == 200


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_twenty_kills_under_load_lose_nothing(served_root: Path) -> None:
    for number in range(20):
        assert kill_under_load(served_root, 5 + 7 * number) > 0


