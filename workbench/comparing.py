"""A model against another one on the same utterances: won and lost, paired by slice, by word and by query. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from workbench import decisions, exploring
from workbench.decisions import PairedResult
from workbench.exploring import Explored, Floats, Mask

FALSE_DISCOVERIES = 0.05
"""Of the slices that are called changed, the expected share that is not (Benjamini & Hochberg 1995)."""

N_FLIPS = 4000
"""Sign flips a slice: p-values down to 1 in 4,000, as fifty slices at a rate of 5 % need."""

MOST_ERRORS = 6
"""Answers with more errors share a bubble."""

KEY = "audio_sha"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two models' answers; `rows` says which row of `before` answers each utterance of `now` (-1 for none).

    Masks are over the utterances of `now`.
    """

    now: Explored
    before: Explored
    rows: np.ndarray

    @property
    def both(self) -> Mask:
        """Which utterances both have answered."""
        return np.asarray(self.rows >= 0)

    def of_before(self, values: Floats) -> Floats:
        """Put values of `before` in the order of `now`; 0 where there are none."""
        return np.where(self.both, values[np.maximum(self.rows, 0)], 0.0)


def pair(now: Explored, before: Explored) -> Pair:
    """Match answers by recording, both on the references of `now`: what was corrected since is scored anew.

    Where recordings are unknown answers are matched by name; there another reference makes them another task.
    """
    key = KEY if KEY in now.scores and KEY in before.scores else "utterance_id"
    theirs = before.scores.drop_duplicates(key)
    found = pd.Index(theirs[key]).get_indexer(now.scores[key])
    rows = np.where(found >= 0, theirs.index.to_numpy()[np.maximum(found, 0)], -1)
    if key == KEY:
        before = _on_references_of(now, before)
    is_same = now.scores["reference"].to_numpy() == before.scores["reference"].to_numpy()[np.maximum(rows, 0)]
    return Pair(now, before, np.where(is_same, rows, -1))


def _on_references_of(now: Explored, before: Explored) -> Explored:
    known = now.scores.drop_duplicates(KEY).set_index(KEY)["reference"]
    references = before.scores[KEY].map(known).fillna(before.scores["reference"])
    return before if references.equals(before.scores["reference"]) else exploring.on_references(before, references)


def difference(two: Pair, mask: Mask, *, n_flips: int = N_FLIPS) -> PairedResult | None:
    """Compare the WER of a selection, now minus before; None where there is nothing to compare."""
    rows = mask & two.both
    if not two.now.words[rows].sum():
        return None
    speakers = two.now.speakers[rows] if two.now.has_speakers else None
    return decisions.paired_difference(two.of_before(two.before.errors)[rows], two.now.errors[rows],
                                       two.now.words[rows], speakers, two.now.weights[rows], n_resamples=n_flips)


def by_slice(two: Pair, mask: Mask, columns: Sequence[str] = ()) -> pd.DataFrame:
    """Compare slice by slice, told apart from chance at a false discovery rate of 5 % over all of them.

    Returns: column, value, name, n_utterances, before, now (WER), change, change_low, change_high, p (two-sided, sign
        flips by speaker), q (Benjamini-Hochberg), verdict (better, worse, cannot tell).
    """
    rows = []
    for column in columns or [name for name in two.now.names if name != "speaker"]:
        codes, values = two.now.groups[column]
        for code, value in enumerate(values):
            found = difference(two, mask & (codes == code))
            if found is not None:
                rows.append({
                    "column": column, "value": value, "name": two.now.names[column][code],
                    "n_utterances": found.n_utterances, "before": found.rate_a, "now": found.rate_b,
                    "change": found.difference.value, "change_low": found.difference.low,
                    "change_high": found.difference.high, "p": min(1.0, 2 * min(found.p_better, found.p_worse))})
    table = pd.DataFrame(rows, columns=["column", "value", "name", "n_utterances", "before", "now", "change",
                                        "change_low", "change_high", "p"])
    q = stats.false_discovery_control(table["p"]) if len(table) else np.zeros(0)
    words = np.where(q > FALSE_DISCOVERIES, "cannot tell", np.where(table["change"] < 0, "better", "worse"))
    return table.assign(q=q, verdict=words)


def won_and_lost(two: Pair, mask: Mask) -> dict[str, int]:
    """Count queries that are word for word right now only (won), before only (lost), both times and never."""
    rows = mask & two.both & (two.now.is_speech > 0)
    now, before = two.now.is_exact[rows] > 0, two.of_before(two.before.is_exact)[rows] > 0
    return {"won": int((now & ~before).sum()), "lost": int((before & ~now).sum()), "both": int((now & before).sum()),
            "neither": int((~now & ~before).sum())}


def _cell(two: Pair) -> tuple[np.ndarray, np.ndarray]:
    before = two.of_before(two.before.errors)
    return np.minimum(before, MOST_ERRORS).astype(int), np.minimum(two.now.errors, MOST_ERRORS).astype(int)


def cells(two: Pair, mask: Mask) -> pd.DataFrame:
    """Count utterances by the errors that each model makes. Returns: before, now (at most MOST_ERRORS), n."""
    before, now = (errors[mask & two.both] for errors in _cell(two))
    counted = pd.DataFrame({"before": before, "now": now}).groupby(["before", "now"]).size()
    return counted.rename("n").reset_index()


def in_cell(two: Pair, before: int, now: int) -> frozenset[str]:
    """Name the utterances of one cell."""
    was, is_now = _cell(two)
    return frozenset(two.now.scores.loc[two.both & (was == before) & (is_now == now), "utterance_id"])


def by_query(two: Pair, mask: Mask) -> pd.DataFrame:
    """List the queries whose errors differ, the most won first.

    Returns: utterance_id, reference, heard_before, heard_now, change (errors).
    """
    change = two.now.errors - two.of_before(two.before.errors)
    rows = np.flatnonzero(mask & two.both & (change != 0))
    return pd.DataFrame({
        "utterance_id": two.now.scores["utterance_id"].to_numpy()[rows],
        "reference": two.now.scores["reference"].to_numpy()[rows],
        "heard_before": two.before.scores["hypothesis"].to_numpy()[two.rows[rows]],
        "heard_now": two.now.scores["hypothesis"].to_numpy()[rows],
        "change": change[rows].astype(int),
    }).sort_values("change", kind="stable", ignore_index=True)


def by_word(two: Pair, mask: Mask) -> pd.DataFrame:
    """Compare how often each word is missed, the largest change first. Returns: said, n, before, now, change."""
    rows = mask & two.both
    in_before = np.zeros(len(two.before), bool)
    in_before[two.rows[rows]] = True
    now, before = (data.word_accuracy(which).set_index("said")
                   for data, which in ((two.now, rows), (two.before, in_before)))
    table = pd.DataFrame({"n": now["n"], "before": before["n_wrong"].reindex(now.index), "now": now["n_wrong"]})
    table = table.fillna(0).astype(int).assign(change=lambda t: t["now"] - t["before"]).query("change != 0")
    order = table["change"].abs().sort_values(ascending=False, kind="stable").index
    return table.loc[order].rename_axis("said").reset_index()
