"""How fast is the monitoring page at 10^4, 10^5 and 10^6 rows of the query log? Each size in a process of its own.

    python benchmarks/dashboards_log.py --rows 10000 100000 1000000

Logs of three weeks are drawn by chance (`tests/simulated_log.py`), the third of them shifted, into a folder that is
deleted. Timed is the page's own code (one thread, and SQLite within it), without the browser, in seconds of the
processor: the first load, the load of the next visitor, that of one whose preheated kernel has read ahead, reading on
when 50 queries came, and each interaction. Wanted: a load within seconds, all else within 0.3 s. The table goes to
reports/benchmarks/dashboards_log.csv and dashboards_log.txt; other numbers of rows have a name of their own.
"""

import argparse
import json
import os
import resource
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
import report

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests import watched
from workbench import model_registry, settings, storage
from workbench.query_log import COLUMNS, QueryLog

ROWS = [10_000, 100_000, 1_000_000]
N_DRAWN, WEEK_S = 3_000, 604_800.0
N_NEW = 50


def write_log(n: int) -> None:
    """Write n rows: weeks drawn once, asked by further users again and again, spread over the same three weeks."""
    log = QueryLog()
    log.append([])
    assert log.check() == ""  # which makes the tables
    log.close()
    drawn = pd.concat([watched.week(number, N_DRAWN, **(watched.SHIFTED if number == 3 else {}))
                       for number in (1, 2, 3)], ignore_index=True)
    drawn = drawn.reindex(columns=list(COLUMNS[1:])).assign(queue_ms=3.0, decode_ms=50.0, biased_from="")
    with sqlite3.connect(storage.data_folder() / "queries.db") as connection:
        marks = ", ".join("?" * len(drawn.columns))
        for copy in range(-(-n // len(drawn))):
            part = another(drawn, copy).head(n - copy * len(drawn))
            connection.executemany(f"INSERT INTO queries ({', '.join(part.columns)}) VALUES ({marks})",
                                   part.to_numpy().tolist())


def another(drawn: pd.DataFrame, copy: int) -> pd.DataFrame:
    """Give the same queries asked by other users at other times of the same weeks."""
    rng = np.random.default_rng(copy)
    jitter = np.where(drawn["time_s"] % WEEK_S < WEEK_S - 3_600, rng.uniform(0, 3_600, len(drawn)), 0.0)
    names = {user: rng.bytes(8).hex() for user in drawn["user_hash"].unique()}
    return drawn.assign(request_id=[f"{rng.bytes(8).hex()}{copy:06x}" for _ in range(len(drawn))],
                        user_hash=drawn["user_hash"].map(names), time_s=drawn["time_s"] + jitter,
                        latency_ms=drawn["latency_ms"] * rng.uniform(0.8, 1.2, len(drawn)))


def timed(what: Callable[[], object]) -> float:
    """Give the seconds of the processor that something takes; a busy machine does not count."""
    begun_s = time.process_time()
    what()
    return time.process_time() - begun_s


def measure() -> dict[str, float]:
    """Time the page on the log of a project."""
    from workbench.watching import Watcher
    from workbench.widgets import monitoring
    from workbench.widgets.monitoring import Monitoring

    model_registry.alias_state()  # MLflow's import: a preheated kernel has it behind it
    before_mb = _resident_mb()
    pages: list[Monitoring] = []
    found = {"first load": timed(lambda: pages.append(Monitoring(Watcher()))),
             "next visitor": timed(lambda: pages.append(Monitoring(Watcher())))}
    watcher = monitoring.read_ahead()
    found["visitor of a preheated kernel"] = timed(lambda: pages.append(Monitoring(watcher)))
    page = pages[0]
    found["nothing new"] = timed(page.look)
    watched.fill(another(watched.week(3, 2_000, seed=8, **watched.SHIFTED), 999_999).tail(N_NEW))
    found["50 new queries"] = timed(page.look)
    for span in ("last 24 h", "7 days", "all"):
        found[span] = timed(lambda span=span: setattr(page.lines.choice, "value", span))  # type: ignore[misc]
    found["pick a feature"] = timed(lambda: setattr(page.drifting.rows, "selected", "snr_db"))
    if len(page.names.rows.ordered):
        first = str(page.names.rows.ordered["request_id"].iloc[0])
        found["pick a name"] = timed(lambda: setattr(page.names.rows, "selected", first))
    page.watcher.marks.add("alarm", str(page.alarms.now.ordered["alarm_id"].iloc[0]), by="Ada")
    found["acknowledge"] = timed(page.look)
    return {**found, "memory, MB": _resident_mb(), "of it the logs', MB": _resident_mb() - before_mb,
            "rows held": float(len(page.scene.rows))}


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def of_size(n: int) -> dict[str, float]:
    """Measure one size in a process of its own, in a project that is deleted."""
    root = Path(tempfile.mkdtemp(prefix="workbench-log-"))
    try:
        (root / "notebooks").mkdir()
        environment = {**os.environ, "WORKBENCH_ROOT": str(root)}
        done = subprocess.run([sys.executable, __file__, "--one", str(n)], env=environment, check=True,
                              stdout=subprocess.PIPE, text=True)
        return dict(json.loads(done.stdout.splitlines()[-1]))
    finally:
        shutil.rmtree(root)


def one(n: int) -> dict[str, float]:
    """Make the project of this process, and measure it."""
    root = settings.root()
    watched.release(root, "first")
    model_registry.promote("1", by="benchmark")
    begun_s = time.perf_counter()
    write_log(n)
    print(f"{n:,} rows written in {time.perf_counter() - begun_s:.0f} s", file=sys.stderr)
    return measure()


def written(found: dict[int, dict[str, float]]) -> str:
    """Write the table."""
    names = list(dict.fromkeys(name for row in found.values() for name in row))
    lines = ["| what, s | " + " | ".join(f"{n:,} rows" for n in found) + " |", "|---" * (len(found) + 1) + "|"]
    for name in names:
        form = "{:,.0f}" if "MB" in name or "rows" in name else "{:.2f}"
        cells = [form.format(row[name]) if name in row else "–" for row in found.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the benchmark, print the table and write it."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS)
    parser.add_argument("--one", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options.one)))
        return
    found = {n: of_size(n) for n in options.rows}
    report.publish("_".join(["dashboards_log", *(str(n) for n in options.rows if options.rows != ROWS)]),
                   pd.DataFrame([{"rows": n, **row} for n, row in found.items()]), written(found))


if __name__ == "__main__":
    main()
