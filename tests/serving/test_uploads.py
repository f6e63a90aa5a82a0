"""A corpus of more than 200 uploads that are malformed or merely unusual, all made here from seeds."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from tests.processes import wait_until
from tests.serving import clips
from tests.serving.conftest import GOOD, Server
from workbench.serving import uploads
from workbench.serving.openai_shape import ApiError


def assert_refused(answer: httpx.Response, name: str) -> None:
    assert 400 <= answer.status_code < 500, (name, answer.status_code, answer.text)
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["type"] == "invalid_request_error", name
    assert len(error["message"]) > 20 and "/dev/fd" not in error["message"] and "Error" not in error["message"], error


def test_malformed_uploads_are_refused_and_the_next_good_one_is_served(server: Server) -> None:
    for name, content in clips.corpus("malformed"):
        answer = httpx.post(f"{server.url}/v1/audio/transcriptions", files={"file": ("query.wav", content)},
                            data={"model": "champion"}, timeout=60)
        assert_refused(answer, name)
        assert server.send().status_code == 200, name


@pytest.mark.parametrize(("name", "content"), [pytest.param(*each, id=each[0]) for each in clips.corpus("unusual")])
def test_unusual_uploads_are_heard(server: Server, name: str, content: bytes) -> None:
    answer = server.send(content, form={"response_format": "verbose_json"})
    assert answer.status_code == 200, (name, answer.text)
    expected_s = {"wav a tenth of a second": 0.1, "wav 29.9 s": 29.9}.get(name, 1.0)
    assert answer.json()["duration"] == pytest.approx(expected_s, abs=0.1)


def test_damaged_uploads_are_heard_or_refused_and_never_break_the_server(server: Server) -> None:
    n_refused = n_heard = 0
    for name, content in clips.corpus("damaged"):
        answer = server.send(content)
        n_heard += answer.status_code == 200
        if answer.status_code != 200:
            n_refused += 1
            assert_refused(answer, name)
    assert min(n_heard, n_refused) > 20
    assert server.send().status_code == 200 and server.process.poll() is None


def test_the_corpus_is_large() -> None:
    names = [name for kind in ("malformed", "unusual", "damaged") for name, _ in clips.corpus(kind)]
    assert len(names) >= 200 and len(set(names)) == len(names)


@pytest.mark.slow
def test_thousands_of_damaged_uploads_are_heard_or_refused() -> None:
    for seed in range(1, 4):
        for _, content in clips.fuzzed(40, seed=seed):
            try:
                clip = uploads.decode(content, longest_s=30.0)
                assert 0.1 <= clip.duration_s <= 30.0 and abs(clip.samples).max() <= 1.5
            except ApiError as error:
                assert error.status == 400


@pytest.mark.parametrize(("what", "more", "param"), [
    ("no file", {"data": {"model": "champion"}, "files": {"other": ("a.wav", GOOD)}}, "file"),
    ("no model", {"files": {"file": ("a.wav", GOOD)}}, "model"),
    ("a file that is text", {"data": {"model": "champion", "file": "words"}, "files": {"x": ("a", b"a")}}, "file"),
    ("a model that is a file", {"files": {"file": ("a.wav", GOOD), "model": ("m", b"champion")}}, "model"),
    ("json", {"json": {"model": "champion"}}, None),
    ("no body", {}, None),
    ("a form without files", {"data": {"model": "champion"}}, None),
    ("three files", {"files": [("file", ("a", GOOD))] * 3, "data": {"model": "champion"}}, None),
    ("sixty fields", {"files": {"file": ("a", GOOD)}, "data": {f"f{i}": "x" for i in range(60)}}, None),
    ("no boundary", {"content": b"--x\r\n", "headers": {"Content-Type": "multipart/form-data"}}, None),
    ("another boundary", {"content": b"--x\r\nhello", "headers": {"Content-Type": "multipart/form-data; boundary=y"}},
     None),
    ("a cut form", {"content": b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nRIFF',
                    "headers": {"Content-Type": "multipart/form-data; boundary=x"}}, "file"),
])
def test_a_form_that_lacks_something_is_refused_with_what_it_lacks(
        server: Server, what: str, more: dict[str, object], param: str | None) -> None:
    answer = httpx.post(f"{server.url}/v1/audio/transcriptions", **more)  # type: ignore[arg-type]
    assert_refused(answer, what)
    assert answer.json()["error"]["param"] == param
    assert server.send().status_code == 200


def test_a_body_of_100_mb_is_refused_before_it_is_kept(server: Server) -> None:
    before_kb = resident_kb(server)
    answer = server.send(bytes(100_000_000))
    assert answer.status_code == 413 and answer.json()["error"]["code"] == "body_too_large"
    assert "25 MB" in answer.json()["error"]["message"]

    def chunks() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        yield from (bytes(1_000_000) for _ in range(60))

    undeclared = httpx.post(f"{server.url}/v1/audio/transcriptions", content=chunks(), timeout=60,
                            headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert undeclared.status_code == 413
    assert resident_kb(server) - before_kb < 60_000
    assert server.send().status_code == 200


def resident_kb(server: Server) -> int:
    with open(f"/proc/{server.process.pid}/status") as status:  # noqa: PTH123
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def test_who_asks_before_sending_too_much_is_told_not_to(server: Server) -> None:
    with connected(server) as connection:
        connection.sendall(b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
                           b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 900000000\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 413")


def test_a_client_that_goes_away_half_way_harms_nobody(server: Server) -> None:
    before = len(server.rows("error = 'client_gone'"))
    hang_up_half_way(server, 5)
    assert server.send().status_code == 200
    wait_until(lambda: len(server.rows("error = 'client_gone'")) == before + 5)
    assert "ClientDisconnect" not in server.said()
    assert server.metric("workbench_queue_depth") == 0


def test_clients_that_went_away_half_way_are_counted(server: Server) -> None:
    counted = 'workbench_errors_total{kind="client_gone"}'
    before = server.metric(counted)
    hang_up_half_way(server, 2)
    wait_until(lambda: server.metric(counted) == before + 2)


def hang_up_half_way(server: Server, n: int) -> None:
    with ExitStack() as held:
        for _ in range(n):
            held.enter_context(connected(server)).sendall(
                b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n"
                b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\nContent-")


def connected(server: Server) -> socket.socket:
    host, _, port = server.url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=30)
