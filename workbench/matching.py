"""Learning the short context: what Whisper's encoder hears of a clip padded to thirty seconds is the lesson.

Published weights know thirty seconds alone; cut short untaught, they babble.
"""

import copy

import torch
from torch import Tensor
from torch.nn import functional as F

from workbench.whisper_model import SpeechModel

N_FRAMES = 3000
"""Log-mel frames of thirty seconds. Source: whisper.audio.N_FRAMES."""
FLOOR, DEPTH = -1.5, 2.0
"""A log-mel frame of silence: 1e-10 after Whisper's scaling, and never deeper than this below the clip's loudest.

Source: whisper.audio.log_mel_spectrogram, (log10(1e-10) + 4) / 4 and 8 / 4."""


class PaddedTeacher:
    """The encoder as it was before the fit, which hears every clip in thirty seconds and learns nothing."""

    def __init__(self, model: SpeechModel) -> None:
        self.encoder = copy.deepcopy(model.whisper.encoder).eval().requires_grad_(False)

    @torch.no_grad()
    def states(self, mel: Tensor) -> Tensor:
        """Encode clips padded to thirty seconds and keep their own frames. Shape: [B, M, F] -> [B, F // 2, width]."""
        silence = (mel.amax(dim=(-2, -1), keepdim=True) - DEPTH).clamp(min=FLOOR)
        rest = silence.expand(-1, mel.shape[1], N_FRAMES - mel.shape[2])
        return self.encoder(torch.cat([mel, rest], dim=-1))[:, : mel.shape[2] // 2]

    def loss(self, mel: Tensor, encoded: Tensor) -> Tensor:
        """Say how far the states of the short context are from the padded ones, as a share of these' variance.

        Shape: mel [B, M, F], encoded [B, F // 2, width].
        Source: the padded model as teacher is whisper-acft's way to a short context; it compares the decoder's states.
        """
        wanted = self.states(mel).float()
        return F.mse_loss(encoded.float(), wanted) / wanted.var().clamp(min=1e-6)
