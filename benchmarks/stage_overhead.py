"""What does a stage cost beyond its cells? The batch run and plain papermill in turn, on the same eight notebooks.

    python benchmarks/stage_overhead.py --work 0 3 10 --rounds 3

The notebooks import what the real stages import, work for a fixed processor time, show a figure and close. Overhead is
a contestant's time less the cells' own time in one process that has everything imported, by the stage: wall time, and
processor time, which other programs disturb less. Wanted: at most a second of wall time on two free cores, none for an
unchanged run (its share of one `workbench run` that finds nothing to do), and no more of it where cells work longer.
The rounds go to reports/benchmarks/stage_overhead.csv, what they say to stage_overhead.txt; other work has a name of
its own.
"""

import argparse
import ast
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import report

from workbench import notebooks
from workbench.notebooks import StageNotebook

WORK_S = [0.0, 3.0, 10.0]
GOAL_S = 1.0
LEAST_S = 0.01
"""Less than that is as good as nothing, whose logarithm no line fits."""
PYTHON = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python"}}
PAPERMILL = """
import sys, papermill
for path in sys.argv[1:]:
    papermill.execute_notebook(path, path.replace("notebooks/", "reports/"), parameters={"run": "plain"},
                               kernel_name="python3", progress_bar=False)
"""
# The first pass warms; of the second, each notebook's seconds are printed: wall time and processor time.
CELLS = """
import json, sys, time
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
for _ in range(2):
    wall_s, cpu_s = time.monotonic(), time.process_time()
    for path in sys.argv[1:]:
        for cell in json.load(open(path))["cells"]:
            result = shell.run_cell("".join(cell["source"]), silent=True)
            result.raise_error()
print("\\n", time.monotonic() - wall_s, time.process_time() - cpu_s)
"""
COMMANDS = {
    "cells alone": [sys.executable, "-c", CELLS],
    "plain papermill": [sys.executable, "-c", PAPERMILL],
    "workbench run": [sys.executable, "-m", "workbench.cli", "run", "--run", "ours", "--force"],
    "unchanged": [sys.executable, "-m", "workbench.cli", "run", "--run", "ours"],
}


def make_project(root: Path, work_s: float) -> list[str]:
    """Write the notebooks into a root of their own. Returns: their paths."""
    for folder in ("notebooks/recipes", "reports"):
        (root / folder).mkdir(parents=True)
    for notebook in notebooks.discover():
        cells = [code_cell(number, source) for number, source in enumerate(cells_of(notebook, work_s))]
        (root / "notebooks" / notebook.path.name).write_text(
            json.dumps({"cells": cells, "metadata": PYTHON, "nbformat": 4, "nbformat_minor": 5}))
    return [str(path) for path in sorted((root / "notebooks").glob("*.ipynb"))]


def code_cell(number: int, source: str) -> dict[str, object]:
    """Make a notebook's cell; the first holds the parameters."""
    return {"id": f"cell-{number}", "cell_type": "code", "source": source, "outputs": [], "execution_count": None,
            "metadata": {"tags": ["parameters"] if number == 0 else []}}


def cells_of(notebook: StageNotebook, work_s: float) -> list[str]:
    """Give a stage's cells: parameters, the real imports, work by processor time, a figure, an end."""
    return ["run: str = ''  # the run\nsize: str = ''  # how much", "\n".join(imports_of(notebook)),
            f"from workbench import storage\nstage = storage.open_stage({notebook.name!r}, run)",
            f"import time\nend_s = time.process_time() + {work_s}\nwhile time.process_time() < end_s:\n    pass",
            "import pandas\nfrom workbench import figures\nfigures.histogram(pandas.Series([1.0, 2.0]), 'x', 's')",
            "from workbench.records import Decision\n"
            "stage.close(parameters={}, metrics={}, decision=Decision('done', 'Ended.'))"]


def imports_of(notebook: StageNotebook) -> Iterator[str]:
    """Find the import statements of a real stage."""
    for cell in notebook.cells:
        if cell.kind == "code":
            yield from (ast.unparse(line) for line in ast.parse(cell.source).body
                        if isinstance(line, ast.Import | ast.ImportFrom))


def measure(command: list[str], root: Path, paths: list[str]) -> tuple[float, float]:
    """Run a contestant to its end. Returns: wall time and processor time, s."""
    words = command if "workbench.cli" in command else [*command, *paths]
    began_s, cpu_s = time.monotonic(), cpu_of_children_s()
    done = subprocess.run(words, cwd=root, env={**os.environ, "WORKBENCH_ROOT": str(root)}, check=True,
                          stdout=subprocess.PIPE, text=True)
    if command is COMMANDS["cells alone"]:
        wall, cpu = done.stdout.splitlines()[-1].split()
        return float(wall), float(cpu)
    return time.monotonic() - began_s, cpu_of_children_s() - cpu_s


def cpu_of_children_s() -> float:
    """Sum the processor time of all processes that have ended below this one."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def one_round(work_s: float) -> Iterator[dict[str, object]]:
    """Let each contestant go through the stages once, in turn. Returns: a row each, overhead a stage."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        paths = make_project(root, work_s)
        alone = measure(COMMANDS["cells alone"], root, paths)
        for name, command in list(COMMANDS.items())[1:]:
            wall, cpu = measure(command, root, paths)
            base = (0.0, 0.0) if name == "unchanged" else alone
            yield {"work_s": work_s, "contestant": name, "wall_s": (wall - base[0]) / len(paths),
                   "cpu_s": (cpu - base[1]) / len(paths)}


def summary(found: pd.DataFrame) -> Iterator[str]:
    """Say the overhead a stage, how many times as much plain papermill's is, and how it grows with the cells' work."""
    table = found.drop(columns="round").groupby(["work_s", "contestant"], sort=False).agg(["median", "min", "max"])
    table.columns = [f"{measure}_{what}" for measure, what in table.columns]
    yield f"overhead a stage, {found['round'].nunique()} rounds\n{table.to_string(float_format='%.2f')}"
    wide = found.pivot(index=["work_s", "round"], columns="contestant", values=["wall_s", "cpu_s"])
    for work_s, part in wide.groupby(level="work_s"):
        wall, cpu = (report.spread(part[s, "plain papermill"] / part[s, "workbench run"]) for s in ("wall_s", "cpu_s"))
        yield f"{work_s:g} s of work: plain papermill's overhead is {wall} times ours, {cpu} times by the processor"
    for name in ("plain papermill", "workbench run"):
        part = table.xs(name, level="contestant")
        part = part[part.index > 0]  # no work has no logarithm
        if len(part) > 1:
            grown = report.exponent(part.index, part["wall_s_median"].clip(lower=LEAST_S))
            yield f"overhead of {name} grows with the cells' work to the power {grown:.2f}"
    most_s = table["wall_s_median"].xs("workbench run", level="contestant").max()
    yield (f"workbench run: at most {most_s:.2f} s of wall time a stage, wanted {GOAL_S:g}: "
           f"{'yes' if most_s <= GOAL_S else 'no'}")


def main() -> None:
    """Run the benchmark and print overhead a stage: medians, with the lowest and highest of the rounds."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--work", type=float, nargs="+", default=WORK_S, help="processor seconds a stage")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rows: list[dict[str, object]] = []
    for number in range(options.rounds):
        for work_s in options.work:
            rows += [{"round": number, **row} for row in one_round(work_s)]
            print(pd.DataFrame(rows[-3:]).to_string(index=False, float_format="%.2f"), flush=True)
    found = pd.DataFrame(rows)
    report.publish("_".join(["stage_overhead", *(f"{work_s:g}" for work_s in options.work if options.work != WORK_S)]),
                   found, *summary(found))


if __name__ == "__main__":
    main()
