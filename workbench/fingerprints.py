"""What a stage depends on, as one hash: sources, values, files, earlier findings. Times are never part of it."""

import ast
import contextlib
import hashlib
import importlib.util
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from workbench import corpus_cards, parameters, remote, settings, storage
from workbench.notebooks import StageNotebook, imported_modules

AUDIO_SUFFIXES = frozenset((".wav", ".flac", ".ogg", ".mp3", ".m4a", ".webm", ".opus", ".aac", ".mp4"))
MANIFEST_SUFFIXES = frozenset((".csv", ".tsv", ".jsonl", ".json", ".parquet"))
PACKED_SUFFIXES = frozenset((".gz", ".arrow", ".zip"))
AUDIO_COLUMNS = ("audio_path", "audio_filepath")
LABELLING = "labelling.py"
MARKS_READ = {"workbench.corrections": "reference", "workbench.causes": "cause", "workbench.labelling": "label"}
"""Modules that a notebook imports itself, and the marks of people that it then depends on."""
# Hashing 64 MB takes a tenth of a second; a larger file (a checkpoint) is known by its size and time of change.
MAX_HASHED_BYTES = 64 * 2**20
_LANGUAGE = re.compile(r"[a-z]{2}-[A-Z]{2}")
_AUDIO_NAME = re.compile(rf"[^\"',;\t\r\n]+(?:{'|'.join(map(re.escape, sorted(AUDIO_SUFFIXES)))})\b", re.IGNORECASE)


def fingerprint(notebook: StageNotebook, passed: Mapping[str, Any], run: str) -> str:
    """Hash everything that what a stage finds can depend on. Returns: 64 hex digits."""
    values = parameters.effective(notebook, passed)
    recipes = [parameters.recipe_path(values["recipe"])] if values.get("recipe") else []
    noises = [text for path in recipes for text in _constants(path) if corpus_cards.named(text)]
    modules = set(notebook.modules).union(*(modules_of_file(path) for path in recipes))
    sources = {path.name: storage.hash_file(path) for path in source_files(modules)}
    return storage.hash_value({
        "notebook": [[cell.kind, cell.source] for cell in notebook.cells],
        "parameters": values,
        "recipe": [storage.hash_file(path) for path in recipes],
        "modules": sources,
        "upstream": {stage: _findings(run, stage, files) for stage, files in notebook.inputs.items()
                     if stage != notebook.name},
        "files": [_file_state(path) for path in _named_files([*_texts(values), *noises])],
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


def _named_files(texts: Iterable[str]) -> list[Path]:
    plain = ((corpus_cards.named(text) or ("", text))[1] for text in texts)
    named = (Path(text) for text in plain if ("/" in text or "." in text) and not remote.is_url(text))
    paths = (settings.root() / path for path in named)
    # A language stands behind its release, which may be an archive: MInDS-14.zip/en-US.
    paths = (path.parent if _LANGUAGE.fullmatch(path.name) and not path.exists() else path for path in paths)
    return [path for path in paths if path.exists() and not settings.root().is_relative_to(path)]


def _file_state(path: Path) -> Any:
    """Describe a file by its content, a manifest also by the audio it lists, a folder by all the speech in it."""
    if path.is_dir():
        kinds = AUDIO_SUFFIXES | MANIFEST_SUFFIXES | PACKED_SUFFIXES | {".txt"}
        return [str(path), [_state(file, path) for file in sorted(path.rglob("*")) if file.suffix.lower() in kinds]]
    stat = path.stat()
    content = storage.hash_file(path) if stat.st_size <= MAX_HASHED_BYTES else f"{stat.st_size} {stat.st_mtime_ns}"
    audio = _listed_audio(path) if path.suffix.lower() in MANIFEST_SUFFIXES else ()
    return [str(path), content, _states_hash(path.parent, audio)]


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
    if manifest.suffix.lower() != ".parquet":
        with manifest.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                yield from _AUDIO_NAME.findall(line)
        return
    import pyarrow.parquet

    with contextlib.suppress(OSError, ValueError):
        file = pyarrow.parquet.ParquetFile(manifest)
        for column in set(AUDIO_COLUMNS) & set(file.schema_arrow.names):
            for batch in file.iter_batches(columns=[column]):
                yield from map(str, batch[column].to_pylist())


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
