"""Decoding, training and independent tasks where the settings' `engine` says: in this process, or on a Ray cluster.

What is done is the caller's, and what comes out does not depend on where. Work that a lost node had is done again by
the others. Ray loads only when the engine is `ray`.
"""

import os
import shutil
import sys
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from workbench import clusters, errors, progress, recognizing, settings
from workbench.errors import ClusterError, WorkbenchError
from workbench.recognizing import Recognizer
from workbench.shares import Share

if TYPE_CHECKING:
    import pandas as pd

SHARD = recognizing.CHUNK
"""Utterances a task: what one process decodes at a time, so that batches, and with them all bits, are the same."""

MAX_LOST = 4
"""How often a task, or a training from its last save, starts again after a worker was lost; more is no accident."""

AHEAD = 4
"""Tasks a processor that are under way or next: enough that none waits for a slow one, and soon over when unwanted."""

ROW, MISTAKE = "__row", "__mistake"
T = TypeVar("T")
R = TypeVar("R")


def is_chosen() -> bool:
    """Tell whether work goes to a cluster."""
    return settings.Settings().engine == "ray"


def decode(load: Callable[[], Recognizer], utterances: "pd.DataFrame") -> "pd.DataFrame":
    """Decode a table's recordings where the engine says, each worker with a recognizer that it loads itself.

    Returns: what `recognizing.decode` does, to the bit.
    """
    if not is_chosen() or utterances.empty:
        return recognizing.decode(load(), utterances)
    import pandas as pd

    ray = clusters.connect()
    table = utterances[["utterance_id", "audio_path"]].assign(**{ROW: range(len(utterances))})
    shards = [table.iloc[start : start + SHARD] for start in range(0, len(table), SHARD)]
    kind, n_places = clusters.places(ray)
    with _plain_errors(ray), progress.Bar("decoding", total=len(table)) as bar:
        heard = ray.data.from_pandas(shards).map_batches(
            _Decoder, fn_constructor_args=[load], batch_size=None, batch_format="pandas", zero_copy_batch=False,
            compute=ray.data.ActorPoolStrategy(size=min(len(shards), n_places)),
            **{"num_gpus" if kind == "GPU" else "num_cpus": 1})
        parts = []
        for part in heard.iter_batches(batch_size=None, batch_format="pandas"):
            if MISTAKE in part:
                raise getattr(errors, part[MISTAKE].iloc[0])(part["message"].iloc[0])
            parts.append(part)
            bar.advance(len(part))
    found = pd.concat(parts, ignore_index=True).sort_values(ROW, ignore_index=True)
    if found[ROW].tolist() != list(range(len(table))):
        raise ClusterError(f"{len(table)} recordings went out, {len(found)} answers came back; run it again")
    return pd.DataFrame({name: found[name].tolist() for name in found if name != ROW})  # without Arrow's types


class _Decoder:
    """A worker's recognizer, which decodes shard after shard."""

    def __init__(self, load: Callable[[], Recognizer]) -> None:
        self.recognizer = load()

    def __call__(self, shard: "pd.DataFrame") -> "pd.DataFrame":
        import pandas as pd

        try:
            heard = recognizing.decode(self.recognizer, shard)
        except WorkbenchError as error:  # Ray Data would pass on its words alone
            return pd.DataFrame({MISTAKE: [type(error).__name__], "message": [str(error)]})
        return heard.assign(**{ROW: shard[ROW].to_numpy()})


def train(work: Callable[[Share], None], folder: Path) -> None:
    """Let all workers do their shares of a training, again from its last save when one of them is lost.

    `work` resumes and saves in `folder` by itself; the first share alone writes there.
    """
    if not is_chosen():
        work(Share())
        return
    ray = clusters.connect()
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    _carry_recipes(ray)
    kind, n_places = clusters.places(ray)
    n_most = settings.Settings().ray_workers or (n_places if kind == "GPU" else clusters.n_working(ray))
    notes = folder / f".ray-{uuid.uuid4().hex[:8]}"
    trainer = TorchTrainer(
        _do_share, train_loop_config={"work": ray.put(work), "progress": str(settings.Settings().progress_file or "")},
        scaling_config=ScalingConfig(num_workers=(1, n_most),  # type: ignore[arg-type]  # elastic: as many as live
                                     use_gpu=kind == "GPU"),
        torch_config=TorchConfig(backend="nccl" if kind == "GPU" else "gloo"),
        run_config=RunConfig(name=notes.name, storage_path=str(folder),
                             failure_config=FailureConfig(max_failures=MAX_LOST)))
    try:
        with _plain_errors(ray):
            trainer.fit()
    finally:
        shutil.rmtree(notes, ignore_errors=True)


def _do_share(config: dict[str, Any]) -> None:
    import ray.train

    context = ray.train.get_context()
    share = Share(context.get_world_rank(), context.get_world_size())
    if share.is_first and config["progress"]:
        os.environ["WORKBENCH_PROGRESS_FILE"] = config["progress"]
    ray.get(config["work"])(share)


def map_all(function: Callable[[T], R], items: Sequence[T], title: str) -> list[R]:
    """Apply a function to each item, a task each, and show how far. Returns: results in the items' order."""
    return list(progress.track(each(function, items), title, len(items)))


def each(function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
    """Apply a function to each item, a task each; a lone item is not worth another process's start.

    Returns: results in the items' order, each as soon as it is there; who stops asking has no more of them begun.
    """
    if not is_chosen() or len(items) < 2:
        yield from map(function, items)
        return
    ray = clusters.connect()
    task, sent = ray.remote(_apply).options(max_retries=MAX_LOST), ray.put(function)
    n_ahead, waiting = AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1))), deque[Any]()
    with _plain_errors(ray):  # nothing is cancelled: a task that ends meanwhile would end this process (Ray 2.60)
        for item in items:
            waiting.append(task.remote(sent, item))
            if len(waiting) >= n_ahead:
                yield ray.get(waiting.popleft())
        while waiting:
            yield ray.get(waiting.popleft())


def _apply(function: Callable[[T], R], item: T) -> R:
    return function(item)


def _carry_recipes(ray: Any) -> None:
    """Let what a recipe's file defines travel by its code: other nodes have not imported that file."""
    from workbench import recipes  # which load PyTorch: who sends tasks alone needs none

    for name, module in list(sys.modules.items()):
        if name.startswith(recipes.MODULE_PREFIX):
            ray.cloudpickle.register_pickle_by_value(module)


@contextmanager
def _plain_errors(ray: Any) -> Iterator[None]:
    """Let a worker's mistake look as it would here, without Ray's wrapping."""
    try:
        yield
    except (ray.exceptions.RayError, RuntimeError) as error:
        for cause in _causes(error):
            if isinstance(cause, WorkbenchError):
                raise type(cause)(*cause.args) from error
        if isinstance(error, ray.exceptions.RayTaskError):
            raise
        raise ClusterError(f"the cluster gave up ({str(error).strip().splitlines()[-1][:300]}); see to its nodes with "
                           "`ray status`, and run the same command again") from error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        for each in getattr(error, "worker_failures", {}).values():
            yield from _causes(each)
        error = getattr(error, "cause", None) or error.__cause__
