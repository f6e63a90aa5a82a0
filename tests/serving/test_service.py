"""What a service does by itself, in this process and without a model: its clock, its key, its time limits."""

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from workbench import consent, keys
from workbench.errors import ServiceError
from workbench.log_database import LOAD_TEST, LoggedQuery
from workbench.query_log import QueryLog
from workbench.serving import app, replicas, server, service
from workbench.serving.openai_shape import ApiError
from workbench.serving.service import Options, Service


class NoModel:
    """Where no model comes from."""

    def state(self) -> dict[str, Any]:
        """Give no aliases."""
        return {}

    def load(self, version: str) -> Any:
        """Load nothing."""
        raise AssertionError(version)


def test_after_a_start_a_simulated_clock_is_where_people_last_asked(root: Path) -> None:
    simulated, real = (Service(Options(NoModel(), has_simulated_clock=flag)) for flag in (True, False))
    assert asyncio.run(simulated.time_s(None, app_version="")) > 1.7e9, "nobody has told a time yet"
    with contextlib.closing(QueryLog()) as log:
        log.append([LoggedQuery(request_id="a", time_s=100.0), LoggedQuery(request_id="b", time_s=90.0),
                    LoggedQuery(request_id="b", time_s=95.0, role="shadow"),
                    LoggedQuery(request_id="c", time_s=2e9, app_version=LOAD_TEST)])
    assert asyncio.run(simulated.time_s(None, app_version="")) == 90.0
    assert asyncio.run(real.time_s(None, app_version="")) > 1.7e9


def test_what_a_replica_takes_for_the_last_time_told_may_have_been_told_to_another(root: Path) -> None:
    one = Service(Options(NoModel(), has_simulated_clock=True, front_pid=1))
    assert asyncio.run(one.time_s(50.0, app_version="")) == 50.0
    with contextlib.closing(QueryLog()) as log:
        log.append([LoggedQuery(request_id="of another", time_s=90.0)])
    assert asyncio.run(one.time_s(None, app_version="")) == 90.0


FORM = [(b"content-type", b"multipart/form-data; boundary=x")]


async def nothing_comes() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


def test_work_that_is_ended_for_a_client_that_hung_up_is_told_as_that() -> None:
    async def hang_up() -> None:
        received = asyncio.create_task(app._received(Request({"type": "http", "headers": FORM}, nothing_comes)))
        await asyncio.sleep(0.01)
        received.cancel()
        await received

    with pytest.raises(ApiError, match="hung up") as raised:
        asyncio.run(hang_up())
    assert (raised.value.status, raised.value.code) == (499, "client_gone")


@pytest.mark.parametrize(("n_bytes", "more", "is_read"), [
    (b"101", [(b"expect", b"100-continue")], False), (b"100", [(b"expect", b"100-continue")], True),
    (b"101", [], True)])
def test_a_front_reads_no_body_that_is_too_large_of_who_asks_first(
        n_bytes: bytes, more: list[tuple[bytes, bytes]], is_read: bool) -> None:
    async def replica(scope: Scope, receive: Receive, send: Send) -> None:
        first = await receive()
        assert first.get("body") == (b"real" if is_read else b"")
        with pytest.raises(TimeoutError):  # a client that seems to be gone would be given up
            await asyncio.wait_for(receive(), 0.01)

    sent = [{"type": "http.request", "body": b"real", "more_body": True}]

    async def receive() -> Message:
        return sent.pop() if sent else await nothing_comes()

    async def send(message: Message) -> None:
        raise AssertionError(message)

    scope = {"type": "http", "headers": [(b"content-length", n_bytes), *more]}
    asyncio.run(replicas.Unasked(replica, max_bytes=100)(scope, receive, send))
    assert bool(sent) is not is_read


class Cluster:
    """A cluster whose nodes live on some hosts, and one that is dead."""

    def __init__(self, *hosts: str) -> None:
        self.hosts = hosts

    def nodes(self) -> list[dict[str, Any]]:
        """Give its nodes as Ray does."""
        return [*({"NodeManagerAddress": host, "Alive": True} for host in self.hosts),
                {"NodeManagerAddress": "10.0.0.9", "Alive": False}]


def test_replicas_on_several_machines_need_a_log_that_they_can_share(
        root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replicas._check_log(Cluster("10.0.0.1", "10.0.0.1"))
    with pytest.raises(ServiceError, match="on 2 machines cannot share a SQLite query log; set WORKBENCH_QUERY_LOG_UR"):
        replicas._check_log(Cluster("10.0.0.1", "10.0.0.2", "10.0.0.1"))
    monkeypatch.setenv("WORKBENCH_QUERY_LOG_URL", "postgresql+psycopg://ann@db/queries")
    replicas._check_log(Cluster("10.0.0.1", "10.0.0.2"))


def test_a_server_starts_beside_keys_of_any_name_and_takes_those_of_servers_that_ended(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys.create("server-room")
    keys.create_for_server(12_345)

    def refuse(pid: int, number: int) -> None:
        raise PermissionError(pid)  # the number is another user's process by now

    monkeypatch.setattr(os, "kill", refuse)
    with server.own_key(needs_key=True):
        assert [key.name for key in keys.listing()] == ["server-room", f"server-{os.getpid()}"]
    assert [key.name for key in keys.listing()] == ["server-room"]


def test_a_disk_in_trouble_does_not_end_the_time_limits(root: Path, monkeypatch: pytest.MonkeyPatch,
                                                        caplog: pytest.LogCaptureFixture) -> None:
    calls = list[float]()

    def enforce(log: QueryLog, now_s: float, *limits: float) -> None:
        calls.append(now_s)
        raise OSError("disk in trouble") if len(calls) == 1 else asyncio.CancelledError

    monkeypatch.setattr(service, "CLEAN_UP_S", 0.0)
    monkeypatch.setattr(consent, "enforce_retention", enforce)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(Service(Options(NoModel()))._clean_up())
    assert len(calls) == 2 and "disk in trouble" in caplog.text
