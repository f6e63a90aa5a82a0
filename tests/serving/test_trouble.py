"""What is broken is said by readiness, and nothing that was acknowledged is lost: models, databases, kills."""

import signal
import sqlite3
import threading
from pathlib import Path

import httpx
import pytest

from tests.serving import clips
from tests.serving.conftest import Server, command, serving

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


