"""A recipe: everything a researcher invented about a model, in one small file that every stage reads.

It lies in `notebooks/recipes/<name>.py`, says `recipe = Recipe(...)`, and is kept beside every checkpoint.
"""

import ast
import importlib.util
import inspect
import re
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from workbench import augmentation, noise_recordings, settings, storage
from workbench.augmentation import Augmentation, SpecAugment
from workbench.errors import RecipeError

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
"""What Python writes of a function differs from process to process."""

_RECORDED = re.compile(r"RecordedNoise\(([\w-]+) ")
"""How `RecordedNoise` names its corpus, by itself or within an augmentation of a recipe's own."""

Precision = Literal["auto", "float32", "bfloat16"]
"""How a training multiplies; `auto` is what the device does sooner."""

MODULE_PREFIX = "workbench_recipe_"
"""How a recipe's file is called among the modules of a process."""


@dataclass(frozen=True, slots=True)
class Fit:
    """How a model is fitted; amounts are steps, never minutes.

    `matrix_learning_rate` is Muon's, for the matrices between layers of a model narrower than tiny, from nothing, and
    `finetune_matrix_learning_rate` in fine-tuning; 0 leaves them to AdamW.
    What makes fine-tuning fit a small card: `learns` decoder leaves the encoder as it is, and lora teaches every
    attention a change of `lora_rank` ranks (`adapting`); `n_accumulated` batches are one step; `is_checkpointed`
    computes activations twice instead of keeping them; `precision` bfloat16 halves them (auto: where that is faster).
    `prompt_share` of the utterances are taught with a list of names before the decoder's input (`prompts`).
    `match_weight` is the share of the loss that asks a fitted context's encoder for what the padded one hears.
    """

    batch_size: int = 16
    learning_rate: float = 2e-3
    matrix_learning_rate: float = 0.0
    finetune_learning_rate: float = 1e-3
    finetune_matrix_learning_rate: float = 0.0
    n_warmup_steps: int = 150
    weight_decay: float = 0.01
    ctc_weight: float = 0.3
    max_gradient_norm: float = 1.0
    n_validations: int = 8
    learns: Literal["all", "decoder", "lora"] = "all"
    lora_rank: int = 16
    n_accumulated: int = 1
    is_checkpointed: bool = False
    precision: Precision = "auto"
    match_weight: float = 0.0
    prompt_share: float = 0.0


@dataclass(frozen=True, slots=True)
class Recipe:
    """What to start from, how to disturb the clips, how to fit, and which slices to watch.

    `base` is "" (from nothing), a checkpoint's path, a run's name, a published name, or `demo` (many synthesized voices
    first, `starting`). `language` is what a multilingual base is told that it hears. `slices` are named expressions
    over a table's columns: `{"long_car": 'noise == "car" and duration_s > 4'}`. `few_speakers` takes the place of
    it, of the slices where it names some, when a dataset has fewer than ten speakers to learn voices from.
    """

    base: str = ""
    context: Literal["fitted", "padded"] = "fitted"
    language: str = "en"
    augmentations: tuple[Augmentation, ...] = ()
    spec_augment: SpecAugment | None = field(default_factory=SpecAugment)
    few_speakers: "Recipe | None" = None
    fit: Fit = field(default_factory=Fit)
    slices: Mapping[str, str] = field(default_factory=dict)
    name: str = "unnamed"
    source: str = ""

    @property
    def hash(self) -> str:
        """Name the recipe by its file's content. Returns: 12 hex digits."""
        return storage.hash_bytes(self.source.encode())[:12]

    def fit_key(self) -> str:
        """Name what a fit depends on; adding a slice or a comment does not change it.

        Augmentations of a recipe's own may use anything in its file, which then counts as a whole.
        """
        used = [*self.augmentations, *filter(None, [self.spec_augment])]
        own = [one for one in used if type(one).__module__ != augmentation.__name__]
        elsewhere = [one for one in own if not (self.source and _module(one) == f"{MODULE_PREFIX}{self.name}")]
        code = [_without_slices(self.source) if own and self.source else "", *map(_code, elsewhere)]
        told = [_ADDRESS.sub("", repr(one)) for one in used]
        return storage.hash_value([self.context, self.language, asdict(self.fit), told, code])

    def for_speakers(self, n_speakers: int, few: int = 10) -> "Recipe":
        """Give the recipe to use with so many training speakers."""
        if self.few_speakers is None or n_speakers >= few:
            return self
        return replace(self.few_speakers, slices=self.few_speakers.slices or self.slices)

    def starting_from(self, base: str) -> "Recipe":
        """Give the recipe with another base: what a run was told to train from is what its later stages start from."""
        return replace(self, base=base)

    def summary(self) -> dict[str, Any]:
        """Say what the recipe holds, for records and cards, and what the noise that it hears asks of its users."""
        heard = [name for one in self.augmentations for name in _RECORDED.findall(repr(one))]
        noise = list(dict.fromkeys(filter(None, map(noise_recordings.credit, heard))))
        return {
            "name": self.name,
            "hash": self.hash,
            "base": self.base or "from nothing",
            "context": self.context,
            "language": self.language,
            "augmentations": [_title(a) for a in self.augmentations],
            **({"noise_recordings": noise} if noise else {}),
            "spec_augment": repr(self.spec_augment),
            "fit": asdict(self.fit),
            "slices": dict(self.slices),
        }


def _title(one: Augmentation) -> str:
    return one.__name__ if inspect.isfunction(one) else repr(one)


def _module(one: object) -> str:
    return (one if inspect.isfunction(one) else type(one)).__module__


def _code(one: object) -> str:
    try:
        return inspect.getsource(one if inspect.isfunction(one) else type(one))
    except (OSError, TypeError):
        return ""


def _without_slices(source: str) -> str:
    tree = ast.parse(source)
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        call.keywords = [keyword for keyword in call.keywords if keyword.arg != "slices"]
    return ast.unparse(tree)


def path_of(name: str) -> Path:
    """Give a recipe's file."""
    return settings.root() / "notebooks" / "recipes" / f"{name}.py"


def load(name: str = "default") -> Recipe:
    """Read `notebooks/recipes/<name>.py`. Raises: RecipeError when it is missing, broken, or says no `recipe`."""
    path = path_of(name)
    if not path.is_file():
        there = ", ".join(sorted(p.stem for p in path.parent.glob("*.py"))) or "none"
        raise RecipeError(f"no recipe {name!r}: {path} does not exist; there are: {there}")
    spec = importlib.util.spec_from_file_location(f"{MODULE_PREFIX}{name}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and inspect look a class's module up by name
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise RecipeError(f"{path} does not run: {type(error).__name__}: {error}") from error
    recipe = getattr(module, "recipe", None)
    if not isinstance(recipe, Recipe):
        raise RecipeError(f"{path} must say `recipe = Recipe(...)`; it has {type(recipe).__name__}")
    return _named(recipe, name, path.read_text(encoding="utf-8"))


def _named(recipe: Recipe, name: str, source: str) -> Recipe:
    few = replace(recipe.few_speakers, name=name, source=source) if recipe.few_speakers else None
    return replace(recipe, name=name, source=source, few_speakers=few)
