"""What a recipe may do to a training clip. An augmentation is any callable `(waveform [T], rng) -> waveform [T']`.

A researcher's own is a function or a small frozen dataclass in the recipe file; these are the well-known ones.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import pandas as pd
import torch
from scipy.fft import next_fast_len
from torch import Tensor
from torch.nn import functional as F
from torchaudio import functional as audio
from torchaudio.transforms import Resample

from workbench import audio as recordings
from workbench import noise_recordings
from workbench.errors import ManifestError

Augmentation = Callable[[Tensor, torch.Generator], Tensor]

SAMPLE_RATE_HZ = 16_000
SPEED_STEP = 0.05
"""Speeds come in steps of 5 %, so that the resampling filters are few and are reused."""


def uniform(rng: torch.Generator, low: float, high: float) -> float:
    """Draw a number between two bounds."""
    return low + (high - low) * float(torch.rand((), generator=rng))


def _is_spared(probability: float, rng: torch.Generator) -> bool:
    """Draw whether an augmentation leaves this clip as it is."""
    return uniform(rng, 0, 1) >= probability


@dataclass(frozen=True, slots=True)
class Speed:
    """Play faster or slower: tempo, pitch and formants move together, as with a smaller or larger speaker.

    Source: Ko et al., "Audio augmentation for speech recognition", Interspeech 2015 (0.9 to 1.1).
    """

    low: float = 0.9
    high: float = 1.1
    probability: float = 0.5

    def __call__(self, waveform: Tensor, rng: torch.Generator) -> Tensor:
        """Resample the clip by a random factor."""
        if _is_spared(self.probability, rng):
            return waveform
        factor = round(uniform(rng, self.low, self.high) / SPEED_STEP) * SPEED_STEP
        return _resampler(round(SAMPLE_RATE_HZ * factor))(waveform)


@lru_cache(maxsize=32)
def _resampler(source_hz: int) -> Resample:
    """Keep a speed's filter: designing it costs more than using it."""
    return Resample(source_hz, SAMPLE_RATE_HZ, lowpass_filter_width=4)


@dataclass(frozen=True, slots=True)
class ColouredNoise:
    """Add steady noise whose spectrum falls (or rises) by a random slope, at a random SNR."""

    snr_low_db: float = 10.0
    snr_high_db: float = 40.0
    probability: float = 0.5

    def __call__(self, waveform: Tensor, rng: torch.Generator) -> Tensor:
        """Add the noise. White is exponent 0, pink 1, brown 2 (of power against frequency)."""
        if _is_spared(self.probability, rng):
            return waveform
        n = next_fast_len(waveform.shape[-1], real=True)
        spectrum = torch.fft.rfft(torch.randn(n, generator=rng))
        frequency = torch.arange(1, spectrum.shape[-1] + 1, dtype=torch.float32)
        noise = torch.fft.irfft(spectrum * frequency ** (-uniform(rng, -0.5, 2.0) / 2), n=n)[: waveform.shape[-1]]
        return audio.add_noise(waveform, noise, torch.tensor(uniform(rng, self.snr_low_db, self.snr_high_db)))


@dataclass(frozen=True, slots=True, repr=False)
class RecordedNoise:
    """Add a piece of a recording of noise at a random SNR: `RecordedNoise("musan:/data/musan", 5, 20)`.

    Only recordings of the training split are heard; the others are for evaluation, and stay unheard.
    Its name in records and in a fit's key is that of the recordings, not of the folder they lie in.
    Source: SNRs of 0 to 15 dB in Kaldi's recipes, Snyder et al., arXiv 1510.08484.
    """

    source: str
    snr_low_db: float = 5.0
    snr_high_db: float = 20.0
    probability: float = 0.5

    def __call__(self, waveform: Tensor, rng: torch.Generator) -> Tensor:
        """Draw a recording, each as likely as the others, and where in it to begin; a short one goes round.

        Raises: ManifestError when the source has no recordings to train with.
        """
        if _is_spared(self.probability, rng):
            return waveform
        heard = _training_noise(self.source)
        path, recorded_s = heard[int(uniform(rng, 0, len(heard)))]
        start_s, snr_db = uniform(rng, 0, recorded_s), uniform(rng, self.snr_low_db, self.snr_high_db)
        noise = _piece(path, recorded_s, start_s, waveform.shape[-1])
        return audio.add_noise(waveform, noise, torch.tensor(snr_db)) if bool(noise.any()) else waveform

    def __repr__(self) -> str:
        """Name the recordings by their content; where they are absent nothing can be trained with them."""
        try:
            found = _noise_name(self.source)
        except ManifestError:
            found = "absent"
        return (f"RecordedNoise({self.source.partition(':')[0]} {found}, snr_low_db={self.snr_low_db}, "
                f"snr_high_db={self.snr_high_db}, probability={self.probability})")


@lru_cache(maxsize=8)
def _noise(source: str) -> pd.DataFrame:
    """List a source's recordings once a process."""
    return noise_recordings.table(source)


@lru_cache(maxsize=8)
def _noise_name(source: str) -> str:
    """Name a source's recordings by all that is in them: some gigabytes, once a process."""
    return noise_recordings.fingerprint(_noise(source))


@lru_cache(maxsize=8)
def _training_noise(source: str) -> tuple[tuple[str, float], ...]:
    """Give path and length of the recordings that a training may hear."""
    found = _noise(source)
    paths = found.loc[found["split"] == "train", "audio_path"]
    if paths.empty:
        raise ManifestError(f"none of the {len(found)} recordings of {source} is for training; give more of them")
    return tuple((path, recordings.recorded_s(path)) for path in paths)


def _piece(path: str, recorded_s: float, start_s: float, n_samples: int) -> Tensor:
    """Read `n_samples` from a moment on, going round a recording's end when need be."""
    wanted_s = n_samples / SAMPLE_RATE_HZ
    pieces = [recordings.read_piece(path, start_s, wanted_s)]
    while (n_read := sum(len(piece) for piece in pieces)) < n_samples:
        pieces.append(recordings.read_piece(path, 0, min(recorded_s, (n_samples - n_read + 1) / SAMPLE_RATE_HZ)))
        if not len(pieces[-1]):
            raise ManifestError(f"{path} holds no sound; fetch it again or take it out of the folder")
    return torch.cat([torch.from_numpy(piece) for piece in pieces])[:n_samples]


@dataclass(frozen=True, slots=True)
class Tilt:
    """Tip the spectrum up or down around 1 kHz and change the level, as other phones and distances do."""

    max_db_per_octave: float = 3.0
    max_gain_db: float = 12.0
    probability: float = 0.5

    def __call__(self, waveform: Tensor, rng: torch.Generator) -> Tensor:
        """Filter in the frequency domain."""
        if _is_spared(self.probability, rng):
            return waveform
        slope, gain = uniform(rng, -self.max_db_per_octave, self.max_db_per_octave), uniform(rng, -self.max_gain_db, 0)
        n = next_fast_len(waveform.shape[-1], real=True)
        octaves = (torch.fft.rfftfreq(n, 1 / SAMPLE_RATE_HZ).clamp(min=100.0) / 1000.0).log2()
        shaped = torch.fft.rfft(waveform, n=n) * 10 ** ((slope * octaves + gain) / 20)
        tipped = torch.fft.irfft(shaped, n=n)[: waveform.shape[-1]]
        return tipped / max(1.0, float(tipped.abs().max()))


@dataclass(frozen=True, slots=True)
class Silence:
    """Put silence of random length before and after, so that where a clip was cut does not matter."""

    max_s: float = 0.3

    def __call__(self, waveform: Tensor, rng: torch.Generator) -> Tensor:
        """Pad both ends."""
        before, after = (int(uniform(rng, 0, self.max_s) * SAMPLE_RATE_HZ) for _ in range(2))
        return F.pad(waveform, (before, after))


@dataclass(frozen=True, slots=True)
class SpecAugment:
    """Mask random bands and times of log-mel frames, and warp the frequency axis (vocal tract length perturbation).

    Source: Park et al., arXiv 1904.08779 (masks); Jaitly & Hinton, ICML workshop 2013 (warp 0.9 to 1.1).
    """

    n_frequency_masks: int = 2
    max_bins: int = 12
    n_time_masks: int = 2
    max_frames: int = 20
    max_warp: float = 0.0
    max_stretch: float = 0.0

    def __call__(self, mel: Tensor, rng: torch.Generator) -> Tensor:
        """Mask each clip of a batch on its own. Shape: [B, M, F] -> [B, M, F'], F' = F unless stretched."""
        mel = self._warp(mel, rng) if self.max_warp else mel
        mel = self._stretch(mel, rng) if self.max_stretch else mel
        floor = mel.amin(dim=(-2, -1), keepdim=True)
        keep = torch.ones_like(mel, dtype=torch.bool)
        for axis, count, widest in (
            (1, self.n_frequency_masks, self.max_bins),
            (2, self.n_time_masks, self.max_frames),
        ):
            for _ in range(count):
                keep &= _band(mel.shape, axis, min(widest, mel.shape[axis] // 4), rng)
        return torch.where(keep, mel, floor)

    def _warp(self, mel: Tensor, rng: torch.Generator) -> Tensor:
        factors = 1 + self.max_warp * (2 * torch.rand(mel.shape[0], 1, generator=rng) - 1)
        n_mels = mel.shape[1]
        source = (torch.arange(n_mels)[None] * factors).clamp(max=n_mels - 1.001)
        low, share = source.long(), source.frac()[:, :, None]
        index = low[:, :, None].expand(-1, -1, mel.shape[2])
        return mel.gather(1, index) * (1 - share) + mel.gather(1, index + 1) * share

    def _stretch(self, mel: Tensor, rng: torch.Generator) -> Tensor:
        n_frames = 2 * math.ceil(mel.shape[2] * uniform(rng, 1 - self.max_stretch, 1 + self.max_stretch) / 2)
        return F.interpolate(mel, size=min(n_frames, 3000), mode="linear")


def _band(shape: torch.Size, axis: int, widest: int, rng: torch.Generator) -> Tensor:
    """Give False inside one random band a clip along an axis. Shape: [B, M, 1] or [B, 1, F]."""
    width = (torch.rand(shape[0], 1, generator=rng) * (widest + 1)).long()
    start = (torch.rand(shape[0], 1, generator=rng) * (shape[axis] - width + 1)).long()
    position = torch.arange(shape[axis])[None]
    return ((position < start) | (position >= start + width)).unsqueeze(2 if axis == 1 else 1)
