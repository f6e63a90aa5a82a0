"""Noise of MUSAN and DEMAND: each recording is in one split, and a training hears only its own."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from tests import miniature_corpora
from workbench import audio, datasets, noise_recordings
from workbench.augmentation import RecordedNoise, Silence
from workbench.errors import ManifestError
from workbench.recipes import Recipe

CLIP = torch.sin(torch.arange(16_000) * 0.1) * 0.5


@dataclass(frozen=True)
class Within:
    """An augmentation of a recipe's own that uses others."""

    parts: tuple[RecordedNoise, ...]

    def __call__(self, waveform: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        for part in self.parts:
            waveform = part(waveform, rng)
        return waveform


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def musan(root: Path) -> Path:
    """Make a MUSAN whose recordings are tones, each of a pitch of its own."""
    place = miniature_corpora.musan(root, n=40)
    for number, path in enumerate(sorted((place / "noise").rglob("*.wav"))):
        audio.write(path, tone(number, 0.3 + 0.05 * number))
    return place


def tone(number: int, seconds: float) -> audio.Samples:
    return (0.1 * np.sin(2 * np.pi * pitch_hz(number) * np.arange(round(seconds * 16_000)) / 16_000)).astype(np.float32)


def pitch_hz(number: int) -> int:
    return 1000 + 100 * number


def heard_hz(noise: torch.Tensor) -> int:
    spectrum = torch.fft.rfft(noise).abs()
    return 100 * round(float(spectrum.argmax()) * 16_000 / len(noise) / 100)


# --- the table -------------------------------------------------------------------------------------------------------


def test_musan_is_its_noise_alone_and_every_recording_has_one_split(musan: Path) -> None:
    found = noise_recordings.table(f"musan:{musan}")
    assert len(found) == 40 and set(found["noise"]) == {"free-sound", "sound-bible"}
    assert set(found["split"]) <= set(datasets.SPLITS) and found["split"].eq("train").sum() > 10
    assert found["recording"].is_unique and "noise-free-sound-0000" in set(found["recording"])
    few = noise_recordings.listed("musan", miniature_corpora.musan(musan.parent / "few", n=20))
    both = few.merge(found, on="recording", suffixes=("", "_of_all"))
    assert len(both) == 20 and (both["split"] == both["split_of_all"]).all(), "whoever else there is"


def test_all_channels_of_a_place_of_demand_are_one_recording(root: Path) -> None:
    found = noise_recordings.listed("demand", miniature_corpora.demand(root))
    assert len(found) == 6 * 16 and found["recording"].nunique() == 6
    assert found.groupby("recording")["split"].nunique().eq(1).all() and "kitchen" in set(found["noise"])


def test_zips_of_demand_and_a_tarball_of_musan_are_the_same_as_their_folders(root: Path, musan: Path) -> None:
    places = ("DKITCHEN", "TCAR")
    folder = miniature_corpora.demand(root / "a", places)
    zips = miniature_corpora.demand(root / "b", places, is_zipped=True)
    packed = miniature_corpora.tarball(musan, root / "musan.tar.gz")
    for name, one, other in (("demand", folder, zips), ("musan", musan, packed)):
        named = [noise_recordings.fingerprint(noise_recordings.listed(name, place)) for place in (one, other)]
        assert named[0] == named[1]
    assert noise_recordings.listed("demand", zips / "TCAR_16k.zip")["recording"].unique().tolist() == ["TCAR"]


def test_what_names_no_noise_says_what_does(root: Path) -> None:
    for source in ("librispeech:/data", "/data/musan", "demo"):
        with pytest.raises(ManifestError, match="names no recordings of noise; give musan:FOLDER, demand:FOLDER"):
            noise_recordings.table(source)
    with pytest.raises(ManifestError, match="musan:s3://team/musan: noise is read from a folder; copy it to this"):
        noise_recordings.table("musan:s3://team/musan")
    with pytest.raises(ManifestError, match="not MUSAN: it is no folder; give the folder musan"):
        noise_recordings.table("musan:/nowhere")


# --- what a training hears -------------------------------------------------------------------------------------------


def test_only_recordings_of_the_training_split_are_ever_heard_and_all_of_them(musan: Path) -> None:
    found = noise_recordings.table(f"musan:{musan}")
    pitches = {path: pitch_hz(number) for number, path in enumerate(sorted(found["audio_path"]))}
    mine = {pitches[path] for path in found.loc[found["split"] == "train", "audio_path"]}
    change = RecordedNoise(f"musan:{musan}", 0, 0, probability=1)
    silent_enough = torch.full((16_000,), 0.1)  # a constant has no pitch
    heard = {heard_hz(change(silent_enough, rng(seed)) - silent_enough) for seed in range(400)}
    assert heard == mine


def test_it_is_added_at_the_snr_asked_for_whatever_the_recordings_length(musan: Path) -> None:
    change = RecordedNoise(f"musan:{musan}", 10, 10, probability=1)
    for n_samples in (800, 16_000, 80_000):  # shorter than any recording, and longer than all
        clip = torch.sin(torch.arange(n_samples) * 0.1) * 0.5
        noisy = change(clip, rng(n_samples))
        snr_db = 10 * torch.log10(clip.square().sum() / (noisy - clip).square().sum())
        assert noisy.shape == clip.shape and float(snr_db) == pytest.approx(10, abs=0.1)
        assert (noisy - clip).reshape(-1, 100).abs().amax(dim=1).min() > 0, "a short recording goes round"


def test_the_same_chance_gives_the_same_clip_and_none_leaves_it_alone(musan: Path) -> None:
    change = RecordedNoise(f"musan:{musan}", probability=1)
    assert torch.equal(change(CLIP, rng(1)), change(CLIP, rng(1)))
    assert not torch.equal(change(CLIP, rng(1)), change(CLIP, rng(2)))
    assert torch.equal(RecordedNoise(f"musan:{musan}", probability=0)(CLIP, rng()), CLIP)
    shares = [not torch.equal(RecordedNoise(f"musan:{musan}", probability=.5)(CLIP, rng(s)), CLIP) for s in range(100)]
    assert 35 <= sum(shares) <= 65


def test_a_recording_of_another_rate_is_brought_to_ours(root: Path) -> None:
    import soundfile

    place = miniature_corpora.demand(root, ("DKITCHEN",))
    for path in place.rglob("*.wav"):
        soundfile.write(path, 0.1 * np.sin(2 * np.pi * 3000 * np.arange(48_000) / 48_000), 48_000)
    noise = audio.read_piece(next(place.rglob("*.wav")), 0.25, 0.5)
    assert len(noise) == 8_000 and heard_hz(torch.from_numpy(noise)) == 3000
    assert audio.recorded_s(next(place.rglob("*.wav"))) == 1.0


def test_noise_that_is_silence_leaves_the_clip_as_it_is(root: Path) -> None:
    place = miniature_corpora.musan(root, n=10)
    for path in (place / "noise").rglob("*.wav"):
        audio.write(path, np.zeros(8_000, np.float32))
    assert torch.equal(RecordedNoise(f"musan:{place}", probability=1)(CLIP, rng()), CLIP)


def test_a_fit_is_known_by_the_recordings_and_not_by_where_they_lie(root: Path, musan: Path) -> None:
    def key(place: Path, *more: float) -> str:
        return Recipe(augmentations=(RecordedNoise(f"musan:{place}", *more), Silence())).fit_key()

    moved, fewer, other = (root / name / "musan" for name in ("moved", "fewer", "other"))
    for place in (moved, fewer, other):
        shutil.copytree(musan, place)
    next((fewer / "noise").rglob("*.wav")).unlink()
    louder = next((other / "noise").rglob("*.wav"))
    audio.write(louder, 2 * audio.read(louder))  # as long as it was
    assert key(musan) == key(moved) and len({key(place) for place in (musan, fewer, other)}) == 3
    assert key(musan) != key(musan, 0.0)
    summary = str(Recipe(augmentations=(RecordedNoise(f"musan:{musan}"),)).summary()["augmentations"])
    assert str(root) not in summary and summary.startswith("['RecordedNoise(musan ")


def test_a_recipe_says_what_the_noise_that_it_hears_asks_of_its_users(root: Path, musan: Path) -> None:
    kitchen = miniature_corpora.demand(root, ("DKITCHEN",))
    both = Recipe(augmentations=(RecordedNoise(f"musan:{musan}"), Silence(), RecordedNoise(f"DEMAND:{kitchen}"),
                                 RecordedNoise(f"demand:{kitchen}", 0, 5)))
    told = both.summary()["noise_recordings"]
    assert len(told) == 2
    assert "MUSAN" in told[0] and "CC BY 4.0" in told[0] and "arXiv 1510.08484" in told[0]
    assert told[1].startswith("DEMAND: CC BY-SA 3.0; J. Thiemann, N. Ito, E. Vincent") and "zenodo.org" in told[1]
    assert Recipe(augmentations=(Within((RecordedNoise(f"musan:{musan}"),)),)).summary()["noise_recordings"] == told[:1]
    elsewhere = RecordedNoise("demand:/nowhere")  # read where they are absent, it still names them
    assert Recipe(augmentations=(elsewhere,)).summary()["noise_recordings"] == told[1:]
    assert "noise_recordings" not in Recipe(augmentations=(Silence(), RecordedNoise("librispeech:/x"))).summary()


def test_a_recipe_can_be_read_where_the_recordings_are_absent_but_nothing_trained(root: Path) -> None:
    change = RecordedNoise("musan:/nowhere/musan", probability=1)
    assert "absent" in repr(change) and hash(change) == hash(RecordedNoise("musan:/nowhere/musan", probability=1))
    with pytest.raises(ManifestError, match="/nowhere/musan is not MUSAN"):
        change(CLIP, rng())


def test_recordings_of_which_none_is_for_training_are_refused(root: Path) -> None:
    splits = {name: split for name, split in datasets.assign_splits(
        noise_recordings.DEMAND_PLACES, noise_recordings.SALT).items() if split != "train"}
    place = miniature_corpora.demand(root, (next(iter(sorted(splits))),))
    with pytest.raises(ManifestError, match="none of the 16 recordings of demand:.* is for training"):
        RecordedNoise(f"demand:{place}", probability=1)(CLIP, rng())
    (place / "broken").mkdir()
    (place / "broken" / "ch01.wav").write_text("no sound")
    with pytest.raises(Exception, match="ch01.wav cannot be read as audio"):
        audio.recorded_s(place / "broken" / "ch01.wav")
