"""What moved, on the monitoring page: features by window, and how a feature is distributed now and before."""

from html import escape
from typing import Any

import numpy as np

from workbench import drift, figures, monitoring_page, standing
from workbench.watching import Scene
from workbench.widgets import shell
from workbench.widgets.chart import Chart
from workbench.widgets.rows import Column, Rows

N_WINDOWS = 4
BADGES = {"moved": ("no", "drift"), "quiet": ("yes", "quiet"), "cannot tell": ("cannot_tell", "cannot tell")}


class Drifting:
    """The table of features by window; a picked feature is shown as it is distributed."""

    def __init__(self) -> None:
        self._scene: Scene | None = None
        columns = [Column("name", "feature"), Column("state", "now", _badge, is_sortable=False),
                   Column("told", "before → now", _told, is_sortable=False),
                   Column("windows", "windows", _marks, is_sortable=False)]
        self.rows = Rows(columns, id_column="feature", label="what moved", n_a_page=len(drift.DEFAULT),
                         when_empty="Nothing to compare with.")
        self.chart, self.note = Chart(label="how the feature is distributed"), shell.html("")
        self.note.add_class("wb-note")
        self.rows.on_select(lambda _: self._draw())
        self.view = shell.card("What moved", "the latest window against what was normal; pick a feature to see how it "
                               "is distributed", self.rows, self.note, self.chart)

    def show(self, scene: Scene) -> None:
        """Show the scene."""
        self._scene = scene
        self.rows.renew(monitoring_page.features(scene, N_WINDOWS))
        self._draw()

    def _draw(self) -> None:
        assert self._scene is not None
        feature = self.rows.selected or (str(self.rows.ordered["feature"].iloc[0]) if len(self.rows.ordered) else "")
        if feature:
            self.chart.show(distribution(self._scene, feature))


def distribution(scene: Scene, feature: str) -> Any:
    """Draw a feature of the latest window beside what it is held against."""
    report, name = scene.report, standing.drift_name(feature)
    assert report is not None
    last = report.last
    if feature not in set(report.results[int(last["window"])].table["feature"]):
        return figures.nothing(f"{name}: too few users to compare")
    theirs = scene.rows[scene.rows["version"].eq(scene.version) & scene.rows["error"].eq("")]
    normal = sorted(n for n in report.calm if n < last["window"])
    before = scene.bases[scene.version].rows if last["reference"] == "dev" else theirs[theirs["window"].isin(normal)]
    now, unit = theirs[theirs["window"].eq(last["window"])], drift.WORDS.get(feature, ("", ""))[1]
    if feature in ("is_empty", "has_unseen"):
        return figures.share_bars({f"window {int(last['window'])}": float(now[feature].mean()),
                                   str(last["reference"]): float(before[feature].mean())}, name)
    values, normal_values = (rows[feature].astype(float).replace([np.inf, -np.inf], np.nan) for rows in (now, before))
    if normal_values.isna().all():
        return figures.nothing(name)
    ends = np.nanquantile(normal_values, [0.005, 0.995])
    return figures.histogram(values.clip(*ends), name, unit, normal_values.clip(*ends))


def _told(told: tuple[str, str]) -> str:
    return f'{escape(told[0])} <span class="wb-soft">{escape(told[1])}</span>'


def _badge(state: tuple[str, int, int]) -> str:
    word, n, needed = state
    outcome, said = BADGES[word]
    more = f'<br><span class="wb-soft">n = {n:,}; {needed:,} would do</span>' if needed else ""
    return f'<span class="wb-badge wb-{outcome}">{said}</span>{more}'


def _marks(windows: list[tuple[int, str]]) -> str:
    signs = {"moved": "■", "quiet": "●", "cannot tell": "◆"}
    shown = [f'<span class="wb-sign wb-{BADGES[state][0]}" title="window {n}: {BADGES[state][1]}">{signs[state]}</span>'
             for n, state in windows]
    return f'<span class="wb-signs">{" ".join(shown)}</span>'


