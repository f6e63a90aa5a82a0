"""Simulated phones: what they send, what they make of answers and of silence; nothing is lost, nothing sent twice."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from workbench import audio, synthesis, traffic
from workbench.errors import OvertakenError, ServiceError


class Stub(ThreadingHTTPServer):
    """A server that answers how many bytes it got, and refuses every clip whose user is `refused`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[dict[str, str]] = []
        self.version, self.delay_s, self.refused, self.dropped = "1", 0.0, "nobody", "nobody"
        self.key = ""
        self.lock, self.n_now, self.n_most = threading.Lock(), 0, 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Stub

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.lock:
            self.server.n_now += 1
            self.server.n_most = max(self.server.n_most, self.server.n_now)
            headers = {name.lower(): value for name, value in self.headers.items()}
            self.server.seen.append({**headers, "path": self.path})
            number = len(self.server.seen)
        time.sleep(self.server.delay_s)
        user = self.headers.get("X-User-Id", "")
        if self.server.key and self.headers.get("Authorization") != f"Bearer {self.server.key}":
            self.answer(401, {"error": {"type": "invalid_request_error", "code": "invalid_api_key"}}, number)
        elif user == self.server.dropped:
            self.close_connection = True
        elif user == self.server.refused:
            self.answer(429, {"error": {"type": "rate_limit_error", "code": "queue_full"}}, number)
        else:
            self.answer(200, {"text": f"heard {len(body) > 1000}"}, number)
        with self.server.lock:
            self.server.n_now -= 1

    def answer(self, status: int, content: dict[str, Any], number: int) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), "X-Request-Id": f"r{number}",
                            "X-Model-Version": self.server.version}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def stub() -> Iterator[Stub]:
    server = Stub()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def clips(folder: Path, n: int = 6) -> pd.DataFrame:
    rows = []
    for i in range(n):
        samples = np.full(1_600, 0.001 * (i + 1), np.float32)
        audio.write(folder / f"{i}.wav", samples)
        rows.append({"utterance_id": f"c{i}", "audio_path": str(folder / f"{i}.wav"), "audio_sha": f"sha{i}",
                     "text": f"Query {i}!", "user": f"u{i % 3}", "consent": i % 3 == 0, "device": "wideband",
                     "app_version": "3.1.0", "time_s": 1e9 + i, "duration_s": 0.1})
    return pd.DataFrame(rows)


# --- sending ---------------------------------------------------------------------------------------------------------


def test_every_clip_gets_its_own_answer_in_the_order_asked(stub: Stub, tmp_path: Path) -> None:
    sent = traffic.send(clips(tmp_path), url=stub.url, key="wb_1", concurrency=3)
    assert sent["utterance_id"].tolist() == [f"c{i}" for i in range(6)]
    assert sent["status"].eq(200).all() and sent["text"].eq("heard True").all()
    assert sent["request_id"].is_unique and sent["model_version"].eq("1").all()
    assert sent["latency_ms"].gt(0).all() and sent["duration_s"].eq(0.1).all()


def test_headers_say_who_asks_on_what_when_and_whether_it_may_be_kept(stub: Stub, tmp_path: Path) -> None:
    traffic.send(clips(tmp_path, 2), url=stub.url, key="wb_1", concurrency=1)
    first, second = stub.seen
    assert first["path"] == "/v1/audio/transcriptions" and first["authorization"] == "Bearer wb_1"
    assert (first["x-user-id"], first["x-device"], first["x-app-version"]) == ("u0", "wideband", "3.1.0")
    assert float(first["x-query-time"]) == 1e9 and first["x-consent"] == "audio"
    assert "x-consent" not in second


@pytest.mark.parametrize(("said", "is_yes"), [("no", False), ("", False), (None, False), ("yes", True), ("Audio", 1)])
def test_only_a_yes_is_a_consent(stub: Stub, tmp_path: Path, said: str | None, is_yes: bool) -> None:
    traffic.send(clips(tmp_path, 1).assign(consent=said), url=stub.url)
    assert ("x-consent" in stub.seen[0]) == is_yes


def test_a_refused_and_a_lost_request_are_rows_and_the_others_go_on(stub: Stub, tmp_path: Path) -> None:
    stub.refused, stub.dropped = "u1", "u2"
    sent = traffic.send(clips(tmp_path), url=stub.url).set_index("utterance_id")
    assert sent["status"].tolist() == [200, 429, 0, 200, 429, 0]
    assert sent.loc["c1", ["error", "text"]].tolist() == ["queue_full", ""]
    assert sent.loc["c2", ["error", "request_id"]].tolist() == ["RemoteProtocolError", ""]


def test_without_a_server_every_row_says_so(tmp_path: Path) -> None:
    sent = traffic.send(clips(tmp_path), url="http://127.0.0.1:9")
    assert sent["status"].eq(0).all() and sent["error"].eq("ConnectError").all()


def test_no_more_phones_call_at_once_than_were_asked_for(stub: Stub, tmp_path: Path) -> None:
    stub.delay_s = 0.05
    traffic.send(clips(tmp_path, 12), url=stub.url, concurrency=3)
    assert stub.n_most == 3


def test_a_rate_is_kept_and_waiting_for_a_phone_counts_as_latency(stub: Stub, tmp_path: Path) -> None:
    sent = traffic.send(clips(tmp_path, 6), url=stub.url, rate=20)
    assert sent["started_s"].tolist() == pytest.approx([0, .05, .1, .15, .2, .25])
    stub.delay_s = 0.2
    late = traffic.send(clips(tmp_path, 3), url=stub.url, rate=100, concurrency=1)
    assert late["latency_ms"].iloc[-1] > 500


def test_a_load_goes_on_until_another_version_answers_all(stub: Stub, tmp_path: Path) -> None:
    with traffic.Load(clips(tmp_path), url=stub.url) as load:
        assert load.wait_for("1")
        stub.version = "2"
        assert load.wait_for("2")
    assert load.sent["status"].eq(200).all() and set(load.sent["model_version"]) == {"1", "2"}
    assert load.sent["started_s"].is_monotonic_increasing


def test_a_change_of_versions_is_asked_through(stub: Stub, tmp_path: Path) -> None:
    sent = traffic.change_over(clips(tmp_path), url=stub.url, key="", version="2",
                               promote=lambda: setattr(stub, "version", "2"))
    assert sent is not None
    counted = traffic.by_version(sent).set_index("model_version")
    assert counted["n_failed"].to_dict() == {"1": 0, "2": 0} and counted["n_requests"].ge(6).all()
    assert traffic.n_failed(sent) == 0 and sent["started_s"].is_monotonic_increasing


def test_a_change_that_another_one_overtook_is_none(stub: Stub, tmp_path: Path) -> None:
    def promote() -> None:
        raise OvertakenError("by now 3 is the champion")

    assert traffic.change_over(clips(tmp_path), url=stub.url, key="", version="2", promote=promote) is None


def test_a_load_says_when_a_version_never_comes(stub: Stub, tmp_path: Path) -> None:
    with traffic.Load(clips(tmp_path), url=stub.url) as load:
        assert not load.wait_for("7", within_s=0.3)
    assert len(load.sent) >= 6


# --- weeks and manifests ---------------------------------------------------------------------------------------------


@pytest.fixture
def week(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """Stand in for a recorded week: what is sent when is the question."""
    rows = clips(tmp_path, 9)
    monkeypatch.setattr(synthesis, "collect_week", lambda *, week, n, traffic_seed, **_: rows.head(n).assign(
        utterance_id=[f"t{traffic_seed}-w{week}-{i}" for i in range(n)], week=week, traffic_seed=traffic_seed))
    monkeypatch.setattr(traffic, "BLOCK", 4)
    return rows


def test_what_was_sent_is_kept_with_its_truth(stub: Stub, week: pd.DataFrame) -> None:
    sent = traffic.simulate("r", weeks=(1, 2), n=9, url=stub.url)
    pd.testing.assert_frame_equal(sent, traffic.sent_by("r"))
    assert len(sent) == 18 and sent["request_id"].is_unique and set(sent["week"]) == {1, 2}
    assert sent["reference"].head(2).tolist() == ["query zero", "query one"]
    assert sent["hypothesis"].eq("heard True").all()


def test_a_simulation_that_was_cut_off_goes_on_where_it_was(stub: Stub, week: pd.DataFrame,
                                                            monkeypatch: pytest.MonkeyPatch) -> None:
    whole_send, n_blocks = traffic.send, []

    def cut_off(*arguments: Any, **more: Any) -> pd.DataFrame:
        n_blocks.append(1)
        if len(n_blocks) == 2:
            raise KeyboardInterrupt
        return whole_send(*arguments, **more)

    monkeypatch.setattr(traffic, "send", cut_off)
    with pytest.raises(KeyboardInterrupt):
        traffic.simulate("r", weeks=(1,), n=9, url=stub.url)
    assert len(traffic.sent_by("r")) == 4
    sent = traffic.simulate("r", weeks=(1,), n=9, url=stub.url)
    assert len(sent) == 9 and sent["utterance_id"].is_unique and len(stub.seen) == 9


def test_what_a_run_has_sent_is_not_sent_again(stub: Stub, week: pd.DataFrame) -> None:
    first = traffic.simulate("r", weeks=(1,), n=9, url=stub.url)
    pd.testing.assert_frame_equal(first, traffic.simulate("r", weeks=(1,), n=9, url=stub.url))
    assert len(stub.seen) == 9


def test_what_nobody_answered_is_sent_again_and_counted_once(stub: Stub, week: pd.DataFrame,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    whole_send = traffic.send
    with monkeypatch.context() as away:
        away.setattr(traffic, "send", lambda some, **more: whole_send(some, **more).assign(status=503, error="away"))
        failed = traffic.simulate("r", weeks=(1,), n=9, url=stub.url)
    assert failed["status"].eq(503).all()
    sent = traffic.simulate("r", weeks=(1, 2), n=9, url=stub.url)
    assert len(sent) == 18 and sent["status"].eq(200).all() and sent["sent_s"].gt(failed["sent_s"].max()).all()


def test_a_later_week_goes_on_with_the_same_people_and_amount(stub: Stub, week: pd.DataFrame) -> None:
    traffic.simulate("r", weeks=(1,), n=5, seed=7, url=stub.url)
    sent = traffic.simulate("r", weeks=(2,), url=stub.url)
    assert sent["utterance_id"].tolist() == [f"t7-w{number}-{i}" for number in (1, 2) for i in range(5)]


def test_any_manifest_can_be_sent_with_a_share_of_consent(stub: Stub, root: Path, tmp_path: Path) -> None:
    rows = clips(tmp_path, 6)[["audio_path", "text"]].assign(speaker=[f"p{i}" for i in range(6)])
    rows.to_csv(tmp_path / "more.csv", index=False)
    for share, n_consents in ((0.0, 0), (1.0, 6)):
        sent = traffic.simulate(f"m{share}", manifest=tmp_path / "more.csv", url=stub.url, consent_share=share)
        assert sent["consent"].sum() == n_consents and sent["status"].eq(200).all()
    assert {seen["x-user-id"] for seen in stub.seen} == {f"p{i}" for i in range(6)}


def test_rows_of_a_manifest_that_cannot_be_sent_are_named(
        stub: Stub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = clips(tmp_path, 30)[["audio_path", "text"]].assign(speaker=[f"p{i}" for i in range(30)])
    rows.loc[3, "audio_path"] = "gone.wav"
    rows.to_csv(tmp_path / "more.csv", index=False)
    assert len(traffic.simulate("m", manifest=tmp_path / "more.csv", url=stub.url)) == 29
    assert "1 of 30 rows left out: line 5: " in capsys.readouterr().out


def test_without_a_server_one_is_told_how_to_start_one(week: pd.DataFrame) -> None:
    with pytest.raises(ServiceError, match="workbench serve --detach"):
        traffic.simulate("r", weeks=(1,), n=9)


@pytest.mark.parametrize("url", ["foo", "http://127.0.0.1:9", "http://[oops"])
def test_nothing_is_spoken_for_a_server_that_is_not_there(root: Path, url: str) -> None:
    with pytest.raises(ServiceError, match=r"no server answers at .*write http://host:port"):
        traffic.simulate("r", weeks=(1,), n=9, url=url)
    assert traffic.sent_by("r").empty and not (root / "data" / "traffic").exists()


def test_what_a_wrong_key_sent_is_sent_again_with_the_right_one(stub: Stub, week: pd.DataFrame) -> None:
    stub.key = "right"
    with pytest.raises(ServiceError, match="does not accept the key.*--key"):
        traffic.simulate("r", weeks=(1,), n=9, url=stub.url, key="wrong")
    assert traffic.sent_by("r").empty
    assert traffic.simulate("r", weeks=(1,), n=9, url=stub.url, key="right")["status"].eq(200).all()
