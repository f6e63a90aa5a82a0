"""Reading what a corpus says about itself: CSV, JSONL and Parquet manifests, and folders of audio with text beside it.

Tables come out with our column names and absolute paths or addresses, and with the reason for each row that cannot be
used. No audio is opened here.
"""

import io
import itertools
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO

import pandas as pd

from workbench import placing, remote, text
from workbench.corpus_cards import AUDIO_SUFFIXES
from workbench.datasets import SPLITS, UNKNOWN_SPEAKER
from workbench.errors import ManifestError

NAMES = {"audio_filepath": "audio_path", "duration": "duration_s"}  # NeMo's
SPLIT_NAMES = {"training": "train", "validation": "valid", "val": "valid", "development": "dev"}
OURS = ("line", "audio_root", "file_state", "source", "reference", "audio_sha", "level_dbfs", "flags", "samples")
ROWS_AT_A_TIME = 50_000
SUFFIX = re.compile(r"(?<=[^/])\.[^/.]+$")  # what `PurePath.with_suffix("")` takes away
ABSENT = "no manifest or folder at {}; give demo, a manifest (csv, jsonl, parquet) or a folder"
WORDS = ("utterance_id", "audio_path", "text", "speaker", "split")  # never numbers, whatever they look like


def read(source: str, *, base_folder: Path, audio_root: str | Path | None = None) -> pd.DataFrame:
    """Read a manifest, or list a folder's recordings; relative sources start at `base_folder`.

    Audio lies under `audio_root`, or else under the manifest's own folder or address, and relative paths start there.
    Returns: the manifest's columns under our names, with source, line, audio_root, reference, absolute audio paths, and
    file_state ("" for what is no file).
    Raises: ManifestError when there is no such source, it cannot be read, or lacks a column; SettingsError when a store
    does not answer.
    """
    is_far = remote.is_url(source)
    place = source.rstrip("/") if is_far else str((base_folder / Path(source).expanduser()).resolve())
    folder, _, file = place.rpartition("/")
    if remote.is_folder(source) if is_far else Path(place).is_dir():
        table, folder = _folder(place), place
    else:
        table = _manifest(place)
    missing = [name for name in ("audio_path", "text") if name not in table]
    if missing:
        wanted = " and ".join("audio_path (or audio_filepath)" if m == "audio_path" else m for m in missing)
        raise ManifestError(f"{place} has no column {wanted}; it has "
                            f"{', '.join(str(name) for name in table if name != 'line')}: rename or add the column")
    if table.empty:
        raise ManifestError(f"{place} lists no recordings; add rows, or take it out of the sources")
    stem, home = PurePosixPath(file).stem, place.rpartition("/")[0].rpartition("/")[2]
    return _named(table, placing.root_of(str(audio_root or folder or "/")), home if stem == "manifest" else stem)


def _manifest(place: str) -> pd.DataFrame:
    readers: dict[str, Callable[[BinaryIO], pd.DataFrame]] = {
        ".csv": lambda file: _csv(file, ","), ".tsv": lambda file: _csv(file, "\t"), ".jsonl": _jsonl, ".json": _jsonl,
        ".parquet": _parquet}
    suffix = PurePosixPath(place).suffix
    try:
        with _opened(place) as file:
            if suffix.lower() not in readers:
                raise ManifestError(f"{place} is no manifest that can be read; give a .csv, .jsonl or .parquet file, "
                                    "or the address of a folder with / at its end")
            table = readers[suffix.lower()](file)
    except FileNotFoundError as error:
        raise ManifestError(ABSENT.format(place)) from error
    except (ValueError, OSError) as error:  # what pandas, pyarrow and json raise for broken files derives from these
        raise ManifestError(f"{place} cannot be read as {suffix[1:]} ({str(error).splitlines()[0]}); "
                            "export it again, in UTF-8") from error
    table = table.rename(columns=lambda name: str(name).strip())
    return table.rename(columns={old: new for old, new in NAMES.items() if new not in table})


def _opened(place: str) -> BinaryIO:
    return io.BytesIO(remote.read_bytes(place)) if remote.is_url(place) else Path(place).open("rb")


def _csv(file: BinaryIO, separator: str) -> pd.DataFrame:
    """Read words as words: "null" and "nan" can be queries."""
    table = pd.read_csv(file, dtype=str, keep_default_na=False, encoding="utf-8-sig", sep=separator)
    return table.assign(line=range(2, len(table) + 2))


def _jsonl(file: BinaryIO) -> pd.DataFrame:
    """Read a row a line, some at a time: as a table they take a tenth of what they do as Python's objects."""
    rows = _json_rows(io.TextIOWrapper(file, encoding="utf-8-sig"))
    parts = [pd.DataFrame(part) for part in iter(lambda: list(itertools.islice(rows, ROWS_AT_A_TIME)), [])]
    return pd.concat(parts, ignore_index=True).infer_objects() if parts else pd.DataFrame()


def _json_rows(lines: IO[str]) -> Iterator[dict[str, Any]]:
    return (_json_row(content, line) for line, content in enumerate(lines, start=1) if content.strip())


def _json_row(content: str, line: int) -> dict[str, Any]:
    try:
        row = json.loads(content)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {line}: {error}") from error
    if not isinstance(row, dict):
        raise ValueError(f"line {line} is not an object")
    # As words at once: of 17 digits a column of floats would keep 16.
    ids = {name: str(row[name]) for name in WORDS if isinstance(row.get(name), int)}
    return {**row, **ids, "line": line}


def _parquet(file: BinaryIO) -> pd.DataFrame:
    table = pd.read_parquet(file)
    return table.assign(line=range(1, len(table) + 1))


def _folder(place: str) -> pd.DataFrame:
    """List recordings with the text file of the same name; several subfolders are taken for speakers."""
    there = {*(remote.files_below(place) if remote.is_url(place) else _files_below(place))}
    if not there and remote.is_url(place):
        raise ManifestError(ABSENT.format(place))
    seen = (path for path in map(PurePosixPath, there) if not path.name.startswith("."))
    files = sorted(path for path in seen if path.suffix.lower() in AUDIO_SUFFIXES)
    tops = [p.parts[0] if len(p.parts) > 1 else "" for p in files]
    speakers = tops if len(set(tops)) > 1 else [""] * len(files)
    beside = [str(p.with_suffix(".txt")) for p in files]
    said = _texts(place, sorted({*beside} & there))
    return pd.DataFrame({"audio_path": [f"{place}/{p}" for p in files], "text": [said.get(b, "") for b in beside],
                         "speaker": speakers, "line": range(1, len(files) + 1)})


def _files_below(place: str) -> list[str]:
    """List the files of a folder; a link that leads nowhere is none."""
    start = len(place.rstrip("/")) + 1
    return [path[start:] for folder, _, names in os.walk(place) for path in (f"{folder}/{name}" for name in names)
            if os.path.exists(path)]  # noqa: PTH110  a third of a Path's time


def _texts(place: str, names: Sequence[str]) -> dict[str, str]:
    contents = remote.read_all([f"{place}/{name}" for name in names])
    return {name: io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig", errors="replace").read().strip()
            for name, content in zip(names, contents, strict=True)}


def _named(table: pd.DataFrame, root: str, source: str) -> pd.DataFrame:
    """Bring a table into our terms: words as words, numbers as numbers, absolute paths, ids, speakers, splits."""
    table = table.drop(columns=[name for name in OURS if name in table and name != "line"])
    table = table.assign(**{name: _as_words(table[name]) for name in WORDS if name in table})
    found = placing.placed(table["audio_path"].tolist(), root).set_index(table.index)
    if "utterance_id" not in table:
        table = table.assign(utterance_id=_ids(found["audio_path"], root))
    speakers = table["speaker"] if "speaker" in table else pd.Series("", index=table.index)
    table = table.assign(**found, audio_root=root, source=source, reference=normalized(table["text"]),
                         speaker=speakers.mask(speakers == "", UNKNOWN_SPEAKER))
    if "split" in table:
        splits = table["split"].str.lower().replace(SPLIT_NAMES)
        table = table.assign(split=splits.where(splits != "", None))
    rest = [str(name) for name in table if name not in (*WORDS, *OURS, "duration_s", "offset")]
    return table.assign(**{name: _as_numbers(table[name]) for name in rest})


def normalized(said: pd.Series) -> pd.Series:
    """Write texts as they are compared, each different one once."""
    codes, distinct = pd.factorize(said)
    return pd.Series([text.normalize(words) for words in distinct], dtype="str").take(codes).set_axis(said.index)


def _as_words(column: pd.Series) -> pd.Series:
    if isinstance(column.dtype, pd.StringDtype):
        return column.str.strip().fillna("")
    words = column.map(_as_word)
    return words.astype("str").fillna("")


def _as_word(value: Any) -> str:
    """Write a value as a word: a number is the same one in a column with gaps, which pandas makes one of floats."""
    if value is None or value is pd.NA or value != value:
        return ""
    return str(int(value) if isinstance(value, float) and value.is_integer() else value).strip()


def _as_numbers(column: pd.Series) -> pd.Series:
    """Take a column for numbers when all that is in it are numbers."""
    if pd.api.types.is_numeric_dtype(column):
        return column
    words = _as_words(column)
    distinct = pd.Series(words.unique(), dtype="str")
    as_numbers = pd.to_numeric(distinct.where(distinct != "", None), errors="coerce")
    if not bool((as_numbers.notna() | (distinct == "")).all() and as_numbers.notna().any()):
        return words.where(words != "", None)
    return words.map(dict(zip(distinct, as_numbers, strict=True))).astype(as_numbers.dtype)


def _ids(paths: pd.Series, root: str) -> pd.Series:
    """Name utterances after their files; a file that is listed again gets a number."""
    prefix = root.rstrip("/") + "/"
    names = [SUFFIX.sub("", path.removeprefix(prefix)) if path.startswith(prefix) else path for path in paths]
    stems = pd.Series(names, index=paths.index, dtype="str")
    number = stems.groupby(stems).cumcount() + 1
    return stems.where(number == 1, stems + "#" + number.astype("str"))


# --- what each row must be -------------------------------------------------------------------------------------------


def reasons(table: pd.DataFrame) -> pd.Series:
    """Say for each row that cannot be used why, by all that is wrong with it. Returns: reasons by the table's index."""
    import pandera.pandas as pa  # takes as long to import as all the rest, and only a collection needs it

    def column(is_right: Callable[[pd.Series], pd.Series], wrong: str) -> pa.Column:
        return pa.Column(None, pa.Check(is_right, error=wrong), nullable=True, required=False)

    root, paths = table["audio_root"].iloc[0], table["audio_path"]
    is_below = placing.is_below(paths, root)
    checks = table.reindex(columns=["utterance_id", "reference", "duration_s", "offset", "split"]).assign(
        is_repeated=table["utterance_id"].duplicated(), is_elsewhere=paths.ne("") & ~is_below,
        is_absent=paths.eq("") | (is_below & table["file_state"].eq("")))
    schema = pa.DataFrameSchema({
        "utterance_id": column(lambda ids: ids.ne(""), "utterance_id is empty; give it an id of its own"),
        "is_repeated": column(lambda found: ~found, "utterance_id is a duplicate; make it unique"),
        "reference": column(lambda words: words.ne(""), "text is empty; write down what is said"),
        "is_elsewhere": column(lambda found: ~found,
                               f"audio is outside {root}; move it there or give its folder with --root (in a run as "
                               "collect.audio_root)"),
        "is_absent": column(lambda found: ~found, "audio file is absent; correct its path"),
        "duration_s": column(_are_durations, "duration is not a number above 0; correct it or leave it empty"),
        "offset": column(_are_whole, "it is a piece of a longer recording (offset); cut the audio into queries"),
        "split": column(lambda names: names.isin(SPLITS), f"split is not one of {', '.join(SPLITS)}; correct it"),
    })
    try:
        schema.validate(checks, lazy=True)
    except pa.errors.SchemaErrors as found:
        return _joined(found.failure_cases.sort_index()[["index", "check"]].drop_duplicates())
    return pd.Series(dtype=object)


def _joined(failures: pd.DataFrame) -> pd.Series:
    """Write the reasons of each row in one."""
    checks = failures.set_index("index")["check"]
    has_several = checks.index.duplicated(keep=False)
    several = checks[has_several].groupby(level=0).agg(", ".join)
    return pd.concat([checks[~has_several], several]).sort_index()


def numbers(column: pd.Series) -> pd.Series:
    """Read numbers as Python does; what is none is missing."""
    return column if pd.api.types.is_numeric_dtype(column) else column.map(_number).astype(float)


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _are_blank(column: pd.Series) -> pd.Series:
    return column.isna() | column.eq("")


def _are_durations(column: pd.Series) -> pd.Series:
    told = numbers(column)
    return _are_blank(column) | (told.gt(0) & told.lt(float("inf")))


def _are_whole(column: pd.Series) -> pd.Series:
    return _are_blank(column) | numbers(column).eq(0)
