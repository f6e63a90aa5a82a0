"""The pages' parts in the kernel, without a browser: what a click, a failure or newer data leaves behind."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest

from tests.test_answers import PROMISES, heard, leave
from workbench import answers
from workbench.errors import StoreError
from workbench.widgets.alarms import _rows, _told
from workbench.widgets.error_analysis import Page
from workbench.widgets.failing import TABLE
from workbench.widgets.names import _listed_rows
from workbench.widgets.todo import WORDS


@pytest.fixture
def page(root: Path) -> Iterator[Page]:
    """Give the page of error analysis on five queries of one run, which lost their sound."""
    for number, stage in enumerate(("scope", "collect", "train", "analyze", "improve"), 1):
        (root / "notebooks" / f"0{number}_{stage}.ipynb").write_text("{}")
    (root / "notebooks" / "08_retrain.ipynb").write_text("{}")
    leave("default", "scope", promises=PROMISES)
    leave("default", "train", pd.concat([heard(), heard().assign(utterance_id=[f"v{i}" for i in range(5)])]))
    made = Page(answers.sources(), answers.latest())
    with closing(made.marks):
        yield made


def test_of_a_clip_that_the_store_does_not_give_the_words_are_shown_all_the_same(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise StoreError("the store does not answer")

    clip = page.parts["queries"].clip
    page.state.current = "u1"
    assert "adele" in clip.said.value
    monkeypatch.setattr(answers, "samples", fail)
    page.state.current = "u3"
    assert clip.player.when_silent == "This clip cannot be played: the store does not answer"
    assert clip.utterance_id == "u3" and "oslo" in clip.said.value and "u3" in clip.heading.value
    Page(answers.sources(), answers.latest()).marks.close()  # whose listening queue begins with a clip


def test_a_slice_can_be_picked_again_once_its_filter_was_taken_off(page: Page) -> None:
    failing, fixes, selections = page.parts["failing"], page.parts["fixes"], []
    failing.view.value = TABLE
    label, column, value = failing.opportunities[["label", "column", "value"]].iloc[0]
    page.state.observe(lambda change: selections.append(dict(change["new"].picked)), "selection")
    for rows in (failing.table, fixes.rows):
        for _ in range(2):
            rows.selected = label
            assert rows.selected == ""
            page.state.selection = type(page.state.selection)()
    assert selections == [{column: (value,)}, {}] * 4


def test_a_neighbour_is_marked_while_it_is_the_query_that_is_shown(page: Page) -> None:
    near = page.parts["listening"].clip.near
    first, second = near.ordered["utterance_id"].iloc[:1].tolist() + ["u2"]
    for _ in range(2):
        near.selected = first
        assert page.state.current == first and near.selected == first
        page.state.current = second
        assert near.selected == ""
    assert page.parts["queries"].clip.near.selected == ""


def test_columns_are_sorted_by_their_numbers_and_times_and_not_by_their_letters(page: Page) -> None:
    fixes, words, listed, alarms = page.parts["fixes"].rows, page.parts["words"], _listed_rows(), _rows("", "")
    fixes.show(pd.DataFrame({"label": ["a", "b"], "gain": [0.0923, 0.1234], "cost": [(5_400.0, 900), (600.0, 1_000)]}))
    fixes.sorted_by = "gain"
    assert [row["cells"][1] for row in fixes.shown] == ["<b>−12.3</b> pts", "<b>−9.2</b> pts"]
    fixes.sorted_by = "cost"
    assert [row["cells"][3] for row in fixes.shown] == ["900 clips, 90.0 h", "1,000 clips, 10.0 h"]
    words.view.value, words.rows.sorted_by, words.rows.is_descending = WORDS, "heard", False
    shares = [float(row["cells"][1].removesuffix(" % right")) for row in words.rows.shown]
    assert len(shares) > 2 and shares == sorted(shares)
    days = pd.DataFrame({"name": ["a", "b"], "since": [(86_400.0 * 29, "<ada>"), (86_400.0 * 32, "ben")]})
    listed.show(days)
    listed.sorted_by = "since"
    assert [row["cells"][1] for row in listed.shown] == ["02 Feb 00:00, ben", "30 Jan 00:00, &lt;ada&gt;"]
    alarms.show(_told(pd.DataFrame({"alarm_id": ["a", "b"], "time_s": [86_400.0 * 29, 86_400.0 * 32], "rule": "WER",
                                    "evidence": "", "reopen": "train", "state": "open", "by": ""})))
    alarms.sorted_by = "time_s"
    assert [row["cells"][0] for row in alarms.shown] == ["week of 02 Feb", "week of 30 Jan"]
