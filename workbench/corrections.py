"""What people heard when they listened again: references corrected in a new dataset version, and how many were wrong.

A rate is honest only for recordings drawn by chance; of those that were suspected it says how good suspicion is.
"""

from dataclasses import dataclass

import pandas as pd

from workbench import datasets, intervals, marks, text
from workbench.datasets import Dataset

HEARD = ["utterance_id", "split", "speaker", "before", "after", "is_wrong", "by", "drawn"]


@dataclass(frozen=True, slots=True)
class Corrected:
    """The dataset with its references corrected, and all that people heard again, a row a recording (`HEARD`)."""

    dataset: Dataset
    heard: pd.DataFrame

    @property
    def changes(self) -> pd.DataFrame:
        """Give what was wrong: utterance_id, split, before, after, by."""
        wrong = self.heard[self.heard["is_wrong"]]
        return wrong[["utterance_id", "split", "before", "after", "by"]].reset_index(drop=True)


def apply(speech: Dataset, said: pd.DataFrame) -> Corrected:
    """Put what people heard last in place of references, by recording (`marks.latest("reference")`).

    Returns: the very same dataset when nothing changes, else a new version beside it.
    """
    table, words = speech.table, said.drop_duplicates("audio_sha", keep="last").set_index("audio_sha")
    again = table[table["audio_sha"].isin(words.index)]
    after = again["audio_sha"].map(words["value"].map(text.normalize))
    heard = again.assign(before=again["reference"], after=after, is_wrong=after.ne(again["reference"]),
                         **{name: again["audio_sha"].map(words[name]) for name in ("by", "drawn")})[HEARD]
    wrong = heard[heard["is_wrong"]]
    if wrong.empty:
        return Corrected(speech, heard.reset_index(drop=True))
    mended = table.assign(reference=wrong["after"].reindex(table.index).fillna(table["reference"]),
                          text=wrong["after"].reindex(table.index).fillna(table["text"]))
    if "entity" in mended:
        mended["entity"] = mended["entity"].where(~mended.index.isin(wrong.index) | _names_it(mended), "")
    note = f"{len(wrong)} references corrected by {', '.join(sorted(set(wrong['by'])))}"
    saved = datasets.save(mended, parent=speech.version, note=note, salt=str(speech.card.get("salt", "")))
    return Corrected(saved, heard.reset_index(drop=True))


def _names_it(table: pd.DataFrame) -> pd.Series:
    """Whether a reference still says its entity; one that does not has none that could be heard right."""
    entities = table["entity"].fillna("").map(text.normalize)
    said = [f" {entity} " in f" {words} " for entity, words in zip(entities, table["reference"], strict=True)]
    return pd.Series(said, index=table.index)


def rates(heard: pd.DataFrame) -> pd.DataFrame:
    """Say how many references were wrong among those drawn by chance and, beside it, among the suspected.

    Returns: drawn ("random", "suspect", or "picked by hand"), n_heard, n_wrong, share, share_low, share_high.
    """
    rows = []
    for drawn, words in ((marks.RANDOM, "random"), (marks.SUSPECT, "suspect"), ("", "picked by hand")):
        of = heard[heard["drawn"].eq(drawn)]
        if len(of):
            rate = intervals.rate_interval(of["is_wrong"], [1.0] * len(of), of["speaker"])
            rows.append({"drawn": words, "n_heard": len(of), "n_wrong": int(of["is_wrong"].sum()), "share": rate.value,
                         "share_low": rate.low, "share_high": rate.high})
    return pd.DataFrame(rows)
