"""What mending each slice would buy: the gap that could be closed, what rounds so far really closed, and the cost.

A gain is expected, not promised: ceiling (share of words x gap) times realization (the part of such ceilings that
rounds brought beyond their controls). The order follows gain per hour of people's time. Numbers in, tables out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special, stats

from workbench import settings, slicing

Floats = NDArray[np.float64]

MIN_COMPARABLE = 30
"""Utterances a slice needs for others to be compared with it; fewer cannot say how good it can get."""

CLIPS_PER_POINT = 75
"""Training clips asked for per point of WER that a slice lags: in a first trial 1,300 clips of car noise brought cars
from 32 % to 14 %."""

QUERY_S = 3.0
"""How long a clip is where the data does not say: a voice query lasts about 3 s."""

_Z = 1.96

_METHODS = {"noise": "augment", "snr_band": "augment", "device": "augment", "entity_type": "bias"}
_ADVICE = {
    "collect": "collect {n} recordings with {name}",
    "augment": "mix {name} into {n} clips, or record as many",
    "bias": "bias towards names of {name}, or collect {n} recordings of them",
}


@dataclass(frozen=True, slots=True)
class Costs:
    """Minutes of people that a request takes: so many for any, then for each clip, and for each second of it.

    A prompted clip is read, spoken and heard once more by who checks it. Any request takes a working day: people are
    found and told, what they bring is checked, models are trained and judged. These are our own estimates: give yours.
    `by_method` scales a method's clips: {"augment": 0.1} where noise is at hand.
    """

    request_min: float = 480.0
    clip_s: float = 6.0
    times_real: float = 2.0
    by_method: Mapping[str, float] = field(default_factory=dict)

    def minutes(self, method: pd.Series, n_clips: pd.Series, clip_duration_s: pd.Series) -> pd.Series:
        """Give the minutes of each request; nothing is asked, nothing is spent."""
        scale = method.map(dict(self.by_method)).astype(float).fillna(1.0)
        spent = self.request_min + n_clips * scale * (self.clip_s + self.times_real * clip_duration_s) / 60
        return spent.where(n_clips > 0, 0.0)


# --- what rounds so far brought --------------------------------------------------------------------------------------

PRIOR_BETA = (2.0, 2.0)
"""Before any round: half of a ceiling on average, and anything between nothing and all of it. In first trials (FACTS of
the demo world: car 32 to 14 %, babble 20 to 13.5 % WER beside 4.5 % in quiet) fixes closed .65 and .42 of their gaps.
"""
BETWEEN_ROUNDS = 4.0
"""Concentration of a round's part around the project's mean, of which few rounds can tell: at one half, sd .22."""

_PARTS = (np.arange(200) + 0.5) / 200
_MEANS = (np.arange(50) + 0.5) / 50
_N_QUANTILES = 40


@dataclass(frozen=True, slots=True)
class Realization:
    """The part of a ceiling that the next round may bring, as equally likely values, and the rounds it rests on."""

    parts: tuple[float, ...]
    n_rounds: int

    @property
    def mean(self) -> float:
        """The part expected."""
        return float(np.mean(self.parts))

    @property
    def sentence(self) -> str:
        """Say it in words."""
        low, high = np.quantile(self.parts, (0.025, 0.975))
        rests = f"{self.n_rounds} judged round{'s' * (self.n_rounds != 1)}" if self.n_rounds else "no round yet"
        return (f"A request is expected to bring {100 * self.mean:.0f} % ({100 * low:.0f} to {100 * high:.0f}) of what "
                f"closing the whole gap would; this rests on {rests} and a prior of one half.")


def realized(rounds: pd.DataFrame) -> Realization:
    """Learn from earlier rounds which part of their ceilings came true, shrunk towards the prior.

    `rounds` holds ceiling and achieved (WER over all use beyond the control), each with _low and _high. A round's part
    is drawn from a beta around the project's mean; what is measured is part x ceiling, give or take both errors.
    """
    weights = stats.beta.pdf(_MEANS, *PRIOR_BETA)
    for row in rounds[rounds["ceiling"].gt(0)].to_dict("records") if len(rounds) else []:
        weights = weights * (_population() @ _likelihood(row))
        weights /= weights.sum()
    predictive = np.cumsum(weights @ _population())
    levels = (np.arange(_N_QUANTILES) + 0.5) / _N_QUANTILES * predictive[-1]
    n_rounds = int(rounds["ceiling"].gt(0).sum()) if len(rounds) else 0
    return Realization(tuple(float(part) for part in np.interp(levels, predictive, _PARTS)), n_rounds)


@cache
def _population() -> Floats:
    """Tabulate how likely each part is under each mean. Shape: [means, parts], rows sum to 1."""
    density = stats.beta.pdf(_PARTS, _MEANS[:, None] * BETWEEN_ROUNDS, (1 - _MEANS[:, None]) * BETWEEN_ROUNDS)
    return np.asarray(density / density.sum(axis=1, keepdims=True))


def _likelihood(row: Mapping[Any, Any]) -> Floats:
    achieved, ceiling = (max((row[f"{name}_high"] - row[f"{name}_low"]) / (2 * _Z), 1e-6)
                         for name in ("achieved", "ceiling"))
    distance = (row["achieved"] - _PARTS * row["ceiling"]) ** 2 / (achieved**2 + (_PARTS * ceiling) ** 2)
    # Never quite zero: a round that harmed says that nothing came true, not that no model holds.
    return np.asarray(np.exp(-0.5 * (distance - distance.min())) / np.hypot(achieved, _PARTS * ceiling))


NO_ROUNDS = realized(pd.DataFrame())


# --- the ranking -----------------------------------------------------------------------------------------------------


def rank(table: pd.DataFrame, *, realization: Realization = NO_ROUNDS, costs: Costs | None = None,
         max_clips: int = settings.AMOUNTS["small"].n_request, min_comparable: int = MIN_COMPARABLE) -> pd.DataFrame:
    """Rank the slices of a slice table by what a request for each is expected to take off the overall WER an hour.

    ceiling = share of all words x (WER of the slice - WER of the best comparable slice of its column) x the part of it
    that no other column explains (`own`, where known), both WERs shrunk towards the column's mean first (the worst of
    many small slices looks worse than it is, the best better), with an interval from both; below `min_comparable`
    utterances a slice is nobody's model, and where all are, the mean is. gain = ceiling x realization, its interval
    from both. Speakers are left out, and so is what an expression excludes. Bands of SNR, sources and expressions are
    diagnostic: they tell where to look, and a request is made of plain columns (SNR too where there is no noise one).
    Returns: the columns of `slice_table`, then shrunk_wer, best_name, gap, ceiling, ceiling_low, ceiling_high, gain,
        gain_low, gain_high (fractions), is_actionable, method (collect, augment, bias), n_clips (CLIPS_PER_POINT a
        point of gap, at most `max_clips`), cost_min, gain_per_hour, gain_per_hour_low, gain_per_hour_high, advice.
        What can be asked for comes first, of that what clearly gains something, then the larger gain per hour.
    """
    is_row = table["column"].ne("speaker") & table["wer"].notna()
    groups = [_against_best(group, min_comparable) for _, group in table[is_row].groupby("column", sort=False)]
    ranked = pd.concat(groups) if groups else table[is_row].assign(
        shrunk_wer=0.0, best_name="", gap=0.0, ceiling=0.0, ceiling_low=0.0, ceiling_high=0.0)
    ranked = ranked[~ranked["name"].str.startswith("not ") | ranked["value"].ne("no")]
    ranked = _priced(_expected(ranked, realization), costs or Costs(), max_clips)
    ranked["advice"] = [_advice(row) for row in ranked.to_dict("records")]
    order = ranked.assign(is_clear=ranked["gain_low"].gt(0)).sort_values(
        ["is_actionable", "is_clear", "gain_per_hour", "gain"], ascending=False, kind="stable")
    return order.drop(columns="is_clear").reset_index(drop=True)


def first(ranked: pd.DataFrame) -> Mapping[str, Any] | None:
    """Give the first fix that can be asked for and clearly gains something, or None."""
    clear = ranked[ranked["is_actionable"].astype(bool) & ranked["gain_low"].gt(0)]
    return None if clear.empty else {str(name): value for name, value in clear.iloc[0].items()}


def _against_best(group: pd.DataFrame, min_comparable: int) -> pd.DataFrame:
    """Compare the slices of one column with its best, after empirical-Bayes shrinkage."""
    shrunk, posterior, mean, mean_variance = _shrink(*(group[f"wer{end}"].to_numpy(float)
                                                       for end in ("", "_low", "_high")))
    comparable = np.flatnonzero(group["n_utterances"].to_numpy() >= min_comparable)
    if len(comparable):
        best = comparable[shrunk[comparable].argmin()]
        best_name, best_wer, best_variance = str(group["name"].iloc[best]), shrunk[best], posterior[best]
    else:
        best_name, best_wer, best_variance = f"mean of {group['column'].iloc[0]}", mean, mean_variance
    own = group["own"].to_numpy(float) if "own" in group else 1.0
    # A WER is pooled over words; tables of older runs know only the share of utterances.
    gap, share = (shrunk - best_wer) * own, group["word_share" if "word_share" in group else "share"].to_numpy(float)
    half = _Z * np.sqrt(posterior + best_variance) * (group["name"].to_numpy() != best_name)
    return group.assign(shrunk_wer=shrunk, best_name=best_name, gap=gap, ceiling=share * gap,
                        ceiling_low=share * (gap - half), ceiling_high=share * (gap + half))


class _Shrunk(NamedTuple):
    values: Floats
    variance: Floats
    mean: float
    mean_variance: float


def _shrink(wer: Floats, low: Floats, high: Floats) -> _Shrunk:
    """Shrink slices towards their mean, on the logit scale, where bad slices are not known worse than good ones.

    On the plain scale a bad slice's own variance would pull it nearly all the way to the others. A slice without
    errors is taken to be known within a factor of a hundred below its upper end; a WER of 100 % and above as 99 %.
    Source: between-slice variance by DerSimonian & Laird 1986; shrunk = mean + B (x - mean), B = var / (var + se^2).
    """
    high = np.clip(high, 1e-6, 0.999)
    low = np.clip(low, high / 100, high)
    x = special.logit(np.clip(np.where(wer > 0, wer, np.sqrt(low * high)), 1e-6, 0.99))
    variance = np.maximum((special.logit(high) - special.logit(low)) / (2 * _Z), 1e-6) ** 2
    precision = 1 / variance
    mean = float((precision * x).sum() / precision.sum())
    spread = float((precision * (x - mean) ** 2).sum()) - (len(x) - 1)
    scale = precision.sum() - (precision**2).sum() / precision.sum()
    between = max(0.0, spread / scale) if scale > 0 else 0.0
    kept = between / (between + variance)
    posterior = kept * variance + (1 - kept) ** 2 / precision.sum()
    shrunk, centre = special.expit(mean + kept * (x - mean)), float(special.expit(mean))
    slope, slope_of_centre = shrunk * (1 - shrunk), centre * (1 - centre)
    return _Shrunk(shrunk, posterior * slope**2, centre, slope_of_centre**2 / float(precision.sum()))


def _expected(ranked: pd.DataFrame, realization: Realization) -> pd.DataFrame:
    """Multiply ceilings with what is expected to come true of them."""
    z = stats.norm.ppf((np.arange(_N_QUANTILES) + 0.5) / _N_QUANTILES)
    ceiling, low, high = (ranked[f"ceiling{end}"].to_numpy(float) for end in ("", "_low", "_high"))
    # The factor makes up for the tails that equally likely values leave out.
    values = ceiling[:, None] + ((high - low) / (2 * _Z))[:, None] * z / z.std()
    products = values[:, :, None] * np.array(realization.parts)
    ends = np.quantile(products, (0.025, 0.975), axis=(1, 2)) if len(ranked) else np.zeros((2, 0))
    return ranked.assign(gain=realization.mean * ceiling, gain_low=ends[0], gain_high=ends[1])


def _priced(ranked: pd.DataFrame, costs: Costs, max_clips: int) -> pd.DataFrame:
    """Say what can be asked for, how many clips of it, what they cost, and what they bring an hour."""
    diagnostic = slicing.diagnostic(set(ranked["column"]))
    is_expression = ranked["name"] != ranked["column"] + " = " + ranked["value"]
    can_ask = ~ranked["column"].isin(diagnostic) & ~is_expression & ranked["gain"].gt(0)
    clips = np.ceil(100 * ranked["gap"].clip(lower=0) * CLIPS_PER_POINT).clip(upper=max_clips)
    ranked = ranked.assign(is_actionable=can_ask, method=ranked["column"].map(_METHODS).fillna("collect"),
                           n_clips=clips.where(can_ask, 0).astype(int))
    durations = ranked.get("mean_duration_s", pd.Series(np.nan, index=ranked.index)).fillna(QUERY_S)
    minutes = costs.minutes(ranked["method"], ranked["n_clips"], durations)
    hours = (minutes / 60).where(minutes > 0)
    return ranked.assign(cost_min=minutes, **{
        f"gain_per_hour{end}": (ranked[f"gain{end}"] / hours).fillna(0.0) for end in ("", "_low", "_high")})


def _advice(row: Mapping[Any, Any]) -> str:
    if row["name"] == row["best_name"]:
        return "the best of its column"
    if row.get("explained_by"):
        return f"mostly what {row['explained_by']} explains: see there first"
    if not row["gain"] > 0:
        return f"nothing to gain: as good as {row['best_name']}"
    if not row["is_actionable"]:
        return f"diagnostic: {row['name']} cannot be asked for alone; see what it is made of"
    todo = _ADVICE[row["method"]].format(n=f"{row['n_clips']:,}", name=row["name"])
    doubt = "" if row["gain_low"] > 0 else "; cannot tell yet whether it gains anything"
    return f"{todo} to bring it towards {row['best_name']}{doubt}"
