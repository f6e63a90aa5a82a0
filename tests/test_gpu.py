"""What a GPU changes, which is nothing but the time; skipped where there is none."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from test_training import fit, tones

from workbench import audio, batches, recognizers, training, whisper_model

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


def test_answers_are_those_of_the_processor_alone_and_in_a_batch(trained: tuple[Path, pd.DataFrame]) -> None:
    checkpoint, clips = trained
    recordings = [audio.read(path) for path in clips["audio_path"]]
    on_gpu = recognizers.load(checkpoint, has_times=True)
    assert on_gpu.model.device.type == "cuda"
    together = on_gpu.transcribe(recordings)
    wanted = recognizers.WhisperRecognizer(whisper_model.load(checkpoint), has_times=True).transcribe(recordings)
    for answers in (together, [on_gpu.transcribe([one])[0] for one in recordings]):
        assert [(a.text, a.heard_letters, a.word_times) for a in answers] == [
            (w.text, w.heard_letters, w.word_times) for w in wanted]
        for name in ("avg_logprob", "no_speech_prob", "ctc_gap"):
            np.testing.assert_allclose([getattr(a, name) for a in answers], [getattr(w, name) for w in wanted],
                                       rtol=1e-3, atol=1e-3, err_msg=name)
    assert len({w.text for w in wanted}) > 5


def test_batches_made_by_other_processes_teach_what_those_made_here_do(
        root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speech = tones(tmp_path, 60, 0), tones(tmp_path, 20, 1)
    losses = []
    for most in (batches.MOST_MAKERS, 0):
        monkeypatch.setattr(batches, "MOST_MAKERS", most)
        monkeypatch.setattr(training, "fit_key", lambda *_, most=most: f"made-by-{most}")
        losses.append(fit(speech, 20).curve["train_loss"].tolist())
    np.testing.assert_allclose(losses[0], losses[1], rtol=0.02)  # a GPU adds up in any order
