"""Synthesized voices that read the texts of few people."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from workbench import audio, datasets, degrade, read_aloud, text


@pytest.fixture
def digits(root: Path) -> pd.DataFrame:
    """Six clips by two people on the telephone, one of them silent."""
    rng = np.random.default_rng(0)
    rows = [{"utterance_id": f"u{i}", "text": said, "speaker": f"p{i % 2}", "source": "digits", "split": "train",
             "samples": degrade.band_limit((0.1 * rng.standard_normal(16_000)).astype("float32"), 3_400.0)}
            for i, said in enumerate(["one", "two", "three", "four", "five", ""])]
    table = datasets.store_rows(pd.DataFrame(rows))
    return table.assign(reference=table["text"].map(text.normalize),
                        audio_path=[str(root / "data" / path) for path in table["audio_path"]])


def test_many_voices_read_the_texts_in_the_bandwidth_of_the_corpus(digits: pd.DataFrame) -> None:
    aloud = read_aloud.voices(digits, 2.0, seed=1)
    assert len(aloud) == 12 and aloud["speaker"].nunique() > 6 and not set(aloud["speaker"]) & set(digits["speaker"])
    assert set(aloud["reference"]) <= {"one", "two", "three", "four", "five"} and aloud["split"].eq("train").all()
    clips = [audio.read(path) for path in aloud["audio_path"]]
    told_hz = np.median([audio.estimate_bandwidth_hz(clip) for clip in clips])
    assert told_hz < 5_000, "a telephone's corpus gets telephone voices"
    assert all(0.1 < audio.duration_s(clip) < 2.0 and -60 < audio.level_dbfs(clip) < -3 for clip in clips)


def test_the_same_texts_and_seed_give_the_same_clips(digits: pd.DataFrame) -> None:
    first, again, other = (read_aloud.voices(digits, 1.0, seed=seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first, again)
    assert set(first["audio_sha"]) != set(other["audio_sha"])


def test_nobody_reads_where_nobody_is_asked_to(digits: pd.DataFrame) -> None:
    none = read_aloud.voices(digits, 0.0, seed=1)
    assert none.empty and list(none) == list(digits)
