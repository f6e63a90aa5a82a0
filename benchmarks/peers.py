"""What benchmarks against other Whispers share: weights of a published shape, clips, and faster-whisper's model folder;
the environment of a peer's process, and a name for the table of what was chosen.

The weights are random, but each position of the decoder points at one word, and those past N_WORDS at the end. So every
engine writes the same words whatever it hears, does the work of a real query, and its answers can be checked.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import tokenizers
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from whisper.model import ModelDimensions
from whisper.tokenizer import get_tokenizer

from workbench import audio, engines, whisper_model
from workbench.whisper_model import SpeechModel

N_WORDS = 12
"""Tokens of an answer: four or five words, as long as a query of three seconds."""
POINTING = 100.0
"""How much longer a position's vector is than a token's: what attention adds between them never outweighs it."""
CLIP_S = 3.0
SHAPES = {"tiny": (384, 6, 4), "base": (512, 8, 6), "small": (768, 12, 12)}
"""Width, heads and layers of both sides. Source: the dims in OpenAI's checkpoints."""


def checkpoint(shape: str, folder: Path, *, seed: int = 0) -> Path:
    """Write an English-only checkpoint of a shape, with a character head, that answers N_WORDS words to anything."""
    width, n_heads, n_layers = SHAPES[shape]
    dims = ModelDimensions(80, 1500, width, n_heads, n_layers, whisper_model.ENGLISH_VOCABULARY,
                           whisper_model.TEXT_CONTEXT, width, n_heads, n_layers)
    torch.manual_seed(seed)
    model = SpeechModel(dims)
    words, decoder = get_tokenizer(False), model.whisper.decoder
    said = words.encode(" play some quiet music by the sea and then call me tomorrow")[:N_WORDS]
    assert len(said) == N_WORDS
    torch.nn.init.normal_(decoder.token_embedding.weight, std=width**-0.5)
    with torch.no_grad():
        pointed = torch.full((dims.n_text_ctx,), words.eot)
        first = len(words.sot_sequence_including_notimestamps) - 1  # the last word of the prompt asks for the first
        pointed[: first + N_WORDS] = torch.tensor([said[0]] * first + said)
        decoder.positional_embedding.copy_(POINTING * decoder.token_embedding.weight[pointed])
    return whisper_model.save(model, folder / f"{shape}.pt")


def engine(made: Path) -> Path:
    """Export a checkpoint as int8, with what else faster-whisper looks for beside the weights: both read one file."""
    folder = engines.export(made, made.with_suffix(".engine"))
    tokenizer().save(str(folder / "tokenizer.json"))
    return folder


def clips(n: int, folder: Path) -> pd.DataFrame:
    """Write wav files of noise. Returns: utterance_id, audio_path, duration_s."""
    rng, paths = np.random.default_rng(0), [folder / f"{i}.wav" for i in range(n)]
    folder.mkdir(parents=True, exist_ok=True)
    for path in paths:
        audio.write(path, rng.normal(0, 0.1, round(CLIP_S * audio.SAMPLE_RATE_HZ)))
    return pd.DataFrame({"utterance_id": [path.stem for path in paths], "audio_path": [str(path) for path in paths],
                         "duration_s": CLIP_S})


def environment() -> dict[str, str]:
    """Give what a peer's process starts with: without the GOMP_SPINCOUNT that importing workbench has set here.

    One of the user's own goes too, since nothing tells them apart: the peer runs as it ships.
    """
    return {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}


def tokenizer() -> Tokenizer:
    """Write Whisper's English tokenizer in the form of the `tokenizers` library."""
    encoding = get_tokenizer(False).encoding
    ranks, letters = encoding._mergeable_ranks, _letters()
    spelled = {token: "".join(letters[byte] for byte in token) for token in ranks}
    halves = [_halves(ranks, token) for token in sorted(ranks, key=ranks.__getitem__) if len(token) > 1]
    made = Tokenizer(models.BPE(vocab={spelled[token]: rank for token, rank in ranks.items()},
                                merges=[(spelled[a], spelled[b]) for a, b in halves]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([tokenizers.AddedToken(name, special=True) for name, _ in
                             sorted(encoding._special_tokens.items(), key=lambda item: item[1])])
    return made


def _letters() -> Mapping[int, str]:
    """Give the letter that stands for each byte. Source: bytes_to_unicode of openai/gpt-2, encoder.py."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {byte: chr(256 + i) for i, byte in enumerate(others)}


def _halves(ranks: Mapping[bytes, int], token: bytes) -> tuple[bytes, bytes]:
    """Find the two tokens that were merged last into one, by merging its bytes with all lower ranks."""
    parts = [bytes([byte]) for byte in token]
    while len(parts) > 2:
        pairs = [ranks.get(a + b, len(ranks)) for a, b in zip(parts, parts[1:], strict=False)]
        i = pairs.index(min(pairs))
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return parts[0], parts[1]
