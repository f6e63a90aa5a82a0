"""Names that a decoder is shown before it writes: how they are spelled for it, and the lists that a training draws.

A prompt has Whisper's own form, `<|startofprev|> names, comma separated`. What a list does to an answer that is written
already is `biasing`'s. Nothing here loads PyTorch: the fast engine shows prompts too.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate

import numpy as np

from workbench import text
from workbench.errors import RecipeError

MAX_NAMES = 20
"""The longest list that a training draws, and so the longest that a model is shown. At two or three tokens a name it
makes the decoder's input five times as long as a query."""
MAX_WORDS = 3
"""Words of a drawn name at most, as `terms.phrases` has them."""
OWN_SHARE = 0.5
"""Lists with a name that the utterance says; in the others all are said elsewhere, so that a list is not believed."""
COMMON_SHARE = 0.5
"""The commonest words that make up so much of all that is said begin and end no name: `play`, `the`, `to`."""
START_TOKENS = 4
"""What a multilingual decoder begins with. Source: whisper.tokenizer.Tokenizer.sot_sequence_including_notimestamps."""


def n_longest(n_text_ctx: int) -> int:
    """Say how many tokens of names leave room for Whisper's longest answer, half of the decoder's context.

    Source: whisper.decoding.DecodingTask._get_initial_tokens, which cuts at n_text_ctx // 2 - 1 and needs room for
    `<|startofprev|>` and the start of the transcript.
    """
    return n_text_ctx // 2 - 1 - START_TOKENS


def spell(names: Sequence[str], encode: Callable[[str], list[int]], n_tokens: int) -> list[int]:
    """Spell a list of names; of one that is too long the last names, whole ones, that fit into `n_tokens`."""
    for first in range(len(names)):
        tokens = encode(" " + ", ".join(names[first:]))
        if len(tokens) <= n_tokens:
            return tokens
    return []


def pieces(references: Iterable[str]) -> set[str]:
    """List what prompts about these references are spelled of: every word, and every word with the comma behind it."""
    words = {word for reference in references for word in text.words(text.normalize(reference))}
    return words | {f"{word}," for word in words}


class Lists:
    """Draws the list that an utterance is taught with: for a `share` of them some names, for the others none.

    A name is what was said in a reference from one of its rarer words to another, at most three words on. Half of the
    lists hold one of the utterance's own; all others come from other utterances.
    """

    def __init__(self, references: Sequence[str], share: float) -> None:
        """Raises: RecipeError for a share that is none."""
        if not 0 <= share <= 1:
            raise RecipeError(f"prompt_share is {share}; give the share of utterances to teach with a list, 0 to 1")
        self._references, self._share = references, share
        self._common = common_words(references)

    def draw(self, row: int, rng: np.random.Generator) -> list[str]:
        """Draw the list for an utterance, often an empty one; every length up to MAX_NAMES is as likely by its log."""
        if rng.random() >= self._share:
            return []
        n_names = round(np.exp(rng.uniform(0, np.log(MAX_NAMES))))
        own = [row] if rng.random() < OWN_SHARE else []
        rows = [*own, *rng.integers(len(self._references), size=n_names - len(own)).tolist()]
        names = list(dict.fromkeys(filter(None, (self._name(each, rng) for each in rows))))
        return [names[i] for i in rng.permutation(len(names))]

    def _name(self, row: int, rng: np.random.Generator) -> str:
        """Draw a name out of a reference, "" where nothing but common words was said."""
        words = text.words(text.normalize(self._references[row]))
        rare = [i for i, word in enumerate(words) if word not in self._common]
        if not rare:
            return ""
        first = rare[int(rng.integers(len(rare)))]
        lasts = [i for i in rare if first <= i < first + MAX_WORDS]
        return " ".join(words[first : lasts[int(rng.integers(len(lasts)))] + 1])


def common_words(references: Iterable[str]) -> set[str]:
    """List the commonest words, which together are COMMON_SHARE of all that was said."""
    counts = Counter(word for reference in references for word in text.words(text.normalize(reference)))
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    reached = accumulate(counts[word] for word in ranked)
    limit = COMMON_SHARE * counts.total()
    return {word for word, so_far in zip(ranked, reached, strict=True) if so_far <= limit}
