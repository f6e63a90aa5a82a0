"""How much speech shows a difference: before anything is known, from a pilot, and when one looks more than once."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from workbench.differences import ALPHA, PairedResult

POWER = 0.8
"""Chance of seeing a difference that is there: what plans are made for."""

PAIR_CORRELATION = 0.5
"""Share of the errors' variance that two models of one family have in common; our assumption for planning only."""

SURE_OF_RANGE = 0.9
"""How often the range of a plan made from a pilot should hold what it really takes."""


@dataclass(frozen=True, slots=True)
class Pilot:
    """How much the difference of two models varied: variance an utterance, speakers' habits counted in, and its `df`.

    `n_per_speaker` is how often a speaker spoke; the variance holds for plans whose speakers speak as often.
    """

    variance: float
    df: float
    n_per_speaker: float

    @property
    def range(self) -> tuple[float, float]:
        """Give between what the true variance lies, nine times out of ten, by a chi-square of `df`."""
        if math.isinf(self.df):
            return self.variance, self.variance
        tail = (1 - SURE_OF_RANGE) / 2
        low, high = (self.variance * self.df / float(stats.chi2.ppf(p, self.df)) for p in (1 - tail, tail))
        return low, high


def pilot(paired: PairedResult) -> Pilot:
    """Take what a comparison that was made tells for those to come."""
    return Pilot(paired.se**2 * paired.n_utterances, paired.se_df, paired.n_utterances / paired.n_blocks)


def utterances(difference: float, variance: float, power: float = POWER, alpha: float = ALPHA) -> int:
    """Say how many utterances, heard by both models, show a difference (one-sided): (z_alpha + z_power)^2 var / diff^2.

    Raises: ValueError for a difference that is not above 0.
    """
    if not difference > 0:
        raise ValueError(f"difference is {difference}; give a fraction above 0")
    z = float(stats.norm.ppf(1 - alpha) + stats.norm.ppf(power))
    return math.ceil(z**2 * variance / difference**2)


def assumed_variance(wer: float, design_effect: float, words_per_query: float) -> float:
    """Guess the variance an utterance of two models' difference: 2 (1 - PAIR_CORRELATION) wer (1 - wer) DEFF / words.

    Raises: ValueError for a wer outside 0 to 1.
    """
    if not 0 < wer < 1:
        raise ValueError(f"wer is {wer}; give a fraction above 0 and below 1")
    return 2 * (1 - PAIR_CORRELATION) * wer * (1 - wer) * design_effect / words_per_query


def utterances_needed(difference: float, wer: float, design_effect: float, words_per_query: float,
                      power: float = POWER, alpha: float = ALPHA) -> int:
    """Say how many utterances show a difference in WER, from assumptions alone."""
    return utterances(difference, assumed_variance(wer, design_effect, words_per_query), power, alpha)


def power_table(differences: Sequence[float], wers: Sequence[float], *, design_effect: float, words_per_query: float,
                power: float = POWER, alpha: float = ALPHA) -> pd.DataFrame:
    """Tabulate `utterances_needed`. Returns: wer, difference (fractions), n_utterances; a row a pair, wer by wer."""
    return pd.DataFrame([
        {"wer": wer, "difference": difference,
         "n_utterances": utterances_needed(difference, wer, design_effect, words_per_query, power, alpha)}
        for wer in wers for difference in differences])


def pilot_table(differences: Sequence[float], told: Pilot, power: float = POWER, alpha: float = ALPHA) -> pd.DataFrame:
    """Tabulate what differences take, from a pilot, and the range that its few speakers leave.

    Returns: difference (fraction), n_utterances, n_low, n_high, n_speakers (that speak as often as the pilot's).
    """
    low, high = told.range
    rows = [{"difference": d, **{name: utterances(d, variance, power, alpha) for name, variance in
                                 (("n_utterances", told.variance), ("n_low", low), ("n_high", high))}}
            for d in differences]
    table = pd.DataFrame(rows)
    return table.assign(n_speakers=np.ceil(table["n_utterances"] / told.n_per_speaker).astype(int))
