"""How long a stretch a model hears a clip in, and its log-mel frames, in numpy: what answers queries needs no PyTorch.

The same frames for training, in PyTorch and with gradients, are `whisper_model`'s.
"""

import importlib.util
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from workbench.audio import SAMPLE_RATE_HZ, Samples

Context = Literal["fitted", "padded"]

TINY_WIDTH = 384
"""Width of the narrowest published Whisper. Source: tiny's checkpoint, `n_audio_state`."""

WINDOW, HOP, N_PADDED = 400, 160, 30 * SAMPLE_RATE_HZ
"""Samples of a window of 25 ms, of a step of 10 ms, and of Whisper's own context. Source: whisper.audio."""

CONTEXT_STEP_SAMPLES = SAMPLE_RATE_HZ // 2
"""Fitted contexts come in steps of half a second, so that clips of a batch share one and neighbours never matter."""

MARGIN_SAMPLES = SAMPLE_RATE_HZ // 10
"""Silence that follows every clip, so that the last word is not at the very edge of what the encoder sees."""


def context_samples(n_samples: int, context: Context) -> int:
    """Round a clip's length up to the context that a model hears it in. Returns: samples, at most 30 s."""
    if context == "padded":
        return N_PADDED
    steps = -(-(n_samples + MARGIN_SAMPLES) // CONTEXT_STEP_SAMPLES)
    return min(steps * CONTEXT_STEP_SAMPLES, N_PADDED)


def log_mel(waveforms: Samples, n_mels: int) -> NDArray[np.float32]:
    """Compute Whisper's log-mel frames for a batch, each clip with its own floor.

    Shape: [B, T] -> [B, M, T // 160].
    Source: `whisper_model.log_mel`, whose numbers these are.
    """
    waves = np.pad(waveforms, ((0, 0), (WINDOW // 2, WINDOW // 2)), mode="reflect")
    mel = np.stack([_filters(n_mels) @ _power(wave) for wave in waves])  # one by one, for each takes megabytes
    log_spec = np.log10(np.maximum(mel, np.float32(1e-10)))
    floor = log_spec.max(axis=(-2, -1), keepdims=True) - np.float32(8.0)
    return np.asarray((np.maximum(log_spec, floor) + np.float32(4.0)) / np.float32(4.0))


def _power(wave: Samples) -> NDArray[np.float32]:
    """Give each frame's power over frequency. Shape: [T] -> [F, frames]."""
    frames = np.lib.stride_tricks.sliding_window_view(wave, WINDOW)[:-1:HOP]
    spectrum = np.fft.rfft(frames * np.hanning(WINDOW + 1)[:-1].astype(np.float32))
    return (spectrum.real**2 + spectrum.imag**2).astype(np.float32, copy=False).T


@cache
def _filters(n_mels: int) -> NDArray[np.float32]:
    """Read whisper's own filters from where it is installed, without importing it."""
    whisper = importlib.util.find_spec("whisper")
    assert whisper is not None and whisper.origin is not None
    with np.load(Path(whisper.origin).parent / "assets" / "mel_filters.npz") as filters:
        return np.asarray(filters[f"mel_{n_mels}"])
