"""Numpy's frames, held against whisper's own."""

import numpy as np
import pytest
import torch
import whisper

from workbench import frames, whisper_model

RNG = np.random.default_rng(0)
CLIPS = {"noise": RNG.normal(0, 0.1, 56_000), "silence": np.zeros(56_000), "faint": RNG.normal(0, 1e-4, 56_000),
         "tone": 0.9 * np.sin(np.arange(56_000) * 0.3),
         "loud, then nothing": np.append(np.ones(8_000), np.zeros(48_000))}


@pytest.mark.parametrize("n_mels", [80, 128])
def test_frames_are_whispers_one_by_one_and_together(n_mels: int) -> None:
    clips = np.stack(list(CLIPS.values())).astype(np.float32)
    found = frames.log_mel(clips, n_mels)
    assert found.dtype == np.float32 and found.shape == (len(clips), n_mels, 350)
    for clip, ours in zip(clips, found, strict=True):
        np.testing.assert_allclose(ours, whisper.log_mel_spectrogram(clip, n_mels), atol=1e-4)
        np.testing.assert_array_equal(ours, frames.log_mel(clip[None], n_mels)[0])
    np.testing.assert_allclose(found, whisper_model.log_mel(torch.from_numpy(clips), n_mels), atol=1e-4)
