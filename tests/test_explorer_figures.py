"""The figures of the error-analysis page, asked what they show."""

import numpy as np
import pandas as pd

from tests.test_exploring import listened
from workbench import explorer_figures, exploring, figures, mending
from workbench.mending import Fix, Left
from workbench.records import Interval
from workbench.selections import Selection


def test_changes_are_coloured_by_their_verdict_and_the_most_improved_is_on_top() -> None:
    table = pd.DataFrame({"name": ["a", "b"], "change": [-0.05, 0.01], "change_low": [-0.08, -0.02],
                          "change_high": [-0.02, 0.04], "before": [0.2, 0.1], "now": [0.15, 0.11],
                          "verdict": ["better", "cannot tell"], "n_utterances": [50, 60]})
    drawn = explorer_figures.changes(table)
    shown = {trace.name: list(trace.y) for trace in drawn.data}
    assert shown == {"better": ["a"], "cannot tell": ["b"], "worse": []}
    assert list(drawn.layout.yaxis.categoryarray) == ["b", "a"]
    assert drawn.data[0].x[0] == -5 and np.isclose(drawn.data[0].error_x.array[0], 3)


def test_bubbles_hold_every_query_and_tell_gain_from_loss_by_place_and_colour() -> None:
    cells = pd.DataFrame({"before": [2, 0, 1], "now": [0, 1, 1], "n": [5, 2, 9]})
    bubbles = explorer_figures.model_bubbles(cells, "old", "new").data[0]
    assert list(bubbles.text) == ["5", "2", "9"]
    assert list(bubbles.marker.color) == [figures.TEAL, figures.RED, figures.GREY]


def test_a_pareto_of_causes_ends_at_all_of_them() -> None:
    found = pd.DataFrame({"cause": ["noise", "accent"], "n": [3, 1], "share": [0.75, 0.25], "share_low": [0.4, 0.1],
                          "share_high": [0.9, 0.6], "share_so_far": [0.75, 1.0]})
    bars, line = explorer_figures.causes_pareto(found).data
    assert list(bars.y) == [3, 1] and list(line.y) == [75, 100] and line.yaxis == "y2"


def test_what_is_left_is_drawn_beside_now() -> None:
    data = exploring.explored(*exploring.scored(listened()), weights=np.ones(5))
    left = mending.what_if(data, data.mask(Selection()), [Fix("noise", "car"), Fix("noise", "quiet")])
    drawn = explorer_figures.what_is_left(5 / 13, left)
    assert list(drawn.data[0].y) == ["noise: car", "noise: quiet", "all of these together"]
    assert np.allclose(drawn.data[0].x, [100 * 2 / 13, 100 * 3 / 13, 0])
    assert any("now 38.5 %" in note.text for note in drawn.layout.annotations)


def test_missing_data_is_a_sentence() -> None:
    empty = pd.DataFrame()
    for drawn in (explorer_figures.changes(empty), explorer_figures.model_bubbles(empty, "a", "b"),
                  explorer_figures.causes_pareto(empty), explorer_figures.what_is_left(0.1, []),
                  explorer_figures.what_is_left(np.nan, [Left("car", *[Interval(np.nan, np.nan, np.nan)] * 4)])):
        assert drawn.layout.title.subtitle.text == "There is nothing to show yet."


def test_on_a_card_a_figure_has_no_title_of_its_own() -> None:
    drawn = explorer_figures.on_a_card(figures.histogram([1, 2, 3], "Title", "s"))
    assert drawn.layout.title.text is None and drawn.layout.height < 290


def test_slices_with_a_gain_are_sorted_by_it() -> None:
    slices = pd.DataFrame({"name": ["a", "b"], "wer": [0.3, 0.1], "wer_low": [0.2, 0.05], "wer_high": [0.4, 0.2],
                           "share": [0.1, 0.9], "n_utterances": [10, 90]})
    assert list(figures.slice_forest(slices).layout.yaxis.categoryarray) == ["b", "a"]
    assert list(figures.slice_forest(slices.assign(gain=[0.01, 0.05])).layout.yaxis.categoryarray) == ["a", "b"]
