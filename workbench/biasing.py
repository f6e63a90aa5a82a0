"""The biasing list at work: a name takes the place of an answer's words where the letters heard fit it far better.

A decoder writes only words that it was trained on; its character head hears letters, also of names that came later. So
an answer is held against every text that has a name of the list in place of some of its words, or between two of them.
Where several hypotheses of the decoder are asked for, one with a name of the list may be the answer (`chosen`).
Where the list is kept, and who may change it, is `name_list`'s.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from workbench import letters as spoken
from workbench import settings, text
from workbench.letters import CHARACTERS

BONUS = 2.0
"""Nats for each letter that a text is longer. In noise CTC leaves letters out too cheaply, so that any short name would
fit better than a long phrase. Source: the length bonus of Deep Speech, arXiv 1412.5567, section 2.2."""
MARGIN = 6.0
"""Nats by which a name must beat the answer, and every other name, and by which the answer itself must be amiss."""
MAX_MISFIT = 2.5
"""Nats a letter by which a name may fit its place worse than the letters that fit it best.

The three were chosen on names and speakers of their own: `benchmarks/biasing.py --choose` prints what they trade."""
NAME_BONUS, LETTERS_WEIGHT = 1.0, 1.0
"""Nats for each letter of a listed name in a hypothesis, and what its letters' likelihood counts beside its words'.
Without the letters a bonus that wins the right names wins as many wrong ones.

Chosen on people of valid: `benchmarks/prompts.py --choose` prints what they trade."""
N_LIKELY = 12
"""Names that are tried at every place of an answer; before that all are held against it at once."""

Floats = NDArray[np.float64]
_TINY = np.finfo(np.float64).tiny


@dataclass(frozen=True, slots=True)
class Rules:
    """What it takes to put a name into an answer; the module's constants say what each is.

    Of `n_best` hypotheses of the decoder one is chosen; 1 asks for its answer alone.
    """

    bonus: float = BONUS
    margin: float = MARGIN
    max_misfit: float = MAX_MISFIT
    n_best: int = 1
    name_bonus: float = NAME_BONUS
    letters_weight: float = LETTERS_WEIGHT


class BiasingList:
    """Names in the form in which answers are held against them; of those spelled alike the first counts.

    `names` gives with each the letters that were heard when people said it, "" where that is not known: they count like
    its own.
    """

    def __init__(self, names: Mapping[str, str] = MappingProxyType({}), rules: Rules | None = None) -> None:
        self._rules, written = rules or Rules(), dict[str, str]()
        for name, sounds in names.items():
            for spelled in (name, sounds):
                written.setdefault(text.spelling(spelled), text.normalize(name))
        written.pop("", None)
        self._written, classes = np.array(list(written.values()), dtype=object), [_classes(each) for each in written]
        self._lengths = np.array([len(each) for each in classes], dtype=int)
        self._classes = np.zeros((len(classes), max(self._lengths, default=0)), dtype=int)
        for row, each in zip(self._classes, classes, strict=True):
            row[: len(each)] = each

    @property
    def names(self) -> tuple[str, ...]:
        """Give the names as they are written, in the order in which they were put there."""
        return tuple(dict.fromkeys(self._written))

    def __len__(self) -> int:
        return len(self._written)

    @property
    def n_best(self) -> int:
        """How many hypotheses of the decoder to choose from; without a name there is nothing to choose by."""
        return self._rules.n_best if len(self) else 1

    def chosen(self, texts: Sequence[str], scores: Sequence[float],
               letters: NDArray[np.floating] | None = None) -> int:
        """Choose among hypotheses, the decoder's best first. Shape: letters [F, 1 + characters], log-probabilities."""
        rules, total = self._rules, np.array(scores)
        if letters is not None and rules.letters_weight:
            targets = [[1 + CHARACTERS.index(c) for c in text.normalize(each) if c in CHARACTERS] for each in texts]
            total += rules.letters_weight * spoken.fits(np.broadcast_to(letters, (len(texts), *letters.shape)), targets)
        return chosen(texts, total, self.names, rules.name_bonus)

    def rescored(self, letters: ArrayLike, answer: str) -> str:
        """Give an answer with a name in it, or as it is where no name fits far better.

        An answer whose letters fit it is left alone, and so is silence.
        Shape: letters [F, 1 + characters], log-probabilities.
        """
        words = text.normalize(answer).split()
        if not len(self) or not words or not set("".join(words)) <= set(CHARACTERS):
            return answer
        # Chances are relative to the best path's, so that a long clip's stay far from what a float cannot hold.
        heard = np.asarray(letters)
        chances = np.exp((heard - heard.max(-1, keepdims=True)).astype(np.float64))
        before, fit = _before(chances, words)
        if -fit <= self._rules.margin:
            return answer
        mirrored, _ = _before(chances[::-1], [word[::-1] for word in reversed(words)])
        return self._best(chances, words, before, mirrored[::-1, ::-1], fit) or answer

    def _best(self, chances: Floats, words: Sequence[str], before: Floats, after: Floats, fit: float) -> str:
        """Find the name and the place that fit best. Returns: the text with it, "" where that is not far better.

        Shape: before, after [1 + words, 1 + F]; `after` has the chance that frames from t on spell the words from j on.
        """
        rules, tried = self._rules, self._likely(chances, before, after)
        ended = _ended(chances, self._classes[tried], self._lengths[tried], before)
        scores = _log(np.einsum("ikt,jt->ijk", ended, after))
        starts = _starts(words)
        longer = 1 + self._lengths[tried] - (starts[None, :, None] - starts[:, None, None])
        gains = scores - fit + rules.bonus * longer
        gains[np.tril(np.ones(gains.shape[:2], bool), -1)] = -np.inf
        first, last, name = (int(i) for i in np.unravel_index(gains.argmax(), gains.shape))
        rivals = gains.max((0, 1))[self._written[tried] != self._written[tried[name]]]
        lead = gains[first, last, name] - np.max(rivals, initial=0.0)  # the answer itself gains 0
        free = _log(np.max(np.maximum.accumulate(before[first]) * after[last]))  # its place filled with any letters
        misfit = (free - scores[first, last, name]) / self._lengths[tried[name]]
        is_far_better = lead > rules.margin and misfit < rules.max_misfit
        return " ".join([*words[:first], self._written[tried[name]], *words[last:]]) if is_far_better else ""

    def _likely(self, chances: Floats, before: Floats, after: Floats) -> NDArray[np.int_]:
        """Give the names that may fit best: all are held against all places at once, and no place fits better."""
        anywhere = _ended(chances, self._classes, self._lengths, before.sum(0, keepdims=True))[0]
        bounds = _log(anywhere @ after.sum(0)) + self._rules.bonus * self._lengths
        return np.argsort(-bounds, kind="stable")[:N_LIKELY]


def served(names: Mapping[str, str]) -> BiasingList:
    """Make the list as it is served: `WORKBENCH_N_BEST` says how many hypotheses there are to choose from."""
    return BiasingList(names, Rules(n_best=settings.Settings().n_best))


def chosen(texts: Sequence[str], scores: Sequence[float] | Floats, names: Collection[str], bonus: float) -> int:
    """Choose among hypotheses, the best first: scores are nats, and `bonus` is added for each letter of a listed name.

    The first stays where no other says more of the names, and silence stays silence.
    """
    listed = [n_listed(each, names) for each in texts]
    rivals = [i for i in range(len(texts)) if listed[i] > listed[0]] if texts[0] else []
    return max([0, *rivals], key=lambda i: scores[i] + bonus * listed[i])


def n_listed(answer: str, names: Collection[str]) -> int:
    """Count the letters of an answer's words that stand in names of a list; a word in two names counts once."""
    words, wanted = text.normalize(answer).split(), set(names)
    longest = max((len(name.split()) for name in wanted), default=0)
    spans = [(i, j) for i in range(len(words)) for j in range(i + 1, min(i + longest, len(words)) + 1)]
    covered = {k for i, j in spans if " ".join(words[i:j]) in wanted for k in range(i, j)}
    return sum(len(words[k]) for k in covered)


def _classes(letters: str) -> NDArray[np.int_]:
    return np.array([1 + CHARACTERS.index(letter) for letter in letters], dtype=int)


def _starts(words: Sequence[str]) -> NDArray[np.int_]:
    """Give how many letters, spaces included, come before each word, and before one that would follow."""
    return np.cumsum([0, *(len(word) + 1 for word in words)])


def _log(chance: Floats) -> Floats:
    return np.asarray(np.log(np.maximum(chance, _TINY)))


def _before(chances: Floats, words: Sequence[str]) -> tuple[Floats, float]:
    """Follow an answer through the frames.

    Returns: the chance that the first t frames spell the first i words and a space, [1 + words, 1 + F]; and the
        logarithm of the chance that all frames spell the whole answer.
    """
    reached = _reached(chances, _classes(" ".join(words) + " "))
    return reached[:, _starts(words)].T, float(_log(reached[-1, -2]))


def _reached(chances: Floats, classes: NDArray[np.int_]) -> Floats:
    """Give the chance that the first t frames spell the first k letters, [1 + F, 1 + letters].

    Source: the forward variables of CTC (Graves et al. 2006, equations 6 to 8), letters and the blanks behind them
    kept apart while going on and added in what is given.
    """
    differs = np.append(0.0, classes[1:] != classes[:-1])
    letter, blank = np.zeros(len(classes)), np.eye(1, 1 + len(classes))[0]
    reached = np.zeros((1 + len(chances), 1 + len(classes)))
    reached[0, 0] = 1.0
    for t, frame in enumerate(chances, 1):
        stepped = letter + blank[:-1]
        stepped[1:] += differs[1:] * letter[:-1]
        blank[1:] += letter
        blank *= frame[0]
        letter = frame[classes] * stepped
        reached[t] = blank
        reached[t, 1:] += letter
    return reached


def _ended(chances: Floats, classes: NDArray[np.int_], lengths: NDArray[np.int_], entering: Floats) -> Floats:
    """Follow names that begin where `entering` [I, 1 + F] lets them.

    Shape: classes [K, letters], padded.
    Returns: the chance that frame t is the last of name k's last letter, [I, K, 1 + F].
    """
    by_letter = np.ascontiguousarray(classes.T)  # [letters, K]: a letter's step is one stretch of memory
    differs = (by_letter[1:] != by_letter[:-1]).astype(float)
    shape = len(entering), *by_letter.shape
    letter, blank = np.zeros(shape), np.zeros(shape)
    ended = np.zeros((len(chances) + 1, len(entering), len(classes)))
    for t, frame in enumerate(chances, 1):
        stepped = letter.copy()
        stepped[:, 0] += entering[:, t - 1, None]
        stepped[:, 1:] += blank[:, :-1]
        stepped[:, 1:] += differs * letter[:, :-1]
        blank += letter
        blank *= frame[0]
        letter = frame[by_letter] * stepped
        ended[t] = letter[:, lengths - 1, np.arange(len(classes))]
    return ended.transpose(1, 2, 0)
