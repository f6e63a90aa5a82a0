"""How often does the WER of a window, told from a random audit of it and from expectations, hold the true one?

    python -m benchmarks.audits --sets 300

Windows of 1,500 queries by many users or by few who ask unevenly; errors come in bunches, some users are worse, and
confidence is right on average. Wanted: 93 to 97 % covered, with t(K-1), K the users with errors in effect (`ours`);
beside it t of all audited users (`plain`), and the audit without expectations (`alone`). The table goes to
reports/benchmarks/audits.csv and audits.txt.
"""

import argparse
import math
from collections.abc import Callable

import numpy as np
import pandas as pd

from benchmarks import report, simulated_errors
from workbench import auditing, expected_wer, intervals
from workbench.expected_wer import Calibration
from workbench.records import Interval

WERS = (0.02, 0.05, 0.10, 0.25)
AUDITS = ((500, 30), (500, 60), (500, 400), (40, 30), (40, 120))
"""Users of a window, and how many of its queries are labelled."""
N_QUERIES, N_CALIBRATIONS = 1_500, 8
BUNCH = 0.45
"""Share of a wrong query's words that are wrong."""


def window(rng: np.random.Generator, n: int, n_users: int, wer: float) -> pd.DataFrame:
    """Draw answered queries with their errors; below 100 users some ask far more than others."""
    use = np.exp(1.2 * rng.standard_normal(n_users)) if n_users < 100 else np.ones(n_users)
    user, snr_db = rng.choice(n_users, size=n, p=use / use.sum()), rng.uniform(0, 40, n)
    skill, loud = np.exp(rng.normal(0, 0.5, n_users) - 0.125)[user], np.exp(-snr_db / 8)
    rate = np.minimum(wer * skill * (0.3 + 0.7 * loud / loud.mean()) * rng.gamma(4, 0.25, n), 0.9)
    n_words, share = rng.integers(2, 7, n), BUNCH * (1 + rate)
    is_wrong = rng.random(n) < rate / share
    more = rng.binomial(n_words - 1, np.clip((share * n_words - 1) / (n_words - 1), 0, 1))
    seen = rate + 0.15 * is_wrong * rng.random(n)
    block = pd.Series([f"s{number}" for number in user])
    return pd.DataFrame({
        "request_id": [f"q{number}" for number in range(n)], "speaker": block, "block": block, "n_words": n_words,
        "n_errors": np.where(is_wrong, 1 + more, 0), "avg_logprob": -seen - rng.gamma(1, 0.02, n),
        "no_speech_prob": rng.beta(0.3, 8, n), "compression_ratio": 0.8, "ctc_gap": 2 * seen + rng.gamma(2, 0.05, n),
        "snr_db": snr_db + rng.normal(0, 2, n), "bandwidth_hz": 7_000 + rng.normal(0, 200, n),
        "level_dbfs": rng.normal(-20, 4, n), "duration_s": 0.6 + 0.35 * n_words + rng.uniform(0, 0.3, n)})


def plain(rows: pd.DataFrame, scores: pd.DataFrame, calibration: Calibration) -> Interval:
    """Combine as `auditing.combine` does, but with t of all audited users, however few had errors."""
    least, half = intervals.MIN_EFFECTIVE_BLOCKS, auditing._half
    intervals.MIN_EFFECTIVE_BLOCKS, auditing._half = -1.0, lambda off, users, level, K=math.inf: half(off, users, level)
    try:
        return auditing.combine(rows, scores, calibration)
    finally:
        intervals.MIN_EFFECTIVE_BLOCKS, auditing._half = least, half


def coverage(wer: float, n_users: int, n_labels: int, *, n_sets: int) -> dict[str, float]:
    """Count how often each way holds the true WER, and how often its end lies below."""
    ways: dict[str, Callable[[pd.DataFrame, pd.DataFrame, Calibration], Interval]] = {
        "ours": auditing.combine, "plain": plain, "alone": lambda _, scores, __: auditing.audited_wer(scores)}
    known = [expected_wer.calibrate(window(np.random.default_rng([1, seed]), 900, 100, wer))
             for seed in range(N_CALIBRATIONS)]
    found = {way: np.zeros((n_sets, 2)) for way in ways}
    for number in range(n_sets):
        rows = window(np.random.default_rng([2, number]), N_QUERIES, n_users, wer)
        scores, true = rows.sample(n_labels, random_state=number), rows["n_errors"].sum() / rows["n_words"].sum()
        for way, combine in ways.items():
            one = combine(rows, scores, known[number % N_CALIBRATIONS])
            found[way][number] = one.low <= true <= one.high, one.high < true
    row: dict[str, float] = {"wer": wer, "n_users": n_users, "n_labels": n_labels, "n_sets": n_sets}
    for way, told in found.items():
        row |= {f"{way}_coverage": float(told[:, 0].mean()), f"{way}_too_low": float(told[:, 1].mean())}
    return row | {"mc_error": simulated_errors.monte_carlo_error(row["ours_coverage"], n_sets)}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--sets", type=int, default=300, help="windows a cell")
    options = parser.parse_args()
    rows = [coverage(wer, *audit, n_sets=options.sets) for wer in WERS for audit in AUDITS]
    table = pd.DataFrame(rows).round(4)
    report.publish("audits", table, "coverage of the true WER", table.to_string(index=False))


if __name__ == "__main__":
    main()
