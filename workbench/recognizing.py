"""From recordings to hypotheses, whatever the engine: the protocol, what all of ours share, tables and long files.

Nothing here loads PyTorch, so that a server of the fast engine holds none of it.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from workbench import audio, frames, letters, progress, prompts
from workbench.audio import Samples
from workbench.biasing import BiasingList
from workbench.frames import Context
from workbench.records import Hypothesis

if TYPE_CHECKING:
    import pandas as pd  # the server never makes tables

BATCH_SIZE, MIN_BATCH_SIZE = 16, 2
"""Clips a batch of tiny's width on a processor, for on two cores larger ones gain nothing more; and the least."""

CHUNK = 8 * BATCH_SIZE
"""Clips of a table that are read and decoded at a time; which of them share a batch is decided within it."""

TOKENS_PER_SECOND = 8
"""The longest answer that a clip's length allows; fast English speech is about 6 tokens a second."""

OTHER_TOKENS_PER_SECOND = 24
"""Of other languages, which Whisper spells in more tokens: Hindi in about one a letter (tests/test_engines.py)."""

SPARE_TOKENS = 8
"""Tokens beyond those, for clips shorter than their words' first tokens."""

WHOLE_S = 5
"""Where all clips are padded to one length their answers' is counted in so many seconds, for most to share a batch."""

MAX_CLIP_S = 30.0
"""Longer recordings are cut into pieces of Whisper's own window."""


class Recognizer(Protocol):
    """Anything that writes down what recordings say."""

    def transcribe(self, recordings: Sequence[np.ndarray]) -> list[Hypothesis]:
        """Write one hypothesis a recording (float32 mono samples at 16 kHz), in their order."""
        ...


Kind = tuple[int, int]
"""What decides alone how a recording is heard: the samples of its context, and the tokens of its longest answer."""

Batch = tuple[list[np.ndarray], Kind]
"""Recordings of one kind."""


class ShortContextRecognizer(ABC):
    """Decodes in batches of equal context, so that a clip's answer does not depend on its neighbours.

    What every engine shares is here: how long an answer may be, what letters were heard, and what the biasing list
    makes of both.
    """

    context: Context
    n_text_ctx: int
    has_head: bool
    language = "en"
    n_prompt_names = 0
    batch_size = BATCH_SIZE
    n_at_once = 1
    """Batches that are heard at the same time: what there is to hear is divided among them."""
    biasing = BiasingList()

    def biased(self, biasing: BiasingList) -> Self:
        """Give a recognizer that shares the weights and holds its answers against a biasing list.

        Without a character head there are no letters to hold them against. A decoder that was taught prompts is shown
        the names too, the last `n_prompt_names` of them.
        """
        made = copy.copy(self)
        made.biasing = biasing
        return made

    @abstractmethod
    def _encode(self, words: str) -> list[int]:
        """Spell a text in the decoder's tokens."""

    def _prompt(self) -> list[int]:
        """Spell what the decoder is shown of the list: nothing if it was not taught prompts."""
        names = self.biasing.names[-self.n_prompt_names :] if self.n_prompt_names else ()
        return prompts.spell(names, self._encode, prompts.n_longest(self.n_text_ctx))

    @abstractmethod
    def _decode(self, waveforms: Samples, n_tokens: int) -> list[Hypothesis]:
        """Answer a batch of clips of one length [B, T] with at most `n_tokens` tokens each."""

    def transcribe(self, recordings: Sequence[np.ndarray]) -> list[Hypothesis]:
        """Write one hypothesis a recording, in their order."""
        kinds = [self._kind(recording) for recording in recordings]
        most, batches = min(self.batch_size, -(-len(recordings) // self.n_at_once)), list[tuple[list[int], Kind]]()
        for kind in sorted(set(kinds), reverse=True):
            members = [row for row, own in enumerate(kinds) if own == kind]
            batches += [(rows.tolist(), kind) for rows in np.array_split(members, -(-len(members) // most))]
        heard = self._batches([([recordings[row] for row in rows], kind) for rows, kind in batches])
        answers = {row: answer for (rows, _), said in zip(batches, heard, strict=True)
                   for row, answer in zip(rows, said, strict=True)}
        return [answers[row] for row in range(len(recordings))]

    def _batches(self, batches: Sequence[Batch]) -> list[list[Hypothesis]]:
        """Answer all batches; engines that can, some at once."""
        return [self._batch(*batch) for batch in batches]

    def _with_letters(self, answers: Sequence[Hypothesis], heard: ArrayLike) -> list[Hypothesis]:
        """Add what the character head heard, and let a name of the biasing list into an answer where it heard one.

        Shape: heard [B, F, 1 + characters], log-probabilities.
        """
        heard = np.asarray(heard)
        written = [self.biasing.rescored(each, answer.text) for each, answer in zip(heard, answers, strict=True)]
        return [replace(answer, text=words, heard_letters=spelled, ctc_gap=gap,
                        biased_from=_before(answer, words))
                for answer, words, (spelled, gap) in zip(answers, written, letters.heard(heard, written), strict=True)]

    def _chosen(self, best: Hypothesis, texts: Sequence[str], scores: Sequence[float],
                heard: NDArray[np.floating] | None) -> Hypothesis:
        """Choose among a clip's hypotheses, of which `best` is the first. Shape: heard [F, 1 + characters]."""
        words = texts[self.biasing.chosen(texts, scores, heard)]
        return best if words == best.text else replace(best, text=words, biased_from=best.text)

    def _kind(self, recording: np.ndarray) -> Kind:
        n_samples = frames.context_samples(len(recording), self.context)
        step = WHOLE_S * audio.SAMPLE_RATE_HZ
        longest = -(-len(recording) // step) * step if self.context == "padded" else n_samples
        a_second = TOKENS_PER_SECOND if self.language == "en" else OTHER_TOKENS_PER_SECOND
        n_tokens = int(longest / audio.SAMPLE_RATE_HZ * a_second) + SPARE_TOKENS
        return n_samples, min(n_tokens, self.n_text_ctx // 2)

    def _batch(self, recordings: Sequence[np.ndarray], kind: Kind) -> list[Hypothesis]:
        n_samples, n_tokens = kind
        padded = np.zeros((len(recordings), n_samples), dtype=np.float32)
        for row, recording in zip(padded, recordings, strict=True):
            row[: len(recording)] = recording[:n_samples]
        return self._decode(padded, n_tokens)


def _before(answer: Hypothesis, words: str) -> str:
    """Give what the decoder itself wrote, "" where the answer's words are that."""
    written = answer.biased_from or answer.text
    return "" if written == words else written


def batch_size(width: int, at_tiny: int, most: int) -> int:
    """Say how many clips a batch may have: so many at tiny's width, of wider models fewer, for these take memory."""
    return max(MIN_BATCH_SIZE, min(most, at_tiny * frames.TINY_WIDTH**2 // width**2))


def decode(recognizer: Recognizer, utterances: "pd.DataFrame") -> "pd.DataFrame":
    """Decode a table's recordings with any recognizer, without the cache.

    Returns: utterance_id, hypothesis, and the other fields of `Hypothesis`.
    """
    import pandas as pd

    paths, rows = utterances["audio_path"].tolist(), []
    for start in progress.track(range(0, len(paths), CHUNK), "decoding"):
        answers = recognizer.transcribe([audio.read(path) for path in paths[start : start + CHUNK]])
        rows += [asdict(answer) for answer in answers]
    decoded = pd.DataFrame(rows).rename(columns={"text": "hypothesis"})
    return pd.concat([utterances[["utterance_id"]].reset_index(drop=True), decoded], axis=1)


def transcribe_paths(recognizer: Recognizer, paths: Sequence[str]) -> list[Hypothesis]:
    """Write one hypothesis a file, in their order, and never hold the sound of more than `CHUNK`."""
    listed = list(paths)
    return [answer for start in range(0, len(listed), CHUNK) for answer in
            recognizer.transcribe([audio.read(path) for path in listed[start : start + CHUNK]])]


def transcribe_file(recognizer: Recognizer, path: Path) -> str:
    """Write down one file of any length, in pieces of 30 s."""
    samples = audio.read(path)
    size = int(MAX_CLIP_S * audio.SAMPLE_RATE_HZ)
    pieces = [samples[start : start + size] for start in range(0, len(samples), size)]
    return " ".join(h.text for h in recognizer.transcribe(pieces) if h.text)
