"""What a released model is watched against, kept beside it: `basis/` in its version's folder of the registry.

It is measured once, where the engine is exported; monitor and the dashboard read it without loading a model. No words
of production lie in it but those that several users said.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from workbench import audio, expected_wer, model_registry, scoring, storage, terms
from workbench.consent import PRODUCTION
from workbench.datasets import Dataset
from workbench.errors import RegistryError
from workbench.expected_wer import Calibration
from workbench.monitoring import Basis

ROWS, KNOWN, CURVES = "rows.parquet", "known.parquet", "curves.parquet"


def open_data(speech: Dataset) -> pd.DataFrame:
    """Give what may be looked at and was not learned from: dev and valid."""
    return pd.concat([speech.dev, speech.valid], ignore_index=True)


def as_log(utterances: pd.DataFrame, heard: pd.DataFrame) -> pd.DataFrame:
    """Write utterances of a dataset as the log would have them, so that dev can stand for production at first.

    `heard` holds the fields of `Hypothesis` in the order of `utterances`; sound is measured as the service does.
    """
    clips = [audio.read(path) for path in utterances["audio_path"]]
    return pd.DataFrame({
        "request_id": utterances["utterance_id"].to_numpy(), "user_hash": utterances["speaker"].to_numpy(),
        "time_s": np.nan, "role": "champion", "error": "", "duration_s": [audio.duration_s(clip) for clip in clips],
        "level_dbfs": [audio.level_dbfs(clip) for clip in clips],
        "snr_db": [audio.estimate_snr_db(clip) for clip in clips],
        "bandwidth_hz": [audio.estimate_bandwidth_hz(clip) for clip in clips],
        **{name: heard[name].to_numpy() for name in ("hypothesis", "heard_letters", "ctc_gap", "avg_logprob",
                                                     "no_speech_prob", "compression_ratio")}})


def measure(utterances: pd.DataFrame, heard: pd.DataFrame, *, weights: np.ndarray, known: Collection[str]) -> Basis:
    """Make a basis of open speech (`open_data`) as the serving engine heard it.

    `heard` holds the fields of `Hypothesis` in the order of `utterances`; `known` the phrases that the model may mean.
    """
    scored = scoring.score(utterances.assign(avg_logprob=heard["avg_logprob"]), heard["hypothesis"].tolist())
    rows = as_log(utterances, heard).assign(weight=weights)
    return Basis(rows, known, expected_wer.calibrate(scored))


def known_phrases(train: pd.DataFrame, *, min_users: int = 3) -> set[str]:
    """List the phrases that a model learned: of production's only those that several users said.

    `train` holds text, source and speaker.
    """
    is_theirs = train["source"].eq(PRODUCTION)
    found = [pd.Series(sorted(terms.phrases(part)), dtype=object)
             for _, part in train[is_theirs].groupby("speaker")["text"]]
    counts = pd.concat(found).value_counts() if found else pd.Series(dtype=int)
    return terms.phrases(train.loc[~is_theirs, "text"]) | set(counts.index[counts.ge(min_users)])


def save(basis: Basis, folder: Path) -> Path:
    """Write a basis into a folder, for `model_registry.register`. Returns: the folder."""
    curves = [pd.DataFrame({"curve": number, "avg_logprob": x, "rate": y})
              for number, (x, y) in enumerate(basis.calibration.curves)]
    storage.write_table(folder / ROWS, basis.rows)
    storage.write_table(folder / KNOWN, pd.DataFrame({"phrase": sorted(basis.known)}, dtype=object))
    storage.write_table(folder / CURVES, pd.concat(curves).assign(words_per_s=basis.calibration.words_per_s))
    return folder


def load(version: str, catalogue: Sequence[str] = (), typed: pd.DataFrame | None = None) -> Basis:
    """Read the basis of a released version; `catalogue` holds names that people may ask for, `typed` what they typed.

    Raises: RegistryError when there is no such version, or it was released without a basis.
    """
    released = model_registry.resolve(version)
    folder = released.folder / model_registry.BASIS
    if not all((folder / name).is_file() for name in (ROWS, KNOWN, CURVES)):
        raise RegistryError(f"version {released.version} was released without a basis to watch it against, as with "
                            "speech of fewer than ten speakers, or by an older workbench; release it again: "
                            "workbench run deploy --force")
    return replace(_read(folder), catalogue=catalogue, typed=typed)


def _read(folder: Path) -> Basis:
    table = pd.read_parquet(folder / CURVES)
    curves = tuple((part["avg_logprob"].to_numpy(), part["rate"].to_numpy()) for _, part in table.groupby("curve"))
    known = set(pd.read_parquet(folder / KNOWN)["phrase"])
    return Basis(pd.read_parquet(folder / ROWS), known, Calibration(curves, float(table["words_per_s"].iloc[0])))
