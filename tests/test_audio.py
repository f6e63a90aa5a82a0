import io
from pathlib import Path
from typing import Literal

import av
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from scipy import signal

from workbench import audio
from workbench.audio import SAMPLE_RATE_HZ, Samples
from workbench.errors import AudioError, AudioTooLongError


def tone(seconds: float = 1.0, rate_hz: int = SAMPLE_RATE_HZ, amplitude: float = 0.5) -> Samples:
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    return (amplitude * np.sin(2 * np.pi * 440 * time_s)).astype(np.float32)


def encode(path: Path, samples: Samples, codec: Literal["aac", "libopus"], rate_hz: int) -> None:
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=rate_hz)
        frame = av.AudioFrame.from_ndarray(np.stack([samples, samples]), format="fltp", layout="stereo")
        frame.sample_rate = rate_hz
        resampler = av.AudioResampler(format=stream.format, layout=stream.layout, rate=rate_hz)
        container.mux([packet for part in [*resampler.resample(frame), None] for packet in stream.encode(part)])


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize(("rate_hz", "n_channels"), [(8_000, 1), (44_100, 2), (48_000, 4)])
def test_any_rate_channel_count_and_format_becomes_one_channel_at_16_khz(
    tmp_path: Path, suffix: str, rate_hz: int, n_channels: int
) -> None:
    if suffix == "mp3" and n_channels > 2:
        pytest.skip("mp3 has at most two channels")
    path = tmp_path / f"clip.{suffix}"
    soundfile.write(path, np.stack([tone(rate_hz=rate_hz)] * n_channels, axis=1), rate_hz)
    samples = audio.read(path)
    assert samples.dtype == np.float32
    assert len(samples) == pytest.approx(SAMPLE_RATE_HZ, rel=0.1)  # mp3 pads its ends
    spectrum = np.abs(np.fft.rfft(samples))
    assert np.argmax(spectrum) * SAMPLE_RATE_HZ / len(samples) == pytest.approx(440, abs=2)
    assert audio.level_dbfs(samples) == pytest.approx(20 * np.log10(0.5 / np.sqrt(2)), abs=0.6)


@pytest.mark.parametrize(("suffix", "codec", "rate_hz"), [("m4a", "aac", 44_100), ("webm", "libopus", 48_000)])
def test_what_a_phone_records_is_read_too(
    tmp_path: Path, suffix: str, codec: Literal["aac", "libopus"], rate_hz: int
) -> None:
    path = tmp_path / f"clip.{suffix}"
    encode(path, tone(rate_hz=rate_hz), codec, rate_hz)
    samples = audio.read(path)
    assert len(samples) == pytest.approx(SAMPLE_RATE_HZ, rel=0.1)
    assert np.argmax(np.abs(np.fft.rfft(samples))) * SAMPLE_RATE_HZ / len(samples) == pytest.approx(440, abs=2)


def test_channels_are_averaged(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "clip.wav", np.stack([tone(), -tone()], axis=1), SAMPLE_RATE_HZ)
    assert audio.peak(audio.read(tmp_path / "clip.wav")) < 1e-4


def test_what_is_written_is_read_back_to_the_last_bit(tmp_path: Path) -> None:
    once = audio.pcm16(tone()).astype(np.float32) / audio.PCM16_SCALE
    audio.write(tmp_path / "clip.wav", once)
    assert np.array_equal(audio.read(tmp_path / "clip.wav"), once)
    assert audio.content_hash(audio.read(tmp_path / "clip.wav")) == audio.content_hash(once)


def test_the_same_sound_has_the_same_hash_in_whatever_file(tmp_path: Path) -> None:
    audio.write(tmp_path / "a.wav", tone())
    soundfile.write(tmp_path / "b.flac", audio.pcm16(tone()), SAMPLE_RATE_HZ)
    assert audio.content_hash(audio.read(tmp_path / "a.wav")) == audio.content_hash(audio.read(tmp_path / "b.flac"))
    assert audio.content_hash(tone()) != audio.content_hash(tone(amplitude=0.4))


def test_louder_than_full_scale_is_clipped_and_does_not_wrap_round() -> None:
    assert audio.pcm16(np.array([1.5, -1.5, 0.0])).tolist() == [32_767, -32_768, 0]


def test_wav_bytes_play_as_a_wav_file() -> None:
    samples, rate_hz = soundfile.read(io.BytesIO(audio.wav_bytes(tone())))
    assert (len(samples), rate_hz) == (SAMPLE_RATE_HZ, SAMPLE_RATE_HZ)


def no_such_file(folder: Path) -> Path:
    return folder / "absent.wav"


def words(folder: Path) -> Path:
    (folder / "words.wav").write_text("these are words " * 100)
    return folder / "words.wav"


def nothing(folder: Path) -> Path:
    (folder / "nothing.mp3").touch()
    return folder / "nothing.mp3"


def no_samples(folder: Path) -> Path:
    soundfile.write(folder / "none.wav", np.zeros(0), SAMPLE_RATE_HZ)
    return folder / "none.wav"


def no_numbers(folder: Path) -> Path:
    soundfile.write(folder / "nan.wav", np.full(100, np.nan, np.float32), SAMPLE_RATE_HZ, subtype="FLOAT")
    return folder / "nan.wav"


def a_playlist(folder: Path) -> Path:
    """Make a playlist that names another, readable recording."""
    audio.write(folder / "secret.wav", tone())
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:9", "#EXTINF:1,", str(folder / "secret.wav"), "#EXT-X-ENDLIST", ""]
    (folder / "list.m3u8").write_text("\n".join(lines))
    return folder / "list.m3u8"


def a_picture(folder: Path) -> Path:
    with av.open(folder / "film.mp4", "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
        container.mux([packet for part in (frame, None) for packet in stream.encode(part)])
    return folder / "film.mp4"


def samples_alone(folder: Path) -> Path:
    (folder / "samples.raw").write_bytes(bytes(range(200)) * 40)
    return folder / "samples.raw"


@pytest.mark.parametrize(("make", "action"), [
    (samples_alone, "is not audio.*export it as wav"),
    (no_such_file, "check the path"), (words, "is not audio.*export it as wav"),
    (nothing, "zero-length.*record it again"), (no_samples, "zero-length.*record it again"),
    (no_numbers, "not finite.*export it again"),
    (a_playlist, "is not audio.*export it as wav"), (a_picture, "no audio track.*export it as wav")])
def test_a_file_that_cannot_be_used_is_named_with_what_to_do(tmp_path: Path, make: object, action: str) -> None:
    path = make(tmp_path)  # type: ignore[operator]
    with pytest.raises(AudioError, match=action) as raised:
        audio.read(path)
    assert str(path) in str(raised.value)


def test_levels_are_against_full_scale_and_silence_has_the_floor() -> None:
    assert audio.level_dbfs(np.ones(100)) == pytest.approx(0)
    assert audio.level_dbfs(np.full(100, 0.1)) == pytest.approx(-20)
    assert audio.level_dbfs(np.zeros(100)) == audio.level_dbfs(np.zeros(0)) == audio.LEVEL_FLOOR_DBFS


def test_the_clipped_share_counts_samples_at_full_scale() -> None:
    assert audio.clipped_share(np.array([1.0, -1.0, 0.5, 0.0])) == 0.5
    assert audio.clipped_share(np.clip(tone(amplitude=2.0), -1, 1)) == pytest.approx(2 / 3, abs=0.01)
    assert audio.clipped_share(tone(amplitude=0.9)) == audio.clipped_share(np.zeros(0)) == 0


@pytest.mark.parametrize("snr_db", [5, 15, 30])
def test_the_estimated_snr_is_near_the_true_one_when_there_are_pauses(snr_db: int) -> None:
    speech = np.concatenate([np.zeros(8_000), tone(1.0), np.zeros(8_000)])
    noise = np.random.default_rng(0).normal(size=len(speech)) * audio_power(tone()) ** 0.5 * 10 ** (-snr_db / 20)
    assert audio.estimate_snr_db(speech + noise) == pytest.approx(snr_db, abs=1.5)


def audio_power(samples: Samples) -> float:
    return float(np.square(samples).mean())


def test_steady_noise_has_a_low_snr_and_digital_silence_a_finite_one() -> None:
    assert audio.estimate_snr_db(np.random.default_rng(0).normal(size=16_000) * 0.1) < 0
    assert np.isfinite(audio.estimate_snr_db(np.zeros(16_000)))
    assert np.isfinite(audio.estimate_snr_db(np.zeros(10)))


def test_a_muted_microphone_is_near_silent_and_a_quiet_speaker_is_not() -> None:
    assert audio.is_near_silent(np.random.default_rng(0).normal(size=16_000) * 1e-4)
    assert not audio.is_near_silent(np.concatenate([np.zeros(32_000), tone(0.3, amplitude=0.01)]))


@pytest.mark.parametrize("high_hz", [2_000, 3_400, 7_000])
def test_the_bandwidth_is_where_the_sound_ends(high_hz: int) -> None:
    from scipy import signal

    noise = np.random.default_rng(0).normal(size=2 * SAMPLE_RATE_HZ)
    passed = signal.sosfilt(signal.ellip(8, 1, 80, high_hz, fs=SAMPLE_RATE_HZ, output="sos"), noise)
    assert high_hz <= audio.estimate_bandwidth_hz(passed) <= high_hz + 550  # a filter's edge, and frames of 32 ms


def test_silence_has_no_bandwidth() -> None:
    assert audio.estimate_bandwidth_hz(np.zeros(100)) == audio.estimate_bandwidth_hz(np.zeros(0)) == 0


def test_a_file_is_refused_when_it_is_longer_than_asked_for_whether_its_header_admits_it_or_not(tmp_path: Path) -> None:
    audio.write(tmp_path / "clip.wav", tone(3.0))
    encode(tmp_path / "clip.webm", tone(3.0, 48_000), "libopus", 48_000)
    assert len(audio.read(tmp_path / "clip.wav", longest_s=3.0)) == 3 * SAMPLE_RATE_HZ
    with pytest.raises(AudioTooLongError, match="its header says 3.0 s.*cut it"):
        audio.read(tmp_path / "clip.wav", longest_s=2.0)
    with pytest.raises(AudioTooLongError, match="goes on beyond.*cut it"):
        audio.read(tmp_path / "clip.webm", longest_s=2.0)


def test_a_rate_that_no_converter_has_is_a_damaged_header(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "clip.wav", tone(), 2_000_000_000)
    with pytest.raises(AudioError, match="2000000000 samples a second.*export it again"):
        audio.read(tmp_path / "clip.wav")


@pytest.mark.parametrize("rate_hz", [383_987, 15_999, 15_001, 1_009])
def test_a_rate_that_shares_nothing_with_ours_needs_no_larger_filter(
    rate_hz: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    design = audio._low_pass

    def watched(factor: int) -> NDArray[np.float64]:
        assert factor <= audio.MAX_FACTOR, "the filter has 20 taps for each"
        return design(factor)

    monkeypatch.setattr(audio, "_low_pass", watched)
    samples = audio.resample(tone(rate_hz=rate_hz), rate_hz, SAMPLE_RATE_HZ)
    assert len(samples) == pytest.approx(SAMPLE_RATE_HZ, rel=2e-4)
    assert np.argmax(np.abs(np.fft.rfft(samples))) == 440


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000, 384_000])
def test_usual_rates_are_resampled_as_scipy_does(rate_hz: int) -> None:
    common = np.gcd(rate_hz, SAMPLE_RATE_HZ)
    wanted = signal.resample_poly(tone(rate_hz=rate_hz), SAMPLE_RATE_HZ // common, rate_hz // common)
    np.testing.assert_array_equal(audio.resample(tone(rate_hz=rate_hz), rate_hz, SAMPLE_RATE_HZ), wanted)


def test_a_tone_is_a_line_in_the_spectrogram_low_sounds_at_the_bottom() -> None:
    seconds = np.arange(16_000) / 16_000
    low, high = (audio.spectrogram(np.sin(2 * np.pi * hz * seconds).astype(np.float32)) for hz in (500, 6000))
    assert low.shape == (96, 360) and low.dtype == np.uint8
    rows = [int(picture.sum(axis=1, dtype=int).argmax()) for picture in (low, high)]
    assert abs(rows[0] - (95 - 500 / 8000 * 96)) <= 1 and abs(rows[1] - (95 - 6000 / 8000 * 96)) <= 1
    assert audio.spectrogram(np.zeros(10, np.float32)).shape == (96, 360)
