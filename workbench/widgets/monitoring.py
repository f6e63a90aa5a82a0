"""The page monitoring: what holds now in one sentence, tiles, time lines, what moved, new names, alarms, a challenger.

It reads the running log on by itself while somebody looks. Here parts are wired; `watching` sees, `standing` says.
"""

import time
from html import escape

import ipywidgets as widgets
import pandas as pd

from workbench import cards, standing
from workbench.errors import WorkbenchError
from workbench.registry import PROJECT
from workbench.watching import Scene, Watcher
from workbench.widgets import shell
from workbench.widgets.alarms import Alarms
from workbench.widgets.chart import Plotly
from workbench.widgets.drifting import Drifting
from workbench.widgets.names import Names
from workbench.widgets.shadows import Shadows
from workbench.widgets.timelines import TimeLines
from workbench.widgets.timer import Timer
from workbench.widgets.visitor import Visitor

STYLE = f"<style>{shell.asset('monitoring.css').read_text(encoding='utf-8')}</style>"


class Monitoring:
    """The page of one visitor; `scene` is what it shows."""

    def __init__(self, watcher: Watcher) -> None:
        """Build the page from the log as it is. Raises: WorkbenchError when there is nothing to watch."""
        self.watcher, self.scene, self._seen = watcher, watcher.refresh(), ""
        self.head, self.sentence, self.tiles, self.trouble = (shell.html("") for _ in range(4))
        self.timer, visitor = Timer(self.look), Visitor()
        self.lines = TimeLines(self._draw_time)
        self.drifting, self.shadows = Drifting(), Shadows()
        self.names, self.alarms = (part(watcher.marks, visitor, self.look) for part in (Names, Alarms))
        self._draw()
        top = widgets.Box([self.head, self.timer, self.lines.choice]).add_class("wb-top")
        self.view = widgets.VBox([
            shell.html(STYLE), Plotly(), visitor, top, self.sentence, self.trouble, self.tiles, self.lines.view,
            shell.row(self.drifting.view, self.names.view), self.alarms.view, self.shadows.view])

    def look(self) -> None:
        """Read on, and show what is new; say so when that does not work."""
        try:
            self.scene, self.trouble.value = self.watcher.refresh(), ""
            self._draw()
        except WorkbenchError as error:
            self.timer.age_s = time.time() - self.scene.reading.read_s
            self.trouble.value = cards.note(f"{error} What is shown is as it was.")

    def _draw(self) -> None:
        """Show the scene; what is as it was is not drawn again."""
        self.timer.age_s = time.time() - self.scene.reading.read_s
        self.timer.about = _last(self.scene)
        before, self._seen = self._seen, _content(self.scene)
        if self._seen != before:
            standing_now = standing.stand(self.scene)
            self.head.value, self.sentence.value = _head(self.scene), _sentence(standing_now)
            for part in (self.drifting, self.names, self.alarms, self.shadows):
                part.show(self.scene)
            self._draw_time()

    def _draw_time(self) -> None:
        """Show what obeys the chosen time."""
        self.tiles.value = cards.tiles(standing.tiles(self.scene, self.lines.since_s(self.scene)))
        self.lines.show(self.scene)


def _content(scene: Scene) -> str:
    return f"{scene.reading.last_row} {len(scene.marks)} {len(scene.labelled)} {dict(scene.lineup)} {dict(scene.clips)}"


def _head(scene: Scene) -> str:
    champion = scene.lineup["champion"]
    since = scene.released[champion].tags.get("promoted_at", "") if champion in scene.released else ""
    beside = scene.lineup["challenger"]
    told = [f"champion {PROJECT} v{champion}" + (f", since {pd.Timestamp(since):%d %b %H:%M}" if since else ""),
            f"{scene.lineup['challenger_mode']} v{beside}" if beside else "no challenger"]
    return f'<div class="wb wb-head"><b>Monitoring</b> <span class="wb-soft">· {escape(" · ".join(told))}</span></div>'


def _last(scene: Scene) -> str:
    window = int(scene.rows["window"].max())
    return f"last query {pd.Timestamp(scene.reading.last_s, unit='s'):%d %b %H:%M} · week {window}"


def _sentence(now: standing.Standing) -> str:
    return (f'<div class="wb wb-standing" data-state="{now.state}"><p class="wb-headline">'
            f'<span class="wb-badge wb-{standing.OUTCOMES[now.state]}">{now.state}</span> {escape(now.sentence)}</p>'
            f'<p class="wb-note wb-rule">{escape(now.rule)}</p></div>')


def build() -> widgets.Widget:
    """Give the page for a visitor."""
    return Monitoring(Watcher()).view
