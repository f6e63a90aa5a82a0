"""Texts that few people read, read by many synthesized voices: what a model of few speakers learns voices from.

With four speakers of digits the fifth was heard at 48 % WER, with as many steps and these voices at 28 %.
Source: Rosenberg et al., "Speech recognition with augmented synthesized speech", ASRU 2019.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from workbench import audio, datasets, degrade, demo_world, progress, storage, synthesis

PITCHES, SPEEDS_WPM = (15, 85), (120, 230)
"""espeak-ng's pitch and words a minute: wider than people's of the demo world, for single words are said either way."""

LOW_HZ, MAX_BANDWIDTH_HZ = 60.0, 7_000.0
N_MEASURED = 100
"""Clips of the corpus whose bandwidth is measured; the voices get the median."""

CLIPS_A_TASK = 200


def voices(train: pd.DataFrame, per_clip: float, *, seed: int) -> pd.DataFrame:
    """Let synthesized voices read texts of a training set, `per_clip` clips for each of it, in the corpus's bandwidth.

    Returns: utterances with the columns that training needs, none for 0; the same for the same texts and seed.
    Raises: SynthesisError when espeak-ng is not installed.
    """
    n = round(per_clip * len(train))
    if n == 0:
        return train.head(0)
    rng, speakers = np.random.default_rng(seed), demo_world.world(0).speakers
    spoken = train["text"].where(train["reference"].ne("")).dropna()
    who = rng.integers(len(speakers), size=n)
    plan = pd.DataFrame({
        "utterance_id": [f"aloud-{seed}-{i:05d}" for i in range(n)], "text": rng.choice(spoken.to_numpy(object), n),
        "speaker": [f"voice {speakers[i].voice}" for i in who], "voice": [speakers[i].voice for i in who],
        "pitch": rng.integers(*PITCHES, size=n), "speed": rng.integers(*SPEEDS_WPM, size=n),
        "high_hz": _bandwidth_hz(train), "seed": rng.integers(2**31, size=n), "noise_id": np.arange(n) // CLIPS_A_TASK})
    with progress.Bar("voices read aloud", total=n) as bar:
        made = synthesis.render(plan, make=clip, progress=bar.advance)
    rows = datasets.store_rows(made.drop(columns=["voice", "pitch", "speed", "high_hz", "seed", "noise_id"]))
    return rows.assign(split="train", source="read aloud",
                       audio_path=[str(storage.data_folder() / path) for path in rows["audio_path"]])


def clip(row: Mapping[str, Any]) -> audio.Samples:
    """Make one recording: the voice alone, as loud as phones are held near or far."""
    speech = synthesis.speak(row["text"], row["voice"], pitch=row["pitch"], speed=row["speed"], seed=row["seed"])
    level = np.random.default_rng(row["seed"]).uniform(*synthesis.PEAK_DBFS)
    return degrade.to_peak(degrade.band_limit(speech, row["high_hz"], LOW_HZ), level)


def _bandwidth_hz(train: pd.DataFrame) -> float:
    some = train["audio_path"].sample(min(N_MEASURED, len(train)), random_state=0)
    return min(float(np.median([audio.estimate_bandwidth_hz(audio.read(path)) for path in some])), MAX_BANDWIDTH_HZ)
