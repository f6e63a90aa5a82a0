"""The listening queue: the worst, a random sample, or clips to transcribe blind, one after the other by keyboard."""

from collections.abc import Callable

import ipywidgets as widgets
import numpy as np

from workbench import cards, causes, explorer_figures, marks
from workbench.widgets import shell
from workbench.widgets.chart import Chart
from workbench.widgets.clip import HINT, KEYS, Clip
from workbench.widgets.state import State
from workbench.widgets.visitor import Keys

N_QUEUED = 50
"""Clips of one queue: an hour of careful listening."""

N_RANDOM = 20
"""Unsuspected clips among those to transcribe, so that correctors do not learn to doubt, and blind agreement shows."""

WORST, RANDOM, BLIND = "the worst", "a random sample", "transcribe blind"


class Listening:
    """A queue of clips within the selection, and what was found so far."""

    def __init__(self, state: State) -> None:
        """Begin with the worst. `box` is what to show."""
        self.state, self.queue, self.at = state, list[tuple[str, str]](), 0
        self.mode = widgets.ToggleButtons(options=[WORST, RANDOM, BLIND], style={"button_width": "auto"})
        self.progress, self.chart = shell.html(""), Chart(label="causes of errors, the commonest first")
        self.clip = Clip(state, after=lambda _: self.step(1))
        self.clip.box.remove_class("wb-card")
        back, forth = (widgets.Button(description=words) for words in ("← back", "next →"))
        back.on_click(lambda _: self.step(-1))
        forth.on_click(lambda _: self.step(1))
        keys = Keys((*HINT, ("←", "back")), (*KEYS, "ArrowLeft"), self.pressed)
        queue = shell.card("Listening queue", "listen, name the cause, go on", self.mode, keys, self.progress,
                           self.clip.box, widgets.HBox([back, forth]))
        queue.add_class("wb-keys")
        self.found = shell.html("")
        found = shell.card("Causes found", "what people marked, of these recordings; the line is the share so far",
                           self.chart, self.found)
        self.box = shell.row(queue, found, shares="minmax(0,1.3fr) minmax(0,1fr)")
        self.mode.observe(lambda _: self.fill(), "value")
        state.observe(lambda _: self.count(), "n_marks")
        state.on_selection(self.fill)
        self.count()

    def fill(self) -> None:
        """Put together the queue of the chosen mode from the selection."""
        make: dict[str, Callable[[], list[tuple[str, str]]]] = {WORST: self._worst, RANDOM: self._random,
                                                                BLIND: self._blind}
        self.queue, self.at = make[str(self.mode.value)](), 0
        self._show()

    def _worst(self) -> list[tuple[str, str]]:
        data, rows = self.state.data, np.flatnonzero(self.state.mask & (self.state.data.errors > 0))
        worst = rows[np.argsort(-data.errors[rows], kind="stable")[:N_QUEUED]]
        return [(str(data.rows[row]), "") for row in worst]

    def _random(self) -> list[tuple[str, str]]:
        rows = np.flatnonzero(self.state.mask & (self.state.data.errors > 0))
        drawn = np.random.default_rng(0).permutation(rows)[:N_QUEUED]
        return [(str(self.state.data.rows[row]), "") for row in drawn]

    def _blind(self) -> list[tuple[str, str]]:
        scores = self.state.data.scores[self.state.mask].reset_index(drop=True)
        suspected = self.state.opened.suspected.head(N_QUEUED)
        done = set(self.state.marks.latest("reference")["audio_sha"])
        listed = marks.to_correct(suspected, scores, n_random=N_RANDOM, seed=0) if len(scores) else scores
        listed = listed[~listed["audio_sha"].isin(done)]
        return list(listed[["utterance_id", "drawn"]].itertuples(index=False, name=None)) if len(listed) else []

    def step(self, by: int) -> None:
        """Go on, or back."""
        self.at = min(max(self.at + by, 0), len(self.queue))
        self._show()

    def pressed(self, key: str) -> None:
        """Act on a key."""
        if key.startswith("Arrow"):
            self.step(1 if key == "ArrowRight" else -1)
        else:
            self.clip.pressed(key)

    def _show(self) -> None:
        is_there = self.at < len(self.queue)
        words = f"{self.at + 1} of {len(self.queue)}" if is_there else (
            "That was the last of this queue." if self.queue else "Nothing to listen to in this selection.")
        self.progress.value = f'<div class="wb"><b class="wb-progress">{words}</b></div>'
        utterance_id, drawn = self.queue[self.at] if is_there else ("", "")
        self.clip.show(utterance_id, is_blind=self.mode.value == BLIND, drawn=drawn)

    def count(self) -> None:
        """Count the causes that were marked on this page's queries."""
        found = causes.pareto(self.state.marks.latest("cause"), self.state.data.scores)
        self.chart.show(explorer_figures.causes_pareto(found))
        self.found.value = cards.note(causes.sentence(found))
