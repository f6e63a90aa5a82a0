"""The fast engine at work: what `engines` exported, heard by CTranslate2. It loads neither PyTorch nor whisper.

An engine is a folder: CTranslate2's files, the character head, and `workbench.json`, which says what it was made from
and what every file hashes to.
"""

import ctypes
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
import threadpoolctl
import tiktoken

from workbench import frames, letters, recognizing, repetition, storage
from workbench.audio import Samples
from workbench.errors import CheckpointError
from workbench.recognizing import Batch
from workbench.records import Hypothesis

FACTS = "workbench.json"
FORMAT = 1
"""What export writes; an engine of another format is made anew."""
VOCABULARY = "vocabulary.json"
"""CTranslate2's list of tokens by number, each byte of them a letter (latin-1)."""
TASK = ("<|startoftranscript|>", "<|{language}|>", "<|transcribe|>", "<|notimestamps|>")
"""What a multilingual model's decoder begins with; an English one has neither the second nor the third.

Source: whisper.tokenizer.Tokenizer.sot_sequence_including_notimestamps."""
FIRST_TIME, FIRST_SPECIAL, BEFORE = "<|0.00|>", "<|endoftext|>", "<|startofprev|>"
BATCH_SIZE = 8
"""Clips of tiny's width a batch, of which a core has one: larger ones take memory.

With it a server of small's shape held 530 MB at sixteen phones (`benchmarks/http_throughput.py --shape small`)."""
MOST_AT_ONCE = 8
"""Batches at once on a processor of many cores, which take memory each: a table's chunk has twice as many."""
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Source: malloc.h of the GNU C library."""
KEPT_BYTES, MOST_BYTES = 1 << 30, 1 << 25
"""Of freed memory, how much a process keeps, in blocks of up to how much; the library takes no more of the second."""
PIECES = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
"""What is never merged across. Source: whisper.tokenizer.get_encoding."""


def facts(folder: Path) -> Mapping[str, Any]:
    """Read what an engine was made from, and see that its files are whole.

    Raises: CheckpointError when something is missing, damaged, or of another format.
    """
    try:
        found = dict(json.loads((folder / FACTS).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        found = {}
    if found.get("format") != FORMAT:
        raise CheckpointError(f"{folder} is no engine of this workbench ({FACTS} is missing, damaged or of another "
                              "format); export the checkpoint again")
    for name, sha in found["files"].items():
        path = folder / name
        if not path.is_file() or storage.hash_file(path) != sha:
            what = "damaged" if path.is_file() else "missing"
            raise CheckpointError(f"{path} is {what}; export the checkpoint again")
    return found


class Words:
    """An engine's tokens: what decoding begins with, and what a sequence of them spells."""

    def __init__(self, folder: Path, language: str) -> None:
        self._names = json.loads((folder / VOCABULARY).read_text(encoding="utf-8"))
        numbers = {name: number for number, name in enumerate(self._names) if name.startswith("<|")}
        # Source: whisper.model.Whisper.is_multilingual; both kinds list all of these names
        task = TASK if len(self._names) >= 51_865 else (TASK[0], TASK[-1])
        self.start = [numbers[name.format(language=language)] for name in task]
        self._first_time, self._first_special, self._before = (numbers[n] for n in (FIRST_TIME, FIRST_SPECIAL, BEFORE))

    def spell(self, tokens: Sequence[int]) -> str:
        """Write tokens as text; times are left out. Source: whisper.tokenizer.Tokenizer.decode."""
        parts = (self._names[token].encode("latin-1") for token in tokens if token < self._first_time)
        return b"".join(parts).decode("utf-8", errors="replace").strip()

    @cached_property
    def _encoding(self) -> tiktoken.Encoding:
        """Whisper's own: a token's number is its rank. Source: whisper.tokenizer.get_encoding."""
        ranks = {name.encode("latin-1"): number for number, name in enumerate(self._names[: self._first_special])}
        return tiktoken.Encoding("engine", pat_str=PIECES, mergeable_ranks=ranks, special_tokens={})

    def encode(self, words: str) -> list[int]:
        """Write text as tokens."""
        return self._encoding.encode_ordinary(words)

    def start_after(self, prompt: Sequence[int]) -> list[int]:
        """Give what decoding begins with: after a prompt, when there is one."""
        return [self._before, *prompt, *self.start] if prompt else self.start


def keep_freed_memory() -> None:
    """Let this process use again what it freed; without the GNU C library nothing changes.

    An engine frees megabytes after each of its products. Given back to the system, they are asked for and filled with
    zeros anew a moment later: under sixteen phones 2,000 pages a query and a tenth of a server's answers. A process
    that decodes one table is spared most of that by the library's own rule, and gains nothing; nor does keeping
    cost it memory (`benchmarks/kept_memory.py`: 1.01 times as fast, 0.995 of the memory).
    """
    malloc_options = getattr(ctypes.CDLL(None), "mallopt", None)
    if malloc_options:
        malloc_options(M_MMAP_THRESHOLD, MOST_BYTES)
        malloc_options(M_TRIM_THRESHOLD, KEPT_BYTES)


def _hears_on_gpu(folder: Path, n_mels: int) -> bool:
    """Tell whether the GPU's libraries are those that CTranslate2 was built for; a tenth of a second is tried."""
    silence = ctranslate2.StorageView.from_array(np.zeros((1, n_mels, 10), dtype=np.float32))
    try:
        ctranslate2.models.Whisper(str(folder), device="cuda").encode(silence, to_cpu=True)
    except RuntimeError as error:
        warnings.warn(f"the engine hears on the processor, for CTranslate2 cannot use the GPU: {error}. For a "
                      "libcublas.so.12: pip install nvidia-cublas-cu12, and its lib folder into LD_LIBRARY_PATH",
                      stacklevel=3)
        return False
    return True


def at_once(width: int, n_cores: int) -> int:
    """Say how many batches a processor should hear at once: a core each up to tiny's width, two of wider models.

    A decoder's steps are too small to be divided among cores: `benchmarks/at_once.py`. Wider ones are not left to one
    core where there are many, since a lone clip would wait for it.
    """
    return min(n_cores, MOST_AT_ONCE if width <= frames.TINY_WIDTH else 2)


class FastRecognizer(recognizing.ShortContextRecognizer):
    """An exported engine: the same answers and fields as `recognizers.WhisperRecognizer`, several times as fast.

    It hears `n_at_once` batches, 0 as many as `at_once` says. They share `n_threads`; 0 is a thread a core. Several
    threads may call one recognizer.
    """

    def __init__(self, folder: Path, *, n_threads: int = 0, n_at_once: int = 0) -> None:
        known = facts(folder)
        keep_freed_memory()
        self.context, self.n_text_ctx = known["context"], known["dims"]["n_text_ctx"]
        self._n_mels, self.n_prompt_names = known["dims"]["n_mels"], known.get("prompt_names", 0)
        device = "cuda" if ctranslate2.get_cuda_device_count() and _hears_on_gpu(folder, self._n_mels) else "cpu"
        compute_type = "float32" if (device, known["quantization"]) == ("cpu", "float16") else "default"
        self._pools = threadpoolctl.ThreadpoolController()
        n_cores = n_threads or self._n_cores()
        if device == "cpu":
            width = known["dims"]["n_audio_state"]
            self.n_at_once = n_at_once or at_once(width, n_cores)
            self.batch_size = recognizing.batch_size(width, BATCH_SIZE, recognizing.BATCH_SIZE)
        n_each = max(1, n_cores // self.n_at_once) if self.n_at_once > 1 else n_threads
        with self._pools.limit(limits=n_cores, user_api="openmp"):  # which CTranslate2 sets here, for PyTorch too
            self._engine = ctranslate2.models.Whisper(str(folder), device=device, compute_type=compute_type,
                                                      inter_threads=self.n_at_once, intra_threads=n_each)
        self.language = known.get("language", "en")
        self._words, self._head = Words(folder, self.language), None
        if "head.npz" in known["files"]:
            with np.load(folder / "head.npz") as head:
                self._head = head["weight"], head["bias"]
        self.has_head = self._head is not None

    def _n_cores(self) -> int:
        """Count the threads that OpenMP may have, by its own environment and ours, or the processor's."""
        return max((pool["num_threads"] for pool in self._pools.select(user_api="openmp").info()),
                   default=os.cpu_count() or 1)

    def transcribe(self, recordings: Sequence[np.ndarray]) -> list[Hypothesis]:
        """Write one hypothesis a recording, in their order."""
        # Numpy has little to multiply here, and threads of its own would spin beside the engine's.
        with self._pools.limit(limits=1, user_api="blas"):
            return super().transcribe(recordings)

    def _batches(self, batches: Sequence[Batch]) -> list[list[Hypothesis]]:
        if min(self.n_at_once, len(batches)) <= 1:
            return super()._batches(batches)
        with ThreadPoolExecutor(self.n_at_once) as pool:
            return list(pool.map(lambda batch: self._batch(*batch), batches))

    def _encode(self, words: str) -> list[int]:
        return self._words.encode(words)

    def _decode(self, waveforms: Samples, n_tokens: int) -> list[Hypothesis]:
        # What is encoded is told from log-mel frames by its shape, so no context may have n_mels encoder frames.
        mel = np.ascontiguousarray(frames.log_mel(waveforms, self._n_mels))
        encoded = self._engine.encode(ctranslate2.StorageView.from_array(mel))
        start, n_best = self._words.start_after(self._prompt()), self.biasing.n_best
        results = self._engine.generate(
            encoded,
            [start] * len(mel),
            beam_size=n_best,
            num_hypotheses=n_best,
            length_penalty=0,
            # It answers with half of this at most, and with this less all but one of what it begins with.
            max_length=max(2 * n_tokens, n_tokens + len(start) - 1),
            return_scores=True,
            return_no_speech_prob=True,
            suppress_blank=False,
        )
        if self._head is None:
            return [self._hypothesis(result, None) for result in results]
        heard = self._letters(encoded, *self._head)
        return self._with_letters([self._hypothesis(*pair) for pair in zip(results, heard, strict=True)], heard)

    def _letters(self, encoded: ctranslate2.StorageView, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
        on_cpu = encoded.to_device(ctranslate2.Device.cpu).to(ctranslate2.DataType.float32)
        return letters.log_softmax(np.array(on_cpu) @ weight.T + bias)

    def _hypothesis(self, result: Any, heard: np.ndarray | None) -> Hypothesis:
        written = [self._words.spell(tokens) for tokens in result.sequences_ids]
        texts = [repetition.said_once(words) for words in written]
        best = Hypothesis(texts[0], float(result.scores[0]) / (len(result.sequences_ids[0]) + 1),
                          float(result.no_speech_prob), repetition.compression_ratio(written[0]))
        return self._chosen(best, texts, result.scores, heard) if len(texts) > 1 else best
