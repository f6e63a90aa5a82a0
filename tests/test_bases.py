"""What a model is watched against: measured once, kept whole, read without a model, no single user's words in it."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests import watched
from workbench import audio, bases, degrade, expected_wer, model_registry, monitoring, terms
from workbench.audio import Samples
from workbench.blocks import UNKNOWN_SPEAKER
from workbench.errors import RegistryError
from workbench.records import Hypothesis

TRAIN = pd.DataFrame({
    "text": ["play adele", "play lizzo", "play lizzo", "play lizzo", "call grandma ada"],
    "source": ["demo", *["production"] * 4], "speaker": ["s1", "u1", "u2", "u3", "u1"]})


def test_a_basis_comes_back_as_it_was_released(root: Path) -> None:
    made, version = watched.basis(), watched.release(root, "weights")
    back = bases.load(version.version, ["lizzo"])
    pd.testing.assert_frame_equal(back.rows, made.rows)
    assert back.known == made.known and back.catalogue == ["lizzo"] and back.gap_limit == made.gap_limit
    assert back.calibration.as_dict() == made.calibration.as_dict()


def test_the_same_basis_again_is_the_same_version(root: Path) -> None:
    assert watched.release(root, "weights").version == watched.release(root, "weights").version == "1"


def test_a_version_without_a_basis_says_what_to_run(root: Path) -> None:
    watched.release(root, "weights", has_basis=False)
    with pytest.raises(RegistryError, match="without a basis.*with ten or more.*run deploy --force --run mine"):
        bases.load("1")


def test_of_production_a_phrase_is_known_when_three_users_said_it() -> None:
    known = bases.known_phrases(TRAIN)
    assert {"play adele", "lizzo", "play lizzo"} <= known
    assert not {"grandma", "call grandma ada"} & known
    assert {"grandma", "ada"} <= bases.known_phrases(TRAIN, min_users=1)


def test_measuring_writes_what_the_engine_heard_beside_what_the_sound_is(tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.wav" for i in range(40)]
    for i, path in enumerate(paths):
        audio.write(path, 0.1 * np.random.default_rng(i).standard_normal(16_000).astype(np.float32))
    said = pd.DataFrame({"utterance_id": [f"u{i}" for i in range(40)], "speaker": [f"s{i % 8}" for i in range(40)],
                         "text": "play adele", "reference": "play adele", "audio_path": [str(p) for p in paths],
                         "duration_s": 1.0})
    heard = pd.DataFrame({"hypothesis": ["play adele", "play blur"] * 20, "heard_letters": "plai adel", "ctc_gap": 0.1,
                          "avg_logprob": [-0.1, -0.9] * 20, "no_speech_prob": 0.0, "compression_ratio": 0.8})
    made = bases.measure(said, heard, weights=np.ones(40), known=terms.phrases(said["text"]))
    assert made.rows["user_hash"].tolist() == said["speaker"].tolist() and made.rows["weight"].eq(1).all()
    assert made.rows["duration_s"].eq(1).all() and made.rows["bandwidth_hz"].notna().all()
    sure, unsure = made.calibration.errors(made.rows.head(2))
    assert sure == pytest.approx(0, abs=0.05) and unsure == pytest.approx(1, abs=0.05)
    assert len(monitoring.with_features(made.rows, made.known, made.gap_limit)) == 40


def test_of_unknown_speakers_each_utterance_is_somebody_elses_and_a_worse_copy_its_own() -> None:
    n = 60
    said = pd.DataFrame({"utterance_id": [f"u{i}" for i in range(n)], "speaker": UNKNOWN_SPEAKER,
                         "text": "play adele", "reference": "play adele", "duration_s": 1.0})
    rows = pd.DataFrame({"hypothesis": ["play adele", "play blur"] * 30,
                         **dict.fromkeys(expected_wer.SOUND, np.linspace(1, 2, n)),
                         **dict.fromkeys(expected_wer.DOUBT, 0.5)})
    scored = bases._scored(said, rows)
    assert scored["speaker"].tolist() == bases._people(said).tolist() == said["utterance_id"].tolist()
    assert len(expected_wer.calibrate(scored).fits["errors"]) == 1 + expected_wer.N_GROUPS


def test_worse_copies_are_heard_by_the_engine_and_teach_beside_the_originals(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng, paths = np.random.default_rng(0), [tmp_path / f"{i}.wav" for i in range(30)]
    for path in paths:
        audio.write(path, degrade.band_limit(0.3 * rng.standard_normal(16_000).astype(np.float32), 7_000))
    audio.write(paths[-1], np.zeros(16_000, np.float32))
    said = pd.DataFrame({"utterance_id": [f"u{i}" for i in range(30)], "speaker": [f"s{i % 10}" for i in range(30)],
                         "text": "play adele", "reference": "play adele", "audio_path": [str(p) for p in paths],
                         "duration_s": 1.0})

    def transcribe(clips: Sequence[Samples]) -> list[Hypothesis]:
        widths = [audio.estimate_bandwidth_hz(clip) for clip in clips]
        return [Hypothesis("play adele" if width > 6_500 else "play a", -width / 1e4, 0.0, 0.8) for width in widths]

    worse = bases.worsened(said, transcribe, seed=0)
    assert worse["request_id"].tolist() == said["utterance_id"].tolist()
    assert 0.2 < worse["bandwidth_hz"].lt(6_500).mean() < 0.9  # some go over a narrower phone, some do not
    monkeypatch.setattr(bases, "CLIPS_AT_A_TIME", 7)
    n_clips: list[int] = []

    def counting(clips: Sequence[Samples]) -> list[Hypothesis]:
        n_clips.append(len(clips))
        return transcribe(clips)

    pd.testing.assert_frame_equal(worse, bases.worsened(said, counting, seed=0))
    assert n_clips == [7, 7, 7, 7, 2]
    heard = pd.DataFrame({name: "play adele" if name == "hypothesis" else worse[name] for name in bases.HEARD})
    alone, taught = (bases.measure(said, heard, weights=np.ones(30), known=set(), worse=more) for more in (None, worse))
    assert alone.calibration.errors(worse).sum() < 0.1 * taught.calibration.errors(worse).sum()
    assert taught.rows.equals(alone.rows)


def test_watching_loads_no_model() -> None:
    code = ("import sys, workbench.watching, workbench.monitoring_page; "
            "print([name for name in ('torch', 'whisper') if name in sys.modules])")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_registry_keeps_the_basis_with_the_other_files(root: Path) -> None:
    folder = watched.release(root, "weights").folder / model_registry.BASIS
    assert sorted(path.name for path in folder.iterdir()) == ["calibration.json", "known.parquet", "rows.parquet"]
