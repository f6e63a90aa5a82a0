"""One worker's share of a training that several do together; alone, everything is its share.

The clips of each batch are divided, and the gradients added up: together the workers take the step that one would.
DistributedDataParallel sums parameters alone: the embedding's rows, cut out anew each step, would still need this
message, the loss a module around it, accumulation `no_sync`; it pays where sending overlaps a long backward pass.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Share:
    """Which of `n` workers this is; `is_first` is the one that validates and saves."""

    rank: int = 0
    n: int = 1

    @property
    def is_first(self) -> bool:
        """Tell whether this worker writes what all have learned."""
        return self.rank == 0

    def rows(self, n_rows: int) -> slice:
        """Give the rows of a batch that are this worker's; as even as can be, some workers may have none."""
        return slice(n_rows * self.rank // self.n, n_rows * (self.rank + 1) // self.n)

    def add_up(self, tensors: Sequence["Tensor"]) -> None:
        """Replace each tensor by its sum over all workers: one message a step, whatever their number."""
        if self.n == 1:
            return
        import torch
        from torch import distributed

        flat = torch.cat([tensor.flatten() for tensor in tensors])
        distributed.all_reduce(flat)
        for tensor, summed in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(summed.view_as(tensor))
