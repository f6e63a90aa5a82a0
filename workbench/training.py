"""One loop for training from nothing and for fine-tuning; a fit is cached by what it was made from, and resumes.

The encoder and decoder learn by Whisper's cross-entropy, the character head by CTC along with them.
"""

import json
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from workbench import (
    adapting,
    augmentation,
    batches,
    frames,
    many_machines,
    matching,
    objective,
    optimizers,
    precision,
    progress,
    prompts,
    recognizers,
    recognizing,
    scoring,
    settings,
    side_by_side,
    storage,
    whisper_model,
)
from workbench.batches import Batch, BatchSource
from workbench.letters import CHARACTERS
from workbench.matching import PaddedTeacher
from workbench.recipes import Recipe
from workbench.shares import Share
from workbench.whisper_model import SpeechModel

N_EASED_EPOCHS = 1
"""From nothing, the first epoch begins with the short utterances."""

MIN_STEPS_APART = 5
"""Validations come no closer; ours: a short fit would hear `valid` for longer than it learns."""


@dataclass(frozen=True, slots=True)
class FitResult:
    """A finished training: its best checkpoint, its name, and its curve (step, seconds, train_loss, valid_wer)."""

    checkpoint: Path
    key: str
    curve: pd.DataFrame
    best_step: int
    wall_time_s: float


@dataclass(slots=True)
class Progress:
    """What an interrupted training must remember beside weights and optimizer."""

    step: int = 0
    spent_s: float = 0.0
    losses: list[float] = field(default_factory=list)
    curve: list[dict[str, float]] = field(default_factory=list)
    best_wer: float = math.inf
    best_step: int = 0


@dataclass(frozen=True, slots=True)
class Task:
    """What a fit learns from and how; with the model's weights it decides the result.

    `is_processor_for_bfloat16` is the one's where the fit is asked for, so that all workers multiply alike.
    """

    train: pd.DataFrame
    valid: pd.DataFrame | None
    recipe: Recipe
    n_steps: int
    seed: int
    is_finetuning: bool
    is_processor_for_bfloat16: bool = field(default_factory=precision.processor_halves)


def fit(
    model: SpeechModel,
    train: pd.DataFrame,
    *,
    valid: pd.DataFrame | None,
    recipe: Recipe,
    n_steps: int,
    seed: int = 0,
    is_finetuning: bool = False,
    title: str = "training",
) -> FitResult:
    """Train a model and keep the checkpoint that is best on `valid`, or the last one without it.

    The same weights, utterances, recipe, steps and seed give the fit that is there already. An interrupted fit goes on
    where it was saved last, and ends as it would have.
    Raises: RecipeError when what the recipe freezes would have to learn.
    """
    if not len(train):
        raise ValueError("no utterances to train on")
    if is_finetuning:
        adapting.check(model, recipe.fit)
    task = Task(train, valid, recipe, n_steps, seed, is_finetuning)
    key = fit_key(model, task)
    folder = storage.cache_folder("fits") / key
    if not (folder / "fit.json").is_file():
        many_machines.train(partial(_train, model, task, folder, title), folder)
    done = json.loads((folder / "fit.json").read_text())
    return FitResult(folder / "model.pt", key, pd.DataFrame(done["curve"]), done["best_step"], done["spent_s"])


def _train(model: SpeechModel, task: Task, folder: Path, title: str, share: Share) -> None:
    _Training(model, task, folder, share).run(title)


def fit_key(model: SpeechModel, task: Task) -> str:
    """Name a fit by all that it depends on, the code of the loop included. Returns: 16 hex digits."""
    weights = storage.hash_bytes(*(t.detach().cpu().numpy().tobytes() for t in model.state_dict().values()))
    tables = [storage.hash_table(t[["audio_sha", "reference"]]) for t in (task.train, task.valid) if t is not None]
    parts = (adapting, augmentation, batches, frames, matching, objective, optimizers, precision, prompts,
             whisper_model)
    code = [storage.hash_file(Path(str(module.__file__))) for module in parts]
    how = [task.recipe.fit_key(), task.n_steps, task.seed, task.is_finetuning, task.is_processor_for_bfloat16,
           storage.hash_file(Path(__file__))]
    return storage.hash_value([weights, asdict(model.dims), tables, how, code])[:16]


class _Training:
    """A training under way in its folder: `resume.pt` while it goes, `model.pt` and `fit.json` when it is done."""

    def __init__(self, model: SpeechModel, task: Task, folder: Path, share: Share) -> None:
        self.device, how = "cuda" if torch.cuda.is_available() else "cpu", task.recipe.fit
        is_taught = task.is_finetuning and model.context == "fitted" and how.match_weight > 0
        is_taught = is_taught and how.learns != "decoder"  # nobody is there to hear the lesson
        self.teacher = PaddedTeacher(model.to(self.device)) if is_taught else None
        has_new_head = model.head is None
        model = with_head(model, task.seed)
        self.model = (adapting.prepare(model, how, seed=task.seed) if task.is_finetuning else model).to(self.device)
        self.source = BatchSource(task.train, task.recipe, self.model, seed=task.seed,
                                  n_eased_epochs=0 if task.is_finetuning else N_EASED_EPOCHS)
        self.task, self.recipe, self.folder, self.share = task, task.recipe, folder, share
        self.embedding = self.model.whisper.decoder.token_embedding.weight
        is_narrow = model.dims.n_text_state < frames.TINY_WIDTH
        self.is_sampled = self.embedding.requires_grad and (not task.is_finetuning or is_narrow)
        learning = [p for p in self.model.parameters() if p.requires_grad]
        self.dense = [p for p in learning if not (self.is_sampled and p is self.embedding)]
        self.is_halved = precision.is_halved(how.precision, self.device, model.dims.n_audio_state,
                                             is_processor_for_it=task.is_processor_for_bfloat16)
        self.optimizers = optimizers.make(
            self.model, self.embedding, how, is_finetuning=task.is_finetuning, is_sampled=self.is_sampled,
            has_new_head=has_new_head, is_halved=self.is_halved,
        )
        pace = _warm_up_and_decay(min(how.n_warmup_steps, max(1, task.n_steps // 5)), task.n_steps)
        self.schedules = [torch.optim.lr_scheduler.LambdaLR(o, pace) for o in self.optimizers]
        self.occurring = objective.occurring_tokens(task.train["reference"].tolist(), self.model,
                                                    has_prompts=how.prompt_share > 0)
        self.model.n_prompt_names = prompts.MAX_NAMES if how.prompt_share > 0 else 0
        self.past = Progress()

    def run(self, title: str) -> None:
        """Train to the end, saving now and then, and leave the finished fit."""
        self._resume()
        n_validations = max(1, min(self.recipe.fit.n_validations, self.task.n_steps // MIN_STEPS_APART))
        validations = {round(self.task.n_steps * (i + 1) / n_validations) for i in range(n_validations)}
        save_every_s = settings.Settings().save_every_s
        past, clock, saved = self.past, time.monotonic(), time.monotonic()
        numbers = range(past.step * self.recipe.fit.n_accumulated, self.task.n_steps * self.recipe.fit.n_accumulated)
        made = batches.ahead(self._batch, numbers, batches.n_makers(self.device))
        with progress.Bar(title, total=self.task.n_steps) as bar:
            while past.step < self.task.n_steps:
                side_by_side.end_if_told()
                past.losses.append(self._step(past.step, islice(made, self.recipe.fit.n_accumulated)))
                past.step += 1
                bar.update(past.step)
                past.spent_s, clock = past.spent_s + time.monotonic() - clock, time.monotonic()
                if not self.share.is_first:
                    continue
                if past.step in validations:
                    self._validate()
                if time.monotonic() - saved > save_every_s:
                    self._save()
                    saved = time.monotonic()
        if not self.share.is_first:
            return
        storage.write_json(self.folder / "fit.json", asdict(past))
        (self.folder / "resume.pt").unlink(missing_ok=True)

    def _step(self, step: int, parts: Iterable[Batch]) -> float:
        """Take one optimizer step, on one batch or on several.

        A model from nothing, or one below tiny's width, scores the tokens that occur and some random ones, as rows
        cut out of the embedding; the others are neither multiplied, nor given a gradient, nor updated. Fine-tuning
        published weights scores the whole vocabulary, so that they keep what they know.
        """
        self.model.train()
        scored = self._scored_tokens(batches.generator(self.task.seed + 1, step))
        rows = self.embedding.detach()[scored].requires_grad_() if self.is_sampled else self.embedding
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        for batch in parts:
            with torch.autocast(self.device, torch.bfloat16, enabled=self.is_halved):
                loss = self._loss(batch, rows, scored) / self.recipe.fit.n_accumulated
            loss.backward()
            total += loss.detach()
        moved = [*self.dense, rows] if self.is_sampled else self.dense
        self.share.add_up([total, *(p.grad for p in moved if p.grad is not None)])
        torch.nn.utils.clip_grad_norm_(moved, self.recipe.fit.max_gradient_norm)
        if self.is_sampled:
            assert rows.grad is not None
            self.embedding.grad = torch.sparse_coo_tensor(
                scored[None], rows.grad, self.embedding.shape, is_coalesced=True, check_invariants=False
            )
        for optimizer, schedule in zip(self.optimizers, self.schedules, strict=True):
            optimizer.step()
            schedule.step()
        return float(total)

    def _batch(self, number: int) -> Batch:
        """Make this worker's share of a batch."""
        batch = self.source.batch(number)
        return batch.part(self.share.rows(len(batch.n_frames))) if self.share.n > 1 else batch

    def _loss(self, batch: Batch, rows: Tensor, scored: Tensor) -> Tensor:
        return objective.loss(self.model, batch, rows, scored, how=self.recipe.fit, teacher=self.teacher)

    def _scored_tokens(self, rng: torch.Generator) -> Tensor:
        n_vocab = self.model.dims.n_vocab
        scored = objective.scored_tokens(self.occurring, n_vocab, rng) if self.is_sampled else torch.arange(n_vocab)
        return scored.to(self.device)

    def _validate(self) -> None:
        past, wer = self.past, math.nan
        if self.task.valid is not None:
            recognizer = recognizers.WhisperRecognizer(self.model)
            heard = recognizing.transcribe_paths(recognizer, self.task.valid["audio_path"])
            scores = scoring.score(self.task.valid, [hypothesis.text for hypothesis in heard])
            wer = float(scores["n_errors"].sum() / max(1, scores["n_words"].sum()))
        if self.task.valid is None or wer <= past.best_wer:
            past.best_wer, past.best_step = wer, past.step
            taught = adapting.merged(self.model)
            whisper_model.save(taught, self.folder / "model.pt", recipe=self.recipe.hash, step=past.step)
        past.curve.append(
            {
                "step": past.step,
                "seconds": past.spent_s,
                "valid_wer": wer,
                "train_loss": sum(past.losses) / len(past.losses),
            }
        )
        past.losses.clear()

    def _save(self) -> None:
        with storage.replacing(self.folder / "resume.pt") as temporary:
            torch.save(
                {
                    "model": self.model.state_dict(),
                    "past": asdict(self.past),
                    "optimizers": [o.state_dict() for o in self.optimizers],
                    "schedules": [s.state_dict() for s in self.schedules],
                },
                temporary,
            )

    def _resume(self) -> None:
        saved = self.folder / "resume.pt"
        if saved.is_file():
            state = torch.load(saved, map_location=self.device, weights_only=True)
            self.model.load_state_dict(state["model"])
            for optimizer, schedule, o, s in zip(
                self.optimizers, self.schedules, state["optimizers"], state["schedules"], strict=True
            ):
                optimizer.load_state_dict(o)
                schedule.load_state_dict(s)
            self.past = Progress(**state["past"])


def with_head(model: SpeechModel, seed: int) -> SpeechModel:
    """Give a published checkpoint the character head that it comes without."""
    if model.head is None:
        rng, bound = torch.Generator().manual_seed(seed), model.dims.n_audio_state**-0.5
        model.head = torch.nn.Linear(model.dims.n_audio_state, len(CHARACTERS) + 1)
        for weights in model.head.parameters():  # as torch.nn.Linear begins, by a chance of their own
            torch.nn.init.uniform_(weights, -bound, bound, generator=rng)
    return model


def _warm_up_and_decay(n_warmup: int, n_steps: int) -> Callable[[int], float]:
    return lambda step: min((step + 1) / max(1, n_warmup), max(0.0, (n_steps - step) / max(1, n_steps - n_warmup)))
