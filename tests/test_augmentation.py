import pytest
import torch

from workbench.augmentation import Augmentation, ColouredNoise, Silence, SpecAugment, Speed, Tilt

CLIP = torch.sin(torch.arange(16_000) * 0.1) * 0.5


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("change", [Speed(probability=1), ColouredNoise(probability=1), Tilt(probability=1), Silence()])
def test_the_same_chance_gives_the_same_clip_and_another_gives_another(change: Augmentation) -> None:
    assert torch.equal(change(CLIP, rng(1)), change(CLIP, rng(1)))
    other = change(CLIP, rng(2))
    assert other.shape != change(CLIP, rng(1)).shape or not torch.equal(other, change(CLIP, rng(1)))


@pytest.mark.parametrize("change", [Speed(probability=0), ColouredNoise(probability=0), Tilt(probability=0)])
def test_with_probability_zero_nothing_changes(change: Augmentation) -> None:
    assert torch.equal(change(CLIP, rng()), CLIP)


def test_a_faster_clip_is_shorter_by_the_factor() -> None:
    assert len(Speed(1.25, 1.25, probability=1)(CLIP, rng())) == pytest.approx(16_000 / 1.25, abs=2)


def test_noise_is_added_at_the_snr_asked_for() -> None:
    noisy = ColouredNoise(10, 10, probability=1)(CLIP, rng())
    snr_db = 10 * torch.log10(CLIP.square().sum() / (noisy - CLIP).square().sum())
    assert float(snr_db) == pytest.approx(10, abs=0.1)


def test_tilt_never_clips() -> None:
    loud = CLIP / CLIP.abs().max()
    assert all(float(Tilt(12, probability=1)(loud, rng(seed)).abs().max()) <= 1.0001 for seed in range(20))


def test_masks_hide_no_more_than_asked_and_leave_the_input_alone() -> None:
    mel = torch.rand(4, 80, 200) + 1
    before = mel.clone()
    masked = SpecAugment(n_frequency_masks=1, max_bins=8, n_time_masks=1, max_frames=10)(mel, rng())
    hidden = (masked != mel).float().mean(dim=(1, 2))
    assert torch.equal(mel, before)
    assert 0 < float(hidden.max()) <= 8 / 80 + 10 / 200


def test_stretching_changes_the_number_of_frames_and_keeps_it_even() -> None:
    lengths = {SpecAugment(max_stretch=0.2)(torch.rand(2, 80, 200), rng(seed)).shape[2] for seed in range(10)}
    assert len(lengths) > 1 and all(160 <= n <= 240 and n % 2 == 0 for n in lengths)


def test_warping_moves_a_band_by_no_more_than_asked() -> None:
    mel = torch.zeros(8, 80, 10)
    mel[:, 40] = 1
    peaks = SpecAugment(n_frequency_masks=0, n_time_masks=0, max_warp=0.1)(mel, rng())[:, :, 0].argmax(1)
    assert int(peaks.min()) >= 36 and int(peaks.max()) <= 45 and len(set(peaks.tolist())) > 1
