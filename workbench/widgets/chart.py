"""A plotly figure on a page, drawn by one copy of plotly.js a page, that tells what was clicked and zoomed.

plotly's own FigureWidget brings five megabytes of script with every figure; here they come once.
"""

import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import anywidget
import plotly.graph_objects as go
import traitlets
from plotly.offline import get_plotlyjs

from workbench.widgets import shell


class Plotly(anywidget.AnyWidget):
    """Brings plotly.js to the page, once; every page with charts shows one."""

    _esm = shell.asset("plotly.js")
    source = traitlets.Unicode().tag(sync=True)

    def __init__(self) -> None:
        super().__init__(source=_script())


@cache
def _script() -> str:
    return str(get_plotlyjs())


class Chart(anywidget.AnyWidget):
    """One figure. `clicked` is the point that was clicked last ({} before); `zoomed` the range of x, [] for all.

    Charts of one `group` zoom together.
    """

    _esm = shell.asset("chart.js")
    figure = traitlets.Unicode("{}").tag(sync=True)
    label = traitlets.Unicode().tag(sync=True)
    group = traitlets.Unicode().tag(sync=True)
    clicked = traitlets.Dict().tag(sync=True)
    zoomed: Any = traitlets.List().tag(sync=True)

    def __init__(self, figure: go.Figure | None = None, *, label: str = "", group: str = "") -> None:
        """Show a figure; `label` is what a screen reader says of it."""
        super().__init__(label=label, group=group)
        if figure is not None:
            self.show(figure)

    def show(self, figure: go.Figure | Mapping[str, Any]) -> None:
        """Put another figure in its place, given as plotly's own or in its JSON."""
        self.figure = json.dumps(figure) if isinstance(figure, Mapping) else str(figure.to_json())

    def on_click(self, callback: Callable[[Mapping[str, Any]], None]) -> None:
        """Call back with each clicked point: trace, x, y, customdata, and `is_again`, a number that changes."""
        self.observe(lambda change: callback(change["new"]) if change["new"] else None, "clicked")

    def drawn(self) -> Mapping[str, Any]:
        """Give the figure as it was sent."""
        return dict(json.loads(self.figure))
