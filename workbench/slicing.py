"""Slices: named groups of utterances, how each fares, and what mending each would buy.

A slice is a column and one of its values, or a named expression of a recipe over columns; an expression is a column
of its own, with the values yes and no. Intervals come from `intervals`.
"""

import ast
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from workbench import intervals, settings
from workbench.errors import RecipeError
from workbench.records import Interval

SNR_BANDS = {"<0 dB": 0.0, "0-5": 5.0, "5-10": 10.0, "10-20": 20.0, ">20": np.inf}
DURATION_BANDS = {"<2 s": 2.0, "2-3 s": 3.0, "3-4 s": 4.0, ">4 s": np.inf}
"""Names and upper edges; a voice query lasts about 3 s."""

KNOWN_COLUMNS = ("noise", "snr_band", "accent", "gender", "device", "duration_band", "entity_type", "intent", "speaker")
"""What is sliced by wherever it is present, in this order; a manifest's own columns of a few values follow."""

_NOT_SLICES = {
    "utterance_id", "audio_path", "text", "reference", "hypothesis", "heard_letters", "split", "audio_sha", "entity",
    "flags", "parent",
}
MAX_VALUES = 50
MIN_COMPARABLE = 30
"""Utterances a slice needs for others to be compared with it; fewer cannot say how good it can get."""

CLIPS_PER_POINT = 75
"""Training clips asked for per point of WER that a slice lags: in a first trial 1,300 clips of car noise brought cars
from 32 % to 14 %."""

_Z = 1.96

_DIAGNOSTIC = {"snr_band", "duration_band"}
"""Says where it hurts, but nobody can be asked to record it; without a noise column it is the best there is."""

_METHODS = {"noise": "augment", "snr_band": "augment", "device": "augment", "entity_type": "bias"}
_ADVICE = {
    "collect": "collect {n} recordings with {name}",
    "augment": "mix {name} into {n} clips, or record as many",
    "bias": "bias towards names of {name}, or collect {n} recordings of them",
}

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
        values = set(table[column].dropna()) - {""}
        for value in sorted(values, key=lambda v: (_band_rank(str(v)), str(v))):
            yield column, str(value), f"{column} = {value}", table[column].eq(value).fillna(False).to_numpy(bool)
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

    Returns: column, value, name, n_utterances, n_speakers, n_words, share (weighted share of all utterances), wer,
        cer, query_accuracy, each with _low and _high (fractions), note. Columns stay
        in the order given, bands in theirs, other values by name; slices that hold nothing are left out.
    Raises: ValueError for a column that the scores lack; RecipeError for a bad expression.
    """
    table = bands(scores)
    absent = [column for column in columns if column not in table]
    if absent:
        raise ValueError(f"no columns {', '.join(absent)}; there are {', '.join(map(str, table.columns))}")
    w = np.ones(len(table)) if weights is None else np.asarray(weights, dtype=float)
    rows = [{"column": column, "value": value, "name": name, **_measure(table[is_in], w[is_in], w.sum())}
            for column, value, name, is_in in _members(table, columns, expressions or {}) if is_in.any()]
    return pd.DataFrame(rows, columns=["column", "value", "name", *_measure(table, w, w.sum())])


def overall(scores: pd.DataFrame, weights: ArrayLike | None = None) -> pd.DataFrame:
    """Measure the whole set: one row with the columns of `slice_table`, its name "all"."""
    w = np.ones(len(scores)) if weights is None else np.asarray(weights, dtype=float)
    return pd.DataFrame([{"column": "", "value": "", "name": "all", **_measure(scores, w, w.sum())}])


def _measure(table: pd.DataFrame, w: Any, all_weight: float) -> dict[str, Any]:
    speakers = table.get("speaker")
    has_speech = table["n_words"].to_numpy() > 0

    def rate(errors: str, totals: Any) -> Interval:
        return intervals.rate_interval(table[errors].to_numpy(float) * (totals > 0), totals, speakers, w)

    wer = intervals.rate_interval(table["n_errors"], table["n_words"], speakers, w)
    cer = intervals.rate_interval(table["n_char_errors"], table["n_chars"], speakers, w)
    exact = rate("is_exact", has_speech.astype(float))
    return {
        "n_utterances": len(table), "n_speakers": 0 if speakers is None else int(speakers.nunique()),
        "n_words": int(table["n_words"].sum()), "share": float(w.sum() / all_weight) if all_weight else np.nan,
        "wer": wer.value, "wer_low": wer.low, "wer_high": wer.high,
        "cer": cer.value, "cer_low": cer.low, "cer_high": cer.high,
        "query_accuracy": exact.value, "query_accuracy_low": exact.low, "query_accuracy_high": exact.high,
        "note": wer.note,
    }


def opportunities(table: pd.DataFrame, *, max_clips: int = settings.AMOUNTS["small"].n_request,
                  min_comparable: int = MIN_COMPARABLE) -> pd.DataFrame:
    """Rank the slices of a slice table by what bringing each to the best of its column would take off the overall WER.

    gain = share x (WER of the slice - WER of the best comparable slice of its column), both shrunk towards the
    column's mean first (the worst of many small slices looks worse than it is, the best better), with an interval
    from both; below `min_comparable` utterances a slice is nobody's model, and where all are, the mean is. Speakers
    are left out, and so is what an expression excludes. Bands, sources and expressions are diagnostic: they tell where
    to look, and a request is made of plain columns (bands too where there is no noise column).
    Returns: the columns of `slice_table`, then shrunk_wer, best_name, gap, gain, gain_low, gain_high (fractions),
        is_actionable, method (collect, augment, bias), n_clips (CLIPS_PER_POINT a point of gap, at most `max_clips`),
        advice. What can be asked for comes first, then the larger gain.
    """
    is_row = table["column"].ne("speaker") & table["wer"].notna()
    groups = [_against_best(group, min_comparable) for _, group in table[is_row].groupby("column", sort=False)]
    ranked = pd.concat(groups) if groups else table[is_row].assign(
        shrunk_wer=0.0, best_name="", gap=0.0, gain=0.0, gain_low=0.0, gain_high=0.0)
    ranked = ranked[~ranked["name"].str.startswith("not ") | ranked["value"].ne("no")]
    diagnostic = {"source", "origin"} | (_DIAGNOSTIC if ranked["column"].eq("noise").any() else set())
    is_expression = ranked["name"] != ranked["column"] + " = " + ranked["value"]
    can_ask = ~ranked["column"].isin(diagnostic) & ~is_expression
    ranked["is_actionable"] = can_ask & (ranked["gain"] > 0)
    ranked["method"] = ranked["column"].map(_METHODS).fillna("collect")
    clips = np.ceil(100 * ranked["gap"].clip(lower=0) * CLIPS_PER_POINT).clip(upper=max_clips)
    ranked["n_clips"] = clips.where(ranked["is_actionable"], 0).astype(int)
    ranked["advice"] = [_advice(row) for row in ranked.to_dict("records")]
    return ranked.sort_values(["is_actionable", "gain"], ascending=False, kind="stable", ignore_index=True)


def _against_best(group: pd.DataFrame, min_comparable: int) -> pd.DataFrame:
    """Compare the slices of one column with its best, after empirical-Bayes shrinkage.

    Source: between-slice variance by DerSimonian & Laird 1986; shrunk = mean + B (wer - mean), B = var / (var + se^2).
    """
    wer = group["wer"].to_numpy(float)
    variance = np.maximum(((group["wer_high"] - group["wer_low"]).to_numpy(float) / (2 * _Z)) ** 2, 1e-12)
    precision = 1 / variance
    mean = float((precision * wer).sum() / precision.sum())
    spread = float((precision * (wer - mean) ** 2).sum()) - (len(wer) - 1)
    scale = precision.sum() - (precision**2).sum() / precision.sum()
    between = max(0.0, spread / scale) if scale > 0 else 0.0
    shrunk = mean + between / (between + variance) * (wer - mean)
    posterior = between * variance / (between + variance) + (variance / (between + variance)) ** 2 / precision.sum()
    comparable = np.flatnonzero(group["n_utterances"].to_numpy() >= min_comparable)
    if len(comparable):
        best = comparable[shrunk[comparable].argmin()]
        best_name, best_wer, best_variance = str(group["name"].iloc[best]), shrunk[best], posterior[best]
    else:
        best_name, best_wer, best_variance = f"mean of {group['column'].iloc[0]}", mean, 1 / precision.sum()
    gap, share = shrunk - best_wer, group["share"].to_numpy(float)
    half = _Z * np.sqrt(posterior + best_variance) * (group["name"].to_numpy() != best_name)
    return group.assign(shrunk_wer=shrunk, best_name=best_name, gap=gap, gain=share * gap,
                        gain_low=share * (gap - half), gain_high=share * (gap + half))


def _advice(row: Mapping[Any, Any]) -> str:
    if row["name"] == row["best_name"]:
        return "the best of its column"
    if not row["gain"] > 0:
        return f"nothing to gain: as good as {row['best_name']}"
    if not row["is_actionable"]:
        return f"diagnostic: {row['name']} cannot be asked for alone; see what it is made of"
    todo = _ADVICE[row["method"]].format(n=f"{row['n_clips']:,}", name=row["name"])
    doubt = "" if row["gain_low"] > 0 else "; cannot tell yet whether it gains anything"
    return f"{todo} to bring it towards {row['best_name']}{doubt}"


def crossed(scores: pd.DataFrame, down: str, across: str, weights: ArrayLike | None = None) -> pd.DataFrame:
    """Cross two columns. Returns: row, column (their values), wer, n_utterances; a row for each pair that occurs."""
    table = bands(scores)
    w = np.ones(len(table)) if weights is None else np.asarray(weights, dtype=float)
    rows = [{"row": row, "column": column, **{k: measured[k] for k in ("wer", "n_utterances")}}
            for (row, column), group in table.groupby([down, across], observed=True)
            for measured in [_measure(group, w[table.index.get_indexer(group.index)], w.sum())]]
    return pd.DataFrame(rows, columns=["row", "column", "wer", "n_utterances"])
