"""What of a model learns: all of it, its decoder, or low-rank changes of its attentions (LoRA), merged back when saved.

The only user of peft. A checkpoint never knows how it was taught: it is an ordinary Whisper afterwards.
"""

import copy
from typing import Any, cast

import torch

from workbench.errors import RecipeError
from workbench.recipes import Fit
from workbench.whisper_model import SpeechModel

LORA_TARGETS = ["query", "value"]
"""Source: Hu et al., "LoRA", arXiv 2106.09685, section 7.1: adapting both does best for a given number of weights."""


def check(model: SpeechModel, fit: Fit) -> None:
    """Refuse to ask a frozen encoder for the short context that it was never taught.

    What trained here has a character head and was taught its context with it; a published model has neither.
    Raises: RecipeError that says what to write instead.
    """
    is_untaught = model.head is None and model.context == "fitted"
    if is_untaught and fit.learns == "decoder" and fit.match_weight > 0:
        raise RecipeError(
            f'the recipe says learns="decoder", context="fitted" and match_weight={fit.match_weight}, and the base is '
            "a published model, whose encoder knows thirty seconds alone: frozen, it can learn nothing of the short "
            'context, which match_weight is to teach it; say context="padded", or learns="lora" or "all"')


def prepare(model: SpeechModel, fit: Fit, *, seed: int) -> SpeechModel:
    """Freeze what does not learn and add what learns instead; the character head always learns.

    Raises: RecipeError for lora without peft, or an unknown way to learn.
    """
    if fit.learns not in ("all", "decoder", "lora"):
        raise RecipeError(f"learns is {fit.learns!r}; choose all, decoder or lora")
    model.whisper.encoder.requires_grad_(fit.learns == "all")
    model.whisper.decoder.requires_grad_(fit.learns != "lora")
    model.whisper.encoder.is_checkpointed = fit.is_checkpointed
    if fit.learns == "lora":
        _peft().inject_adapter_in_model(_lora(fit), model.whisper)
        _begin(model, torch.Generator().manual_seed(seed))
    return model


def _begin(model: SpeechModel, rng: torch.Generator) -> None:
    """Draw the weights that low-rank changes begin with, as peft does, but by a chance that no other thread draws from.

    Source: peft.tuners.lora.layer.LoraLayer.reset_lora_parameters; the other factor is zero.
    """
    for name, weights in model.named_parameters():
        if "lora_A" in name:
            bound = weights.shape[1] ** -0.5  # kaiming_uniform_ with a = sqrt(5)
            torch.nn.init.uniform_(weights, -bound, bound, generator=rng)


def merged(model: SpeechModel) -> SpeechModel:
    """Give the model as an ordinary Whisper, low-rank changes added to the weights that they change."""
    if not any("lora_" in name for name, _ in model.named_parameters()):
        return model
    peft, whole = _peft(), copy.deepcopy(model)
    for parent in list(whole.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, peft.tuners.lora.LoraLayer):
                layer.merge()
                setattr(parent, name, cast(Any, layer).get_base_layer())
    return whole


def _lora(fit: Fit) -> Any:
    return _peft().LoraConfig(r=fit.lora_rank, lora_alpha=2 * fit.lora_rank, target_modules=LORA_TARGETS)


def _peft() -> Any:
    try:
        import peft
    except ImportError as error:
        raise RecipeError('the recipe learns by lora, which needs peft; pip install -e ".[peft]"') from error
    return peft
