"""What a benchmark found: printed, and kept under reports/benchmarks/ with the machine and the command behind it."""

import argparse
import os
import platform
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from workbench import storage

FOLDER = Path(os.environ.get("WORKBENCH_BENCHMARKS", Path(__file__).parents[1] / "reports" / "benchmarks"))


def publish(name: str, rows: pd.DataFrame, *lines: str) -> None:
    """Print the lines, and keep them as NAME.txt and what they rest on as NAME.csv.

    A name says what the table is of: where options choose another shape, machine or contestant, it has theirs too, or
    the table of the defaults would be lost.
    """
    told = "\n".join(lines)
    print(told, flush=True)
    storage.write_text(FOLDER / f"{name}.csv", rows.to_csv(index=False))
    storage.write_text(FOLDER / f"{name}.txt", f"{_where()}\n{told}\n")


def table_name(name: str, parser: argparse.ArgumentParser, options: argparse.Namespace, *further: str) -> str:
    """Add to a table's name what was chosen instead of the defaults, and what further sets it apart."""
    words = [name]
    for option, value in vars(options).items():
        if value != parser.get_default(option):
            values = value if isinstance(value, list) else [value]
            words += [] if isinstance(values[0], str) else [option]
            words += [str(each).removesuffix(".0") for each in values]
    return "_".join(re.sub(r"[^\w.]+", "-", word).strip("-") for word in [*words, *further] if word)


def spread(ratios: "pd.Series[float]") -> str:
    """Write the median over rounds with the least and the most of them."""
    return f"{ratios.median():.3g} ({ratios.min():.3g} to {ratios.max():.3g})"


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Fit cost = a size^b by least squares of the logarithms. Returns: b, 1 where linear; nan for one size."""
    if len(set(sizes)) < 2:
        return float("nan")
    return float(np.polyfit(np.log(np.asarray(sizes, float)), np.log(np.asarray(costs, float)), 1)[0])


def _where() -> str:
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return (f"{command}\n{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {_processor()}, {os.cpu_count()} cores{load} at the "
            "end")


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in cpuinfo.read_text(encoding="utf-8").splitlines()
             if line.startswith("model name")] if cpuinfo.exists() else []
    return names[0] if names else platform.processor() or platform.machine()
