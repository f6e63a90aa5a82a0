"""The page error analysis: what a model hears, where it fails, what to do, and single queries; parts wired together."""

from collections.abc import Sequence
from html import escape
from typing import Any

import ipywidgets as widgets

from workbench import answers, cards, explorer
from workbench.answers import Source
from workbench.marks import Marks
from workbench.widgets import shell
from workbench.widgets.chart import Plotly
from workbench.widgets.compare import Compare
from workbench.widgets.failing import Failing
from workbench.widgets.filters import Filters
from workbench.widgets.listening import Listening
from workbench.widgets.queries import Queries
from workbench.widgets.state import State
from workbench.widgets.todo import Fixes, Words
from workbench.widgets.visitor import Visitor
from workbench.widgets.what_if import WhatIf


def read_ahead() -> None:
    """Read and draw once before a visitor comes: files are at hand then, and libraries have imported all they need."""
    for figure in explorer.drawn(answers.read(answers.latest())):
        figure.to_json()


def build(_: None = None) -> widgets.Widget:
    """Give the page for a visitor, opened at the model that was accepted last."""
    return Page(answers.sources(), answers.latest()).box


class Page:
    """The page of one visitor: a model to choose, and all that is known of its answers."""

    def __init__(self, known: Sequence[Source], first: Source) -> None:
        """Open a model; where it cannot be read, the page says so and offers the others."""
        self.sources = {source.title: source for source in reversed(known)}
        self.visitor, self.marks, self.said = Visitor(), Marks(), shell.html("")
        self.choice = widgets.Dropdown(options=list(self.sources), value=first.title, layout={"width": "auto"})
        self.choice.add_class("wb-model")
        self.body = widgets.VBox()
        self.said.add_class("wb-toast")
        self.box = widgets.VBox([Plotly(), self.visitor, self.body, self.said])
        self.shown = ""
        self.choice.observe(lambda _: self.open(), "value")
        self.open()

    def say(self, words: str) -> None:
        """Tell the visitor in a line that stands at the foot of the page."""
        self.said.value = f'<div class="wb" role="status">{escape(words)}</div>' if words else ""

    def open(self) -> None:
        """Show the chosen model; where that fails, say why, and go back to the one that is shown."""
        if self.choice.value != self.shown:
            self.say("")
            shell.guarded(self._fail)(self._show)(str(self.choice.value))

    def _fail(self, words: str) -> None:
        if self.shown:
            self.choice.value = self.shown
            self.say(words)
            return
        told = shell.html(cards.headline(f"{self.choice.value} cannot be opened; choose another.") + cards.note(words))
        self.body.children = (shell.row(told, self.choice, shares="minmax(0,1fr) auto"),)

    def _show(self, title: str) -> None:
        opened = answers.read(self.sources[title])
        state = State(opened, marks=self.marks, visitor=self.visitor)
        state.observe(lambda change: self.say(change["new"]), "said")
        failing = Failing(state)
        p: dict[str, Any] = {
            "filters": Filters(state), "failing": failing, "fixes": Fixes(state, failing), "words": Words(state),
            "queries": Queries(state), "what_if": WhatIf(state), "compare": Compare(state, [*self.sources.values()]),
            "listening": Listening(state)}
        self.body.children = (
            shell.row(shell.html(explorer.path_line(opened)), self.choice, shares="minmax(0,1fr) auto"),
            shell.html(cards.headline(explorer.opening(opened)) + cards.tiles(explorer.tiles(opened))),
            p["filters"], p["failing"].box,
            shell.row(p["fixes"].card, p["words"].card, shares="minmax(0,1.5fr) minmax(0,1fr)"),
            p["queries"].box, shell.row(p["what_if"].box), shell.row(p["compare"].box), p["listening"].box)
        self.shown, self.state, self.parts = title, state, p
