"""Do 95 % intervals hold what all users of the demo world come to, with the errors that a real model makes?

    python -m benchmarks.intervals_demo --run default --sets 4000

The weeks are those of benchmarks/alarms.py, spoken and decoded once. Users are drawn from all of them. The table is
printed and kept in reports/benchmarks/intervals_demo.csv.
"""

import argparse
from itertools import product

import numpy as np
import pandas as pd

from benchmarks import alarms, simulated_errors
from workbench import engines, intervals, scoring, settings, storage, whisper_model


def speakers(run: str, n_seeds: int = 20) -> pd.DataFrame:
    """Sum up what the model of a run made of each user's queries in two quiet weeks of the demo world, many times over.

    Returns: a row a user, n_errors, n_words, n_wrong (queries not word for word right), n_queries.
    """
    model = whisper_model.find(str(storage.run_folder(run) / "05_improve" / "model.pt"))
    engine = engines.export(model, storage.cache_folder("alarms") / storage.hash_file(model)[:12])
    weeks = [pd.read_parquet(alarms.week_of_log(seed, week, engine, settings.amounts("small").n_week)).assign(seed=seed)
             for seed in range(1, n_seeds + 1) for week in (1, 2)]
    rows = pd.concat(weeks, ignore_index=True).rename(columns={"request_id": "utterance_id"})
    scores = scoring.score(rows, rows["hypothesis"].tolist())
    said = scores.assign(n_wrong=~scores["is_exact"] & scores["n_words"].gt(0), n_queries=scores["n_words"].gt(0))
    return said.groupby(["seed", "user_hash"])[["n_errors", "n_words", "n_wrong", "n_queries"]].sum()


def coverage(users: pd.DataFrame, *, n_sets: int, seed: int) -> pd.DataFrame:
    """Draw users of the demo world and count how often intervals hold what all of them come to."""
    rng, rows = np.random.default_rng(seed), []
    for (errors, totals), n_users in product((("n_errors", "n_words"), ("n_wrong", "n_queries")), (50, 200, 500)):
        e, n = users[errors].to_numpy(float), users[totals].to_numpy(float)
        true, found = e.sum() / n.sum(), []
        for _ in range(n_sets):
            drawn = rng.choice(len(users), n_users, replace=False)
            found.append(intervals.rate_interval(e[drawn], n[drawn], np.arange(n_users)))
        holds = float(np.mean([one.low <= true <= one.high for one in found]))
        rows.append({"rate": "wer" if totals == "n_words" else "queries wrong", "truth": true, "n_users": n_users,
                     "n_sets": n_sets, "coverage": holds,
                     "mc_error": simulated_errors.monte_carlo_error(holds, n_sets),
                     "width": float(np.median([one.high - one.low for one in found]))})
    return pd.DataFrame(rows).round(4)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--run", default="default", help="whose model listens")
    parser.add_argument("--sets", type=int, default=4000, help="drawn sets a cell")
    parser.add_argument("--seed", type=int, default=1300)
    options = parser.parse_args()
    users = speakers(options.run)
    simulated_errors.report(f"{len(users):,} users of the demo world, as the model of {options.run} hears them",
                            coverage(users, n_sets=options.sets, seed=options.seed), "intervals_demo")


if __name__ == "__main__":
    main()
