"""Improve with fewer than ten speakers: every arm starts where train started, whichever base it was told."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from tests import published
from tests.conftest import REPOSITORY
from workbench import (
    data_requests,
    datasets,
    gates,
    improvement,
    notebooks,
    reference_fit,
    storage,
    training,
    whisper_model,
)
from workbench.datasets import Dataset
from workbench.records import Decision
from workbench.training import FitResult
from workbench.whisper_model import SpeechModel

DONE = Decision("done", "Done.")


@pytest.fixture
def speech(root: Path) -> Dataset:
    shutil.copytree(REPOSITORY / "notebooks", root / "notebooks", dirs_exist_ok=True)
    clips = np.random.default_rng(0).normal(0, 0.1, (9, 1_600)).astype("float32")
    return datasets.save(datasets.store_rows(
        {"samples": clip, "utterance_id": f"u{i}", "text": "play adele", "source": "ours", "speaker": f"s{i % 3}",
         "split": "train"} for i, clip in enumerate(clips)))


def plan_of_improve(speech: Dataset, base: str, recipe: str) -> improvement.Plan:
    """Let the notebook plan its rounds after a train that began from `base`, when nobody asks for anything."""
    promises = gates.save_fields(["wer at most 0.10"], "", [], [], 0.005)
    for name, file, value in (("scope", "promises", promises), ("collect", "dataset", {"version": speech.version}),
                              ("analyze", "request", {"request_id": ""})):
        stage = storage.open_stage(name, "mine")
        stage.save_json(file, value)
        stage.close(parameters={}, metrics={}, decision=DONE)
    stage = storage.open_stage("train", "mine")
    stage.save_model(whisper_model.save(whisper_model.build("", "toy", seed=1), stage.folder / "fit.pt"))
    stage.close(parameters={"base": base}, metrics={}, decision=DONE)
    known: dict[str, Any] = {}
    for cell in notebooks.read(REPOSITORY / "notebooks" / "05_improve.ipynb").cells:
        if cell.kind == "code" and "plan" not in known:
            exec(cell.source, known)
            known |= {"run": "mine", "size": "toy", "recipe": recipe}
    plan: improvement.Plan = known["plan"]
    return plan


@pytest.mark.parametrize("recipe", ["published", "default"])
def test_every_arm_starts_from_the_base_that_train_was_told(
    speech: Dataset, root: Path, recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = published.checkpoint(root / "given" / "base.pt", width=64, n_layers=1, seed=7)
    plan = plan_of_improve(speech, str(base), recipe)
    begun: list[tuple[SpeechModel, bool]] = []

    def fit(model: SpeechModel, *_: object, is_finetuning: bool = False, **__: object) -> FitResult:
        begun.append((model, is_finetuning))
        return FitResult(base, "", pd.DataFrame(), 1, 0.0)

    def listen(_: Path, utterances: pd.DataFrame) -> pd.DataFrame:
        return utterances[["utterance_id"]].assign(hypothesis="play adele")

    monkeypatch.setattr(training, "fit", fit)
    monkeypatch.setattr(reference_fit, "listen", listen)
    request = data_requests.ask_for("mine", {"speaker": "s1"}, 2, by="ada", reason="", dataset_version=speech.version)
    improvement.go_round(base, speech, speech, request, plan)
    wanted = whisper_model.load(base).whisper.state_dict()
    assert len(begun) == 2 * 3 + 1, "three speakers left out of two arms, and the final model"
    for model, is_finetuning in begun:
        assert is_finetuning and all(torch.equal(wanted[n], w) for n, w in model.whisper.state_dict().items())
    assert plan.recipe.summary()["base"] == str(base)
