"""Production over time: small multiples with the band of normal days in grey, and events as thin lines; what moved."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench import drift
from workbench.figures import AMBER, BLUE, FRAME_PX, GREY, GRID, RED, ROW_PX, TEAL, dress, nothing

NORMAL = "rgba(118,128,145,0.16)"
PANEL_PX, N_ACROSS = 190, 3


class Panel(NamedTuple):
    """One measure over time: its column, its title, and how its values are written (d3's format)."""

    column: str
    title: str
    form: str = ",.3~g"


PANELS = (
    Panel("n_queries", "Queries a day", ",.0f"), Panel("latency_p95_ms", "Latency p95, ms", ",.0f"),
    Panel("expected_wer", "Expected WER, an estimate; dots: labelled", ".0%"),
    Panel("confidence", "Confidence, median", ".2f"), Panel("snr_db", "SNR, median, dB", ".0f"),
    Panel("unseen_share", "Queries with words never seen", ".0%"),
)


def over_time(days: pd.DataFrame, *, bands: Mapping[str, tuple[float, float]], events: pd.DataFrame,
              labelled: pd.DataFrame | None = None, panels: Sequence[Panel] = PANELS) -> go.Figure:
    """Show each measure by day, the band of normal days behind it, and events (day, kind: alarm or model) as lines.

    `labelled` (day, audited_wer, _low, _high) are dots with intervals in the panel of expected WER.
    """
    shown = [panel for panel in panels if panel.column in days and days[panel.column].notna().any()]
    if not shown:
        return nothing("Day by day")
    n_down = -(-len(shown) // N_ACROSS)
    figure = make_subplots(n_down, N_ACROSS, subplot_titles=[panel.title for panel in shown],
                           horizontal_spacing=0.08, vertical_spacing=0.3 / n_down)
    for number, panel in enumerate(shown):
        place = {"row": number // N_ACROSS + 1, "col": number % N_ACROSS + 1}
        _add_panel(figure, days, panel, bands.get(panel.column), place)
        _add_events(figure, events, place)
        if panel.column == "expected_wer" and labelled is not None and len(labelled):
            _add_labelled(figure, labelled, place)
    figure.update_annotations(font_size=12.5).update_xaxes(nticks=4, tickprefix="day ", showgrid=False)
    return dress(figure, "Day by day", "grey: days without an alarm; dashed red: an alarm; teal: a new model",
                 height=FRAME_PX + PANEL_PX * n_down, showlegend=False, margin_t=96, margin_b=32)


def _add_panel(figure: go.Figure, days: pd.DataFrame, panel: Panel, band: tuple[float, float] | None,
               place: Mapping[str, int]) -> None:
    figure.add_scatter(x=days["day"], y=days[panel.column], mode="lines", line={"color": BLUE, "width": 1.8},
                       name=panel.title, hovertemplate=f"day %{{x}}: %{{y:{panel.form}}}<extra></extra>", **place)
    if band is not None:  # after the line: plotly adds no shape to a panel that is still empty
        figure.add_hrect(y0=band[0], y1=band[1], fillcolor=NORMAL, line_width=0, layer="below", **place)
    figure.update_yaxes(tickformat=panel.form, nticks=4, **place)


def _add_events(figure: go.Figure, events: pd.DataFrame, place: Mapping[str, int]) -> None:
    for day, kind in events[["day", "kind"]].drop_duplicates().to_numpy():
        line = {"color": RED, "dash": "dash"} if kind == "alarm" else {"color": TEAL, "dash": "solid"}
        figure.add_vline(x=day, line={**line, "width": 1.2}, **place)


def _add_labelled(figure: go.Figure, rows: pd.DataFrame, place: Mapping[str, int]) -> None:
    figure.add_scatter(x=rows["day"], y=rows["audited_wer"], mode="markers", marker={"color": GREY, "size": 8},
                       error_y={"symmetric": False, "array": rows["audited_wer_high"] - rows["audited_wer"],
                                "arrayminus": rows["audited_wer"] - rows["audited_wer_low"], "width": 0},
                       hovertemplate="labelled: %{y:.1%}<extra></extra>", **place)


_SIGNS = {"moved": (RED, "square"), "cannot tell": (AMBER, "diamond"), "quiet": (TEAL, "circle")}
"""Symbols beside colours: who cannot see the one sees the other."""


def what_moved(table: pd.DataFrame) -> go.Figure:
    """Show how far each feature of a window moved, with interval, in multiples of the least that matters.

    Columns: those of `drift.DriftResult.table`. Past the line at 1 and clear of chance is an alarm.
    """
    if table.empty:
        return nothing("What moved")
    features = {feature.name: feature for feature in drift.DEFAULT}
    least = np.array([features[name].least for name in table["feature"]])
    planned = np.array([features[name].planned for name in table["feature"]])
    words = np.where(table["is_alarm"], "moved", np.where(table["detectable"] > planned, "cannot tell", "quiet"))
    ends = {"size": table["effect"] / least, "low": table["effect_low"] / least, "high": table["effect_high"] / least}
    rows = table.assign(**ends, word=words, name=[drift.WORDS.get(name, (name, ""))[0] for name in table["feature"]],
                        told=[drift.describe(row) for row in table.to_dict("records")])
    figure = go.Figure()
    for word, (colour, symbol) in _SIGNS.items():
        part = rows[rows["word"] == word]
        figure.add_scatter(x=part["size"], y=part["name"], mode="markers", name=word, customdata=part[["told"]],
                           marker={"color": colour, "symbol": symbol, "size": 12},
                           error_x=_whiskers(part), hovertemplate="%{customdata[0]}<extra>" + word + "</extra>")
    figure.add_vline(x=1, line={"color": GREY, "dash": "dash", "width": 1.2})
    figure.update_xaxes(title="multiples of the least change that matters", zeroline=True)
    figure.update_yaxes(type="category", categoryarray=rows["name"].tolist()[::-1], gridcolor=GRID)
    return dress(figure, "What moved", "against the reference window, 95 % interval", height=FRAME_PX + 70 + ROW_PX *
                 len(rows), margin_b=92, margin_t=88)


def _whiskers(rows: pd.DataFrame) -> dict[str, Any]:
    return {"symmetric": False, "array": rows["high"] - rows["size"], "arrayminus": rows["size"] - rows["low"],
            "color": GREY, "thickness": 1.6, "width": 0}
