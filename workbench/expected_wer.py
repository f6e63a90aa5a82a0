"""WER and query accuracy without references: what confidence and sound let one expect of a window's answers.

An expectation assumes that a doubt means what it meant where it was calibrated: on open speech and worsened copies of
it. Where the sound is like none of those, or answers lie further from the letters heard than their sound explains, it
extrapolates, and says so. It is an estimate, never met or missed; `auditing` holds it against labels.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from workbench.records import Interval

Floats = NDArray[np.float64]

SOUND = ("snr_db", "bandwidth_hz", "level_dbfs", "duration_s")
DOUBT = ("avg_logprob", "ctc_gap", "no_speech_prob", "compression_ratio")
"""What the phone sent, and what the model made of it; nothing that is dropped with a query's words."""
N_KNOTS = 6
"""Ramps between the quintiles of a feature: enough for a curve, few enough for some ninety speakers."""
RIDGE = 1e-4
"""Chosen on traffic of the demo seeds 101 to 106: a hundredfold drew quiet weeks to the mean by two points, a tenth
changed nothing."""
HALF_AN_ERROR = 0.5
"""Added over the whole set, so that a model that was never seen to err is not sure of it. Source: Jeffreys' prior."""
N_GROUPS = 20
"""Groups of speakers that are left out in turn, for the interval."""
APART_QUANTILE = 0.80
"""Answers that lie further from the letters heard than those of four in five queries of open speech are apart."""
MARGIN = 0.25
"""How far past the 1st and 99th percentile a sound is like those within, as a share of what lies between them."""
MAX_UNLIKE, MAX_APART = 0.05, 0.05
"""One query in twenty that is like nothing calibrated on, in sound or in what is said, is the least that matters."""
LEVEL = 0.01
"""A window's risk of being called extrapolating over nothing, as of an alarm."""
MAX_LOG_RATE: Mapping[str, float] = {"errors": math.log(1.5), "wrong": 0.0, "apart": 0.0}
"""No answer is expected to hold more than three errors in two words; a query is wrong or apart at most once."""
ESTIMATE = "an estimate from confidence, no labels"
EXTRAPOLATING = "extrapolating"


@dataclass(frozen=True, slots=True)
class Calibration:
    """Log rates as sums of ramps over features: the best fit first, then fits without one group of speakers each.

    `ramps` has feature, low, high; `fits` holds an intercept and the height of each ramp, [fits, ramps + 1], of
    "errors" (a word), "wrong" (queries) and "apart" (queries, by sound alone). `spread` is how far a query's errors lie
    from what is expected, squared and in multiples of it, and how far two of one speaker lie there together; for
    "errors" and "wrong".
    """

    ramps: pd.DataFrame
    fits: Mapping[str, Floats]
    words_per_s: float
    gap_limit: float
    spread: Mapping[str, tuple[float, float]]

    def words(self, rows: pd.DataFrame) -> Floats:
        """Give the words that a query of its length holds: known also where the words themselves are dropped."""
        return np.asarray(self.words_per_s * rows["duration_s"].to_numpy(float))

    def rates(self, rows: pd.DataFrame, name: str, n_fits: int | None = None) -> Floats:
        """Give what each fit (the best one first) expects of each query. Shape: [fits, queries]."""
        return _rates(self.fits[name][:n_fits], design(rows, self.ramps), name)

    def errors(self, rows: pd.DataFrame) -> Floats:
        """Give the errors to expect in each query."""
        return np.asarray(self.rates(rows, "errors", 1)[0] * self.words(rows))

    def as_dict(self) -> dict[str, Any]:
        """Give the fields for a JSON file."""
        return {"ramps": self.ramps.to_dict("list"), "fits": {name: fits.tolist() for name, fits in self.fits.items()},
                "words_per_s": self.words_per_s, "gap_limit": self.gap_limit, "spread": dict(self.spread)}


def read_calibration(fields: Mapping[str, Any]) -> Calibration:
    """Read a calibration out of what `as_dict` gave."""
    return Calibration(pd.DataFrame(fields["ramps"]), {name: np.array(fits) for name, fits in fields["fits"].items()},
                       fields["words_per_s"], fields["gap_limit"],
                       {name: (alone, together) for name, (alone, together) in fields["spread"].items()})


def design(rows: pd.DataFrame, ramps: pd.DataFrame) -> Floats:
    """Climb each ramp from 0 at its low end to 1 at its high end; an unknown value stands in its feature's middle.

    Shape: [queries, ramps].
    """
    middle = ramps.groupby("feature")["low"].median()
    at = np.column_stack([rows[name].fillna(middle[name]).to_numpy(float) for name in ramps["feature"]])
    low, high = ramps["low"].to_numpy(), ramps["high"].to_numpy()
    return np.asarray(np.clip((at - low) / (high - low), 0, 1))


def _rates(fits: Floats, heights: Floats, name: str) -> Floats:
    return np.asarray(np.exp(np.minimum(fits[:, :1] + fits[:, 1:] @ heights.T, MAX_LOG_RATE[name])))


# --- calibrating -----------------------------------------------------------------------------------------------------


def calibrate(scored: pd.DataFrame) -> Calibration:
    """Fit error rates as sums of ramps, by speakers' queries that somebody transcribed.

    `scored` holds SOUND, DOUBT, n_errors, n_words, speaker (as `scoring.score` leaves them), and is_copy where rows are
    worsened copies of others: these teach, and do not tell how far queries spread.
    Source: Poisson regression on an additive basis, Hastie & Tibshirani 1986.
    """
    is_own = ~scored["is_copy"].to_numpy(bool) if "is_copy" in scored else np.ones(len(scored), bool)
    words_per_s = float(scored["n_words"].sum() / scored["duration_s"].sum())
    gaps = scored.loc[is_own, "ctc_gap"].dropna()
    gap_limit = float(gaps.quantile(APART_QUANTILE, interpolation="lower")) if len(gaps) else math.inf
    words, each = words_per_s * scored["duration_s"].to_numpy(float), np.ones(len(scored))
    counts = {"errors": (scored["n_errors"].to_numpy(float), words), "wrong": (scored["n_errors"].gt(0) * 1.0, each),
              "apart": (scored["ctc_gap"].gt(gap_limit) * 1.0, each)}
    ramps = _ramps(scored)
    heights, group = design(scored, ramps), pd.factorize(scored["speaker"])[0] % N_GROUPS
    of_sound = heights * ramps["feature"].isin(SOUND).to_numpy()
    fits = {name: _fits(of_sound if name == "apart" else heights, np.asarray(n), exposure, group)
            for name, (n, exposure) in counts.items()}
    speakers = scored["speaker"].to_numpy()[is_own]
    spread = {name: _spread(np.asarray(n)[is_own], (_rates(fits[name][:1], heights, name)[0] * exposure)[is_own],
                            speakers) for name, (n, exposure) in counts.items() if name != "apart"}
    return Calibration(ramps, fits, words_per_s, gap_limit, spread)


def _ramps(scored: pd.DataFrame) -> pd.DataFrame:
    """Cut each feature between its quantiles; one that is not known, or never changes, has no ramp."""
    finite = scored[[*SOUND, *DOUBT]].astype(float).replace([np.inf, -np.inf], np.nan)  # gaps may be infinite
    ends = [(name, low, high) for name in finite if finite[name].notna().any()
            for knots in [np.unique(finite[name].quantile(np.linspace(0.01, 0.99, N_KNOTS)))]
            for low, high in zip(knots[:-1], knots[1:], strict=True)]
    return pd.DataFrame(ends, columns=["feature", "low", "high"])


def _fits(heights: Floats, counts: Floats, exposure: Floats, group: NDArray[np.int_]) -> Floats:
    """Fit log rates once, then step once from there to where they would lie without each group.

    Source: one-step jackknife, Pregibon 1981.
    """
    from sklearn.linear_model import PoissonRegressor  # a second to import; only calibrating needs it

    X = np.column_stack([np.ones(len(heights)), heights])
    has_none, counts = not counts.any(), counts + HALF_AN_ERROR * exposure / exposure.sum()
    best = np.r_[math.log(counts.sum() / exposure.sum()), np.zeros(heights.shape[1])]
    if not has_none:
        model = PoissonRegressor(alpha=RIDGE, solver="newton-cholesky", max_iter=300)
        model.fit(heights, counts / exposure, sample_weight=exposure)
        best = np.r_[model.intercept_, model.coef_]
    expected = np.exp(X @ best) * exposure
    penalty = np.diag([1e-9, *np.full(heights.shape[1], RIDGE * exposure.sum())])
    hessian, found = X.T @ (expected[:, None] * X) + penalty, [best]
    for number in range(group.max() + 1):
        theirs = X[group == number]
        without = hessian - theirs.T @ (expected[group == number, None] * theirs)
        found.append(best - np.linalg.solve(without, theirs.T @ (counts - expected)[group == number]))
    return np.array(found)


def _spread(counts: Floats, expected: Floats, speakers: NDArray[Any]) -> tuple[float, float]:
    """Measure how far counts lie from what is expected: a query alone, and two of a speaker together (moments)."""
    off = counts - expected
    table = pd.DataFrame({"off": off, "off2": off**2, "m": expected, "m2": expected**2}).groupby(speakers).sum()
    pairs = float((table["m"] ** 2 - table["m2"]).sum())
    together = float((table["off"] ** 2 - table["off2"]).sum()) / pairs if pairs > 0 else 0.0
    return float(table["off2"].sum() / max(expected.sum(), 1e-9)), max(together, 0.0)


# --- expecting -------------------------------------------------------------------------------------------------------


def expect(rows: pd.DataFrame, calibration: Calibration, *, level: float = 0.95) -> Interval:
    """Say what WER one may expect writing down all queries of a window to show.

    `rows` holds SOUND, DOUBT and block (whose query it is). The interval knows who calibrated, and that a user's
    queries fail together; it does not know what is unlike the calibration, see `extrapolation`.
    Returns: fractions, and a note that it is an estimate; nan without rows.
    """
    rows = measured(rows)
    words = calibration.words(rows)
    return _expected(rows, calibration, "errors", words, level)


def expect_accuracy(rows: pd.DataFrame, calibration: Calibration, *, level: float = 0.95) -> Interval:
    """Say which share of a window's queries one may expect to be answered word for word; see `expect`."""
    rows = measured(rows)
    wrong = _expected(rows, calibration, "wrong", np.ones(len(rows)), level)
    return Interval(1 - wrong.value, 1 - wrong.high, 1 - wrong.low, wrong.note)


def measured(rows: pd.DataFrame) -> pd.DataFrame:
    """Leave out queries that were not answered, or whose length nobody knows."""
    return rows[rows["avg_logprob"].notna() & rows["duration_s"].notna()]


def _expected(rows: pd.DataFrame, calibration: Calibration, name: str, exposure: Floats, level: float) -> Interval:
    """Put together what is expected in all with what calibrating and chance leave open."""
    if rows.empty:
        return Interval(math.nan, math.nan, math.nan, "no answered query")
    counts, (alone, together) = calibration.rates(rows, name) * exposure, calibration.spread[name]
    estimates = counts.sum(axis=1) / exposure.sum()
    users = pd.DataFrame({"m": counts[0], "m2": counts[0] ** 2}).groupby(rows["block"].to_numpy()).sum()
    chance = alone * counts[0].sum() + together * float((users["m"] ** 2 - users["m2"]).sum())
    se = math.sqrt(jackknife_variance(estimates) + chance / exposure.sum() ** 2)
    half = float(stats.t.ppf((1 + level) / 2, max(len(estimates) - 2, 1))) * se
    return Interval(float(estimates[0]), max(0.0, estimates[0] - half), float(estimates[0] + half), ESTIMATE)


def jackknife_variance(estimates: Floats) -> float:
    """Give the variance of the first estimate by those without one group each, which follow it.

    Source: delete-a-group jackknife, Kott 2001.
    """
    n = len(estimates) - 1
    return float((n - 1) / n * ((estimates[1:] - estimates[0]) ** 2).sum())


# --- extrapolating ---------------------------------------------------------------------------------------------------


def extrapolation(rows: pd.DataFrame, reference: pd.DataFrame, calibration: Calibration) -> str:
    """Say why a window's expectation lies outside what it was calibrated on; "" when it does not.

    `reference` holds queries of which the expectation holds: open speech at first, later windows without an alarm.
    """
    rows, reference = measured(rows), measured(reference)
    if rows.empty or reference.empty:
        return ""
    share, more = float(unlike(rows, calibration).mean()), apart(rows, reference, calibration)
    if share > MAX_UNLIKE:
        return f"{EXTRAPOLATING}: {100 * share:.0f} % of queries sound like none that it was calibrated on"
    if more.value > MAX_APART and more.low > 0:
        return (f"{EXTRAPOLATING}: {100 * more.value:.0f} % more answers than before lie further from the letters "
                "heard than their sound explains, so people say what it was not calibrated on")
    return ""


def unlike(rows: pd.DataFrame, calibration: Calibration) -> "pd.Series[bool]":
    """Tell the queries whose sound lies beyond what was calibrated on, in one feature at least."""
    sound = calibration.ramps[calibration.ramps["feature"].isin(SOUND)]
    ends = sound.groupby("feature").agg(low=("low", "min"), high=("high", "max"))
    reach, at = MARGIN * (ends["high"] - ends["low"]), rows[list(ends.index)]
    return (at.lt(ends["low"] - reach) | at.gt(ends["high"] + reach)).any(axis=1)


def apart(rows: pd.DataFrame, reference: pd.DataFrame, calibration: Calibration) -> Interval:
    """Say how many more answers are apart from the letters heard than their sound explains, and than in the reference.

    Returns: a share of queries, with an interval of level 1 - 2 LEVEL that knows who calibrated and who asked.
    """
    means, variance = np.zeros(len(calibration.fits["apart"])), 0.0
    for sign, some in ((1, rows), (-1, reference)):
        off = some["ctc_gap"].gt(calibration.gap_limit).to_numpy(float) - calibration.rates(some, "apart")
        by_user = pd.Series(off[0] - off[0].mean()).groupby(some["block"].to_numpy()).sum()
        means, variance = means + sign * off.mean(axis=1), variance + float((by_user**2).sum()) / len(some) ** 2
    half = float(stats.t.ppf(1 - LEVEL, max(len(means) - 2, 1))) * math.sqrt(jackknife_variance(means) + variance)
    return Interval(float(means[0]), float(means[0] - half), float(means[0] + half))
