"""What does an engine gain by using again the memory it freed, and how much more does the process hold?

    python benchmarks/kept_memory.py
    python benchmarks/kept_memory.py --shape small --clips 32

Engines in the shapes of Whisper's models, with weights of random numbers, hear the same clips of three seconds, one to
sixteen at a time, as a server gets them; as they ship, and with the C library's own rule, which gives large blocks back
to the system; each in a process of its own, in turn, round by round. Told are the time a clip, the pages that the
system had to fill with zeros for it, and the most memory; and how both grow with the engine. Such a process holds what
a server does: numpy and CTranslate2, but neither PyTorch nor pandas. The tables go to reports/benchmarks/.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from peak import peak_mb

from workbench import fast
from workbench.audio import SAMPLE_RATE_HZ

CLIP_S, MOST_TOGETHER = 3.0, 16
KEPT, GIVEN_BACK = "kept", "given back"
MEASURE = "--measure"
"""With an engine, how and the number of clips: measure this alone, in this process."""


def measure(engine: Path, how: str, n_clips: int) -> dict[str, float]:
    """Decode in this process. Returns: milliseconds and page faults a clip, most memory in MB."""
    import resource

    if how == GIVEN_BACK:
        fast.keep_freed_memory = lambda: None
    recognizer = fast.FastRecognizer(engine)
    rng = np.random.default_rng(0)
    clips = list(rng.normal(0, 0.1, (n_clips, int(CLIP_S * SAMPLE_RATE_HZ))).astype(np.float32))
    ends = np.cumsum(rng.integers(1, MOST_TOGETHER + 1, n_clips))  # of one size, and the library's rule adapts to it
    batches = [batch for batch in np.split(np.arange(n_clips), ends[ends < n_clips]) if len(batch)]

    def hear() -> None:
        for batch in batches:
            recognizer.transcribe([clips[i] for i in batch])

    hear()  # which warms up
    faults, began_s = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.monotonic()
    hear()
    took_s, faults = time.monotonic() - began_s, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
    assert not {"torch", "pandas"} & set(sys.modules), "the memory told would be theirs, too"
    return {"ms_a_clip": 1e3 * took_s / n_clips, "faults_a_clip": faults / n_clips, "peak_mb": peak_mb()}


def apart(engine: Path, how: str, n_clips: int) -> dict[str, float]:
    """Measure in a process of its own."""
    command = [sys.executable, __file__, MEASURE, str(engine), how, str(n_clips)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Measure every shape in both ways, round by round, and publish medians, ratios by round and growth."""
    import pandas as pd
    import peers  # and with it PyTorch, which the processes that measure must not hold
    import report

    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--shape", nargs="+", default=list(peers.SHAPES), choices=list(peers.SHAPES))
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        engines = {shape: peers.engine(peers.checkpoint(shape, Path(folder))) for shape in options.shape}
        found = pd.DataFrame([{"round": number, "shape": shape, "freed memory": how,
                               "weights_mb": (engine / "model.bin").stat().st_size / 1e6,
                               **apart(engine, how, options.clips)}
                              for number in range(options.rounds) for shape, engine in engines.items()
                              for how in (GIVEN_BACK, KEPT)])
    table = found.groupby(["shape", "freed memory"], sort=False).median().drop(columns="round")
    kept, lines = table.xs(KEPT, level="freed memory"), []
    for shape in options.shape:
        by = found[found["shape"].eq(shape)].pivot(index="round", columns="freed memory")
        times, memory = (by[what, GIVEN_BACK] / by[what, KEPT] for what in ("ms_a_clip", "peak_mb"))
        lines.append(f"{shape}, kept: {report.spread(times)} times as fast, {report.spread(1 / memory)} of the memory")
    lines += [f"kept: {what} grows with the weights to the power {report.exponent(kept['weights_mb'], kept[what]):.2f}"
              for what in ("ms_a_clip", "peak_mb")]
    report.publish(report.table_name("kept_memory", parser, options), found,
                   f"{options.clips} clips of {CLIP_S:g} s, {options.rounds} rounds, medians",
                   table.to_string(float_format="%.1f"), *lines)


if __name__ == "__main__":
    if sys.argv[1:2] == [MEASURE]:
        print(json.dumps(measure(Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))))
    else:
        main()
