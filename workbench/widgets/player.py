"""Plays one clip, with its waveform and spectrogram under the words that were heard in it."""

from collections.abc import Sequence
from typing import Any

import anywidget
import traitlets

from workbench import audio
from workbench.answers import Word
from workbench.widgets import shell


class Player(anywidget.AnyWidget):
    """One clip at a time; without one it says why."""

    _esm = shell.asset("player.js")
    _css = shell.asset("player.css")
    wav = traitlets.Bytes().tag(sync=True)
    spectrogram = traitlets.Bytes().tag(sync=True)
    shape: Any = traitlets.List([0, 0]).tag(sync=True)
    duration_s = traitlets.Float(0.0).tag(sync=True)
    words: Any = traitlets.List().tag(sync=True)
    label = traitlets.Unicode().tag(sync=True)
    when_silent = traitlets.Unicode("Choose a query to hear it.").tag(sync=True)
    loaded = traitlets.Int(0).tag(sync=True)

    def load(self, samples: audio.Samples, words: Sequence[Word], *, label: str) -> None:
        """Put a clip in."""
        picture = audio.spectrogram(samples)
        with self.hold_sync():
            self.wav, self.duration_s, self.label = audio.wav_bytes(samples), audio.duration_s(samples), label
            self.spectrogram, self.shape = picture.tobytes(), list(picture.shape)
            self.words = [word._asdict() for word in words]
            self.loaded += 1

    def empty(self, why: str) -> None:
        """Take the clip out, and say why there is none."""
        with self.hold_sync():
            self.wav, self.spectrogram, self.words, self.when_silent, self.label = b"", b"", [], why, ""
            self.loaded += 1
