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
        assert precision.is_halved(asked, device, width) == is_halved


def test_attention_of_halves_is_weighed_whole_on_a_processor_and_its_gradient_is_the_whole_ones() -> None:
    model = whisper_model.build("", "toy", seed=0)
    attention = model.whisper.encoder.blocks[0].attn
    assert all(type(part) is whisper_model.Attention for part in model.modules()
               if isinstance(part, MultiHeadAttention))
    q, k, v = (torch.randn(2, 30, model.dims.n_audio_state).bfloat16() for _ in range(3))
    whole = [each.float().requires_grad_() for each in (q, k, v)]
    halves = [each.clone().requires_grad_() for each in (q, k, v)]
    wanted, _ = MultiHeadAttention.qkv_attention(attention, *whole)
    with torch.autocast("cpu", torch.bfloat16):
        found, _ = attention.qkv_attention(*halves)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, wanted)
    wanted.square().sum().backward()
    found.square().sum().backward()
    for half, one in zip(halves, whole, strict=True):
        assert half.grad is not None and one.grad is not None
        torch.testing.assert_close(half.grad, one.grad.bfloat16())
