"""How long until `workbench` says something? Help, import and a run with nothing to do, beside a bare interpreter.

    python benchmarks/startup.py --rounds 20

Wall time is what a person waits; processor time is what other programs disturb less. Below the table stand the imports
that `workbench --help` spends most on. Wanted: help and import within 0.4 s on a free core. The rounds go to
reports/benchmarks/startup.csv, what they say to startup.txt.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pandas as pd
import report

GOAL_S, N_IMPORTS = 0.4, 10
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import workbench": ["-c", "import workbench"],
    "workbench --help": ["-m", "workbench.cli", "--help"],
    "workbench run --help": ["-m", "workbench.cli", "run", "--help"],
    "workbench runs": ["-m", "workbench.cli", "runs"],
    "import pandas": ["-c", "import pandas"],
    "import torch": ["-c", "import torch"],
}
"""What is started, ours between what costs nothing and what they must not load."""
WANTED = ("import workbench", "workbench --help")


def started(words: list[str]) -> tuple[float, float]:
    """Start and end a process. Returns: wall time and processor time, s."""
    began_s, before = time.monotonic(), os.times()
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    return time.monotonic() - began_s, cpu_s


def measure(n_rounds: int) -> Iterator[dict[str, object]]:
    """Start each in turn, round by round."""
    for number in range(n_rounds):
        for name, words in COMMANDS.items():
            wall_s, cpu_s = started(words)
            yield {"round": number, "command": name, "wall_s": wall_s, "cpu_s": cpu_s}


def slowest_imports() -> pd.DataFrame:
    """List what `workbench --help` imports, each without what it imports itself, the slowest first."""
    done = subprocess.run([sys.executable, "-X", "importtime", *COMMANDS["workbench --help"]], check=True, text=True,
                          capture_output=True)
    lines = [line.removeprefix("import time:").split("|") for line in done.stderr.splitlines() if "|" in line]
    rows = [(name.strip(), int(own) / 1000) for own, _, name in lines if own.strip().isdigit()]
    return pd.DataFrame(rows, columns=["module", "own_ms"]).nlargest(N_IMPORTS, "own_ms")


def main() -> None:
    """Run the benchmark and print medians with the fastest and slowest of the rounds."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    found = pd.DataFrame(measure(options.rounds))
    table = found.drop(columns="round").groupby("command", sort=False).agg(["median", "min", "max"])
    table.columns = [f"{what}_{how}" for what, how in table.columns]
    is_met = table.loc[list(WANTED), "wall_s_median"].le(GOAL_S)
    report.publish("startup", found, f"{options.rounds} rounds", table.to_string(float_format="%.3f"),
                   *(f"{name}: wanted {GOAL_S:g} s: {'yes' if is_met[name] else 'no'}" for name in WANTED),
                   slowest_imports().to_string(index=False, float_format="%.1f"))


if __name__ == "__main__":
    main()
