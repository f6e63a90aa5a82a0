"""Queries that people typed, dated: names that rise there are likely to be said too, soon or already.

Of a typed query only the words that the model has not learned matter: a run of them is a name. A name made of known
words alone is not seen here.
"""

from collections.abc import Collection
from itertools import groupby
from pathlib import Path

import pandas as pd

from workbench import new_names, text
from workbench.errors import ManifestError

COLUMNS = ["name", "n_typed", "n_before", "chance"]


def read(path: Path | str) -> pd.DataFrame:
    """Read dated typed queries: a CSV with date, query and, unless each row is one, n.

    Returns: date, query (normalized), n.
    Raises: ManifestError when a column is missing, a date cannot be read, or a count is not a positive number.
    """
    try:
        rows = pd.read_csv(path, dtype={"query": str}, keep_default_na=False)
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ManifestError(f"{path} is no readable CSV ({error}); give one with the columns date, query, n") from error
    if missing := {"date", "query"} - set(rows.columns):
        raise ManifestError(f"{path} has the columns {', '.join(rows.columns)}; {', '.join(sorted(missing))} is "
                            "missing: give date, query, n")
    dates = pd.to_datetime(rows["date"], errors="coerce", format="ISO8601")
    n = pd.to_numeric(rows["n"], errors="coerce") if "n" in rows else pd.Series(1, index=rows.index)
    if (bad := dates.isna() | ~n.gt(0)).any():
        line = int(bad.to_numpy().argmax())
        raise ManifestError(f"{path}:{line + 2}: found {rows.iloc[line].to_dict()}, wanted a date like 2026-01-31 and "
                            "a count above 0; mend the row or leave it out")
    return pd.DataFrame({"date": dates, "query": rows["query"].map(text.normalize), "n": n})


def rising(typed: pd.DataFrame, *, since: str | pd.Timestamp, known_words: Collection[str]) -> pd.DataFrame:
    """List the names that are typed more since a day than before, by the same test as what is heard.

    `typed` holds date, query, n; `known_words` are what the model has learned (`terms.phrases`).
    Returns: name, n_typed (since that day), n_before, chance; most typed first.
    """
    is_now, known = typed["date"].ge(pd.Timestamp(since)), set(known_words)
    total = float(typed.loc[is_now, "n"].sum()), float(typed.loc[~is_now, "n"].sum())
    rows = [(name, bool(now), int(n)) for query, n, now in zip(typed["query"], typed["n"], is_now, strict=True)
            for name in _names(query, known)]
    found = pd.DataFrame(rows, columns=["name", "is_now", "n"])
    table = found.pivot_table(index="name", columns="is_now", values="n", aggfunc="sum", fill_value=0)
    n_now, n_before = (table.get(now, pd.Series(0, index=table.index)).astype(int) for now in (True, False))
    chance = new_names.chance(n_now.to_numpy(), n_before.to_numpy(), total)
    table = pd.DataFrame({"name": n_now.index.astype(object), "n_typed": n_now.to_numpy(),
                          "n_before": n_before.to_numpy(), "chance": chance}, columns=COLUMNS)
    return table[table["chance"] <= new_names.LEVEL].sort_values("n_typed", ascending=False, ignore_index=True)


def _names(query: str, known: Collection[str]) -> list[str]:
    return [" ".join(run) for is_known, run in groupby(text.words(query), lambda word: word in known) if not is_known]
