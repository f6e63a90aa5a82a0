"""The fast engine: any of our checkpoints as a CTranslate2 model, which answers as PyTorch does, and how nearly.

Nothing here trains, serves, or decides; what hears queries with an engine is `fast`.
"""

import contextlib
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from ctranslate2.converters.utils import fuse_linear
from ctranslate2.specs import WhisperSpec, common_spec
from torch import Tensor
from whisper.decoding import DecodingTask

from workbench import differences, intervals, recognizers, scoring, storage, whisper_model
from workbench.errors import CheckpointError
from workbench.fast import FACTS, FORMAT
from workbench.fast import FastRecognizer as FastRecognizer  # what callers of `export` open
from workbench.fast import facts as facts
from workbench.recognizing import ShortContextRecognizer
from workbench.records import Interval
from workbench.whisper_model import SpeechModel

Quantization = Literal["int8", "float16", "float32"]


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
            known = {**made_from, "context": model.context, "language": model.language, "dims": asdict(model.dims),
                     "prompt_names": model.n_prompt_names, "files": files}
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
    task = DecodingTask(model.whisper, recognizers.decoding_options(language=model.language))
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


def open_version(folder: Path) -> ShortContextRecognizer:
    """Open what answers for a version of the registry: the engine that was exported for it, or its checkpoint."""
    return FastRecognizer(folder / "engine") if (folder / "engine").is_dir() else recognizers.load(folder / "model.pt")


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
