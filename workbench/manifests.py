"""Reading what a corpus says about itself: CSV, JSONL and Parquet manifests, and folders of audio with text beside it.

Tables come out with our column names and absolute paths or addresses, and with the reason for each row that cannot be
used. No audio is opened here.
"""

import io
import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import pandas as pd

from workbench import placing, remote, text
from workbench.corpus_cards import AUDIO_SUFFIXES
from workbench.datasets import SPLITS, UNKNOWN_SPEAKER
from workbench.errors import ManifestError

NAMES = {"audio_filepath": "audio_path", "duration": "duration_s"}  # NeMo's
SPLIT_NAMES = {"training": "train", "validation": "valid", "val": "valid", "development": "dev"}
OURS = ("line", "row_fault", "audio_root", "file_state", "source", "reference", "audio_sha", "level_dbfs", "flags",
        "samples")
BY_READERS = ("line", "row_fault")  # where a row stands, and what is wrong with how it is written, or ""
QUOTING = "put each text that holds separators in quotation marks, and close them"
OPEN = "the quotation mark opened on line {0} is not closed there and swallows all up to line {1}; close it on line {0}"
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
        there = ", ".join(str(name) for name in table if name not in BY_READERS)
        raise ManifestError(f"{place} has no column {wanted}; it has {there}: rename or add the column")
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
        with io.BytesIO(remote.read_bytes(place)) if remote.is_url(place) else Path(place).open("rb") as file:
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
    twice = table.columns[table.columns.duplicated()].unique()
    if len(twice):
        raise ManifestError(f"{place} has several columns {', '.join(twice)}; rename or drop all but one")
    return table.rename(columns={old: new for old, new in NAMES.items() if new not in table})


def _csv(file: BinaryIO, separator: str) -> pd.DataFrame:
    """Read words as words ("null" and "nan" can be queries); separators at the end of rows say nothing."""
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False, encoding="utf-8-sig", sep=separator)
    except pd.errors.ParserError as error:
        raise ValueError(f"{str(error).strip().rpartition('C error: ')[2]}; {QUOTING}") from error
    if not isinstance(table.index, pd.RangeIndex):  # rows have more fields, and pandas took the first for an index
        fields, n_more = table.reset_index(), table.index.nlevels
        if (is_more := fields.iloc[:, -n_more:].fillna("").ne("").any(axis=1)).any():
            raise ValueError(f"line {is_more.idxmax() + 2} has more fields than the header; {QUOTING}")
        table = fields.iloc[:, :-n_more].set_axis(table.columns, axis=1)
    return _with_lines(table)


def _with_lines(table: pd.DataFrame) -> pd.DataFrame:
    """Say on which line each row begins, and which go on over more: what is open in quotation marks swallows rows."""
    long = [name for name in table if table[name].str.contains("[\r\n]").any()]
    breaks = sum((table[name].str.count(r"\r\n?|\n") for name in long), start=pd.Series(0, table.index))
    lines = breaks.cumsum().shift(fill_value=0) + range(2, len(table) + 2)
    said = [table[name].str.strip() for name in long if name.strip() in (*WORDS, *NAMES)]
    is_open = sum((words.str.contains("[\r\n]") for words in said), start=pd.Series(False, table.index)).astype(bool)
    faults = {i: OPEN.format(lines[i], lines[i] + breaks[i]) for i in table.index[is_open]}
    return table.assign(line=lines, row_fault=pd.Series(faults, table.index, dtype="str").fillna(""))


def _jsonl(file: BinaryIO) -> pd.DataFrame:
    """Read a row a line, some at a time: as a table they take a tenth of what they do as Python's objects."""
    lines = enumerate(io.TextIOWrapper(file, encoding="utf-8-sig"), start=1)
    rows = (_json_row(content, line) for line, content in lines if content.strip())
    parts = [pd.DataFrame(part) for part in iter(lambda: list(itertools.islice(rows, ROWS_AT_A_TIME)), [])]
    return pd.concat(parts, ignore_index=True).infer_objects().assign(row_fault="") if parts else pd.DataFrame()


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
    """Read a table with its index: what has a name there is a column, what has none is no more than a number."""
    table = pd.read_parquet(file)
    named = {str(name): table.index.get_level_values(name) for name in table.index.names if name not in (None, *table)}
    return table.assign(**{**named, "line": range(1, len(table) + 1), "row_fault": ""}).reset_index(drop=True)


def _folder(place: str) -> pd.DataFrame:
    """List recordings with the text file of the same name; several subfolders are taken for speakers."""
    there = {*(remote.files_below(place) if remote.is_url(place) else remote.files_here(place))}
    if not there and remote.is_url(place):
        raise ManifestError(ABSENT.format(place))
    seen = (path for path in map(PurePosixPath, there) if not path.name.startswith("."))
    files = sorted(path for path in seen if path.suffix.lower() in AUDIO_SUFFIXES)
    tops = [p.parts[0] if len(p.parts) > 1 else "" for p in files]
    speakers = tops if len(set(tops)) > 1 else [""] * len(files)
    beside = [str(p.with_suffix(".txt")) for p in files]
    texts = sorted({*beside} & there)
    said = dict(zip(texts, map(_decoded, remote.read_all([f"{place}/{name}" for name in texts])), strict=True))
    found = pd.DataFrame([said.get(name, ("", "")) for name in beside], columns=["text", "row_fault"])
    return found.assign(audio_path=[f"{place}/{p}" for p in files], speaker=speakers, line=range(1, len(files) + 1))


def _decoded(content: bytes) -> tuple[str, str]:
    """Read a text file. Returns: its words, and what is wrong with them."""
    try:
        return content.decode("utf-8-sig").strip(), ""
    except UnicodeDecodeError:
        return content.decode(errors="replace").strip(), "its text file is not UTF-8; export it again, in UTF-8"


def _named(table: pd.DataFrame, root: str, source: str) -> pd.DataFrame:
    """Bring a table into our terms: words as words, numbers as numbers, absolute paths, ids, speakers, splits."""
    table = table.drop(columns=[name for name in OURS if name in table and name not in BY_READERS])
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
    checks = table.reindex(columns=["row_fault", "utterance_id", "reference", "duration_s", "offset", "split"]).assign(
        is_repeated=table["utterance_id"].duplicated(), is_elsewhere=paths.ne("") & ~is_below,
        is_absent=paths.eq("") | (is_below & table["file_state"].eq("")))
    schema = pa.DataFrameSchema({
        "row_fault": column(lambda faults: faults.eq(""), "as the reader says"),
        "utterance_id": column(lambda ids: ids.ne(""), "utterance_id is empty; give it an id of its own"),
        "is_repeated": column(lambda found: ~found, "utterance_id is a duplicate; make it unique"),
        "reference": column(lambda words: words.ne(""), "text is empty; write down what is said"),
        "is_elsewhere": column(lambda found: ~found,
                               f"audio is outside {root}; move it there or give its folder with --root (in a run as "
                               "collect.audio_root)"),
        "is_absent": column(lambda found: ~found, "audio file is absent; correct its path"),
        "duration_s": column(_are_durations, "duration is not a number above 0; correct it or leave it empty"),
        "offset": column(lambda told: _are_blank(told) | numbers(told).eq(0),
                         "it is a piece of a longer recording (offset); cut the audio into queries"),
        "split": column(lambda names: names.isin(SPLITS), f"split is not one of {', '.join(SPLITS)}; correct it"),
    })
    try:
        schema.validate(checks, lazy=True)
    except pa.errors.SchemaErrors as found:
        cases = found.failure_cases.sort_index()
        told = cases["check"].mask(cases["column"].eq("row_fault"), cases["failure_case"])
        return _joined(cases[["index"]].assign(check=told).drop_duplicates())
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
