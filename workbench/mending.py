"""What would be left if some errors were gone, and the sentence that a page opens with; numbers in, words out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from workbench import differences, opportunities
from workbench.exploring import Explored
from workbench.records import Interval
from workbench.selections import Mistake
from workbench.speaker_sums import Floats, Mask

_PLACES = {"noise": "in {} noise", "accent": "with accent {}", "device": "on {} phones", "gender": "with {} voices",
           "entity_type": "with names of type {}", "intent": "in {} queries", "snr_band": "at {}",
           "duration_band": "at {}"}
_NOISES = {"car": "in cars", "street": "in the street", "home": "at home", "quiet": "in quiet"}


@dataclass(frozen=True, slots=True)
class Fix:
    """Errors to take out: those of a slice (column and value) or of one mistake."""

    column: str = ""
    value: str = ""
    mistake: Mistake | None = None

    def __str__(self) -> str:
        return str(self.mistake) if self.mistake else label(self.column, self.value)


@dataclass(frozen=True, slots=True)
class Left:
    """What a fix would leave and win: WER and queries word for word, of the whole selection (fractions)."""

    title: str
    wer: Interval
    query_accuracy: Interval
    wer_gain: Interval
    query_gain: Interval


def what_if(data: Explored, mask: Mask, fixes: Sequence[Fix]) -> list[Left]:
    """Take the errors of fixes out, each alone and then, as the last line, all together.

    Taking errors out whole is the most that mending could bring. Gains overlap: an error that two fixes name is gone
    with either, so the last line is what counts.
    """
    alone = [_left(data, mask, str(fix), [fix]) for fix in fixes]
    return [*alone, _left(data, mask, "all of these together", fixes)] if len(fixes) > 1 else alone


def remaining(data: Explored, fixes: Sequence[Fix]) -> Floats:
    """Count the errors of each utterance that are left."""
    left = data.errors.copy()
    for mistake in {fix.mistake for fix in fixes if fix.mistake}:
        left -= data.errors_of(mistake)
    for fix in fixes:
        if not fix.mistake:
            codes, values = data.groups[fix.column]
            left[codes == values.index(fix.value)] = 0
    return np.maximum(left, 0)


def _left(data: Explored, mask: Mask, title: str, fixes: Sequence[Fix]) -> Left:
    left = remaining(data, fixes)
    is_right = np.where(left == 0, data.is_speech, 0.0)
    gains = [_gain(data, mask, *arrays) for arrays in ((left, data.errors, data.words),
                                                       (data.is_exact, is_right, data.is_speech))]
    return Left(title, data.rate(mask, left, data.words), data.rate(mask, is_right, data.is_speech), *gains)


def _gain(data: Explored, mask: Mask, less: Floats, more: Floats, totals: Floats) -> Interval:
    if not (data.weights * totals * mask).any():
        return Interval(np.nan, np.nan, np.nan, "nothing to count")
    return differences.paired_difference(less[mask], more[mask], totals[mask], data.speakers_of(mask),
                                         data.weights[mask], n_resamples=1).difference


def queries_to_win(slices: pd.DataFrame) -> pd.DataFrame:
    """Rank slices by the queries that bringing each to the best of its column would win, of all: by their ceilings.

    The statistic is that of `opportunities.rank`, on the share of queries that are not word for word right.
    """
    wrong = slices.assign(wer=1 - slices["query_accuracy"], wer_low=1 - slices["query_accuracy_high"],
                          wer_high=1 - slices["query_accuracy_low"], word_share=slices["share"])  # of queries
    return opportunities.rank(wrong).sort_values(["is_actionable", "ceiling"], ascending=False, ignore_index=True)


def worst_slice(slices: pd.DataFrame) -> Mapping[str, Any] | None:
    """Give the row of the slice that is clearly worth mending most, as the opening sentence names it, or None."""
    return opportunities.first(queries_to_win(slices)) if len(slices) else None


def label(column: str, value: str) -> str:
    """Write a slice's name for a plot: `noise: car`; a recipe's own slice by its name."""
    title = {"snr_band": "SNR", "duration_band": "duration"}.get(column, column.replace("_", " "))
    return title if value == "yes" else f"not {title}" if value == "no" else f"{title}: {value}"


def place(column: str, value: str) -> str:
    """Say where a slice is, as people do: `in cars`."""
    if column == "noise" and value in _NOISES:
        return _NOISES[value]
    return _PLACES.get(column, f"where {column.replace('_', ' ')} is {{}}").format(value)


def sentence(summary: dict[str, Interval], slices: pd.DataFrame) -> str:
    """Say in a line how well it hears, and what to mend first."""
    right, same = summary["query_accuracy"], summary.get("same_result")
    if np.isnan(right.value):
        return "There are no spoken queries among these."
    enough = "" if same is None else f", {100 * same.value:.0f} well enough to find the same"
    heard = f"Hears {100 * right.value:.0f} of 100 queries word for word ({_between(right)}){enough}."
    worst = worst_slice(slices)
    if worst is None:
        return f"{heard} No place is clearly worse than the others."
    gain = Interval(worst["ceiling"], worst["ceiling_low"], worst["ceiling_high"])
    return (f"{heard} Worst {place(worst['column'], worst['value'])}: mending that would win "
            f"{_between(gain, ' to ')} more.")


def _between(interval: Interval, word: str = "–") -> str:
    low, high = f"{100 * interval.low:.0f}", f"{100 * interval.high:.0f}"
    return low if low == high else f"{low}{word}{high}"
