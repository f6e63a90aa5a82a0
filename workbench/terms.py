"""Terms that people say and the model cannot write: cut out of the letters it hears, and gathered by sound.

A decoder writes only words that it was trained on, so a new name never reaches its answers. The character head spells
what it hears; where those letters do not fit the answer, nor anything known, several users' letters may sound alike.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rapidfuzz import process
from rapidfuzz.distance import Levenshtein
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

from workbench import text

MIN_LETTERS = 4
"""Shorter pieces are what is left of a blurred word."""
MAX_LETTERS = 24
"""Longer ones are whole queries in noise; names of three words have about twenty letters."""
FITS = 0.65
"""A word of the answer was heard when the letters that spell it are so much like it."""
KNOWN_FROM, ALIKE_FROM, NEAR_FROM, SURELY_FROM = 0.62, 0.45, 0.55, 0.8
"""From this likeness by sound on a piece is a known phrase, blurred; two pieces are the same term; a name of the
catalogue may be meant; and a word at the end of a piece is a known one that does not belong to it."""
GAP_QUANTILE = 0.8
"""Only queries whose letters fit the answer worse than this share of the reference's are looked at. It and ALIKE_FROM
were chosen on eight seeds of demo traffic of their own: 51 % of new names listed, 20 % of those listed wrong."""
RISE = 2.0
"""A term that the reference knows too counts when it is so many times as frequent now."""

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
    trimmed = _trimmed(sorted(set(found) - {""}), sorted(known))
    return found.map(lambda piece: trimmed.get(piece, ""))


def _trimmed(candidates: Sequence[str], known: Sequence[str]) -> dict[str, str]:
    """Take known words off both ends of pieces, and give "" where what is left is a known phrase, or too short."""
    if not candidates or not known:
        return {piece: piece for piece in candidates}
    words = sorted({word for piece in candidates for word in piece.split()})
    surely = {word for word, near in zip(words, _nearest(words, known), strict=True) if near >= SURELY_FROM}
    rest = {piece: _without_ends(piece.split(), surely) for piece in candidates}
    left = sorted({words for words in rest.values() if len(words.replace(" ", "")) >= MIN_LETTERS})
    new = {words for words, near in zip(left, _nearest(left, known), strict=True) if near < KNOWN_FROM}
    return {piece: words if words in new else "" for piece, words in rest.items()}


def _without_ends(words: Sequence[str], surely: Collection[str]) -> str:
    inner = [i for i, word in enumerate(words) if word not in surely]
    return " ".join(words[inner[0] : inner[-1] + 1]) if inner else ""


def _nearest(some: Sequence[str], known: Sequence[str]) -> list[float]:
    """Give each term's likeness to what it is most like."""
    chunks = [some[start : start + _CHUNK] for start in range(0, len(some), _CHUNK)]
    return [float(near) for chunk in chunks for near in likeness(chunk, known).max(1)]


def gap_limit(reference: pd.DataFrame) -> float:
    """Give the gap beyond which a query's letters and answer are thought apart."""
    gaps = reference["ctc_gap"].dropna()
    return float(gaps.quantile(GAP_QUANTILE)) if len(gaps) else 0.0


def new_terms(window: pd.DataFrame, *, reference: pd.DataFrame, known_words: Collection[str],
              catalogue: Sequence[str] = (), min_users: int = 3, min_gap: float | None = None) -> pd.DataFrame:
    """List what at least `min_users` users said in a window that sounds alike and like nothing known.

    Both tables hold request_id, user_hash, hypothesis, heard_letters, ctc_gap; `known_words` are words and phrases
    (`phrases`), `catalogue` names that may be meant; `min_gap` is the reference's own `gap_limit` unless given.
    A column `piece` is taken as what `pieces` has found.
    Returns: request_id and term (the query whose piece is most like the others, and that piece), n_queries, n_users,
        n_reference, nearest (of the catalogue, "" when none is near), example_ids (request ids of all its queries);
        most queries first.
    """
    limit = gap_limit(reference) if min_gap is None else min_gap
    now, before = (rows if "piece" in rows else rows.assign(piece=pieces(rows, known_words, limit))
                   for rows in (window, reference))
    now, before = now[now["piece"] != ""], before.loc[before["piece"] != "", "piece"]
    columns = ["request_id", "term", "n_queries", "n_users", "n_reference", "nearest", "example_ids"]
    rows = [_term(group, before.tolist(), catalogue) for group in _clusters(now)]
    share = len(window) / max(len(reference), 1)
    kept = [row for row in rows if row["n_users"] >= min_users and row["n_queries"] > RISE * share * row["n_reference"]]
    table = pd.DataFrame(kept, columns=columns)
    return table.sort_values(["n_queries", "n_users"], ascending=False, kind="stable", ignore_index=True)


def _clusters(found: pd.DataFrame) -> list[pd.DataFrame]:
    """Gather pieces that sound alike, by average linkage."""
    if len(found) < 2:
        return [found] if len(found) else []
    distance = 1 - likeness(found["piece"].tolist(), found["piece"].tolist())
    np.fill_diagonal(distance, 0)
    tree = hierarchy.linkage(squareform((distance + distance.T) / 2, checks=False), "average")
    numbers = hierarchy.fcluster(tree, 1 - ALIKE_FROM, "distance")
    return [found[numbers == number] for number in np.unique(numbers)]


def _term(group: pd.DataFrame, before: Sequence[str], catalogue: Sequence[str]) -> dict[str, Any]:
    spoken = group["piece"].tolist()
    middle = int(likeness(spoken, spoken).sum(1).argmax())
    term = spoken[middle]
    near = likeness([term], catalogue)[0] if len(catalogue) else np.zeros(0)
    is_near = len(near) > 0 and near.max() >= NEAR_FROM
    return {
        "request_id": group["request_id"].iloc[middle], "term": term, "n_queries": len(group),
        "n_users": int(group["user_hash"].replace("", np.nan).nunique()),
        "n_reference": int((likeness([term], before)[0] >= ALIKE_FROM).sum()) if len(before) else 0,
        "nearest": catalogue[int(near.argmax())] if is_near else "",
        "example_ids": group["request_id"].tolist(),
    }
