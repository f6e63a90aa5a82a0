"""What happens to speech on its way to the phone: the noise of a place, mixed in at a known SNR, and the phone itself.

Pure and seeded: the same arguments give the same samples. Samples are float32 at 16 kHz, full scale at 1.0.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from workbench.audio import SAMPLE_RATE_HZ, Samples, peak

Signal = NDArray[np.float64]

FRAME = SAMPLE_RATE_HZ // 50
"""20 ms, the usual frame for telling speech from pauses."""
ACTIVE_BELOW_PEAK_DB = 30.0
"""Frames further below the loudest one are pauses and do not count to the level of speech (as in ITU-T P.56)."""

BLOCK = 4096
"""Samples of a hum that are worked on at once: 64 kB each of turn and tone, which stay in the processor's cache."""

# --- levels ----------------------------------------------------------------------------------------------------------


def power_ratio(db: float) -> float:
    """Turn decibels into a ratio of powers."""
    return float(10 ** (db / 10))


def active_power(samples: Samples) -> float:
    """Average the power of the frames in which somebody speaks; pauses do not count.

    Returns: mean square, 0.0 for silence.
    Source: a plain form of ITU-T P.56, active speech level.
    """
    squares = np.pad(np.square(samples, dtype=np.float64), (0, -len(samples) % FRAME))
    frames = squares.reshape(-1, FRAME).mean(axis=1)
    if not frames.any():
        return 0.0
    return float(frames[frames >= frames.max() * power_ratio(-ACTIVE_BELOW_PEAK_DB)].mean())


def to_peak(samples: Samples, peak_dbfs: float) -> Samples:
    """Scale so that the largest sample lies at `peak_dbfs`; silence stays silence."""
    highest = peak(samples)
    return samples if highest == 0.0 else _float32(samples * (10 ** (peak_dbfs / 20) / highest))


def mix(samples: Samples, noise: Samples, snr_db: float) -> Samples:
    """Add noise so that active speech stands `snr_db` above it.

    Shape: both [T]; the sum is not clipped, scale it with `to_peak`.
    Raises: ValueError when the lengths differ or one of the two is silent.
    """
    if len(samples) != len(noise):
        raise ValueError(f"speech has {len(samples)} samples and noise {len(noise)}; cut them to the same length")
    speech_power, noise_power = active_power(samples), float(np.square(noise, dtype=np.float64).mean())
    if speech_power == 0.0 or noise_power == 0.0:
        raise ValueError("an SNR needs both speech and noise; one of them is silent")
    return _float32(samples + noise * np.sqrt(speech_power / noise_power / power_ratio(snr_db)))


def cut(track: Samples, n_samples: int, seed: int) -> Samples:
    """Cut a random piece from a longer track, going round its end when need be."""
    start = int(np.random.default_rng(seed).integers(len(track)))
    return np.resize(np.roll(track, -start), n_samples) if start + n_samples > len(track) else track[start:][:n_samples]


def _float32(samples: NDArray[np.floating]) -> Samples:
    return samples.astype(np.float32)


# --- the noise of places ---------------------------------------------------------------------------------------------


def _coloured(rng: np.random.Generator, n_samples: int, power: Callable[[Signal], Signal]) -> Signal:
    """Make stationary noise with a given power over frequency in Hz, at mean power 1."""
    frequency = np.fft.rfftfreq(n_samples, 1 / SAMPLE_RATE_HZ).astype(np.float64)
    shape = np.sqrt(power(frequency) / 2)
    spectrum = (rng.standard_normal(len(shape)) + 1j * rng.standard_normal(len(shape))) * shape
    return _unit(np.fft.irfft(spectrum, n_samples).astype(np.float64))


def _unit(samples: Signal) -> Signal:
    return samples / np.sqrt(np.square(samples).mean())


def _swell(rng: np.random.Generator, n_samples: int, period_s: float, depth_db: float) -> Signal:
    """Make a slow random gain with a standard deviation of `depth_db`."""
    n_knots = max(4, int(n_samples / SAMPLE_RATE_HZ / period_s) + 2)
    knots = rng.standard_normal(n_knots) * depth_db
    return np.asarray(10 ** (np.interp(np.linspace(0, n_knots - 1, n_samples), np.arange(n_knots), knots) / 20))


def _falling(corner_hz: float, order: float, low_cut_hz: float = 30.0) -> Callable[[Signal], Signal]:
    """Describe a power spectrum: flat up to its corner, then falling by 6 dB an octave and order; nothing at 0 Hz."""
    return lambda f: (f / (f + low_cut_hz)) ** 2 / (1 + (f / corner_hz) ** 2) ** order


def _harmonics(rng: np.random.Generator, n_samples: int, f0_hz: float, n: int) -> Signal:
    """Make a hum whose pitch drifts by about 3 %, its harmonics falling as 1/k."""
    drift = 1 + 0.03 * np.interp(np.linspace(0, 9, n_samples), np.arange(10), rng.standard_normal(10))
    turn = np.exp(2j * np.pi * np.cumsum(f0_hz * drift) / SAMPLE_RATE_HZ)
    phases, total = rng.uniform(0, 2 * np.pi, n), np.zeros(n_samples)
    for start in range(0, n_samples, BLOCK):  # what is worked on stays in the processor's cache
        piece, into = turn[start : start + BLOCK], total[start : start + BLOCK]
        tone = np.ones_like(piece)
        for k, phase in enumerate(phases, start=1):
            tone *= piece
            into += (tone * np.exp(1j * phase)).real / k
    return _unit(total)


def _quiet(rng: np.random.Generator, n_samples: int) -> Signal:
    """A still room: soft broadband air and a trace of mains hum (50 or 60 Hz)."""
    return _coloured(rng, n_samples, _falling(300, 1.0)) + 0.2 * _harmonics(rng, n_samples, rng.choice([50, 60]), 3)


def _home(rng: np.random.Generator, n_samples: int) -> Signal:
    """A kitchen or living room: a fan or kettle, a hum, and now and then a clatter of dishes."""
    clatter = np.zeros(n_samples)
    ring = np.exp(-np.arange(FRAME * 6) / (FRAME * rng.uniform(0.5, 1.5)))
    for start in rng.integers(0, max(1, n_samples - len(ring)), size=max(1, n_samples // (2 * SAMPLE_RATE_HZ))):
        tone = np.sin(2 * np.pi * rng.uniform(1200, 4000) / SAMPLE_RATE_HZ * np.arange(len(ring)))
        piece = clatter[start:start + len(ring)]
        piece += (tone * ring * rng.uniform(1, 4))[:len(piece)]
    fan = _coloured(rng, n_samples, _falling(rng.uniform(300, 1000), 1.0))
    return fan * _swell(rng, n_samples, 2.0, 2.0) + 0.3 * _harmonics(rng, n_samples, 100, 4) + clatter


def _street(rng: np.random.Generator, n_samples: int) -> Signal:
    """A pavement: a steady bed of far traffic, and cars that pass."""
    bed = _coloured(rng, n_samples, _falling(rng.uniform(150, 350), 1.3))
    passing = _coloured(rng, n_samples, _falling(rng.uniform(700, 1500), 1.3, low_cut_hz=200))
    return bed + 0.7 * passing * _swell(rng, n_samples, 1.5, 6.0)


CAR_HISS_DB = (-9.0, -5.0)
"""Tyre and wind hiss under the rumble. Rumble alone lies below speech and hides nothing; this much hides consonants,
as recordings in cars do."""


def _car(rng: np.random.Generator, n_samples: int) -> Signal:
    """A moving car: low rumble, engine harmonics, and the hiss of tyres and wind that masks consonants."""
    rumble = _coloured(rng, n_samples, _falling(rng.uniform(60, 110), 2.0, low_cut_hz=15))
    engine = _harmonics(rng, n_samples, rng.uniform(25, 60), 12)
    hiss = _coloured(rng, n_samples, _falling(rng.uniform(1200, 2500), 1.0, low_cut_hz=150))
    level = np.sqrt(power_ratio(rng.uniform(*CAR_HISS_DB)))
    return rumble + 0.5 * engine + level * hiss * _swell(rng, n_samples, 2.0, 1.5)


NOISES: Mapping[str, Callable[[np.random.Generator, int], Signal]] = MappingProxyType(
    {"quiet": _quiet, "home": _home, "street": _street, "car": _car})
"""The places that need no other people; `babble` is made from their speech."""


def noise(kind: str, n_samples: int, seed: int) -> Samples:
    """Make a recording of a place; every seed is another car, another street.

    Returns: [T] at mean power 1, to be scaled by `mix`.
    Raises: ValueError for a place that is not in NOISES.
    """
    if kind not in NOISES:
        raise ValueError(f"no noise {kind!r}; there are {', '.join(NOISES)}, and babble() for voices")
    return _float32(_unit(NOISES[kind](np.random.default_rng(seed), n_samples)))


def babble(voices: Sequence[Samples], n_samples: int, seed: int) -> Samples:
    """Let people talk at once, each at another distance and from another moment on.

    Shape: each voice [T'] is repeated to `n_samples`; returns [T] at mean power 1.
    """
    rng = np.random.default_rng(seed)
    total = np.zeros(n_samples)
    for voice in voices:
        level = power_ratio(rng.uniform(-6, 0)) / max(active_power(voice), 1e-12)
        total += np.sqrt(level) * cut(voice, n_samples, int(rng.integers(2**31)))
    return _float32(_unit(total + 0.05 * _coloured(rng, n_samples, _falling(300, 0.8))))


# --- the phone -------------------------------------------------------------------------------------------------------

MU = 255
"""Mu-law's parameter in 8-bit telephony. Source: ITU-T G.711."""


def band_limit(samples: Samples, high_hz: float, low_hz: float = 80.0) -> Samples:
    """Keep what a microphone and its channel pass: fourth-order Butterworth between two frequencies."""
    return _float32(signal.sosfilt(_passing(low_hz, high_hz), samples))


@lru_cache
def _passing(low_hz: float, high_hz: float) -> Signal:
    return np.asarray(signal.butter(4, [low_hz, high_hz], "bandpass", fs=SAMPLE_RATE_HZ, output="sos"))


def clip(samples: Samples, gain_db: float) -> Samples:
    """Drive the input `gain_db` past its own peak, as a phone held too close does; the peak stays where it was."""
    return _float32(np.clip(samples * 10 ** (gain_db / 20), -peak(samples), peak(samples)))


def mu_law(samples: Samples) -> Samples:
    """Pass through an 8-bit mu-law codec: the grain of a cheap channel. Source: ITU-T G.711, continuous form."""
    bounded = np.clip(samples, -1, 1).astype(np.float64)
    code = np.round(np.sign(bounded) * np.log1p(MU * np.abs(bounded)) / np.log1p(MU) * (MU // 2))
    return _float32(np.sign(code) * np.expm1(np.abs(code) / (MU // 2) * np.log1p(MU)) / MU)


def _wideband(samples: Samples) -> Samples:
    """A good phone passes the whole band but for what the hand and the wind do below 80 Hz (wideband: to 7 kHz)."""
    return band_limit(samples, 7_000)


def _budget(samples: Samples) -> Samples:
    """A cheap phone: dull above 5 kHz, 2 dB of clipping, a grainy codec."""
    return mu_law(clip(band_limit(samples, 5_000, low_hz=150), 2.0))


def _narrow(samples: Samples) -> Samples:
    """A telephone channel: 300 to 3400 Hz through an 8-bit codec. Source: ITU-T G.711, G.712."""
    return mu_law(band_limit(samples, 3_400, low_hz=300))


DEVICES: Mapping[str, Callable[[Samples], Samples]] = MappingProxyType(
    {"wideband": _wideband, "budget": _budget, "narrow": _narrow})
"""The phones. A new one is a new line."""
