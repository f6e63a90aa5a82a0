"""The figures of the error-analysis page that stage reports do not have: models compared, causes, what would be left.

Pure: tables in, plotly figures out, in the looks of `figures`.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from workbench import figures
from workbench.comparing import MOST_ERRORS
from workbench.figures import AMBER, BLUE, GREY, GRID, RED, ROW_PX, TEAL
from workbench.mending import Left

_VERDICTS = {"better": (TEAL, "triangle-left"), "cannot tell": (AMBER, "diamond"), "worse": (RED, "triangle-right")}
CARD_PX = 64
"""Height of what is no row of data, on a card that has its own title."""


def on_a_card(figure: go.Figure, *, height: int = 0) -> go.Figure:
    """Take a figure's title off, for a card that says it already."""
    shorter = (height or max(int(figure.layout.height or 330) - 48, 110))
    return figure.update_layout(title=None, height=shorter, margin_t=24 if figure.layout.annotations else 8)


def changes(by_slice: pd.DataFrame, order: Sequence[str] = (), reach: float = 0.0) -> go.Figure:
    """Show the paired change of each slice, told from chance over all of them.

    Columns: name, change, change_low, change_high (fractions), verdict, n_utterances. Figures of one `order` of names,
    the lowest first, and one `reach` of changes can be read side by side.
    """
    if by_slice.empty:
        return figures.nothing("Slice by slice")
    rows, figure = by_slice.sort_values("change", ascending=False), go.Figure()
    for word, (colour, symbol) in _VERDICTS.items():
        part = rows[rows["verdict"] == word]
        figure.add_scatter(
            x=100 * part["change"], y=part["name"], mode="markers", name=word,
            marker={"color": colour, "symbol": symbol, "size": 11},
            error_x={"symmetric": False, "array": 100 * (part["change_high"] - part["change"]), "color": colour,
                     "arrayminus": 100 * (part["change"] - part["change_low"]), "thickness": 1.6, "width": 0},
            customdata=part[["n_utterances", "before", "now"]],
            hovertemplate="%{y}: %{x:+.1f} points<br>%{customdata[1]:.1%} → %{customdata[2]:.1%}, "
                          "%{customdata[0]:,} queries<extra>" + word + "</extra>")
    figure.add_vline(x=0, line={"color": GREY, "width": 1.2})
    figure.update_yaxes(type="category", categoryarray=list(order) or rows["name"].tolist())
    figure.update_xaxes(title="WER points", range=[-100 * reach, 100 * reach] if reach else None)
    return figures.dress(figure, "", height=CARD_PX + 50 + ROW_PX * len(rows), margin_t=8, margin_b=84)


def model_bubbles(cells: pd.DataFrame, name_before: str, name_now: str) -> go.Figure:
    """Show how many queries get how many errors from each of two models; below the diagonal are the gains.

    Columns: before, now (errors, at most MOST_ERRORS), n.
    """
    if cells.empty:
        return figures.nothing("Query by query")
    colours = np.where(cells["now"] < cells["before"], TEAL, np.where(cells["now"] > cells["before"], RED, GREY))
    figure = go.Figure(go.Scatter(
        x=cells["before"], y=cells["now"], mode="markers+text", text=[f"{n:,}" for n in cells["n"]], name="queries",
        marker={"size": 16 + 34 * np.sqrt(cells["n"] / cells["n"].max()), "color": colours, "opacity": 0.35,
                "line": {"width": 1.5, "color": colours}}, textfont={"size": 11},
        hovertemplate="%{text} queries: %{x} errors before, %{y} now<extra></extra>"))
    figure.add_shape(type="line", x0=0, y0=0, x1=MOST_ERRORS, y1=MOST_ERRORS, line={"color": GRID, "dash": "dot"})
    ticks = [*map(str, range(MOST_ERRORS)), f"{MOST_ERRORS}+"]
    axis = {"tickvals": list(range(MOST_ERRORS + 1)), "ticktext": ticks, "range": [-0.6, MOST_ERRORS + 0.6],
            "zeroline": False}
    figure.update_xaxes(**axis, title=f"errors of {name_before}").update_yaxes(**axis, title=f"errors of {name_now}")
    return figures.dress(figure, "", height=380, margin_t=8, showlegend=False)


def causes_pareto(found: pd.DataFrame) -> go.Figure:
    """Show what people found to be the causes of errors, with the running share of all.

    Columns: cause, n, share, share_low, share_high, share_so_far (fractions), the commonest first.
    """
    if found.empty:
        return figures.nothing("Causes")
    figure = go.Figure(go.Bar(x=found["cause"], y=found["n"], marker_color=BLUE, name="marks", cliponaxis=False,
                              text=[f"{n:,}" for n in found["n"]], textposition="outside",
                              customdata=found[["share", "share_low", "share_high"]],
                              hovertemplate="%{x}: %{customdata[0]:.0%} (%{customdata[1]:.0%} to "
                                            "%{customdata[2]:.0%})<extra></extra>"))
    figure.add_scatter(x=found["cause"], y=100 * found["share_so_far"], yaxis="y2", mode="lines+markers",
                       name="share so far", line={"color": GREY, "dash": "dot"},
                       hovertemplate="%{y:.0f} % so far<extra></extra>")
    figure.update_layout(yaxis2={"overlaying": "y", "side": "right", "range": [0, 108], "ticksuffix": " %",
                                 "showgrid": False})
    figure.update_yaxes(rangemode="tozero", title="queries marked", selector={"side": None})
    return figures.dress(figure, "", height=290, margin_t=24, margin_b=80)


def what_is_left(now: float, left: Sequence[Left]) -> go.Figure:
    """Show the WER that would be left after each fix, beside the WER of now (a fraction; nan where nothing counts)."""
    if not left or np.isnan(now):
        return figures.nothing("What would be left")
    names = [fix.title for fix in left]
    figure = go.Figure(go.Scatter(
        x=[100 * fix.wer.value for fix in left], y=names, mode="markers", name="left",
        marker={"size": 12, "color": BLUE, "symbol": ["diamond" if "together" in name else "circle" for name in names]},
        error_x={"symmetric": False, "array": [100 * (fix.wer.high - fix.wer.value) for fix in left],
                 "arrayminus": [100 * (fix.wer.value - fix.wer.low) for fix in left], "color": GREY, "thickness": 1.6,
                 "width": 0},
        hovertemplate="%{y}: %{x:.1f} % left<extra></extra>"))
    figure.add_vline(x=100 * now, line={"color": GREY, "dash": "dash", "width": 1.2})
    figure.add_annotation(x=100 * now, y=1, yref="paper", yanchor="bottom", text=f"now {100 * now:.1f} %",
                          showarrow=False)
    figure.update_xaxes(ticksuffix=" %", rangemode="tozero")
    figure.update_yaxes(type="category", autorange="reversed")
    return figures.dress(figure, "", height=CARD_PX + 24 + ROW_PX * len(left), margin_t=28, margin_b=36,
                         showlegend=False)
