from unittest import mock

import pytest
import torch
from whisper.model import MultiHeadAttention

from workbench import precision, whisper_model
from workbench.recipes import Precision


@pytest.mark.parametrize(("asked", "device", "width", "instructions", "is_halved"), [
    ("float32", "cuda", 768, "amx_bf16", False),
    ("bfloat16", "cpu", 64, "avx2", True),
    ("auto", "cuda", 768, "avx2", True),
    ("auto", "cuda", 384, "amx_bf16", False),
    ("auto", "cpu", 64, "avx512_bf16", True),
    ("auto", "cpu", 768, "amx_bf16", True),
    ("auto", "cpu", 768, "avx2", False),
])
def test_auto_halves_where_the_device_multiplies_so_sooner(asked: Precision, device: str, width: int,
                                                           instructions: str, is_halved: bool) -> None:
    with mock.patch.object(torch.cpu, "get_capabilities", return_value={"avx512_bf16": False, instructions: True}):
        found = precision.is_halved(asked, device, width, is_processor_for_it=precision.processor_halves())
    assert found == is_halved


@pytest.mark.parametrize(("n_queries", "n_frames", "is_masked"), [
    (30, 30, False), (precision.MOST_WRITTEN_OUT + 1, precision.MOST_WRITTEN_OUT + 1, False), (7, 30, False),
    (7, 7, True)])
def test_attention_of_halves_on_a_processor_is_the_whole_ones_and_so_is_its_gradient(
        n_queries: int, n_frames: int, is_masked: bool) -> None:
    model = whisper_model.build("", "toy", seed=0)
    attention = model.whisper.encoder.blocks[0].attn
    assert all(type(part) is precision.Attention for part in model.modules()
               if isinstance(part, MultiHeadAttention))
    mask = model.whisper.decoder.mask if is_masked else None
    rng = torch.Generator().manual_seed(0)
    drawn = [torch.randn(2, n, model.dims.n_audio_state, generator=rng).bfloat16()
             for n in (n_queries, n_frames, n_frames)]
    halves, whole = ([each.to(dtype, copy=True).requires_grad_() for each in drawn]
                     for dtype in (torch.bfloat16, torch.float32))
    wanted, _ = MultiHeadAttention.qkv_attention(attention, *whole, mask)
    with torch.autocast("cpu", torch.bfloat16):
        found, _ = attention.qkv_attention(*halves, mask)
    for half, one in zip(halves, whole, strict=True):
        (half_gradient,), (gradient,) = (torch.autograd.grad(made.float().square().sum(), each, retain_graph=True)
                                         for made, each in ((found, half), (wanted, one)))
        assert (half_gradient.float() - gradient).norm() < 0.01 * gradient.norm()
    assert (found.float() - wanted).norm() < 0.01 * wanted.norm()
