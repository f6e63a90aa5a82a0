"""How long, and in how much memory, does a manifest take, against openai-whisper and faster-whisper file by file?

    pip install -c constraints.txt -e ".[peers]" && python benchmarks/batch_decoding.py

The same weights (of random numbers, in the shape of Whisper tiny), clips of three seconds, threads and twelve words an
answer for all (see `peers.py`), greedily; that all write the same is checked. Each contestant has a process of its own,
and its clock starts when its model is loaded; the GOMP_SPINCOUNT that our package sets is ours alone. `ours` is the
engine that deploy, retrain and the server use; `ours in torch` the reference. The peers go file by file, so that their
time is in proportion: each decodes at most `--most` clips, and its time is scaled (its memory is not). Wanted: 25 times
as fast as openai-whisper, 10 times as faster-whisper, in no more memory, and memory that does not grow with the number
of clips.

The limit is what one clip needs in arithmetic (matrix products of encoder and decoder) over what a plain product of
large float32 matrices reaches on the same threads, or on the GPU; 8-bit integers may pass it.

PyTorch's contestants use a GPU where there is one, which is named, `--contestants` chooses among them, and the memory
told is the computer's. The tables go to reports/benchmarks/.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
import peers
import report
import torch
from whisper.model import ModelDimensions

from workbench import frames, recognizers, whisper_model
from workbench.audio import SAMPLE_RATE_HZ

CONTESTANTS = ["ours", "ours in torch", "openai-whisper", "faster-whisper"]
GOALS = {"openai-whisper": 25, "faster-whisper": 10}
GROWING = {"all_s": "time", "peak_mb": "peak memory"}
MATRIX, N_PRODUCTS = 2048, 10


def operations(dims: ModelDimensions, n_frames: int, n_steps: int) -> float:
    """Count what a clip needs: two a multiplication of the matrix products, attention included.

    Shape: `n_frames` of the encoder (20 ms each), `n_steps` tokens the decoder is run on, the prompt included.
    """
    width, n_layers, n_text_layers = dims.n_audio_state, dims.n_audio_layer, dims.n_text_layer
    convolutions = 2 * n_frames * width * dims.n_mels * 3 + n_frames * width * width * 3
    encoder = n_layers * (12 * width**2 * n_frames + 2 * width * n_frames**2)
    across = n_text_layers * 2 * width**2 * n_frames
    step = n_text_layers * (14 * width**2 + 2 * width * (n_frames + n_steps / 2)) + width * dims.n_vocab
    return 2.0 * (convolutions + encoder + across + n_steps * step)


def product_rate(n_threads: int, device: str) -> float:
    """Multiply large float32 matrices. Returns: operations a second, the best of some."""
    torch.set_num_threads(n_threads)
    a, b, seconds = torch.rand(MATRIX, MATRIX, device=device), torch.rand(MATRIX, MATRIX, device=device), []
    for _ in range(N_PRODUCTS):
        began_s = time.monotonic()
        float((a @ b)[0, 0])  # which a GPU is waited for with
        seconds.append(time.monotonic() - began_s)
    return 2.0 * MATRIX**3 / min(seconds)


def card() -> str:
    """Name the GPU that PyTorch's contestants use; "" where there is none."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else ""


def decode(name: str, model: Path, clips: pd.DataFrame, n_threads: int) -> dict[str, Any]:
    """Let a contestant decode clips in a process of its own. Returns: what it printed."""
    environment = {**os.environ} if name.startswith("ours") else peers.environment()
    with tempfile.NamedTemporaryFile("w") as listed:
        listed.write("\n".join(clips["audio_path"]))
        listed.flush()
        program = Path(__file__).with_name("one_decoder.py")
        done = subprocess.run([sys.executable, str(program), name, str(model), listed.name, str(n_threads)], check=True,
                              stdout=subprocess.PIPE, text=True, env={**environment, "OMP_NUM_THREADS": str(n_threads)})
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(folder: Path, options: argparse.Namespace) -> pd.DataFrame:
    """Let all decode all sizes in turn. Returns: a row a round, size and contestant."""
    made = peers.checkpoint(options.shape, folder)
    engine, clips, rows = peers.engine(made), peers.clips(max(options.sizes), folder / "clips"), []
    models = {"ours": engine, "ours in torch": made, "openai-whisper": made, "faster-whisper": engine}
    answers = set[str]()
    for number in range(options.rounds):
        for n in options.sizes:
            for name, model in ((name, models[name]) for name in options.contestants):
                n_decoded = n if name.startswith("ours") else min(n, options.most)
                found = decode(name, model, clips.head(n_decoded), options.threads)
                answers |= set(found.pop("answers"))
                ms_a_clip = 1e3 * found["wall_s"] / n_decoded
                rows.append({"round": number, "n_clips": n, "contestant": name, "n_decoded": n_decoded,
                             "all_s": ms_a_clip * n / 1e3, "ms_a_clip": ms_a_clip,
                             "cpu_ms_a_clip": 1e3 * found["cpu_s"] / n_decoded,
                             "peak_mb": found["peak_mb"]})
    assert len(answers) == 1, f"the contestants write different words: {answers}"
    return pd.DataFrame(rows)


def compare(found: pd.DataFrame, options: argparse.Namespace) -> list[str]:
    """Say for each size how much faster by round and in what memory, how ours grows, and its share of the limit."""
    ours, lines = options.contestants[0], []
    for n, some in found.groupby("n_clips"):
        both = some.pivot(index="round", columns="contestant", values=["all_s", "peak_mb"])
        for name, goal in ((name, goal) for name, goal in GOALS.items() if name in options.contestants[1:]):
            times, memory = (both[what, name] / both[what, ours] for what in GROWING)
            lines.append(f"{n} clips, {ours} against {name}: {report.spread(times)} times as fast (wanted: {goal}), "
                         f"{report.spread(1 / memory)} of its memory (wanted: at most 1)")
    mine = found[found["contestant"].eq(ours)].groupby("n_clips").median(numeric_only=True)
    lines += [f"{ours}: {what} grows with the number of clips to the power "
              f"{report.exponent(mine.index, mine[column]):.3f}" for column, what in GROWING.items()]
    return [*lines, limit(options, float(mine["ms_a_clip"].iloc[-1]))]


def limit(options: argparse.Namespace, ms_a_clip: float) -> str:
    """Hold a clip's time, in the largest table, against the arithmetic it needs."""
    width, n_heads, n_layers = peers.SHAPES[options.shape]
    dims = ModelDimensions(80, 1500, width, n_heads, n_layers, whisper_model.ENGLISH_VOCABULARY, 448, width, n_heads,
                           n_layers)
    n_samples = frames.context_samples(round(peers.CLIP_S * SAMPLE_RATE_HZ), "fitted")
    needed = operations(dims, round(n_samples / SAMPLE_RATE_HZ / recognizers.FRAME_S), peers.N_WORDS + 2)
    rate = product_rate(options.threads, "cuda" if card() and options.contestants[0] != "ours" else "cpu")
    return (f"a clip needs {needed / 1e9:.1f} G operations; plain float32 products reach {rate / 1e9:.0f} G a second: "
            f"{1e3 * needed / rate:.1f} ms, {100 * 1e3 * needed / rate / ms_a_clip:.0f} % of {options.contestants[0]}")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[250, 1_000, 4_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--most", type=int, default=25, help="clips that a peer decodes")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--shape", default="tiny", choices=list(peers.SHAPES))
    parser.add_argument("--contestants", nargs="+", default=CONTESTANTS, choices=CONTESTANTS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "notebooks").mkdir()
        os.environ["WORKBENCH_ROOT"] = folder
        found = measure(Path(folder), options)
    table = found.drop(columns="round").groupby(["n_clips", "contestant"], sort=False).median()
    report.publish(report.table_name("batch_decoding", parser, options, card()), found,
                   f"shape {options.shape}, {options.threads} threads, {card() or 'no GPU'}, {options.rounds} rounds, "
                   "medians; peers scaled where n_decoded is less",
                   table.to_string(float_format="%.1f"), *compare(found, options))


if __name__ == "__main__":
    main()
