"""The journal and the queue before it, in this process: a log that hangs, and a secret that names nobody any more."""

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from workbench import query_log
from workbench.log_database import LoggedQuery
from workbench.query_log import QueryLog
from workbench.serving import batching, journal
from workbench.serving.batching import Batcher, Limits
from workbench.serving.journal import Entry, Journal
from workbench.serving.openai_shape import ApiError


@pytest.fixture
def hanging(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Let the log hang until the event is set; a tenth of a second is long here."""
    goes_on, append = threading.Event(), QueryLog.append

    def wait(log: QueryLog, rows: Any) -> None:
        goes_on.wait(60)
        append(log, rows)

    monkeypatch.setattr(QueryLog, "append", wait)
    monkeypatch.setattr(journal, "STALL_S", 0.1)
    yield goes_on
    goes_on.set()


def entry(name: str, user_hash: str = "") -> Entry:
    return Entry(LoggedQuery(request_id=name, time_s=1.0, user_hash=user_hash), time.monotonic())


def test_a_log_that_hangs_is_a_problem_until_it_goes_on_and_keeps_nobody_waiting(hanging: threading.Event) -> None:
    async def live() -> None:
        kept = Journal("")
        await kept.check()
        assert kept.problem == ""
        running = asyncio.create_task(kept.run())
        for name in ("written late", "given up"):
            with pytest.raises(ApiError, match="could not be logged.*has not answered") as refused:
                await kept.append([entry(name)])
            assert (refused.value.status, refused.value.code) == (503, "log_unavailable")
        assert "has not answered" in kept.problem and kept.n_waiting == 0
        with pytest.raises(ApiError, match="has not answered"):
            await kept.last_asked_s()
        hanging.set()
        await kept.check()
        assert kept.problem == ""
        await kept.append([entry("after")])
        running.cancel()
        await kept.close()

    asyncio.run(live())
    assert QueryLog().read()["request_id"].tolist() == ["written late", "after"]


def test_a_log_that_hangs_does_not_hold_up_the_end(hanging: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "DRAIN_S", 0.1)

    async def live() -> float:
        kept = Journal("")
        running = asyncio.create_task(kept.run())
        queue = Batcher(None, kept, metrics=None, limits=Limits(0, 1, 1))  # type: ignore[arg-type]
        queue._is_shadowing = True  # its answer waits for the log
        with pytest.raises(ApiError):
            await kept.append([entry("late")])
        began_s = time.monotonic()
        await queue.drain()
        running.cancel()
        await kept.close()
        return time.monotonic() - began_s

    assert asyncio.run(live()) < 10


@pytest.mark.parametrize(("found", "message"), [
    (None, "is missing"), (b"1" * 32, "is not the one"), (b"cut", "holds 3 bytes")])
def test_a_secret_that_is_lost_or_foreign_is_a_problem_of_the_log(
        root: Path, found: bytes | None, message: str) -> None:
    async def live() -> None:
        kept, secret = Journal(""), root / "data" / "secret.key"
        running = asyncio.create_task(kept.run())
        await kept.append([entry("a", query_log.user_hash("ann"))])
        known = secret.read_bytes()
        secret.unlink()
        if found:
            secret.write_bytes(found)
        await kept.check()
        assert message in kept.problem and "bring the old file back" in kept.problem
        with pytest.raises(ApiError, match=message):
            await kept.append([entry("b")])
        assert secret.exists() == bool(found)
        secret.write_bytes(known)
        await kept.check()
        assert kept.problem == ""
        running.cancel()
        await kept.close()

    asyncio.run(live())
