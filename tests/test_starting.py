"""What a model starts from."""

import shutil
from pathlib import Path

import pytest
import torch

from workbench import recipes, starting, storage, whisper_model
from workbench.recipes import Recipe


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
