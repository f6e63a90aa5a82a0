"""What a service does by itself, in this process and without a model: its clock, its key, its time limits."""

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Any

import pytest

from workbench import consent, keys
from workbench.log_database import LOAD_TEST, LoggedQuery
from workbench.query_log import QueryLog
from workbench.serving import server, service
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
