"""Slices: named groups of utterances, and how each fares; what mending them would buy is for `opportunities`.

A slice is a column and one of its values, or a named expression of a recipe over columns; an expression is a column
of its own, with the values yes and no. Intervals come from `intervals`.
"""

import ast
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from workbench import blocks as of_speakers
from workbench import confounding, intervals
from workbench.errors import RecipeError
from workbench.records import Interval

SNR_BANDS = {"<0 dB": 0.0, "0-5": 5.0, "5-10": 10.0, "10-20": 20.0, ">20": np.inf}
DURATION_BANDS = {"<2 s": 2.0, "2-3 s": 3.0, "3-4 s": 4.0, ">4 s": np.inf}
"""Names and upper edges; a voice query lasts about 3 s."""

KNOWN_COLUMNS = ("noise", "snr_band", "accent", "gender", "device", "duration_band", "entity_type", "intent", "speaker")
"""What is sliced by wherever it is present, in this order; a manifest's own columns of a few values follow."""

_NOT_SLICES = {
    "utterance_id", "audio_path", "text", "reference", "hypothesis", "heard_letters", "split", "audio_sha", "entity",
    "flags", "parent", "biased_from",
}
_DIAGNOSTIC = {"source", "origin"}
"""Says where it hurts, but nobody can be asked to record it; nor bands of SNR where noises are named."""
_MEASURED = ("n_errors", "n_words", "n_char_errors", "n_chars", "is_exact", "speaker", "duration_s")
MAX_VALUES = 50
NOT_EXPLAINED: Mapping[str, Any] = {"own": 1.0, "explained_by": ""}
_ALLOWED_NODES = (
    ast.Expression, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.Invert, ast.USub, ast.BinOp, ast.BitAnd,
    ast.BitOr, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE,
    ast.In, ast.NotIn, ast.Name, ast.Load, ast.Constant, ast.List, ast.Tuple,
)
"""Comparisons and their combinations: what an expression may hold. No calls and no attributes, so nothing can run."""


def bands(table: pd.DataFrame) -> pd.DataFrame:
    """Add snr_band and duration_band where there is an snr_db and a duration_s; unknown values stay missing.

    A value on an edge belongs to the band above.
    """
    added = {}
    for source, target, edges in (("snr_db", "snr_band", SNR_BANDS), ("duration_s", "duration_band", DURATION_BANDS)):
        if source in table:
            values = pd.to_numeric(table[source], errors="coerce")
            cut = pd.cut(values, [-np.inf, *edges.values()], labels=list(edges), right=False)
            added[target] = cut.astype(object).where(values.notna(), None)
    return table.assign(**added)


def slice_columns(table: pd.DataFrame) -> list[str]:
    """Name the columns worth slicing by: the known ones, then a manifest's own words, of 2 to 50 distinct values."""
    own = [c for c in table.columns if c not in KNOWN_COLUMNS and c not in _NOT_SLICES and _is_grouping(table[c])]
    return [c for c in (*KNOWN_COLUMNS, *own) if c in table and 2 <= table[c].nunique() <= MAX_VALUES]


def diagnostic(columns: Collection[str]) -> set[str]:
    """Name the columns that tell where it hurts, but that nobody can be asked to record, among others."""
    return _DIAGNOSTIC | ({"snr_band"} if "noise" in columns else set())


def own_parts(errors: ArrayLike, words: ArrayLike, groups: Mapping[str, Any], columns: Collection[str]
              ) -> dict[str, confounding.Own]:
    """Say how much of each slice's lag is its own; `groups` number the values of `columns` and of expressions.

    Neither speakers, nor expressions, nor what is diagnostic explain another column's lag: they are not causes.
    """
    explaining = [c for c in columns if c in groups and c not in {*diagnostic(columns), "speaker"}]
    return confounding.own_parts(np.asarray(errors, float), np.asarray(words, float), groups, explaining)


def _is_grouping(values: pd.Series) -> bool:
    found = values.dropna()
    is_words = pd.api.types.is_string_dtype(found) or isinstance(found.dtype, pd.CategoricalDtype)
    return is_words and 2 * found.nunique() <= len(found)


def matches(table: pd.DataFrame, expression: str) -> "pd.Series[bool]":
    """Say for each row whether it belongs to the slice of an expression such as `noise == "car" and duration_s > 4`.

    A missing value matches no comparison but `!=`.
    Raises: RecipeError for anything but comparisons of columns, and for columns that the table lacks.
    """
    try:
        nodes = list(ast.walk(ast.parse(expression.strip(), mode="eval")))
    except SyntaxError as error:
        raise RecipeError(f"slice {expression!r} is not an expression: {error.msg}; write it like "
                          'noise == "car" and duration_s > 4') from error
    strange = [ast.unparse(node) or type(node).__name__ for node in nodes if not isinstance(node, _ALLOWED_NODES)]
    if strange:
        raise RecipeError(f"slice {expression!r} holds {strange[0]!r}; only comparisons of columns are allowed")
    missing = sorted({node.id for node in nodes if isinstance(node, ast.Name)} - set(map(str, table.columns)))
    if missing:
        raise RecipeError(f"slice {expression!r} needs {', '.join(missing)}; there are the columns "
                          f"{', '.join(map(str, table.columns))}")
    try:
        found = table.eval(expression.strip(), engine="python")
    except (TypeError, ValueError, NotImplementedError) as error:
        raise RecipeError(f"slice {expression!r} cannot be evaluated: {error}") from error
    if not isinstance(found, pd.Series) or not pd.api.types.is_bool_dtype(found):
        raise RecipeError(f"slice {expression!r} gives no yes or no for each utterance; compare a column with a value")
    return found.fillna(False).astype(bool)


def _members(table: pd.DataFrame, columns: Sequence[str],
             expressions: Mapping[str, str]) -> Iterator[tuple[str, str, str, Any]]:
    for column in columns:
        codes, values = pd.factorize(table[column])
        known = [(str(value), code) for code, value in enumerate(values) if value != ""]
        for value, code in sorted(known, key=lambda v: (_band_rank(v[0]), v[0])):
            yield column, value, f"{column} = {value}", codes == code
    for name, expression in expressions.items():
        is_in = matches(table, expression).to_numpy()
        yield name, "yes", name, is_in
        yield name, "no", f"not {name}", ~is_in


def _band_rank(value: str) -> int:
    order = [*SNR_BANDS, *DURATION_BANDS]
    return order.index(value) if value in order else -1


def slice_table(scores: pd.DataFrame, columns: Sequence[str], expressions: Mapping[str, str] | None = None,
                weights: ArrayLike | None = None) -> pd.DataFrame:
    """Measure every slice of a scored set; an expression gives two rows, `name` and `not name`.

    Returns: column, value, name, n_utterances, n_speakers, n_words, mean_duration_s (nan where unknown), share
        (weighted share of all utterances), word_share (of all words), wer, cer, query_accuracy, each with _low and
        _high (fractions), note, own (the part, 0 to 1, of what it lags behind the rest of its column that stays when
        any other column is held alike) and explained_by (the column that explains most of it, "" where none does).
        Columns stay in the order given, bands in theirs, other values by name; slices that hold nothing of any weight
        are left out.
    Raises: ValueError for a column that the scores lack; RecipeError for a bad expression.
    """
    table = bands(scores)
    absent = [column for column in columns if column not in table]
    if absent:
        raise ValueError(f"no columns {', '.join(absent)}; there are {', '.join(map(str, table.columns))}")
    w = np.ones(len(table)) if weights is None else np.asarray(weights, dtype=float)
    members = [member for member in _members(table, columns, expressions or {}) if w[member[3]].any()]
    own = _own(table, members, columns, w)
    measured, whole = _measured(table), _whole(table, w)
    rows = [{"column": column, "value": value, "name": name, **_measure(measured[is_in], w[is_in], whole),
             **own[name]} for column, value, name, is_in in members]
    return pd.DataFrame(rows, columns=["column", "value", "name", *_measure(measured, w, whole), *NOT_EXPLAINED])


def _own(table: pd.DataFrame, members: Sequence[tuple[str, str, str, Any]], columns: Sequence[str], w: Any
         ) -> dict[str, dict[str, Any]]:
    """Say of each slice by name how much of its lag is its own, and what explains the rest."""
    names: dict[str, list[str]] = {}
    groups: dict[str, Any] = {}
    for column, _, name, is_in in members:
        groups[column] = np.where(is_in, len(names.setdefault(column, [])), groups.get(column, -1))
        names[column].append(name)
    plain = {column: codes for column, codes in groups.items() if column != "speaker"}
    found = own_parts(w * table["n_errors"], w * table["n_words"], plain, columns)
    return {name: {"own": own[0], "explained_by": own[1]} for column, group in names.items()
            for name, *own in (zip(group, *found[column], strict=True) if column in found
                               else ((name, *NOT_EXPLAINED.values()) for name in group))}


def _measured(table: pd.DataFrame) -> pd.DataFrame:
    """Keep the columns that are measured, speakers numbered: a slice's words need not be copied, nor names compared."""
    kept = table[[name for name in _MEASURED if name in table]]
    return kept.astype({"speaker": "category"}) if "speaker" in kept else kept


def overall(scores: pd.DataFrame, weights: ArrayLike | None = None) -> pd.DataFrame:
    """Measure the whole set: one row with the columns of `slice_table`, its name "all"."""
    w = np.ones(len(scores)) if weights is None else np.asarray(weights, dtype=float)
    measured = _measure(scores, w, _whole(scores, w))
    return pd.DataFrame([{"column": "", "value": "", "name": "all", **measured, **NOT_EXPLAINED}])


def _whole(table: pd.DataFrame, w: Any) -> tuple[float, float]:
    """Give the weight of all utterances, and of all their words."""
    return float(w.sum()), float(w @ table["n_words"])


def _measure(table: pd.DataFrame, w: Any, whole: tuple[float, float]) -> dict[str, Any]:
    speakers, n_speakers = _speakers(table)
    has_speech = table["n_words"].to_numpy() > 0

    def rate(errors: str, totals: Any) -> Interval:
        return intervals.rate_interval(table[errors].to_numpy(float) * (totals > 0), totals, speakers, w)

    wer = intervals.rate_interval(table["n_errors"], table["n_words"], speakers, w)
    cer = intervals.rate_interval(table["n_char_errors"], table["n_chars"], speakers, w)
    exact = rate("is_exact", has_speech.astype(float))
    return {
        "n_utterances": len(table), "n_speakers": n_speakers,
        "n_words": int(table["n_words"].sum()), "mean_duration_s": _mean_duration_s(table),
        **{name: part / all_of if all_of else np.nan
           for name, part, all_of in zip(("share", "word_share"), _whole(table, w), whole, strict=True)},
        "wer": wer.value, "wer_low": wer.low, "wer_high": wer.high,
        "cer": cer.value, "cer_low": cer.low, "cer_high": cer.high,
        "query_accuracy": exact.value, "query_accuracy_low": exact.low, "query_accuracy_high": exact.high,
        "note": wer.note,
    }


def _speakers(table: pd.DataFrame) -> tuple[pd.Categorical | None, int]:
    """Number the speakers once for all rates. Returns: None where nobody knows them, and how many are known."""
    if "speaker" not in table:
        return None, 0
    speakers = of_speakers.numbered(table["speaker"])
    return speakers, len(speakers.categories)


def _mean_duration_s(table: pd.DataFrame) -> float:
    return float(table["duration_s"].mean()) if "duration_s" in table else np.nan


def crossed(scores: pd.DataFrame, down: str, across: str, weights: ArrayLike | None = None) -> pd.DataFrame:
    """Cross two columns. Returns: row, column (their values), wer, n_utterances; a row for each pair that occurs."""
    table = bands(scores)
    w = np.ones(len(table)) if weights is None else np.asarray(weights, dtype=float)
    whole = _whole(table, w)
    rows = [{"row": row, "column": column, **{k: measured[k] for k in ("wer", "n_utterances")}}
            for (row, column), group in table.groupby([down, across], observed=True)
            for measured in [_measure(group, w[table.index.get_indexer(group.index)], whole)]]
    return pd.DataFrame(rows, columns=["row", "column", "wer", "n_utterances"])
