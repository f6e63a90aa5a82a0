"""What a training makes small: Whisper's cross-entropy, the character head's CTC, and what a teacher hears.

Of the vocabulary only those tokens are scored that a step is told, as rows cut out of the embedding.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from workbench import batches, prompts, whisper_model
from workbench.batches import IGNORED, Batch
from workbench.matching import PaddedTeacher
from workbench.recipes import Fit
from workbench.whisper_model import SpeechModel

N_NEGATIVES = 512
"""Random tokens scored beside those that occur: the full vocabulary is most of a small model's step."""


def loss(model: SpeechModel, batch: Batch, rows: Tensor, scored: Tensor, *, how: Fit, teacher: PaddedTeacher | None,
         ) -> Tensor:
    """Weigh what was written, spelled and, with a teacher, heard, by what this batch is of the whole one.

    Shape: rows [S, width], the embedding of the scored tokens [S], which are sorted.
    """
    mel = batch.mel.to(model.device)
    encoded = model.whisper.encoder(mel)
    read, write = (_renumber(t.to(model.device), scored) for t in (batch.tokens, batch.targets))
    logits = (_decoder_states(model, rows[read], encoded) @ rows.T).flatten(0, 1).float()
    cross_entropy = F.cross_entropy(logits, write.flatten(), ignore_index=IGNORED)
    letters = model.letters(encoded).transpose(0, 1)
    spelled, n_frames, n_letters = (t.to(model.device) for t in (batch.letters, batch.n_frames, batch.n_letters))
    ctc = F.ctc_loss(letters, spelled, n_frames, n_letters, zero_infinity=True)
    task = (1 - how.ctc_weight) * batch.token_share * cross_entropy + how.ctc_weight * batch.clip_share * ctc
    if teacher is None:
        return task
    return (1 - how.match_weight) * task + how.match_weight * batch.clip_share * teacher.loss(mel, encoded)


def scored_tokens(occurring: Tensor, n_vocab: int, rng: torch.Generator) -> Tensor:
    """Draw the tokens that a step scores: those that occur and some others. Shape: [S], sorted."""
    return torch.cat([occurring, torch.randint(n_vocab, (N_NEGATIVES,), generator=rng)]).unique()


def occurring_tokens(references: list[str], model: SpeechModel, *, has_prompts: bool = False) -> Tensor:
    """List the tokens that a training's references, and prompts about them, are spelled with. Shape: [S], sorted."""
    words = batches.tokenizer_of(model)
    # Whisper's tokens do not reach over a space, and a million references have few different words.
    different = set(references)
    said = {piece for text in different for piece in (text.split() if text == " ".join(text.split()) else [text])}
    spelled = {token for text in {*said, ""} for tokens in batches.spell_tokens(text, words) for token in tokens}
    if has_prompts:
        shown = (words.encode(f" {piece}") for piece in prompts.pieces(different))
        spelled |= {words.sot_prev, *(token for tokens in shown for token in tokens)}
    return torch.tensor(sorted(spelled))


def _renumber(targets: Tensor, scored: Tensor) -> Tensor:
    """Turn vocabulary numbers into places among the scored tokens, which are sorted."""
    return torch.where(targets == IGNORED, targets, torch.searchsorted(scored, targets.clamp(min=0)))


def _decoder_states(model: SpeechModel, embedded: Tensor, encoded: Tensor) -> Tensor:
    """Run Whisper's decoder without its token table. Shape: [B, V, width] -> [B, V, width]."""
    decoder = model.whisper.decoder
    x: Any = (embedded + decoder.positional_embedding[: embedded.shape[1]]).to(encoded.dtype)
    for block in decoder.blocks:
        x = whisper_model.through(block, x, encoded, decoder.mask,
                                  is_checkpointed=model.whisper.encoder.is_checkpointed)
    return decoder.ln(x)
