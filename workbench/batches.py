"""From a table of utterances to training batches: read, disturb, pad, and spell; every batch is named by its step.

Nothing here keeps state: batch `step` of `seed` is the same whether the training was interrupted or not.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from whisper.tokenizer import Tokenizer, get_tokenizer

from workbench import audio, prompts
from workbench.errors import ManifestError
from workbench.letters import CHARACTERS
from workbench.recipes import Recipe
from workbench.whisper_model import TEXT_CONTEXT, SpeechModel, log_mel

BUCKET_BATCHES = 16
"""Clips are sorted by length within this many batches: padding stays small and the order stays random."""

MOST_MAKERS = 8
"""Processes that make batches for one GPU. With an H100 (tiny's size, 64 clips of 3 s) a step that waits for nothing
takes 40 ms, with batches of 8 processes 48, of 4 69; one makes such a batch in 167 (benchmarks/batches_ahead.py)."""

IGNORED = -100
"""The target that cross-entropy leaves out. Source: torch.nn.functional.cross_entropy, ignore_index."""

N_SPECIAL = 4
"""The most tokens before a reference's own. Source: whisper.tokenizer, sot_sequence_including_notimestamps."""

N_LANGUAGES = 99
"""Languages of every published Whisper before large-v3, which has one more. Source: whisper.tokenizer.get_tokenizer."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Batch:
    """One step's input.

    Shape: mel [B, M, F]; tokens [B, V] as the decoder reads them; targets [B, V] as it should write them (IGNORED over
    prompts and past the end); letters, all clips' characters in a row; n_letters [B]; n_frames [B] encoder frames that
    hold the clip.
    A part of a batch knows which share of the whole's tokens and clips it holds: what its mean losses weigh.
    """

    mel: Tensor
    tokens: Tensor
    targets: Tensor
    letters: Tensor
    n_letters: Tensor
    n_frames: Tensor
    token_share: float = 1.0
    clip_share: float = 1.0

    def part(self, rows: slice) -> "Batch":
        """Give some rows, padded as the whole is; no row at all becomes the first one without any weight."""
        n_clips, rows = rows.stop - rows.start, rows if rows.stop > rows.start else slice(0, 1)
        ends = torch.cumsum(self.n_letters, 0)
        first = int(ends[rows.start - 1]) if rows.start else 0
        n_tokens = int((self.targets[rows] != IGNORED).sum()) if n_clips else 0
        return Batch(self.mel[rows], self.tokens[rows], self.targets[rows],
                     self.letters[first : int(ends[rows.stop - 1])], self.n_letters[rows], self.n_frames[rows],
                     token_share=n_tokens / int((self.targets != IGNORED).sum()),
                     clip_share=n_clips / len(self.n_letters))


@lru_cache(maxsize=4)
def tokenizer(is_multilingual: bool, language: str = "en", n_languages: int = N_LANGUAGES) -> Tokenizer:
    """Give Whisper's tokenizer for a kind of model; with another number of languages other numbers are special."""
    return get_tokenizer(is_multilingual, num_languages=n_languages, language=language if is_multilingual else None,
                         task="transcribe" if is_multilingual else None)


def tokenizer_of(model: SpeechModel) -> Tokenizer:
    """Give the tokenizer of a model's own vocabulary."""
    return tokenizer(model.whisper.is_multilingual, model.language, model.whisper.num_languages)


def spell_tokens(text: str, words: Tokenizer, names: Sequence[str] = (), n_text_ctx: int = TEXT_CONTEXT,
                 ) -> tuple[list[int], list[int]]:
    """Give what the decoder reads and what it should write for a reference, after a prompt of names if there are any.

    A clip without speech teaches `<|nospeech|>` where Whisper looks for it, and an immediate end.
    Source: whisper.decoding.DecodingTask._get_initial_tokens for the prompt; nothing of it is to be written.
    """
    prefix = list(words.sot_sequence_including_notimestamps)
    tokens = words.encode(" " + text) if text else []
    read = prefix + tokens
    first = prefix[1:] if text else [words.no_speech, *prefix[2:]]
    shown = prompts.spell(names, words.encode, min(prompts.n_longest(n_text_ctx), n_text_ctx - 1 - len(read)))
    prompt = [words.sot_prev, *shown] if shown else []
    return prompt + read, [*[IGNORED] * len(prompt), *first, *tokens, words.eot]


def spell_letters(text: str) -> list[int]:
    """Give a reference's classes for the character head; what it cannot spell is left out."""
    return [CHARACTERS.index(letter) + 1 for letter in text if letter in CHARACTERS]


def epoch_order(durations_s: np.ndarray, batch_size: int, seed: int, epoch: int, *, is_eased: bool = False,
                ) -> list[np.ndarray]:
    """Shuffle utterances into batches of like length. Returns: row numbers, a list a batch.

    In an eased epoch the batches of short utterances come first: a model from nothing finds letters sooner among few.
    Source: SortaGrad, Amodei et al., "Deep Speech 2", arXiv 1512.02595, section 3.2.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(durations_s))
    span = batch_size * BUCKET_BATCHES
    batches: list[np.ndarray] = []
    for start in range(0, len(order), span):
        bucket = order[start : start + span]
        bucket = bucket[np.argsort(durations_s[bucket], kind="stable")]
        batches += [bucket[i : i + batch_size] for i in range(0, len(bucket), batch_size)]
    shuffled = [batches[i] for i in rng.permutation(len(batches))]
    return sorted(shuffled, key=lambda rows: float(durations_s[rows].mean())) if is_eased else shuffled


def generator(seed: int, step: int) -> torch.Generator:
    """Give the chance of one step, apart from every other step's."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step) % 2**63)


class _Made(Dataset[T]):
    """What a function makes of numbers, as PyTorch's loader wants it."""

    def __init__(self, make: Callable[[int], T]) -> None:
        self._make = make

    def __getitem__(self, number: int) -> T:
        return self._make(number)


def ahead(make: Callable[[int], T], numbers: range, n_makers: int) -> Iterator[T]:
    """Make batches in their order: by so many processes, some before they are asked for; with none, when asked."""
    made: DataLoader[T] = DataLoader(_Made(make), sampler=numbers, batch_size=None, num_workers=n_makers,
                                     generator=torch.Generator())  # else it would draw from the chance of all
    return iter(made)


def n_makers(device: str) -> int:
    """Say how many processes make batches: none on a processor, which trains; for a GPU one a core up to the most."""
    return 0 if device == "cpu" else min(MOST_MAKERS, os.cpu_count() or 1)


class BatchSource:
    """Makes the batch of any step of a training from its table, recipe and seed; `n_eased_epochs` begin it."""

    def __init__(self, table: pd.DataFrame, recipe: Recipe, model: SpeechModel, *, seed: int, n_eased_epochs: int = 0,
                 ) -> None:
        self.paths, self.references = table["audio_path"].array, table["reference"].array  # a list takes thrice as much
        self.durations_s = table["duration_s"].to_numpy(float)
        self.recipe, self.model, self.seed, self.n_eased_epochs = recipe, model, seed, n_eased_epochs
        self.words = tokenizer_of(model)
        self._check_lengths(table)
        self.n_batches = len(epoch_order(self.durations_s, recipe.fit.batch_size, seed, 0))
        self._epochs: dict[int, list[np.ndarray]] = {}
        share = recipe.fit.prompt_share
        self._lists = prompts.Lists(self.references, share) if share else None

    def _check_lengths(self, table: pd.DataFrame) -> None:
        """Look for references that the decoder cannot hold; a token is a letter at least. Raises: ManifestError."""
        most = self.model.dims.n_text_ctx
        for row in table[table["reference"].str.len() > most - N_SPECIAL].itertuples():
            n_tokens = len(spell_tokens(str(row.reference), self.words)[0])
            if n_tokens > most:
                raise ManifestError(f"the reference of {row.utterance_id} has {n_tokens} tokens, the model writes at "
                                    f"most {most}: shorten it to what this clip says, or leave the row out")

    def batch(self, step: int) -> Batch:
        """Make the batch of a step, the same whenever it is asked for."""
        epoch, within = divmod(step, self.n_batches)
        if epoch not in self._epochs:
            order = epoch_order(self.durations_s, self.recipe.fit.batch_size, self.seed, epoch,
                                is_eased=epoch < self.n_eased_epochs)
            self._epochs = {epoch: order}
        rows = self._epochs[epoch][within]
        rng = generator(self.seed, step)
        waveforms = [self._disturbed(row, rng) for row in rows]
        return self._collate(waveforms, [self.references[row] for row in rows], self._names(rows, step), rng)

    def _names(self, rows: np.ndarray, step: int) -> list[list[str]]:
        """Draw each utterance's list, apart from what disturbs the sound: clips are alike with lists and without."""
        rng = np.random.default_rng([self.seed, step, 1])
        return [self._lists.draw(int(row), rng) if self._lists else [] for row in rows]

    def _disturbed(self, row: int, rng: torch.Generator) -> Tensor:
        waveform = torch.from_numpy(audio.read(self.paths[row]))
        for augmentation in self.recipe.augmentations:
            waveform = augmentation(waveform, rng)
        return waveform

    def _collate(self, waveforms: Sequence[Tensor], texts: Sequence[str], names: Sequence[Sequence[str]],
                 rng: torch.Generator) -> Batch:
        longest = self.model.context_samples(max(len(w) for w in waveforms))
        padded = torch.stack([F.pad(w[:longest], (0, longest - len(w[:longest]))) for w in waveforms])
        mel = log_mel(padded, self.model.dims.n_mels)
        if self.recipe.spec_augment is not None:
            mel = self.recipe.spec_augment(mel, rng)
        spelled = [spell_tokens(text, self.words, listed, self.model.dims.n_text_ctx)
                   for text, listed in zip(texts, names, strict=True)]
        letters = [spell_letters(text) for text in texts]
        return Batch(
            mel=mel,
            tokens=_padded([read for read, _ in spelled], self.words.eot),
            targets=_padded([write for _, write in spelled], IGNORED),
            letters=torch.tensor([letter for clip in letters for letter in clip], dtype=torch.long),
            n_letters=torch.tensor([len(clip) for clip in letters]),
            n_frames=torch.full((len(texts),), mel.shape[2] // 2),
        )


def _padded(rows: Sequence[Sequence[int]], filler: int) -> Tensor:
    longest = max(len(row) for row in rows)
    return torch.tensor([[*row, *[filler] * (longest - len(row))] for row in rows])
