"""Manifests of invented recordings."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench import audio

Row = dict[str, Any]


def clip(seed: int, seconds: float = 0.5, amplitude: float = 0.1) -> audio.Samples:
    return (np.random.default_rng(seed).normal(size=round(seconds * 16_000)) * amplitude).astype(np.float32)


def rows(n_speakers: int = 20) -> list[Row]:
    return [{"utterance_id": f"u{i:02d}", "audio_path": f"{i:02d}.wav", "text": f"play song {'abcdefghij'[i % 10]}",
             "speaker": f"s{i % n_speakers}", "noise": "car" if i % 2 else "quiet"} for i in range(40)]


def manifest(folder: Path, listed: list[Row], name: str = "manifest.csv") -> str:
    pd.DataFrame(listed).to_csv(folder / name, index=False)
    return str(folder / name)
