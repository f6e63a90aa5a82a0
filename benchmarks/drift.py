"""Does drift keep its word? Quiet windows, windows that moved, and harmless shifts, drawn by the thousand.

    python benchmarks/drift.py                        # all of it: about an hour on one core
    python benchmarks/drift.py --only moved --windows 200
    python benchmarks/drift.py --measure default      # the distributions anew, from weeks that alarms.py decoded

Wanted at a level of 5 %, over all features together: at most 6.5 % alarms in quiet windows, at least 90 % in windows of
500 with twice the cars, a quarter of the users on a narrow phone, or new names as 2 % of words; and none where 10,000
queries shift by a tenth of a standard deviation. The table is printed and kept in reports/benchmarks/drift.csv.

Assumed: features are distributed as in the demo weeks (`drift_marginals.json`: by place, phone and new name, with their
rank correlations); users differ, with at least a tenth of each feature's variance and of the cars between them; each
window has a reference of its own, 5,000 queries of other people who ask as often, unless a row says otherwise.
"""

import argparse
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

from workbench import drift, progress, storage

Floats = NDArray[np.float64]

LEVEL = 0.05
MARGINALS = Path(__file__).with_name("drift_marginals.json")
FEATURES = [feature.name for feature in drift.DEFAULT]
SHARES = [feature.name for feature in drift.DEFAULT if feature.is_share]
GRID = np.array([.001, .005, .01, .025, .05, *np.arange(.1, .95, .05), .95, .975, .99, .995, .999])
LEAST_OF_USERS = 0.10
"""Of the variance that lies between users; the demo's users differ less in most: its places are drawn by chance."""
PLACES, PHONES, NAMES = ("other", "car"), ("wideband", "budget", "narrow"), ("known", "new")
BUDGET_SHARE, CAR_SHARE = 0.25, 0.20
SHIFT_WEEK = 3  # of demo_world, which loads torch
REFERENCE_N = 5_000
N_DRAWS = 1_000
"""By chance, a window: half of what drift draws for a level of 1 %."""
NAME_QUERIES = 0.059
"""New names as 2 % of words: the demo's queries have 5.16 words, those with a new name 1.75 words of it."""
SPELLED = (0.02, 1.0)
"""How often a query has words never seen, without and with a new name, where the recognizer writes what it hears."""


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
    """Read the weeks of traffic that alarms.py decodes with a run's model, with what drift watches."""
    import alarms  # beside this file; it loads torch

    from workbench import engines, monitoring, settings, whisper_model

    model = whisper_model.find(str(storage.run_folder(run) / "05_improve" / "model.pt"))
    engine = engines.export(model, storage.cache_folder("alarms") / storage.hash_file(model)[:12])
    basis, n = alarms.basis_of(model, run), settings.amounts("small").n_week
    weeks = [pd.read_parquet(alarms.week_of_log(seed, week, engine, n)).assign(seed=seed, week=week)
             for seed in range(1, n_seeds + 1) for week in alarms.WEEKS]
    return monitoring.with_features(pd.concat(weeks, ignore_index=True), basis.known, basis.gap_limit)


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


# --- the claims ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cell:
    """One row of the table: windows of one kind, and what is wanted of their alarms (shares)."""

    claim: str
    name: str
    window: Traffic
    reference: Traffic
    is_same_people: bool = False
    at_most: float = 1.0
    at_least: float = 0.0
    feature: str = ""

    def trial(self, seed: int, level: float = LEVEL) -> drift.DriftResult:
        """Draw a reference and a window, and compare them."""
        rng = np.random.default_rng([seed, *self.name.encode()])
        before = people(rng, self.reference)
        reference = queries(rng, self.reference, before)
        now = before if self.is_same_people else people(rng, self.window)
        prefix = 0 if self.is_same_people else len(before.asks)
        return drift.compare(reference, queries(rng, self.window, now, prefix), level=level, seed=seed,
                             n_draws=N_DRAWS)


ASKING = {1: "1", 3: "3", 10: "10", 0: "uneven"}


def quiet() -> list[Cell]:
    """List windows in which nothing moved."""
    cells = [Cell("quiet", f"{n:,} queries, {word} a user", Traffic(n, k), Traffic(REFERENCE_N, k), at_most=0.065)
             for n in (50, 200, 1_000, 10_000) for k, word in ASKING.items()]
    dev, week = Traffic(700, 11), Traffic(1_500, 3)
    return [*cells, Cell("quiet", "1,500 queries, 3 a user, against 700 of dev, 11 each", week, dev, at_most=0.065),
            Cell("quiet", "1,500 queries, 3 a user, of those who asked before", week, Traffic(REFERENCE_N, 10),
                 is_same_people=True, at_most=0.065)]


def moved() -> list[Cell]:
    """List windows of 500 that moved; names also as the demo's model hears them, and how many it would take."""
    changes = [("cars 20 to 40 %", {"car": 0.4}, "snr_db"), ("25 % of users on a narrow phone", {"narrow": 0.25},
                                                             "bandwidth_hz"),
               ("new names 2 % of words, spelled", {"names": NAME_QUERIES, "spelled": SPELLED}, "has_unseen")]
    cells = [Cell("moved", f"{name}, {word} a user", Traffic(500, k, **change),
                  Traffic(REFERENCE_N, k, spelled=change.get("spelled")), at_least=0.9, feature=feature)
             for name, change, feature in changes for k, word in ASKING.items()]
    heard = [Cell("curve", f"new names {share:.0%} of words as the demo's model hears them, {n:,} queries, 3 a user",
                  Traffic(n, 3, names=NAME_QUERIES * share / 0.02), Traffic(REFERENCE_N, 3), feature="has_unseen")
             for share in (0.02, 0.05) for n in (500, 1_500, 5_000)]
    return cells + heard


def harmless() -> list[Cell]:
    """List large windows in which all features shifted by a tenth of a standard deviation."""
    return [Cell("harmless", f"10,000 queries shifted by 0.1 SD, {word} a user", Traffic(10_000, k, shift=0.1),
                 Traffic(n, k), at_most=0.0) for n in (REFERENCE_N, 10_000) for k, word in ASKING.items()]


CLAIMS = {"quiet": quiet, "moved": moved, "harmless": harmless}


def judge(cell: Cell, n_windows: int, level: float = LEVEL) -> dict[str, object]:
    """Count outcomes; `chance` is the share of windows in which some p-value passes, whatever the effect."""
    results = [cell.trial(seed, level) for seed in progress.track(range(n_windows), cell.name)]
    alarms = [result.outcome == "drift" for result in results]
    share = float(np.mean(alarms))
    outcomes = pd.Series([result.outcome for result in results])
    return {"claim": cell.claim, "windows of": cell.name, "n": n_windows, "alarms": sum(alarms),
            "share": f"{share:.1%} ± {math.sqrt(share * (1 - share) / n_windows):.1%}",
            "by its feature": f"{np.mean([cell.feature in r.moved for r in results]):.1%}" if cell.feature else "",
            "chance": f"{np.mean([(r.table['p_value'] <= level).any() for r in results]):.1%}",
            "cannot tell": f"{outcomes.eq('cannot_tell').mean():.0%}", "quiet": f"{outcomes.eq('quiet').mean():.0%}",
            "holds": "" if cell.claim == "curve" else "yes" if cell.at_least <= share <= cell.at_most else "NO"}


def main() -> None:
    """Run the benchmark, or measure what it draws from."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--windows", type=int, default=1_000, help="a row")
    parser.add_argument("--only", choices=CLAIMS, action="append", help="one claim; may be given again")
    parser.add_argument("--like", default="", help="rows whose name holds this")
    parser.add_argument("--level", type=float, default=LEVEL, help="the demo's own is 0.01")
    parser.add_argument("--measure", metavar="RUN", default="", help="measure the distributions in alarms.py's weeks")
    options = parser.parse_args()
    if options.measure:
        storage.write_text(MARGINALS, json.dumps(measure(demo_weeks(options.measure)), indent=0))
        return
    name = "-".join(["drift", *(options.only or []), *([f"level-{options.level}"] if options.level != LEVEL else [])])
    path, rows = storage.data_folder().parent / "reports" / "benchmarks" / f"{name}.csv", list[dict[str, object]]()
    for cell in (cell for claim in options.only or CLAIMS for cell in CLAIMS[claim]() if options.like in cell.name):
        rows.append(judge(cell, options.windows, options.level))
        print(" | ".join(f"{key} {value}" for key, value in rows[-1].items() if value != ""), flush=True)
        storage.write_text(path, pd.DataFrame(rows).to_csv(index=False))
    print(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()
