"""What clients see: OpenAI's own client, the log that holds every answer, keys, metrics, forgetting."""

import asyncio
import json
import math
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import openai
import pytest
import whisper.tokenizer

from tests import published
from tests.serving import clips
from tests.serving.conftest import GOOD, Server, command, serving
from workbench import keys, storage, whisper_model
from workbench.errors import ServiceError
from workbench.serving import openai_shape, server
from workbench.serving.server import Running, memory_mb, require_own_clock


@pytest.fixture
def client(server: Server) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none is needed", max_retries=0)


def test_openais_own_client_works_unchanged(client: openai.OpenAI, server: Server) -> None:
    plain = client.audio.transcriptions.create(file=("query.wav", GOOD), model="whisper-1", language="en", prompt="pie")
    text = client.audio.transcriptions.create(file=("query.wav", GOOD), model="champion", response_format="text")
    verbose = client.audio.transcriptions.create(
        file=("query.wav", GOOD), model="whisper-1", response_format="verbose_json", temperature=0.0)
    assert plain.text and text.strip() == plain.text == verbose.text
    assert verbose.duration == 1.0 and verbose.language == "english"
    assert verbose.segments and verbose.segments[0].end == 1.0 and verbose.segments[0].avg_logprob < 0
    version = server.readiness()["model_version"]
    assert [model.id for model in client.models.list()] == ["champion", "whisper-1", version]
    assert client.models.retrieve(version).object == "model"


@pytest.mark.parametrize(("form", "error", "message"), [
    ({"model": "gpt-9"}, openai.NotFoundError, "there are champion, whisper-1"),
    ({"model": ""}, openai.BadRequestError, "'model' is missing; send model=champion"),
    ({"language": "de"}, openai.BadRequestError, "hears English, send 'en' or nothing"),
    ({"response_format": "srt"}, openai.BadRequestError, "choose one of json, text, verbose_json"),
    ({"timestamp_granularities": ["word"]}, openai.BadRequestError, "leave timestamp_granularities out"),
])
def test_what_is_not_served_is_refused_in_words_that_openais_client_passes_on(
        client: openai.OpenAI, form: dict[str, str], error: type[openai.APIStatusError], message: str) -> None:
    with pytest.raises(error, match=message) as raised:
        client.audio.transcriptions.create(**{"file": ("query.wav", GOOD), "model": "champion", **form})  # type: ignore
    assert raised.value.type == "invalid_request_error" and raised.value.code


def test_an_answer_is_in_the_log_with_everything_that_is_known_of_it(server: Server) -> None:
    answer = server.send(headers={"X-User-Id": "ann", "X-Device": "pixel", "X-App-Version": "5.2",
                                  "X-Query-Time": "86400"})
    row, = server.rows(f"request_id = '{answer.headers['X-Request-Id']}'")
    assert row["hypothesis"] == answer.json()["text"] and row["model_version"] == answer.headers["X-Model-Version"]
    assert (row["device"], row["app_version"], row["time_s"], row["role"]) == ("pixel", "5.2", 86400.0, "champion")
    assert len(row["user_hash"]) == 16 and "ann" not in json.dumps(row)
    assert row["duration_s"] == 1.0 and -30 < row["level_dbfs"] < -10 and row["bandwidth_hz"] > 1000
    assert row["queue_ms"] >= 0 and 0 < row["decode_ms"] <= row["latency_ms"] and row["avg_logprob"] < 0
    assert (row["consent"], row["audio_sha"], row["error"]) == ("", "", "")


def test_on_a_simulated_clock_who_knows_no_time_asks_at_the_last_one_told(server: Server) -> None:
    told = {"X-App-Version": "5.2", "X-Query-Time": "604800"}
    load = {"X-App-Version": "load-test", "X-Query-Time": "86400"}
    ids = [server.send(headers=headers).headers["X-Request-Id"] for headers in (told, load, {})]
    assert [server.rows(f"request_id = '{name}'")[0]["time_s"] for name in ids] == [604800, 86400, 604800]


def test_a_refused_query_is_in_the_log_without_a_word(server: Server) -> None:
    answer = server.send(b"no audio", headers={"X-Consent": "audio", "X-User-Id": "ann"})
    assert answer.status_code == 400
    server.send()  # one writer: what comes later is written later
    row, = server.rows(f"request_id = '{answer.headers['X-Request-Id']}'")
    assert row["error"] == "invalid_audio" and row["hypothesis"] == "" and row["audio_sha"] == ""


def test_sound_is_kept_with_consent_alone_and_gone_when_its_user_is_forgotten(server: Server) -> None:
    headers, content = {"X-User-Id": "bób/b".encode(), "X-Consent": b"audio"}, clips.wav(1.0, seed=41)
    kept = server.send(content, headers=headers).headers["X-Request-Id"]
    server.send(clips.wav(1.0, seed=42), headers={"X-User-Id": "bób/b".encode()})
    row, = server.rows(f"request_id = '{kept}'")
    folder = server.root / "data" / "production" / "audio"
    assert [path.stem for path in folder.rglob("*.wav")] == [row["audio_sha"]] and row["consent"] == "audio"
    said = httpx.delete(f"{server.url}/v1/users/b%C3%B3b%2Fb", timeout=60)
    assert said.status_code == 200 and said.json()["n_queries"] == 2 and said.json()["n_clips"] == 1
    again = server.send(content, headers=headers)
    assert again.status_code == 200 and not list(folder.rglob("*.wav"))
    for row in server.rows(f"request_id in ('{kept}', '{again.headers['X-Request-Id']}')"):
        assert (row["user_hash"], row["hypothesis"], row["audio_sha"]) == ("", "", "") and row["duration_s"] == 1.0


def test_forgetting_nobody_is_refused_and_who_never_asked_is_told_so(server: Server) -> None:
    nobody = httpx.delete(f"{server.url}/v1/users/%20", timeout=60)
    assert nobody.status_code == 400 and nobody.json()["error"]["code"] == "missing_user"
    stranger = httpx.delete(f"{server.url}/v1/users/stranger", timeout=60)
    assert stranger.status_code == 200 and not stranger.json()["is_known"]


def test_people_are_not_let_onto_a_simulated_clock(server: Server) -> None:
    with pytest.raises(ServiceError, match="simulated clock.*`workbench stop`"):
        require_own_clock(Running(server.url, server.process.pid))


def test_metrics_tell_of_parts_batches_and_errors(server: Server) -> None:
    name = "workbench_latency_seconds_count"
    before = [server.metric(f'{name}{{part="{part}"}}') for part in ("queue", "decode", "log", "total")]
    refused = server.metric('workbench_errors_total{kind="invalid_audio"}')
    server.send_many(6)
    server.send(b"no audio")
    after = [server.metric(f'{name}{{part="{part}"}}') for part in ("queue", "decode", "log", "total")]
    assert [b - a for a, b in zip(before, after, strict=True)] == [6, 6, 6, 6]
    assert server.metric('workbench_errors_total{kind="invalid_audio"}') == refused + 1
    assert server.metric("workbench_batch_size_sum") > server.metric("workbench_batch_size_count")
    version = server.readiness()["model_version"]
    assert server.metric(f'workbench_model{{role="champion",version="{version}"}}') == 1
    assert server.metric("workbench_ready") == 1 and server.metric("workbench_queue_depth") == 0
    held_mb = memory_mb(Running(server.url, server.process.pid))
    told = server.metric("process_resident_memory_bytes") / 1e6
    assert held_mb > 20 and math.isclose(held_mb, told, rel_tol=0.5)


def test_a_server_answers_in_the_language_that_its_model_was_told_and_refuses_others(served_root: Path) -> None:
    base = published.checkpoint(served_root / "base.pt", kind="multilingual", width=64, n_layers=1)
    whisper_model.save(whisper_model.load(base, language="de"), storage.run_folder("german") / "model.pt")
    with serving(served_root, "--model", "german", "--no-auth") as german:
        german.wait_ready()
        for language in ("de", "German", "DE", ""):
            answer = german.send(form={"language": language, "response_format": "verbose_json"})
            assert answer.status_code == 200 and answer.json()["language"] == "german", (language, answer.text)
        for language in ("en", "english", "dee"):
            refused = german.send(form={"language": language})
            assert refused.status_code == 400 and refused.json()["error"]["code"] == "unsupported_language", language
            assert "hears German, send 'de' or nothing" in refused.json()["error"]["message"]
        listed = httpx.get(f"{german.url}/v1/models").json()["data"]
        assert [model["id"] for model in listed] == ["champion", "whisper-1", german.readiness()["model_version"]]


def test_languages_have_the_names_that_whisper_gives_them() -> None:
    assert dict(openai_shape.LANGUAGES) == whisper.tokenizer.LANGUAGES
    assert openai_shape.language_name("xx") == "xx"


def test_a_clips_answer_does_not_depend_on_its_neighbours(server: Server) -> None:
    contents = [clips.wav(seconds, seed=seed) for seed, seconds in enumerate([0.5, 1.0, 1.4, 2.0] * 2)]
    alone = [server.send(content).json()["text"] for content in contents]
    with ThreadPoolExecutor(8) as pool:
        assert [answer.json()["text"] for answer in pool.map(server.send, contents)] == alone


@pytest.mark.parametrize(("method", "path", "status"), [
    ("GET", "/nowhere", 404), ("GET", "/v1/audio/transcriptions", 405), ("GET", "/v1/models/gpt-9", 404)])
def test_every_refusal_has_openais_shape_an_id_and_a_version(
        server: Server, method: str, path: str, status: int) -> None:
    answer = httpx.request(method, server.url + path)
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert len(answer.headers["X-Request-Id"]) == 32 and answer.headers["X-Model-Version"]


def test_the_documentation_lists_the_api(server: Server) -> None:
    paths = httpx.get(f"{server.url}/openapi.json").json()["paths"]
    form = paths["/v1/audio/transcriptions"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert {"file", "model", "response_format"} <= set(form["properties"])
    assert any(path.startswith("/v1/users/{user") for path in paths)
    assert httpx.get(f"{server.url}/docs").status_code == 200


def test_a_server_outlives_its_starter_and_lets_in_those_with_a_key_until_it_is_stopped(served_root: Path) -> None:
    started = command(served_root, "serve", "--detach", "--model", "toy", "--port", "0")
    assert started.returncode == 0, started.stderr
    first = next(line.rpartition(" ")[2] for line in started.stdout.splitlines() if "a first key" in line)
    state = served_root / "data" / "service.json"
    known = json.loads(state.read_text())
    try:
        assert state.stat().st_mode & 0o777 == 0o600 and known["url"] in started.stdout
        assert known["url"] in command(served_root, "serve", "--detach").stdout, "a second start finds the first"
        kept = (served_root / "data" / "keys.json").read_text() + (served_root / "data" / "service.log").read_text()
        assert first not in kept and known["key"] not in kept
        made = command(served_root, "keys", "create", "phone").stdout.strip()
        assert [status(known["url"], key) for key in (first, known["key"], made)] == [200] * 3
        assert [status(known["url"], key) for key in ("wb_wrong", "")] == [401] * 2
        assert "phone" in command(served_root, "keys", "list").stdout
        assert command(served_root, "keys", "revoke", "phone").returncode == 0
        assert status(known["url"], made) == 401
        with pytest.raises(openai.AuthenticationError, match="workbench keys create"):
            openai.OpenAI(base_url=f"{known['url']}/v1", api_key="wb_wrong").models.list()
    finally:
        ended = command(served_root, "stop")
    assert ended.returncode == 0 and not state.exists()
    assert [key.name for key in keys.listing()] == ["first"], "the server's own key goes with it"
    again = command(served_root, "stop")
    assert again.returncode == 2 and "workbench serve" in again.stderr


def status(url: str, key: str) -> int:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.get(f"{url}/v1/models", headers=headers).status_code


def test_answers_do_not_wait_for_the_phone_to_acknowledge_their_headers() -> None:
    async def is_sent_at_once() -> bool:
        accepted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connection = writer.get_extra_info("socket")
            accepted.set_result(bool(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)))
            writer.close()

        with server.listening("127.0.0.1", 0) as listener:
            serving = await asyncio.start_server(greet, sock=listener)
            _, phone = await asyncio.open_connection(*listener.getsockname())
            try:
                return await accepted
            finally:
                phone.close()
                serving.close()

    assert asyncio.run(is_sent_at_once())
