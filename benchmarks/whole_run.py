"""Where does the time of a whole run go? All eight stages in a fresh project, second by second.

    python benchmarks/whole_run.py --size toy
    python benchmarks/whole_run.py --size small --cells 12

The run is watched from outside, twenty times a second: a moment is a fit's, a decode's, synthesis's or the traffic's by
the bar that is shown then (any other bar is the rest's) or by what the cell calls; a cell that imports is set-up; in
other cells it is the rest, and between cells the notebooks' overhead. Beside it stands the processor time of all
processes, which other programs disturb less; on two free cores a stage takes at least half of it. Of several rounds the
one that took the middle time is told. Wanted: toy under 60 s; small under 12 minutes, of which under 15 % outside
training, decoding and load test. All rounds go to reports/benchmarks/whole_run_SIZE.csv, what was told to .txt.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import psutil
import report

REPOSITORY = Path(__file__).parents[1]
GOAL_S = {"toy": 60.0, "small": 720.0}
MAX_SHARE_OUTSIDE = 0.15
TICK_S = 0.05
RUN = "default"
INSIDE = ("fits", "decodes", "load")
KINDS = (*INSIDE, "synthesis", "set-up", "rest", "overhead")
BARS = {"decoding": "decodes", "speaking": "synthesis", "sending": "load",
        **dict.fromkeys(("training", "many", "without", "control", "with", "challenger"), "fits")}
"""First words of bars (`many voices first`, `without SPEAKER`, `with the request`); any other bar is the rest's."""
CALLS = {"load": r"(traffic|phones)\.(send|simulate|change_over)\(", "set-up": r"^from workbench import",
         "decodes": r"\.transcribe\(|worsened\(|recognizers\.decode\("}
"""What a cell is for while it shows no bar."""


class Cell(NamedTuple):
    """One code cell as it was executed, in seconds since 1970."""

    stage: str
    number: int
    source: str
    began_s: float
    ended_s: float

    @property
    def kind(self) -> str:
        """Say what it does while it shows no bar."""
        return next((kind for kind, call in CALLS.items() if re.search(call, self.source, re.MULTILINE)), "rest")


@dataclass(frozen=True)
class Watched:
    """A run as it was seen: what it printed and when; at each tick the bar shown and the processor time so far."""

    began_s: float
    ended_s: float
    lines: Sequence[tuple[float, str]]
    ticks: Sequence[tuple[float, str, float]]


def watch(root: Path, size: str) -> Watched:
    """Run all stages in a project of their own and look on."""
    shutil.copytree(REPOSITORY / "notebooks", root / "notebooks")
    command = [sys.executable, "-m", "workbench.cli", "run", "--size", size, "--run", RUN]
    lines: list[tuple[float, str]] = []
    ticks: list[tuple[float, str, float]] = []
    used = dict[int, float]()
    began_s = time.time()
    with subprocess.Popen(command, cwd=root, env={**os.environ, "WORKBENCH_ROOT": str(root)}, text=True,
                          stdout=subprocess.PIPE) as process:
        reader = threading.Thread(target=lambda: lines.extend((time.time(), line) for line in process.stdout or ()))
        reader.start()
        while process.poll() is None:
            note_cpu(used, process.pid, root)
            ticks.append((time.time(), bar_shown(root), sum(used.values())))
            time.sleep(TICK_S)
        ended_s = time.time()
        reader.join()
    assert process.returncode == 0, "".join(line for _, line in lines)
    return Watched(began_s, ended_s, lines, ticks)


def note_cpu(used: dict[int, float], runner: int, root: Path) -> None:
    """Note the processor time, s, of every process of a run: the runner's, all below it, and the server's."""
    with contextlib.suppress(psutil.NoSuchProcess):
        processes = [psutil.Process(runner), *psutil.Process(runner).children(recursive=True)]
        with contextlib.suppress(OSError, json.JSONDecodeError):
            processes.append(psutil.Process(json.loads((root / "data/service.json").read_text())["pid"]))
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                used[process.pid] = times.user + times.system


def bar_shown(root: Path) -> str:
    """Read the words of the bar that a cell shows now, "" when there is none."""
    try:
        return str(json.loads((root / f"data/runs/{RUN}/.progress.json").read_text())["description"])
    except (OSError, json.JSONDecodeError):
        return ""


def executed(root: Path) -> Iterator[Cell]:
    """Read when each cell ran."""
    for path in sorted((root / "reports" / RUN).glob("[0-9][0-9]_*.ipynb")):
        for number, cell in enumerate(json.loads(path.read_text())["cells"]):
            noted = cell["metadata"].get("papermill", {})
            if cell["cell_type"] == "code" and noted.get("end_time"):
                yield Cell(path.stem, number, "".join(cell["source"]), seconds(noted["start_time"]),
                           seconds(noted["end_time"]))


def seconds(moment: str) -> float:
    """Turn papermill's time, which is UTC, into seconds since 1970."""
    return datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp()


def ends(watched: Watched) -> dict[str, float]:
    """Say when each stage was over; what comes after the last of them is called `end`."""
    found = {line.split()[0]: at for at, line in watched.lines if re.match(r"\d\d_\w+ .*: ", line)}
    return {**found, "end": watched.ended_s}


def divide(watched: Watched, cells: Sequence[Cell]) -> pd.DataFrame:
    """Give each tick to a stage and a kind. Returns: stage, kind, seconds, cpu_s; a row a tick."""
    stages, rows, before_s, cpu_before_s = ends(watched), [], watched.began_s, 0.0
    for at, bar, cpu_s in watched.ticks:
        stage = next(name for name, end_s in stages.items() if at <= end_s)
        cell = next((c for c in cells if c.began_s <= at <= c.ended_s), None)
        shown = BARS.get(bar.partition(" ")[0], "rest") if bar else ""
        rows.append((stage, shown or (cell.kind if cell else "overhead"), at - before_s,
                     cpu_s - cpu_before_s))
        before_s, cpu_before_s = at, cpu_s
    return pd.DataFrame(rows, columns=["stage", "kind", "seconds", "cpu_s"])


def table_of(ticks: pd.DataFrame) -> pd.DataFrame:
    """Lay stages against kinds, with the sums."""
    table = ticks.pivot_table(index="stage", columns="kind", values="seconds", aggfunc="sum", fill_value=0.0)
    table = table.reindex(columns=list(KINDS), fill_value=0.0).loc[list(dict.fromkeys(ticks["stage"]))]
    table.insert(0, "wall", table.sum(axis=1))
    table.insert(1, "cpu", ticks.groupby("stage")["cpu_s"].sum())
    return pd.concat([table, table.sum().rename("total").to_frame().T])


def one_round(root: Path, size: str) -> tuple[pd.DataFrame, list[Cell]]:
    """Run all stages in a project, and end its server. Returns: the table of stages and kinds, and all cells."""
    watched = watch(root, size)
    subprocess.run([sys.executable, "-m", "workbench.cli", "stop"], check=True, stdout=subprocess.DEVNULL,
                   env={**os.environ, "WORKBENCH_ROOT": str(root)}, cwd=root)
    cells = list(executed(root))
    return table_of(divide(watched, cells)), cells


def summary(table: pd.DataFrame, cells: Sequence[Cell], size: str, n_cells: int) -> Iterator[str]:
    """Say where the time of one round went, what of it was wanted, and which cells took longest."""
    wall_s = table.loc["total", "wall"]
    outside = 1 - table.loc["total", list(INSIDE)].sum() / wall_s
    yield table.to_string(float_format="%.1f")
    is_met = wall_s < GOAL_S[size] and (outside < MAX_SHARE_OUTSIDE or size != "small")
    yield (f"{size}: {wall_s:.1f} s, wanted {GOAL_S[size]:g}; outside training, decoding and load test "
           f"{100 * outside:.0f} %, wanted at small {100 * MAX_SHARE_OUTSIDE:.0f} %: {'yes' if is_met else 'no'}\n")
    for c in sorted(cells, key=lambda cell: cell.began_s - cell.ended_s)[:n_cells]:
        yield f"{c.ended_s - c.began_s:7.2f} s  {c.stage} cell {c.number}: {c.source.splitlines()[0][:80]}"


def main() -> None:
    """Run the benchmark and print the table, the share outside, and the longest cells."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--size", default="toy", choices=sorted(GOAL_S))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--cells", type=int, default=15, help="so many of the longest cells are listed")
    parser.add_argument("--root", type=Path, help="a folder that is not there yet, where each round's project stays")
    options = parser.parse_args()
    with contextlib.nullcontext(options.root) if options.root else tempfile.TemporaryDirectory() as folder:
        rounds = [one_round(Path(folder) / f"round-{number}", options.size) for number in range(options.rounds)]
    middle, cells = sorted(rounds, key=lambda done: float(done[0].loc["total", "wall"]))[(len(rounds) - 1) // 2]
    found = pd.concat([table.rename_axis("stage").reset_index().assign(round=i) for i, (table, _) in enumerate(rounds)])
    totals = found[found["stage"].eq("total")]
    report.publish(f"whole_run_{options.size}", found, *summary(middle, cells, options.size, options.cells),
                   f"{len(rounds)} rounds: {report.spread(totals['wall'])} s, {report.spread(totals['cpu'])} s of the "
                   "processor")


if __name__ == "__main__":
    main()
