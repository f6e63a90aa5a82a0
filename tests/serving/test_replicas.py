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
from tests.serving import conftest, test_api
from tests.serving.conftest import PATIENCE_S, Server, serving
from tests.serving.test_api import (  # noqa: F401  collected here, they meet this module's server
    client,
    test_a_clips_answer_does_not_depend_on_its_neighbours,
    test_a_refused_query_is_in_the_log_without_a_word,
    test_an_answer_is_in_the_log_with_everything_that_is_known_of_it,
    test_every_refusal_has_openais_shape_an_id_and_a_version,
    test_forgetting_nobody_is_refused_and_who_never_asked_is_told_so,
    test_on_a_simulated_clock_who_knows_no_time_asks_at_the_last_one_told,
    test_openais_own_client_works_unchanged,
    test_people_are_not_let_onto_a_simulated_clock,
    test_sound_is_kept_with_consent_alone_and_gone_when_its_user_is_forgotten,
    test_the_documentation_lists_the_api,
    test_what_is_not_served_is_refused_in_words_that_openais_client_passes_on,
)
from tests.serving.test_models import Load, release
from tests.serving.test_trouble import call
from tests.serving.test_uploads import (  # noqa: F401
    test_a_body_of_100_mb_is_refused_before_it_is_kept,
    test_a_form_that_lacks_something_is_refused_with_what_it_lacks,
    test_damaged_uploads_are_heard_or_refused_and_never_break_the_server,
    test_malformed_uploads_are_refused_and_the_next_good_one_is_served,
    test_unusual_uploads_are_heard,
    test_who_asks_before_sending_too_much_is_told_not_to,
)
from workbench import model_registry

pytestmark = pytest.mark.slow
REPLICA = "ray::ServeReplica"
PATIENT = {"RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60"}  # a busy machine takes longer than 5 to start a proxy


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
    with serving(root, "--no-auth", "--simulated-clock", "--replicas", "2", "--ray-address", nodes.address,
                 **PATIENT) as running:
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


def test_replicas_let_in_those_with_a_key_and_one_alone_counts_everything(server: Server, nodes: Nodes) -> None:
    """A cluster serves once, so the server of the others ends here."""
    assert server.stop() == 0, server.said()
    with serving(server.root, "--replicas", "1", "--ray-address", nodes.address, **PATIENT) as locked:
        locked.wait_ready()
        assert locked.send().status_code == 401
        assert locked.send(headers={"Authorization": "Bearer wb_wrong"}).status_code == 401
        locked.key = conftest.command(server.root, "keys", "create", "phone").stdout.strip()
        assert locked.send().status_code == 200
        test_api.test_metrics_tell_of_parts_batches_and_errors(locked)
        assert locked.stop() == 0, locked.said()


def test_replicas_become_as_many_as_may_be_under_load_and_fewer_after_it(server: Server, nodes: Nodes) -> None:
    """The last test: the server of the others ends here, if it has not yet."""
    assert server.stop() == 0, server.said()
    soon = {"WORKBENCH_GROW_AFTER_S": "1", "WORKBENCH_SHRINK_AFTER_S": "2", "WORKBENCH_MAX_BATCH": "1",
            "RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1", **PATIENT}
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
