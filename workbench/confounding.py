"""How much of what a slice lags is its own: what stays of it while any other column is held alike.

Who asks the way names long places: navigation looks bad where long queries are, and asking for navigation would not
mend them. Numbers in, numbers out.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

MIN_COMPARABLE = 0.5
"""A column explains nothing where less of a slice's words have counterparts of the same value outside the slice."""
MOSTLY = 0.5
"""A column is named as the explanation when less than this part is left."""


class Own(NamedTuple):
    """For each value of a column: the part (0 to 1) of its lag that is its own, and the column that explains the rest.

    The name is "" where no column explains most of it.
    """

    parts: Floats
    explained_by: list[str]


def own_parts(errors: Floats, words: Floats, columns: Mapping[str, Codes], explaining: Collection[str]
              ) -> dict[str, Own]:
    """Compare each slice with the rest of its column, plainly and within the values of each `explaining` column.

    `errors` and `words` are weighted counts of each utterance, `columns` number its values (-1: it has none; a value
    of its own where it is held alike).
    Source: differences of rates by Mantel-Haenszel weights, Greenland & Robins 1985.
    """
    tables = {(a, b): _crossed(errors, words, columns[a], columns[b])
              for a in columns for b in explaining if a != b}
    return {a: _own(_crossed(errors, words, columns[a], np.zeros_like(columns[a])),
                    {b: tables[a, b] for b in explaining if a != b}) for a in columns}


Crossed = tuple[Floats, Floats]
"""Errors and words by value and by value of another column. Shape: [values, others] each."""


def _crossed(errors: Floats, words: Floats, a: Codes, b: Codes) -> Crossed:
    n, m = int(a.max(initial=-1)) + 2, int(b.max(initial=-1)) + 2
    cells = (a + 1) * m + b + 1
    E, W = (np.asarray(np.bincount(cells, counts, n * m), float).reshape(n, m)[1:] for counts in (errors, words))
    return E, W


def _own(plain: Crossed, alike: Mapping[str, Crossed]) -> Own:
    lag, _ = _lag(*plain)
    parts, explained_by = np.ones(len(lag)), np.full(len(lag), "", dtype=object)
    for name, crossed in alike.items():
        left, comparable = _lag(*crossed)
        part = np.where((lag > 0) & (comparable >= MIN_COMPARABLE), left / np.where(lag > 0, lag, 1.0), 1.0).clip(0, 1)
        explained_by[(part < parts) & (part < MOSTLY)] = name
        parts = np.minimum(parts, part)
    return Own(parts, explained_by.tolist())


def _lag(E: Floats, W: Floats) -> tuple[Floats, Floats]:
    """Give how much worse each value is than the rest, stratum by stratum, and which part of its words compare."""
    rest_e, rest_w = E.sum(0) - E, W.sum(0) - W
    difference = E / np.maximum(W, 1e-12) - rest_e / np.maximum(rest_w, 1e-12)
    weight = W * rest_w / np.maximum(W + rest_w, 1e-12)
    comparable = (W * (rest_w > 1e-9)).sum(1) / np.maximum(W.sum(1), 1e-12)
    return (weight * difference).sum(1) / np.maximum(weight.sum(1), 1e-12), comparable
