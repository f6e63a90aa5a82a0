"""Which stages a command means and with what values, checked against the notebooks before any kernel starts.

A run keeps what it was given, so that every later command goes on with the same data, steps and size.
"""

import difflib
import json
import math
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from workbench import corpus_cards, settings, storage
from workbench.errors import ParameterError, RecipeError
from workbench.notebooks import Parameter, StageNotebook

Given = dict[str, dict[str, Any]]

GIVEN = "given.json"
"""In a run's folder: the size and the parameters that it was given last."""

PATH_SUFFIXES = (".csv", ".jsonl", ".parquet", ".pt")
NEVER_PATHS = ("run", "size", "recipe")
ENDING = "...\n"
"""How YAML ends a text that is one plain value."""

_COUNTS = ("n_", "max_")  # how the names of what cannot be negative begin


def select(notebooks: Sequence[StageNotebook], stages: Sequence[str] = (), *, first: str = "",
           last: str = "") -> list[StageNotebook]:
    """Pick the named stages (all when none is named) between `first` and `last`, in the notebooks' order.

    Raises: ParameterError for a stage that does not exist, or when nothing is left.
    """
    names = [notebook.name for notebook in notebooks]
    for name in (*stages, first, last):
        if name and name not in names:
            raise ParameterError(_unknown("stage", name, names))
    begin = names.index(first) if first else 0
    end = names.index(last) if last else len(names) - 1
    chosen = [notebook for notebook in notebooks[begin:end + 1] if not stages or notebook.name in stages]
    if not chosen:
        raise ParameterError(f"no stage is left between {first or names[0]} and {last or names[-1]}; "
                             f"the order is {', '.join(names)}")
    return chosen


def read_given(assignments: Iterable[str], file: Path | None) -> Given:
    """Read `stage.name=value` texts (values in YAML) over those of a YAML file; the command line wins.

    Raises: ParameterError for a text or a file of another shape.
    """
    given = _read_file(file) if file else {}
    for text in assignments:
        target, equals, value = text.partition("=")
        stage, dot, name = target.strip().partition(".")
        if not (equals and dot and stage and name):
            raise ParameterError(f"-p {text!r} is not stage.name=value, for example -p train.n_steps=200")
        try:
            given.setdefault(stage, {})[name] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ParameterError(f"-p {text!r}: the value is not YAML; put text with signs in quotes") from error
    return given


def _read_file(file: Path) -> Given:
    try:
        with file.open(encoding="utf-8") as text:
            content = yaml.safe_load(text) or {}
    except FileNotFoundError as error:
        raise ParameterError(f"--params {file}: there is no such file; correct its path") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ParameterError(f"--params {file} cannot be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or not all(isinstance(values, dict) for values in content.values()):
        raise ParameterError(f"--params {file} must say `stage:` and below it, indented, `name: value`")
    return {str(stage): dict(values) for stage, values in content.items()}


def kept(run: str, notebooks: Sequence[StageNotebook]) -> tuple[str, Given]:
    """Give what earlier commands gave a run, of what its notebooks still ask for.

    Returns: the size ("" for the notebooks' own), values by stage and name.
    """
    path = storage.run_folder(run) / GIVEN
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    there = {notebook.name: notebook.parameters for notebook in notebooks}
    return found.get("size", ""), {
        stage: left for stage, values in found.get("parameters", {}).items()
        if (left := {name: value for name, value in values.items() if name in there.get(stage, {})})}


def keep(run: str, size: str, checked: Given) -> None:
    """Write down what a run goes by from now on. Raises: StorageError where it cannot be written."""
    own = {stage: {name: value for name, value in values.items() if name != "run" and (name, value) != ("size", size)}
           for stage, values in checked.items()}
    content = {"size": size, "parameters": {stage: values for stage, values in own.items() if values}}
    storage.write_json(storage.run_folder(run) / GIVEN, content)


def words(size: str, given: Given) -> str:
    """Say a size and values as a command line does."""
    said = [f"--size {size}"] if size else []
    for stage, values in given.items():
        for name, value in values.items():
            text = yaml.safe_dump(value, default_flow_style=True, width=math.inf, allow_unicode=True)
            said.append("-p " + shlex.quote(f"{stage}.{name}={text.removesuffix(ENDING).strip()}"))
    return " ".join(said)


def without(given: Given, other: Given) -> Given:
    """Give the values that another does not name."""
    left = {stage: {name: value for name, value in values.items() if name not in other.get(stage, {})}
            for stage, values in given.items()}
    return {stage: values for stage, values in left.items() if values}


def check(notebooks: Sequence[StageNotebook], given: Given, *, run: str, size: str, folder: Path,
          before: Given | None = None) -> Given:
    """Check every given value against the parameter cells, and add the run and the size where a notebook has them.

    Relative paths become absolute from `folder`, the caller's. What was given `before` (`kept`) holds where nothing
    else is given; its paths are absolute.

    Returns: for every stage the values to pass to its notebook.
    Raises: ParameterError for an unknown stage, parameter or size, or a wrong type; RecipeError for a missing recipe.
    """
    by_name = {notebook.name: notebook for notebook in notebooks}
    for stage in given:
        if stage not in by_name:
            raise ParameterError(_unknown("stage", stage, by_name))
    if size:
        settings.amounts(size)
    shared = {"run": run, **({"size": size} if size else {})}
    checked = {}
    for stage, notebook in by_name.items():
        own = {name: _typed(f"{stage}.{name}", notebook.parameters[name], value)
               for name, value in (before or {}).get(stage, {}).items()}
        own |= {name: _check_value(notebook, name, value, folder) for name, value in given.get(stage, {}).items()}
        checked[stage] = {**{name: value for name, value in shared.items() if name in notebook.parameters}, **own}
        _check_recipe(effective(notebook, checked[stage]))
    return checked


def follow(notebooks: Sequence[StageNotebook], checked: Given) -> Given:
    """Let the recipe that a stage was given be that of the later ones which were given none. Returns: as `check`."""
    followed, recipe = {}, ""
    for notebook in notebooks:
        values = checked[notebook.name]
        recipe = values.get("recipe", recipe)
        shared = {"recipe": recipe} if recipe and "recipe" in notebook.parameters else {}
        followed[notebook.name] = {**shared, **values}
    return followed


def effective(notebook: StageNotebook, passed: Mapping[str, Any]) -> dict[str, Any]:
    """Give all values a notebook runs with: its defaults under what is passed."""
    return {**{name: parameter.default for name, parameter in notebook.parameters.items()}, **passed}


def _check_value(notebook: StageNotebook, name: str, value: Any, folder: Path) -> Any:
    parameter = notebook.parameters.get(name)
    if parameter is None:
        raise ParameterError(_unknown(f"parameter of {notebook.name}", name, notebook.parameters))
    if name == "run":
        raise ParameterError(f"{notebook.name}.run is given by --run; leave it out of the parameters")
    value = _typed(f"{notebook.name}.{name}", parameter, value)
    if isinstance(value, int) and value < 0 and name.startswith(_COUNTS):
        raise ParameterError(f"{notebook.name}.{name} is {value}, must be 0 or more, like {parameter.default!r}")
    if name == "size":
        settings.amounts(value)
    if name in NEVER_PATHS:
        return value
    if isinstance(value, list):
        return [_absolute(item, folder) for item in value]
    return _absolute(value, folder) if isinstance(value, str) else value


def _typed(where: str, parameter: Parameter, value: Any) -> Any:
    match parameter.type, value:
        case "bool", bool():
            return value
        case "int", int() if not isinstance(value, bool):
            return value
        case "float", int() | float() | str() if not isinstance(value, bool):
            number = _finite(value)  # YAML 1.1 takes 1e-3, without a dot, for text
            if number is not None:
                return number
        case "str", None:
            return ""
        case "str", str():
            return value
        case "list[str]", list() if all(isinstance(item, str) for item in value):
            return value
    hint = {"str": f'; put it in quotes: "{value}"', "list[str]": f"; write [{value}]"}.get(parameter.type, "")
    raise ParameterError(f"{where} is {value!r} ({type(value).__name__}), must be {parameter.type} "
                         f"like {parameter.default!r}{hint if isinstance(value, str | int | float) else ''}")


def _finite(value: int | float | str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _absolute(text: str, folder: Path) -> str:
    """Anchor a text that names a file, or looks as if it should, at the caller's folder."""
    if not text or "://" in text:
        return text
    path, corpus = folder / os.path.expanduser(text), corpus_cards.named(text)  # noqa: PTH111  ~ may begin a sentence
    is_there = os.path.exists(path)  # noqa: PTH110  Path's own fails on a sentence too long for a name
    if corpus is not None and not is_there:
        return f"{corpus[0]}:{_absolute(corpus[1], folder)}"
    looks_like_path = ("/" in text and " " not in text) or text.endswith(PATH_SUFFIXES)
    return str(path.resolve()) if looks_like_path or is_there else text


def _check_recipe(values: Mapping[str, Any]) -> None:
    name = values.get("recipe")
    if name and not recipe_path(name).is_file():
        there = sorted(path.stem for path in recipe_path("x").parent.glob("*.py"))
        raise RecipeError(f"no recipe {name!r} in {recipe_path('x').parent}; there are: {', '.join(there) or 'none'}")


def recipe_path(name: str) -> Path:
    """Give the file of a recipe."""
    return settings.root() / "notebooks" / "recipes" / f"{name}.py"


def _unknown(kind: str, name: str, existing: Iterable[str]) -> str:
    names = list(existing)
    near = difflib.get_close_matches(name, names, n=1)
    return (f"unknown {kind} {name!r}{f', did you mean {near[0]}?' if near else ';'} "
            f"there are: {', '.join(names) or 'none'}")
