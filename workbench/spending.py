"""Looking more than once at growing data: how much of the risk of a false "better" each look may spend."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from workbench.blocks import Floats
from workbench.differences import ALPHA

_GRID = 401
"""Points between the borders of a look; halving their distance moves a level by less than 1e-5."""

_FAR = 8.0
"""Standard errors below which no path is followed."""


def spent(fraction: float, alpha: float = ALPHA) -> float:
    """Say how much of the risk is spent once a fraction of the planned data is in: little early, all at the end.

    Source: Lan & DeMets 1983, the function 2 - 2 Phi(z_(alpha/2) / sqrt(t)) after O'Brien & Fleming 1979.
    """
    if fraction <= 0:
        return 0.0
    return 2 * float(stats.norm.sf(stats.norm.ppf(1 - alpha / 2) / math.sqrt(min(fraction, 1.0))))


def another_level(fractions: Sequence[float], alpha: float = ALPHA) -> float:
    """Give the level of the last of several looks where it looks at another model than those before.

    It is what the look adds to `spent`; the sum over looks is never above `alpha`, whatever the models are.
    """
    now, before = fractions[-1], max(fractions[:-1], default=0.0)
    return max(spent(now, alpha) - spent(before, alpha), 0.0)


def look_level(fractions: Sequence[float], alpha: float = ALPHA) -> float:
    """Give the one-sided level of the last of several looks at one comparison, at rising fractions of the planned data.

    A path that an earlier look would have stopped is not there to be stopped again, which leaves more for the last.
    Raises: ValueError unless fractions rise from above 0.
    Source: Armitage, McPherson & Rowe 1969, the density of what goes on, look by look (Jennison & Turnbull 2000, 19).
    """
    steps = np.diff([0.0, *fractions])
    if not len(steps) or (steps <= 0).any():
        raise ValueError(f"fractions are {list(fractions)}; give those of all looks, each above the one before")
    level, edge, density = 0.0, np.zeros(1), np.ones(1)  # of the Brownian motion B(t) where it goes on
    for number, step in enumerate(steps):
        t, left = fractions[number], another_level(fractions[: number + 1], alpha)
        border = _border(edge, density, math.sqrt(step), left)
        level = float(stats.norm.sf(border / math.sqrt(t)))
        grid = np.linspace(-_FAR * math.sqrt(t), border, _GRID)
        edge, density = grid, _onward(edge, density, math.sqrt(step), grid)
    return level


def _border(edge: Floats, density: Floats, sd: float, left: float) -> float:
    """Find where the chance of passing it at this look is what is left to spend."""
    low, high = float(edge.min()) - _FAR * sd, float(edge.max()) + _FAR * sd
    for _ in range(60):  # bisection: 2^-60 of the span
        middle = (low + high) / 2
        above = float(density @ stats.norm.sf((middle - edge) / sd))
        low, high = (middle, high) if above > left else (low, middle)
    return high


def _onward(edge: Floats, density: Floats, sd: float, grid: Floats) -> Floats:
    """Give the masses (trapezoid rule) at the grid's points one step later."""
    masses = stats.norm.pdf((grid[:, None] - edge[None, :]) / sd) @ density / sd * (grid[1] - grid[0])
    masses[[0, -1]] /= 2
    return np.asarray(masses, dtype=float)
