"""Utterances as sums by speaker: what rates, differences and intervals need of any selection, in milliseconds."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from workbench import blocks as of_speakers
from workbench import differences, intervals
from workbench.differences import PairedResult
from workbench.records import Interval

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]
Group = tuple[NDArray[np.int64], list[str]]
"""A column: the number of each utterance's value (-1: it has none), and the values."""


class Sums(NamedTuple):
    """Weighted errors and totals by speaker, and the totals' squared weights."""

    errors: Floats
    totals: Floats
    squares: Floats

    def of(self, group: int) -> "Sums":
        """Give those of one group."""
        return Sums(*(sums[group] for sums in self))


class SpeakerSums:
    """The speakers and weights of utterances; counts of errors and totals are given with each question."""

    def __init__(self, utterances: pd.DataFrame, weights: Floats) -> None:
        """Number the speakers of a table; one whose speaker is unknown is a block of its own."""
        self.weights = np.asarray(weights, float)
        named = utterances["speaker"] if "speaker" in utterances else pd.Series("", utterances.index, dtype="object")
        self.speakers = pd.Categorical(named.astype(object).mask(of_speakers.is_unknown(named)))
        self.n_speakers, self.has_speakers = len(self.speakers.categories), len(self.speakers.categories) > 0
        self._speaker, _ = of_speakers.number(self.speakers, len(utterances))  # unknown ones last
        self.n_blocks = int(self._speaker.max(initial=-1)) + 1

    def __len__(self) -> int:
        return len(self.weights)

    def speakers_of(self, mask: Mask) -> pd.Categorical | None:
        """Give the speakers of a selection, none but those; None where none is known."""
        return self.speakers[mask].remove_unused_categories() if self.has_speakers else None

    def rate(self, mask: Mask, errors: Floats, totals: Floats) -> Interval:
        """Give the weighted rate of a selection with its interval, by speaker."""
        whole = np.zeros(len(self), np.int64), [""]
        return self.interval(self.sums(mask, [whole], errors, totals)[0].of(0))

    def interval(self, sums: Sums) -> Interval:
        """Turn sums by speaker into a rate and its interval."""
        errors, totals, blocks, weights = self._stand_ins(sums)
        return intervals.rate_interval(errors, totals, blocks, weights)

    def paired(self, before: Sums, now: Sums) -> PairedResult:
        """Turn two models' sums by speaker into their difference and its interval; its p-values say nothing."""
        a, totals, blocks, weights = self._stand_ins(before, now)
        b, *_ = self._stand_ins(now, before)
        return differences.paired_difference(a, b, totals, blocks, weights, n_resamples=1)

    def _stand_ins(self, sums: Sums, *others: Sums) -> tuple[Floats, Floats, pd.Categorical | None, Floats]:
        """Let speakers stand in for their utterances, of a weight that leaves errors, totals and squares as they are.

        Speakers with neither errors (here or in `others`) nor totals are left out. Returns: errors, totals, blocks,
            weights.
        """
        used = (sums.totals > 0) | np.any([part.errors > 0 for part in (sums, *others)], axis=0)
        e, n, q = (values[used] for values in sums)
        weights = np.divide(q, n, out=np.ones_like(n), where=n > 0)
        n_known = int(np.count_nonzero(used[:self.n_speakers]))
        numbers = np.where(np.arange(len(n)) < n_known, np.arange(len(n)), -1)
        speakers = pd.Categorical.from_codes(numbers, pd.RangeIndex(n_known)) if self.has_speakers else None
        return e / weights, n / weights, speakers, weights

    def sums(self, mask: Mask, groups: Sequence[Group], errors: Floats, totals: Floats) -> list[Sums]:
        """Sum by the values of each column and by speaker. Shape: [values, speakers] each."""
        rows, n_blocks = np.flatnonzero(mask), self.n_blocks
        w, speaker = self.weights[rows], self._speaker[rows]
        weighted, found = (w * errors[rows], w * totals[rows], w * w * totals[rows]), []
        for codes, values in groups:
            key, size = (codes[rows] + 1) * n_blocks + speaker, (len(values) + 1) * n_blocks  # unknown values first
            sums = (np.bincount(key, v, size)[n_blocks:].astype(float) for v in weighted)
            found.append(Sums(*(part.reshape(-1, n_blocks) for part in sums)))
        return found
