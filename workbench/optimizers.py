"""The optimizers of the training loop: which weights each one moves, and Muon for the matrices between layers."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
import torch._dynamo  # a second that the first optimizer would take; a kernel has it before its stage begins
from torch import Tensor, nn

from workbench.frames import TINY_WIDTH
from workbench.recipes import Fit

BETAS = (0.9, 0.98)
"""Source: Vaswani et al., arXiv 1706.03762, and Whisper's own training (arXiv 2212.04356, table 17)."""

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic iteration. Source: Jordan et al., "Muon", 2024, and torch.optim.Muon."""

N_ITERATIONS = 4
"""Singular values from 0.005 of a matrix's norm on end between 0.68 and 1.2, near enough to 1. After Jordan's five it
would be those from 0.0015 on, for a quarter more work, and nothing more is learned: of two seeds the default size from
nothing heard a demo world's dev set at 12.9 and 13.0 % WER with five, at 12.8 and 13.0 with four (1,800 steps)."""


INNER = frozenset({"attn", "cross_attn", "mlp"})
"""Parts of Whisper's blocks whose matrices stand between layers."""


class Muon(torch.optim.Optimizer):
    """Momentum whose every step is made orthogonal: all directions of a matrix learn at one pace.

    On few voices it is ahead of AdamW (600 steps on digits: 40 against 78 % WER). torch.optim.Muon does the same always
    in bfloat16, one matrix at a time, which a CPU without bfloat16 arithmetic does four times slower than this in
    float32 with like shapes stacked.
    Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024.
    """

    def __init__(self, params: Iterable[Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.0,
                 dtype: torch.dtype = torch.float32) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self._dtype = dtype  # of the iteration alone

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move every matrix that has a gradient."""
        for group in self.param_groups:
            alike: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for matrix in group["params"]:
                if matrix.grad is not None:
                    alike[matrix.shape].append(matrix)
            for matrices in alike.values():
                self._step_alike(matrices, group)

    def _step_alike(self, matrices: list[Tensor], group: dict[str, float]) -> None:
        moments = [self.state[m].setdefault("momentum", torch.zeros_like(m)) for m in matrices]
        gradients: list[Tensor] = [m.grad for m in matrices if m.grad is not None]
        torch._foreach_lerp_(moments, gradients, 1 - group["momentum"])
        ahead = torch._foreach_lerp(gradients, moments, group["momentum"])  # Nesterov's look ahead
        n_rows, n_columns = matrices[0].shape
        moves = orthogonal(torch.stack(ahead).to(self._dtype)).float() * max(1.0, n_rows / n_columns) ** 0.5
        torch._foreach_mul_(matrices, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(matrices, list(moves.unbind()), alpha=-group["lr"])


def orthogonal(matrices: Tensor) -> Tensor:
    """Bring all singular values near 1, keeping the directions. Shape: [N, rows, columns] -> the same.

    The iteration goes on the Gram matrix, whose side is the shorter one: every step multiplies from the left, so all of
    them together are one product with the matrix, which a layer four times as wide as high saves half of. That squares
    the singular values, of which bfloat16 keeps too few digits: there the Gram matrix is made anew for each step, or
    for every second where that is a good deal cheaper.
    """
    if matrices.shape[-2] > matrices.shape[-1]:
        return orthogonal(matrices.mT).mT
    is_wide = matrices.shape[-1] >= 2 * matrices.shape[-2]
    n_together = N_ITERATIONS if matrices.dtype == torch.float32 else 1 + is_wide
    x = matrices / matrices.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(N_ITERATIONS // n_together):
        gram = x @ x.mT
        turned = factor = _polynomial(gram)
        for _ in range(n_together - 1):
            gram = factor @ gram @ factor
            factor = _polynomial(gram)
            turned = factor @ turned
        x = turned @ x
    return x


def _polynomial(gram: Tensor) -> Tensor:
    """Give what one step multiplies by: a + b gram + c gram^2."""
    a, b, c = NEWTON_SCHULZ
    factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
    factor.diagonal(dim1=-2, dim2=-1).add_(a)
    return factor


def make(model: nn.Module, embedding: Tensor, fit: Fit, *, is_finetuning: bool, is_sampled: bool,
         has_new_head: bool = False, is_halved: bool = False) -> list[torch.optim.Optimizer]:
    """Give each weight that learns its optimizer: Muon the layers' matrices, AdamW all else, SparseAdam sampled tokens.

    A head that a published model was given just now begins from nothing, whatever the rate of the rest.

    Muon where the recipe gives it a rate and the model is narrower than tiny. On the demo world's many voices, 975 of
    2,600 steps from nothing, it hears quiet queries at 37 % WER and AdamW at 69 %; fine-tuned for 900 steps on more
    cars, it hears cars at 16.8 % and babble at 13.0 %, AdamW at 21.9 and 15.8 %. Its cost grows with the cube of the
    width, whatever the batch: at tiny's it would be 120 G operations a step, where eight clips of three seconds take
    70 G forward and backward (torch.utils.flop_counter).
    """
    rate, matrix_rate = (fit.finetune_learning_rate, fit.finetune_matrix_learning_rate) if is_finetuning else (
        fit.learning_rate, fit.matrix_learning_rate)
    learning = {name: p for name, p in model.named_parameters() if p.requires_grad}
    inner = [] if not matrix_rate or embedding.shape[1] >= TINY_WIDTH else [
        p for name, p in learning.items() if p.ndim == 2 and INNER.intersection(name.split("."))]
    head = [p for name, p in learning.items() if has_new_head and name.startswith("head.")]
    apart = {id(p) for p in (*inner, *head)} | ({id(embedding)} if is_sampled else set())
    groups: list[dict[str, Any]] = [{"params": [p for p in learning.values() if id(p) not in apart]}]
    if head:
        groups.append({"params": head, "lr": fit.learning_rate})
    made: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(groups, lr=rate, weight_decay=fit.weight_decay, betas=BETAS, fused=True)]
    if inner:
        made.append(Muon(inner, lr=matrix_rate, weight_decay=fit.weight_decay,
                         dtype=torch.bfloat16 if is_halved else torch.float32))
    if is_sampled:
        torch.sparse.check_sparse_tensor_invariants.disable()  # says "no" aloud, or torch warns at the first step
        made.append(torch.optim.SparseAdam([embedding], lr=rate, betas=BETAS))
    return made
