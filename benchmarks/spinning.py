"""What does it cost a training that OpenMP's threads spin while they wait for each other? Free and on a busy machine.

    python benchmarks/spinning.py
    python benchmarks/spinning.py --counts 300000 20000 5000 0 --busy 0 1 2

The default recipe trains the default size with each GOMP_SPINCOUNT in turn, beside so many processes that never rest,
on all cores, and last with one thread, which waits for nobody. 300000 is OpenMP's own (GNU libgomp manual,
"GOMP_SPINCOUNT"), what the package sets is in its __init__. The tables go to reports/benchmarks/.
"""

import argparse
import itertools
import os
from typing import Any, Literal

import at_once
import pandas as pd
import report
import training

from workbench import precision


def measure(options: argparse.Namespace) -> pd.DataFrame:
    """Train in every way in turn. Returns: a row a round, number of processes and way."""
    n_cores, rows = os.cpu_count() or 1, list[dict[str, Any]]()
    ways = [*((n_cores, count) for count in options.counts), (1, options.counts[-1])]
    how: Literal["float32", "bfloat16"] = "bfloat16" if precision.processor_halves() else "float32"
    for number, n_busy, (n_threads, count) in itertools.product(range(options.rounds), options.busy, ways):
        case = training.Case("ours", "small", 8, 3.0, options.steps, n_threads, how)
        os.environ["GOMP_SPINCOUNT"] = str(count)
        with at_once.beside(n_busy):
            step_s = training.in_own_process(case)["step_s"]
        rows.append({"round": number, "busy": n_busy, "threads": n_threads, "count": count, "step_s": step_s})
    return pd.DataFrame(rows)


def compare(found: pd.DataFrame) -> list[str]:
    """Say by round how much faster each way is than the first, beside each number of busy processes."""
    lines = []
    for n_busy, some in found.groupby("busy"):
        by = some.pivot(index="round", columns=["threads", "count"], values="step_s")
        first, *others = by
        lines += [f"beside {n_busy} busy, {threads} threads, {count}: {report.spread(by[first] / by[threads, count])} "
                  f"times as fast as {first[0]} threads, {first[1]}" for threads, count in others]
    return lines


def main() -> None:
    """Run the benchmark and publish the table."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--counts", type=int, nargs="+", default=[300_000, 5_000])
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    found = measure(options)
    table = found.groupby(["busy", "threads", "count"], sort=False)["step_s"].agg(["median", "min", "max"])
    report.publish(report.table_name("spinning", parser, options), found,
                   f"seconds a step of the default size, {os.cpu_count()} cores, {options.rounds} rounds",
                   table.to_string(float_format="%.3f"), *compare(found))


if __name__ == "__main__":
    main()
