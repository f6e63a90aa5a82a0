"""What a stage depends on, as one hash: sources, values, files, earlier findings. Times are never part of it."""

import ast
import contextlib
import csv
import hashlib
import importlib.util
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from workbench import corpus_cards, model_registry, parameters, remote, settings, shared_runs, storage
from workbench.corpus_cards import AUDIO_SUFFIXES
from workbench.notebooks import StageNotebook, imported_modules

MANIFEST_SUFFIXES = frozenset((".csv", ".tsv", ".jsonl", ".json", ".parquet"))
PACKED_SUFFIXES = frozenset((".gz", ".arrow", ".zip"))
AUDIO_COLUMNS = ("audio_path", "audio_filepath")
SOURCES = ("sources", "audio_root")
"""Parameters in which any word can be a folder; in others `data` is a word, though the project has a folder of it."""
BASES = ("base", "pilot")
"""Parameters that may name a colleague's run, which the stage brings here."""
DEMO = "demo"
"""As a base and as a source it is the demo world, whatever a run is called."""
MODELS_OF_RUN = ("model.pt", "[0-9][0-9]_improve/listened.parquet")
"""What stages read of another run: its model, and as a pilot the answers of improve's arms."""
LABELLING = "labelling.py"
MARKS_READ = {"workbench.corrections": "reference", "workbench.causes": "cause", "workbench.labelling": "label"}
"""Modules that a notebook imports itself, and the marks of people that it then depends on."""
# Hashing 64 MB takes a tenth of a second; a larger file (a checkpoint) is known by its size and time of change.
MAX_HASHED_BYTES = 64 * 2**20
_LANGUAGE = re.compile(r"[a-z]{2}-[A-Z]{2}")


def fingerprint(notebook: StageNotebook, passed: Mapping[str, Any], run: str) -> str:
    """Hash everything that what a stage finds can depend on. Returns: 64 hex digits."""
    values = parameters.effective(notebook, passed)
    recipes = [parameters.recipe_path(values["recipe"])] if values.get("recipe") else []
    constants = [text for path in recipes for text in _constants(path)]
    modules = set(notebook.modules).union(*(modules_of_file(path) for path in recipes))
    sources = {path.name: storage.hash_file(path) for path in source_files(modules)}
    return storage.hash_value({
        "notebook": [[cell.kind, cell.source] for cell in notebook.cells],
        "parameters": values,
        "recipe": [storage.hash_file(path) for path in recipes],
        "modules": sources,
        "upstream": {stage: _findings(run, stage, files) for stage, files in notebook.inputs.items()
                     if stage != notebook.name},
        "files": [_file_state(path) for path in _named_files(_places(values, constants))],
        "models": _models(values, constants, run),
        "addresses": remote.states(text for text in _texts(values)
                                   if remote.is_url(text) and text.lower().endswith(tuple(MANIFEST_SUFFIXES)))
                     | {text: storage.hash_value(remote.files_below(text)) for text in _far_folders(values)},
        "answers": _answers(run) if notebook.brings_data else [],
        "marks": {kind: _marks(kind) for module, kind in MARKS_READ.items() if module in notebook.modules},
        "labels": _labels(run) if LABELLING in sources else "",
    })


def _findings(run: str, stage: str, files: Iterable[str]) -> Any:
    """Give what a stage left, as far as it is read: the hashes of the named files, or all with what it decided."""
    record = storage.read_record(run, stage)
    if record is None:
        return None
    return ({name: record.content["outputs"].get(name) for name in files}
            or {key: record.content.get(key) for key in ("outputs", "decision", "versions")})


def _labels(run: str) -> str:
    """Hash what `workbench label import` noted of the labels that it brought."""
    path = storage.data_folder() / "labels" / run / "brought.json"
    return storage.hash_file(path) if path.is_file() else ""


# --- sources ---------------------------------------------------------------------------------------------------------


def source_files(modules: Iterable[str]) -> list[Path]:
    """Find the files of `workbench` modules and of all they import from it, in order of path."""
    found, waiting = set[Path](), files_of(modules)
    while waiting:
        found |= waiting
        waiting = set[Path]().union(*(files_of(modules_of_file(path)) for path in waiting)) - found
    return sorted(found)


def files_of(modules: Iterable[str]) -> set[Path]:
    """Find the files of `workbench` modules themselves; a name that is no module has none."""
    return {path for path in map(_module_file, modules) if path is not None}


@cache
def modules_of_file(path: Path) -> frozenset[str]:
    """Name what a Python file imports from `workbench`; a file that is no Python imports nothing."""
    return frozenset(name for node in ast.walk(tree(path)) for name in imported_modules(node))


@cache
def tree(path: Path) -> ast.Module:
    """Parse a Python file; one that is no Python is empty: the kernel will say so, with the line."""
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    except SyntaxError:
        return ast.Module([], [])


def _module_file(name: str) -> Path | None:
    spec = importlib.util.find_spec("workbench")
    assert spec is not None and spec.origin is not None
    base = Path(spec.origin).parent.joinpath(*name.split(".")[1:])
    candidates = (base.with_suffix(".py"), base / "__init__.py")
    return next((path for path in candidates if path.is_file()), None)


# --- files that parameters name --------------------------------------------------------------------------------------


def _texts(values: Mapping[str, Any]) -> list[str]:
    texts = [text for value in values.values() for text in (value if isinstance(value, list) else [value])]
    return [text for text in texts if isinstance(text, str)]


def _far_folders(values: Mapping[str, Any]) -> list[str]:
    """Name the sources that are folders by address; the audio of a manifest there is not looked at before the stage."""
    named = (text for value in values.values() if isinstance(value, list) for text in value if isinstance(text, str))
    return [text for text in named if remote.is_url(text) and remote.is_folder(text)
            and not text.startswith(tuple(f"{scheme}://" for scheme in remote.UNLISTED))]


def _constants(recipe: Path) -> list[str]:
    """Give the words that a recipe holds: `musan:/data/musan` names recordings that a fit hears."""
    return [node.value for node in ast.walk(tree(recipe))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def _places(values: Mapping[str, Any], constants: Iterable[str]) -> list[str]:
    """Give the words that can be files or folders: sources, what a corpus is read from, what looks like a path."""
    sources = [text for text in _texts({name: values[name] for name in SOURCES if name in values}) if text != DEMO]
    corpora = [found[1] for text in (*_texts(values), *constants) if (found := corpus_cards.named(text))]
    paths = [text for text in _texts(values) if "/" in text or "." in text]
    return [text for text in dict.fromkeys([*sources, *corpora, *paths]) if not remote.is_url(text)]


def _named_files(places: Iterable[str]) -> list[Path]:
    paths = (settings.root() / os.path.expanduser(place) for place in places)  # noqa: PTH111  ~ may begin a sentence
    # A language stands behind its release, which may be an archive: MInDS-14.zip/en-US.
    paths = (path.parent if _LANGUAGE.fullmatch(path.name) and not _is_there(path) else path for path in paths)
    return [path for path in paths if _is_there(path) and not settings.root().is_relative_to(path)]


def _is_there(path: Path) -> bool:
    return os.path.exists(path)  # noqa: PTH110  Path's own fails on a sentence too long for a name


def _file_state(path: Path) -> Any:
    """Describe a file by its content, a manifest also by the audio it lists, a folder by all the speech in it."""
    if path.is_dir():
        kinds = {*AUDIO_SUFFIXES, *MANIFEST_SUFFIXES, *PACKED_SUFFIXES, ".txt"}
        files = sorted(path / name for name in remote.files_here(str(path)))
        return [str(path), [_state(file, path) for file in files if file.suffix.lower() in kinds]]
    audio = _listed_audio(path) if path.suffix.lower() in MANIFEST_SUFFIXES else ()
    return [str(path), _content(path), _states_hash(path.parent, audio)]


def _content(path: Path) -> str:
    stat = path.stat()
    return storage.hash_file(path) if stat.st_size <= MAX_HASHED_BYTES else f"{stat.st_size} {stat.st_mtime_ns}"


def _states_hash(folder: Path, names: Iterable[str]) -> str:
    """Hash the sizes and times of files one by one: a manifest may list a million."""
    digest = hashlib.sha256()
    for name in names:
        try:
            found = os.stat(f"{folder}/{name}" if name[:1] != "/" else name)  # noqa: PTH116  a third of a Path's time
            digest.update(f"{name} {found.st_size} {found.st_mtime_ns}\n".encode())
        except (OSError, ValueError):  # absent is a state too: the stage will say so
            digest.update(f"{name}\n".encode())
    return digest.hexdigest()


def _state(file: Path, folder: Path) -> list[Any]:
    try:
        stat = file.stat()
    except OSError:
        return [str(file)]  # absent is a state too: the stage will say so
    return [str(file.relative_to(folder) if file.is_relative_to(folder) else file), stat.st_size, stat.st_mtime_ns]


def _listed_audio(manifest: Path) -> Iterator[str]:
    """Name the audio files that a manifest mentions, without judging its rows: that is collect's part."""
    tables = {".parquet": _parquet_audio, ".csv": _csv_audio, ".tsv": _csv_audio}
    with contextlib.suppress(OSError, ValueError, csv.Error):
        for name in tables.get(manifest.suffix.lower(), _json_audio)(manifest):
            yield name.strip().removeprefix("file://")


def _parquet_audio(manifest: Path) -> Iterator[str]:
    import pyarrow.parquet

    file = pyarrow.parquet.ParquetFile(manifest)
    for column in set(AUDIO_COLUMNS) & set(file.schema_arrow.names):
        for batch in file.iter_batches(columns=[column]):
            yield from map(str, batch[column].to_pylist())


def _csv_audio(manifest: Path) -> Iterator[str]:
    with manifest.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
        rows = csv.reader(lines, delimiter="\t" if manifest.suffix.lower() == ".tsv" else ",")
        columns = [number for number, name in enumerate(next(rows, [])) if name.strip() in AUDIO_COLUMNS]
        for row in rows:
            yield from (row[number] for number in columns if number < len(row))


def _json_audio(manifest: Path) -> Iterator[str]:
    with manifest.open(encoding="utf-8-sig", errors="replace") as lines:
        try:
            for line in filter(str.strip, lines):
                yield from _mentioned(json.loads(line))
        except ValueError:  # not a row a line, but one value over many, as lhotse writes .json
            lines.seek(0)
            yield from _mentioned(json.load(lines))


def _mentioned(value: Any, name: str = "") -> Iterator[str]:
    """Give what a JSON value calls audio, at whatever depth: a cut of lhotse's holds its recording's file."""
    if isinstance(value, str) and (name in AUDIO_COLUMNS or value.lower().endswith(AUDIO_SUFFIXES)):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _mentioned(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from _mentioned(inner)


# --- models that parameters and recipes name -------------------------------------------------------------------------


def _models(values: Mapping[str, Any], constants: Iterable[str], run: str) -> dict[str, Any]:
    """Describe other runs, and the released models behind names such as champion, that a stage may begin from."""
    own = {name: text for name, text in values.items() if isinstance(text, str) and name not in parameters.NEVER_PATHS}
    named = {*own.values(), *constants} - {run, DEMO}
    for name in named & {own.get(parameter, "") for parameter in BASES}:
        shared_runs.bring(name, has_model=name == own.get("base"))  # a colleague's, which may have gone on
    folders = {path.name: path for path in storage.run_folder("x").parent.glob("*/")}
    found = {name: [[path.name, _content(path)] for pattern in MODELS_OF_RUN for path in folders[name].glob(pattern)]
             for name in named & {*folders}}
    aliases = named & {*model_registry.ALIASES}
    return {**found, **{name: model_registry.alias_state()[name] for name in aliases - {*found}}}


def bases(notebooks: Iterable[StageNotebook], passed: parameters.Given, run: str, *, is_forced: bool) -> list[str]:
    """Name the models that those stages begin from which are to run: forced, not finished, or changed since."""
    found = []
    for notebook, given in ((notebook, passed[notebook.name]) for notebook in notebooks):
        record, values = storage.read_record(run, notebook.name), parameters.effective(notebook, given)
        name = values.get("base", DEMO) or _base_of_recipe(values.get("recipe", ""))
        if name not in ("", DEMO) and (is_forced or not record
                                       or record.content["fingerprint"] != fingerprint(notebook, given, run)):
            found.append(name)
    return found


def _base_of_recipe(name: str) -> str:
    nodes = tree(parameters.recipe_path(name)).body if name else []
    calls = [node.value for node in nodes if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)]
    told = {word.arg: word.value for call in calls for word in call.keywords}
    base = told.get("base")  # with `few_speakers` the number of voices decides which it is
    return str(base.value) if isinstance(base, ast.Constant) and "few_speakers" not in told else ""


# --- what people said ------------------------------------------------------------------------------------------------


def _answers(run: str) -> list[list[str]]:
    """Describe what people asked the run's improve for, and what they brought for any of its requests."""
    files = sorted((storage.data_folder() / "requests" / run).glob("*.json"))
    brought = [path for path in files if path.name.endswith(".fulfilled.json")]
    asked = [path for path in files if not path.name.endswith((".fulfilled.json", ".answered.json"))]
    return [[path.name, storage.hash_file(path)] for path in (*brought, *filter(_is_asked_by_person, asked))]


def _is_asked_by_person(request: Path) -> bool:
    return bool(json.loads(request.read_text(encoding="utf-8")).get("by"))


def _marks(kind: str) -> str:
    """Hash the last word on each recording, and whose it is; without a database there is none, and nothing loads."""
    if not (settings.Settings().query_log_url or (storage.data_folder() / "queries.db").is_file()):
        return ""
    from workbench.marks import Marks

    with contextlib.closing(Marks()) as marks:
        last = {str(row["audio_sha"]): [row[name] for name in ("value", "by", "drawn")] for row in marks.rows(kind)}
    return storage.hash_value(last) if last else ""
