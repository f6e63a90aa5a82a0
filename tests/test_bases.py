"""What a model is watched against: measured once, kept whole, read without a model, no single user's words in it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests import watched
from workbench import audio, bases, model_registry, monitoring, terms
from workbench.errors import RegistryError

TRAIN = pd.DataFrame({
    "text": ["play adele", "play lizzo", "play lizzo", "play lizzo", "call grandma ada"],
    "source": ["demo", *["production"] * 4], "speaker": ["s1", "u1", "u2", "u3", "u1"]})


def test_a_basis_comes_back_as_it_was_released(root: Path) -> None:
    made, version = watched.basis(), watched.release(root, "weights")
    back = bases.load(version.version, ["lizzo"])
    pd.testing.assert_frame_equal(back.rows, made.rows)
    assert back.known == made.known and back.catalogue == ["lizzo"] and back.gap_limit == made.gap_limit
    assert back.calibration.words_per_s == made.calibration.words_per_s
    for theirs, ours in zip(back.calibration.curves, made.calibration.curves, strict=True):
        np.testing.assert_array_equal(theirs[0], ours[0])
        np.testing.assert_array_equal(theirs[1], ours[1])


def test_the_same_basis_again_is_the_same_version(root: Path) -> None:
    assert watched.release(root, "weights").version == watched.release(root, "weights").version == "1"


def test_a_version_without_a_basis_says_what_to_run(root: Path) -> None:
    watched.release(root, "weights", has_basis=False)
    with pytest.raises(RegistryError, match="version 1 was released without a basis.*workbench run deploy"):
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
    assert sure == pytest.approx(0) and unsure == pytest.approx(1)
    assert len(monitoring.with_features(made.rows, made.known, made.gap_limit)) == 40


def test_watching_loads_no_model() -> None:
    code = ("import sys, workbench.watching, workbench.monitoring_page; "
            "print([name for name in ('torch', 'whisper') if name in sys.modules])")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_registry_keeps_the_basis_with_the_other_files(root: Path) -> None:
    folder = watched.release(root, "weights").folder / model_registry.BASIS
    assert sorted(path.name for path in folder.iterdir()) == ["curves.parquet", "known.parquet", "rows.parquet"]
