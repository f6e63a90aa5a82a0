"""How does watching grow with the log? The stage, the page's streaming reader and plain pandas, in turn.

    python benchmarks/monitor_rows.py --rows 10000 100000 1000000

Logs of three weeks, the third shifted, are drawn as for `dashboards_log.py`. `pandas` reads the whole table and groups
it by day; `stage` counts all and judges what it draws of each window, as 07_monitor does; `streamed` counts more, by
hour, and draws as much, as the page does. Wanted: a million rows within 10 s and 1 GB, and a cost that grows no faster
than the rows. The table goes to reports/benchmarks/monitor_rows.csv.
"""

import argparse
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1]))
from dashboards_log import write_log
from peak import peak_mb

from tests import watched
from workbench import model_registry, monitoring, monitoring_reports, storage
from workbench.log_reading import LogReader
from workbench.monitoring import DAY_S, WEEK_S, Rules
from workbench.watching import Watcher


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


def main() -> None:
    """Run the benchmark and print the table and how each grows."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--one", default="", help=argparse.SUPPRESS)
    parser.add_argument("--make", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(measure(options.one))
    elif options.make:
        make(options.make)
    else:
        report([row for n_rows in options.rows for row in of_size(n_rows)])


def report(rows: list[dict[str, object]]) -> None:
    """Print and keep what was measured."""
    table = pd.DataFrame(rows)
    print(table.to_string(index=False, float_format="%.2f"))
    for name, part in table.groupby("contestant", sort=False):
        if len(part) > 1:
            slope = np.polyfit(np.log(part["rows"]), np.log(part["cpu_s"]), 1)[0]
            print(f"{name} grows with the rows to the power {slope:.2f}")
    storage.write_text(Path(__file__).parents[1] / "reports" / "benchmarks" / "monitor_rows.csv",
                       table.to_csv(index=False))


if __name__ == "__main__":
    main()
