"""Two models side by side on the selection: by slice, by query, by word, and who won what."""

from collections.abc import Mapping, Sequence
from typing import Any

import ipywidgets as widgets

from workbench import answers, cards, comparing, explorer_figures, mending
from workbench.answers import Source
from workbench.exploring import Mask
from workbench.widgets import shell
from workbench.widgets.chart import Chart
from workbench.widgets.rows import Column, Rows
from workbench.widgets.state import State

NOTHING = "Choose another model to compare with; it is read when you do."


class Compare:
    """Compares the page's model (now) with another one (before), chosen from what runs left."""

    def __init__(self, state: State, others: Sequence[Source]) -> None:
        """Offer the other models. `box` is what to show."""
        self.state: State = state
        self.pair: comparing.Pair | None = None
        self.labelled: dict[str, dict[str, str]] = {}
        self.others = {source.title: source for source in others}
        self.choice = widgets.Dropdown(options=["…", *self.others], description="before", value="…")
        self.told = shell.html(cards.note(NOTHING if others else "There is no other model to compare with yet."))
        self.slices, self.bubbles = Chart(label="change of WER by slice"), Chart(label="errors by query of two models")
        self.queries = Rows([Column("said", "said, and heard before", write=str, is_sortable=False),
                             Column("now", "heard now", write=str, is_sortable=False),
                             Column("change", "errors", write=lambda n: f"{n:+d}", is_number=True)],
                            id_column="utterance_id", label="queries won and lost", sorted_by="change", n_a_page=8,
                            is_descending=False, prepare=_with_words, when_empty="No query changed.")
        self.words = Rows([Column("said", "word"), Column("n", "said", is_number=True),
                           Column("before", "wrong before", is_number=True),
                           Column("now", "wrong now", is_number=True),
                           Column("change", "change", write=lambda n: f"{n:+d}", is_number=True)],
                          id_column="said", label="words won and lost", n_a_page=8, when_empty="No word changed.")
        self.queries.on_select(lambda picked: setattr(state, "current", picked))
        self.bubbles.on_click(self._clicked)
        self.slices.on_click(self._sliced)
        tables = shell.row(self.queries, self.words, shares="minmax(0,1.7fr) minmax(0,1fr)")
        self.inside = widgets.VBox([shell.row(self.slices, self.bubbles), tables], layout={"display": "none"})
        self.box = shell.card("Compare two models", "the same queries, paired by speaker; told from chance over all "
                              "slices at a false discovery rate of 5 %", self.choice, self.told, self.inside)
        self.choice.observe(shell.guarded(state.say)(lambda _: self.choose()), "value")
        state.observe(lambda _: self.show(), "selection")

    @property
    def is_on(self) -> bool:
        """Whether a model is chosen."""
        return self.choice.value in self.others

    def choose(self) -> None:
        """Read the chosen model, and compare."""
        self.inside.layout.display = "" if self.is_on else "none"
        if self.is_on:
            before = answers.read(self.others[str(self.choice.value)])
            self.pair = comparing.pair(self.state.data, before.data)
            self.show()
        else:
            self.told.value = cards.note(NOTHING)

    def show(self) -> None:
        """Compare on what the selection holds now."""
        if not self.is_on or self.pair is None:
            return
        mask, names = self.state.mask, (str(self.choice.value), self.state.opened.source.title)
        self.told.value = cards.note(_told(self.pair, mask))
        found = comparing.by_slice(self.pair, mask)
        pairs = list(found[["column", "value"]].itertuples(index=False, name=None))
        self.labelled = {mending.label(*pair): dict([pair]) for pair in pairs}
        self.slices.show(explorer_figures.changes(found.assign(name=[mending.label(*pair) for pair in pairs])))
        self.bubbles.show(explorer_figures.model_bubbles(comparing.cells(self.pair, mask), *names))
        self.queries.show(comparing.by_query(self.pair, mask))
        self.words.show(comparing.by_word(self.pair, mask))

    def _clicked(self, point: Mapping[str, Any]) -> None:
        a, b = int(point["x"]), int(point["y"])
        if self.pair is not None:
            self.state.only_these(comparing.in_cell(self.pair, a, b), f"{a} errors before, {b} now")

    def _sliced(self, point: Mapping[str, Any]) -> None:
        self.state.pick(**self.labelled[str(point["y"])])


def _told(two: comparing.Pair, mask: Mask) -> str:
    found, counts = comparing.difference(two, mask), comparing.won_and_lost(two, mask)
    if found is None:
        return "The two have no query of this selection in common."
    interval = found.difference
    word = "Better" if interval.high < 0 else "Worse" if interval.low > 0 else "Cannot tell"
    return (f"{word}: WER {100 * found.rate_a:.1f} → {100 * found.rate_b:.1f} %, {interval.points()}. "
            f"{counts['won']:,} queries won, {counts['lost']:,} lost, {counts['both']:,} right with both, "
            f"{counts['neither']:,} with neither.")


def _with_words(part: Any) -> Any:
    pairs = zip(part["reference"], part["heard_before"], part["heard_now"], strict=True)
    lines = [(cards.difference(said, a), cards.difference(said, b)) for said, a, b in pairs]
    return part.assign(said=[a for a, _ in lines], now=[b for _, b in lines])
