"""In what precision a training multiplies: bfloat16 where the device does that sooner, float32 elsewhere.

Weights, their moments and losses stay float32.
Source: Micikevicius et al., arXiv 1710.03740 (mixed precision); Kalamkar et al., arXiv 1905.12322 (bfloat16).
"""

from typing import Any

import torch
from torch import Tensor
from whisper.model import MultiHeadAttention

from workbench.frames import TINY_WIDTH
from workbench.recipes import Precision

INSTRUCTIONS = ("avx512_bf16", "amx_bf16")
"""With one of these an x86 processor multiplies bfloat16 at twice float32's pace or more; others emulate it."""

MOST_WRITTEN_OUT = 320
"""Frames of 20 ms: from two to six seconds it takes 0.5 to 0.7 of the time, at one and from ten on as long.

Source: `benchmarks/attention.py`."""


def is_halved(asked: Precision, device: str, width: int, *, is_processor_for_it: bool) -> bool:
    """Do as asked; `auto` halves what a GPU learns of models wider than tiny, and all on a processor made for it."""
    if asked != "auto":
        return asked == "bfloat16"
    return width > TINY_WIDTH if device == "cuda" else is_processor_for_it


def processor_halves() -> bool:
    """Tell whether this processor has instructions for bfloat16."""
    known = torch.cpu.get_capabilities()
    return any(known.get(name, False) for name in INSTRUCTIONS)


class Attention(MultiHeadAttention):
    """Whisper's; in bfloat16 on a processor an encoder's is written out, scores rounded, while their matrix is small.

    Forward and backward, eight clips of 150 frames take 5.7 ms by PyTorch's own in float32, 14 ms in bfloat16, and
    3.7 ms written out, on one thread. A decoder's few queries gain nothing; 30 s would take gigabytes.
    """

    def qkv_attention(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Any:
        """Weigh values by how queries meet keys. Shape: [B, T, width] and twice [B, S, width] -> [B, T, width]."""
        if q.device.type != "cpu" or q.dtype != torch.bfloat16:
            return super().qkv_attention(q, k, v, mask)
        with torch.autocast("cpu", enabled=False):
            if mask is not None or q.shape != k.shape or q.shape[1] > MOST_WRITTEN_OUT:
                return super().qkv_attention(q.float(), k.float(), v.float(), mask)
            q, k, v = (x.unflatten(-1, (self.n_head, -1)).transpose(1, 2) for x in (q, k, v))
            weights = (q * q.shape[-1] ** -0.5 @ k.mT).softmax(-1)
            return (weights @ v).transpose(1, 2).flatten(2), None
