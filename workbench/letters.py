"""What a character head hears: the letters themselves, and how well they fit an answer. Numbers in, no model here."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from workbench import text

CHARACTERS = " 'abcdefghijklmnopqrstuvwxyz"
"""What the character head can hear; class 0 is CTC's blank, class 1 + i is CHARACTERS[i]."""

IMPOSSIBLE = -1e30
"""The log-probability of what cannot be; finite, so that differences of two are numbers."""

Floats = NDArray[np.floating]


def log_softmax(values: Floats) -> Floats:
    """Give log-probabilities along the last axis."""
    shifted = values - values.max(-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)))


def heard(letters: Floats, answers: Sequence[str]) -> list[tuple[str, float]]:
    """Spell what the character head hears in clips, and how much better that fits than their answers do.

    Shape: letters [B, F, 1 + characters], log-probabilities.
    Returns: a clip, the letters; and nats a character between the best path and the answer's paths, 0 or a little
        below when equal.
    """
    targets = [[CHARACTERS.index(c) + 1 for c in text.normalize(answer) if c in CHARACTERS] for answer in answers]
    gaps = letters.max(-1).sum(-1, dtype=np.float64) - fits(letters, targets)
    spelled = (_spelled(classes) for classes in letters.argmax(-1))
    return [(said, float(gap) / max(1, len(target)))
            for said, gap, target in zip(spelled, gaps, targets, strict=True)]


def _spelled(classes: NDArray[np.int_]) -> str:
    is_new = np.append(True, classes[1:] != classes[:-1])
    return " ".join("".join(CHARACTERS[c - 1] for c in classes[is_new] if c > 0).split())


def fits(letters: Floats, targets: Sequence[Sequence[int]]) -> NDArray[np.float64]:
    """Give the log-probability of all paths that spell each clip's target. Shape: letters [B, F, C] -> [B].

    Source: the forward variables of CTC (Graves et al. 2006, equations 6 to 8), over all clips at once.
    """
    clips, lengths = np.arange(len(targets)), np.array([len(target) for target in targets], dtype=int)
    states = np.zeros((len(targets), 1 + 2 * max(lengths, default=0)), dtype=int)  # a blank around every letter
    for row, target in zip(states, targets, strict=True):
        row[1 : 2 * len(target) : 2] = target
    said = np.take_along_axis(letters, states[:, None, :], axis=-1).astype(np.float64)
    skips = np.where((states[:, 2:] > 0) & (states[:, 2:] != states[:, :-2]), 0.0, IMPOSSIBLE)
    reached = np.full((len(targets), 2 + states.shape[1]), IMPOSSIBLE)  # two that cannot be stand before the first
    reached[:, 2:4] = said[:, 0, :2]
    leaping = np.pad(skips, ((0, 0), (2, 0)))[:, : states.shape[1]]
    for frame in said.transpose(1, 0, 2)[1:]:
        stays, steps, leaps = reached[:, 2:], reached[:, 1:-1], reached[:, :-2] + leaping
        best = np.maximum(np.maximum(stays, steps), leaps)
        reached[:, 2:] = best + np.log(np.exp(stays - best) + np.exp(steps - best) + np.exp(leaps - best)) + frame
    found = np.logaddexp(reached[clips, 2 + 2 * lengths], reached[clips, 1 + 2 * lengths])
    return np.where(found < IMPOSSIBLE / 2, -np.inf, found)
