import pytest
import torch

from workbench import optimizers, whisper_model
from workbench.recipes import Fit


def test_every_singular_value_comes_near_one_and_directions_stay() -> None:
    matrices = torch.randn(3, 24, 40, generator=torch.Generator().manual_seed(1))
    made = optimizers.orthogonal(matrices)
    values = torch.linalg.svdvals(made)
    assert values.min() > 0.68 and values.max() < 1.21
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    inner = left.mT @ made @ right.mT
    off_diagonal = inner - torch.diag_embed(inner.diagonal(dim1=-2, dim2=-1))
    assert off_diagonal.abs().max() < 1e-3
    torch.testing.assert_close(optimizers.orthogonal(matrices.mT), made.mT)


@pytest.mark.parametrize("n_columns", [64, 256])
@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
def test_bfloat16_keeps_the_directions_of_gradients_whose_values_fall_off(power: float, n_columns: int) -> None:
    rng = torch.Generator().manual_seed(3)
    left, right = (torch.linalg.qr(torch.randn(n, 64, generator=rng)).Q for n in (64, n_columns))
    matrix = (left / torch.arange(1, 65) ** power @ right.mT)[None]
    whole, half = optimizers.orthogonal(matrix), optimizers.orthogonal(matrix.bfloat16()).float()
    assert (half - whole).norm() < 0.1 * whole.norm() and torch.linalg.svdvals(half).max() < 1.25


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_step_is_the_one_that_torch_takes_in_bfloat16(dtype: torch.dtype) -> None:
    rng = torch.Generator().manual_seed(2)
    start = [torch.randn(16, 48, generator=rng), torch.randn(48, 16, generator=rng), torch.randn(16, 48, generator=rng)]
    ours, theirs = ([torch.nn.Parameter(m.clone()) for m in start] for _ in range(2))
    makers = (optimizers.Muon(ours, lr=0.1, weight_decay=0.1, dtype=dtype),
              torch.optim.Muon(theirs, lr=0.1, weight_decay=0.1, ns_steps=optimizers.N_ITERATIONS))
    for _ in range(3):
        gradients = [torch.randn(m.shape, generator=rng) for m in start]
        for made, optimizer in zip((ours, theirs), makers, strict=True):
            for matrix, gradient in zip(made, gradients, strict=True):
                matrix.grad = gradient.clone()
            optimizer.step()
    for a, b, before in zip(ours, theirs, start, strict=True):
        assert (a - b).norm() < 0.05 * (a - before).norm() and a.dtype == torch.float32


@pytest.mark.parametrize("how", [Fit(), Fit(matrix_learning_rate=0.02), Fit(finetune_matrix_learning_rate=0.01)])
@pytest.mark.parametrize("is_finetuning", [False, True])
def test_every_weight_has_one_optimizer(how: Fit, is_finetuning: bool) -> None:
    model = whisper_model.build("", "toy", seed=0)
    embedding = model.whisper.decoder.token_embedding.weight
    made = optimizers.make(model, embedding, how, is_finetuning=is_finetuning, is_sampled=True)
    moved = [id(p) for optimizer in made for group in optimizer.param_groups for p in group["params"]]
    assert sorted(moved) == sorted(id(p) for p in model.parameters())
    rates = [group["lr"] for o in made if isinstance(o, optimizers.Muon) for group in o.param_groups]
    wanted = how.finetune_matrix_learning_rate if is_finetuning else how.matrix_learning_rate
    assert rates == [wanted] * bool(wanted)


def test_from_tinys_width_on_no_step_is_made_orthogonal() -> None:
    model = torch.nn.ModuleDict({"mlp": torch.nn.Linear(384, 384)})
    made = optimizers.make(model, torch.zeros(10, 384), Fit(matrix_learning_rate=0.02), is_finetuning=False,
                           is_sampled=False)
    assert not any(isinstance(optimizer, optimizers.Muon) for optimizer in made)
