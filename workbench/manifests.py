"""Reading what a corpus says about itself: CSV, JSONL and Parquet manifests, and folders of audio with text beside it.

Tables come out with our column names and absolute paths, and with the reason for each row that cannot be used. No
audio is opened here.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import soundfile

from workbench import text
from workbench.datasets import SPLITS, UNKNOWN_SPEAKER
from workbench.errors import ManifestError

NAMES = {"audio_filepath": "audio_path", "duration": "duration_s"}  # NeMo's
SPLIT_NAMES = {"training": "train", "validation": "valid", "val": "valid", "development": "dev"}
OURS = ("line", "audio_root", "source", "reference", "audio_sha", "level_dbfs", "flags", "samples")
WORDS = ("utterance_id", "audio_path", "text", "speaker", "split")  # never numbers, whatever they look like
AUDIO_SUFFIXES = {f".{name.lower()}" for name in soundfile.available_formats()} | {
    ".aif", ".m4a", ".mp4", ".aac", ".webm", ".opus", ".oga", ".wma", ".amr", ".3gp", ".mka"}


def read(source: str, *, base_folder: Path, audio_root: Path | None = None) -> pd.DataFrame:
    """Read a manifest, or list a folder's recordings; relative sources start at `base_folder`.

    Audio lies under `audio_root`, or else under the manifest's own folder, and relative paths start there.
    Returns: the manifest's columns under our names, with source, line, audio_root, and absolute audio paths.
    Raises: ManifestError when there is no such source, it cannot be read, or lacks a column.
    """
    path = (base_folder / Path(source).expanduser()).resolve()
    if path.is_dir():
        table, root = _folder(path), audio_root or path
    elif path.is_file():
        table, root = _manifest(path), audio_root or path.parent
    else:
        raise ManifestError(f"no manifest or folder at {path}; give demo, a manifest (csv, jsonl, parquet) or a folder")
    missing = [name for name in ("audio_path", "text") if name not in table]
    if missing:
        wanted = " and ".join("audio_path (or audio_filepath)" if m == "audio_path" else m for m in missing)
        raise ManifestError(f"{path} has no column {wanted}; it has {', '.join(map(str, table.columns))}: "
                            "rename or add the column")
    if table.empty:
        raise ManifestError(f"{path} lists no recordings; add rows, or take it out of the sources")
    return _named(table, root.resolve(), path.parent.name if path.stem == "manifest" else path.stem)


def _manifest(path: Path) -> pd.DataFrame:
    readers: dict[str, Callable[[Path], pd.DataFrame]] = {
        ".csv": _csv, ".tsv": _csv, ".jsonl": _jsonl, ".json": _jsonl, ".parquet": _parquet}
    if path.suffix.lower() not in readers:
        raise ManifestError(f"{path} is no manifest that can be read; give a .csv, .jsonl or .parquet file")
    try:
        table = readers[path.suffix.lower()](path)
    except (ValueError, OSError) as error:  # what pandas, pyarrow and json raise for broken files derives from these
        raise ManifestError(f"{path} cannot be read as {path.suffix[1:]} ({str(error).splitlines()[0]}); "
                            "export it again, in UTF-8") from error
    table = table.rename(columns=lambda name: str(name).strip())
    return table.rename(columns={old: new for old, new in NAMES.items() if new not in table})


def _csv(path: Path) -> pd.DataFrame:
    """Read words as words: "null" and "nan" can be queries."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig",
                        sep="\t" if path.suffix.lower() == ".tsv" else ",")
    return table.assign(line=range(2, len(table) + 2))


def _jsonl(path: Path) -> pd.DataFrame:
    rows = []
    for line, content in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        if content.strip():
            rows.append(_json_row(content, line))
    return pd.DataFrame(rows)


def _json_row(content: str, line: int) -> dict[str, Any]:
    try:
        row = json.loads(content)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {line}: {error}") from error
    if not isinstance(row, dict):
        raise ValueError(f"line {line} is not an object")
    return {**row, "line": line}


def _parquet(path: Path) -> pd.DataFrame:
    table = pd.read_parquet(path)
    return table.assign(line=range(1, len(table) + 1))


def _folder(path: Path) -> pd.DataFrame:
    """List recordings with the text file of the same name; several subfolders are taken for speakers."""
    files = sorted(p for p in path.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES and not p.name.startswith("."))
    tops = [p.relative_to(path).parts[0] if p.parent != path else "" for p in files]
    speakers = tops if len(set(tops)) > 1 else [""] * len(files)
    beside = [p.with_suffix(".txt") for p in files]
    said = [b.read_text(encoding="utf-8-sig", errors="replace").strip() if b.is_file() else "" for b in beside]
    return pd.DataFrame({"audio_path": [str(p) for p in files], "text": said, "speaker": speakers,
                         "line": range(1, len(files) + 1)})


def _named(table: pd.DataFrame, root: Path, source: str) -> pd.DataFrame:
    """Bring a table into our terms: words as words, numbers as numbers, absolute paths, ids, speakers, splits."""
    table = table.drop(columns=[name for name in OURS if name in table and name != "line"])
    table = table.assign(**{name: _as_words(table[name]) for name in WORDS if name in table})
    paths = [str((root / name).resolve()) if name else "" for name in table["audio_path"]]
    if "utterance_id" not in table:
        table = table.assign(utterance_id=_ids(paths, root))
    speakers = table["speaker"] if "speaker" in table else pd.Series("", index=table.index)
    table = table.assign(audio_path=paths, audio_root=str(root), source=source,
                         speaker=speakers.mask(speakers == "", UNKNOWN_SPEAKER))
    if "split" in table:
        splits = table["split"].str.lower().replace(SPLIT_NAMES)
        table = table.assign(split=splits.where(splits != "", None))
    rest = [str(name) for name in table if name not in (*WORDS, *OURS, "duration_s", "offset")]
    return table.assign(**{name: _as_numbers(table[name]) for name in rest})


def _as_words(column: pd.Series) -> pd.Series:
    return column.map(lambda value: "" if value is None or value != value else str(value).strip()).astype(object)


def _as_numbers(column: pd.Series) -> pd.Series:
    """Take a column for numbers when all that is in it are numbers."""
    if pd.api.types.is_numeric_dtype(column):
        return column
    words = _as_words(column)
    numbers = pd.to_numeric(words.where(words != "", None), errors="coerce")
    is_number = bool((numbers.notna() | (words == "")).all() and numbers.notna().any())
    return numbers if is_number else words.where(words != "", None)


def _ids(paths: list[str], root: Path) -> list[str]:
    """Name utterances after their files; a file that is listed again gets a number."""
    seen: dict[str, int] = {}
    ids = []
    for path in paths:
        stem = Path(path).relative_to(root).with_suffix("").as_posix() if Path(path).is_relative_to(root) else path
        seen[stem] = seen.get(stem, 0) + 1
        ids.append(stem if seen[stem] == 1 else f"{stem}#{seen[stem]}")
    return ids


# --- what each row must be -------------------------------------------------------------------------------------------


def reasons(table: pd.DataFrame) -> pd.Series:
    """Say for each row that cannot be used why, by all that is wrong with it. Returns: reasons by the table's index."""
    import pandera.pandas as pa  # takes as long to import as all the rest, and only a collection needs it

    def each(is_right: Callable[[Any], bool], wrong: str) -> pa.Column:
        return pa.Column(object, pa.Check(is_right, element_wise=True, error=wrong), nullable=True, required=False)

    root = Path(table["audio_root"].iloc[0])
    ids = table["utterance_id"]
    checks = table.assign(repeated=ids.duplicated(), placed=table["audio_path"], split=table.get("split"))
    schema = pa.DataFrameSchema({
        "utterance_id": each(bool, "utterance_id is empty; give it an id of its own"),
        "repeated": each(lambda is_repeated: not is_repeated, "utterance_id is a duplicate; make it unique"),
        "text": each(lambda said: bool(text.normalize(said)), "text is empty; write down what is said"),
        "placed": each(lambda p: not p or Path(p).is_relative_to(root),
                       f"audio is outside {root}; move it there or give its folder with --root"),
        "audio_path": each(lambda p: bool(p) and (not Path(p).is_relative_to(root) or Path(p).is_file()),
                           "audio file is absent; correct its path"),
        "duration_s": each(_is_duration, "duration is not a number above 0; correct it or leave it empty"),
        "offset": each(_is_whole, "it is a piece of a longer recording (offset); cut the audio into queries"),
        "split": each(lambda s: s in SPLITS, f"split is not one of {', '.join(SPLITS)}; correct it"),
    })
    try:
        schema.validate(checks.astype({name: object for name in schema.columns if name in checks}), lazy=True)
    except pa.errors.SchemaErrors as found:
        failures = found.failure_cases.sort_index()
        return failures.groupby("index")["check"].agg(lambda names: ", ".join(dict.fromkeys(names)))
    return pd.Series(dtype=object)


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _is_blank(value: Any) -> bool:
    return value is None or value != value or value == ""


def _is_duration(value: Any) -> bool:
    number = _number(value)
    return _is_blank(value) or (number is not None and 0 < number < float("inf"))


def _is_whole(value: Any) -> bool:
    return _is_blank(value) or _number(value) == 0
