"""Plots in one visual language: tables in, plotly figures out. Pure, and the only user of plotly.

Quiet neutral ground, one accent blue, teal for met, amber for cannot tell, red for missed, and never colour alone.
Grounds are transparent and text is mid-grey, so that a figure reads on light and on dark pages.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench import verdicts
from workbench.records import Interval

BLUE, TEAL, AMBER, RED, GREY = "#1f74d8", "#12988a", "#c27a10", "#d4493f", "#768091"
"""Each at 3.3 : 1 or better on white and on the dark page (WCAG asks 3 : 1 of graphics)."""

GRID, BAND, PALE_BLUE = "rgba(118,128,145,0.22)", "rgba(18,152,138,0.10)", "rgba(31,116,216,0.35)"
ROW_PX, FRAME_PX, MAX_BINS = 30, 130, 40
SMALL_CELL = 10
"""Utterances below which the rate of a crossed pair says nothing: its 95 % half-width passes ten points."""
X_HEADROOM = 2.0
"""Few utterances may have an interval to 100 %: the axis ends at this many times the worst rate instead."""

_AXIS = {"gridcolor": GRID, "zerolinecolor": GRID, "automargin": True, "ticks": "", "ticklabelstandoff": 6,
         "title": {"font": {"size": 12.5}, "standoff": 10}}
TEMPLATE = go.layout.Template(layout={
    "font": {"family": "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif", "size": 13, "color": GREY},
    "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)", "colorway": [BLUE, TEAL, AMBER, RED, GREY],
    "margin": {"l": 16, "r": 28, "t": 78, "b": 56}, "bargap": 0.55, "xaxis": _AXIS, "yaxis": _AXIS,
    "title": {"x": 0, "xanchor": "left", "y": 1, "yanchor": "top", "pad": {"l": 4, "t": 14},
              "font": {"size": 15, "weight": 700}, "subtitle": {"font": {"size": 12.5, "color": GREY}}},
    "legend": {"orientation": "h", "x": 0, "y": 0, "yref": "container", "yanchor": "bottom", "itemsizing": "constant"},
    "hoverlabel": {"bgcolor": "#1b2333", "bordercolor": "#1b2333", "font": {"color": "#ffffff"}},
})
"""The template "workbench": each figure carries it, and plotly's own defaults stay as they are."""

_VERDICTS = {"yes": ("met", TEAL, "circle"), "cannot_tell": ("cannot tell", AMBER, "diamond"),
             "no": ("missed", RED, "square")}
_CHANGES = {"better": (TEAL, "triangle-left"), "cannot tell": (AMBER, "diamond"), "worse": (RED, "triangle-right")}
_ARMS = {"before": (GREY, "circle-open"), "control": (AMBER, "diamond-open"), "treated": (BLUE, "circle")}
"""Symbols beside colours: who cannot see the one sees the other."""


def dress(figure: go.Figure, title: str, subtitle: str = "", *, height: int = 330, **layout: Any) -> go.Figure:
    """Give a figure its words, its height and the workbench's looks."""
    words = {"text": title, "subtitle": {"text": subtitle}}
    return figure.update_layout(template=TEMPLATE, height=height, title=words, **layout)


def _panels(*titles: str, spacing: float = 0.1) -> go.Figure:
    figure = make_subplots(1, len(titles), horizontal_spacing=spacing, subplot_titles=titles)
    return figure.update_annotations(font_size=12.5)


def nothing(title: str) -> go.Figure:
    """Say it in a sentence: missing data is no traceback."""
    return dress(go.Figure(), title, "There is nothing to show yet.", height=FRAME_PX, margin_b=16,
                 xaxis_visible=False, yaxis_visible=False)


def _whiskers(rows: pd.DataFrame, value: str, colour: str = GREY) -> dict[str, Any]:
    """Draw the interval of a fraction that has `_low` and `_high` beside it, in percent."""
    if f"{value}_low" not in rows:
        return {"visible": False}
    return {"symmetric": False, "array": 100 * (rows[f"{value}_high"] - rows[value]).to_numpy(), "color": colour,
            "arrayminus": 100 * (rows[value] - rows[f"{value}_low"]).to_numpy(), "thickness": 1.6, "width": 0}


def learning_curve(curve: pd.DataFrame) -> go.Figure:
    """Show how the loss fell and, beside it, the WER on valid where there is one, its best point named.

    Columns: step, train_loss; where present valid_loss, valid_wer (fraction).
    """
    if curve.empty:
        return nothing("Learning curve")
    table = curve.reindex(columns=["step", "train_loss", "valid_loss", "valid_wer"])
    words = ["loss" if table["valid_loss"].isna().all() else "loss: on train dotted, on valid solid"]
    wer = table["valid_wer"]
    if wer.notna().any():
        best = table["step"].iloc[int(wer.argmin())]
        words.append(f"WER on valid: best {100 * wer.min():.1f} % at step {best:,.0f}")
    figure = _panels(*words)
    for column, colour, dash, col in (("train_loss", GREY, "dot", 1), ("valid_loss", BLUE, "solid", 1),
                                      ("valid_wer", BLUE, "solid", 2)):
        if table[column].notna().any():
            figure.add_scatter(x=table["step"], y=table[column] * (100 if col == 2 else 1), row=1, col=col, name=column,
                               line={"color": colour, "dash": dash}, mode="lines+markers" if col == 2 else "lines",
                               connectgaps=True, hovertemplate="%{y:.3g} at step %{x:,}<extra></extra>")
    figure.update_yaxes(ticksuffix=" %", col=2)
    figure.update_xaxes(title_text="step", rangemode="tozero").update_yaxes(rangemode="tozero")
    return dress(figure, "Learning curve", margin_t=80, showlegend=False)


def slice_forest(slices: pd.DataFrame, target: float | None = None) -> go.Figure:
    """Show the WER of slices with intervals, the worst on top, the dot as large as the slice's share of use.

    Columns: name, wer, wer_low, wer_high, share (fractions), n_utterances; with a column `gain` the largest gain is on
    top. With a target, colour and symbol say met, cannot tell or missed.
    """
    rows = slices.dropna(subset=["wer"]).sort_values("gain" if "gain" in slices else "wer", kind="stable")
    if rows.empty:
        return nothing("Where it fails")
    outcomes = ["" if target is None else verdicts.target_verdict(Interval(*rates), target, "<=")
                for rates in zip(rows["wer"], rows["wer_low"], rows["wer_high"], strict=True)]
    figure, end = go.Figure(), min(rows["wer_high"].fillna(0).max(), X_HEADROOM * rows["wer"].max())
    for outcome, (word, colour, symbol) in ({"": ("", BLUE, "circle")} if target is None else _VERDICTS).items():
        part = rows[[found == outcome for found in outcomes]]
        figure.add_scatter(
            x=100 * part["wer"], y=part["name"], name=word, mode="markers", error_x=_whiskers(part, "wer"),
            marker={"color": colour, "symbol": symbol, "opacity": 1, "line_width": 0,
                    "size": 9 + 16 * np.sqrt(part["share"].fillna(0))},
            customdata=part[["n_utterances", "share", "wer_low", "wer_high"]],
            hovertemplate="%{y}<br>WER %{x:.1f} % (%{customdata[2]:.1%} to %{customdata[3]:.1%})<br>"
                          "%{customdata[0]:,} queries, %{customdata[1]:.0%} of use<extra>" + word + "</extra>")
    if target is not None:
        figure.add_vrect(x0=0, x1=100 * target, fillcolor=BAND, line_width=0, layer="below")
        figure.add_annotation(x=0, y=1, yref="paper", xanchor="left", yanchor="bottom", showarrow=False,
                              text=f"target ≤ {100 * target:g} %", font_color=TEAL)
    figure.update_xaxes(ticksuffix=" %", range=[0, 106 * max(end, rows["wer"].max(), target or 0.0, 0.01)])
    figure.update_yaxes(type="category", categoryarray=rows["name"].tolist())
    return dress(figure, "Where it fails", "WER by slice, 95 % interval, dot as large as the slice's share of use",
                 height=FRAME_PX + 38 + ROW_PX * len(rows), margin_t=92, margin_b=72, showlegend=target is not None)


def slice_heatmap(cells: pd.DataFrame, *, min_utterances: int = SMALL_CELL) -> go.Figure:
    """Cross two columns; cells of few utterances stay blank. Columns: row, column, wer, n_utterances."""
    kept = cells[cells["n_utterances"].ge(min_utterances) & cells["wer"].notna()]
    if kept.empty:
        return nothing("Two slices at once")
    down, across = (_in_order(kept, side) for side in ("row", "column"))
    wer, n = (kept.pivot(index="row", columns="column", values=v).reindex(index=down, columns=across).to_numpy(float)
              for v in ("wer", "n_utterances"))
    words = [["" if np.isnan(w) else f"<b>{100 * w:.0f} %</b><br>n {k:.0f}" for w, k in zip(*pair, strict=True)]
             for pair in zip(wer, n, strict=True)]
    figure = go.Figure(go.Heatmap(
        z=wer, x=[str(c) for c in across], y=[str(r) for r in down], text=words, texttemplate="%{text}", zmin=0,
        colorscale=[[0, "#e3eefb"], [0.4, "#8fbcf0"], [1, "#0b3f86"]], showscale=False, xgap=3, ygap=3,
        hoverongaps=False, hovertemplate="%{y}, %{x}<br>WER %{z:.1%}<extra></extra>"))
    names = {"type": "category", "showgrid": False}
    return dress(figure, "Two slices at once", f"WER; blank where fewer than {min_utterances} queries", xaxis=names,
                 yaxis={**names, "autorange": "reversed"}, height=FRAME_PX + 54 * len(down))


def _in_order(cells: pd.DataFrame, side: str) -> list[Any]:
    """Put bands in the order of their numbers, and words so that the worst comes first."""
    values = cells.groupby(side)["wer"].max().sort_values(ascending=False).index.tolist()
    numbers = [re.search(r"-?\d+(\.\d+)?", str(value)) for value in values]
    ranks = [float(n[0]) + {"<": -0.5, ">": 0.5}.get(n.string[0], 0.0) for n in numbers if n]
    return [values[i] for i in np.argsort(ranks)] if len(ranks) == len(values) else values


def _bars(title: str, subtitle: str, values: "pd.Series[Any]", words: Sequence[str]) -> go.Figure:
    if values.empty:
        return nothing(title)
    figure = go.Figure(go.Bar(
        x=values.tolist(), y=[str(name) for name in values.index], text=words, orientation="h", marker_color=BLUE,
        textposition="outside", constraintext="none", cliponaxis=False, hovertemplate="%{y}: %{text}<extra></extra>"))
    figure.update_xaxes(visible=False, rangemode="tozero").update_yaxes(type="category", autorange="reversed")
    return dress(figure, title, subtitle, height=FRAME_PX - 30 + ROW_PX * len(values), bargap=0.65, margin_b=16,
                 margin_r=130)


def confusion_bars(confusions: pd.DataFrame, n: int = 12) -> go.Figure:
    """Show which words are heard as which, the most frequent first. Columns: reference_word, hypothesis_word, n."""
    top = confusions.sort_values("n", ascending=False, kind="stable").head(n)
    pairs = (top["reference_word"] + " → " + top["hypothesis_word"]).tolist()
    return _bars("Words heard wrong", "said → heard, and how often", top["n"].set_axis(pairs),
                 [f"{k:,}" for k in top["n"]])


def share_bars(counts: "pd.Series[Any] | Mapping[str, float]", title: str) -> go.Figure:
    """Show shares by name; counts (integers) are turned into shares first."""
    values = pd.Series(counts)
    is_counts = pd.api.types.is_integer_dtype(values)
    shares = values / values.sum() if is_counts else values
    words = [f"{100 * s:.1f} %" + (f" ({v:,})" if is_counts else "") for s, v in zip(shares, values, strict=True)]
    return _bars(title, "share of all", shares, words)


def opportunity_bars(opportunities: pd.DataFrame, n: int = 12) -> go.Figure:
    """Show what mending each slice would take off the overall WER, with interval and cost.

    Columns: name, gain, gain_low, gain_high (fractions), n_clips, advice. Hatched where the interval reaches 0.
    """
    rows = opportunities.head(n)
    if rows.empty:
        return nothing("Which fix is worth most")
    names = [name + (f" · {k:,} clips" if k else "") for name, k in zip(rows["name"], rows["n_clips"], strict=True)]
    rows, figure, is_sure = rows.assign(label=names), go.Figure(), rows["gain_low"].gt(0)
    for word, part, fill, line, shape in (("a gain", rows[is_sure], PALE_BLUE, BLUE, ""),
                                          ("cannot tell yet", rows[~is_sure], GRID, GREY, "/")):
        figure.add_bar(x=100 * part["gain"], y=part["label"], orientation="h", name=word, hovertext=part["advice"],
                       marker={"color": fill, "pattern": {"shape": shape, "fgcolor": GREY, "size": 5}, "line_width": 0},
                       hovertemplate="%{x:.1f} points<br>%{hovertext}<extra></extra>",
                       error_x=_whiskers(part, "gain", line))
    figure.update_yaxes(type="category", autorange="reversed", categoryarray=names)
    return dress(figure, "Which fix is worth most", "points off the overall WER, 95 % interval, and what it costs",
                 height=FRAME_PX + 20 + ROW_PX * len(rows), margin_b=72, barmode="overlay")


def power_curves(power_table: pd.DataFrame) -> go.Figure:
    """Show how many utterances it takes to see a difference. Columns: wer, difference (fractions), n_utterances."""
    figure = go.Figure()
    for wer, dash in zip(sorted(power_table["wer"].unique()), ("solid", "dash", "dot", "dashdot") * 9, strict=False):
        rows = power_table[power_table["wer"] == wer].sort_values("difference")
        name = f"at {100 * wer:g} % WER"
        figure.add_scatter(x=100 * rows["difference"], y=rows["n_utterances"], name=name, cliponaxis=False,
                           mode="lines+markers+text", text=[""] * (len(rows) - 1) + [f"  {name}"],
                           textposition="middle right", line={"dash": dash, "color": BLUE},
                           hovertemplate="%{y:,} utterances show %{x:.1f} points<extra>" + name + "</extra>")
    figure.update_yaxes(type="log", title="utterances", dtick=1, tickformat=",")
    figure.update_xaxes(title="difference in WER, points", rangemode="tozero")
    return dress(figure, "How much data shows a difference", "utterances that both models hear, by their WER now",
                 height=360, margin_r=110, showlegend=False)


def histogram(values: Any, title: str, unit: str, reference: Any = None) -> go.Figure:
    """Show a distribution and its median; with a reference, both as shares, the reference as a grey shape behind."""
    now = pd.Series(values, dtype=float).dropna().to_numpy()
    before = pd.Series([] if reference is None else reference, dtype=float).dropna().to_numpy()
    if not len(now):
        return nothing(title)
    edges, has_reference = np.histogram_bin_edges(np.concatenate([now, before]), bins=MAX_BINS), len(before) > 0
    figure, centres, median = go.Figure(), (edges[:-1] + edges[1:]) / 2, float(np.median(now))
    if has_reference:
        figure.add_scatter(x=centres, y=100 * np.histogram(before, edges)[0] / len(before), name="reference",
                           mode="lines", line={"color": GREY, "shape": "hvh"}, fill="tozeroy", fillcolor=GRID)
    figure.add_bar(x=centres, y=np.histogram(now, edges)[0] * (100 / len(now) if has_reference else 1), name="now",
                   marker_color=BLUE, opacity=0.75 if has_reference else 1)
    figure.add_vline(x=median, line={"color": GREY, "dash": "dash", "width": 1.5})
    figure.update_xaxes(title=unit).update_yaxes(title="% of utterances" if has_reference else "utterances")
    return dress(figure, title, f"{len(now):,} utterances, median {median:.3g} {unit}", height=290, bargap=0.08,
                 showlegend=has_reference, margin_b=80 if has_reference else 56)


def split_bars(summary: pd.DataFrame) -> go.Figure:
    """Show the hours of each split, its speakers named. Columns: split, hours, n_speakers; a row "all" is left out."""
    rows = summary[summary["split"] != "all"]
    words = [f"{hours:.2g} h, {n:,} speakers" for hours, n in zip(rows["hours"], rows["n_speakers"], strict=True)]
    return _bars("Hours and speakers", "each split has its own speakers", rows.set_index("split")["hours"], words)


def before_after(slices: pd.DataFrame) -> go.Figure:
    """Show what each slice gained: the arms, and the paired change with its interval.

    Columns: name, before, treated, where present control (WER); change (treated - before), where present beyond
    (treated - control), each with _low and _high (fractions); where present verdict, which counts how many slices there
    are and so may say less than an interval alone.
    """
    title = "What the new data changed, slice by slice"
    if slices.empty:
        return nothing(title)
    rows, has_change = slices.assign(y=np.arange(len(slices), dtype=float)), "change" in slices
    figure = _panels(*["WER", "change, points"][: 1 + has_change], spacing=0.06)
    for arm, (colour, symbol) in ((a, look) for a, look in _ARMS.items() if a in rows):
        shift = {"before": -0.2, "treated": 0.2}.get(arm, 0.0) * ("before_low" in rows)
        _dots(figure, rows, arm, colour, symbol, shift=shift, col=1)
    figure.update_yaxes(tickvals=rows["y"], ticktext=rows["name"], range=[len(rows) - 0.4, -0.6], zeroline=False)
    if has_change:
        _add_changes(figure, rows)
    figure.update_xaxes(nticks=5, tickangle=0).update_xaxes(ticksuffix=" %", rangemode="tozero", col=1)
    told = "; change: filled against before, open against the control" if "beyond" in rows else ""
    return dress(figure, title, f"left is better{told}" * has_change, height=FRAME_PX + 70 + 38 * len(rows),
                 margin_t=112, margin_b=76)


def _dots(figure: go.Figure, rows: pd.DataFrame, column: str, colour: Any, symbol: Any, *, shift: float,
          col: int) -> None:
    figure.add_scatter(x=100 * rows[column], y=rows["y"] + shift, text=rows["name"], name=column, mode="markers",
                       marker={"size": 11, "color": colour, "symbol": symbol, "line": {"width": 2, "color": colour}},
                       error_x=_whiskers(rows, column), showlegend=col == 1, row=1, col=col,
                       hovertemplate="%{text}<br>%{fullData.name} %{x:.1f}<extra></extra>")


def _add_changes(figure: go.Figure, rows: pd.DataFrame) -> None:
    words = list(rows["verdict"]) if "verdict" in rows else [
        "better" if high < 0 else "worse" if low > 0 else "cannot tell"
        for low, high in zip(rows["change_low"], rows["change_high"], strict=True)]
    colours, symbols = zip(*(_CHANGES[word] for word in words), strict=True)
    shift = 0.17 if "beyond" in rows else 0.0
    figure.add_vline(x=0, line={"color": GREY, "width": 1.2}, row=1, col=2)
    _dots(figure, rows, "change", colours, symbols, shift=-shift, col=2)
    if "beyond" in rows:
        _dots(figure, rows, "beyond", GREY, "diamond-open", shift=shift, col=2)
    figure.update_yaxes(side="right", ticktext=words, col=2)
