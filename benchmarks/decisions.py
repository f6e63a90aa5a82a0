"""Does a change keep what the stages decide? All eight stages by the package of a commit and by this one, same seeds.

    python benchmarks/decisions.py --before HEAD~1
    python benchmarks/decisions.py --before HEAD~1 --size small --run-parameter train.seed=1
    python benchmarks/decisions.py --roots A/round-0 B/round-0

Each runs in a project of its own, with the notebooks, recipes and package of its time, one after the other; or two
projects are given that have run before (`whole_run.py --root` leaves such). The stages' decisions stand side by side,
and so do all figures that both record with an interval. Wanted: every decision is the same, and every figure of now
lies in the interval that it had before; a change that multiplies in another precision may do no more. What one seed
shows is one draw: give others by `--run-parameter train.seed=N`. The figures go to reports/benchmarks/decisions.csv,
what they say to decisions.txt; other choices have a name of their own.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import from_nothing
import pandas as pd
import report

RUN = "default"
BEFORE, NOW = "before", "now"


def run(code: Path, root: Path, size: str, parameters: Sequence[str]) -> float:
    """Run all stages by the package of a folder, in a project of their own. Returns: seconds."""
    root.mkdir()
    (root / "notebooks").symlink_to(code / "notebooks")
    environment = {**os.environ, "PYTHONPATH": str(code), "WORKBENCH_ROOT": str(root)}
    workbench = [sys.executable, "-m", "workbench.cli"]
    given = [word for parameter in parameters for word in ("-p", parameter)]
    began_s = time.monotonic()
    try:
        subprocess.run([*workbench, "run", "--size", size, "--run", RUN, *given], cwd=root, env=environment, check=True)
        return time.monotonic() - began_s
    finally:
        subprocess.run([*workbench, "stop"], cwd=root, env=environment, check=False)


def decided(root: Path) -> Iterator[dict[str, object]]:
    """Read the records of a run. Yields: stage, figure, value, low, high; a decision is the figure named so."""
    for path in sorted((root / "data" / "runs" / RUN).glob("*/record.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        yield {"stage": record["stage"], "figure": "decision", **record["decision"]}
        for name, figure in record["metrics"].items():
            yield {"stage": record["stage"], "figure": name, **{end: figure[end] for end in ("value", "low", "high")}}


def side_by_side(before_root: Path, now_root: Path) -> pd.DataFrame:
    """Set before and now beside each other. Returns: stage, figure, and of each its outcome or value, low, high."""
    before, now = (pd.DataFrame(decided(root)) for root in (before_root, now_root))
    return before.merge(now, how="outer", on=["stage", "figure"], suffixes=(f"_{BEFORE}", f"_{NOW}"), sort=False)


def told(table: pd.DataFrame) -> list[str]:
    """Say whether decisions are the same, and which figures left the interval that they had."""
    is_decision = table["figure"].eq("decision")
    decisions, figures = table[is_decision], table[~is_decision].dropna(subset=["value_before", "value_now"])
    same = decisions["outcome_before"].eq(decisions["outcome_now"])
    wide = figures[figures["low_before"].lt(figures["high_before"])]
    out = wide[~wide["value_now"].between(wide["low_before"], wide["high_before"])]
    lines = [decisions[["stage", "outcome_before", "outcome_now"]].to_string(index=False),
             wide[["stage", "figure", "value_before", "low_before", "high_before", "value_now"]].to_string(
                 index=False, float_format="%.4g"),
             f"{same.sum()} of {len(decisions)} decisions are the same",
             f"{len(wide) - len(out)} of {len(wide)} figures lie in the interval that they had"]
    return [*lines, *(f"outside: {row.stage} {row.figure}" for row in out.itertuples())]


def run_both(options: argparse.Namespace) -> tuple[pd.DataFrame, str]:
    """Run before and now. Returns: as `side_by_side`; what ran, and for how long."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        from_nothing.extract(options.before, folder / "code", ["workbench", "notebooks"])
        codes = {BEFORE: folder / "code", NOW: from_nothing.REPOSITORY}
        took_s = {when: run(code, folder / when, options.size, options.run_parameter) for when, code in codes.items()}
        what = f"{options.size}, {options.before} took {took_s[BEFORE]:.0f} s, now {took_s[NOW]:.0f} s"
        return side_by_side(folder / BEFORE, folder / NOW), what


def main() -> None:
    """Run both and print what they decide."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", default="HEAD", help="commit; what is here now is held against it")
    parser.add_argument("--roots", nargs=2, type=Path, metavar=("BEFORE", "NOW"), help="projects that have run")
    parser.add_argument("--size", default="toy")
    parser.add_argument("--run-parameter", nargs="+", default=[], help="as `workbench run -p`")
    options = parser.parse_args()
    if options.roots:
        if absent := [root for root in options.roots if not list(decided(root))]:
            parser.error(f"no stage of run {RUN} has ended in {', '.join(map(str, absent))}")
        table, what = side_by_side(*options.roots), "projects that had run"
    else:
        table, what = run_both(options)
    chosen = argparse.Namespace(**{**vars(options), "before": "HEAD", "roots": ["roots"] if options.roots else None})
    report.publish(report.table_name("decisions", parser, chosen), table, what, *told(table))


if __name__ == "__main__":
    main()
