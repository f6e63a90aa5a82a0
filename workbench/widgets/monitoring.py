"""The page monitoring: what holds now in one sentence, tiles, time lines, what moved, new names, alarms, a challenger.

It reads the running log on by itself while somebody looks. Here parts are wired; `watching` sees, `standing` says.
"""

import time

import ipywidgets as widgets

from workbench import cards, monitoring_page, name_list, standing
from workbench.errors import WorkbenchError
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
        self.names = Names(watcher.marks, visitor, self.look)
        self.alarms = Alarms(watcher.marks, visitor, self.look)
        self._draw()
        top = widgets.Box([self.head, self.timer, self.lines.choice]).add_class("wb-top")
        self.view = widgets.VBox([
            shell.html(STYLE), Plotly(), visitor, top, self.sentence, self.trouble, self.tiles, self.lines.view,
            shell.row(self.drifting.view, self.names.view, shares="minmax(0,1fr) minmax(0,1.1fr)"),
            self.alarms.view, self.shadows.view])

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
        self.timer.about = monitoring_page.last_query(self.scene)
        content = _content(self.scene)
        if content != self._seen:
            now = standing.stand(self.scene)
            self.head.value, self.sentence.value = monitoring_page.head(self.scene), monitoring_page.sentence(now)
            for part in (self.drifting, self.names, self.alarms, self.shadows):
                part.show(self.scene)
            self._draw_time()
            self._seen = content  # what could not be shown is tried again

    def _draw_time(self) -> None:
        """Show what obeys the chosen time."""
        self.tiles.value = cards.tiles(standing.tiles(self.scene, self.lines.since_s(self.scene)))
        self.lines.show(self.scene)


def _content(scene: Scene) -> str:
    return (f"{scene.reading.last_row} {len(scene.marks)} {len(scene.labelled)} {dict(scene.lineup)} "
            f"{dict(scene.clips)} {name_list.probed_s()}")


def read_ahead() -> Watcher:
    """Read the log before a visitor comes; who is given the watcher reads on from there."""
    watcher = Watcher()
    watcher.refresh()
    return watcher


def build(watcher: Watcher | None = None) -> widgets.Widget:
    """Give the page for a visitor."""
    return Monitoring(watcher or Watcher()).view
