"""How a character head mishears: which letters it writes for which, and what two spellings then say about each other.

The weights are learned from the head's own letters beside the answers that they bear out. All evidence is in nats: how
much likelier two spellings are when one thing was said than when they have nothing to do with each other.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from string import ascii_lowercase

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein

N, GAP = len(ascii_lowercase), len(ascii_lowercase)
"""Letters are numbered from 0; the number after the last stands for none: a letter not heard, or not said."""
_BLOCK = (64, 512)  # spellings held against each other at once: some megabytes
_NEVER = -1e3


@dataclass(frozen=True, slots=True)
class Weights:
    """Evidence a letter, in nats, with `GAP` for none. Shape: [N + 1, N + 1].

    `alike` is for two spellings that were both heard, `said` for one that was said (rows) and one that was heard.
    """

    alike: NDArray[np.float32]
    said: NDArray[np.float32]


def learn(pairs: Iterable[tuple[str, str]]) -> Weights:
    """Learn weights from what was said and what letters were heard.

    Source: the log-odds of amino acids that replace each other (Henikoff & Henikoff 1992, PNAS 89), here of letters:
    log p(x, y) / p(x) p(y), where p(x, y) sums over the letter that was said.
    """
    counts = _counts(pairs)
    p = counts[:N] + counts[:N].sum(0) / counts[:N].sum()  # a letter seldom said is misheard like the others
    letters = p.sum(1) / p.sum()
    p = p / p.sum(1, keepdims=True)
    inserted = counts[GAP, :N] / counts[:N].sum()  # letters out of nothing, a letter said
    heard = letters @ p[:, :N] + inserted
    chance = heard / heard.sum()
    alike, said = np.zeros((N + 1, N + 1)), np.zeros((N + 1, N + 1))
    both, one = np.einsum("s,sx,sy->xy", letters, p[:, :N], p[:, :N]), letters * p[:, GAP] @ p[:, :N] + inserted
    alike[:N, :N] = np.log(both / np.outer(chance, chance))
    alike[:N, GAP] = alike[GAP, :N] = np.log(one / chance)
    said[:N, :N], said[:N, GAP], said[GAP, :N] = np.log(p[:, :N] / chance), np.log(p[:, GAP]), np.log(inserted / chance)
    return Weights(alike.astype(np.float32), said.astype(np.float32))


def _counts(pairs: Iterable[tuple[str, str]]) -> NDArray[np.float64]:
    """Count which letter was heard for which, along the shortest edits. Shape: [said, heard]."""
    counts = np.full((N + 1, N + 1), 0.02)  # what was never seen may happen
    counts[np.arange(N), np.arange(N)] += 2
    for said, heard in ((_numbers(said), _numbers(heard)) for said, heard in pairs):
        for edit in Levenshtein.opcodes(said, heard):
            one, other = said[edit.src_start : edit.src_end], heard[edit.dest_start : edit.dest_end]
            np.add.at(counts, (one or [GAP] * len(other), other or [GAP] * len(one)), 1)
    return counts


def _numbers(spelling: str) -> list[int]:
    return [ord(letter) - ord("a") for letter in spelling if letter in ascii_lowercase]


def evidence(some: Sequence[str], others: Sequence[str], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Say how much speaks for each pair being one thing: the best alignment's sum of weights.

    Shape: [some, others], nats.
    Source: Needleman & Wunsch 1970, J. Mol. Biol. 48, for all pairs at once.
    """
    (rows, row_of), (columns, column_of) = ([np.unique(np.asarray(t, dtype=str), return_inverse=True)
                                             for t in (some, others)])
    found = np.zeros((len(rows), len(columns)), np.float32)
    for i in _by_length(rows, _BLOCK[0]):
        for j in _by_length(columns, _BLOCK[1]):
            found[np.ix_(i, j)] = _block(_padded(rows[i]), _padded(columns[j]), weights)
    return found[np.ix_(row_of, column_of)]


def _by_length(spellings: NDArray[np.str_], size: int) -> list[NDArray[np.intp]]:
    order = np.argsort([len(spelling) for spelling in spellings], kind="stable")
    return [order[start : start + size] for start in range(0, len(order), size)]


def _padded(spellings: NDArray[np.str_]) -> NDArray[np.intp]:
    numbers = [_numbers(spelling) for spelling in spellings]
    longest = max(map(len, numbers))
    return np.array([row + [GAP] * (longest - len(row)) for row in numbers], dtype=np.intp).reshape(len(numbers), -1)


def _block(rows: NDArray[np.intp], columns: NDArray[np.intp], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Align all pairs, a letter of `rows` after the other. Shape: [R, letters], [C, letters] -> [R, C]."""
    match = np.full_like(weights, _NEVER)
    match[:N, :N] = weights[:N, :N]
    row_gaps, column_gaps = np.append(weights[:N, GAP], 0)[rows], np.append(weights[GAP, :N], 0)[columns]  # padding: 0
    start = np.concatenate([np.zeros((1, len(columns)), np.float32), column_gaps.cumsum(1, dtype=np.float32).T])
    best = np.repeat(start[:, None], len(rows), 1)  # [letters of C so far, R, C]
    for at in range(rows.shape[1]):
        gap, previous = row_gaps[:, at, None], best
        best = previous + gap
        taken = previous[:-1] + np.moveaxis(match[rows[:, at]][:, columns], 2, 0)
        np.maximum(best[1:], taken, out=best[1:])
        for j in range(columns.shape[1]):
            np.maximum(best[j + 1], best[j] + column_gaps[None, :, j], out=best[j + 1])
    return best[-1]
