"""In what precision a training multiplies: bfloat16 where the device does that sooner, float32 elsewhere.

Weights, their moments, losses, and attention on a processor stay float32.
Source: Micikevicius et al., arXiv 1710.03740 (mixed precision); Kalamkar et al., arXiv 1905.12322 (bfloat16).
"""

import torch

from workbench.frames import TINY_WIDTH
from workbench.recipes import Precision

INSTRUCTIONS = ("avx512_bf16", "amx_bf16")
"""With one of these a processor multiplies bfloat16 at twice float32's pace or more. Others emulate it, and lose."""


def is_halved(asked: Precision, device: str, width: int) -> bool:
    """Do as asked; `auto` halves what a GPU learns of models wider than tiny, and all on a processor made for it."""
    if asked != "auto":
        return asked == "bfloat16"
    return width > TINY_WIDTH if device == "cuda" else processor_halves()


def processor_halves() -> bool:
    """Tell whether this processor has instructions for bfloat16."""
    known = torch.cpu.get_capabilities()
    return any(known.get(name, False) for name in INSTRUCTIONS)
