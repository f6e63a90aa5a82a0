from pathlib import Path

import pytest

from workbench import recipes
from workbench.errors import RecipeError

MINE = '''
from dataclasses import dataclass
from workbench.augmentation import Speed
from workbench.recipes import Fit, Recipe

@dataclass(frozen=True)
class Whisperer:
    share: float = 0.5
    def __call__(self, waveform, rng):
        return waveform * {factor}

recipe = Recipe(augmentations=(Speed(), Whisperer()), fit=Fit(batch_size=8), slices={slices}, few_speakers=Recipe())
'''


def write(root: Path, factor: float = 0.1, slices: str = "{}") -> recipes.Recipe:
    (root / "notebooks" / "recipes").mkdir(exist_ok=True)
    text = MINE.replace("{factor}", str(factor)).replace("{slices}", slices)
    (root / "notebooks" / "recipes" / "mine.py").write_text(text)
    return recipes.load("mine")


def test_a_recipe_is_read_with_its_own_inventions(root: Path) -> None:
    recipe = write(root)
    assert recipe.name == "mine" and recipe.fit.batch_size == 8
    assert recipe.summary()["augmentations"][1] == "Whisperer(share=0.5)"


def test_a_slice_changes_the_recipe_but_not_what_a_fit_depends_on(root: Path) -> None:
    plain, sliced = write(root), write(root, slices="{'long': 'duration_s > 4'}")
    assert plain.hash != sliced.hash
    assert plain.fit_key() == sliced.fit_key()


def test_changing_the_code_of_an_augmentation_changes_what_a_fit_depends_on(root: Path) -> None:
    assert write(root, factor=0.1).fit_key() != write(root, factor=0.2).fit_key()


def test_few_speakers_get_their_own_way_of_making_voices(root: Path) -> None:
    recipe = write(root)
    assert recipe.for_speakers(10) is recipe
    assert recipe.for_speakers(9).augmentations == () and recipe.for_speakers(9).name == "mine"
    assert recipes.Recipe().for_speakers(2) == recipes.Recipe()


@pytest.mark.parametrize(
    ("source", "message"),
    [("x = 1", "must say `recipe = Recipe"), ("1 / 0", "ZeroDivisionError"), ("recipe = 3", "it has int")],
)
def test_a_broken_recipe_says_what_is_wrong(root: Path, source: str, message: str) -> None:
    write(root)
    (root / "notebooks" / "recipes" / "bad.py").write_text(source)
    with pytest.raises(RecipeError, match=message):
        recipes.load("bad")


def test_a_missing_recipe_names_those_there_are(root: Path) -> None:
    write(root)
    with pytest.raises(RecipeError, match="there are: mine"):
        recipes.load("yours")
