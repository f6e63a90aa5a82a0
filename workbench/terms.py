"""Pieces that people say and the model cannot write: cut out of the letters that it hears.

A decoder writes only words that it was trained on, so a new name never reaches its answers. The character head spells
what it hears; a piece is where those letters do not fit the answer, nor anything known. The constants were chosen
with those of `new_names`, on third weeks of seeds 101 to 110 of the demo world's traffic.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rapidfuzz import process
from rapidfuzz.distance import Levenshtein

from workbench import text

MIN_LETTERS = 3
"""Shorter pieces are what is left of a blurred word."""
MAX_LETTERS = 24
"""Longer ones are whole queries in noise; names of three words have about twenty letters."""
FITS = 0.75
"""A word of the answer was heard when the letters that spell it are so much like it."""
KNOWN_FROM = 0.78
"""From this likeness by sound on a piece is a known phrase, blurred."""
GAP_QUANTILE = 0.85
"""Only queries whose letters fit the answer worse than this share of the reference's are looked at. Of the queries with
a new name 75 % leave a piece so, of quiet weeks' 8 and 9 % (from 0.75: 78, and 15 and 16 %). Source: the default
run's own traffic, seed 1."""

_CHUNK = 256  # terms held against all known ones at once: some megabytes

_SOUNDS = ((r"[^a-z]", ""), (r"ph", "f"), (r"[ck]h?|q", "k"), (r"sh|z", "s"), (r"gh|h", ""), (r"w", "v"), (r"j", "g"),
           (r"[aeiouy]+", "a"), (r"(.)\1+", r"\1"))
"""Rewritten in this order: letters of one sound become one, vowels become one vowel, doubles single. A plain form of
the codes that spelling-tolerant search uses (Philips 1990, Metaphone), which keeps where vowels are."""


@lru_cache(maxsize=1 << 17)
def sound(term: str) -> str:
    """Write a term as it sounds, roughly: `olivia rodrigo` and `oliveea rodreego` are the same."""
    written = term.lower()
    for pattern, by in _SOUNDS:
        written = re.sub(pattern, by, written)
    return written


def phrases(texts: Iterable[str], longest: int = 3) -> set[str]:
    """List every run of one to `longest` words that occurs in texts: what a model trained on them may mean."""
    found: set[str] = set()
    for words in {tuple(text.words(t)) for t in texts}:
        ends = [(i, j) for i in range(len(words)) for j in range(i + 1, min(i + longest, len(words)) + 1)]
        found |= {" ".join(words[i:j]) for i, j in ends}
    return found


def unexplained(heard_letters: str, hypothesis: str) -> str:
    """Cut out of the letters heard the longest piece that the answer does not explain; "" when there is none.

    Words of the answer that the letters spell well are the frame; what lies between two of them is a piece. Where
    letters explain less than half of the answer's other words there is no frame, and the sound was too poor to tell.
    """
    letters, answer = heard_letters.replace(" ", ""), text.words(text.normalize(hypothesis))
    if not letters or not answer:
        return ""
    spans = _spans(letters, answer)
    fitting = [span is not None for span in spans]
    pieces, start = [], 0
    for span in [*(span for span in spans if span is not None), (len(letters), len(letters))]:
        pieces.append(letters[start : span[0]])
        start = max(start, span[1])
    longest = max(pieces, key=len)
    is_framed = sum(len(word) for word, fits in zip(answer, fitting, strict=True) if fits) >= MIN_LETTERS
    return _worded(heard_letters, longest) if is_framed and MIN_LETTERS <= len(longest) <= MAX_LETTERS else ""


def unheard(heard_letters: str, hypothesis: str) -> str:
    """Give the words of an answer that the letters do not spell: written, perhaps, for lack of the right one."""
    answer = text.words(text.normalize(hypothesis))
    spans = _spans(heard_letters.replace(" ", ""), answer)
    return " ".join(word for word, span in zip(answer, spans, strict=True) if span is None)


def _spans(letters: str, answer: Sequence[str]) -> list[tuple[int, int] | None]:
    """Give where the letters spell each word of the answer, None for words that they do not."""
    compact = "".join(answer)
    at = np.full(len(compact), -1)
    for edit in Levenshtein.opcodes(compact, letters):
        if edit.tag == "equal":
            at[edit.src_start : edit.src_end] = np.arange(edit.dest_start, edit.dest_end)
    spans: list[tuple[int, int] | None] = []
    end = 0
    for word in answer:
        found = at[end : end + len(word)]
        found, end = found[found >= 0], end + len(word)
        first, last = (int(found[0]), int(found[-1]) + 1) if len(found) else (0, 0)
        is_heard = Levenshtein.normalized_similarity(word, letters[first:last]) >= FITS
        spans.append((first, last) if is_heard else None)
    return spans


def _worded(heard_letters: str, piece: str) -> str:
    """Give a piece of the letters its spaces back."""
    found = re.search(" ?".join(map(re.escape, piece)), heard_letters)
    return found[0] if found else piece


def likeness(some: Sequence[str], others: Sequence[str]) -> NDArray[np.float32]:
    """Say how alike terms are, 0 to 1: the mean of how they are spelled and how they sound. Shape: [some, others]."""
    spelled, sounded = (process.cdist([write(t) for t in some], [write(t) for t in others], dtype=np.float32,
                                      scorer=Levenshtein.normalized_similarity)
                        for write in (lambda t: t.replace(" ", ""), sound))
    return np.asarray((spelled + sounded) / 2, dtype=np.float32)


def pieces(queries: pd.DataFrame, known: Collection[str], min_gap: float) -> pd.Series:
    """Give each query's unexplained piece that sounds like nothing known, "" for all others.

    `queries` holds hypothesis, heard_letters and ctc_gap; without words (dropped, or a model without a character
    head) there is nothing to find.
    """
    found = pd.Series("", index=queries.index, dtype=object)
    is_far = queries["ctc_gap"].gt(min_gap) & queries["heard_letters"].ne("") & queries["hypothesis"].ne("")
    found[is_far] = [unexplained(*pair) for pair in queries.loc[is_far, ["heard_letters", "hypothesis"]].to_numpy()]
    unknown = _unknown(sorted(set(found) - {""}), sorted(known))
    return found.where(found.isin(unknown), "")


def _unknown(candidates: Sequence[str], known: Sequence[str]) -> set[str]:
    """Leave out what sounds like a known phrase."""
    if not candidates or not known:
        return set(candidates)
    return {piece for piece, near in zip(candidates, _nearest(candidates, known), strict=True) if near < KNOWN_FROM}


def _nearest(some: Sequence[str], known: Sequence[str]) -> list[float]:
    """Give each term's likeness to what it is most like."""
    chunks = [some[start : start + _CHUNK] for start in range(0, len(some), _CHUNK)]
    return [float(near) for chunk in chunks for near in likeness(chunk, known).max(1)]


def gap_limit(reference: pd.DataFrame) -> float:
    """Give the gap beyond which a query's letters and answer are thought apart."""
    gaps = reference["ctc_gap"].dropna()
    return float(gaps.quantile(GAP_QUANTILE)) if len(gaps) else 0.0
