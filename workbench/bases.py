"""What a released model is watched against, kept beside it: `basis/` in its version's folder of the registry.

It is measured once, where the engine is exported; monitor and the dashboard read it without loading a model. No words
of production lie in it but those that several users said.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd

from workbench import audio, blocks, degrade, expected_wer, model_registry, scoring, storage, terms
from workbench.audio import Samples
from workbench.consent import PRODUCTION
from workbench.datasets import Dataset
from workbench.errors import RegistryError
from workbench.monitoring import Basis
from workbench.records import Hypothesis

ROWS, KNOWN, CALIBRATION = "rows.parquet", "known.parquet", "calibration.json"
HEARD = ("hypothesis", "heard_letters", "ctc_gap", "avg_logprob", "no_speech_prob", "compression_ratio")
MEASURED: Mapping[str, Callable[[Samples], float]] = {
    "duration_s": audio.duration_s, "level_dbfs": audio.level_dbfs, "snr_db": audio.estimate_snr_db,
    "bandwidth_hz": audio.estimate_bandwidth_hz}
"""What the service measures of a query's sound."""
CLIPS_AT_A_TIME = 256
"""Eight batches of clips, some fifty megabytes: memory does not grow with the set."""
PLACES = ("home", "street", "car")
WORSE_SNR_DB, WORSE_BAND_HZ, WORSE_LOW_HZ = (-5.0, 20.0), (2_500.0, 6_000.0), 300.0
"""What calibration copies go through: from a loud car to a lively home, and phones from less than a telephone's
channel (300 to 3,400 Hz, ITU-T G.712) to a cheap one's."""


def open_data(speech: Dataset) -> pd.DataFrame:
    """Give what may be looked at and was not learned from: dev and valid."""
    return pd.concat([speech.dev, speech.valid], ignore_index=True)


def as_log(utterances: pd.DataFrame, heard: pd.DataFrame) -> pd.DataFrame:
    """Write utterances of a dataset as the log would have them, so that dev can stand for production at first.

    `heard` holds the fields of `Hypothesis` in the order of `utterances`; sound is measured as the service does.
    """
    return _as_log(utterances, [_measured(audio.read(path)) for path in utterances["audio_path"]], heard)


def _measured(clip: Samples) -> tuple[float, ...]:
    """Measure a clip, so that it need not be held. Returns: numbers in the order of MEASURED."""
    return tuple(how(clip) for how in MEASURED.values())


def _as_log(utterances: pd.DataFrame, measured: Sequence[tuple[float, ...]], heard: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({
        "request_id": utterances["utterance_id"].to_numpy(), "user_hash": _people(utterances).to_numpy(),
        "time_s": np.nan, "role": "champion", "error": "",
        **{name: [numbers[i] for numbers in measured] for i, name in enumerate(MEASURED)},
        **{name: heard[name].to_numpy() for name in HEARD}})


def _people(utterances: pd.DataFrame) -> "pd.Series[str]":
    """Name who spoke; where nobody knows, an utterance stands for itself, and so does its copy with it."""
    return utterances["speaker"].mask(blocks.is_unknown(utterances["speaker"]), utterances["utterance_id"])


def worsened(utterances: pd.DataFrame, transcribe: Callable[[Sequence[Samples]], Sequence[Hypothesis]], *,
             seed: int) -> pd.DataFrame:
    """Let the serving engine hear a worse copy of each utterance: in a louder place, over a narrower phone, or both.

    `transcribe` is the engine's. They teach what a doubt means where production may go, and cost as much time as
    hearing the utterances themselves. Returns: the rows that the log would have of them.
    """
    rng, answers, measured = np.random.default_rng(seed), list[Hypothesis](), list[tuple[float, ...]]()
    for start in range(0, len(utterances), CLIPS_AT_A_TIME):
        paths = utterances["audio_path"].iloc[start : start + CLIPS_AT_A_TIME]
        clips = [_worse(audio.read(path), rng) for path in paths]
        answers += transcribe(clips)
        measured += map(_measured, clips)
    heard = pd.DataFrame([asdict(answer) for answer in answers]).rename(columns={"text": "hypothesis"})
    return _as_log(utterances, measured, heard)


def _worse(clip: Samples, rng: np.random.Generator) -> Samples:
    way, place, noise_seed = rng.choice(["noise", "band", "both"]), str(rng.choice(PLACES)), int(rng.integers(2**31))
    snr_db, high_hz = rng.uniform(*WORSE_SNR_DB), rng.uniform(*WORSE_BAND_HZ)
    if way != "band" and degrade.active_power(clip) > 0:
        noisy = degrade.mix(clip, degrade.noise(place, len(clip), noise_seed), snr_db)
        clip = degrade.to_peak(noisy, 20 * np.log10(audio.peak(clip)))
    return clip if way == "noise" else degrade.mu_law(degrade.band_limit(clip, high_hz, WORSE_LOW_HZ))


def measure(utterances: pd.DataFrame, heard: pd.DataFrame, *, weights: np.ndarray, known: Collection[str],
            worse: pd.DataFrame | None = None) -> Basis:
    """Make a basis of open speech (`open_data`) as the serving engine heard it.

    `heard` holds the fields of `Hypothesis` in the order of `utterances`; `known` the phrases that the model may mean;
    `worse` is what `worsened` gives of the same utterances, which confidence is calibrated on too.
    """
    rows = as_log(utterances, heard).assign(weight=weights)
    copies = [] if worse is None else [_scored(utterances, worse).assign(is_copy=True)]
    scored = pd.concat([_scored(utterances, rows).assign(is_copy=False), *copies], ignore_index=True)
    return Basis(rows, known, expected_wer.calibrate(scored))


def _scored(utterances: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Count the errors of utterances as they were heard, beside what the log has of them."""
    seen = {name: rows[name].to_numpy() for name in (*expected_wer.SOUND, *expected_wer.DOUBT)}
    return scoring.score(utterances.assign(speaker=_people(utterances), **seen), rows["hypothesis"].tolist())


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
    storage.write_table(folder / ROWS, basis.rows)
    storage.write_table(folder / KNOWN, pd.DataFrame({"phrase": sorted(basis.known)}, dtype=object))
    storage.write_json(folder / CALIBRATION, basis.calibration.as_dict())
    return folder


def load(version: str, catalogue: Sequence[str] = (), typed: pd.DataFrame | None = None) -> Basis:
    """Read the basis of a released version; `catalogue` holds names that people may ask for, `typed` what they typed.

    Raises: RegistryError when there is no such version, or it was released without a basis.
    """
    released = model_registry.resolve(version)
    folder = released.folder / model_registry.BASIS
    if not all((folder / name).is_file() for name in (ROWS, KNOWN, CALIBRATION)):
        raise RegistryError(f"version {released.version} was released without a basis to watch it against, as with "
                            "speech of fewer than ten speakers, or by an older workbench; with ten or more, release "
                            f"it again: workbench run deploy --force --run {released.tags.get('run', 'RUN')}")
    return replace(_read(folder), catalogue=catalogue, typed=typed)


def _read(folder: Path) -> Basis:
    known = set(pd.read_parquet(folder / KNOWN)["phrase"])
    calibration = expected_wer.read_calibration(json.loads((folder / CALIBRATION).read_text(encoding="utf-8")))
    return Basis(pd.read_parquet(folder / ROWS), known, calibration)
