"""Live change of models: whoever is champion answers, challengers listen in or take their share, nobody is dropped."""

import os
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

from tests import watched
from tests.serving import clips
from tests.serving.conftest import PATIENCE_S, Server, command, serving
from workbench import model_registry, storage, whisper_model
from workbench.audio import Samples
from workbench.recognizing import ShortContextRecognizer
from workbench.records import Hypothesis
from workbench.serving.models import Lineup, Loaded
from workbench.serving.openai_shape import ApiError


def release(seed: int) -> str:
    """Register a model that answers with other nonsense than the next."""
    path = storage.run_folder(f"seed{seed}") / "model.pt"
    whisper_model.save(whisper_model.build("", "toy", seed=seed), path)
    made = model_registry.register(path, None, run=f"seed{seed}", stage="train", metrics={}, tags={})
    return made.version


class Load:
    """Users that ask without a pause while something else happens."""

    def __init__(self, server: Server, n_users: int = 3) -> None:
        self.answers: list[httpx.Response] = []
        self._server, self._is_over = server, threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(f"u{n}",)) for n in range(n_users)]

    def _ask(self, user: str) -> None:
        while not self._is_over.is_set():
            self.answers.append(self._server.send(clips.wav(0.3), headers={"X-User-Id": user}))

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, version: str) -> None:
        """Go on until everybody is answered by a version."""
        deadline_s = time.monotonic() + PATIENCE_S
        while {a.headers["X-Model-Version"] for a in self.answers[-8:]} != {version}:
            assert time.monotonic() < deadline_s, version
            time.sleep(0.02)


class Hears(ShortContextRecognizer):
    """Hears a language, and nothing else."""

    def __init__(self, language: str) -> None:
        self.language = language

    def _encode(self, words: str) -> list[int]:
        raise AssertionError(words)

    def _decode(self, waveforms: Samples, n_tokens: int) -> list[Hypothesis]:
        raise AssertionError(n_tokens)


def test_a_query_s_language_is_that_of_the_model_which_is_picked_for_it() -> None:
    lineup = Lineup(Loaded("1", Hears("de")), Loaded("2", Hears("en")), "canary", 1.0)
    assert lineup.pick("champion", "ann", "EN")[0].version == "2"
    assert lineup.pick("1", "ann", "german")[0].version == "1" and lineup.pick("1", "ann")[0].version == "1"
    for wanted, language, hears in (("champion", "de", "hears English, send 'en'"), ("1", "en", "hears German")):
        with pytest.raises(ApiError, match=hears) as raised:
            lineup.pick(wanted, "ann", language)
        assert (raised.value.status, raised.value.code, raised.value.param) == (
            400, "unsupported_language", "language")


@pytest.mark.slow
def test_models_change_under_load_without_a_failed_query(served_root: Path) -> None:
    with serving(served_root, "--no-auth") as server:
        said = server.wait(lambda said: "promote" in str(said["problems"]))
        assert said["status"] == "not ready", "no champion yet"
        watched.give_store(served_root)
        first, second = release(1), release(2)
        assert command(served_root, "promote", first, "--by", "ada").returncode == 0
        server.wait_ready()
        with Load(server) as load:
            load.wait_for(first)
            model_registry.promote(second, by="ada")
            load.wait_for(second)
            listed = [line.split()[:2] for line in command(served_root, "models").stdout.splitlines()]
            assert [second, "champion"] in listed and [first, "previous"] in listed
            model_registry.rollback(by="ada")
            load.wait_for(first)
        assert Counter(a.status_code for a in load.answers) == {200: len(load.answers)}
        _a_damaged_version_is_not_taken(server, served_root, first)
        _a_shadow_hears_what_the_champion_answers(server, first, second)
        _a_canary_answers_the_same_users(server, served_root, first, second)


def _a_damaged_version_is_not_taken(server: Server, root: Path, first: str) -> None:
    third = release(3)
    path = model_registry.resolve(third).folder / "model.pt"
    os.truncate(path, 50_000)
    model_registry.promote(third, by="ada")
    said = server.wait(lambda said: bool(said["warning"]))
    assert said["status"] == "ready" and said["model_version"] == first and "checkpoint" in said["warning"]
    assert server.send().headers["X-Model-Version"] == first
    model_registry.rollback(by="ada")
    server.wait(lambda said: not said["warning"])


def _a_shadow_hears_what_the_champion_answers(server: Server, first: str, second: str) -> None:
    model_registry.set_challenger(second, "shadow")
    deadline_s = time.monotonic() + PATIENCE_S
    while not server.metric(f'workbench_model{{role="shadow",version="{second}"}}'):
        assert time.monotonic() < deadline_s
    asked = [answer.headers["X-Request-Id"] for answer in server.send_many(6)]
    while server.rows("role = 'shadow'")[-1:] == [] or len(server.rows("role = 'shadow'")) < 6:
        assert time.monotonic() < deadline_s
    shadows = server.rows("role = 'shadow'")
    assert sorted(row["request_id"] for row in shadows) == sorted(asked)
    assert {row["model_version"] for row in shadows} == {second}
    assert server.send(model=second).headers["X-Model-Version"] == second


def _a_canary_answers_the_same_users(server: Server, root: Path, first: str, second: str) -> None:
    assert "answers 50 % of users" in command(root, "challenge", second, "--share", "0.5").stdout
    deadline_s = time.monotonic() + PATIENCE_S
    while not server.metric(f'workbench_model{{role="canary",version="{second}"}}'):
        assert time.monotonic() < deadline_s
    users = [f"user{n}" for n in range(16)]
    rounds = [[server.send(clips.wav(0.3), headers={"X-User-Id": user}).headers["X-Model-Version"] for user in users]
              for _ in range(2)]
    assert rounds[0] == rounds[1], "a user keeps their model"
    assert set(rounds[0]) == {first, second}
    assert Counter(row["model_version"] for row in server.rows("role = 'canary'"))[second] > 0
