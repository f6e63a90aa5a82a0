from dataclasses import replace
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


INVENTED = '''
from dataclasses import dataclass
from functools import partial
from workbench.recipes import Recipe

FACTOR = 0.1  # of the level

def softer(waveform):
    return waveform * FACTOR

def quieter(waveform, rng):
    return softer(waveform)

def scaled(waveform, rng, factor):
    return waveform * factor

def times(factor):
    def augment(waveform, rng):
        return waveform * factor
    return augment

@dataclass(frozen=True)
class Each:
    parts: tuple
    def __call__(self, waveform, rng):
        for part in self.parts:
            waveform = part(waveform, rng)
        return waveform

class Plain:
    def __init__(self, share):
        self.share = share
    def __call__(self, waveform, rng):
        return waveform * self.share

recipe = Recipe(augmentations=(AUGMENTATION,), slices={})
'''


@pytest.mark.parametrize(("augmentation", "edits"), [
    ("quieter", [("0.1", "0.2"), ("softer(waveform)\n", "softer(-waveform)\n"), ("* FACTOR", "/ FACTOR")]),
    ("Each((quieter,))", [("0.1", "0.2"), ("* FACTOR", "/ FACTOR"), ("in self.parts", "in self.parts[1:]")]),
    ("partial(scaled, factor=0.5)", [("0.5", "0.6"), ("* factor", "/ factor")]),
    ("Each((times(0.5),))", [("0.5", "0.6"), ("* factor", "/ factor")]),
    ("Plain(0.5)", [("0.5", "0.6"), ("* self.share", "/ self.share")]),
    ("lambda waveform, rng: waveform * 0.5 * FACTOR", [("0.5", "0.6"), ("0.1", "0.2"), ("0.5 *", "0.5 /")]),
])
def test_a_fit_depends_on_all_that_an_augmentation_uses_and_on_no_address(
    root: Path, augmentation: str, edits: list[tuple[str, str]]
) -> None:
    def key(old: str = "", new: str = "") -> str:
        (root / "notebooks" / "recipes").mkdir(exist_ok=True)
        text = INVENTED.replace("AUGMENTATION", augmentation)
        (root / "notebooks" / "recipes" / "mine.py").write_text(text.replace(old, new) if old else text)
        return recipes.load("mine").fit_key()

    same = [("# of", "# not of"), ("slices={}", "slices={'long': 'duration_s > 4'}"),
            ("FACTOR = 0.1", "# one more line\nFACTOR = 0.1")]
    assert {key(), key(), *(key(*edit) for edit in same)} == {key()}
    assert len({key(), *(key(*edit) for edit in edits)}) == 1 + len(edits)


def test_few_speakers_get_their_own_way_of_making_voices(root: Path) -> None:
    recipe = write(root)
    assert recipe.for_speakers(10) is recipe
    assert recipe.for_speakers(9).augmentations == () and recipe.for_speakers(9).name == "mine"
    watched = recipes.Recipe(slices={"long": "duration_s > 4"}, few_speakers=recipes.Recipe())
    own = replace(watched, few_speakers=recipes.Recipe(slices={"short": "duration_s < 1"}))
    assert watched.for_speakers(9).slices == watched.slices and set(own.for_speakers(9).slices) == {"short"}
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
