"""The page error analysis: what a model hears, where it fails, what to do, and single queries; parts wired together."""

from collections.abc import Sequence
from html import escape
from typing import Any

import ipywidgets as widgets
import pandas as pd

from workbench import cards, explorer, mending
from workbench.cards import Tile
from workbench.explorer import Opened, Source
from workbench.marks import Marks
from workbench.records import Interval
from workbench.selections import Selection
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


def build() -> widgets.Widget:
    """Give the page for a visitor, opened at the model that was accepted last."""
    return Page(explorer.sources(), explorer.latest()).box


class Page:
    """The page of one visitor: a model to choose, and all that is known of its answers."""

    def __init__(self, known: Sequence[Source], first: Source) -> None:
        """Open a model."""
        self.sources = {source.title: source for source in reversed(known)}
        self.visitor, self.marks, self.said = Visitor(), Marks(), shell.html("")
        self.choice = widgets.Dropdown(options=list(self.sources), value=first.title, layout={"width": "auto"})
        self.choice.add_class("wb-model")
        self.body = widgets.VBox()
        self.said.add_class("wb-toast")
        self.box = widgets.VBox([Plotly(), self.visitor, self.body, self.said])
        self.choice.observe(shell.guarded(self.say)(lambda _: self.open()), "value")
        self.open()

    def say(self, words: str) -> None:
        """Tell the visitor in a line that stands at the foot of the page."""
        self.said.value = f'<div class="wb" role="status">{escape(words)}</div>' if words else ""

    def open(self) -> None:
        """Show the chosen model."""
        opened = explorer.read(self.sources[str(self.choice.value)])
        self.state = state = State(opened, marks=self.marks, visitor=self.visitor)
        state.observe(lambda change: self.say(change["new"]), "said")
        others = [source for source in self.sources.values() if source != opened.source]
        failing = Failing(state)
        self.parts: dict[str, Any] = {
            "filters": Filters(state), "failing": failing, "fixes": Fixes(state, failing), "words": Words(state),
            "queries": Queries(state), "what_if": WhatIf(state), "compare": Compare(state, others),
            "listening": Listening(state)}
        p = self.parts
        self.body.children = (
            shell.row(shell.html(path_line(opened)), self.choice, shares="minmax(0,1fr) auto"),
            shell.html(cards.headline(opening(opened)) + cards.tiles(tiles(opened))),
            p["filters"], p["failing"].box,
            shell.row(p["fixes"].card, p["words"].card, shares="minmax(0,1.5fr) minmax(0,1fr)"),
            p["queries"].box, p["what_if"].box, p["compare"].box, p["listening"].box)


def path_line(opened: Opened) -> str:
    """Say in small what the page is about: run, model, split, how many, of whom, weighted how, and when."""
    data, scope = opened.data, opened.scope
    split = "answers of models that left the speaker out" if opened.is_cross_fitted else "dev, open for browsing"
    is_weighted = data.weights.std() > 0
    parts = [f"run {opened.source.run}", f"model of {opened.source.title.split(' · ')[1]}", split,
             f"{len(data):,} queries", f"{len(data.speakers.categories):,} speakers" if data.has_speakers else "",
             f"weighted to declared use by {scope.use_column}" if is_weighted else "all queries count alike",
             f"made {opened.source.finished}"]
    return ('<div class="wb wb-soft wb-path"><b>Error analysis</b> · '
            + " · ".join(escape(part) for part in parts if part) + "</div>")


def opening(opened: Opened) -> str:
    """Give the sentence that the page opens with."""
    everything = opened.data.mask(Selection())
    return mending.sentence(opened.data.summary(everything), opened.data.slices(everything))


def tiles(opened: Opened) -> list[Tile]:
    """Give the five numbers: WER, word for word, names or results right, the worst slice, and the ceiling."""
    data, everything = opened.data, opened.data.mask(Selection())
    found = data.summary(everything)
    shown = [cards.target_tile(name, found[name], opened.scope.target(name))
             for name in ("wer", "query_accuracy", "entity_accuracy") if name in found]
    if "entity_accuracy" not in found and "same_result" in found:
        shown.append(cards.target_tile("same_result", found["same_result"]))
    slices = mending.queries_to_win(data.slices(everything))
    worst = slices[slices["is_actionable"]].head(1)
    return [*shown, *_worst(worst), *_ceiling(data, worst)]


def _worst(worst: pd.DataFrame) -> list[Tile]:
    if worst.empty:
        return []
    wrong = worst.iloc[0]
    value = Interval(*(1 - wrong[name] for name in ("query_accuracy", "query_accuracy_high", "query_accuracy_low")))
    return [Tile("Worst slice, queries wrong", f"{100 * value.value:.1f} %",
                 f"{100 * value.low:.1f} – {100 * value.high:.1f}", "no", str(wrong["name"]))]


def _ceiling(data: Any, worst: pd.DataFrame) -> list[Tile]:
    """What would be if all queries were like the best slice of the worst one's column."""
    if worst.empty or " = " not in str(worst["best_name"].iloc[0]):
        return []
    column, _, value = str(worst["best_name"].iloc[0]).partition(" = ")
    rate = data.rate(data.mask(Selection({column: (value,)})), data.errors, data.words)
    return [Tile(f"If all were like {value}, WER", f"{100 * rate.value:.1f} %",
                 f"{100 * rate.low:.1f} – {100 * rate.high:.1f}", "done", "what-if ceiling")]
