"""Traffic for the benchmark of drift: people with habits, phones and cars of their own, and what they ask.

Features are distributed as in the demo weeks that `alarms.py` decodes (`drift_marginals.json`, written by
`python -m benchmarks.drift --measure RUN`): by place, phone and new name, with their rank correlations.
"""

import json
import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from workbench import drift, storage

Floats = NDArray[np.float64]

MARGINALS = Path(__file__).with_name("drift_marginals.json")
FEATURES = [feature.name for feature in drift.DEFAULT]
SHARES = [feature.name for feature in drift.DEFAULT if feature.is_share]
GRID = np.array([.001, .005, .01, .025, .05, *np.arange(.1, .95, .05), .95, .975, .99, .995, .999])
LEAST_OF_USERS = 0.10
"""Of the variance that lies between users; the demo's users differ less in most: its places are drawn by chance."""
PLACES, PHONES, NAMES = ("other", "car"), ("wideband", "budget", "narrow"), ("known", "new")
BUDGET_SHARE, CAR_SHARE = 0.25, 0.20
SHIFT_WEEK = 3  # of demo_world, which loads torch


@dataclass(frozen=True)
class Traffic:
    """How people ask. `per_user` is queries a user, 0 for uneven ones (three, most users one); `shift` is in SD.

    `spelled` says how often words are seen to be new (without a new name, with one); None: as the demo's model does.
    """

    n: int
    per_user: int = 3
    car: float = CAR_SHARE
    narrow: float = 0.0
    names: float = 0.0
    shift: float = 0.0
    spelled: tuple[float, float] | None = None

    @property
    def n_users(self) -> int:
        """How many people may ask."""
        return max(1, round(self.n / (self.per_user or 3)))


@dataclass(frozen=True)
class People:
    """What users bring along: habits in each feature and in driving, a phone, and how much they ask."""

    habits: Floats
    drives: Floats
    phone: Floats
    asks: Floats


# --- the traffic -----------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def marginals() -> dict[str, Any]:
    """Read the measured distributions."""
    found: dict[str, Any] = json.loads(MARGINALS.read_text(encoding="utf-8"))
    return found


def people(rng: np.random.Generator, traffic: Traffic) -> People:
    """Draw users."""
    n = traffic.n_users
    asks = np.exp(1.2 * rng.standard_normal(n)) if traffic.per_user == 0 else np.ones(n)
    return People(_correlated(rng, n), rng.standard_normal(n), rng.random(n), asks / asks.sum())


def queries(rng: np.random.Generator, traffic: Traffic, who: People, prefix: int = 0) -> pd.DataFrame:
    """Draw queries of people, as drift reads them."""
    n, k = traffic.n, len(who.asks)
    user = np.arange(n) if traffic.per_user == 1 and k == n else rng.choice(k, size=n, p=who.asks)
    share = LEAST_OF_USERS
    drives = math.sqrt(share) * who.drives[user] + math.sqrt(1 - share) * rng.standard_normal(n)
    place = np.where(drives < special.ndtri(traffic.car), PLACES.index("car"), PLACES.index("other"))
    phone = np.where(who.phone < BUDGET_SHARE, PHONES.index("budget"), PHONES.index("wideband"))
    phone = np.where(who.phone * 7 % 1 < traffic.narrow, PHONES.index("narrow"), phone)[user]
    is_new = rng.random(n) < traffic.names
    shares = np.array([max(share, marginals()["between_users"][name]) for name in FEATURES])
    latent = np.sqrt(shares) * who.habits[user] + np.sqrt(1 - shares) * _correlated(rng, n)
    ranks = dict(zip(FEATURES, special.ndtr(latent).T, strict=True))
    values = _values(ranks, np.stack([place, phone, is_new & (traffic.spelled is None)]))
    if traffic.spelled is not None:
        values["has_unseen"] = ranks["has_unseen"] > 1 - np.where(is_new, *traffic.spelled[::-1])
    spread = marginals()["spread"]
    return pd.DataFrame({name: x + traffic.shift * spread[name] for name, x in values.items()} |
                        {"user_hash": user + prefix})


def _correlated(rng: np.random.Generator, n: int) -> Floats:
    root = np.linalg.cholesky(np.array(marginals()["correlation"]))
    return rng.standard_normal((n, len(FEATURES))) @ root.T


def _values(ranks: dict[str, Floats], cells: NDArray[np.int64]) -> dict[str, Floats]:
    """Turn ranks into values, cell by cell of place, phone and name. Shape of `cells`: [3, rows]."""
    values = {name: np.zeros(cells.shape[1]) for name in FEATURES}
    number = np.ravel_multi_index(list(cells), (2, 3, 2))
    for cell, words in enumerate(product(PLACES, PHONES, NAMES)):
        at, known = np.flatnonzero(number == cell), marginals()["cells"]["|".join(words)]
        for name in FEATURES:
            rank = ranks[name][at]
            values[name][at] = rank > 1 - known[name] if name in SHARES else np.interp(rank, GRID, known[name])
    return values


def demo_weeks(run: str, n_seeds: int = 20) -> pd.DataFrame:
    """Read the weeks of traffic that alarms.py decodes with a run's model, with what drift watches, and all errors."""
    from benchmarks import alarms  # it loads torch
    from workbench import engines, monitoring, scoring, settings, whisper_model

    model = whisper_model.find(str(storage.run_folder(run) / "05_improve" / "model.pt"))
    engine = engines.export(model, storage.cache_folder("alarms") / storage.hash_file(model)[:12])
    basis, n = alarms.basis_of(model, run), settings.amounts("small").n_week
    weeks = [pd.read_parquet(alarms.week_of_log(seed, week, engine, n)).assign(seed=seed, week=week)
             for seed in range(1, n_seeds + 1) for week in alarms.WEEKS]
    rows = monitoring.with_features(pd.concat(weeks, ignore_index=True), basis.known, basis.gap_limit)
    ids = rows["seed"].astype(str) + rows["request_id"]
    scores = scoring.score(rows.assign(text=rows["reference"], utterance_id=ids), rows["hypothesis"].tolist())
    return rows.assign(errors=basis.calibration.errors(rows), words=basis.calibration.words(rows),
                       n_errors=scores["n_errors"].to_numpy(), n_words=scores["n_words"].to_numpy())


def measure(weeks: pd.DataFrame) -> dict[str, Any]:
    """Measure the distributions in weeks of the demo world, the features of monitoring known.

    Correlations are of normal scores within cells; the share between users is a one-way analysis of variance's.
    """
    cells = (np.where(weeks["noise"].eq("car"), "car|", "other|") + weeks["device"]
             + np.where(weeks["is_new_name"], "|new", "|known"))
    quantiles = {cell: {name: round(float(part[name].mean()), 4) if name in SHARES else
                        [float(f"{x:.4g}") for x in part[name].quantile(GRID)] for name in FEATURES}
                 for cell, part in weeks.groupby(cells)}
    normal = weeks[weeks["week"].lt(SHIFT_WEEK)]
    within = normal.groupby(cells)[FEATURES].rank(pct=True).clip(0.001, 0.999)
    scores = pd.DataFrame(special.ndtri(within), columns=FEATURES, index=normal.index)
    who = normal["seed"].astype(str) + normal["user_hash"]
    return {"cells": quantiles, "spread": {name: 0.0 if name in SHARES else float(f"{normal[name].std():.4g}")
                                           for name in FEATURES},
            "correlation": scores.corr().round(3).to_numpy().tolist(),
            "between_users": {name: round(_between(normal[name].rank(), who), 3) for name in FEATURES}}


def _between(x: pd.Series, who: pd.Series) -> float:
    """Give the share of a value's variance that lies between users. Source: Fisher's intraclass correlation."""
    groups = x.groupby(who.to_numpy())
    n, k = groups.size(), groups.ngroups
    within = float(((x - groups.transform("mean")) ** 2).sum()) / (len(x) - k)
    between = float((n * (groups.mean() - x.mean()) ** 2).sum()) / (k - 1)
    size = (len(x) - float((n**2).sum()) / len(x)) / (k - 1)
    return max(0.0, (between - within) / (between + (size - 1) * within))
