"""Whisper in PyTorch as a recognizer: ours, the reference that other engines are held against, and anyone else's."""

import copy
import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
import torch
import whisper
from torch import Tensor
from torchaudio.functional import forced_align
from whisper.decoding import DecodingTask, SequenceRanker
from whisper.tokenizer import Tokenizer

from workbench import (
    batches,
    biasing,
    frames,
    letters,
    many_machines,
    prompts,
    recognizing,
    repetition,
    side_by_side,
    storage,
    text,
    whisper_model,
)
from workbench.audio import Samples
from workbench.letters import CHARACTERS
from workbench.recognizing import BATCH_SIZE, CHUNK, Batch
from workbench.recognizing import Recognizer as Recognizer  # what callers name, whichever engine they have
from workbench.recognizing import ShortContextRecognizer as ShortContextRecognizer
from workbench.recognizing import decode as decode
from workbench.recognizing import transcribe_file as transcribe_file
from workbench.records import Hypothesis
from workbench.whisper_model import SpeechModel

FRAME_S = 0.02
"""A frame of the encoder: two of Whisper's hops of 10 ms."""


class WhisperRecognizer(ShortContextRecognizer):
    """A checkpoint of the workbench or a published one, decoded greedily by Whisper's own decoder.

    With `has_times` and a character head, answers also tell when each word was said.
    """

    def __init__(self, model: SpeechModel, *, has_times: bool = False) -> None:
        self.model, self.has_times = model, has_times
        self.context, self.n_text_ctx, self.has_head = model.context, model.dims.n_text_ctx, model.head is not None
        self.n_prompt_names, self.language = model.n_prompt_names, model.language
        at_tiny, most = (BATCH_SIZE, 2 * BATCH_SIZE) if model.device.type == "cpu" else (CHUNK, CHUNK)
        self.batch_size = recognizing.batch_size(model.dims.n_audio_state, at_tiny, most)

    def _encode(self, words: str) -> list[int]:
        return list(batches.tokenizer_of(self.model).encode(words))

    def _batches(self, batches: Sequence[Batch]) -> list[list[Hypothesis]]:
        """Answer all batches, on a processor some at once."""
        # Products below tiny's width are too small to be divided among cores: `benchmarks/at_once.py`.
        is_narrow = self.model.dims.n_audio_state < frames.TINY_WIDTH and self.model.device.type == "cpu"
        n = min(len(batches), torch.get_num_threads()) if is_narrow else 1
        if n <= 1:
            return self._each(batches)
        rest = enumerate(batches)  # of which each takes the next one
        shares = side_by_side.run([partial(self._twin()._some, rest) for _ in range(n)])
        heard = dict(itertools.chain.from_iterable(shares))
        return [heard[number] for number in range(len(batches))]

    def _some(self, batches: Iterable[tuple[int, Batch]]) -> list[tuple[int, list[Hypothesis]]]:
        return [(number, self._batch(*batch)) for number, batch in batches]

    def _each(self, batches: Sequence[Batch]) -> list[list[Hypothesis]]:
        return super()._batches(batches)

    def _twin(self) -> Self:
        """Give one of the same weights that a thread has to itself: Whisper's decoder keeps its past in hooks."""
        twin = copy.copy(self)
        weights = itertools.chain(self.model.parameters(), self.model.buffers())
        twin.model = copy.deepcopy(self.model, {id(tensor): tensor for tensor in weights})
        return twin

    @torch.inference_mode()
    def _decode(self, waveforms: Samples, n_tokens: int) -> list[Hypothesis]:
        self.model.eval()
        mel = whisper_model.log_mel(torch.from_numpy(waveforms).to(self.model.device), self.model.dims.n_mels)
        encoded = self.model.whisper.encoder(mel)
        heard = self.model.letters(encoded).cpu() if self.model.head is not None else None
        options = decoding_options(n_tokens, self.model.language, self._prompt())
        if self.biasing.n_best > 1:
            answers = self._chosen_answers(encoded, heard, replace(options, beam_size=self.biasing.n_best))
        else:
            answers = [_hypothesis(r) for r in whisper.decode(_Encoded(self.model), encoded, options)]
        if heard is None:
            return answers
        answers = self._with_letters(answers, heard)
        return [self._with_times(*pair) for pair in zip(answers, heard, strict=True)] if self.has_times else answers

    def _chosen_answers(self, encoded: Tensor, heard: Tensor | None, options: whisper.DecodingOptions,
                        ) -> list[Hypothesis]:
        """Search for several hypotheses of each clip, and choose; whisper's own search takes one clip at a time."""
        task, answers = DecodingTask(_Encoded(self.model), options), []
        for row in range(len(encoded)):
            task.sequence_ranker = beam = _Beam(task.tokenizer)
            best = _hypothesis(task.run(encoded[row : row + 1])[0])
            answers.append(self._chosen(best, beam.texts, beam.scores, None if heard is None else heard[row].numpy()))
        return answers

    def _with_times(self, answer: Hypothesis, heard: Tensor) -> Hypothesis:
        return replace(answer, word_times=json.dumps(word_times(heard, answer.text)))


class _Beam(SequenceRanker):
    """Takes the likeliest hypothesis of one clip, and keeps all of them, the likeliest first."""

    def __init__(self, words: Tokenizer) -> None:
        self._words, self.texts, self.scores = words, list[str](), list[float]()

    def rank(self, tokens: list[list[Tensor]], sum_logprobs: list[list[float]]) -> list[int]:
        order = sorted(range(len(tokens[0])), key=lambda i: -sum_logprobs[0][i])
        written = [self._words.decode(tokens[0][i].tolist()).strip() for i in order]
        self.texts = [repetition.said_once(words) for words in written]
        self.scores = [sum_logprobs[0][i] for i in order]
        return order[:1]


def _hypothesis(r: whisper.DecodingResult) -> Hypothesis:
    words = repetition.said_once(r.text)
    return Hypothesis(words, float(r.avg_logprob), float(r.no_speech_prob), float(r.compression_ratio))


def decoding_options(n_tokens: int | None = None, language: str = "en", prompt: Sequence[int] = (),
                     ) -> whisper.DecodingOptions:
    """Say how every engine decodes: greedily, without timestamps, free to answer nothing; after a prompt, if any."""
    return whisper.DecodingOptions(
        language=language,
        without_timestamps=True,
        suppress_blank=False,
        length_penalty=0.0,  # there is one candidate; the default divides by the length of an empty answer
        fp16=False,
        sample_len=n_tokens,
        prompt=list(prompt) or None,
    )


class _Encoded:
    """A Whisper whose encoder passes on what is encoded already, for `whisper.decode`."""

    def __init__(self, model: SpeechModel) -> None:
        self._whisper = model.whisper
        self.encoder = lambda encoded: encoded

    def __getattr__(self, name: str) -> object:
        return getattr(self._whisper, name)


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
    parts = (biasing, frames, letters, prompts, recognizing, repetition, whisper_model)
    code = [storage.hash_file(Path(str(part))) for part in (__file__, *(part.__file__ for part in parts))]
    key = storage.hash_value([storage.hash_file(checkpoint), utterances["audio_sha"].tolist(), code])[:16]
    cached = storage.cache_folder("decodes") / f"{key}.parquet"
    if not cached.is_file():
        heard = many_machines.decode(partial(load, checkpoint, has_times=True), utterances)
        storage.write_table(cached, heard.drop(columns="utterance_id"))
    return pd.concat([utterances[["utterance_id"]].reset_index(drop=True), pd.read_parquet(cached)], axis=1)


class PlainWhisper:
    """A checkpoint as anyone else would use it: `whisper.load_model`, thirty seconds a clip, Whisper's own defaults."""

    def __init__(self, checkpoint: Path) -> None:
        self.model = whisper.load_model(str(checkpoint), device="cpu")
        self.language = str(whisper_model.notes(checkpoint).get("language", "en"))

    def transcribe(self, recordings: Sequence[np.ndarray]) -> list[Hypothesis]:
        """Decode with `whisper.decode`, some clips at a time: each answer is the one that it gets alone."""
        answers = []
        for start in range(0, len(recordings), BATCH_SIZE):
            padded = [whisper.pad_or_trim(one) for one in recordings[start : start + BATCH_SIZE]]
            mel = torch.stack([whisper.log_mel_spectrogram(one, n_mels=self.model.dims.n_mels) for one in padded])
            options = whisper.DecodingOptions(language=self.language, without_timestamps=True, fp16=False)
            for r in whisper.decode(self.model, mel, options):
                answers.append(Hypothesis(r.text, r.avg_logprob, r.no_speech_prob, r.compression_ratio))
        return answers
