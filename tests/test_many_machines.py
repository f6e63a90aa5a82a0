"""The same answers and the same fit wherever the work is done, also when a node dies, on a real Ray cluster."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pytest
import torch
from test_cycle import ORDER, QUIET, STAGES, saved_step
from test_training import RECIPE, tones

from tests import ray_nodes
from tests.conftest import REPOSITORY, Project
from tests.ray_nodes import Nodes
from workbench import (
    cards,
    clusters,
    engines,
    hearing,
    manifests,
    many_machines,
    recognizers,
    reference_fit,
    settings,
    storage,
    training,
    whisper_model,
)
from workbench.batches import BatchSource
from workbench.errors import AudioError, ClusterError
from workbench.progress import pass_through
from workbench.shares import Share

Speech = tuple[pd.DataFrame, pd.DataFrame]
PATIENCE_S = 240.0
T = TypeVar("T")


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Speech:
    folder = tmp_path_factory.mktemp("tones")
    return tones(folder, 60, 0), tones(folder, 40, 1)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with ray_nodes.running(is_working_head=False) as started:
        yield started


@pytest.fixture
def cluster(nodes: Nodes, root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    """Give two nodes that all work of this test goes to, and a head without work."""
    import ray

    nodes.be_two()
    monkeypatch.setenv("WORKBENCH_ENGINE", "ray")
    monkeypatch.setenv("WORKBENCH_RAY_ADDRESS", nodes.address)
    monkeypatch.setenv("WORKBENCH_PROGRESS_FILE", str(root / "progress.json"))
    yield nodes
    ray.shutdown()


def locally(work: Callable[[], T], monkeypatch: pytest.MonkeyPatch) -> T:
    """Do something in this process, and forget what it left in the cache."""
    with monkeypatch.context() as patch:
        patch.setenv("WORKBENCH_ENGINE", "local")
        found = work()
    shutil.rmtree(storage.data_folder() / "cache", ignore_errors=True)
    return found


def many(table: pd.DataFrame, n: int) -> pd.DataFrame:
    """Say the same clips again and again, under other names."""
    rows = table.iloc[np.arange(n) % len(table)].reset_index(drop=True)
    return rows.assign(utterance_id=[f"u{i}" for i in range(n)])


def kill_a_node(cluster: Nodes, worker: str, is_time: Callable[[], bool], *, n_workers: int = 1) -> None:
    """Kill a node on which such a worker runs, once so many of them run and it is time."""
    deadline_s = time.monotonic() + PATIENCE_S
    while len(found := cluster.working(worker)) < n_workers:
        assert time.monotonic() < deadline_s, f"{len(found)} of {worker}"
        time.sleep(0.5)  # to look for them takes time away from them
    while not is_time():
        assert time.monotonic() < deadline_s, f"{worker} did not come so far"
        time.sleep(0.02)
    cluster.kill(found[0])


# --- without a cluster -----------------------------------------------------------------------------------------------


def gradients(model: whisper_model.SpeechModel, speech: Speech, share: Share, folder: Path, *,
              is_halved: bool = False) -> list[torch.Tensor]:
    """Give the loss and the gradients of a share of one batch, before they are added up."""
    task = training.Task(speech[0], None, RECIPE, 10, 0, False)
    under_way = training._Training(model, task, folder, share)
    batch = under_way.source.batch(3)
    part = batch.part(share.rows(len(batch.n_frames)))
    scored = under_way._scored_tokens(torch.Generator().manual_seed(1))
    rows = under_way.embedding.detach()[scored].requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=is_halved):
        loss = under_way._loss(part, rows, scored)
    found = torch.autograd.grad(loss, [rows, *under_way.dense], allow_unused=True)
    return [loss.detach(), *(g for g in found if g is not None)]


@pytest.mark.parametrize("n", [2, 3, 11])
def test_the_shares_of_a_batch_add_up_to_the_whole(root: Path, speech: Speech, n: int) -> None:
    model = whisper_model.build("", "toy", seed=0)
    whole = gradients(model, speech, Share(), root)
    shares = [gradients(model, speech, Share(rank, n), root) for rank in range(n)]
    for together, *parts in zip(whole, *shares, strict=True):
        torch.testing.assert_close(torch.stack(parts).sum(0), together, rtol=1e-4, atol=1e-6)


def test_in_bfloat16_they_add_up_to_what_they_would_in_float32_as_nearly_as_the_whole_does(root: Path, speech: Speech,
                                                                                           ) -> None:
    model = whisper_model.build("", "toy", seed=0)
    exact = gradients(model, speech, Share(), root)
    whole = gradients(model, speech, Share(), root, is_halved=True)
    shares = [gradients(model, speech, Share(rank, 2), root, is_halved=True) for rank in range(2)]
    for wanted, together, *parts in zip(exact, whole, *shares, strict=True):
        off_together, off_apart = ((found - wanted).norm() for found in (together, torch.stack(parts).sum(0)))
        assert off_apart < 0.02 * wanted.norm() and off_apart < 1.2 * off_together + 1e-6


def test_every_clip_of_a_batch_is_somebodys_and_nobody_elses(root: Path, speech: Speech) -> None:
    source = BatchSource(speech[0], RECIPE, whisper_model.build("", "toy", seed=0), seed=0)
    batch = next(batch for step in range(9) if len((batch := source.batch(step)).n_letters) == 8)
    parts = [batch.part(Share(rank, 3).rows(8)) for rank in range(3)]
    assert [len(part.n_letters) for part in parts] == [2, 3, 3]
    assert torch.equal(torch.cat([part.letters for part in parts]), batch.letters)
    assert torch.equal(torch.cat([part.mel for part in parts]), batch.mel)
    assert sum(part.token_share for part in parts) == pytest.approx(1)
    none = batch.part(Share(0, 11).rows(8))
    assert (none.token_share, none.clip_share, len(none.n_letters)) == (0, 0, 1)


def test_without_ray_the_command_says_what_to_install(project: Project) -> None:
    code = "import sys; sys.modules['ray'] = None; sys.argv[1:] = ['run', '--engine', 'ray']; " \
           "from workbench import cli; cli.main()"
    ended = subprocess.run([sys.executable, "-c", code], env=project.environment(), cwd=project.root, text=True,
                           capture_output=True, timeout=60, check=False)
    assert ended.returncode == 2 and "pip install -e '.[ray]'" in ended.stderr and "Traceback" not in ended.stderr
    assert not (project.root / "data").exists(), "nothing half-done"


@pytest.mark.parametrize(("address", "said"), [
    ("127.0.0.1:1", "Connection refused"), ("nonsense", "nonsense"),
    ("auto", "Connection refused"), ("no.such.host.invalid:6379", "no.such.host.invalid")])
def test_a_head_node_that_does_not_answer_is_an_error_before_any_work(
        root: Path, monkeypatch: pytest.MonkeyPatch, address: str, said: str) -> None:
    began_s = time.monotonic()
    if address == "auto":
        monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # as an earlier cluster of this machine left it
    monkeypatch.setenv("WORKBENCH_ENGINE", "local")
    monkeypatch.setenv("WORKBENCH_RAY_ADDRESS", "")
    with pytest.raises(ClusterError, match="ray start --head") as raised, clusters.prepared("ray", address):
        raise AssertionError("there is no cluster")
    assert said in str(raised.value) and time.monotonic() - began_s < 60
    assert "\n" not in str(raised.value)


def test_an_address_of_rays_client_is_refused_with_what_to_give_instead(
        root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ENGINE", "RAY_ADDRESS"):
        monkeypatch.setenv(f"WORKBENCH_{name}", "local" if name == "ENGINE" else "")
    with pytest.raises(ClusterError, match="--ray-address auto or HOST:PORT.*ray start --address") as raised, \
            clusters.prepared("ray", "ray://127.0.0.1:10001"):
        raise AssertionError("it was taken")
    assert "\n" not in str(raised.value)


# --- on a cluster ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_decoding_is_the_same_to_the_bit_although_a_node_dies(
        cluster: Nodes, trained: Speech, monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    checkpoint, clips = trained
    table, progress = many(clips, 1200), root / "progress.json"
    here = locally(lambda: recognizers.transcribe(checkpoint, table), monkeypatch)

    def is_time() -> bool:
        with suppress(OSError, ValueError):
            return int(json.loads(progress.read_text())["done"]) >= many_machines.SHARD
        return False

    with ThreadPoolExecutor(1) as thread:
        killing = thread.submit(kill_a_node, cluster, "ray::MapWorker", is_time, n_workers=2)
        far = recognizers.transcribe(checkpoint, table)
        killing.result()
    assert len(cluster.others) == 1
    pd.testing.assert_frame_equal(far, here, check_exact=True)
    assert far["utterance_id"].is_unique and len(far) == len(table)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_whose_nodes_die_in_training_and_in_decoding_ends_as_the_one_of_one_process(
        nodes: Nodes, toy_run: tuple[Project, Project], tmp_path: Path) -> None:
    reference, begun = toy_run
    far, cache = Project(shutil.copytree(begun.root, tmp_path / "far")), tmp_path / "far" / "data" / "cache"
    nodes.be_two()
    with (tmp_path / "said.txt").open("w") as said:
        run = subprocess.Popen(far.command(*ORDER, "--engine", "ray", "--ray-address", nodes.address),
                               env=far.environment(**QUIET), cwd=far.root, stdout=said, stderr=said)
    try:
        kill_a_node(nodes, "ray::RayTrainWorker", lambda: saved_step(far) >= 2, n_workers=2)
        assert not list(cache.glob("fits/*/fit.json")), "the training was over"
        nodes.be_two()
        kill_a_node(nodes, "ray::MapWorker", lambda: True)
        assert list(cache.glob("fits/*/fit.json")) and not list(cache.glob("decodes/*")), "the decoding was over"
        nodes.be_two()
        assert run.wait(600) == 0, (tmp_path / "said.txt").read_text()
    finally:
        run.kill()
    for stage in STAGES:
        ends_alike(far.record(stage, "toy"), reference.record(stage, "toy"))
    learned_alike(far, reference)
    assert not list(cache.glob("fits/*/.ray-*")) and not list(cache.glob("fits/*/resume.pt"))


def ends_alike(found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Compare what two runs of a stage found: sums in another order may move a rate within its interval, no count."""
    assert found["decision"]["outcome"] == expected["decision"]["outcome"]
    assert found["metrics"].keys() == expected["metrics"].keys()
    for name, metric in expected["metrics"].items():
        assert metric["low"] <= found["metrics"][name]["value"] <= metric["high"], name


def learned_alike(found: Project, expected: Project) -> None:
    """Compare the first training's curve and weights: but for rounding, each step is the step of one process."""
    key = expected.record("03_train", "toy")["versions"]["fit"]
    assert found.record("03_train", "toy")["versions"]["fit"] == key
    folders = [project.root / "data" / "cache" / "fits" / key for project in (found, expected)]
    curves = [pd.DataFrame(json.loads((folder / "fit.json").read_text())["curve"]) for folder in folders]
    assert curves[0]["step"].tolist() == curves[1]["step"].tolist(), "no step is missing or twice"
    assert curves[0]["train_loss"].tolist() == pytest.approx(curves[1]["train_loss"].tolist(), rel=1e-3)
    ours, its = (torch.load(folder / "model.pt")["model_state_dict"] for folder in folders)
    assert all(torch.allclose(ours[name], weights, atol=1e-3) for name, weights in its.items())


@pytest.mark.slow
def test_a_workers_mistake_looks_as_it_would_here(cluster: Nodes, trained: Speech) -> None:
    table = trained[1].assign(audio_path="/nowhere.wav")
    with pytest.raises(AudioError, match="/nowhere.wav is not a file"):
        recognizers.transcribe(trained[0], table)


@pytest.mark.slow
@pytest.mark.parametrize(("ours", "said"), [(("2.40.0", ""), "Ray: 2.40.0"), (("", "3.9.1"), "Python: 3.9.1")])
def test_a_cluster_of_another_version_is_refused_before_any_work(
        cluster: Nodes, monkeypatch: pytest.MonkeyPatch, ours: tuple[str, str], said: str) -> None:
    from ray._private import utils

    its = utils.compute_version_info()
    monkeypatch.setattr(utils, "compute_version_info", lambda: (ours[0] or its[0], ours[1] or its[1]))
    with pytest.raises(ClusterError, match=f"runs other versions than this machine.*{its[0]}.*{said}") as raised, \
            clusters.prepared("ray", cluster.address):
        raise AssertionError("it was taken")
    assert "\n" not in str(raised.value)


@pytest.mark.slow
def test_tasks_answer_in_order_with_all_that_a_function_knows(cluster: Nodes) -> None:
    there = os.getpid()
    found = many_machines.map_all(lambda n: (-n, os.getpid() == there), [-3, 2, -1], "counting")
    assert found == [(3, False), (-2, False), (1, False)]


@pytest.mark.slow
@pytest.mark.parametrize("keeping", ["copied", "in place"])
def test_recordings_are_measured_the_same_to_the_bit(
        cluster: Nodes, keeping: hearing.Keeping, monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    monkeypatch.setattr(hearing, "PART", 20)
    (root / "corpus").mkdir()
    table = tones(root / "corpus", 50, 3)
    (root / "corpus" / "3-7.wav").write_bytes(b"no sound")
    table[["utterance_id", "audio_path", "text", "speaker"]].to_csv(root / "corpus" / "m.csv", index=False)

    def hear() -> pd.DataFrame:
        listed = manifests.read(str(root / "corpus" / "m.csv"), base_folder=root)
        return hearing.hear(listed, keeping, pass_through)

    here = locally(hear, monkeypatch)
    shutil.rmtree(root / "data" / "datasets", ignore_errors=True)
    far = hear()
    pd.testing.assert_frame_equal(far, here, check_exact=True)
    monkeypatch.setattr(many_machines, "each", None)  # one file is left to hear, and no cluster is asked
    pd.testing.assert_frame_equal(hear()[list(far)], far, check_exact=True)


@pytest.mark.slow
def test_references_are_weighed_the_same_to_the_bit(
        cluster: Nodes, trained: Speech, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint, clips = trained
    table = many(clips, 600).assign(audio_sha=[f"sha-{i}" for i in range(600)], reference="one two")
    here = locally(lambda: reference_fit.listen(checkpoint, table), monkeypatch)
    far = reference_fit.listen(checkpoint, table)
    pd.testing.assert_frame_equal(far, here, check_exact=True)
    assert far["reference_gap"].ne(0).sum() > 2 * many_machines.SHARD


@pytest.mark.slow
def test_deploy_finds_the_exported_engine_the_same(
        cluster: Nodes, trained: Speech, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = json.loads((REPOSITORY / "notebooks" / "06_deploy.ipynb").read_text())["cells"]
    export = next("".join(cell["source"]) for cell in cells if cell["source"][0].startswith("engine = engines.export"))
    speech = types.SimpleNamespace(dev=many(trained[1], 300))

    def run() -> dict[str, Any]:
        modules = {"cards": cards, "engines": engines, "many_machines": many_machines, "recognizers": recognizers,
                   "settings": settings, "storage": storage}
        names = {"__name__": "__main__", **modules, "candidate": trained[0], "quantization": "int8", "size": "small",
                 "speech": speech, "stage": types.SimpleNamespace(run="toy"), "is_few": False, "HTML": str}
        exec(compile(export, "06_deploy", "exec"), names)
        return names

    here, far = locally(run, monkeypatch), run()
    assert far["parity"] == here["parity"] and len(far["fast"]) == 300
    pd.testing.assert_frame_equal(far["fast"], here["fast"], check_exact=True)


@pytest.mark.slow
def test_a_researchers_simulation_of_the_page_about_growing_says_the_same(
        cluster: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    [example] = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs" / "growing.md").read_text(), re.S)

    def run() -> Any:
        names: dict[str, Any] = {"__name__": "__main__"}  # as in a notebook: functions travel by their code
        exec(compile(example, "growing", "exec"), names)
        return names["held"]

    here, far = locally(run, monkeypatch), run()
    assert far == here and np.mean(far) == pytest.approx(0.95, abs=0.03)


@pytest.mark.slow
def test_a_cluster_is_compared_before_it_gets_work(cluster: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    clusters.check()
    monkeypatch.setattr(clusters, "_facts", lambda: {"torch": "1.0"})
    with pytest.raises(ClusterError, match="has torch 2.*wanted 1.0 as here"):
        clusters.check()
