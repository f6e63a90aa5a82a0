"""References made wrong in one word, by seed: what a careless transcriber leaves."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

KINDS = ("substituted", "deleted", "inserted")


class Corruption(NamedTuple):
    """A reference after, and what was done to it."""

    reference: str
    kind: str


def corrupted(reference: str, words: Sequence[str], rng: np.random.Generator) -> Corruption:
    """Put another word in a word's place, drop one, or add one; a reference of one word is never emptied."""
    said = reference.split()
    kind = str(rng.choice([k for k in KINDS if k != "deleted" or len(said) > 1]))
    where, word = int(rng.integers(len(said) + (kind == "inserted"))), str(rng.choice(words))
    while kind == "substituted" and word == said[where]:
        word = str(rng.choice(words))
    after = {"substituted": [word], "deleted": [], "inserted": [word]}[kind]
    return Corruption(" ".join(said[:where] + after + said[where + (kind != "inserted") :]), kind)


def confused(reference: str, entity: str, alike: Collection[str], rng: np.random.Generator) -> Corruption | None:
    """Put another name of its kind in place of an entity: a mistake that makes sense; None where there is none."""
    others = sorted(set(alike) - {entity})
    if not others or not entity or f" {entity} " not in f" {reference} ":
        return None
    return Corruption(f" {reference} ".replace(f" {entity} ", f" {rng.choice(others)} ").strip(), "confused")


def words_of(references: pd.Series) -> list[str]:
    """List the words of a world."""
    return sorted({word for reference in references for word in reference.split()})
