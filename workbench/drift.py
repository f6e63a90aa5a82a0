"""Has the traffic moved? One window against a reference, over all features at once, with users as blocks.

Tables in, a record out; nothing here knows what a log or a week is. A user's queries move together, so users, not
queries, are the sample; and nothing is an alarm that is not also large enough to matter.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import special

from workbench import distributions
from workbench.distributions import Curve, Floats, Sides

LEVEL = 0.01
"""A window's risk of an alarm over nothing: of forty quiet windows at 5 % two would alarm."""
MIN_DISTANCE, MIN_SHARE = 0.10, 0.02
"""Smaller changes are no alarm, however many queries show them: a tenth of the queries elsewhere, two in a hundred."""
TOLERANCE_SD = 0.1
"""A value counts as elsewhere from so many of the reference's standard deviations on: what is narrow (bandwidths of one
kind of phone, no-speech probabilities near 0) lies all elsewhere after a shift that nobody could notice. Where that
explains most of a distance, only what is left beyond it is the effect."""
PLANNED_DISTANCE, PLANNED_SHARE = 0.25, 0.09
"""Changes that a window must be able to show (power 80 %) before it may be called quiet: a quarter of the queries
elsewhere, as when a quarter of the users change their phone; nine in a hundred more with words never seen, as when one
query in seven asks for a new name: 75 % of such leave a piece, where 9 % do else (`terms`)."""
POWER = 0.8
N_DRAWS = 2000
"""Draws under no drift: twenty of them decide at a level of 1 %."""
MIN_USERS = 30
"""Below it chance is understated: at a level of 5 %, 14 % of 100 quiet windows of ten users stood out, 7 % of 150 of
twenty, 5 % of 150 of thirty."""


@dataclass(frozen=True, slots=True)
class Feature:
    """A column to watch: its distribution, or a share (0, 1, missing); `worse` is 1 up, -1 down, 0 either way."""

    name: str
    kind: Literal["distribution", "share"] = "distribution"
    worse: Literal[-1, 0, 1] = 0

    @property
    def is_share(self) -> bool:
        """Tell shares from distributions."""
        return self.kind == "share"

    @property
    def least(self) -> float:
        """The smallest change that is an alarm."""
        return MIN_SHARE if self.is_share else MIN_DISTANCE

    @property
    def planned(self) -> float:
        """The change that a quiet window must have been able to show."""
        return PLANNED_SHARE if self.is_share else PLANNED_DISTANCE

    def turned(self, differences: Floats) -> Floats:
        """Turn differences so that more is worse: fewer queries up to a point means larger values."""
        if self.is_share:
            return np.asarray(differences if self.worse >= 0 else -differences)
        return np.abs(differences) if self.worse == 0 else np.asarray(-self.worse * differences)


DEFAULT = (
    Feature("snr_db"), Feature("bandwidth_hz"), Feature("level_dbfs"), Feature("duration_s"),
    Feature("avg_logprob", worse=-1), Feature("ctc_gap", worse=1), Feature("no_speech_prob", worse=1),
    Feature("is_empty", "share", worse=1), Feature("has_unseen", "share", worse=1),
)
"""What came in is watched both ways; how sure the model was, one way: a surer model is no reason to act."""


COLUMNS = ["feature", "kind", "reference", "window", "at", "below_reference", "below_window", "effect", "effect_low",
           "effect_high", "p_value", "detectable", "quality", "quality_low", "quality_high", "is_alarm"]


@dataclass(frozen=True, slots=True)
class DriftResult:
    """What one window says. `table` has a row a feature: what moved first, and of that what costs most.

    Columns: feature, kind, reference, window (medians, or shares), at (the value where the distributions differ most),
    below_reference, below_window (shares up to it), effect (their distance, or what is left of it beyond a tolerance,
    or the change of the share), effect_low, effect_high, p_value (over all features), detectable (the effect shown
    with power 80 %), quality (the change of WER that goes with the move, a fraction; an estimate), quality_low,
    quality_high, is_alarm. `n_needed` is 0, or how many queries a window it takes to be called quiet.
    """

    outcome: Literal["quiet", "drift", "cannot_tell"]
    table: pd.DataFrame
    sentence: str
    n_needed: int

    @property
    def p_value(self) -> float:
        """Give the chance that any feature stands out so far while nothing moved: what all features say jointly."""
        return float(self.table["p_value"].min()) if len(self.table) else math.nan

    @property
    def moved(self) -> list[str]:
        """Name the features that moved."""
        return self.table.loc[self.table["is_alarm"], "feature"].tolist()


def compare(reference: pd.DataFrame, window: pd.DataFrame, *, user: str = "user_hash",
            features: Sequence[Feature] = DEFAULT, level: float = LEVEL, n_draws: int = N_DRAWS,
            seed: int = 0) -> DriftResult:
    """Say whether a window has moved against its reference, at a risk of `level` over all features together.

    Each feature's largest distance between the two distribution functions (one-sided where only one way is worse), or
    its change of share, is standardized by what chance makes of it; the largest over features decides. Distances are
    of angles, so that chance is known at rare shares and in tails. A column `weight` in the reference counts its rows
    so. Missing values are left out; a feature that a side lacks too. With columns `errors` and `words` (a query's,
    counted or expected) on both sides, what moved is ranked by the errors that go with it.
    Source: step "max T" of Westfall & Young 1993. Permuting users needs sides alike: where users asked 24 and 3 times
        it alarmed in 22 % of quiet windows at a nominal 5 %, where 11 and 3 it saw half of the new phones.
    """
    sides = Sides.of(reference, window, user)
    columns = {f: _column(reference, window, f.name) for f in features}
    n_users = {f: sides.fewest_users(x) for f, x in columns.items()}
    known = {f: x for f, x in columns.items() if n_users[f] >= MIN_USERS}
    if not known:
        return _too_few(max(n_users.values()), len(window))
    costs = _column(reference, window, "errors"), _column(reference, window, "words")
    table = _table(known, costs, sides, level, n_draws, seed)
    return _result(table, _needed(table, list(known), len(window), len(reference)), len(window))


def _column(reference: pd.DataFrame, window: pd.DataFrame, name: str) -> Floats:
    """Put a column's two sides together, nan where a side lacks it."""
    return np.concatenate([side[name].to_numpy(float) if name in side else np.full(len(side), math.nan)
                           for side in (reference, window)])


def _too_few(n_users: int, n: int) -> DriftResult:
    needed = math.ceil(max(n, 1) * MIN_USERS / max(n_users, 1))
    return DriftResult("cannot_tell", pd.DataFrame(columns=COLUMNS).astype({"is_alarm": bool}),
                       f"Cannot tell yet: {n_users} users on a side, and {MIN_USERS} are the least; "
                       f"{needed:,} queries would do.", needed)


def _table(columns: Mapping[Feature, Floats], costs: tuple[Floats, Floats], sides: Sides, level: float, n_draws: int,
           seed: int) -> pd.DataFrame:
    """Give each feature its row, what moved first, and of that what costs most."""
    curves = [distributions.curve(x, sides, is_share=feature.is_share) for feature, x in columns.items()]
    drawn = distributions.by_chance(curves, n_draws, seed)
    null = np.stack([f.turned(distances).max(1) for f, distances in zip(columns, drawn, strict=True)], axis=1)
    middle, spread = null.mean(0), np.maximum(null.std(0), 1e-12)
    highest = ((null - middle) / spread).max(1)
    found = np.array([f.turned(curve.distance).max() for f, curve in zip(columns, curves, strict=True)])
    p_values = (1 + (highest >= ((found - middle) / spread)[:, None]).sum(1)) / (n_draws + 1)
    shown = middle + spread * (float(np.quantile(highest, 1 - level)) + float(special.ndtri(POWER)))
    rows = [{**_row(feature, x, sides, curve), "p_value": p, "detectable": _effect_at(feature, curve, angle),
             **_quality(feature, x, sides, curve, costs)}
            for (feature, x), curve, p, angle in zip(columns.items(), curves, p_values, shown, strict=True)]
    table = pd.DataFrame(rows).assign(least=[feature.least for feature in columns])
    table["is_alarm"] = table["p_value"].le(level) & table["effect"].ge(table["least"])
    table["size"] = table["effect"] / table["least"]
    ranked = table.sort_values(["is_alarm", "quality", "size"], ascending=False, kind="stable", ignore_index=True)
    return ranked[COLUMNS]


def _row(feature: Feature, x: Floats, sides: Sides, curve: Curve) -> dict[str, Any]:
    """Describe both sides of a feature, and where they are most unlike; weights are left out of medians."""
    middle, effects = np.nanmean if feature.is_share else np.nanmedian, _effects(feature, x, sides, curve)
    at, effect = int(effects.argmax()), float(effects.max())
    half = float(special.ndtri(0.975)) * math.sqrt(float((curve.pulls[:, at] ** 2).sum()))
    return {"feature": feature.name, "kind": feature.kind, "reference": float(middle(x[sides.reference.rows])),
            "window": float(middle(x[sides.window.rows])), "at": float(curve.points[at]),
            "below_reference": float(curve.before[at]), "below_window": float(curve.now[at]),
            "effect": effect, "effect_low": effect - half, "effect_high": effect + half}


def _effects(feature: Feature, x: Floats, sides: Sides, curve: Curve) -> Floats:
    """Say how much is elsewhere at each point; of a distribution that only shifted a little, beyond the tolerance."""
    effects = feature.turned(curve.now - curve.before)
    if feature.is_share:
        return effects
    known = x[sides.reference.rows]
    tolerance = TOLERANCE_SD * float(known[np.isfinite(known)].std())  # a gap may be infinite
    higher, lower = distributions.beyond(x, sides, curve.points, tolerance)
    further = np.maximum({1: higher, -1: lower, 0: np.maximum(higher, lower)}[feature.worse], 0.0)
    return effects if further.max() >= effects.max() / 2 else further


def _effect_at(feature: Feature, curve: Curve, angle: float) -> float:
    """Say which effect lies so far apart: of a share from where it was; of a distribution where it takes most."""
    if not feature.is_share:
        return math.sin(min(angle, math.pi / 2))
    before, way = math.asin(math.sqrt(curve.before[0])), -1 if feature.worse < 0 else 1
    return abs(math.sin(min(max(before + way * angle, 0.0), math.pi / 2)) ** 2 - float(curve.before[0]))


def _quality(feature: Feature, x: Floats, sides: Sides, curve: Curve, costs: tuple[Floats, Floats]) -> dict[str, float]:
    """Estimate how much WER goes with a feature's move; nan where errors are not known on both sides."""
    if sides.fewest_users(costs[0]) == 0:
        return dict.fromkeys(["quality", "quality_low", "quality_high"], math.nan)
    found = distributions.rate_change(x, costs, sides, curve, is_share=feature.is_share)
    return {"quality": found.value, "quality_low": found.low, "quality_high": found.high}


def _needed(table: pd.DataFrame, features: Sequence[Feature], n: int, n_reference: int) -> int:
    """Say how many queries a window needs for every planned change to be shown; 0 when it has them.

    What can be shown shrinks with the root of 1/n + 1/n_reference; where the reference itself is too small, both need
    as many.
    """
    planned = {feature.name: feature.planned for feature in features}
    excess = float((table["detectable"] / table["feature"].map(planned)).max())
    if excess <= 1:
        return 0
    wanted = (1 / n + 1 / n_reference) / excess**2
    rest = wanted - 1 / n_reference
    return math.ceil(1 / rest if rest > wanted / 4 else 2 / wanted)


def _result(table: pd.DataFrame, n_needed: int, n: int) -> DriftResult:
    moved = table[table["is_alarm"]]
    if len(moved):
        words = "; ".join(describe(row) for row in moved.to_dict("records"))
        return DriftResult("drift", table, f"The traffic moved: {words}.", n_needed)
    if n_needed:
        return DriftResult("cannot_tell", table, f"Cannot tell yet: nothing moved, but {n:,} queries would not show a "
                           f"change that matters; {would_do(n, n_needed)}.", n_needed)
    return DriftResult("quiet", table, "Quiet: nothing moved by as much as would matter.", 0)


def would_do(n: int, n_needed: int) -> str:
    """Say what a window of `n` queries that cannot be told lacks: queries, or a larger reference."""
    lacks = f"{n_needed:,} would do"
    return lacks if n < n_needed else f"what they are held against is too small, where {lacks}"


def states(table: pd.DataFrame, n: int) -> pd.DataFrame:
    """Say of each feature of a window of `n` queries whether it moved, is quiet, or cannot be told.

    `table` is that of `DriftResult`. Returns: it with state ("moved", "quiet", "cannot tell") and n_needed: how many
    queries a window would show the change planned for, 0 where it can be told.
    """
    planned = table["feature"].map({feature.name: feature.planned for feature in DEFAULT})
    is_blind = table["detectable"].gt(planned) & ~table["is_alarm"]
    state = np.where(table["is_alarm"], "moved", np.where(is_blind, "cannot tell", "quiet"))
    needed = np.ceil(n * (table["detectable"] / planned) ** 2)  # what can be shown shrinks with the root of n
    return table.assign(state=state, n_needed=needed.where(is_blind, 0).astype(int))


WORDS = {"snr_db": ("SNR", "dB"), "bandwidth_hz": ("bandwidth", "Hz"), "level_dbfs": ("level", "dBFS"),
         "duration_s": ("duration", "s"), "avg_logprob": ("confidence", "nats a token"),
         "ctc_gap": ("gap between letters and answer", "nats a letter"),
         "no_speech_prob": ("no-speech probability", ""),
         "is_empty": ("empty answers", "%"), "has_unseen": ("queries with words never seen", "%")}
"""How people call a feature, and its unit."""


def before_and_now(row: Mapping[str, Any]) -> tuple[str, str]:
    """Say how a feature's middle moved: `17.1 → 11.0 dB`; then where most, and at what cost if it is an alarm.

    The second is `up to 10: 22 → 41 %, about +1.2 points of WER`; of a share the cost alone.
    """
    unit, cost = WORDS.get(row["feature"], ("", ""))[1], _cost(row) if row["is_alarm"] else ""
    if row["kind"] == "share":
        return f"{100 * row['reference']:.1f} → {100 * row['window']:.1f} {unit}", cost
    before, now, at = (_short(row[side]) for side in ("reference", "window", "at"))
    where = f"up to {at}: {100 * row['below_reference']:.0f} → {100 * row['below_window']:.0f} %"
    return f"{before} → {now} {unit}".rstrip(), ", ".join(filter(None, (where, cost)))


def describe(row: Mapping[str, Any]) -> str:
    """Say how one feature moved: `SNR 17.1 to 11.0 dB (up to 10 dB: 22 to 41 %), about +1.2 points of WER`."""
    name, unit = WORDS.get(row["feature"], (row["feature"], ""))
    if row["kind"] == "share":
        told = f"{name} {100 * row['reference']:.1f} to {100 * row['window']:.1f} {unit}"
    else:
        before, now, at = (_short(row[side]) for side in ("reference", "window", "at"))
        shares = f"{100 * row['below_reference']:.0f} to {100 * row['below_window']:.0f} %"
        told = f"{name} {before} to {now} {unit}".rstrip() + f" (up to {at}: {shares})"
    return ", ".join(filter(None, (told, _cost(row))))


def _cost(row: Mapping[str, Any]) -> str:
    """Say what goes with a move; "" where it is not known. The word "about" says that it is an estimate."""
    return "" if math.isnan(row["quality"]) else f"about {100 * row['quality']:+.1f} points of WER"


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
