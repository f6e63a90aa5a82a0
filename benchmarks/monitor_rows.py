"""How does watching grow with the log? The stage, the page's streaming reader and plain pandas, in turn.

    python benchmarks/monitor_rows.py --rows 10000 100000 1000000 --rounds 3

Logs of three weeks, the third shifted, are drawn as for `dashboards_log.py`, anew in each round, for the page keeps
what it has counted. `pandas` reads the whole table and groups it by day; `stage` counts all and judges what it draws of
each window, as 07_monitor does; `streamed` counts more, by hour, and draws as much, as the page does. Wanted: a million
rows within 10 s and 1 GB, and a cost that grows no faster than the rows. The rounds go to
reports/benchmarks/monitor_rows.csv, what they say to monitor_rows.txt; other numbers of rows have a name of their own.
"""

import argparse
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pandas as pd
import report

sys.path.insert(0, str(Path(__file__).parents[1]))
from dashboards_log import write_log
from peak import peak_mb

from tests import watched
from workbench import model_registry, monitoring, monitoring_reports, storage
from workbench.log_reading import LogReader
from workbench.monitoring import DAY_S, WEEK_S, Rules
from workbench.watching import Watcher

ROWS = [10_000, 100_000, 1_000_000]
GOAL_S, GOAL_MB = 10.0, 1_000.0


def with_pandas() -> object:
    """Read the whole table and average its numbers by day: the least that a hand-written monitor does."""
    with sqlite3.connect(storage.data_folder() / "queries.db") as connection:
        rows = pd.read_sql("select * from queries", connection)
    return rows.groupby(rows["time_s"] // DAY_S).mean(numeric_only=True)


def as_stage() -> object:
    """Count all, read what is judged, and judge it."""
    log = LogReader()
    asked = log.drawn(after_row=0, up_to_row=log.last_row(), width_s=WEEK_S)
    labels = log.labelled()
    log.close()
    report = monitoring.watch(asked.rows, watched.basis(), labels=labels, rules=Rules(), start_s=asked.start_s)
    return monitoring_reports.conclude(monitoring_reports.counted(report, asked.counts))


def streamed() -> object:
    """Look once, as the page does."""
    watcher = Watcher()
    scene = watcher.refresh()
    watcher.close()
    return scene


CONTESTANTS: dict[str, Callable[[], object]] = {"pandas": with_pandas, "stage": as_stage, "streamed": streamed}


def measure(name: str) -> str:
    """Time a contestant in this process. Returns: wall and processor seconds, and peak memory in MB."""
    watched.basis()
    model_registry.alias_state()  # imports and constants are behind everybody before the clock starts
    began_s, cpu_s = time.monotonic(), time.process_time()
    CONTESTANTS[name]()
    return f"{time.monotonic() - began_s} {time.process_time() - cpu_s} {peak_mb()}"


def in_process(root: Path, *words: str) -> str:
    """Run this file again on a project. Returns: the last line it printed."""
    done = subprocess.run([sys.executable, __file__, *words], env={**os.environ, "WORKBENCH_ROOT": str(root)},
                          check=True, stdout=subprocess.PIPE, text=True)
    return (done.stdout.splitlines() or [""])[-1]


def of_size(n_rows: int) -> list[dict[str, object]]:
    """Let all contestants read one log, which is deleted afterwards."""
    root = Path(tempfile.mkdtemp(prefix="workbench-log-"))
    try:
        (root / "notebooks").mkdir()
        in_process(root, "--make", str(n_rows))
        found = {name: map(float, in_process(root, "--one", name).split()) for name in CONTESTANTS}
        return [{"rows": n_rows, "contestant": name, **dict(zip(("wall_s", "cpu_s", "peak_mb"), numbers, strict=True))}
                for name, numbers in found.items()]
    finally:
        shutil.rmtree(root)


def make(n_rows: int) -> None:
    """Make this process's project: a released model and its log."""
    watched.release(storage.data_folder().parent, "first")
    model_registry.promote("1", by="benchmark")
    write_log(n_rows)


def summary(found: pd.DataFrame) -> Iterator[str]:
    """Say the medians, by round how many times pandas' cost, how each grows, and what of it was wanted."""
    grouped = found.drop(columns="round").groupby(["rows", "contestant"], sort=False)
    table = grouped.median().assign(wall_min_s=grouped["wall_s"].min(), wall_max_s=grouped["wall_s"].max())
    yield f"medians of {found['round'].nunique()} rounds\n{table.to_string(float_format='%.2f')}"
    for name in list(CONTESTANTS)[1:]:
        for n_rows, part in found.groupby("rows"):
            wide = part.pivot(index="round", columns="contestant", values=["cpu_s", "peak_mb"])
            seconds, memory = (report.spread(wide[cost, name] / wide[cost, "pandas"]) for cost in ("cpu_s", "peak_mb"))
            yield f"{n_rows:,} rows: {name} takes {seconds} of pandas' processor time and {memory} of its memory"
    for name, part in table.groupby("contestant", sort=False):
        sizes = part.index.get_level_values("rows")
        if len(sizes) > 1:
            yield (f"{name} grows with the rows to the power {report.exponent(sizes, part['cpu_s']):.2f} in time, "
                   f"{report.exponent(sizes, part['peak_mb']):.2f} in memory")
    n_rows = found["rows"].max()
    for name, row in table.loc[n_rows].drop("pandas").iterrows():
        is_met = "yes" if row["wall_s"] <= GOAL_S and row["peak_mb"] <= GOAL_MB else "no"
        yield (f"{n_rows:,} rows: {name} takes {row['wall_s']:.1f} s and {row['peak_mb']:,.0f} MB; wanted of "
               f"{max(ROWS):,} at most {GOAL_S:g} s and {GOAL_MB:,.0f} MB: "
               f"{is_met if n_rows >= max(ROWS) else 'not tried'}")


def main() -> None:
    """Run the benchmark and print the table, how each compares with pandas, and how each grows."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", default="", help=argparse.SUPPRESS)
    parser.add_argument("--make", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(measure(options.one))
    elif options.make:
        make(options.make)
    else:
        found = pd.DataFrame([{"round": number, **row} for number in range(options.rounds) for n_rows in options.rows
                              for row in of_size(n_rows)])
        report.publish("_".join(["monitor_rows", *(str(n) for n in options.rows if options.rows != ROWS)]), found,
                       *summary(found))


if __name__ == "__main__":
    main()
