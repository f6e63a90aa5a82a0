"""Replicas on a Ray cluster answer as the single server does: its own tests, and a replica that dies under load."""

import os
import signal
import threading
import time
from collections.abc import Iterator

import psutil
import pytest

from tests import ray_nodes, watched
from tests.ray_nodes import Nodes
from tests.serving import conftest
from tests.serving.conftest import PATIENCE_S, Server, serving
from tests.serving.test_api import (  # noqa: F401  collected here, they meet this module's server
    client,
    test_a_clips_answer_does_not_depend_on_its_neighbours,
    test_a_refused_query_is_in_the_log_without_a_word,
    test_an_answer_is_in_the_log_with_everything_that_is_known_of_it,
    test_every_refusal_has_openais_shape_an_id_and_a_version,
    test_openais_own_client_works_unchanged,
    test_sound_is_kept_with_consent_alone_and_gone_when_its_user_is_forgotten,
    test_what_is_not_served_is_refused_in_words_that_openais_client_passes_on,
)
from tests.serving.test_models import Load, release
from tests.serving.test_trouble import call
from workbench import model_registry

pytestmark = pytest.mark.slow
REPLICA = "ray::ServeReplica"


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with ray_nodes.running() as started:
        started.be_two()
        yield started


@pytest.fixture(scope="module")
def server(nodes: Nodes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run two replicas for all tests that do them no harm."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKBENCH_ROOT", "")
        root = conftest.new_root(tmp_path_factory.mktemp("replicas"))
        watched.give_store(root)
        model_registry.promote(release(1), by="ada")
    with serving(root, "--no-auth", "--simulated-clock", "--replicas", "2", "--ray-address", nodes.address) as running:
        yield running.wait_ready()
        assert running.stop() == 0, running.said()
        assert not (root / "data" / "service.json").exists() and not replicas()


def replicas() -> list[int]:
    """Give the processes of the replicas that live."""
    return [p.pid for p in psutil.process_iter(["cmdline"]) if " ".join(p.info["cmdline"] or ()).startswith(REPLICA)]


def test_a_replica_that_dies_under_load_loses_no_acknowledged_query(server: Server) -> None:
    assert len(replicas()) == 2
    acknowledged: list[str] = []
    is_over = threading.Event()
    phones = [threading.Thread(target=call, args=(server, acknowledged, is_over)) for _ in range(6)]
    for phone in phones:
        phone.start()
    killed, deadline_s = 0, time.monotonic() + PATIENCE_S
    while len(acknowledged) < 60 and time.monotonic() < deadline_s:
        if len(acknowledged) >= 20 and not killed:
            killed = replicas()[0]
            os.kill(killed, signal.SIGKILL)
        time.sleep(0.005)
    is_over.set()
    for phone in phones:
        phone.join()
    logged = [row["request_id"] for row in server.rows("error = ''")]
    assert killed and len(acknowledged) >= 60, "the other one went on"
    assert set(acknowledged) <= set(logged), "an acknowledged query is not in the log"
    assert len(set(logged)) == len(logged), "a query is in the log twice"
    while len(set(replicas()) - {killed}) < 2:
        assert time.monotonic() < deadline_s + PATIENCE_S, "no replica took its place"
        time.sleep(0.1)


def test_replicas_follow_the_champion_without_a_failed_query(
        server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_ROOT", str(server.root))
    second = release(2)
    with Load(server) as load:
        load.wait_for("1")
        model_registry.promote(second, by="ada")
        load.wait_for(second)
    assert {answer.status_code for answer in load.answers} == {200}


def test_a_cluster_serves_once(server: Server, nodes: Nodes) -> None:
    again = conftest.command(server.root, "serve", "--no-auth", "--port", "0", "--replicas", "1", "--ray-address",
                             nodes.address)
    assert again.returncode == 2 and "workbench stop" in again.stderr
    assert server.send().status_code == 200


def test_replicas_become_as_many_as_may_be_under_load_and_fewer_after_it(server: Server, nodes: Nodes) -> None:
    """The last test: a cluster serves once, so the server of the others ends here."""
    assert server.stop() == 0, server.said()
    soon = {"WORKBENCH_GROW_AFTER_S": "1", "WORKBENCH_SHRINK_AFTER_S": "2", "WORKBENCH_MAX_BATCH": "1",
            "RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1"}
    with serving(server.root, "--no-auth", "--replicas", "1", "--max-replicas", "2", "--ray-address", nodes.address,
                 **soon) as growing:
        growing.wait_ready()
        assert len(replicas()) == 1
        with Load(growing, n_users=6) as load:
            wait_for_replicas(2)
        wait_for_replicas(1)
        assert {answer.status_code for answer in load.answers} == {200}
        assert growing.send().status_code == 200
        assert growing.stop() == 0, growing.said()


def wait_for_replicas(n: int) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while len(replicas()) != n:
        assert time.monotonic() < deadline_s, f"{len(replicas())} replicas, wanted {n}"
        time.sleep(0.2)
