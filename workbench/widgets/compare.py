"""Models side by side on the selection, each against one of them: by slice, by query, by word, and who won what."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import ipywidgets as widgets
import pandas as pd

from workbench import answers, cards, comparing, explorer_figures, mending
from workbench.answers import Opened, Source
from workbench.comparing import Comparison
from workbench.speaker_sums import Mask
from workbench.widgets import shell
from workbench.widgets.chart import Chart
from workbench.widgets.filters import Choices
from workbench.widgets.rows import Column, Rows
from workbench.widgets.state import State

NOTHING = "Choose a model to compare with; it is read when you do."
ALONE = "There is no other model to compare with yet."
TOO_FEW = "Choose another model beside it."
MOST = 3
"""Models beside the one they are held against: what a laptop shows side by side."""


class Compare:
    """Holds models against one of them; the page's own is among them until the visitor takes it out."""

    def __init__(self, state: State, known: Sequence[Source]) -> None:
        """Offer all models. `box` is what to show."""
        self.state: State = state
        self.known = {source.title: source for source in known}
        self.opened = {state.opened.source.title: state.opened}
        self.compared: Comparison | None = None
        self.panels = list[Panel]()
        self.baseline = widgets.Dropdown(options=["…", *self.known], description="before", value="…")
        self.picked = Choices(title="now", picked=[state.opened.source.title])
        self.told, self.inside = shell.html(cards.note(NOTHING if len(known) > 1 else ALONE)), widgets.VBox()
        self.box = shell.card("Compare models", "the same queries, paired by speaker; slices are told from chance at a "
                              "false discovery rate of 5 % a model; click a slice or a bubble to filter",
                              self.baseline, self.picked, self.told, self.inside)
        self.baseline.observe(shell.guarded(state.say)(lambda _: self.choose()), "value")
        self.picked.observe(shell.guarded(state.say)(lambda _: self.choose()), "picked")
        state.observe(lambda _: self.show(), "selection")
        state.observe(lambda change: self.queries.follow(change["new"]) if self.compared else None, "current")
        state.observe(lambda _: self.queries.rewrite() if self.compared else None, "hidden")

    def choose(self) -> None:
        """Read the chosen models, and compare."""
        before, self.compared, self.inside.children = str(self.baseline.value), None, ()
        self.picked.options = [[name, name] for name in self.known if name != before] if before in self.known else []
        names = [name for name in self.picked.picked if name in self.known and name != before]
        if before not in self.known or not names:
            self.told.value = cards.note(TOO_FEW if before in self.known else NOTHING)
            return
        if len(names) > MOST:
            self.state.say(f"{MOST} models fit beside the one they are held against; take one out first.")
        names = names[:MOST]
        self.compared = comparing.compare(self.state.data, self._open(before).data,
                                          [self._open(name).data for name in names])
        self._lay_out(before, names)
        self.show()

    def _open(self, title: str) -> Opened:
        if title not in self.opened:
            self.opened[title] = answers.read(self.known[title])
        return self.opened[title]

    def _lay_out(self, before: str, names: Sequence[str]) -> None:
        """Make a panel a model, and the tables of queries and words with a column for each."""
        self.panels = [Panel(self.state, number, before, name) for number, name in enumerate(names)]
        is_alone = len(names) == 1
        queries = [Column("said", "said, and heard before", write=str, is_sortable=False)]
        words = [Column("said", "word"), Column("n", "said", is_number=True),
                 Column("before", "wrong before", is_number=True)]
        for number, name in enumerate(names):
            title = "now" if is_alone else name
            queries += [Column(f"now_{number}", f"heard {title}", write=str, is_sortable=False),
                        Column(f"change_{number}", "errors", write=_signed, is_number=True)]
            words += [Column(f"now_{number}", f"wrong {title}", is_number=True),
                      Column(f"change_{number}", "change", write=_signed, is_number=True)]
        self.queries = Rows(queries, id_column="utterance_id", label="queries won and lost", n_a_page=8,
                            is_descending=False, prepare=self._with_words, when_empty="No query changed.")
        self.words = Rows(words, id_column="said", label="words won and lost", n_a_page=8,
                          when_empty="No word changed.")
        self.queries.on_select(lambda picked: setattr(self.state, "current", picked))
        panels = [shell.row(*self.panels[0].charts)] if is_alone else [shell.row(*(p.box for p in self.panels))]
        tables = shell.row(self.queries, self.words, shares="minmax(0,1.7fr) minmax(0,1fr)") if is_alone else \
            widgets.VBox([self.queries, self.words])
        self.inside.children = (*panels, tables)

    def show(self) -> None:
        """Compare on what the selection holds now."""
        if self.compared is None:
            return
        mask = self.state.mask
        self.told.value = "".join(cards.note(panel.told(self.compared, mask)) for panel in self.panels)
        tables = [comparing.by_slice(self.compared, panel.number, mask) for panel in self.panels]
        order, reach = tables[0].sort_values("change", ascending=False), _reach(tables)
        names = [mending.label(*pair) for pair in order[["column", "value"]].itertuples(index=False, name=None)]
        for panel, table in zip(self.panels, tables, strict=True):
            panel.show(self.compared, mask, table, names, reach)
        self.queries.show(comparing.by_query(self.compared, mask))
        self.words.show(comparing.by_word(self.compared, mask))

    def _with_words(self, part: Any) -> Any:
        columns = {"said": "heard_before"} | {name.replace("heard", "now"): name for name in part
                                              if name.startswith("heard_") and name != "heard_before"}
        return part.assign(**{shown: self.state.differences(part.assign(hypothesis=part[heard]))
                              for shown, heard in columns.items()})


class Panel:
    """One model against the one before: its change by slice, and its errors by query. `box` is what to show."""

    def __init__(self, state: State, number: int, before: str, name: str) -> None:
        self.state, self.number, self.names = state, number, (before, name)
        self.compared: Comparison | None = None
        self.labelled: dict[str, dict[str, str]] = {}
        self.slices = Chart(label=f"change of WER by slice, {name}")
        self.bubbles = Chart(label=f"errors by query, {before} and {name}")
        self.charts = (self.slices, self.bubbles)
        heading = shell.html(f'<div class="wb"><b>{escape(name)}</b></div>')
        self.box = widgets.VBox([heading, *self.charts])
        self.slices.on_click(lambda point: state.pick(**self.labelled[str(point["y"])]))
        self.bubbles.on_click(self._clicked)

    def show(self, compared: Comparison, mask: Mask, by_slice: pd.DataFrame, order: Sequence[str],
             reach: float) -> None:
        """Draw the comparison."""
        self.compared = compared
        pairs = list(by_slice[["column", "value"]].itertuples(index=False, name=None))
        self.labelled = {mending.label(*pair): dict([pair]) for pair in pairs}
        self.slices.show(explorer_figures.changes(by_slice.assign(name=[*self.labelled]), order, reach))
        cells = comparing.cells(compared, self.number, mask)
        self.bubbles.show(explorer_figures.model_bubbles(cells, *self.names))

    def _clicked(self, point: Mapping[str, Any]) -> None:
        a, b = int(point["x"]), int(point["y"])
        if self.compared is not None:
            self.state.only_these(comparing.in_cell(self.compared, self.number, a, b), f"{a} errors before, {b} now")

    def told(self, compared: Comparison, mask: Mask) -> str:
        """Say in a line who is better, and how many queries were won and lost."""
        found = comparing.difference(compared, self.number, mask)
        if found is None:
            return f"{self.names[1]}: no query of this selection was answered by all of these."
        counts, interval = comparing.won_and_lost(compared, self.number, mask), found.difference
        word = "Better" if interval.high < 0 else "Worse" if interval.low > 0 else "Cannot tell"
        return (f"{self.names[1]}: {word}: WER {100 * found.rate_a:.1f} → {100 * found.rate_b:.1f} %, "
                f"{interval.points()}. {counts['won']:,} queries won, {counts['lost']:,} lost, "
                f"{counts['both']:,} right with both, {counts['neither']:,} with neither.")


def _reach(tables: Sequence[pd.DataFrame]) -> float:
    """Find how far a common axis must reach for the changes themselves; wide intervals may leave it."""
    changes = pd.concat(tables)[["change", "change_low", "change_high"]].abs()
    if len(tables) < 2 or changes.empty:
        return 0.0
    return float(min(changes.max().max(), 1.5 * changes["change"].max())) * 1.08


def _signed(n: Any) -> str:
    return f"{n:+d}"
