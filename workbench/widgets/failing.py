"""Where it fails: slices as a plot or a table, sorted by what mending them would win, and any two columns crossed."""

from collections.abc import Mapping
from typing import Any

import ipywidgets as widgets
import pandas as pd

from workbench import explorer_figures, figures, mending, opportunities
from workbench.widgets import shell
from workbench.widgets.chart import Chart
from workbench.widgets.rows import Column, Rows
from workbench.widgets.state import State

N_PLOTTED = 12
PLOT, TABLE = "plot", "table"


def percent(value: Any) -> str:
    """Write a fraction as people read it."""
    return "–" if pd.isna(value) else f"{100 * value:.1f} %"


class Failing:
    """The two cards; a click in either filters the page. `opportunities` is the table behind the first."""

    def __init__(self, state: State) -> None:
        """Show the selection, and follow it."""
        self.state, self.opportunities = state, pd.DataFrame()
        target = state.opened.scope.target("wer")
        self.target = target.value if target else None
        self.view = widgets.ToggleButtons(options=[PLOT, TABLE], style={"button_width": "auto"})
        self.forest, self.map = Chart(label="WER by slice with intervals"), Chart(label="WER of two columns crossed")
        self.table = Rows([Column("name", "slice"),
                           Column("n_utterances", "queries", is_number=True, write="{:,}".format),
                           Column("share", "of use", is_number=True, write="{:.0%}".format),
                           Column("wer", "WER", is_number=True, write=percent),
                           Column("between", "95 %", is_number=True, is_sortable=False),
                           Column("query_accuracy", "word for word", is_number=True, write=percent),
                           Column("ceiling", "could win", is_number=True, write=lambda g: f"{100 * g:.1f} pts")],
                          id_column="name", label="slices", sorted_by="ceiling", n_a_page=10)
        self.table.layout.display = "none"
        names = [name for name in state.data.names if name != "speaker"]
        self.down, self.across = (widgets.Dropdown(options=names, layout={"width": "auto"}) for _ in range(2))
        self.down.value, self.across.value = _first_two(names)
        left = shell.card("Where it fails", "WER by slice, 95 % interval, dot as large as the slice's share of use; "
                          "the most to win on top; click to filter", self.view, self.forest, self.table)
        right = shell.card("Two at once", f"WER; blank where fewer than {figures.SMALL_CELL} queries; click a cell to "
                           "filter everything below", widgets.HBox([self.down, self.across]), self.map)
        self.box = shell.row(left, right, shares="minmax(0,1.2fr) minmax(0,1fr)")
        self._wire()

    def _wire(self) -> None:
        self.view.observe(lambda change: self._turn(change["new"]), "value")
        self.forest.on_click(lambda point: self.pick(str(point["y"])))
        self.table.on_select(self.pick)
        self.map.on_click(self._cell)
        for choice in (self.down, self.across):
            choice.observe(lambda _: self.cross(), "value")
        self.state.on_selection(self.show)

    def _turn(self, view: str) -> None:
        self.forest.layout.display, self.table.layout.display = ("", "none") if view == PLOT else ("none", "")
        self._draw()

    def show(self) -> None:
        """Measure the selection."""
        slices = self.state.data.slices(self.state.mask)
        realization = self.state.opened.realization
        self.opportunities = opportunities.rank(slices, realization=realization) if len(slices) else slices.assign(
            ceiling=[], is_actionable=[])
        labels = [mending.label(*pair) for pair in self.opportunities[["column", "value"]].itertuples(index=False)]
        self.opportunities["label"] = labels
        self.table.selected = ""  # a row's filter can be set again once it was taken off
        self._draw()
        self.cross()

    def _draw(self) -> None:
        """Draw what is looked at, the plot or the table."""
        known = self.opportunities.assign(name=lambda table: table["label"])
        known = known.sort_values("ceiling", ascending=False, kind="stable")
        if self.view.value == PLOT:
            self.forest.show(explorer_figures.on_a_card(figures.slice_forest(known.head(N_PLOTTED), self.target)))
            return
        spans = zip(known["wer_low"], known["wer_high"], strict=True)
        self.table.show(known.assign(between=[f"{100 * low:.1f}–{100 * high:.1f}" for low, high in spans]))

    def cross(self) -> None:
        """Cross the two columns that were chosen."""
        if self.down.value is None:
            return
        cells = self.state.data.crossed(self.state.mask, str(self.down.value), str(self.across.value))
        self.map.show(explorer_figures.on_a_card(figures.slice_heatmap(cells)))

    def pick(self, name: str) -> None:
        """Filter by a slice's label."""
        row = self.opportunities[self.opportunities["label"].eq(name)]
        if len(row):
            self.state.pick(**{str(row["column"].iloc[0]): str(row["value"].iloc[0])})

    def _cell(self, point: Mapping[str, Any]) -> None:
        self.state.pick(**{str(self.down.value): str(point["y"]), str(self.across.value): str(point["x"])})


def _first_two(names: list[str]) -> tuple[str | None, str | None]:
    wanted = [name for name in ("noise", "snr_band") if name in names]
    ordered = [*wanted, *(name for name in names if name not in wanted), None, None]
    return ordered[0], ordered[1] if len(names) > 1 else ordered[0]
