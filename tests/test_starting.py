"""What a model starts from."""

import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from workbench import corpora, recipes, starting, storage, training, whisper_model
from workbench.recipes import Recipe
from workbench.training import FitResult


@pytest.fixture
def recipe(root: Path) -> Recipe:
    """Give the default recipe for few speakers, in a project of its own."""
    shutil.copytree(Path(__file__).parents[1] / "notebooks" / "recipes", root / "notebooks" / "recipes")
    return recipes.load("default").for_speakers(4)


def test_without_a_base_a_model_starts_from_nothing(recipe: Recipe) -> None:
    made = starting.build("", "toy", recipe=recipe, seed=3)
    plain = whisper_model.build("", "toy", seed=3)
    assert all(torch.equal(a, b) for a, b in zip(made.parameters(), plain.parameters(), strict=True))


@pytest.mark.slow
def test_few_speakers_start_where_the_demo_worlds_many_have_taught(recipe: Recipe) -> None:
    assert recipe.base == starting.DEMO
    starting._taught_by_demo.cache_clear()
    first = starting.build(recipe.base, "toy", recipe=recipe, seed=0)
    fits = sorted((storage.cache_folder("fits")).iterdir())
    starting._taught_by_demo.cache_clear()  # as in another process
    again = starting.build(recipe.base, "toy", recipe=recipe, seed=0)
    assert len(fits) == 1 and sorted((storage.cache_folder("fits")).iterdir()) == fits, "the voices teach once"
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    nothing = whisper_model.build("", "toy", seed=0)
    assert not torch.equal(first.whisper.encoder.conv1.weight, nothing.whisper.encoder.conv1.weight)


def test_an_edited_recipe_is_taught_anew_in_the_same_process(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    taught: list[str] = []

    def fit(start: object, *_: object, recipe: Recipe, **__: object) -> FitResult:
        taught.append(recipe.fit_key())
        path = whisper_model.save(whisper_model.build("", "toy", seed=0), storage.data_folder() / "made.pt")
        return FitResult(path, "", pd.DataFrame(), 1, 0.0)

    monkeypatch.setattr(training, "fit", fit)
    monkeypatch.setattr(corpora, "collect", lambda *_, **__: SimpleNamespace(dataset=SimpleNamespace(train=0, valid=0)))
    for rate in ("2e-3", "2e-3", "3e-3"):
        path = recipes.path_of("default")
        path.write_text(re.sub(r"(batch_size=8, learning_rate=)\S+,", rf"\g<1>{rate},", path.read_text()))
        starting.build(starting.DEMO, "toy", recipe=recipe, seed=0)
    assert len(taught) == len(set(taught)) == 2
