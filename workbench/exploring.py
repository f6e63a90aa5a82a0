"""A scored set as arrays: any selection of it is counted in milliseconds, by slice, by pair of slices and by word.

It gives what `slicing` does, at 100,000 utterances within a third of a second. Nothing here draws or reads files.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from workbench import finding, scoring, slicing
from workbench.confounding import Own
from workbench.records import Interval
from workbench.selections import Mistake, Selection
from workbench.speaker_sums import Floats, Group, Mask, SpeakerSums, Sums

_NOT_SLICED = {"word_times", "arm", "is_accepted"}
"""Columns of what a stage left that say nothing about an utterance."""

_NOTHING = Interval(np.nan, np.nan, np.nan)
MAX_ENTITIES = 400
"""Names listed by entity; beyond, the rarest are left out."""


class Explored(SpeakerSums):
    """A scored set with its alignments and weights, ready to be asked about selections.

    `scores` is what `scoring.score` gives (with `slicing.bands`), `edits` its alignments; `columns` are those to slice
    by, `expressions` a recipe's named slices.
    """

    def __init__(self, scores: pd.DataFrame, edits: pd.DataFrame, *, weights: Floats, columns: Sequence[str],
                 expressions: Mapping[str, str] | None = None) -> None:
        self.scores, self.columns = scores.reset_index(drop=True), columns
        super().__init__(self.scores, weights)
        self.rows, self.expressions = pd.Index(self.scores["utterance_id"]), dict(expressions or {})
        self.errors, self.words = (self.scores[c].to_numpy(float) for c in ("n_errors", "n_words"))
        self.is_speech = (self.words > 0).astype(float)
        self.is_exact = self.scores["is_exact"].to_numpy(float) * self.is_speech
        self.durations = self.scores.get("duration_s", pd.Series(np.nan, self.scores.index)).to_numpy(float)
        self.groups = {c: _factorized(self.scores[c]) for c in (*columns, "entity") if c in self.scores}
        self.names = {c: [f"{c} = {v}" for v in self.groups[c][1]] for c in columns}
        for name, expression in (expressions or {}).items():
            self.groups[name] = (~slicing.matches(self.scores, expression).to_numpy()).astype(np.int64), ["yes", "no"]
            self.names[name] = [name, f"not {name}"]
        self._text = (self.scores["utterance_id"] + " " + self.scores["reference"] + " "
                      + self.scores["hypothesis"]).str.lower()
        self._keep_edits(edits)

    def _keep_edits(self, edits: pd.DataFrame) -> None:
        self.edit_row = self.rows.get_indexer(edits["utterance_id"])
        self.edit_is_wrong = edits["kind"].ne("equal").to_numpy()
        self.edit_is_said = edits["kind"].ne("ins").to_numpy()
        self.edit_said, self.said = _factorized(edits["reference_word"])
        wrong = edits[self.edit_is_wrong]
        self.wrong_row, self.wrong_said = self.edit_row[self.edit_is_wrong], self.edit_said[self.edit_is_wrong]
        pairs = wrong["kind"] + "\t" + wrong["reference_word"] + "\t" + wrong["hypothesis_word"]
        self.wrong_pair, self.pairs = _factorized(pairs)

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

    def neighbours(self, utterance_id: str, n: int = 6) -> pd.DataFrame:
        """Find answers with the same mistakes, most shared first. Returns: rows of `scores`, and `shared` in words."""
        own = np.unique(self.wrong_pair[self.wrong_row == self.rows.get_loc(utterance_id)])
        is_shared = np.isin(self.wrong_pair, own) & (self.wrong_row != self.rows.get_loc(utterance_id))
        counts = np.bincount(self.wrong_row[is_shared], minlength=len(self))
        best = [row for row in np.argsort(-counts, kind="stable")[:n] if counts[row]]
        shared = [", ".join(str(Mistake(*self.pairs[c].split("\t")))
                            for c in np.unique(self.wrong_pair[is_shared & (self.wrong_row == row)])) for row in best]
        return self.scores.iloc[best].assign(shared=shared)

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

    def slices(self, mask: Mask) -> pd.DataFrame:
        """Measure every slice within a selection. Returns: what `slicing.slice_table` does, without cer; no speakers.

        Slices that hold nothing of any weight are left out; share is of the selection.
        """
        chosen = [column for column in self.names if column != "speaker"]
        groups = [self.groups[column] for column in chosen]
        words = self.sums(mask, groups, self.errors, self.words)
        exact = self.sums(mask, groups, self.is_exact, self.is_speech)
        codes = {column: self.groups[column][0][mask] for column in chosen}
        weights = self.weights[mask]
        own = slicing.own_parts(weights * self.errors[mask], weights * self.words[mask], codes, self.columns)
        rows = [row for column, of_words, of_exact in zip(chosen, words, exact, strict=True)
                for row in self._slices_of(mask, column, of_words, of_exact, own[column])]
        return pd.DataFrame(rows, columns=[
            "column", "value", "name", "n_utterances", "n_speakers", "n_words", "mean_duration_s", "share",
            "word_share", *_ends("wer", _NOTHING), *_ends("query_accuracy", _NOTHING), "note", *slicing.NOT_EXPLAINED])

    def _slices_of(self, mask: Mask, column: str, words: Sums, exact: Sums, own: Own) -> list[dict[str, Any]]:
        (codes, values), whole = self.groups[column], float(self.weights[mask].sum())
        all_words = float(self.weights[mask] @ self.words[mask])
        n, n_words, weight, seconds = (np.bincount(codes[mask] + 1, v, len(values) + 1)[1:]
                                       for v in (None, self.words[mask], self.weights[mask], self.durations[mask]))
        rows = []
        for i in map(int, np.flatnonzero(weight)):
            wer, right = self.interval(words.of(i)), self.interval(exact.of(i))
            rows.append({
                "column": column, "value": values[i], "name": self.names[column][i], "n_utterances": int(n[i]),
                "n_speakers": int(np.count_nonzero(words.totals[i][:self.n_speakers])), "n_words": int(n_words[i]),
                "mean_duration_s": seconds[i] / n[i], "share": weight[i] / whole,
                "word_share": words.totals[i].sum() / max(all_words, 1e-12), **_ends("wer", wer),
                **_ends("query_accuracy", right), "note": wer.note, "own": own.parts[i],
                "explained_by": own.explained_by[i]})
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


def _ends(name: str, rate: Interval) -> dict[str, float]:
    return {name: rate.value, f"{name}_low": rate.low, f"{name}_high": rate.high}


def scored(listened: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Score and align what a model heard, the costly part. Returns: scores, with bands and finds_same; edits."""
    scores = slicing.bands(scoring.score(listened, listened["hypothesis"]))
    return finding.with_results(scores), scoring.edits(scores)


def explored(scores: pd.DataFrame, edits: pd.DataFrame, *, weights: Floats,
             expressions: Mapping[str, str] | None = None) -> Explored:
    """Make a scored set ready to explore, sliced by all columns that say something about its utterances."""
    columns = [column for column in slicing.slice_columns(scores) if column not in _NOT_SLICED]
    return Explored(scores, edits, weights=weights, columns=columns, expressions=expressions)


def on_references(data: Explored, references: pd.Series) -> Explored:
    """Score the same answers anew against other references, in the order of `data.scores`."""
    scores, edits = scored(data.scores.assign(reference=references.to_numpy()))
    return Explored(scores, edits, weights=data.weights, columns=data.columns, expressions=data.expressions)


def _factorized(values: pd.Series) -> Group:
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
