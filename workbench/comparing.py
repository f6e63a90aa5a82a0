"""Two models on the same utterances: won and lost, paired by slice, by word and by query. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from workbench import decisions
from workbench.exploring import Explored, Floats, Mask
from workbench.records import Interval

FALSE_DISCOVERIES = 0.05
"""Of the slices that are called changed, the expected share that is not (Benjamini & Hochberg 1995)."""

N_FLIPS = 4000
"""Sign flips a slice: p-values down to 1 in 4,000, as fifty slices at a rate of 5 % need."""

MOST_ERRORS = 6
"""Answers with more errors share a bubble."""

KEY = "audio_sha"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two models' answers to the same utterances; `rows` says which row of `b` answers each row of `a` (-1 for none)."""

    a: Explored
    b: Explored
    rows: np.ndarray

    @property
    def both(self) -> Mask:
        """Which utterances of `a` both have answered."""
        return self.rows >= 0

    def of_b(self, values: Floats) -> Floats:
        """Put values of `b` in the order of `a`; 0 where `b` has none."""
        return np.where(self.both, values[np.maximum(self.rows, 0)], 0.0)


def pair(a: Explored, b: Explored) -> Pair:
    """Match two models' answers by their recordings (by name where those are unknown), and by reference."""
    key = KEY if KEY in a.scores and KEY in b.scores else "utterance_id"
    theirs = b.scores.drop_duplicates(key)
    found = pd.Index(theirs[key]).get_indexer(a.scores[key])
    rows = np.where(found >= 0, theirs.index.to_numpy()[np.maximum(found, 0)], -1)
    is_same = a.scores["reference"].to_numpy() == b.scores["reference"].to_numpy()[np.maximum(rows, 0)]
    return Pair(a, b, np.where(is_same, rows, -1))


def difference(two: Pair, mask: Mask, *, n_flips: int = N_FLIPS) -> decisions.PairedResult | None:
    """Compare the WER of a selection; None where there is nothing to compare."""
    rows = mask & two.both
    if not two.a.words[rows].sum():
        return None
    speakers = two.a.speakers[rows] if two.a.has_speakers else None
    return decisions.paired_difference(two.a.errors[rows], two.of_b(two.b.errors)[rows], two.a.words[rows], speakers,
                                       two.a.weights[rows], n_resamples=n_flips)


def by_slice(two: Pair, mask: Mask, columns: Sequence[str] = ()) -> pd.DataFrame:
    """Compare slice by slice, told apart from chance at a false discovery rate of 5 % over all of them.

    Returns: column, value, name, n_utterances, before, treated (WER of a and of b), change, change_low, change_high,
        p (two-sided, sign flips by speaker), q (Benjamini-Hochberg), verdict (better, worse, cannot tell).
    """
    rows = []
    for column in columns or [name for name in two.a.names if name != "speaker"]:
        codes, values = two.a.groups[column]
        for code, value in enumerate(values):
            found = difference(two, mask & (codes == code))
            if found is not None:
                rows.append({"column": column, "value": value, "name": two.a.names[column][code],
                             "n_utterances": found.n_utterances, "before": found.rate_a, "treated": found.rate_b,
                             **_spread(found.difference), "p": min(1.0, 2 * min(found.p_better, found.p_worse))})
    table = pd.DataFrame(rows, columns=["column", "value", "name", "n_utterances", "before", "treated", "change",
                                        "change_low", "change_high", "p"])
    q = stats.false_discovery_control(table["p"]) if len(table) else np.zeros(0)
    is_found = q <= FALSE_DISCOVERIES
    words = np.where(~is_found, "cannot tell", np.where(table["change"] < 0, "better", "worse"))
    return table.assign(q=q, verdict=words)


def _spread(interval: Interval) -> dict[str, float]:
    return {"change": interval.value, "change_low": interval.low, "change_high": interval.high}


def won_and_lost(two: Pair, mask: Mask) -> dict[str, int]:
    """Count queries that only b hears word for word (won), only a (lost), both and neither."""
    rows = mask & two.both & (two.a.is_speech > 0)
    a, b = two.a.is_exact[rows] > 0, two.of_b(two.b.is_exact)[rows] > 0
    return {"won": int((b & ~a).sum()), "lost": int((a & ~b).sum()), "both": int((a & b).sum()),
            "neither": int((~a & ~b).sum())}


def cells(two: Pair, mask: Mask) -> pd.DataFrame:
    """Count utterances by the errors that each model makes. Returns: a, b (errors, at most MOST_ERRORS), n."""
    rows = mask & two.both
    a, b = (np.minimum(e[rows], MOST_ERRORS).astype(int) for e in (two.a.errors, two.of_b(two.b.errors)))
    counted = pd.Series(1, index=pd.MultiIndex.from_arrays([a, b], names=["a", "b"])).groupby(level=[0, 1]).sum()
    return counted.rename("n").reset_index()


def in_cell(two: Pair, a: int, b: int) -> frozenset[str]:
    """Name the utterances of one bubble."""
    errors = (np.minimum(e, MOST_ERRORS) for e in (two.a.errors, two.of_b(two.b.errors)))
    is_in = np.logical_and(*(e == n for e, n in zip(errors, (a, b), strict=True))) & two.both
    return frozenset(two.a.scores.loc[is_in, "utterance_id"])


def by_query(two: Pair, mask: Mask) -> pd.DataFrame:
    """List the queries whose errors differ. Returns: utterance_id, reference, heard_a, heard_b, change, the won first."""
    errors_b = two.of_b(two.b.errors)
    rows = np.flatnonzero(mask & two.both & (errors_b != two.a.errors))
    return pd.DataFrame({
        "utterance_id": two.a.scores["utterance_id"].to_numpy()[rows],
        "reference": two.a.scores["reference"].to_numpy()[rows],
        "heard_a": two.a.scores["hypothesis"].to_numpy()[rows],
        "heard_b": two.b.scores["hypothesis"].to_numpy()[two.rows[rows]],
        "change": (errors_b - two.a.errors)[rows].astype(int),
    }).sort_values("change", kind="stable", ignore_index=True)


def by_word(two: Pair, mask: Mask) -> pd.DataFrame:
    """Compare how often each word is missed. Returns: said, n, wrong_a, wrong_b, change; the largest change first."""
    rows = mask & two.both
    in_b = np.zeros(len(two.b), bool)
    in_b[two.rows[rows]] = True
    a, b = (data.word_accuracy(which).set_index("said") for data, which in ((two.a, rows), (two.b, in_b)))
    table = pd.DataFrame({"n": a["n"], "wrong_a": a["n_wrong"], "wrong_b": b["n_wrong"].reindex(a.index).fillna(0)})
    table = table.astype(int).assign(change=lambda t: t["wrong_b"] - t["wrong_a"]).query("change != 0")
    order = table["change"].abs().sort_values(ascending=False, kind="stable").index
    return table.loc[order].rename_axis("said").reset_index()
