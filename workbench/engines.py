"""The fast engine: any of our checkpoints as a CTranslate2 model, which answers as PyTorch does, and how nearly.

An engine is a folder: CTranslate2's files, the character head, and `workbench.json`, which says what it was made from
and what every file hashes to. Nothing here trains, serves, or decides.
"""

import contextlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import ctranslate2
import numpy as np
import pandas as pd
import torch
from ctranslate2.converters.utils import fuse_linear
from ctranslate2.specs import WhisperSpec, common_spec
from torch import Tensor
from torch.nn import functional as F
from whisper.decoding import DecodingTask
from whisper.model import ModelDimensions
from whisper.tokenizer import get_tokenizer
from whisper.utils import compression_ratio

from workbench import differences, intervals, recognizers, scoring, storage, whisper_model
from workbench.errors import CheckpointError
from workbench.records import Hypothesis, Interval
from workbench.whisper_model import SpeechModel

Quantization = Literal["int8", "float16", "float32"]

FACTS = "workbench.json"
FORMAT = 1
"""What export writes; an engine of another format is made anew."""


def export(checkpoint: Path, folder: Path, *, quantization: Quantization = "int8") -> Path:
    """Write a checkpoint as an engine, whole or not at all; one that is there already and unharmed is left as it is.

    Raises: CheckpointError for what is no Whisper checkpoint; SettingsError when the folder cannot be written.
    """
    made_from = {"format": FORMAT, "checkpoint": storage.hash_file(checkpoint) if checkpoint.is_file() else "",
                 "quantization": quantization}
    with contextlib.suppress(CheckpointError):
        if made_from.items() <= facts(folder).items():
            return folder
    model = whisper_model.load(checkpoint)
    with storage.explaining(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            _write(model, temporary, quantization)
            files = {path.name: storage.hash_file(path) for path in sorted(temporary.iterdir())}
            known = {**made_from, "context": model.context, "dims": asdict(model.dims), "files": files}
            storage.write_json(temporary / FACTS, known)
            temporary.chmod(0o755)
            shutil.rmtree(folder, ignore_errors=True)
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _write(model: SpeechModel, folder: Path, quantization: Quantization) -> None:
    spec = _specification(model)
    spec.validate()
    spec.optimize(quantization=quantization)
    spec.save(str(folder))
    if model.head is not None:
        np.savez(folder / "head.npz", **{name: t.detach().numpy() for name, t in model.head.state_dict().items()})


def _specification(model: SpeechModel) -> WhisperSpec:
    """Fill CTranslate2's description of a Whisper.

    Source: ctranslate2.converters.transformers.WhisperLoader, which reads the same from a transformers model.
    """
    dims, weights = model.dims, _Weights(model.whisper.state_dict())
    spec = WhisperSpec(dims.n_audio_layer, dims.n_audio_head, dims.n_text_layer, dims.n_text_head)
    weights.linear(spec.encoder.conv1, "encoder.conv1")
    weights.linear(spec.encoder.conv2, "encoder.conv2")
    weights.stack(spec.encoder, "encoder", norm="ln_post")
    weights.stack(spec.decoder, "decoder", norm="ln")
    spec.decoder.embeddings.weight = weights["decoder.token_embedding.weight"]
    spec.decoder.projection.weight = weights["decoder.token_embedding.weight"]
    _configure(spec, model)
    return spec


def _configure(spec: WhisperSpec, model: SpeechModel) -> None:
    """Give names to tokens and say which are never answers, both as `whisper.decode` has them."""
    task = DecodingTask(model.whisper, recognizers.decoding_options())
    words = task.tokenizer
    names = [words.encoding.decode_single_token_bytes(i).decode("latin-1") for i in range(model.dims.n_vocab)]
    for name, number in words.special_tokens.items():
        names[number] = name
    spec.register_vocabulary(names)
    spec.config.suppress_ids = list(task.logit_filters[0].suppress_tokens)
    spec.config.suppress_ids_begin = []
    spec.config.lang_ids = list(words.all_language_tokens)
    spec.config.alignment_heads = [[model.dims.n_text_layer - 1, head] for head in range(model.dims.n_text_head)]


class _Weights(dict[str, Tensor]):
    """A state dict that knows where CTranslate2 wants each of its tensors."""

    def linear(self, spec: Any, name: str) -> Any:
        spec.weight = self[f"{name}.weight"]
        if f"{name}.bias" in self:
            spec.bias = self[f"{name}.bias"]
        return spec

    def norm(self, spec: Any, name: str) -> None:
        spec.gamma, spec.beta = self[f"{name}.weight"], self[f"{name}.bias"]

    def attention(self, spec: Any, name: str, *, n_fused_first: int) -> None:
        """Set one attention; CTranslate2 fuses queries, keys and values, or keys and values only across sequences."""
        parts = [self.linear(common_spec.LinearSpec(), f"{name}.{part}") for part in ("query", "key", "value")]
        fuse_linear(spec.linear[0], parts[:n_fused_first])
        if n_fused_first < len(parts):
            fuse_linear(spec.linear[1], parts[n_fused_first:])
        self.linear(spec.linear[-1], f"{name}.out")
        self.norm(spec.layer_norm, f"{name}_ln")

    def stack(self, spec: Any, name: str, *, norm: str) -> None:
        spec.position_encodings.encodings = self[f"{name}.positional_embedding"]
        self.norm(spec.layer_norm, f"{name}.{norm}")
        for i, layer in enumerate(spec.layer):
            block = f"{name}.blocks.{i}"
            self.attention(layer.self_attention, f"{block}.attn", n_fused_first=3)
            if name == "decoder":
                self.attention(layer.attention, f"{block}.cross_attn", n_fused_first=1)
            self.linear(layer.ffn.linear_0, f"{block}.mlp.0")
            self.linear(layer.ffn.linear_1, f"{block}.mlp.2")
            self.norm(layer.ffn.layer_norm, f"{block}.mlp_ln")


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


class FastRecognizer(recognizers.ShortContextRecognizer):
    """An exported engine: the same answers and fields as `recognizers.WhisperRecognizer`, several times as fast.

    `n_threads` 0 leaves the number to CTranslate2. Several threads may call one recognizer.
    """

    def __init__(self, folder: Path, *, n_threads: int = 0, language: str = "en") -> None:
        known = facts(folder)
        self.device = torch.device("cuda" if ctranslate2.get_cuda_device_count() else "cpu")
        self.context, self.dims = known["context"], ModelDimensions(**known["dims"])
        compute_type = "float32" if (self.device.type, known["quantization"]) == ("cpu", "float16") else "default"
        self._engine = ctranslate2.models.Whisper(
            str(folder), device=self.device.type, compute_type=compute_type, intra_threads=n_threads
        )
        self._words = _tokenizer(self.dims, language)
        self._head = None
        if "head.npz" in known["files"]:
            with np.load(folder / "head.npz") as head:
                self._head = torch.from_numpy(head["weight"]), torch.from_numpy(head["bias"])
        self.has_head = self._head is not None

    def _decode(self, mel: Tensor, n_tokens: int) -> list[Hypothesis]:
        # What is encoded is told from log-mel frames by its shape, so no context may have n_mels encoder frames.
        encoded = self._engine.encode(_view(mel))
        results = self._engine.generate(
            encoded,
            [list(self._words.sot_sequence_including_notimestamps)] * len(mel),
            beam_size=1,
            length_penalty=0,
            max_length=2 * n_tokens,  # CTranslate2 answers with half of this at most
            return_scores=True,
            return_no_speech_prob=True,
            suppress_blank=False,
        )
        letters = [None] * len(mel) if self._head is None else self._letters(encoded)
        return [self._hypothesis(result, clip) for result, clip in zip(results, letters, strict=True)]

    def _letters(self, encoded: ctranslate2.StorageView) -> Tensor:
        assert self._head is not None
        on_cpu = encoded.to_device(ctranslate2.Device.cpu).to(ctranslate2.DataType.float32)
        return F.linear(torch.from_numpy(np.array(on_cpu)), *self._head).log_softmax(-1)

    def _hypothesis(self, result: Any, letters: Tensor | None) -> Hypothesis:
        tokens = result.sequences_ids[0]
        text = self._words.decode(tokens).strip()
        answer = Hypothesis(text, float(result.scores[0]) / (len(tokens) + 1), float(result.no_speech_prob),
                            compression_ratio(text))
        return answer if letters is None else self._with_letters(answer, letters)


def open_version(folder: Path) -> recognizers.ShortContextRecognizer:
    """Open what answers for a version of the registry: the engine that was exported for it, or its checkpoint."""
    return FastRecognizer(folder / "engine") if (folder / "engine").is_dir() else recognizers.load(folder / "model.pt")


def _tokenizer(dims: ModelDimensions, language: str) -> Any:
    # Source: whisper.model.Whisper, is_multilingual and num_languages
    is_multilingual = dims.n_vocab >= 51_865
    return get_tokenizer(is_multilingual, num_languages=dims.n_vocab - 51_765 - is_multilingual, language=language,
                         task="transcribe")


def _view(values: Tensor) -> ctranslate2.StorageView:
    return ctranslate2.StorageView.from_array(values.contiguous() if values.is_cuda else values.contiguous().numpy())


@dataclass(frozen=True, slots=True)
class Parity:
    """How nearly two engines of one model answer alike: the share of answers that differ at all, and WER added."""

    n_utterances: int
    share_changed: Interval
    wer_difference: Interval


def parity(utterances: pd.DataFrame, reference: pd.DataFrame, heard: pd.DataFrame) -> Parity:
    """Compare an engine's answers (`heard`) with the reference engine's on the same clips, with speakers as blocks.

    Both tables hold utterance_id and hypothesis. WER differences are positive where `heard` is worse.
    Raises: ScoringError when an answer is missing or there is nothing to compare.
    """
    before, after = (scoring.score(utterances, t.set_index("utterance_id")["hypothesis"]) for t in (reference, heard))
    texts = [t.set_index("utterance_id")["hypothesis"].loc[utterances["utterance_id"]] for t in (reference, heard)]
    changed = (texts[0].to_numpy() != texts[1].to_numpy()).astype(float)
    speakers = utterances["speaker"]
    difference = differences.paired_difference(before["n_errors"], after["n_errors"], before["n_words"], speakers)
    return Parity(
        len(utterances), intervals.rate_interval(changed, np.ones(len(changed)), speakers), difference.difference
    )
