"""Recordings as bytes, in the formats that phones send, and what becomes of them on bad ways: all from seeds."""

import io
import struct
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import cache
from typing import Any

import av
import numpy as np
import soundfile

from workbench.audio import SAMPLE_RATE_HZ, Samples

Upload = tuple[str, bytes]
"""A name that says what is the matter, and the bytes."""


def murmur(seconds: float = 1.0, rate_hz: int = SAMPLE_RATE_HZ, seed: int = 0) -> Samples:
    """Make something like a voice: a gliding buzz that comes and goes, over faint noise."""
    rng, time_s = np.random.default_rng(seed), np.arange(round(seconds * rate_hz)) / rate_hz
    pitch = 2 * np.pi * (120 + rng.uniform(0, 80)) * (time_s + 0.02 * np.sin(2 * np.pi * 1.5 * time_s))
    voice = sum(np.sin(k * pitch) / k for k in range(1, 8)) * np.abs(np.sin(2 * np.pi * 2 * time_s))
    return np.asarray(0.2 * voice + 0.003 * rng.normal(size=len(time_s)), dtype=np.float32)


def sound(kind: str, subtype: str, samples: np.ndarray, rate_hz: int = SAMPLE_RATE_HZ) -> bytes:
    """Write samples with libsndfile. Shape: [T] or [T, channels]."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate_hz, format=kind, subtype=subtype)
    return buffer.getvalue()


def wav(seconds: float = 1.0, seed: int = 0) -> bytes:
    """Give a good upload."""
    return sound("WAV", "PCM_16", murmur(seconds, seed=seed))


def encoded(container: str, codec: str, rate_hz: int, seconds: float = 1.0) -> bytes:
    """Write a stereo recording with FFmpeg."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as file:
        stream: Any = file.add_stream(codec, rate=rate_hz)
        frame = av.AudioFrame.from_ndarray(np.stack([murmur(seconds, rate_hz)] * 2), format="fltp", layout="stereo")
        frame.sample_rate, frame.time_base = rate_hz, Fraction(1, rate_hz)
        to_codec = av.AudioResampler(format=stream.format, layout=stream.layout, rate=rate_hz,
                                     frame_size=stream.codec_context.frame_size or None)
        frames = [*to_codec.resample(frame), *to_codec.resample(None), None]
        file.mux([packet for part in frames for packet in stream.encode(part)])
    return buffer.getvalue()


def film() -> bytes:
    """Make a video without sound."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as file:
        stream: Any = file.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
        file.mux([packet for part in (frame, None) for packet in stream.encode(part)])
    return buffer.getvalue()


def unusual() -> Iterator[Upload]:
    """Give recordings that few phones make and every one of which can be heard."""
    for subtype in ("PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW", "IMA_ADPCM"):
        yield f"wav {subtype}", sound("WAV", subtype, murmur())
    for rate_hz in (8_000, 11_025, 44_100, 96_000, 192_000):
        yield f"wav {rate_hz} Hz", sound("WAV", "PCM_16", murmur(1.0, rate_hz), rate_hz)
    yield "wav 8 channels", sound("WAV", "PCM_16", np.stack([murmur()] * 8, axis=1))
    yield "wav too loud", sound("WAV", "FLOAT", murmur() * 1e30)
    yield "wav all silence", sound("WAV", "PCM_16", np.zeros(SAMPLE_RATE_HZ))
    yield "wav a tenth of a second", wav(0.1)
    yield "wav 29.9 s", wav(29.9)
    yield "aiff", sound("AIFF", "PCM_16", murmur())
    yield "caf", sound("CAF", "PCM_16", murmur())
    for name, (kind, subtype) in {"flac": ("FLAC", "PCM_24"), "ogg": ("OGG", "VORBIS"), "opus": ("OGG", "OPUS"),
                                  "mp3": ("MP3", "MPEG_LAYER_III")}.items():
        yield name, sound(kind, subtype, murmur())
    for name, (container, codec, rate_hz) in PHONES.items():
        yield name, encoded(container, codec, rate_hz)


PHONES = {"m4a": ("mp4", "aac", 44_100), "webm opus": ("webm", "libopus", 48_000), "adts": ("adts", "aac", 48_000),
          "mov": ("mov", "pcm_s16le", 44_100)}


def wav_header(*, rate_hz: int = SAMPLE_RATE_HZ, channels: int = 1, bits: int = 16, code: int = 1) -> bytes:
    """Write a wav file whose header says what it is told to, and a tenth of the data that it promises."""
    n_bytes, body = 32_000, b"\1\2" * 1600
    block = channels * bits // 8
    chunk = struct.pack("<4sIHHIIHH", b"fmt ", 16, code, channels, rate_hz, rate_hz * block & 0xFFFFFFFF,
                        block & 0xFFFF, bits)
    return b"RIFF" + struct.pack("<I", 36 + n_bytes & 0xFFFFFFFF) + b"WAVE" + chunk + b"data" + struct.pack(
        "<I", n_bytes & 0xFFFFFFFF) + body


def malformed() -> Iterator[Upload]:
    """Give uploads that hold nothing to hear, each for a reason of its own."""
    rng = np.random.default_rng(7)
    yield "empty", b""
    yield "one byte", b"R"
    yield "words", b"this is no audio\n" * 40
    yield "json", b'{"audio": "none"}'
    yield "html", b"<!doctype html><audio src='file:///etc/passwd'></audio>"
    yield "a playlist", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"
    yield "a concat list", b"ffconcat version 1.0\nfile '/etc/passwd'\n"
    yield "a picture", bytes.fromhex("89504e470d0a1a0a0000000d49484452") + bytes(200)
    yield "a film", film()
    yield "zeros", bytes(5000)
    for n_bytes in (10, 100, 1_000, 10_000, 100_000):
        yield f"{n_bytes} random bytes", rng.bytes(n_bytes)
    yield "wav without samples", sound("WAV", "PCM_16", np.zeros(0))
    yield "flac without samples", sound("FLAC", "PCM_16", np.zeros(0))
    yield "wav of NaN", sound("WAV", "FLOAT", np.full(16_000, np.nan))
    yield "wav with one NaN", sound("WAV", "FLOAT", np.append(murmur(), np.nan))
    yield "wav of infinity", sound("WAV", "DOUBLE", np.full(16_000, np.inf))
    yield "wav of 31 s", wav(31)
    yield "flac of an hour of silence", sound("FLAC", "PCM_16", np.zeros(3600 * SAMPLE_RATE_HZ, np.int16))
    yield "opus of 31 s", sound("OGG", "OPUS", murmur(31))
    yield "m4a of 31 s", encoded("mp4", "aac", 44_100, 31)
    yield "wav of 10 ms", wav(0.01)
    yield "a wav's first 44 bytes", wav()[:44]
    yield "a wav's header alone", wav()[:36]
    for header in ({"rate_hz": 0}, {"rate_hz": 1}, {"rate_hz": 2**31 - 1}, {"rate_hz": 2**32 - 1}, {"channels": 0},
                   {"channels": 65_535}, {"bits": 0}, {"bits": 64}, {"bits": 65}, {"code": 0x55AA}, {"code": 0xFFFE},
                   {"code": 0x0161}, {"code": 3, "bits": 24}):
        yield f"wav header says {header}", wav_header(**header)
    for name, whole in whole_files().items():
        yield f"{name} without its first half", whole[len(whole) // 2 :] if name == "m4a" else whole[:12]


def whole_files() -> dict[str, bytes]:
    """Give one good recording in each format that is fuzzed."""
    made = {name: encoded(*how) for name, how in PHONES.items() if name in ("m4a", "webm opus")}
    return {"wav": wav(), "float wav": sound("WAV", "FLOAT", murmur()), "flac": sound("FLAC", "PCM_16", murmur()),
            "mp3": sound("MP3", "MPEG_LAYER_III", murmur()), "ogg": sound("OGG", "VORBIS", murmur()), **made}


def _truncated(whole: bytes, rng: np.random.Generator) -> bytes:
    return whole[: int(rng.integers(1, len(whole)))]


def _flipped(whole: bytes, rng: np.random.Generator) -> bytes:
    damaged = bytearray(whole)
    for place in rng.integers(0, len(whole), rng.integers(1, 60)):
        damaged[place] ^= 1 << int(rng.integers(8))
    return bytes(damaged)


def _header_flipped(whole: bytes, rng: np.random.Generator) -> bytes:
    size = min(200, len(whole))
    return _flipped(whole[:size], rng) + whole[size:]


def _spliced(whole: bytes, rng: np.random.Generator) -> bytes:
    start, end = sorted(int(place) for place in rng.integers(0, len(whole), 2))
    return whole[:start] + rng.bytes(int(rng.integers(1, 500))) + whole[end:]


DAMAGES: tuple[Callable[[bytes, np.random.Generator], bytes], ...] = (
    _truncated, _flipped, _header_flipped, _spliced)


def fuzzed(n_each: int, seed: int = 0) -> Iterator[Upload]:
    """Damage good files; whether anything can still be heard is for the decoder to say."""
    rng = np.random.default_rng(seed)
    for name, whole in whole_files().items():
        for damage in DAMAGES:
            for number in range(n_each):
                yield f"{name}{damage.__name__} {number}", damage(whole, rng)


@cache
def corpus(kind: str) -> tuple[Upload, ...]:
    """Make the uploads of a kind once: malformed, unusual or damaged."""
    return tuple({"malformed": malformed, "unusual": unusual, "damaged": lambda: fuzzed(6)}[kind]())
