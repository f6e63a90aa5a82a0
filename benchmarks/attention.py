"""How fast is an encoder's attention in bfloat16 on a processor? PyTorch's own and the one written out, in turn.

    python benchmarks/attention.py
    python benchmarks/attention.py --frames 50 150 500 1500 --heads 4 --width 32 --threads 1

Eight clips go forward and backward through the attention of one layer, of the default size's shape; a frame is 20 ms.
`float32` and `bfloat16` are PyTorch's scaled_dot_product_attention, `bfloat16 as float32` is the same on what bfloat16
products give, and `ours` is what training does (`precision.Attention`), which up to its most frames writes it out. The
tables go to reports/benchmarks/.
"""

import argparse
import time
from collections.abc import Callable, Iterator

import pandas as pd
import report
import torch
from torch import Tensor
from whisper.model import MultiHeadAttention

from workbench import precision

N_CLIPS, N_TIMES = 8, 20
OURS, WHOLE = "ours", "bfloat16 as float32"
Weigh = Callable[[Tensor, Tensor, Tensor], Tensor]


def ways(n_heads: int, width: int) -> Iterator[tuple[str, torch.dtype, Weigh]]:
    """Name each way, what it is given, and what it does. Shape: [B, T, heads x width] three times -> the same."""
    theirs, ours = (kind(n_heads * width, n_heads) for kind in (MultiHeadAttention, precision.Attention))
    yield "float32", torch.float32, lambda *qkv: theirs.qkv_attention(*qkv)[0]
    yield "bfloat16", torch.bfloat16, lambda *qkv: theirs.qkv_attention(*qkv)[0]
    yield WHOLE, torch.bfloat16, lambda *qkv: theirs.qkv_attention(*(each.float() for each in qkv))[0]
    yield OURS, torch.bfloat16, lambda *qkv: ours.qkv_attention(*qkv)[0]


def seconds(weigh: Weigh, dtype: torch.dtype, n_frames: int, n_channels: int) -> float:
    """Go forward and backward some times. Returns: the median."""
    qkv = [torch.randn(N_CLIPS, n_frames, n_channels).to(dtype).requires_grad_() for _ in range(3)]
    took_s = []
    for _ in range(N_TIMES):
        began_s = time.perf_counter()
        torch.autograd.grad(weigh(*qkv).float().sum(), qkv)
        took_s.append(time.perf_counter() - began_s)
    return sorted(took_s)[N_TIMES // 2]


def main() -> None:
    """Run the benchmark and publish the medians, and by how much ours is ahead."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--frames", type=int, nargs="+", default=[50, 150, 500])
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--width", type=int, default=32, help="of a head")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found = pd.DataFrame([
        {"round": number, "frames": n, "way": name,
         "ms": 1e3 * seconds(weigh, dtype, n, options.heads * options.width)}
        for number in range(options.rounds) for n in options.frames
        for name, dtype, weigh in ways(options.heads, options.width)])
    by = found.pivot(index=["frames", "round"], columns="way", values="ms")
    lines = [f"{n} frames: ours takes {report.spread(by.loc[n, OURS] / by.loc[n, way])} of {way}'s time"
             for n in options.frames for way in ("float32", "bfloat16", WHOLE)]
    medians = by.groupby("frames").median()
    report.publish(report.table_name("attention", parser, options), found,
                   f"ms forward and backward, {N_CLIPS} clips, {options.threads} threads, {options.rounds} rounds, "
                   "medians",
                   medians.to_string(float_format="%.2f"), *lines,
                   f"{OURS} grows with the frames to the power {report.exponent(medians.index, medians[OURS]):.2f}")


if __name__ == "__main__":
    main()
