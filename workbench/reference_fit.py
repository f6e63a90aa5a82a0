"""How well references fit the sound, by the ear of a character head: the second opinion on who is wrong, model or text.

The head spells by sound; the decoder, which wrote the answer, knows what people usually say: two unlike readers. Both
must be of a model that never learned from the utterance.
"""

import copy
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from workbench import audio, many_machines, recognizers, recognizing, storage, text, whisper_model
from workbench.letters import CHARACTERS
from workbench.whisper_model import SpeechModel

COLUMN = "reference_gap"
Rival = tuple[str, str, str]
"""A clip's path, its answer and its reference."""


def listen(checkpoint: Path, utterances: pd.DataFrame) -> pd.DataFrame:
    """Transcribe, and weigh each answer against the reference, once for the same weights, audio and words.

    Returns: what `recognizers.transcribe` does, and reference_gap, as `gaps` gives it.
    """
    heard = recognizers.transcribe(checkpoint, utterances)
    known = ["audio_sha", "reference"]
    key = storage.hash_value([storage.hash_file(checkpoint), storage.hash_table(utterances[known]),
                              storage.hash_table(heard[["hypothesis"]]), storage.hash_file(Path(__file__))])[:16]
    cached = storage.cache_folder("decodes") / f"{key}.fit.parquet"
    if not cached.is_file():
        found = gaps(recognizers.load(checkpoint).model, utterances, heard["hypothesis"])
        storage.write_table(cached, pd.DataFrame({COLUMN: found}))
    return heard.assign(**{COLUMN: pd.read_parquet(cached)[COLUMN].to_numpy()})


def gaps(model: SpeechModel, utterances: pd.DataFrame, hypotheses: pd.Series) -> np.ndarray:
    """Say how much better each answer fits the sound than the reference does; many are heard where the engine says.

    Returns: nats, above 0 where the head sides with the answer, 0 where both say the same; nan without such a head.
    """
    references, answers = ([text.normalize(words) for words in said] for said in (utterances["reference"], hypotheses))
    found = np.zeros(len(utterances))
    if model.head is None:
        return np.full(len(utterances), np.nan)
    differs = [row for row, pair in enumerate(zip(references, answers, strict=True)) if pair[0] != pair[1]]
    rivals = [(str(utterances["audio_path"].iloc[row]), answers[row], references[row]) for row in differs]
    parts = [rivals[start : start + recognizing.CHUNK] for start in range(0, len(rivals), recognizing.CHUNK)]
    sent = copy.deepcopy(model).cpu() if many_machines.is_chosen() else model  # a task has a processor, and no GPU
    weighed = many_machines.map_all(partial(_weigh, sent), parts, "weighing answers")
    found[differs] = [gap for part in weighed for gap in part]
    return found


def _weigh(model: SpeechModel, rivals: Sequence[Rival]) -> list[float]:
    """Say of each clip how much better its answer fits than its reference."""
    found = dict[int, float]()
    for rows, letters in letters_of(model, {row: audio.read(path) for row, (path, _, _) in enumerate(rivals)}):
        for row, of_clip in zip(rows, letters, strict=True):
            to_answer, to_reference = fits(of_clip, list(rivals[row][1:]))
            found[row] = to_answer - to_reference
    return [found[row] for row in range(len(rivals))]


@torch.inference_mode()
def letters_of(model: SpeechModel, clips: dict[int, audio.Samples]) -> Iterator[tuple[list[int], Tensor]]:
    """Give the head's log-probabilities [B, F, 1 + characters] in batches of equal context, and whose they are."""
    model.eval()
    contexts = pd.Series({row: model.context_samples(len(clip)) for row, clip in clips.items()}, dtype=int)
    for n_samples, members in contexts.groupby(contexts):
        rows = members.index.tolist()
        for start in range(0, len(rows), recognizing.BATCH_SIZE):
            batch = rows[start : start + recognizing.BATCH_SIZE]
            cut = [clips[row][:n_samples] for row in batch]
            padded = torch.from_numpy(np.stack([np.pad(clip, (0, n_samples - len(clip))) for clip in cut]))
            mel = whisper_model.log_mel(padded.to(model.device), model.dims.n_mels)
            yield batch, model.letters(model.whisper.encoder(mel)).cpu()


def fits(letters: Tensor, texts: list[str]) -> list[float]:
    """Give the log-likelihood of each text under CTC; minus infinity for one too long for the clip.

    Shape: letters [F, 1 + characters], log-probabilities of one clip.
    Source: Graves et al. 2006, by torch's ctc_loss.
    """
    spelled = [[CHARACTERS.index(c) + 1 for c in words if c in CHARACTERS] for words in texts]
    targets = torch.tensor([c for word in spelled for c in word], dtype=torch.long)
    lengths = torch.full((len(texts),), len(letters)), torch.tensor([len(word) for word in spelled])
    losses = F.ctc_loss(letters[:, None].expand(-1, len(texts), -1), targets, *lengths, reduction="none")
    return [-float(loss) for loss in losses]
