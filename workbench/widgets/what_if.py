"""What-if: take slices or words out of the errors, and see what would be left."""

from collections.abc import Sequence

import ipywidgets as widgets
import numpy as np

from workbench import cards, explorer_figures, mending
from workbench.mending import Fix, Left
from workbench.selections import Mistake
from workbench.widgets import shell
from workbench.widgets.chart import Chart
from workbench.widgets.filters import Choices
from workbench.widgets.state import State

N_SLICES = 18
"""Slices offered, those worth most."""

N_WORDS = 30
"""Words offered, those most often missed; others can be filtered by and searched for."""


class WhatIf:
    """A list to take errors from, and a plot of what is left on the selection."""

    def __init__(self, state: State) -> None:
        """Begin with the slice that is worth most. `box` is what to show."""
        self.state = state
        self.slices, self.words = Choices(title="slices"), Choices(title="words")
        self.chart, self.told = Chart(label="WER that would be left"), shell.html("")
        everything = state.data.mask(type(state.selection)())
        table = mending.queries_to_win(state.data.slices(everything))
        fixes = [Fix(c, v) for c, v, n in table[["column", "value", "name"]].itertuples(index=False, name=None)
                 if not n.startswith("not ")]
        missed = state.data.word_accuracy(everything).query("n_wrong > 0").head(N_WORDS)
        self.fixes = {str(fix): fix for fix in fixes}
        self.mistakes = {word: Fix(mistake=Mistake("word", word)) for word in missed["said"]}
        self.slices.options = [[str(fix), mending.label(fix.column, fix.value)] for fix in fixes[:N_SLICES]]
        self.words.options = [[word, word] for word in self.mistakes]
        self.slices.picked = list(self.fixes)[:1]
        lists = widgets.VBox([self.slices, self.words])
        self.box = shell.card("What if these were mended?",
                              "errors taken out whole: the most that mending could bring, on the selection above",
                              shell.row(lists, widgets.VBox([self.told, self.chart]),
                                        shares="minmax(0,1fr) minmax(0,1.3fr)"))
        for part in (self.slices, self.words):
            part.observe(lambda _: self.show(), "picked")
        state.on_selection(self.show)

    def chosen(self) -> list[Fix]:
        """Give what was chosen to take out."""
        return [*(self.fixes[name] for name in self.slices.picked), *(self.mistakes[w] for w in self.words.picked)]

    def show(self) -> None:
        """Take it out, and show what is left."""
        left = mending.what_if(self.state.data, self.state.mask, self.chosen())
        now = self.state.data.rate(self.state.mask, self.state.data.errors, self.state.data.words)
        self.chart.show(explorer_figures.what_is_left(now.value, left))
        self.told.value = cards.note(told(now.value, left))


def told(now: float, left: Sequence[Left]) -> str:
    """Say what would be left of the WER of now (a fraction), and by how much the gains overlap."""
    if np.isnan(now):
        return "Nothing in this selection was said that counts as use."
    if not left:
        return "Choose slices or words to take out of the errors."
    last = left[-1]
    words = (f"{100 * last.wer.value:.1f} % WER would be left ({100 * last.wer.low:.1f} to {100 * last.wer.high:.1f}), "
             f"and {100 * last.query_accuracy.value:.0f} of 100 queries word for word "
             f"({100 * last.query_accuracy.low:.0f} to {100 * last.query_accuracy.high:.0f}): "
             f"{100 * last.query_gain.low:.0f} to {100 * last.query_gain.high:.0f} more.")
    if len(left) == 1:
        return words
    alone = 100 * sum(fix.wer_gain.value for fix in left[:-1])
    return (f"{words} Gains overlap: one by one they add up to {alone:.1f} points, together they are "
            f"{100 * last.wer_gain.value:.1f}.")
