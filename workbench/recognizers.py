"""From recordings to hypotheses: the protocol, Whisper in PyTorch behind it, and decodes of whole tables, cached."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
import torch
import whisper
from torch import Tensor
from torch.nn import functional as F

from workbench import audio, progress, storage, text, whisper_model
from workbench.records import Hypothesis
from workbench.whisper_model import CHARACTERS, SpeechModel

BATCH_SIZE = 32
"""Clips a batch: on two cores larger ones gain nothing more."""

TOKENS_PER_SECOND = 8
"""The longest answer that a clip's length allows; fast English speech is about 6 tokens a second."""

SPARE_TOKENS = 8
"""Tokens beyond TOKENS_PER_SECOND, for clips shorter than their words' first tokens."""

MAX_CLIP_S = 30.0
"""Longer recordings are cut into pieces of Whisper's own window."""


class Recognizer(Protocol):
    """Anything that writes down what recordings say."""

    def transcribe(self, recordings: Sequence[np.ndarray]) -> list[Hypothesis]:
        """Write one hypothesis a recording (float32 mono samples at 16 kHz), in their order."""
        ...


class WhisperRecognizer:
    """A checkpoint of the workbench or a published one, decoded greedily by Whisper's own decoder."""

    def __init__(self, model: SpeechModel, *, language: str = "en") -> None:
        self.model, self.language = model, language

    def transcribe(self, recordings: Sequence[np.ndarray]) -> list[Hypothesis]:
        """Decode batches of equal context, so that a clip's answer does not depend on its neighbours."""
        self.model.eval()
        contexts = np.array([self.model.context_samples(len(r)) for r in recordings], dtype=int)
        answers: dict[int, Hypothesis] = {}
        for context in np.unique(contexts):
            members = np.flatnonzero(contexts == context)
            for start in range(0, len(members), BATCH_SIZE):
                rows = members[start : start + BATCH_SIZE]
                answers.update(
                    zip(rows.tolist(), self._decode([recordings[row] for row in rows], int(context)), strict=True)
                )
        return [answers[row] for row in range(len(recordings))]

    @torch.inference_mode()
    def _decode(self, recordings: Sequence[np.ndarray], n_samples: int) -> list[Hypothesis]:
        padded = np.stack([np.pad(r[:n_samples], (0, n_samples - len(r[:n_samples]))) for r in recordings])
        mel = whisper_model.log_mel(torch.from_numpy(padded).to(self.model.device), self.model.dims.n_mels)
        encoded = self.model.whisper.encoder(mel)
        longest = (
            max(len(r) for r in recordings) / audio.SAMPLE_RATE_HZ
            if self.model.context == "padded"
            else n_samples / audio.SAMPLE_RATE_HZ
        )
        options = whisper.DecodingOptions(
            language=self.language,
            without_timestamps=True,
            suppress_blank=False,
            length_penalty=0.0,  # there is one candidate; the default divides by the length of an empty answer
            fp16=False,
            sample_len=min(int(longest * TOKENS_PER_SECOND) + SPARE_TOKENS, self.model.dims.n_text_ctx // 2),
        )
        results = whisper.decode(_Encoded(self.model), encoded, options)
        letters = None if self.model.head is None else self.model.letters(encoded)
        return [
            Hypothesis(
                r.text,
                float(r.avg_logprob),
                float(r.no_speech_prob),
                float(r.compression_ratio),
                *_heard(letters[i], r.text) if letters is not None else (),
            )
            for i, r in enumerate(results)
        ]


class _Encoded:
    """A Whisper whose encoder passes on what is encoded already, for `whisper.decode`."""

    def __init__(self, model: SpeechModel) -> None:
        self._whisper = model.whisper
        self.encoder = lambda encoded: encoded

    def __getattr__(self, name: str) -> object:
        return getattr(self._whisper, name)


def _heard(letters: Tensor, answer: str) -> tuple[str, float]:
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


def load(model: str | Path) -> WhisperRecognizer:
    """Open a model by path, run's name or published name."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return WhisperRecognizer(whisper_model.load(whisper_model.find(str(model)), device=device))


def transcribe(checkpoint: Path, utterances: pd.DataFrame) -> pd.DataFrame:
    """Decode a table's recordings with a checkpoint, once: the same weights and audio are read from the cache.

    Returns: utterance_id, hypothesis, and the other fields of `Hypothesis`.
    """
    code = [storage.hash_file(Path(str(m))) for m in (__file__, whisper_model.__file__)]
    key = storage.hash_value([storage.hash_file(checkpoint), utterances["audio_sha"].tolist(), code])[:16]
    cached = storage.cache_folder("decodes") / f"{key}.parquet"
    if not cached.is_file():
        storage.write_table(cached, _decode_all(load(checkpoint), utterances["audio_path"].tolist()))
    return pd.concat([utterances[["utterance_id"]].reset_index(drop=True), pd.read_parquet(cached)], axis=1)


def _decode_all(recognizer: Recognizer, paths: Sequence[str]) -> pd.DataFrame:
    chunk, rows = BATCH_SIZE * 8, []
    for start in progress.track(range(0, len(paths), chunk), "decoding"):
        heard = recognizer.transcribe([audio.read(path) for path in paths[start : start + chunk]])
        rows += [asdict(hypothesis) for hypothesis in heard]
    return pd.DataFrame(rows).rename(columns={"text": "hypothesis"})


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
