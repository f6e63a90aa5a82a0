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
class Side:
    """One side's rows: whose they are (numbered from 0), who that is among all users, and how much a row counts."""

    rows: slice
    codes: Integers
    users: Integers
    weight: Floats

    def sums(self, values: Floats) -> Floats:
        """Add up values of this side's rows by user. Shape: [users of this side]."""
        return np.asarray(np.bincount(self.codes, values, len(self.users)), float)


@dataclass(frozen=True, slots=True)
class Sides:
    """Who asked on both sides; the reference's rows come first."""

    reference: Side
    window: Side
    n_users: int

    @classmethod
    def of(cls, reference: pd.DataFrame, window: pd.DataFrame, user: str) -> "Sides":
        """Read `user` and `weight` (missing: 1) out of two tables."""
        numbers, names = pd.factorize(pd.concat([reference[user], window[user]], ignore_index=True))
        first, sides = len(reference), []
        for table, rows in ((reference, slice(first)), (window, slice(first, None))):
            users, codes = np.unique(numbers[rows], return_inverse=True)
            weight = table["weight"].fillna(1).to_numpy(float) if "weight" in table else np.ones(len(table))
            sides.append(Side(rows, codes, users, weight))
        return cls(sides[0], sides[1], len(names))

    def fewest_users(self, x: Floats) -> int:
        """Count the users with a value, on the side that has fewer."""
        return min(int((side.sums(np.isfinite(x[side.rows]).astype(float)) > 0).sum())
                   for side in (self.reference, self.window))

    def between(self, window: Floats, reference: Floats) -> Floats:
        """Subtract the reference's pulls from the window's, user by user. Shape: [all users, points]."""
        pulls = np.zeros((self.n_users, window.shape[1]))
        pulls[self.window.users] = window
        pulls[self.reference.users] -= reference
        return pulls


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
    points = np.ones(1) if is_share else _points(x[sides.reference.rows], x[sides.window.rows])
    (before, held, old, per_old), (now, pulled, new, per_new) = (
        _shares(x[side.rows], points, side, is_share) for side in (sides.reference, sides.window))
    return Curve(points, before, now, sides.between(pulled, held), new - old,
                 sides.between(pulled * per_new, held * per_old))


def _shares(x: Floats, points: Floats, side: Side, is_share: bool) -> tuple[Floats, Floats, Floats, Floats]:
    """Give one side's shares up to each point, what each loses without each user, and both as angles."""
    bins, weight, n = _bins(x, points, is_share), np.where(np.isfinite(x), side.weight, 0.0), len(points) + 1
    asked = side.sums(weight)
    counts = np.bincount(side.codes * n + bins, weight, len(asked) * n).reshape(-1, n).cumsum(1)[:, :-1]
    shares, pulls = _ratios(counts, asked)
    return shares, pulls, *_angles(shares, int((asked > 0).sum()))


def beyond(x: Floats, sides: Sides, points: Floats, tolerance: float) -> tuple[Floats, Floats]:
    """Say how many queries lie elsewhere by more than a tolerance, higher and lower. Shape: [points] each.

    Source: Levy's distance, with the tolerance fixed: a small shift of a narrow distribution is a large distance else.
    """
    (low, middle, high) = (points - tolerance, points, points + tolerance)
    before = _share_up_to(x, sides.reference, middle)
    return before - _share_up_to(x, sides.window, high), _share_up_to(x, sides.window, low) - before


def _share_up_to(x: Floats, side: Side, points: Floats) -> Floats:
    values = x[side.rows]
    is_known = np.isfinite(values)
    order = np.argsort(values[is_known])
    below = np.concatenate([[0.0], side.weight[is_known][order].cumsum()])
    return np.asarray(below[np.searchsorted(values[is_known][order], points, side="right")] / below[-1])


def _angles(shares: Floats, n_users: int) -> tuple[Floats, Floats]:
    """Turn shares into angles, and give the angle's change for a small change of the share.

    Source: Anscombe 1948: (n p + 3/8) / (n + 3/4) keeps the variance of asin(sqrt(p)) alike for rare events too; users
    are the n.
    """
    p = (n_users * shares + 3 / 8) / (n_users + 3 / 4)
    return np.arcsin(np.sqrt(p)), 1 / (2 * np.sqrt(p * (1 - p)))


def _points(reference: Floats, window: Floats) -> Floats:
    """Take quantiles of both sides, so that the smaller one has points of its own."""
    grid = (np.arange(N_POINTS // 2) + 0.5) / (N_POINTS // 2)
    sides = (np.sort(x[np.isfinite(x)]) for x in (reference, window))
    return np.unique([values[(grid * len(values)).astype(int)] for values in sides])


def _bins(x: Floats, points: Floats, is_share: bool) -> Integers:
    """Number the point up to which a value lies first; beyond all points, and without a share, comes one more."""
    return np.asarray(np.where(x > 0, 0, 1) if is_share else np.searchsorted(points, x), np.int64)


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


def rate_change(x: Floats, costs: tuple[Floats, Floats], sides: Sides, curve: Curve, *, is_share: bool) -> Change:
    """Say by how much a rate changes when a feature's mix goes from one side's to the other's, and nothing else does.

    `costs` are the errors and words of each row. The rates of the feature's bins are those of both sides, less what
    sets the sides apart bin by bin, so that the window's other changes do not count, and bins that only one side has
    do; the interval takes these rates as they are.
    Source: standardization of rates, Kitagawa 1955; the sides' common difference, Greenland & Robins 1985.
    """
    errors, words = costs
    is_known = np.isfinite(x) & np.isfinite(errors) & np.isfinite(words)
    weight = np.where(is_known, np.concatenate([sides.reference.weight, sides.window.weight]), 0.0)
    asked, wrong = weight * np.where(is_known, words, 0.0), weight * np.where(is_known, errors, 0.0)
    bins, both = _bins(x, curve.points, is_share), (sides.reference, sides.window)
    W, E = (np.array([np.bincount(bins[side.rows], values[side.rows], len(curve.points) + 1) for side in both])
            for values in (asked, wrong))
    expected = asked * _common_rates(W, E)[bins]
    (before, held), (now, pulled) = (
        _ratios(side.sums(expected[side.rows])[:, None], side.sums(asked[side.rows])) for side in both)
    change, pulls = float((now - before)[0]), sides.between(pulled, held)
    half = float(special.ndtri(0.975)) * math.sqrt(float((pulls**2).sum()))
    return Change(change, change - half, change + half)


def _common_rates(W: Floats, E: Floats) -> Floats:
    """Give each bin's rate with the sides' common difference taken off the window's. Shape: [2, bins].

    Source: Mantel & Haenszel's weights, for a difference of rates: Greenland & Robins 1985.
    """
    n = np.maximum(W.sum(0), 1e-12)
    rates, shared = E / np.maximum(W, 1e-12), W[0] * W[1] / n
    apart = float((shared * (rates[1] - rates[0])).sum() / max(float(shared.sum()), 1e-12))
    return np.asarray((E.sum(0) - apart * W[1]) / n)
