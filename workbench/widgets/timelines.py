"""Time lines on the monitoring page: which time is looked at, and small charts that zoom together."""

from collections.abc import Callable
from typing import cast

import ipywidgets as widgets
import pandas as pd

from workbench import monitoring_figures, timelines
from workbench.monitoring_figures import TIME_LINES
from workbench.timelines import DAY_S
from workbench.watching import Scene
from workbench.widgets.chart import Chart

SPANS = {"last 24 h": DAY_S, "7 days": 7 * DAY_S, "21 days": 21 * DAY_S, "all": float("inf")}
HOURLY_UP_TO_S = 3 * DAY_S
GROUP = "time"


class TimeLines:
    """Draws each measure of the scene over the chosen time; `since_s` is where that begins."""

    def __init__(self, on_span: Callable[[], None]) -> None:
        """Begin with the last 21 days; `on_span` is called when another time is chosen."""
        self._on_span, self._zoom = on_span, cast(tuple[float, float] | None, None)
        self.choice = widgets.ToggleButtons(options=list(SPANS), value="21 days", tooltips=["time to look at"] * 4)
        self.choice.add_class("wb-spans")
        self.charts = [Chart(label=line.title, group=GROUP) for line in TIME_LINES]
        boxes = [widgets.VBox([chart]).add_class("wb-card") for chart in self.charts]
        self.view = widgets.Box(boxes).add_class("wb-lines")
        self.choice.observe(lambda _: self._choose(), "value")
        for chart in self.charts:
            chart.observe(lambda change: self._follow(change["new"]), "zoomed")

    def since_s(self, scene: Scene) -> float:
        """Say where the chosen time begins."""
        return max(scene.reading.start_s, scene.reading.last_s - SPANS[self.choice.value])

    def show(self, scene: Scene) -> None:
        """Draw the scene."""
        since_s, last_s = self.since_s(scene), scene.reading.last_s
        step_s = 3_600.0 if last_s - since_s <= HOURLY_UP_TO_S else DAY_S
        over = timelines.over_time(scene, step_s=step_s)
        span_s = self._zoom or (since_s, last_s)
        for chart, line in zip(self.charts, TIME_LINES, strict=True):
            chart.show(monitoring_figures.time_line(over, line, span_s=span_s))

    def _choose(self) -> None:
        self._zoom = None
        self._on_span()

    def _follow(self, zoomed: list[str]) -> None:
        """Remember what is zoomed to, so that new data does not undo it."""
        ends = [pd.Timestamp(end).timestamp() for end in zoomed]
        self._zoom = (ends[0], ends[1]) if ends else None
