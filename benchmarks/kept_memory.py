"""What does an engine gain by using again the memory it freed, and how much more does the process hold?

    python benchmarks/kept_memory.py
    python benchmarks/kept_memory.py --shape small --clips 32

An engine with weights of random numbers hears the same clips of three seconds as it ships, and with the C library's own
rule, which gives large blocks back to the system; each in a process of its own, in turn, round by round. Told are the
time a clip, the pages that the system had to fill with zeros for it, and the most memory, PyTorch's included, which a
server does not load. The table goes to reports/benchmarks/kept_memory.csv.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import peers
from peak import peak_mb

from workbench import fast, storage
from workbench.audio import SAMPLE_RATE_HZ

REPORT = Path(__file__).parents[1] / "reports" / "benchmarks" / "kept_memory.csv"
KEPT, GIVEN_BACK = "kept", "given back"


def measure(engine: Path, how: str, n_clips: int) -> dict[str, float]:
    """Decode in this process. Returns: milliseconds and page faults a clip, most memory in MB."""
    import resource

    if how == GIVEN_BACK:
        fast.keep_freed_memory = lambda: None
    recognizer = fast.FastRecognizer(engine)
    rng = np.random.default_rng(0)
    clips = list(rng.normal(0, 0.1, (n_clips, int(peers.CLIP_S * SAMPLE_RATE_HZ))).astype(np.float32))
    recognizer.transcribe(clips)
    faults, began_s = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.monotonic()
    recognizer.transcribe(clips)
    took_s, faults = time.monotonic() - began_s, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
    return {"ms_a_clip": 1e3 * took_s / n_clips, "faults_a_clip": faults / n_clips, "peak_mb": peak_mb()}


def main() -> None:
    """Run the benchmark and print medians over rounds, and by round how much faster."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--shape", default="tiny", choices=list(peers.SHAPES))
    parser.add_argument("--clips", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--measure", nargs=2, metavar=("ENGINE", "HOW"), help="this alone, in this process")
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(Path(options.measure[0]), options.measure[1], options.clips)))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        engine = peers.engine(peers.checkpoint(options.shape, Path(folder)))
        for number in range(options.rounds):
            for how in (GIVEN_BACK, KEPT):
                command = [sys.executable, __file__, "--clips", str(options.clips), "--measure", str(engine), how]
                said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
                rows.append({"round": number, "freed memory": how, **json.loads(said.splitlines()[-1])})
    found = pd.DataFrame(rows)
    print(f"shape {options.shape}, {options.clips} clips of {peers.CLIP_S:g} s, {options.rounds} rounds, medians")
    print(found.groupby("freed memory").median().drop(columns="round").to_string(float_format="%.1f"))
    ms = found.pivot(index="round", columns="freed memory", values="ms_a_clip")
    times = ms[GIVEN_BACK] / ms[KEPT]
    print(f"kept: {times.median():.2f} times as fast ({times.min():.2f} to {times.max():.2f})")
    storage.write_text(REPORT, found.to_csv(index=False))


if __name__ == "__main__":
    main()
