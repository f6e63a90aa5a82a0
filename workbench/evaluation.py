"""Any checkpoint on any manifest: what `workbench evaluate` measures."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench import audio, blocks, corpora, finding, progress, recognizers, scoring, slicing
from workbench.errors import ManifestError

BATCH = 256
"""Recordings read at a time, so that memory does not grow with the manifest."""


def evaluate(model: str, manifest: str | Path, *, by: str = "", audio_root: str | Path | None = None) -> pd.DataFrame:
    """Decode a manifest's recordings as they are and score them, overall and by the values of a column.

    Returns: slice, n_utterances, n_speakers, n_words, then what `scoring.summary` gives (wer, cer, query_accuracy,
        same_result, ...), each with _low and _high (fractions, 95 %), note; the first row is for all, and says in
        left_out which rows of the manifest could not be scored, and why.
    Raises: ManifestError for a manifest or column, CheckpointError for a model, that cannot be used.
    """
    found = corpora.check(str(manifest), audio_root=audio_root, keeping="nothing", progress=progress.track)
    utterances = found.good
    if by and by not in utterances:
        raise ManifestError(f"{manifest} has no column {by!r}; it has {', '.join(map(str, utterances.columns))}")
    recognizer = recognizers.load(model)
    heard: list[str] = []
    for start in progress.track(range(0, len(utterances), BATCH), "decoding"):
        paths = utterances["audio_path"].iloc[start : start + BATCH]
        heard += [hypothesis.text for hypothesis in recognizer.transcribe([audio.read(path) for path in paths])]
    scores = finding.with_results(slicing.bands(scoring.score(utterances, heard)))
    of = utterances[by].to_numpy() if by else None  # the manifest's own, though the scores may have a `wer` too
    groups = [("all", scores)] + ([(f"{by} = {value}", group) for value, group in scores.groupby(of)] if by else [])
    table = pd.DataFrame([_measured(name, group) for name, group in groups])
    return table.assign(left_out=[found.left_out, *[""] * (len(table) - 1)])


def _measured(name: str, scores: pd.DataFrame) -> dict[str, Any]:
    row: dict[str, Any] = {
        "slice": name,
        "n_utterances": len(scores),
        "n_speakers": blocks.n_known(scores["speaker"]),
        "n_words": int(scores["n_words"].sum()),
    }
    for metric, interval in scoring.summary(scores, np.ones(len(scores))).items():
        row |= {metric: interval.value, f"{metric}_low": interval.low, f"{metric}_high": interval.high}
        row["note"] = row.get("note") or interval.note
    return row
