"""The pages' parts in the kernel, without a browser: what a click, a failure or newer data leaves behind."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.test_answers import PROMISES, heard, leave, many
from workbench import answers, consented_audio, data_requests, storage
from workbench.data_requests import Request
from workbench.errors import StoreError
from workbench.marks import Marks
from workbench.selections import Selection
from workbench.widgets import clips, names
from workbench.widgets.alarms import _rows, _told
from workbench.widgets.error_analysis import Page
from workbench.widgets.failing import TABLE
from workbench.widgets.names import AS_IT_SHOULD_BE, Names, _listed_rows
from workbench.widgets.state import HIDDEN
from workbench.widgets.todo import WORDS
from workbench.widgets.visitor import Visitor


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


# --- models that cannot be opened ------------------------------------------------------------------------------------


def source(run: str) -> answers.Source:
    return answers.sources(run)[0]


def tear(run: str) -> None:
    """Make a run whose model's answers are torn."""
    leave(run, "scope", promises=PROMISES)
    leave(run, "train", heard())
    path = storage.run_folder(run) / "03_train" / "listened.parquet"
    path.write_bytes(path.read_bytes()[:100])


def shown(page: Page) -> str:
    """Give what the page opens with."""
    parts = [part.value for row in page.body.children for part in getattr(row, "children", [row])
             if hasattr(part, "value")]
    return " ".join(map(str, parts))


def test_where_the_newest_model_cannot_be_read_the_page_says_so_and_offers_the_others(page: Page) -> None:
    tear("torn")
    other = Page(answers.sources(), source("torn"))
    with closing(other.marks):
        assert "torn · train cannot be opened; choose another." in shown(other)
        assert "workbench run train --run torn --force" in shown(other)
        assert other.choice in other.body.children[0].children
        other.choice.value = "default · train"
        assert "run default" in shown(other) and "cannot be opened" not in shown(other)


def test_a_model_that_cannot_be_opened_leaves_the_one_that_is_shown_and_is_said_until_another_is(page: Page) -> None:
    tear("torn")
    leave("again", "scope", promises=PROMISES)
    leave("again", "train", heard())
    other = Page(answers.sources(), source("default"))
    with closing(other.marks):
        parts = other.parts
        other.choice.value = "torn · train"
        assert other.choice.value == "default · train" and "run default" in shown(other) and other.parts is parts
        assert "lost or damaged" in other.said.value
        other.choice.value = "again · train"
        assert other.choice.value == "again · train" and "run again" in shown(other) and other.said.value == ""


# --- words that are not known, or not to be seen ---------------------------------------------------------------------


def test_misheard_letters_are_never_written_as_a_name(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rising = pd.DataFrame({"request_id": ["r1", "r2"], "probably": ["adele", ""], "term": ["a dell", "bree th"],
                           "n_queries": 4, "n_users": 3, "ratio": np.nan, "state": [("", False)] * 2,
                           "example_ids": [["r1"], ["r2"]]})
    rows = pd.DataFrame({"request_id": ["r1", "r2"], "consent": "", "audio_sha": "", "piece": ""})
    monkeypatch.setattr(names, "table", lambda scene: rising)
    monkeypatch.setattr(names, "listed", lambda scene: pd.DataFrame(columns=["name"]))
    marks, visitor, accepted = Marks(), Visitor(), list[str]()
    visitor.name = "Ada"
    made = Names(marks, visitor, lambda: None)
    monkeypatch.setattr(made, "_accepted", lambda written, heard, by: accepted.append(written))
    scene: Any = SimpleNamespace(rows=rows)
    made.show(scene)
    for picked, written in (("r1", "adele"), ("r2", "")):
        made.rows.selected = picked
        assert made.written.value == written
    assert made.written.placeholder == f"{AS_IT_SHOULD_BE}; heard “bree th”"
    for _ in range(2):
        made._accept("r2")
        assert "write the name as it should be" in made.note.value and made.written.value == ""
    made.rows.selected = "r1"
    made._accept("r2")  # which picks it
    made._accept("r2")
    assert accepted == []
    made.written.value = "Breathe"
    made._accept("r2")
    assert accepted == ["Breathe"]
    marks.close()


def test_production_is_heard_where_its_sound_lies_and_elsewhere_the_page_says_that_it_lies_there(root: Path) -> None:
    kept = consented_audio.store_clip(np.zeros(16_000, np.float32))
    asked = pd.DataFrame({"request_id": ["r1", "r2", "r3"], "consent": ["audio", "audio", ""],
                          "audio_sha": [kept, "0" * 64, ""], "hypothesis": "weather", "duration_s": 1.0})
    assert clips.hear(asked).count("<audio") == 1
    assert "the machine whose server heard it" in clips.hear(asked.tail(2))
    assert "None of these users lets us listen" in clips.hear(asked.tail(1))


def test_a_query_that_is_written_down_by_ear_is_hidden_in_every_table(page: Page) -> None:
    def words(name: str) -> str:
        tables = [page.parts["queries"].rows, *(page.parts[part].clip.near for part in ("queries", "listening"))]
        return " ".join(row["cells"][1 if table is tables[0] else 0] for table in tables for row in table.shown
                        if row["id"] == name)

    clip = page.parts["queries"].clip
    page.state.current = "u1"
    clip.transcribe(is_on=True)
    assert HIDDEN in words("u1") and "adele" not in words("u1") and "adele" in words("v0")
    page.state.current = "u3"
    assert "adele" in words("u1") and HIDDEN not in words("u1")
    queued = page.parts["listening"].clip
    for blind, other in ((clip, queued), (queued, clip)):
        blind.show("u1", is_blind=True)
        other.show("u3", is_blind=True)
        assert HIDDEN in words("u1") and HIDDEN in words("u3")
        other.show("")
        assert HIDDEN in words("u1") and HIDDEN not in words("u3")
        blind.transcribe(is_on=False)
        assert page.state.hidden == set() and HIDDEN not in words("u1")


def test_it_is_hidden_among_the_queries_won_and_lost_too(page: Page) -> None:
    for run, table in (("before", heard()), ("after", heard().assign(hypothesis=heard()["reference"]))):
        leave(run, "scope", promises=PROMISES)
        leave(run, "train", table)
    other = Page(answers.sources(), source("after"))
    with closing(other.marks):
        compare, clip = other.parts["compare"], other.parts["queries"].clip
        compare.baseline.value = "before · train"
        for is_blind in (True, False):
            clip.show("u1", is_blind=is_blind)
            cells = {row["id"]: row["cells"][:2] for row in compare.queries.shown}
            assert (cells["u1"] == [HIDDEN, HIDDEN]) is is_blind and HIDDEN not in cells["u3"]


def test_a_slice_is_written_of_what_is_known_of_it(page: Page) -> None:
    places = {"noise": ["car", None, "", "babble", "quiet"], "snr_db": [2.4, 7.0, np.nan, np.nan, 30.0]}
    written = ["car · 2 dB", "7 dB", "", "babble", "quiet"]
    for names_, expected in ((["noise", "snr_db"], written), (["snr_db"], ["2 dB", "7 dB", "", "", "30 dB"]),
                             (["noise"], ["car", "", "", "babble", "quiet"]), ([], [""] * 5)):
        leave("mixed", "scope", promises=PROMISES)
        table = heard().drop(columns=["noise", "snr_db"]).assign(**{name: places[name] for name in names_})
        leave("mixed", "train", table)
        other = Page(answers.sources(), source("mixed"))
        with closing(other.marks):
            rows = {row["id"]: row["cells"][2] for row in other.parts["queries"].rows.shown}
            assert [rows[f"u{i}"].replace("\u00a0", " ") for i in range(1, 6)] == expected


def test_where_a_selection_holds_no_words_it_is_said_that_nothing_can_be_mended(page: Page) -> None:
    part = page.parts["what_if"]
    assert part.chosen() and "would be left" in part.told.value
    for picked in (list(part.slices.picked), list[str]()):
        part.slices.picked = picked
        for chosen in (Selection(search="nowhere"), Selection(ids=frozenset(["u5"]))):  # none, and one without words
            page.state.selection = chosen
            assert "Nothing in this selection was said" in part.told.value and "nan" not in part.told.value
            assert "There is nothing to show yet." in part.chart.figure


@pytest.fixture
def lagging(page: Page) -> Iterator[Page]:
    """Give the page of a model that misses every third query in cars: one fix is worth asking for."""
    leave("lagging", "scope", promises=PROMISES)
    leave("lagging", "train", many())
    made = Page(answers.sources(), source("lagging"))
    with closing(made.marks):
        yield made


def ask(page: Page) -> Request:
    """Ask for the page's one fix as the workbench does."""
    row, = page.parts["fixes"].failing.opportunities.query("is_actionable").to_dict("records")
    return data_requests.ask("lagging", row, dataset_version="abc")


def test_only_a_request_that_waits_keeps_a_fix_from_being_asked_for(lagging: Page) -> None:
    def button() -> str:
        fixes = lagging.parts["fixes"]
        fixes.show()
        row, = fixes.rows.shown
        return str(row["cells"][4])

    assert "add to request" in button()
    request = ask(lagging)
    assert "asked" in button()
    data_requests._write_note(request, data_requests.FULFILLED, {"n": 5})
    assert "asked" in button()
    for answer in ({"n": 5}, {"n": 0}, {"refused": "nobody can"}):
        data_requests._write_note(request, data_requests.ANSWERED, answer)
        assert "add to request" in button()


def test_who_asks_again_for_what_was_answered_is_told_so(lagging: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    request, said = ask(lagging), list[str]()
    monkeypatch.setattr(answers, "request_for", lambda *_, **__: request)
    lagging.visitor.name = "Ada"
    lagging.state.observe(lambda change: said.append(change["new"]) if change["new"] else None, "said")
    lagging.parts["fixes"].ask_for("noise: car")
    data_requests._write_note(request, data_requests.ANSWERED, {"refused": "nobody can"})
    lagging.parts["fixes"].ask_for("noise: car")
    assert said[0].startswith(f"Asked for {request.title}.")
    assert said[1] == f"{request.title} were asked for before: refused: nobody can."
