"""The queue: bounded, refused politely when full, drained at the end."""

import signal
import threading
from collections import Counter
from pathlib import Path

import httpx

from tests.serving import clips
from tests.serving.conftest import serving

TINY_QUEUE = {"WORKBENCH_MAX_QUEUE": "3", "WORKBENCH_MAX_BATCH": "1"}


def test_a_full_queue_says_when_to_come_back_and_a_stop_answers_what_was_accepted(served_root: Path) -> None:
    with serving(served_root, "--model", "toy", "--no-auth", **TINY_QUEUE) as server:
        answers = server.wait_ready().send_many(30, clips.wav(5.0))
        assert {answer.status_code for answer in answers} == {200, 429}
        for refused in (answer for answer in answers if answer.status_code == 429):
            assert refused.json()["error"]["code"] == "queue_full"
            assert refused.json()["error"]["type"] == "rate_limit_error"
            assert 1 <= int(refused.headers["Retry-After"]) <= 60
        answers += [server.send()]
        assert answers[-1].status_code == 200 and server.metric("workbench_queue_depth") == 0

        def ask() -> threading.Thread:
            asking = threading.Thread(target=lambda: answers.extend(server.send_many(3, clips.wav(29.0))))
            asking.start()
            return asking

        asking = ask()
        while server.metric("workbench_queue_depth") < 2:  # a busy machine may look too late, and asks again
            asking = asking if asking.is_alive() else ask()
        server.process.send_signal(signal.SIGTERM)
        asking.join(90)
        assert server.process.wait(90) == 0
        assert not (served_root / "data" / "service.json").exists()
        answered = {a.headers["X-Request-Id"] for a in answers if a.status_code == 200}
        assert {row["request_id"] for row in server.rows("error = ''")} == answered
        errors = Counter(row["error"] for row in server.rows("error <> ''"))
        assert errors == {"queue_full": len(answers) - len(answered)}
        assert [a.status_code for a in answers[-3:]] == [200] * 3, "what had found a place was answered"


def test_who_was_just_answered_is_waited_for_and_a_lone_query_goes_alone(served_root: Path) -> None:
    with serving(served_root, "--model", "toy", "--no-auth", WORKBENCH_BATCH_WAIT_MS="5000") as server:

        def waited_ms(answers: list[httpx.Response]) -> float:
            rows = {row["request_id"]: row["queue_ms"] for row in server.rows()}
            return max(rows[answer.headers["X-Request-Id"]] for answer in answers)

        server.wait_ready()
        assert waited_ms([server.send(), server.send()]) < 1500
        before = server.metric("workbench_batch_size_count")
        for _ in range(10):  # where a busy machine sent the last of the eight late, that one went alone
            assert waited_ms(server.send_many(8)) < 4500, "no longer than for those who come"
            after_ms = waited_ms([server.send()])
            if after_ms > 1500:
                break
        assert 1500 < after_ms < 4500, "a share of the time passes without company"
        assert server.metric("workbench_batch_size_count") - before < server.metric("workbench_batch_size_sum") - 2
