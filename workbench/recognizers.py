"""From recordings to hypotheses: the protocol, Whisper in PyTorch behind it, and decodes of whole tables, cached."""

import copy
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Protocol, Self

import numpy as np
import pandas as pd
import torch
import whisper
from torch import Tensor
from torch.nn import functional as F
from torchaudio.functional import forced_align
from whisper.model import ModelDimensions

from workbench import audio, progress, storage, text, whisper_model
from workbench.biasing import BiasingList
from workbench.records import Hypothesis
from workbench.whisper_model import CHARACTERS, Context, SpeechModel

BATCH_SIZE = 32
"""Clips a batch: on two cores larger ones gain nothing more."""

TOKENS_PER_SECOND = 8
"""The longest answer that a clip's length allows; fast English speech is about 6 tokens a second."""

SPARE_TOKENS = 8
"""Tokens beyond TOKENS_PER_SECOND, for clips shorter than their words' first tokens."""

FRAME_S = 0.02
"""A frame of the encoder: two of Whisper's hops of 10 ms."""

MAX_CLIP_S = 30.0
"""Longer recordings are cut into pieces of Whisper's own window."""


class Recognizer(Protocol):
    """Anything that writes down what recordings say."""

    def transcribe(self, recordings: Sequence[np.ndarray]) -> list[Hypothesis]:
        """Write one hypothesis a recording (float32 mono samples at 16 kHz), in their order."""
        ...


class ShortContextRecognizer(ABC):
    """Decodes in batches of equal context, so that a clip's answer does not depend on its neighbours.

    What every engine shares is here: how clips become frames, how long an answer may be, what letters were heard, and
    what the biasing list makes of both.
    """

    context: Context
    dims: ModelDimensions
    device: torch.device
    has_head: bool
    biasing = BiasingList()

    def biased(self, biasing: BiasingList) -> Self:
        """Give a recognizer that shares the weights and holds its answers against a biasing list.

        Without a character head there are no letters to hold them against, and answers stay as they are.
        """
        made = copy.copy(self)
        made.biasing = biasing
        return made

    @abstractmethod
    def _decode(self, mel: Tensor, n_tokens: int) -> list[Hypothesis]:
        """Answer a batch of log-mel frames [B, M, F] with at most `n_tokens` tokens each."""

    def transcribe(self, recordings: Sequence[np.ndarray]) -> list[Hypothesis]:
        """Write one hypothesis a recording, in their order."""
        contexts = np.array([whisper_model.context_samples(len(r), self.context) for r in recordings], dtype=int)
        answers: dict[int, Hypothesis] = {}
        for n_samples in np.unique(contexts):
            members = np.flatnonzero(contexts == n_samples)
            for start in range(0, len(members), BATCH_SIZE):
                rows = members[start : start + BATCH_SIZE].tolist()
                answers.update(zip(rows, self._batch([recordings[row] for row in rows], int(n_samples)), strict=True))
        return [answers[row] for row in range(len(recordings))]

    def _with_letters(self, answer: Hypothesis, letters: Tensor) -> Hypothesis:
        """Add what the character head heard, and let a name of the biasing list into the answer where it heard one."""
        written = self.biasing.rescored(letters, answer.text)
        spelled, gap = heard(letters, written)
        return replace(answer, text=written, heard_letters=spelled, ctc_gap=gap,
                       biased_from="" if written == answer.text else answer.text)

    @torch.inference_mode()
    def _batch(self, recordings: Sequence[np.ndarray], n_samples: int) -> list[Hypothesis]:
        padded = np.stack([np.pad(r[:n_samples], (0, n_samples - len(r[:n_samples]))) for r in recordings])
        mel = whisper_model.log_mel(torch.from_numpy(padded).to(self.device), self.dims.n_mels)
        longest = max(len(r) for r in recordings) if self.context == "padded" else n_samples
        n_tokens = int(longest / audio.SAMPLE_RATE_HZ * TOKENS_PER_SECOND) + SPARE_TOKENS
        return self._decode(mel, min(n_tokens, self.dims.n_text_ctx // 2))


class WhisperRecognizer(ShortContextRecognizer):
    """A checkpoint of the workbench or a published one, decoded greedily by Whisper's own decoder.

    With `has_times` and a character head, answers also tell when each word was said.
    """

    def __init__(self, model: SpeechModel, *, language: str = "en", has_times: bool = False) -> None:
        self.model, self.language, self.has_times = model, language, has_times
        self.context, self.dims, self.device = model.context, model.dims, model.device
        self.has_head = model.head is not None

    def _decode(self, mel: Tensor, n_tokens: int) -> list[Hypothesis]:
        self.model.eval()
        encoded = self.model.whisper.encoder(mel)
        results = whisper.decode(_Encoded(self.model), encoded, decoding_options(n_tokens, self.language))
        letters = None if self.model.head is None else self.model.letters(encoded).cpu()
        return [self._hypothesis(r, None if letters is None else letters[i]) for i, r in enumerate(results)]

    def _hypothesis(self, result: whisper.DecodingResult, letters: Tensor | None) -> Hypothesis:
        answer = Hypothesis(result.text, float(result.avg_logprob), float(result.no_speech_prob),
                            float(result.compression_ratio))
        if letters is None:
            return answer
        answer = self._with_letters(answer, letters)
        return replace(answer, word_times=json.dumps(word_times(letters, answer.text))) if self.has_times else answer


def decoding_options(n_tokens: int | None = None, language: str = "en") -> whisper.DecodingOptions:
    """Say how every engine decodes: greedily, without timestamps, free to answer nothing."""
    return whisper.DecodingOptions(
        language=language,
        without_timestamps=True,
        suppress_blank=False,
        length_penalty=0.0,  # there is one candidate; the default divides by the length of an empty answer
        fp16=False,
        sample_len=n_tokens,
    )


class _Encoded:
    """A Whisper whose encoder passes on what is encoded already, for `whisper.decode`."""

    def __init__(self, model: SpeechModel) -> None:
        self._whisper = model.whisper
        self.encoder = lambda encoded: encoded

    def __getattr__(self, name: str) -> object:
        return getattr(self._whisper, name)


def heard(letters: Tensor, answer: str) -> tuple[str, float]:
    """Spell what the character head hears, and how much better that fits than the answer does.

    Shape: letters [F, 1 + characters], log-probabilities.
    Returns: the letters; nats a character between the best path and the answer's paths, 0 or a little below when equal.
    """
    best, classes = letters.max(-1)
    collapsed = torch.unique_consecutive(classes)
    spelled = "".join(CHARACTERS[c - 1] for c in collapsed.tolist() if c > 0)
    target = torch.tensor(
        [CHARACTERS.index(c) + 1 for c in text.normalize(answer) if c in CHARACTERS], dtype=torch.long
    )
    lengths = torch.tensor([len(letters)]), torch.tensor([len(target)])
    fit = -F.ctc_loss(letters[:, None], target[None], *lengths, reduction="sum")
    return " ".join(spelled.split()), float(best.sum() - fit) / max(1, len(target))


def word_times(letters: Tensor, answer: str) -> list[tuple[str, float, float]]:
    """Say when each word of an answer was said, by the likeliest path of its letters through what was heard.

    Shape: letters [F, 1 + characters], log-probabilities.
    Returns: word, start, end (seconds); nothing for words that cannot be spelled or do not fit into the frames.
    """
    words = [word for word in text.normalize(answer).split() if set(word) <= set(CHARACTERS)]
    spelled = [(CHARACTERS.index(c) + 1, i) for i, word in enumerate(words) for c in f" {word}"[i == 0 :]]
    n_repeats = sum(a[0] == b[0] for a, b in zip(spelled, spelled[1:], strict=False))  # these need a blank between
    if not words or len(spelled) + n_repeats > len(letters):
        return []
    path = forced_align(letters[None], torch.tensor([[c for c, _ in spelled]]))[0][0]
    new = (path > 0) & (path != torch.cat([path.new_zeros(1), path[:-1]]))
    of_letter = torch.cumsum(new, 0) - 1
    spans: dict[int, list[int]] = {}
    for frame in torch.nonzero(path > 0)[:, 0].tolist():
        letter, word_number = spelled[int(of_letter[frame])]
        if letter != CHARACTERS.index(" ") + 1:
            spans.setdefault(word_number, []).append(frame)
    return [(words[i], round(f[0] * FRAME_S, 2), round((f[-1] + 1) * FRAME_S, 2)) for i, f in spans.items()]


def load(model: str | Path, *, has_times: bool = False) -> WhisperRecognizer:
    """Open a model by path, run's name or published name."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    found = whisper_model.load(whisper_model.find(str(model)), device=device)
    return WhisperRecognizer(found, has_times=has_times)


def transcribe(checkpoint: Path, utterances: pd.DataFrame) -> pd.DataFrame:
    """Decode a table's recordings with a checkpoint, once: the same weights and audio are read from the cache.

    Returns: utterance_id, hypothesis, and the other fields of `Hypothesis`.
    """
    code = [storage.hash_file(Path(str(m))) for m in (__file__, whisper_model.__file__)]
    key = storage.hash_value([storage.hash_file(checkpoint), utterances["audio_sha"].tolist(), code])[:16]
    cached = storage.cache_folder("decodes") / f"{key}.parquet"
    if not cached.is_file():
        storage.write_table(cached, decode(load(checkpoint, has_times=True), utterances).drop(columns="utterance_id"))
    return pd.concat([utterances[["utterance_id"]].reset_index(drop=True), pd.read_parquet(cached)], axis=1)


def decode(recognizer: Recognizer, utterances: pd.DataFrame) -> pd.DataFrame:
    """Decode a table's recordings with any recognizer, without the cache. Returns: what `transcribe` does."""
    paths, chunk, rows = utterances["audio_path"].tolist(), BATCH_SIZE * 8, []
    for start in progress.track(range(0, len(paths), chunk), "decoding"):
        answers = recognizer.transcribe([audio.read(path) for path in paths[start : start + chunk]])
        rows += [asdict(answer) for answer in answers]
    decoded = pd.DataFrame(rows).rename(columns={"text": "hypothesis"})
    return pd.concat([utterances[["utterance_id"]].reset_index(drop=True), decoded], axis=1)


def transcribe_file(recognizer: Recognizer, path: Path) -> str:
    """Write down one file of any length, in pieces of 30 s."""
    samples = audio.read(path)
    size = int(MAX_CLIP_S * audio.SAMPLE_RATE_HZ)
    pieces = [samples[start : start + size] for start in range(0, len(samples), size)]
    return " ".join(h.text for h in recognizer.transcribe(pieces) if h.text)


class PlainWhisper:
    """A checkpoint as anyone else would use it: `whisper.load_model`, thirty seconds a clip, Whisper's own defaults."""

    def __init__(self, checkpoint: Path) -> None:
        self.model = whisper.load_model(str(checkpoint), device="cpu")

    def transcribe(self, recordings: Sequence[np.ndarray]) -> list[Hypothesis]:
        """Decode one recording at a time with `whisper.decode`."""
        answers = []
        for recording in recordings:
            mel = whisper.log_mel_spectrogram(whisper.pad_or_trim(recording), n_mels=self.model.dims.n_mels)
            options = whisper.DecodingOptions(language="en", without_timestamps=True, fp16=False)
            result = whisper.decode(self.model, mel, options)
            answers.append(Hypothesis(result.text, result.avg_logprob, result.no_speech_prob, result.compression_ratio))
        return answers
