"""Plots in one visual language: tables in, plotly figures out. Pure; nothing here reads a file or knows a notebook.

Quiet neutral ground, one accent blue, teal for met, amber for cannot tell, red for missed, and never colour alone.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

BLUE, TEAL, AMBER, RED, GREY = "#2f7de1", "#12988a", "#d48a1c", "#d4493f", "#8791a3"
GRID = "rgba(135,145,163,0.25)"
ROW_PX, FRAME_PX = 26, 110

TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": GREY},
        "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)",
        "colorway": [BLUE, TEAL, AMBER, RED, GREY],
        "margin": {"l": 70, "r": 24, "t": 56, "b": 48}, "hovermode": "closest",
        "title": {"x": 0, "xref": "container", "xanchor": "left", "pad": {"l": 8}, "font": {"size": 15}},
        "xaxis": {"gridcolor": GRID, "zerolinecolor": GRID, "automargin": True},
        "yaxis": {"gridcolor": GRID, "zerolinecolor": GRID, "automargin": True},
        "legend": {"orientation": "h", "y": -0.2},
    }
)


def _figure(title: str, *traces: object, height: int = 340, **layout: object) -> go.Figure:
    figure = go.Figure(list(traces))
    figure.update_layout(template=TEMPLATE, title=title, height=height, **layout)
    return figure


def _verdict_colour(low: float, high: float, target: float | None) -> str:
    if target is None:
        return BLUE
    return TEAL if high <= target else RED if low > target else AMBER


def learning_curve(curve: pd.DataFrame) -> go.Figure:
    """Show how the loss fell, and the WER on valid where there is one. Columns: step, train_loss, valid_wer."""
    figure = _figure("Learning curve", go.Scatter(x=curve["step"], y=curve["train_loss"], name="training loss",
                                                  line={"color": GREY, "dash": "dot"}, mode="lines+markers", yaxis="y2"))
    if curve["valid_wer"].notna().any():
        figure.add_scatter(x=curve["step"], y=curve["valid_wer"], name="WER on valid", mode="lines+markers",
                           line={"color": BLUE, "width": 2.5})
        best = curve.loc[curve["valid_wer"].idxmin()]
        figure.add_annotation(x=best["step"], y=best["valid_wer"], text=f"best {best['valid_wer']:.1%}", yshift=14, showarrow=False)
    return figure.update_layout(xaxis_title="step", yaxis={"tickformat": ".0%", "rangemode": "tozero", "title": "WER"},
                                yaxis2={"overlaying": "y", "side": "right", "showgrid": False, "title": "loss"})


def slice_forest(slices: pd.DataFrame, target: float | None = None) -> go.Figure:
    """Show the WER of slices with intervals, the worst on top, the dot as large as the slice's share of use.

    Columns: name, wer, wer_low, wer_high, share, n_utterances. Colour and symbol say met, missed or cannot tell.
    """
    rows = slices.dropna(subset=["wer"]).sort_values("wer")
    colours = [_verdict_colour(low, high, target) for low, high in zip(rows["wer_low"], rows["wer_high"], strict=True)]
    symbol = {TEAL: "circle", AMBER: "diamond", RED: "square", BLUE: "circle"}
    figure = _figure(
        "Where it fails: WER by slice, 95 % interval" + (f", target ≤ {target:.0%} shaded" if target else ""),
        go.Scatter(
            x=rows["wer"], y=rows["name"], mode="markers", customdata=rows[["n_utterances", "share", "wer_low", "wer_high"]],
            marker={"color": colours, "symbol": [symbol[c] for c in colours], "line": {"width": 0}, "opacity": 1,
                    "size": 9 + 16 * np.sqrt(rows["share"].fillna(0))},
            error_x={"type": "data", "symmetric": False, "array": rows["wer_high"] - rows["wer"],
                     "arrayminus": rows["wer"] - rows["wer_low"], "color": GREY, "thickness": 1.4, "width": 0},
            hovertemplate="%{y}<br>WER %{x:.1%} (%{customdata[2]:.1%} to %{customdata[3]:.1%})<br>"
                          "%{customdata[0]} queries, %{customdata[1]:.0%} of use<extra></extra>"),
        height=FRAME_PX + ROW_PX * len(rows), xaxis={"tickformat": ".0%", "rangemode": "tozero"}, yaxis={"type": "category"})
    if target:
        figure.add_vrect(x0=0, x1=target, fillcolor=TEAL, opacity=0.08, line_width=0)
    return figure


def slice_heatmap(cells: pd.DataFrame, *, min_utterances: int = 10) -> go.Figure:
    """Cross two columns; cells of few utterances stay blank. Columns: row, column, wer, n_utterances."""
    kept = cells[cells["n_utterances"] >= min_utterances]
    wer = kept.pivot_table(index="row", columns="column", values="wer", observed=True, sort=False)
    n = kept.pivot_table(index="row", columns="column", values="n_utterances", observed=True, sort=False)
    words = [["" if pd.isna(w) else f"{w:.0%}<br>n {int(k)}" for w, k in zip(*pair, strict=True)]
             for pair in zip(wer.to_numpy(), n.to_numpy(), strict=True)]
    return _figure("WER, two slices at once", go.Heatmap(
        z=wer.to_numpy(), x=[str(c) for c in wer.columns], y=[str(r) for r in wer.index], text=words, texttemplate="%{text}",
        colorscale=[[0, "#e3eefb"], [0.5, "#6fa8ea"], [1, "#0b3f86"]], colorbar={"tickformat": ".0%", "title": "WER"}, xgap=3, ygap=3),
        height=FRAME_PX + 56 * max(1, len(wer)), yaxis={"type": "category"}, xaxis={"type": "category"})


def _bars(title: str, labels: Sequence[str], values: Sequence[float], *, form: str = "", colour: str = BLUE) -> go.Figure:
    return _figure(title, go.Bar(x=list(values)[::-1], y=list(labels)[::-1], orientation="h", marker_color=colour,
                                 texttemplate=f"%{{x:{form}}}", textposition="outside", cliponaxis=False),
                   height=FRAME_PX + ROW_PX * len(labels), xaxis={"tickformat": form}, yaxis={"type": "category"})


def confusion_bars(confusions: pd.DataFrame, n: int = 12) -> go.Figure:
    """Show which words are heard as which. Columns: reference_word, hypothesis_word, n."""
    top = confusions.head(n)
    return _bars("Words heard wrong", [f"{a} → {b}" for a, b in zip(top["reference_word"], top["hypothesis_word"], strict=True)],
                 top["n"].tolist())


def share_bars(shares: pd.Series, title: str) -> go.Figure:
    """Show shares (fractions) by name."""
    return _bars(title, [str(name) for name in shares.index], shares.tolist(), form=".1%")


def opportunity_bars(opportunities: pd.DataFrame) -> go.Figure:
    """Show what mending each slice would take off the overall WER. Columns: name, gain, gain_low, gain_high, n_clips."""
    rows = opportunities.iloc[::-1]
    return _figure("Which fix is worth most: points off the overall WER", go.Bar(
        x=rows["gain"], y=rows["name"], orientation="h",
        marker_color=[BLUE if low > 0 else GREY for low in rows["gain_low"]],
        error_x={"type": "data", "symmetric": False, "array": rows["gain_high"] - rows["gain"],
                 "arrayminus": rows["gain"] - rows["gain_low"], "color": GREY, "thickness": 1.4, "width": 0},
        hovertemplate="%{y}: %{x:.1%}<extra></extra>"),
        height=FRAME_PX + ROW_PX * len(rows), xaxis={"tickformat": ".1%"}, yaxis={"type": "category"})


def power_curves(power: pd.DataFrame) -> go.Figure:
    """Show how many utterances a difference takes. Columns: wer, difference, n_utterances."""
    figure = _figure("Gate utterances that show a difference")
    for (wer, group), dash in zip(power.groupby("wer"), ("solid", "dash", "dot", "dashdot"), strict=False):
        figure.add_scatter(x=group["difference"], y=group["n_utterances"], name=f"at {wer:.0%} WER", mode="lines+markers",
                           line={"dash": dash})
    return figure.update_layout(yaxis={"type": "log", "title": "utterances"}, xaxis={"tickformat": ".1%", "title": "difference in WER"})


def histogram(values: pd.Series, title: str, unit: str) -> go.Figure:
    """Show a distribution, its median marked."""
    figure = _figure(f"{title} ({unit})", go.Histogram(x=values, marker_color=BLUE, nbinsx=40), height=280, bargap=0.06)
    figure.add_vline(x=values.median(), line={"color": GREY, "dash": "dash"}, annotation_text=f"median {values.median():.3g} {unit}")
    return figure.update_layout(yaxis_title="utterances", xaxis_title=unit)


def split_bars(summary: pd.DataFrame) -> go.Figure:
    """Show hours and speakers of each split side by side. Columns: split, hours, n_speakers."""
    rows = summary[summary["split"] != "all"]
    return _figure("Hours and speakers",
                   go.Bar(x=rows["split"], y=rows["hours"], name="hours", marker_color=BLUE, offsetgroup="h",
                          texttemplate="%{y:.2g} h"),
                   go.Bar(x=rows["split"], y=rows["n_speakers"], name="speakers", marker_color=GREY, offsetgroup="s",
                          yaxis="y2", texttemplate="%{y}"),
                   yaxis={"title": "hours"}, yaxis2={"overlaying": "y", "side": "right", "title": "speakers", "showgrid": False})


def before_after(slices: pd.DataFrame) -> go.Figure:
    """Show what each slice gained: before, control and treated, and the paired change in words.

    Columns: name, before, control, treated, change, change_low, change_high.
    """
    rows = slices.iloc[::-1]
    figure = _figure("What the requested data changed, slice by slice", height=FRAME_PX + 34 * len(rows))
    for row in rows.to_dict("records"):
        figure.add_scatter(x=[row["before"], row["treated"]], y=[row["name"]] * 2, mode="lines", showlegend=False,
                           line={"color": GREY, "width": 2}, hoverinfo="skip")
    words = [f"{100 * c:+.1f} points ({100 * low:+.1f} to {100 * high:+.1f})" for c, low, high in
             zip(rows["change"], rows["change_low"], rows["change_high"], strict=True)]
    for arm, colour, symbol in (("before", GREY, "circle-open"), ("control", AMBER, "diamond"), ("treated", BLUE, "circle")):
        figure.add_scatter(x=rows[arm], y=rows["name"], name=arm, mode="markers", text=words,
                           marker={"color": colour, "symbol": symbol, "size": 11},
                           hovertemplate="%{y}, " + arm + " %{x:.1%}<br>treated - before: %{text}<extra></extra>")
    return figure.update_layout(xaxis={"tickformat": ".0%", "rangemode": "tozero", "title": "WER"}, yaxis={"type": "category"})
