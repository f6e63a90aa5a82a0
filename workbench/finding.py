"""Does the query still find the same? A small offline search index, to tell harmless mistakes from costly ones.

The index holds every query of the scored set and all of the demo catalogue's; a query's result is the nearest entry.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from scipy import sparse

from workbench import catalogue

_CHUNK = 512
"""Queries looked up at a time, to bound memory."""


class Index:
    """Finds the entry that shares the rarest words and neighbouring words with a query (cosine of tf-idf).

    Source: tf-idf with smoothed document frequencies, as Manning, Raghavan, Schuetze 2008, chapter 6, describe it.
    """

    def __init__(self, entries: Sequence[str]) -> None:
        """Index normalized texts; of equal ones the first is kept."""
        self.entries = list(dict.fromkeys(entry for entry in entries if entry))
        features = [list(_features(entry)) for entry in self.entries]
        self._numbers = {f: i for i, f in enumerate(dict.fromkeys(f for found in features for f in found))}
        n_with = np.bincount([self._numbers[f] for found in features for f in set(found)],
                             minlength=len(self._numbers))
        self._weights = np.log((1 + len(self.entries)) / (1 + n_with)) + 1
        self._matrix = self._vectors(self.entries).T.tocsc()

    def _vectors(self, texts: Sequence[str]) -> sparse.csr_matrix:
        """Shape: [texts, features], each row of length 1, or 0 where it shares nothing with the index."""
        found = [(row, self._numbers[f]) for row, text in enumerate(texts) for f in _features(text)
                 if f in self._numbers]
        rows, columns = np.array(found, dtype=int).reshape(-1, 2).T
        vectors = sparse.csr_matrix((self._weights[columns], (rows, columns)), (len(texts), len(self._numbers)))
        lengths = np.sqrt(np.asarray(vectors.multiply(vectors).sum(axis=1)).ravel())
        return sparse.diags(np.divide(1, lengths, out=np.zeros_like(lengths), where=lengths > 0)) @ vectors

    def find(self, queries: Sequence[str]) -> list[str]:
        """Give each query's nearest entry, "" where nothing is shared."""
        found: list[str] = []
        for start in range(0, len(queries), _CHUNK):
            similar = (self._vectors(queries[start : start + _CHUNK]) @ self._matrix).toarray()
            best = similar.argmax(axis=1)
            found += [self.entries[i] if row[i] > 0 else "" for i, row in zip(best, similar, strict=True)]
        return found


def _features(text: str) -> Iterator[str]:
    words = text.split()
    yield from words
    yield from (f"{a} {b}" for a, b in zip(words, words[1:], strict=False))


def with_results(scores: pd.DataFrame) -> pd.DataFrame:
    """Add `finds_same` to a scored set, so that its same-result rate is told with the others."""
    return scores.assign(finds_same=finds_same(scores))


def finds_same(scores: pd.DataFrame) -> "pd.Series[bool]":
    """Say for each scored utterance whether its answer finds what its reference finds.

    An answer in which the query's name, where it has one, is not right finds something else, even if the index knows
    nothing nearer.
    """
    index = Index([*scores["reference"].unique(), *catalogue.every_query()])
    is_exact = scores["hypothesis"].eq(scores["reference"])
    pairs = scores.loc[~is_exact, ["reference", "hypothesis"]].drop_duplicates()
    wanted, got = index.find(pairs["reference"].tolist()), index.find(pairs["hypothesis"].tolist())
    same = {pair: a == b for pair, a, b in zip(pairs.itertuples(index=False, name=None), wanted, got, strict=True)}
    keys = zip(scores["reference"], scores["hypothesis"], strict=True)
    found = pd.Series([exact or same[key] for key, exact in zip(keys, is_exact, strict=True)], index=scores.index)
    has_name = scores["is_entity_right"].fillna(True).astype(bool) if "is_entity_right" in scores else True
    return found & has_name
