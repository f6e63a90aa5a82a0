"""Production over time: small multiples with the band of normal days in grey, and events as thin lines; what moved."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench import drift
from workbench.figures import AMBER, BLUE, FRAME_PX, GREY, GRID, RED, ROW_PX, TEAL, TEMPLATE, dress, nothing

NORMAL = "rgba(118,128,145,0.16)"
PANEL_PX, N_ACROSS, DAY_S = 190, 3, 86_400.0


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


class TimeLine(NamedTuple):
    """One measure on the page: its title, its columns (the first in blue), and how values are written."""

    title: str
    columns: tuple[str, ...]
    form: str = ",.3~g"
    suffix: str = ""


TIME_LINES = (
    TimeLine("Queries", ("n_queries",), ",.0f"),
    TimeLine("Latency p50, p95, p99", ("latency_p95_ms", "latency_p50_ms", "latency_p99_ms"), ",.0f", " ms"),
    TimeLine("Failed and refused requests", ("failed_share", "refused_share"), ".1%"),
    TimeLine("Expected WER, and labelled (dots)", ("expected_wer",), ".0%"),
    TimeLine("Confidence, median", ("confidence",), ".2f"),
    TimeLine("Empty answers", ("empty_share",), ".1%"),
    TimeLine("SNR, median", ("snr_db",), ".3~g", " dB"),
    TimeLine("Bandwidth, median", ("bandwidth_hz",), ",.0f", " Hz"),
    TimeLine("Narrow sound, under 4 kHz", ("narrow_share",), ".1%"),
    TimeLine("Words never seen in training", ("unseen_share",), ".1%"),
    TimeLine("Gap between letters and answer", ("ctc_gap",), ".2f"),
    TimeLine("Level, median", ("level_dbfs",), ".3~g", " dB"),
    TimeLine("Duration, median", ("duration_s",), ".2f", " s"),
    TimeLine("No speech, median probability", ("no_speech_prob",), ".2~g"),
    TimeLine("Asked again within 30 s", ("again_share",), ".1%"),
)
"""What is drawn over time: traffic and service, what the model makes of it, and each feature that drift watches."""

_LINES = ((BLUE, "solid"), (GREY, "dot"), (GREY, "dash"))


@dataclass(frozen=True, slots=True)
class OverTime:
    """What all time lines are drawn from: a row a step, bands by column, events, and labelled windows.

    `table` has begins_s and measures; `events` begins_s and kind (alarm or model); `audits` begins_s, audited_wer and
    its ends.
    """

    table: pd.DataFrame
    bands: Mapping[str, tuple[float, float]]
    events: pd.DataFrame
    audits: pd.DataFrame


def time_line(over: OverTime, line: TimeLine, *, span_s: tuple[float, float]) -> dict[str, Any]:
    """Show one measure over time, the band of calm steps behind it, and events as thin lines.

    Returns: a figure in plotly's JSON; a page draws fifteen at once, and go.Figure would take half a second for them.
    """
    times = _times(over.table)
    traces = [_trace(over.table, times, line, number) for number in range(len(line.columns))]
    has_dots = "expected_wer" in line.columns and len(over.audits) > 0
    traces += [_dots(over.audits)] if has_dots else []
    axis = {"nticks": 5, "showgrid": False, "range": _stamps(span_s),
            "tickformat": "%d %b\n%H:%M" if span_s[1] - span_s[0] < 4 * DAY_S else "%d %b", "type": "date"}
    upright = {"tickformat": line.form, "ticksuffix": line.suffix, "nticks": 4, "fixedrange": True,
               "range": None if has_dots else _of_zeros(over.table[list(line.columns)])}
    return {"data": traces, "layout": {
        "template": _template(), "height": 210, "showlegend": False, "margin": {"l": 8, "r": 10, "t": 44, "b": 36},
        "title": {"text": line.title, "font": {"size": 14}}, "xaxis": axis, "yaxis": upright,
        "shapes": [*_band(over.bands.get(line.columns[0])), *_events(over.events)]}}


@cache
def _template() -> dict[str, Any]:
    return dict(TEMPLATE.to_plotly_json())


def _trace(table: pd.DataFrame, times: Sequence[str], line: TimeLine, number: int) -> dict[str, Any]:
    column, (colour, dash) = line.columns[number], _LINES[number]
    name = column.removeprefix("latency_").removesuffix("_ms").replace("_", " ") if len(line.columns) > 1 else ""
    return {"type": "scatter", "x": times, "y": _plain(table[column]), "name": name,
            "mode": "lines" if len(times) > 2 else "lines+markers",
            "line": {"color": colour, "width": 1.8 if dash == "solid" else 1.3, "dash": dash},
            "hovertemplate": f"%{{x|%d %b %H:%M}}: %{{y:{line.form}}}{line.suffix}<extra>{name}</extra>"}


def _plain(values: "pd.Series[float]") -> list[float | None]:
    """Give numbers that JSON can write: nothing where there is none, or one without an end."""
    return [float(value) if np.isfinite(value) else None for value in values.to_numpy(float)]


def _stamps(seconds: Any) -> list[str]:
    return [str(stamp) for stamp in np.datetime_as_string((np.asarray(seconds, float) * 1e3).astype("datetime64[ms]"))]


def _of_zeros(values: pd.DataFrame) -> list[float] | None:
    """Let a line that is zero all along lie on the ground."""
    return None if values.fillna(0).any(axis=None) else [0.0, 0.01]


def _times(table: pd.DataFrame) -> list[str]:
    return _stamps(table["begins_s"])


def _band(band: tuple[float, float] | None) -> list[dict[str, Any]]:
    if band is None or not np.isfinite(band).all():
        return []
    return [{"type": "rect", "xref": "paper", "x0": 0, "x1": 1, "y0": band[0], "y1": band[1], "fillcolor": NORMAL,
             "line": {"width": 0}, "layer": "below"}]


def _events(events: pd.DataFrame) -> list[dict[str, Any]]:
    looks = {"alarm": {"color": RED, "dash": "dash"}, "model": {"color": TEAL, "dash": "solid"}}
    return [{"type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": at, "x1": at,
             "line": {**looks[kind], "width": 1.3}} for at, kind in zip(_times(events), events["kind"], strict=True)]


def _dots(audits: pd.DataFrame) -> dict[str, Any]:
    bars = {"type": "data", "symmetric": False, "width": 0, "thickness": 1.6,
            "array": _plain(audits["audited_wer_high"] - audits["audited_wer"]),
            "arrayminus": _plain(audits["audited_wer"] - audits["audited_wer_low"])}
    return {"type": "scatter", "x": _times(audits), "y": _plain(audits["audited_wer"]), "mode": "markers",
            "marker": {"color": AMBER, "size": 8}, "error_y": bars, "name": "labelled",
            "hovertemplate": "labelled: %{y:.1%}<extra></extra>"}


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
    ends = {"size": table["effect"] / least, "low": table["effect_low"] / least, "high": table["effect_high"] / least}
    names = [drift.WORDS.get(name, (name, ""))[0] for name in table["feature"]]
    rows = table.assign(**ends, word=drift.states(table, 0)["state"], name=names,
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
