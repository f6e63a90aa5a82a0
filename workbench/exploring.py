"""A scored set as arrays: any selection of it is counted in milliseconds, by slice, by pair of slices and by word.

Sums by speaker come first, intervals (of `decisions`) from those: the same as `slicing` gives, at 100,000 utterances
within a third of a second. Nothing here draws or reads files.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from workbench import decisions, finding, scoring, slicing
from workbench.records import Interval
from workbench.selections import Mistake, Selection

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]

_NOT_SLICED = {"word_times", "arm", "is_accepted"}
"""Columns of what a stage left that say nothing about an utterance."""

MAX_ENTITIES = 400
"""Names listed by entity; beyond, the rarest are left out."""


class Sums(NamedTuple):
    """Weighted errors and totals by speaker, and the totals' squared weights."""

    errors: Floats
    totals: Floats
    squares: Floats


class Explored:
    """A scored set with its alignments and weights, ready to be asked about selections.

    `scores` is what `scoring.score` gives (with `slicing.bands`), `edits` its alignments; `columns` are those to slice
    by, `expressions` a recipe's named slices.
    """

    def __init__(self, scores: pd.DataFrame, edits: pd.DataFrame, *, weights: Floats, columns: Sequence[str],
                 expressions: Mapping[str, str] | None = None) -> None:
        self.scores, self.weights, self.columns = scores.reset_index(drop=True), np.asarray(weights, float), columns
        self.rows, self.expressions = pd.Index(self.scores["utterance_id"]), dict(expressions or {})
        self.errors, self.words = (self.scores[c].to_numpy(float) for c in ("n_errors", "n_words"))
        self.is_speech = (self.words > 0).astype(float)
        self.is_exact = self.scores["is_exact"].to_numpy(float) * self.is_speech
        self.durations = self.scores.get("duration_s", pd.Series(np.nan, self.scores.index)).to_numpy(float)
        self.has_speakers = "speaker" in self.scores
        self.speakers, self._speaker = self._blocks()
        numbers = np.arange(len(self.speakers.categories))
        self._numbered = pd.Categorical.from_codes(numbers, pd.RangeIndex(len(numbers)))
        self.groups = {c: _factorized(self.scores[c]) for c in (*columns, "entity") if c in self.scores}
        self.names = {c: [f"{c} = {v}" for v in self.groups[c][1]] for c in columns}
        for name, expression in (expressions or {}).items():
            self.groups[name] = (~slicing.matches(self.scores, expression).to_numpy()).astype(np.int64), ["yes", "no"]
            self.names[name] = [name, f"not {name}"]
        self._text = (self.scores["utterance_id"] + " " + self.scores["reference"] + " "
                      + self.scores["hypothesis"]).str.lower()
        self._keep_edits(edits)

    def __len__(self) -> int:
        return len(self.scores)

    def _blocks(self) -> tuple[pd.Categorical, NDArray[np.int64]]:
        """Number the speakers; who is unknown is a block of their own."""
        known = self.scores["speaker"] if self.has_speakers else pd.Series(pd.NA, self.scores.index, dtype="object")
        own = "unknown " + self.scores["utterance_id"].astype(str)
        blocks = pd.Categorical(known.where(known.notna() & known.ne(""), own))
        return blocks, np.asarray(blocks.codes, np.int64)

    def _keep_edits(self, edits: pd.DataFrame) -> None:
        self.edit_row = self.rows.get_indexer(edits["utterance_id"])
        self.edit_is_wrong = edits["kind"].ne("equal").to_numpy()
        self.edit_is_said = edits["kind"].ne("ins").to_numpy()
        self.edit_said, self.said = _factorized(edits["reference_word"])
        wrong = edits[self.edit_is_wrong]
        self.wrong_row, self.wrong_said = self.edit_row[self.edit_is_wrong], self.edit_said[self.edit_is_wrong]
        pairs = wrong["kind"] + "\t" + wrong["reference_word"] + "\t" + wrong["hypothesis_word"]
        self.wrong_pair, self.pairs = _factorized(pairs)

    # --- selections --------------------------------------------------------------------------------------------------

    def mask(self, selection: Selection) -> Mask:
        """Say for each utterance whether a selection holds it."""
        found = np.ones(len(self), bool)
        for column, wanted in selection.picked.items():
            if wanted:
                codes, values = self.groups[column]
                found &= np.isin(codes, [values.index(value) for value in wanted if value in values])
        for column, (low, high) in selection.ranges.items():
            found &= self.scores[column].between(low, high).to_numpy()
        if selection.search:
            found &= self._text.str.contains(selection.search.lower().strip(), regex=False).to_numpy(bool)
        if selection.mistake:
            found &= self.has_mistake(selection.mistake)
        if selection.ids is not None:
            found &= self.scores["utterance_id"].isin(selection.ids).to_numpy()
        return found

    def has_mistake(self, mistake: Mistake) -> Mask:
        """Say for each utterance whether it has a mistake."""
        if mistake.kind == "entity":
            codes, values = self.groups["entity"]
            is_wrong = ~self.scores["is_entity_right"].fillna(True).to_numpy(bool)
            return is_wrong & (codes == (values.index(mistake.said) if mistake.said in values else -2))
        found = np.zeros(len(self), bool)
        found[self.wrong_row[self._wrong_edits(mistake)]] = True
        return found

    def _wrong_edits(self, mistake: Mistake) -> Mask:
        if mistake.kind == "word":
            return self.wrong_said == (self.said.index(mistake.said) if mistake.said in self.said else -2)
        pair = "\t".join((mistake.kind, mistake.said, mistake.heard))
        return self.wrong_pair == (self.pairs.index(pair) if pair in self.pairs else -2)

    def errors_of(self, mistake: Mistake) -> Floats:
        """Count a mistake in each utterance."""
        return np.bincount(self.wrong_row[self._wrong_edits(mistake)], minlength=len(self)).astype(float)

    def mistakes_of(self, utterance_id: str) -> list[Mistake]:
        """List what is wrong with an answer, in the order it was said."""
        codes = self.wrong_pair[self.wrong_row == self.rows.get_loc(utterance_id)]
        return [Mistake(*self.pairs[code].split("\t")) for code in codes]

    def neighbours(self, utterance_id: str, n: int = 6) -> pd.DataFrame:
        """Find answers with the same mistakes, most shared first. Returns: rows of `scores`, and `shared` in words."""
        own = np.unique(self.wrong_pair[self.wrong_row == self.rows.get_loc(utterance_id)])
        is_shared = np.isin(self.wrong_pair, own) & (self.wrong_row != self.rows.get_loc(utterance_id))
        counts = np.bincount(self.wrong_row[is_shared], minlength=len(self))
        best = [row for row in np.argsort(-counts, kind="stable")[:n] if counts[row]]
        shared = [", ".join(str(Mistake(*self.pairs[c].split("\t")))
                            for c in np.unique(self.wrong_pair[is_shared & (self.wrong_row == row)])) for row in best]
        return self.scores.iloc[best].assign(shared=shared)

    # --- rates -------------------------------------------------------------------------------------------------------

    def rate(self, mask: Mask, errors: Floats, totals: Floats) -> Interval:
        """Give the weighted rate of a selection with its interval, by speaker."""
        sums = self._sums(mask, np.zeros(len(self), np.int64), 1, errors, totals)
        return self.interval(Sums(*(s[0] for s in sums)))

    def interval(self, sums: Sums) -> Interval:
        """Turn sums by speaker into a rate and its interval.

        Speakers stand in for utterances of the weight and length that leave errors, totals and squares as they are.
        """
        used = (sums.totals > 0) | (sums.errors > 0)
        e, n, q = (s[used] for s in sums)
        weights = np.divide(q, n, out=np.ones_like(n), where=n > 0)
        blocks = self._numbered[: len(n)] if self.has_speakers else None
        return decisions.rate_interval(e / weights, n / weights, blocks, weights)

    def _sums(self, mask: Mask, codes: NDArray[np.int64], n_codes: int, errors: Floats, totals: Floats) -> Sums:
        """Sum by group and speaker. Shape: [groups, speakers] each."""
        n_speakers = len(self.speakers.categories)
        rows = np.flatnonzero(mask & (codes >= 0))
        key, w = codes[rows] * n_speakers + self._speaker[rows], self.weights[rows]
        counted = (np.bincount(key, weights=v, minlength=n_codes * n_speakers).reshape(n_codes, -1).astype(float)
                   for v in (w * errors[rows], w * totals[rows], w * w * totals[rows]))
        return Sums(*counted)

    def summary(self, mask: Mask) -> dict[str, Interval]:
        """Give wer, query_accuracy and, where known, entity_accuracy and same_result of a selection."""
        found = {"wer": self.rate(mask, self.errors, self.words),
                 "query_accuracy": self.rate(mask, self.is_exact, self.is_speech)}
        if "is_entity_right" in self.scores and self.scores["is_entity_right"].notna().any():
            known = self.scores["is_entity_right"].notna().to_numpy(float)
            right = self.scores["is_entity_right"].fillna(False).to_numpy(float)
            found["entity_accuracy"] = self.rate(mask, right, known)
        if "finds_same" in self.scores:
            found["same_result"] = self.rate(mask, self.scores["finds_same"].to_numpy(float) * self.is_speech,
                                             self.is_speech)
        return found

    def slices(self, mask: Mask, columns: Sequence[str] = ()) -> pd.DataFrame:
        """Measure every slice within a selection. Returns: what `slicing.slice_table` does, without cer; no speakers.

        Empty slices are left out; share is of the selection.
        """
        chosen = columns or [column for column in self.names if column != "speaker"]
        parts = [self._slices_of(mask, column) for column in chosen]
        return pd.DataFrame([row for rows in parts for row in rows], columns=[
            "column", "value", "name", "n_utterances", "n_speakers", "n_words", "mean_duration_s", "share", "wer",
            "wer_low", "wer_high", "query_accuracy", "query_accuracy_low", "query_accuracy_high", "note"])

    def _slices_of(self, mask: Mask, column: str) -> list[dict[str, Any]]:
        codes, values = self.groups[column]
        words = self._sums(mask, codes, len(values), self.errors, self.words)
        exact = self._sums(mask, codes, len(values), self.is_exact, self.is_speech)
        here, whole = codes[mask], float(self.weights[mask].sum())
        kept = here >= 0
        n, n_words, weight, seconds = (np.bincount(here[kept], weights=v[mask][kept], minlength=len(values))
                                       for v in (np.ones(len(self)), self.words, self.weights, self.durations))
        rows = []
        for i in np.flatnonzero(n):
            wer, right = self.interval(Sums(*(s[i] for s in words))), self.interval(Sums(*(s[i] for s in exact)))
            rows.append({
                "column": column, "value": values[i], "name": self.names[column][i], "n_utterances": int(n[i]),
                "n_speakers": int(np.count_nonzero(words.totals[i])), "n_words": int(n_words[i]),
                "mean_duration_s": seconds[i] / n[i], "share": weight[i] / whole,
                "wer": wer.value, "wer_low": wer.low, "wer_high": wer.high,
                "query_accuracy": right.value, "query_accuracy_low": right.low, "query_accuracy_high": right.high,
                "note": wer.note})
        return rows

    def crossed(self, mask: Mask, down: str, across: str) -> pd.DataFrame:
        """Cross two columns within a selection. Returns: row, column (their values), wer, n_utterances."""
        (a, downs), (b, acrosses) = self.groups[down], self.groups[across]
        kept = mask & (a >= 0) & (b >= 0)
        cell, size = a[kept] * len(acrosses) + b[kept], len(downs) * len(acrosses)
        w = self.weights[kept]
        n, e, words = (np.bincount(cell, weights=v, minlength=size)
                       for v in (np.ones(len(cell)), w * self.errors[kept], w * self.words[kept]))
        rows = [{"row": downs[i // len(acrosses)], "column": acrosses[i % len(acrosses)],
                 "wer": e[i] / words[i] if words[i] else np.nan, "n_utterances": int(n[i])} for i in np.flatnonzero(n)]
        return pd.DataFrame(rows, columns=["row", "column", "wer", "n_utterances"])

    # --- words -------------------------------------------------------------------------------------------------------

    def mistakes(self, mask: Mask, n: int = 200) -> pd.DataFrame:
        """Count mistakes within a selection, the most frequent first. Returns: kind, said, heard, n."""
        counts = np.bincount(self.wrong_pair[mask[self.wrong_row]], minlength=len(self.pairs))
        best = [code for code in np.argsort(-counts, kind="stable")[:n] if counts[code]]
        rows = [(*self.pairs[code].split("\t"), int(counts[code])) for code in best]
        return pd.DataFrame(rows, columns=["kind", "said", "heard", "n"])

    def word_accuracy(self, mask: Mask) -> pd.DataFrame:
        """Tell how often each said word was heard, the most often missed first. Returns: said, n, n_wrong, accuracy."""
        said = self.edit_said[mask[self.edit_row] & self.edit_is_said]
        wrong = self.edit_said[mask[self.edit_row] & self.edit_is_said & self.edit_is_wrong]
        return _accuracies(self.said, *(np.bincount(codes, minlength=len(self.said)) for codes in (said, wrong)))

    def entity_accuracy(self, mask: Mask) -> pd.DataFrame:
        """Tell how often each name was heard, the most often missed first. Returns: said, n, n_wrong, accuracy."""
        if "entity" not in self.groups or "is_entity_right" not in self.scores:
            return _accuracies([], np.zeros(0, int), np.zeros(0, int))
        codes, values = self.groups["entity"]
        is_known = mask & (codes >= 0) & self.scores["is_entity_right"].notna().to_numpy()
        is_wrong = is_known & ~self.scores["is_entity_right"].fillna(True).to_numpy(bool)
        counts = (np.bincount(codes[which], minlength=len(values)) for which in (is_known, is_wrong))
        return _accuracies(values, *counts).head(MAX_ENTITIES)

    def word_interval(self, mask: Mask, said: str, *, is_entity: bool = False) -> Interval:
        """Give the accuracy of one word, or of one name, with its interval by speaker."""
        if is_entity:
            codes, values = self.groups["entity"]
            n = (mask & (codes == values.index(said))).astype(float)
            wrong = n * ~self.scores["is_entity_right"].fillna(True).to_numpy(bool)
        else:
            is_it = self.edit_said == self.said.index(said)
            n, wrong = (np.bincount(self.edit_row[which], minlength=len(self)) * mask.astype(float)
                        for which in (is_it & self.edit_is_said, is_it & self.edit_is_said & self.edit_is_wrong))
        return self.rate(mask & (n > 0), n - wrong, n)


def scored(listened: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Score and align what a model heard, the costly part. Returns: scores, with bands and finds_same; edits."""
    scores = slicing.bands(scoring.score(listened, listened["hypothesis"]))
    return scores.assign(finds_same=finding.finds_same(scores)), scoring.edits(scores)


def explored(scores: pd.DataFrame, edits: pd.DataFrame, *, weights: Floats,
             expressions: Mapping[str, str] | None = None) -> Explored:
    """Make a scored set ready to explore, sliced by all columns that say something about its utterances."""
    columns = [column for column in slicing.slice_columns(scores) if column not in _NOT_SLICED]
    return Explored(scores, edits, weights=weights, columns=columns, expressions=expressions)


def on_references(data: Explored, references: pd.Series) -> Explored:
    """Score the same answers anew against other references, in the order of `data.scores`."""
    scores, edits = scored(data.scores.assign(reference=references.to_numpy()))
    return Explored(scores, edits, weights=data.weights, columns=data.columns, expressions=data.expressions)


def _factorized(values: pd.Series) -> tuple[NDArray[np.int64], list[str]]:
    """Number values; bands in their order, what is missing or empty is -1."""
    codes, found = pd.factorize(values)
    names = [str(value) for value in found]
    order = [band for band in (*slicing.SNR_BANDS, *slicing.DURATION_BANDS) if band in names]
    order = order or sorted(set(names) - {""})
    positions = {name: i for i, name in enumerate(order)}
    return np.array([*(positions.get(name, -1) for name in names), -1], dtype=np.int64)[codes], order


def _accuracies(names: Sequence[str], n: NDArray[Any], n_wrong: NDArray[Any]) -> pd.DataFrame:
    table = pd.DataFrame({"said": pd.Series(list(names), dtype=object), "n": n, "n_wrong": n_wrong})
    table = table[table["n"] > 0].assign(accuracy=1 - table["n_wrong"] / table["n"].where(table["n"] > 0))
    return table.sort_values(["n_wrong", "n", "said"], ascending=[False, True, True], ignore_index=True)
