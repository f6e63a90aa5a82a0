from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from test_training import RECIPE, tones

from tests import published
from workbench import audio, training, whisper_model
from workbench.matching import PaddedTeacher


def test_the_lesson_is_what_the_padded_encoder_hears() -> None:
    model = whisper_model.build("", "toy", seed=0)
    clips = torch.from_numpy(np.random.default_rng(0).normal(0, [[0.001], [0.3]], (2, 16_000)).astype("float32"))
    mel = whisper_model.log_mel(clips, 80)
    padded = whisper_model.log_mel(torch.nn.functional.pad(clips, (0, 464_000)), 80)
    with torch.no_grad():
        wanted = model.whisper.encoder(padded)[:, :50]
    # The clip's last frame reaches into the silence behind it, which a frame of its own mirrors.
    assert torch.allclose(PaddedTeacher(model).states(mel)[:, :45], wanted[:, :45], atol=0.05)


def distance(model: whisper_model.SpeechModel, teacher: PaddedTeacher, path: str) -> float:
    samples = torch.from_numpy(audio.read(path))
    padded = torch.nn.functional.pad(samples, (0, model.context_samples(len(samples)) - len(samples)))
    mel = whisper_model.log_mel(padded[None], 80)
    with torch.no_grad():
        return float(teacher.loss(mel, model.whisper.encoder(mel)))


def test_a_published_model_learns_the_short_context_from_itself(root: Path, tmp_path: Path) -> None:
    base = published.checkpoint(tmp_path / "base.pt", width=64, n_layers=2)
    clips = tones(tmp_path, 24, 0)
    unheard = str(tones(tmp_path, 2, 1)["audio_path"].iloc[0])
    start = whisper_model.load(base, context="fitted")
    teacher = PaddedTeacher(start)
    untaught = distance(start, teacher, unheard)
    told = replace(RECIPE, fit=replace(RECIPE.fit, match_weight=0.9))
    found = {}
    for name, recipe in {"taught": told, "only fine-tuned": RECIPE}.items():
        fit = training.fit(whisper_model.load(base, context="fitted"), clips, valid=None, recipe=recipe, n_steps=40,
                           is_finetuning=True)
        found[name] = distance(whisper_model.load(fit.checkpoint), teacher, unheard)
    assert found["taught"] < 0.5 * untaught and found["taught"] < 0.5 * found["only fine-tuned"]
