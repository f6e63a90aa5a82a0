"""Recordings as float32 mono samples: reading any file, writing PCM16 wav, and what can be measured on one clip.

Nothing here knows what was said, nor where a dataset keeps its clips.
"""

import hashlib
import io
import itertools
import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
from numpy.typing import NDArray

from workbench import remote
from workbench.errors import AudioError, AudioTooLongError

Samples = NDArray[np.float32]

SAMPLE_RATE_HZ = 16_000  # Whisper's
PCM16_SCALE = 32_768  # two to the fifteenth: samples of -1 to 1 become 16-bit integers
FRAME_S = 0.025  # the frame of Whisper's and Kaldi's features, 25 ms
LEVEL_FLOOR_DBFS = -100.0  # just under one step of 16 bits: digital silence has a finite level
CLIPPED_AT = 0.999  # within 33 steps of full scale; codecs and resampling move flattened peaks by about as much
NEAR_SILENT_DBFS = -60.0  # the loudest frames use six of sixteen bits: a muted or dead microphone
LOUD_PERCENTILE, QUIET_PERCENTILE = 95, 10  # a clip pauses for a tenth of its time, and is loudest in a twentieth
MIN_RATE_HZ, MAX_RATE_HZ = 1_000, 384_000  # slower holds no speech; faster is beyond any converter
MAX_FACTOR = 10_000  # of two rates, 1.6 MB of filter; odder ones are rounded, by a 10,000th (a sixth of a cent) at most
BLOCK_VALUES = 1 << 18  # a megabyte of samples decoded at a time
UNKNOWN_LENGTH = 1 << 62  # libsndfile says its largest number when a stream does not tell its length
BANDWIDTH_DROP_DB = 40.0  # of 240 clips: phones to 3.4, 5 and 7 kHz measure 4.0-5.0, 5.1-6.2, 6.6-7.4 (5-95 %)
SMOOTHED_BINS = 5  # 160 Hz at 16 kHz: one loud bin is no band
PICTURED_DB = 60.0  # between white and the darkest of a spectrogram
MAX_SNR_DB = 60.0  # beyond it the quiet frames hold quantization, not a room


def read(path: str | Path, sample_rate_hz: int = SAMPLE_RATE_HZ, *, longest_s: float = math.inf) -> Samples:
    """Read a file of any rate, channel count and usual format as one channel of samples between -1 and 1.

    A path, a URL of any store that fsspec knows, or either pinned to a checksum (`remote.pinned`). No more than
    `longest_s` is ever decoded, whatever the file's header says of itself.
    Shape: [T], float32.
    Raises: AudioError for what is absent, has changed, is not audio, holds no samples or values that are no numbers,
    or is too long; SettingsError when a store does not answer.
    """
    place, sha = remote.unpinned(path)
    if sha or remote.is_url(place):
        return decode(read_bytes(path), place, sample_rate_hz, longest_s=longest_s)
    file = Path(place)
    if not file.is_file():
        raise AudioError(f"{place} is not a file; check the path")
    try:
        is_empty = file.stat().st_size == 0
        samples, rate_hz = (np.zeros(0, np.float32), 0) if is_empty else _decode(file, place, longest_s)
    except OSError as error:
        raise AudioError(f"{place} cannot be opened ({error.strerror or error}); check its permissions") from error
    return _resampled(samples, rate_hz, sample_rate_hz, place)


def read_bytes(path: str | Path) -> bytes:
    """Give a file's bytes as they are, from a path or a URL, pinned or not.

    Raises: AudioError for what is absent or has changed; SettingsError when a store does not answer.
    """
    place, sha = remote.unpinned(path)
    try:
        content = remote.read_again(place, sha) if remote.is_url(place) and sha else remote.read_bytes(place)
    except FileNotFoundError as error:
        raise AudioError(f"{place} is not a file; check the path") from error
    except OSError as error:
        raise AudioError(f"{place} cannot be opened ({error.strerror or error}); check its permissions") from error
    if sha and hashlib.sha256(content).hexdigest() != sha:
        raise AudioError(f"{place} has changed since it was collected (its SHA-256 was {sha[:12]}...); put the file "
                         "back as it was, or run collect again")
    return content


def decode(content: bytes, name: str, sample_rate_hz: int = SAMPLE_RATE_HZ, *, longest_s: float = math.inf) -> Samples:
    """Decode a file's bytes as `read` does; `name` is what errors call it. Shape: [T], float32."""
    samples, rate_hz = _decode(io.BytesIO(content), name, longest_s) if content else (np.zeros(0, np.float32), 0)
    return _resampled(samples, rate_hz, sample_rate_hz, name)


def _resampled(samples: Samples, rate_hz: int, to_hz: int, name: str) -> Samples:
    if samples.size == 0:
        raise AudioError(f"{name} holds no samples (zero-length audio); record it again or drop it")
    return resample(samples, rate_hz, to_hz)


def read_piece(path: str | Path, start_s: float, length_s: float, sample_rate_hz: int = SAMPLE_RATE_HZ) -> Samples:
    """Read a piece of a long recording without the rest; one that ends early gives what there is of it.

    Shape: [T], float32, T at most length_s * sample_rate_hz.
    Raises: AudioError for what is absent or that libsndfile cannot read.
    """
    try:
        with soundfile.SoundFile(path) as file:
            file.seek(min(round(start_s * file.samplerate), file.frames))
            block = file.read(round(length_s * file.samplerate), dtype="float32", always_2d=True)
            return resample(block.mean(axis=1, dtype=np.float32), file.samplerate, sample_rate_hz)
    except (soundfile.LibsndfileError, OSError) as error:
        raise AudioError(f"{path} cannot be read as audio ({_reason(error)}); fetch it again") from error


def recorded_s(path: str | Path) -> float:
    """Tell from its header how long a recording is. Raises: AudioError for what libsndfile cannot read."""
    try:
        return float(soundfile.info(str(path)).duration)
    except (soundfile.LibsndfileError, OSError) as error:
        raise AudioError(f"{path} cannot be read as audio ({_reason(error)}); fetch it again") from error


def _decode(source: Path | io.BytesIO, name: str, longest_s: float) -> tuple[Samples, int]:
    """Decode with libsndfile, or with FFmpeg what that does not know. Shape: [T], the mean of all channels."""
    try:
        with soundfile.SoundFile(source) as file:
            if longest_s * file.samplerate < file.frames < UNKNOWN_LENGTH:
                found_s = file.frames / file.samplerate
                raise AudioTooLongError(_too_long(name, longest_s, f"its header says {found_s:.1f} s"))
            return _joined(_blocks(file), file.samplerate, name=name, longest_s=longest_s)
    except (soundfile.LibsndfileError, TypeError):  # a .raw file's rate would have to be told
        # An open file instead of a path: a playlist posing as audio must not reach other files or hosts.
        with io.BytesIO(source.getvalue()) if isinstance(source, io.BytesIO) else source.open("rb") as opened:
            return _decode_with_ffmpeg(opened, name, longest_s)


def _blocks(file: soundfile.SoundFile) -> Iterator[Samples]:
    size = max(1, BLOCK_VALUES // file.channels)
    while len(block := file.read(size, dtype="float32", always_2d=True)):
        yield block


def _decode_with_ffmpeg(file: BinaryIO, name: str, longest_s: float) -> tuple[Samples, int]:
    import av  # 18 MB that few processes need

    try:
        with av.open(file, mode="r", options={"protocol_whitelist": "none"}) as container:
            if not container.streams.audio:
                raise AudioError(f"{name} is not audio (it has no audio track); export it as wav, flac, ogg or mp3")
            if container.streams.audio[0].codec_context is None:
                raise AudioError(f"{name} is not audio that can be read (its codec is unknown); export it as wav, "
                                 "flac, ogg or mp3")
            rate_hz = container.streams.audio[0].rate or 0
            to_float = av.AudioResampler(format="fltp")
            frames = itertools.chain(container.decode(audio=0), (None,))
            floats = (out for frame in frames for out in to_float.resample(frame))
            blocks = (np.asarray(part.to_ndarray().T, np.float32) for part in floats)
            return _joined(blocks, rate_hz, name=name, longest_s=longest_s)
    except (av.FFmpegError, ValueError) as error:
        raise AudioError(f"{name} is not audio that can be read ({_reason(error)}); export it as wav, flac, ogg or mp3"
                         ) from error


def _joined(blocks: Iterable[Samples], rate_hz: int, *, name: str, longest_s: float) -> tuple[Samples, int]:
    """Average channels and join, block by block, so that a small file that unpacks to hours never fills the memory."""
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise AudioError(f"{name} says {rate_hz} samples a second, wanted {MIN_RATE_HZ} to {MAX_RATE_HZ}; "
                         "its header is damaged, export it again")
    parts, n_samples = [np.zeros(0, np.float32)], 0
    for block in blocks:
        if not np.isfinite(block).all():
            raise AudioError(f"{name} holds samples that are not finite numbers; export it again or drop it")
        parts.append(np.clip(block, -1.0, 1.0).mean(axis=1, dtype=np.float32))
        n_samples += len(block)
        if n_samples > longest_s * rate_hz:
            raise AudioTooLongError(_too_long(name, longest_s, "it goes on beyond"))
    return np.concatenate(parts), rate_hz


def _too_long(name: str, longest_s: float, found: str) -> str:
    return f"{name} is longer than {longest_s:g} s ({found}); cut it into shorter pieces"


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).lower()


def resample(samples: NDArray[np.floating], rate_hz: int, to_hz: int) -> Samples:
    """Change the sampling rate by a polyphase filter. Shape: [T] to [ceil(T * to_hz / rate_hz)], to a 10,000th."""
    ratio = Fraction(min(rate_hz, to_hz), max(rate_hz, to_hz)).limit_denominator(MAX_FACTOR)
    if ratio == 1:
        return np.ascontiguousarray(samples, dtype=np.float32)
    from scipy import signal  # a second and a half to import, and few commands resample

    up, down = sorted(ratio.as_integer_ratio(), reverse=to_hz > rate_hz)
    low_pass = _low_pass(ratio.denominator).astype(samples.dtype)
    return np.asarray(signal.resample_poly(samples, up, down, window=low_pass), dtype=np.float32)


@lru_cache(maxsize=8)
def _low_pass(factor: int) -> NDArray[np.float64]:
    """Design the filter that scipy.signal.resample_poly would anew each time, for longer than it resamples a query."""
    from scipy import signal

    return np.asarray(signal.firwin(20 * factor + 1, 1 / factor, window=("kaiser", 5.0)))


def pcm16(samples: NDArray[np.floating]) -> NDArray[np.int16]:
    """Round samples to 16-bit integers; what passes full scale is clipped."""
    return np.clip(np.rint(samples * PCM16_SCALE), -PCM16_SCALE, PCM16_SCALE - 1).astype(np.int16)


def write(path: str | Path, samples: NDArray[np.floating], sample_rate_hz: int = SAMPLE_RATE_HZ) -> None:
    """Write a PCM16 wav file; reading it gives the same samples to within half a 16-bit step.

    A caller that may be killed hands in a temporary name and renames it (`storage.replacing`).
    """
    Path(path).write_bytes(wav_bytes(samples, sample_rate_hz))  # not libsndfile: it would hide that a disk is full


def wav_bytes(samples: NDArray[np.floating], sample_rate_hz: int = SAMPLE_RATE_HZ) -> bytes:
    """Give a PCM16 wav file as bytes, for a page to play."""
    buffer = io.BytesIO()
    soundfile.write(buffer, pcm16(samples), sample_rate_hz, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def content_hash(samples: NDArray[np.floating]) -> str:
    """Name a clip by what it sounds like: SHA-256 of its 16-bit samples, whatever file they came from."""
    return hashlib.sha256(pcm16(samples).tobytes()).hexdigest()


def duration_s(samples: NDArray[np.floating], sample_rate_hz: int = SAMPLE_RATE_HZ) -> float:
    """Give a clip's length in seconds."""
    return len(samples) / sample_rate_hz


def peak(samples: NDArray[np.floating]) -> float:
    """Give the largest absolute sample; 1 is full scale."""
    return float(np.abs(samples).max(initial=0.0))


def level_dbfs(samples: NDArray[np.floating]) -> float:
    """Measure the root mean square against full scale. Returns: dB, never under the floor of 16 bits."""
    power = float(np.square(samples, dtype=np.float64).mean()) if len(samples) else 0.0
    return max(LEVEL_FLOOR_DBFS, 10 * math.log10(power)) if power > 0 else LEVEL_FLOOR_DBFS


def clipped_share(samples: NDArray[np.floating]) -> float:
    """Give the share of samples at full scale."""
    return float((np.abs(samples) >= CLIPPED_AT).mean()) if len(samples) else 0.0


def frame_levels_dbfs(samples: NDArray[np.floating], sample_rate_hz: int = SAMPLE_RATE_HZ) -> NDArray[np.float64]:
    """Measure the level of each 25 ms frame; a rest shorter than a frame is left out. Shape: [F], at least one."""
    size = min(len(samples), round(FRAME_S * sample_rate_hz))
    if size == 0:
        return np.array([LEVEL_FLOOR_DBFS])
    frames = samples[: len(samples) // size * size].reshape(-1, size)
    power = np.square(frames, dtype=np.float64).mean(axis=1)
    return np.asarray(10 * np.log10(np.maximum(power, 10 ** (LEVEL_FLOOR_DBFS / 10))))


def estimate_snr_db(samples: NDArray[np.floating], sample_rate_hz: int = SAMPLE_RATE_HZ) -> float:
    """Estimate how far speech stands above its background: the loudest frames against the quietest, by percentiles.

    A clip trimmed tight has no pause to measure the background in, and gets an estimate that is too low.
    """
    levels = frame_levels_dbfs(samples, sample_rate_hz)
    loud, quiet = (10 ** (np.percentile(levels, p) / 10) for p in (LOUD_PERCENTILE, QUIET_PERCENTILE))
    snr = 10 * math.log10(max(loud - quiet, 1e-12 * quiet) / quiet)
    return float(np.clip(snr, -MAX_SNR_DB, MAX_SNR_DB))


def is_near_silent(samples: NDArray[np.floating], sample_rate_hz: int = SAMPLE_RATE_HZ) -> bool:
    """Tell whether even the loudest frames stay under what a working microphone gives."""
    return float(np.percentile(frame_levels_dbfs(samples, sample_rate_hz), LOUD_PERCENTILE)) < NEAR_SILENT_DBFS


def estimate_bandwidth_hz(samples: NDArray[np.floating], sample_rate_hz: int = SAMPLE_RATE_HZ) -> float:
    """Estimate up to which frequency a clip holds anything: the last one within 40 dB of its loudest.

    Returns: Hz, at most half the sampling rate; 0 for digital silence.
    """
    size = 1 << round(math.log2(FRAME_S * sample_rate_hz))
    padded = np.pad(samples, (0, -len(samples) % size)) if len(samples) else np.zeros(size)
    frames = padded.reshape(-1, size) * np.hanning(size)
    power = np.square(np.abs(np.fft.rfft(frames, axis=1))).mean(axis=0)
    power = np.convolve(power, np.full(SMOOTHED_BINS, 1 / SMOOTHED_BINS), "same")
    heard = np.flatnonzero(power > power.max() * 10 ** (-BANDWIDTH_DROP_DB / 10))
    return float(heard[-1] * sample_rate_hz / size) if power.max() > 0 else 0.0


def spectrogram(samples: NDArray[np.floating], *, n_bins: int = 96, n_frames: int = 360) -> NDArray[np.uint8]:
    """Picture a clip for the eye: a Hann window's level over 60 dB below the loudest, low frequencies at the bottom.

    Shape: [T] -> [n_bins, n_frames], 0 to 255.
    """
    size = 2 * n_bins
    starts = np.linspace(0, max(len(samples) - size, 0), n_frames).astype(int)
    padded = np.pad(np.asarray(samples, float), (0, max(size - len(samples), 0)))
    windows = padded[starts[:, None] + np.arange(size)] * np.hanning(size)
    levels = 20 * np.log10(np.abs(np.fft.rfft(windows, axis=1))[:, :n_bins] + 1e-9)
    shown = np.clip((levels - levels.max()) / PICTURED_DB + 1, 0, 1)
    return np.asarray(np.round(255 * shown[:, ::-1].T), dtype=np.uint8)
