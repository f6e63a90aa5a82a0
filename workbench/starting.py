"""What a model starts from: nothing, a checkpoint, or, under the name `demo`, a model that many voices taught first.

A few people teach a model their own voices alone; the demo world's hundreds teach it first that voices differ.
"""

from functools import lru_cache

from workbench import corpora, recipes, settings, training, whisper_model
from workbench.recipes import Recipe
from workbench.whisper_model import SpeechModel

DEMO = "demo"


def build(base: str, size: str, *, recipe: Recipe, seed: int) -> SpeechModel:
    """Make the model that a fit starts from: `whisper_model.build`, and `demo`.

    Raises: CheckpointError when `base` cannot be had; SynthesisError for `demo` without espeak-ng.
    """
    found = base
    if base == DEMO:
        many = recipes.load(recipe.name)
        found = _taught_by_demo(size, many.name, many.fit_key(), seed, str(settings.root()))
    return whisper_model.build(found, size, seed=seed, context=recipe.context, language=recipe.language)


@lru_cache(maxsize=1)  # every speaker who is left out starts from it, and the demo world need not speak again
def _taught_by_demo(size: str, recipe: str, key: str, seed: int, root: str) -> str:
    """Fit the recipe for many speakers on the demo world; a run on the demo world finds the same fit.

    `key` and `root` tell an edited recipe and another project apart.
    """
    many, speech = recipes.load(recipe), corpora.collect([corpora.DEMO], size=size, seed=seed).dataset
    start = whisper_model.build("", size, seed=seed, context=many.context)
    fit = training.fit(start, speech.train, valid=speech.valid, recipe=many, n_steps=settings.amounts(size).n_steps,
                       seed=seed, title="many voices first")
    return str(fit.checkpoint)
