"""Two samples' distributions side by side, with users as blocks: how far apart, and what chance alone would make of it.

Numbers in, numbers out. A user's queries move together, so a difference is as sure as its users are many: each user's
pull on it is what chance is drawn from.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

N_POINTS = 20
"""Quantiles at which two distributions are compared, half of them from each side."""


@dataclass(frozen=True, slots=True)
class Sides:
    """Who asked, on which side, and for how many queries a row stands. Shapes: [rows] each."""

    users: Integers
    is_window: NDArray[np.bool_]
    weight: Floats
    n_users: int

    @classmethod
    def of(cls, reference: pd.DataFrame, window: pd.DataFrame, user: str) -> "Sides":
        """Read `user` and `weight` (missing: 1) out of two tables, the reference's rows first."""
        users, names = pd.factorize(pd.concat([reference[user], window[user]], ignore_index=True))
        weight = [side["weight"].fillna(1).to_numpy(float) if "weight" in side else np.ones(len(side))
                  for side in (reference, window)]
        return cls(users, np.arange(len(users)) >= len(reference), np.concatenate(weight), len(names))

    def sums(self, values: Floats, is_window: bool) -> Floats:
        """Add up a side's values by user. Shape: [users]."""
        is_in = self.is_window == is_window
        return np.bincount(self.users[is_in], values[is_in], self.n_users)

    def fewest_users(self, x: Floats) -> int:
        """Count the users with a value, on the side that has fewer."""
        known = np.isfinite(x).astype(float)
        return int(min((self.sums(known, side) > 0).sum() for side in (False, True)))


@dataclass(frozen=True, slots=True)
class Curve:
    """A feature on both sides: the share of queries up to each point (of a share: with it), and how far they are apart.

    `pulls` is how much each user moves each point's difference of shares. Shape: [users, points]. `distance` and
    `stable_pulls` are the same for angles asin(sqrt(share)), which chance moves alike at every share.
    """

    points: Floats
    before: Floats
    now: Floats
    pulls: Floats
    distance: Floats
    stable_pulls: Floats


@dataclass(frozen=True, slots=True)
class Change:
    """A change and its 95 % interval."""

    value: float
    low: float
    high: float


def curve(x: Floats, sides: Sides, *, is_share: bool) -> Curve:
    """Compare a feature's two distributions; missing values are left out."""
    points = np.ones(1) if is_share else _points(x, sides.is_window)
    bins, weight = _bins(x, points, is_share), np.where(np.isfinite(x), sides.weight, 0.0)
    asked = [sides.sums(weight, side) for side in (False, True)]
    (before, held), (now, pulled) = (
        _ratios(_up_to(bins, weight, len(points), sides, side), asked[side]) for side in (False, True))
    (old, per_old), (new, per_new) = (
        _angles(shares, int((N > 0).sum())) for shares, N in zip((before, now), asked, strict=True))
    return Curve(points, before, now, pulled - held, new - old, pulled * per_new - held * per_old)


def _angles(shares: Floats, n_users: int) -> tuple[Floats, Floats]:
    """Turn shares into angles, and give the angle's change for a small change of the share.

    Source: Anscombe 1948: (n p + 3/8) / (n + 3/4) keeps the variance of asin(sqrt(p)) alike for rare events too; users
    are the n.
    """
    p = (n_users * shares + 3 / 8) / (n_users + 3 / 4)
    return np.arcsin(np.sqrt(p)), 1 / (2 * np.sqrt(p * (1 - p)))


def _points(x: Floats, is_window: NDArray[np.bool_]) -> Floats:
    """Take quantiles of both sides, so that the smaller one has points of its own."""
    grid, is_known = (np.arange(N_POINTS // 2) + 0.5) / (N_POINTS // 2), np.isfinite(x)
    sides = (np.sort(x[is_known & is_in]) for is_in in (~is_window, is_window))
    return np.unique([values[(grid * len(values)).astype(int)] for values in sides])


def _bins(x: Floats, points: Floats, is_share: bool) -> Integers:
    """Number the point up to which a value lies first; beyond all points, and without a share, comes one more."""
    return np.asarray(np.where(x > 0, 0, 1) if is_share else np.searchsorted(points, x), np.int64)


def _up_to(bins: Integers, weight: Floats, n: int, sides: Sides, side: bool) -> Floats:
    """Count each user's queries up to each point. Shape: [users, points]."""
    is_in = sides.is_window == side
    cells = sides.users[is_in] * (n + 1) + bins[is_in]
    counts = np.bincount(cells, weight[is_in], sides.n_users * (n + 1))
    return counts.reshape(sides.n_users, n + 1).cumsum(1)[:, :n]


def _ratios(S: Floats, N: Floats) -> tuple[Floats, Floats]:
    """Divide sums by users' totals, and say what each ratio loses without each user. Shape: [points], [users, points].

    Source: jackknife influence; it allows for users that weigh much where there are few (HC3, MacKinnon & White 1985).
    """
    ratios = S.sum(0) / N.sum()
    return ratios, (S - ratios * N[:, None]) / np.maximum(N.sum() - N, 1e-12)[:, None]


def by_chance(curves: Sequence[Curve], n: int, seed: int) -> list[Floats]:
    """Draw all curves' distances (angles) as chance alone would have them, together. Shape: [n, points] a curve.

    Each user's pull is multiplied by a normal number of its own; drawn through the pulls' covariance, so that the
    draws cost the same for a hundred users and for a hundred thousand.
    Source: Gaussian multiplier bootstrap of maxima, Chernozhukov, Chetverikov & Kato 2013.
    """
    pulls = np.concatenate([curve.stable_pulls for curve in curves], axis=1)
    variances, axes = np.linalg.eigh(pulls.T @ pulls)
    drawn = np.random.default_rng(seed).standard_normal((n, len(variances)))
    together = (drawn * np.sqrt(np.maximum(variances, 0.0))) @ axes.T
    return np.split(together, np.cumsum([len(curve.points) for curve in curves])[:-1], axis=1)


def rate_change(x: Floats, errors: Floats, words: Floats, sides: Sides, curve: Curve, *, is_share: bool) -> Change:
    """Say by how much a rate changes when a feature's mix goes from one side's to the other's, and nothing else does.

    Rates (errors over words) by the feature's bins are those of both sides together, so that bins that only one side
    has count with what is known of them; the interval takes them as they are.
    Source: standardization of rates, Kitagawa 1955.
    """
    is_known = np.isfinite(x) & np.isfinite(errors) & np.isfinite(words)
    weight = np.where(is_known, sides.weight, 0.0)
    asked, wrong = weight * np.where(is_known, words, 0.0), weight * np.where(is_known, errors, 0.0)
    bins, n = _bins(x, curve.points, is_share), len(curve.points) + 1
    rates = np.bincount(bins, wrong, n) / np.maximum(np.bincount(bins, asked, n), 1e-12)
    (before, held), (now, pulled) = (
        _ratios(sides.sums(asked * rates[bins], side)[:, None], sides.sums(asked, side)) for side in (False, True))
    change, half = float((now - before)[0]), float(special.ndtri(0.975)) * math.sqrt(((pulled - held) ** 2).sum())
    return Change(change, change - half, change + half)
