"""SNRs hold, places sound like themselves, phones do what they are named for, and everything follows from its seed."""

import numpy as np
import pytest

from workbench import degrade
from workbench.audio import SAMPLE_RATE_HZ, Samples


def voice(seconds: float = 2.0, pause_s: float = 0.0, seed: int = 0) -> Samples:
    """A stand-in for speech: noise in the speech band with a slow beat, after a pause."""
    rng = np.random.default_rng(seed)
    sound = degrade.band_limit(rng.standard_normal(round(seconds * SAMPLE_RATE_HZ)).astype(np.float32), 3_000)
    return np.pad(sound * np.float32(0.1), (round(pause_s * SAMPLE_RATE_HZ), 0))


def share_of_power(samples: Samples, low_hz: float, high_hz: float) -> float:
    power = np.abs(np.fft.rfft(samples)) ** 2
    frequency = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE_HZ)
    return float(power[(frequency >= low_hz) & (frequency < high_hz)].sum() / power.sum())


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 10.0, 30.0])
@pytest.mark.parametrize("kind", sorted(degrade.NOISES))
def test_the_promised_snr_is_the_one_that_is_measured(kind: str, snr_db: float) -> None:
    speech = voice()
    noise = degrade.noise(kind, len(speech), seed=3)
    added = degrade.mix(speech, noise, snr_db).astype(np.float64) - speech
    measured = 10 * np.log10(np.square(speech, dtype=np.float64).mean() / np.square(added).mean())
    assert measured == pytest.approx(snr_db, abs=0.1)


def test_a_pause_does_not_lower_the_level_of_speech() -> None:
    assert degrade.active_power(voice(pause_s=2.0)) == pytest.approx(degrade.active_power(voice()), rel=0.01)


def test_silence_has_no_active_power() -> None:
    assert degrade.active_power(np.zeros(800, np.float32)) == 0.0


def test_an_snr_with_silence_is_a_wrong_call() -> None:
    silence = np.zeros(SAMPLE_RATE_HZ, np.float32)
    with pytest.raises(ValueError, match="one of them is silent"):
        degrade.mix(silence, degrade.noise("car", SAMPLE_RATE_HZ, 0), 10.0)


def test_noise_of_another_length_is_a_wrong_call() -> None:
    with pytest.raises(ValueError, match="same length"):
        degrade.mix(voice(1.0), degrade.noise("car", 100, 0), 10.0)


def test_an_unknown_place_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="no noise 'moon'; there are quiet, home, street, car"):
        degrade.noise("moon", 100, 0)


@pytest.mark.parametrize("kind", sorted(degrade.NOISES))
def test_a_seed_gives_one_recording_and_another_seed_another(kind: str) -> None:
    first, again, other = (degrade.noise(kind, 8_000, seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert abs(np.corrcoef(first, other)[0, 1]) < 0.5


def test_every_place_is_of_unit_power_and_finite() -> None:
    for kind in degrade.NOISES:
        noise = degrade.noise(kind, SAMPLE_RATE_HZ, seed=5)
        assert noise.dtype == np.float32 and np.isfinite(noise).all()
        assert np.square(noise).mean() == pytest.approx(1.0, rel=1e-3)


def test_a_car_rumbles_low_yet_hisses_enough_to_mask_consonants() -> None:
    cars = [degrade.noise("car", 5 * SAMPLE_RATE_HZ, seed) for seed in range(8)]
    low = np.mean([share_of_power(car, 0, 200) for car in cars])
    consonants = np.mean([share_of_power(car, 2_000, 8_000) for car in cars])
    assert low > 0.6
    assert 0.02 < consonants < 0.25


def test_babble_is_where_speech_is_and_does_not_stop() -> None:
    talk = degrade.babble([voice(seed=seed) for seed in range(5)], 3 * SAMPLE_RATE_HZ, seed=0)
    assert len(talk) == 3 * SAMPLE_RATE_HZ
    assert share_of_power(talk, 80, 4_000) > 0.9
    assert degrade.active_power(talk) == pytest.approx(np.square(talk).mean(), rel=0.05)


def test_a_cut_past_the_end_goes_on_at_the_beginning() -> None:
    track = np.arange(10, dtype=np.float32)
    for seed in range(20):
        piece = degrade.cut(track, 25, seed)
        assert len(piece) == 25
        assert set(np.diff(piece) % 10) == {1.0}


def test_clipping_flattens_the_top_and_keeps_the_peak() -> None:
    tone = (0.5 * np.sin(np.arange(4_000) / 5)).astype(np.float32)
    clipped = degrade.clip(tone, 6.0)
    assert np.abs(clipped).max() == pytest.approx(np.abs(tone).max())
    assert (np.abs(clipped) > 0.499).mean() > 0.5 > (np.abs(tone) > 0.499).mean()


def test_the_codec_leaves_a_grain_of_some_37_db() -> None:
    speech = voice()
    grain = degrade.mu_law(speech) - speech
    snr_db = 10 * np.log10(np.square(speech).mean() / np.square(grain).mean())
    assert 30 < snr_db < 42


def test_a_band_limited_phone_loses_the_top_and_keeps_the_voice() -> None:
    white = np.random.default_rng(0).standard_normal(SAMPLE_RATE_HZ).astype(np.float32)
    narrow = degrade.band_limit(white, 3_400)
    assert share_of_power(narrow, 5_000, 8_000) < 0.01
    assert share_of_power(narrow, 300, 3_400) > 0.85


def test_the_budget_phone_is_duller_than_the_good_one() -> None:
    white = (0.1 * np.random.default_rng(0).standard_normal(SAMPLE_RATE_HZ)).astype(np.float32)
    top = {name: share_of_power(device(white), 5_500, 8_000) for name, device in degrade.DEVICES.items()}
    assert top["budget"] < 0.3 * top["wideband"]


def test_the_narrow_phone_passes_what_a_telephone_does() -> None:
    white = (0.1 * np.random.default_rng(0).standard_normal(SAMPLE_RATE_HZ)).astype(np.float32)
    narrow = degrade.DEVICES["narrow"](white)
    assert share_of_power(narrow, 300, 3_400) > 0.9 and share_of_power(narrow, 5_000, 8_000) < 0.01


def test_a_peak_is_where_it_is_put_and_silence_stays_silent() -> None:
    assert np.abs(degrade.to_peak(voice(), -6.0)).max() == pytest.approx(10 ** (-6 / 20), rel=1e-4)
    assert not degrade.to_peak(np.zeros(10, np.float32), -6.0).any()
