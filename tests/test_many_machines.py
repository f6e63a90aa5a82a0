"""The same answers and the same fit wherever the work is done, also when a node dies, on a real Ray cluster."""

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from test_training import RECIPE, tones

from tests import ray_nodes
from tests.conftest import Project
from tests.ray_nodes import Nodes
from workbench import clusters, many_machines, recognizers, scoring, storage, training, whisper_model
from workbench.batches import BatchSource
from workbench.errors import AudioError, ClusterError
from workbench.shares import Share

Speech = tuple[pd.DataFrame, pd.DataFrame]
PATIENCE_S = 120.0


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Speech:
    folder = tmp_path_factory.mktemp("tones")
    return tones(folder, 60, 0), tones(folder, 40, 1)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with ray_nodes.running() as started:
        yield started


@pytest.fixture
def cluster(nodes: Nodes, root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    """Give two nodes that all work of this test goes to."""
    import ray

    nodes.be_two()
    monkeypatch.setenv("WORKBENCH_ENGINE", "ray")
    monkeypatch.setenv("WORKBENCH_RAY_ADDRESS", nodes.address)
    monkeypatch.setenv("WORKBENCH_PROGRESS_FILE", str(root / "progress.json"))
    yield nodes
    ray.shutdown()


def locally(work: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> object:
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


def kill_when(cluster: Nodes, progress: Path, at_least: int, worker: str) -> threading.Thread:
    """Kill the second node once a bar has come so far and both nodes work. Returns: what waits for that."""
    def wait() -> None:
        deadline_s, done, n_workers = time.monotonic() + PATIENCE_S, 0, 0
        while time.monotonic() < deadline_s and (done < at_least or n_workers < 2):
            with suppress(OSError, ValueError):
                done = json.loads(progress.read_text())["done"]
            words = (" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"]))
            n_workers = sum(word.startswith(worker) for word in words)
            time.sleep(0.1)
        assert n_workers == 2
        cluster.kill_second()

    waiting = threading.Thread(target=wait)
    waiting.start()
    return waiting


# --- without a cluster -----------------------------------------------------------------------------------------------


def gradients(model: whisper_model.SpeechModel, speech: Speech, share: Share, folder: Path) -> list[torch.Tensor]:
    """Give the loss and the gradients of a share of one batch, before they are added up."""
    task = training.Task(speech[0], None, RECIPE, 10, 0, False)
    under_way = training._Training(model, task, folder, share)
    batch = under_way.source.batch(3)
    part = batch.part(share.rows(len(batch.n_frames)))
    scored = under_way._scored_tokens(torch.Generator().manual_seed(1))
    rows = under_way.embedding.detach()[scored].requires_grad_()
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
    ("127.0.0.1:1", "Connection refused"), ("ray://127.0.0.1:1", "Connection refused"), ("nonsense", "nonsense"),
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


# --- on a cluster ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_decoding_is_the_same_to_the_bit(cluster: Nodes, trained: Speech, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint, clips = trained
    table = many(clips, 300)
    here = locally(lambda: recognizers.transcribe(checkpoint, table), monkeypatch)
    far = recognizers.transcribe(checkpoint, table)
    pd.testing.assert_frame_equal(far, here, check_exact=True)


@pytest.mark.slow
def test_a_node_that_dies_in_decoding_costs_nothing(
        cluster: Nodes, trained: Speech, monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    checkpoint, clips = trained
    table = many(clips, 3000)
    here = locally(lambda: recognizers.transcribe(checkpoint, table), monkeypatch)
    killing = kill_when(cluster, root / "progress.json", many_machines.SHARD, "ray::MapWorker")
    far = recognizers.transcribe(checkpoint, table)
    killing.join()
    assert cluster.second is None
    pd.testing.assert_frame_equal(far, here, check_exact=True)
    assert far["utterance_id"].is_unique and len(far) == len(table)


def wer(checkpoint: Path, clips: pd.DataFrame) -> float:
    scores = scoring.score(clips, recognizers.transcribe(checkpoint, clips)["hypothesis"])
    return float(scores["n_errors"].sum() / scores["n_words"].sum())


def fit(speech: Speech, n_steps: int) -> training.FitResult:
    return training.fit(whisper_model.build("", "toy", seed=0), speech[0], valid=speech[1], recipe=RECIPE,
                        n_steps=n_steps)


def weights(done: training.FitResult) -> dict[str, torch.Tensor]:
    return dict(torch.load(done.checkpoint)["model_state_dict"])


@pytest.mark.slow
def test_two_workers_learn_what_one_does(cluster: Nodes, speech: Speech, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums in another order round otherwise, and steps enlarge it: near after few steps, as good after many."""
    few = locally(lambda: (done := fit(speech, 6), weights(done)), monkeypatch)
    far = fit(speech, 6)
    assert isinstance(few, tuple) and far.key == few[0].key
    assert far.curve["train_loss"].tolist() == pytest.approx(few[0].curve["train_loss"].tolist(), rel=1e-4)
    assert all(torch.allclose(few[1][name], weight, atol=1e-3) for name, weight in weights(far).items())
    assert not list(far.checkpoint.parent.glob(".ray-*")) and not (far.checkpoint.parent / "resume.pt").exists()


@pytest.mark.slow
def test_a_node_that_dies_in_training_costs_no_more_than_the_steps_since_the_last_save(
        cluster: Nodes, speech: Speech, monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    monkeypatch.setenv("WORKBENCH_SAVE_EVERY_S", "0.5")
    here = locally(lambda: fit(speech, 160), monkeypatch)
    killing = kill_when(cluster, root / "progress.json", 20, "ray::RayTrainWorker")
    far = fit(speech, 160)
    killing.join()
    assert isinstance(here, training.FitResult) and cluster.second is None
    assert far.curve["step"].tolist() == here.curve["step"].tolist() == [80, 160], "no step is missing or twice"
    assert far.curve["train_loss"].tolist() == pytest.approx(here.curve["train_loss"].tolist(), rel=0.1)


@pytest.mark.slow
def test_a_workers_mistake_looks_as_it_would_here(cluster: Nodes, trained: Speech) -> None:
    table = trained[1].assign(audio_path="/nowhere.wav")
    with pytest.raises(AudioError, match="/nowhere.wav is not a file"):
        recognizers.transcribe(trained[0], table)


@pytest.mark.slow
def test_a_cluster_of_another_version_is_refused_before_any_work(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setenv("WORKBENCH_ENGINE", "local")
    monkeypatch.setenv("WORKBENCH_RAY_ADDRESS", "")
    ours = ray.__version__
    monkeypatch.setattr(ray, "__version__", "2.40.0")
    with ray_nodes.running() as other:
        monkeypatch.setattr(ray, "__version__", ours)
        with pytest.raises(ClusterError, match="runs other versions than this machine.*Ray: 2.40.0"), \
                clusters.prepared("ray", other.address):
            raise AssertionError("it was taken")


@pytest.mark.slow
def test_tasks_answer_in_order(cluster: Nodes) -> None:
    assert many_machines.map_all(abs, [-3, 2, -1], "counting") == [3, 2, 1]


@pytest.mark.slow
def test_a_cluster_is_compared_before_it_gets_work(cluster: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    clusters.check()
    monkeypatch.setattr(clusters, "_facts", lambda: {"torch": "1.0"})
    with pytest.raises(ClusterError, match="has torch 2.*wanted 1.0 as here"):
        clusters.check()
