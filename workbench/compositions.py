"""What a dataset version is made of: the amounts of each split, and its words."""

import itertools
from collections import Counter
from typing import Any

import pandas as pd

from workbench import blocks, text
from workbench.datasets import SPLITS, Dataset


def summary(dataset: Dataset) -> pd.DataFrame:
    """Tell what each split holds, a row a split and a last one for all.

    Returns: split, n_utterances, hours, n_speakers, duration_s (median), duration_s_min, duration_s_max, level_dbfs
    (median), snr_db (median), n_queries (distinct), n_words, n_distinct_words, share_unseen_words (fraction of words
    that train never says), share_no_speech (fraction of clips).
    """
    taught = word_counts(dataset.train["reference"]).index
    parts = {name: dataset.split(name) for name in SPLITS if (dataset.table["split"] == name).any()}
    return pd.DataFrame([_summary_row(name, part, taught) for name, part in {**parts, "all": dataset.table}.items()])


def word_counts(references: pd.Series) -> pd.Series:
    """Count how often each word is said, the most frequent first."""
    counts = Counter(itertools.chain.from_iterable(map(text.words, references)))
    return pd.Series(dict(counts.most_common()), dtype=int)


def _summary_row(name: str, part: pd.DataFrame, taught: pd.Index) -> dict[str, Any]:
    said = word_counts(part["reference"])
    n_words = int(said.sum())
    return {
        "split": name, "n_utterances": len(part), "hours": part["duration_s"].sum() / 3600,
        "n_speakers": blocks.n_known(part["speaker"]), "duration_s": part["duration_s"].median(),
        "duration_s_min": part["duration_s"].min(), "duration_s_max": part["duration_s"].max(),
        "level_dbfs": part["level_dbfs"].median(),
        "snr_db": part["snr_db"].median() if "snr_db" in part else float("nan"),
        "n_queries": part.loc[part["reference"] != "", "reference"].nunique(), "n_words": n_words,
        "n_distinct_words": len(said),
        "share_unseen_words": int(said[~said.index.isin(taught)].sum()) / n_words if n_words else 0.0,
        "share_no_speech": float((part["reference"] == "").mean()),
    }
