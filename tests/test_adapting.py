import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
import whisper
from test_training import RECIPE, tones

from tests import published
from workbench import adapting, audio, engines, recognizers, training, whisper_model
from workbench.errors import RecipeError
from workbench.frames import Context
from workbench.recipes import Fit
from workbench.shares import Share
from workbench.training import FitResult, Task


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return tones(tmp_path_factory.mktemp("tones"), 32, 0)


def tune(clips: pd.DataFrame, n_steps: int = 3, **how: object) -> FitResult:
    recipe = replace(RECIPE, fit=replace(RECIPE.fit, **how))
    return training.fit(whisper_model.build("", "toy", seed=0), clips, valid=None, recipe=recipe, n_steps=n_steps,
                        is_finetuning=True)


def changed(done: FitResult) -> set[str]:
    before, after = whisper_model.build("", "toy", seed=0), whisper_model.load(done.checkpoint)
    old = before.state_dict()
    return {name for name, tensor in after.state_dict().items() if not torch.equal(tensor, old[name])}


def test_lora_changes_only_what_it_adapts_and_leaves_an_ordinary_whisper(root: Path, clips: pd.DataFrame) -> None:
    done = tune(clips, learns="lora", lora_rank=2)
    weights = {name for name in changed(done) if not name.startswith("head.")}
    assert weights and all(name.endswith(("query.weight", "value.weight")) for name in weights)
    assert whisper.load_model(str(done.checkpoint)).dims.n_audio_state == 64
    before, after = whisper_model.build("", "toy", seed=0), whisper_model.load(done.checkpoint)
    queries = [model.whisper.encoder.blocks[0].attn.query.weight for model in (before, after)]
    assert torch.linalg.matrix_rank(queries[1] - queries[0], rtol=1e-4) == 2


def test_what_is_merged_answers_as_what_was_taught(clips: pd.DataFrame) -> None:
    model = adapting.prepare(whisper_model.build("", "toy", seed=0), Fit(learns="lora"), seed=0)
    few = sum(p.numel() for p in model.parameters() if p.requires_grad)
    for name, tensor in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(tensor, std=0.1)
    mel = torch.randn(1, 80, 200)
    with torch.no_grad():
        assert torch.allclose(model.whisper.encoder(mel), adapting.merged(model).whisper.encoder(mel), atol=1e-5)
    assert few < 0.01 * sum(p.numel() for p in model.parameters())


def test_a_frozen_encoder_stays_as_it_was(root: Path, clips: pd.DataFrame) -> None:
    names = changed(tune(clips, learns="decoder"))
    assert any(name.startswith("whisper.decoder") for name in names)
    assert not any(name.startswith("whisper.encoder") for name in names)


def test_a_frozen_published_encoder_is_not_asked_for_the_short_context(root: Path, clips: pd.DataFrame) -> None:
    base = published.checkpoint(root / "base.pt", width=64, n_layers=1)

    def fit(start: Path, context: Context, **how: object) -> FitResult:
        recipe = replace(RECIPE, context=context, fit=replace(RECIPE.fit, **how))
        return training.fit(whisper_model.load(start, context=context), clips, valid=None, recipe=recipe, n_steps=1,
                            is_finetuning=True)

    with pytest.raises(RecipeError, match='knows thirty seconds.*say context="padded", or learns="lora" or "all"'):
        fit(base, "fitted", learns="decoder", match_weight=0.33)
    assert not (root / "data" / "cache" / "fits").exists(), "nothing was begun"
    fit(base, "padded", learns="decoder", match_weight=0.33)
    taught = fit(base, "fitted", match_weight=0.33).checkpoint
    again = fit(taught, "fitted", learns="decoder", match_weight=0.33).checkpoint
    old, new = (whisper_model.load(path).whisper.state_dict() for path in (taught, again))
    assert {name.split(".")[0] for name in old if not torch.equal(old[name], new[name])} == {"decoder"}


def test_a_frozen_encoder_has_no_teacher_to_pay_for(clips: pd.DataFrame, tmp_path: Path) -> None:
    for learns, is_taught in {"all": True, "lora": True, "decoder": False}.items():
        recipe = replace(RECIPE, fit=replace(RECIPE.fit, learns=learns, match_weight=0.33))
        task = Task(clips, None, recipe, 10, 0, True)
        under_way = training._Training(whisper_model.build("", "toy", seed=0), task, tmp_path, Share())
        assert (under_way.teacher is not None) == is_taught


@pytest.mark.parametrize(("kind", "n_mels"), [("english", 80), ("multilingual", 80), ("large-v3", 128)])
def test_every_published_kind_learns_by_lora_and_both_engines_answer_alike_afterwards(
    kind: str, n_mels: int, root: Path, clips: pd.DataFrame
) -> None:
    base = published.checkpoint(root / "base.pt", kind=kind, n_mels=n_mels, width=64, n_layers=1)
    told = replace(RECIPE, fit=replace(RECIPE.fit, learns="lora", lora_rank=2, match_weight=0.33, n_validations=1,
                                             batch_size=2))
    done = training.fit(whisper_model.load(base, context="fitted"), clips, valid=None, recipe=told, n_steps=3,
                        is_finetuning=True)
    assert vars(whisper.load_model(str(done.checkpoint), device="cpu").dims) == vars(whisper_model.load(base).dims)
    old, new = (whisper_model.load(path).whisper.state_dict() for path in (base, done.checkpoint))
    assert {name.split(".", 1)[0] for name in old if not torch.equal(old[name], new[name])} == {"encoder", "decoder"}
    clip = audio.read(clips["audio_path"].iloc[0])
    quick = engines.FastRecognizer(engines.export(done.checkpoint, root / "engine", quantization="float32"))
    slow = recognizers.load(done.checkpoint)
    (found,), (wanted,) = (each.transcribe([clip]) for each in (quick, slow))
    assert found.text == wanted.text and found.text
    assert found.avg_logprob == pytest.approx(wanted.avg_logprob, rel=1e-3)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU adds up in any order")
def test_activations_computed_again_give_the_same_weights(root: Path, clips: pd.DataFrame) -> None:
    kept, again = (tune(clips, is_checkpointed=is_so).checkpoint for is_so in (False, True))
    one, other = (whisper_model.load(path).state_dict() for path in (kept, again))
    assert kept != again and all(torch.equal(one[name], other[name]) for name in one)


def loss_of(clips: pd.DataFrame, folder: Path, step: int = 0, **how: object) -> float:
    recipe = replace(RECIPE, fit=replace(RECIPE.fit, **how))
    task = Task(clips, None, recipe, 10, 0, True)
    under_way = training._Training(whisper_model.build("", "toy", seed=0), task, folder, Share())
    n = recipe.fit.n_accumulated
    return under_way._step(step, map(under_way._batch, range(step * n, (step + 1) * n)))


def test_batches_that_are_one_step_weigh_alike(clips: pd.DataFrame, tmp_path: Path) -> None:
    # The negatives that a step scores are its own, so that all tokens are scored here: as in published weights.
    first, second = (loss_of(clips, tmp_path, step, learns="lora") for step in (0, 1))
    assert loss_of(clips, tmp_path, learns="lora", n_accumulated=2) == pytest.approx((first + second) / 2, rel=1e-5)


def test_half_precision_sees_nearly_the_same_loss_and_keeps_whole_weights(root: Path, clips: pd.DataFrame,
                                                                          tmp_path: Path) -> None:
    exact, half = (loss_of(clips, tmp_path, precision=p) for p in ("float32", "bfloat16"))
    assert half != exact and half == pytest.approx(exact, rel=0.02)
    saved = torch.load(tune(clips, precision="bfloat16").checkpoint, weights_only=True)["model_state_dict"]
    assert {tensor.dtype for tensor in saved.values()} == {torch.float32}


def test_lora_without_peft_and_other_ways_to_learn_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    model = whisper_model.build("", "toy", seed=0)
    with pytest.raises(RecipeError, match="choose all, decoder or lora"):
        adapting.prepare(model, Fit(learns="encoder"), seed=0)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(RecipeError, match=r"pip install -e \"\.\[peft\]\""):
        adapting.prepare(model, Fit(learns="lora"), seed=0)


def test_low_rank_changes_begin_by_their_seed_whatever_else_draws(clips: pd.DataFrame) -> None:
    def begun(seed: int) -> list[torch.Tensor]:
        model = adapting.prepare(whisper_model.build("", "toy", seed=0), Fit(learns="lora"), seed=seed)
        return [weights.detach() for name, weights in model.named_parameters() if "lora_A" in name]

    torch.manual_seed(1)
    first, first_again, other = begun(0), begun(0), begun(1)
    assert all(torch.equal(a, b) for a, b in zip(first, first_again, strict=True))
    assert not torch.equal(first[0], other[0]) and not torch.equal(first[0], first[1])
    assert all(0.9 < weights.abs().max() * weights.shape[1] ** 0.5 <= 1 for weights in first)
