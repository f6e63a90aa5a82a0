"""New names on the monitoring page: what several users say that the model cannot write, to hear, accept and label."""

from collections.abc import Callable
from html import escape

import ipywidgets as widgets
import pandas as pd

from workbench import new_names, query_log
from workbench.marks import Marks
from workbench.watching import Scene
from workbench.widgets import clips, shell
from workbench.widgets.rows import Column, Rows
from workbench.widgets.visitor import Visitor

COLUMNS = ["request_id", "probably", "term", "n_queries", "n_users", "ratio", "state", "example_ids"]
BUTTONS = '<button data-action="accept">accept name</button> <button data-action="label">label</button>'


class Names:
    """The table of terms that rise; a picked one can be heard and written as it should be."""

    def __init__(self, marks: Marks, visitor: Visitor, on_mark: Callable[[], None]) -> None:
        """`on_mark` is called when something was accepted or put into the label queue."""
        self._scene: Scene | None = None
        self._marks, self._visitor, self._on_mark = marks, visitor, on_mark
        columns = [Column("probably", "probably", _probably), Column("term", "heard", _heard),
                   Column("n_queries", "queries", _number, is_number=True),
                   Column("n_users", "users", _number, is_number=True), Column("ratio", "rate", _ratio, is_number=True),
                   Column("state", "", _state, is_sortable=False)]
        self.rows = Rows(columns, id_column="request_id", label="new names", n_a_page=8, sorted_by="n_queries",
                         when_empty="No name rises: nothing that several users said is unlike all that is known.")
        self.written = widgets.Text(placeholder="the name as it should be written", continuous_update=False)
        self.written.add_class("wb-written")
        self.sound, self.note = shell.html(""), shell.html("")
        self.note.add_class("wb-said-so")
        self.rows.on_select(lambda _: self._hear())
        self.rows.on_action(lambda action, name: (self._accept if action == "accept" else self._label)(name))
        self.view = shell.card("New names", "rising or never seen in training, said by at least three users; pick one "
                               "to hear it", self.rows, self.written, self.note, self.sound)

    def show(self, scene: Scene) -> None:
        """Show the scene."""
        self._scene = scene
        self.rows.renew(table(scene))
        self.written.layout.display = "" if self.rows.selected in set(self.rows.ordered["request_id"]) else "none"

    def say(self, sentence: str) -> None:
        """Tell what came of a button."""
        self.note.value = f'<p class="wb wb-note" role="status">{escape(sentence)}</p>'

    def _row(self, name: str) -> "pd.Series[object]":
        return self.rows.ordered.set_index("request_id").loc[name]

    def _queries(self, name: str) -> pd.DataFrame:
        assert self._scene is not None
        ids = list(self._row(name)["example_ids"])
        return self._scene.rows[self._scene.rows["request_id"].isin(ids)]

    def _hear(self) -> None:
        row = self._row(self.rows.selected)
        self.written.layout.display, self.written.value = "", str(row["probably"] or row["term"])
        self.sound.value = clips.hear(self._queries(self.rows.selected))
        self.say(f"People said it: {new_names.describe({**row.to_dict(), 'nearest': row['probably']})}.")

    def _accept(self, name: str) -> None:
        row = self._row(name)
        written = self.written.value.strip() if name == self.rows.selected else str(row["probably"])
        if not written:
            self.rows.selected = name
            self.say("Nothing in the catalogue sounds like it: write the name as it should be, then accept it.")
            return
        self._visitor.ask(lambda by: self._accepted(written, by), self.say)

    def _accepted(self, written: str, by: str) -> None:
        self._marks.add("name", written, by=by)
        self.say(f"“{written}” is on the biasing list; retrain teaches it once its queries are labelled.")
        self._on_mark()

    def _label(self, name: str) -> None:
        self._visitor.ask(lambda by: self._queued(name, by), self.say)

    def _queued(self, name: str, by: str) -> None:
        queries = self._queries(name)
        given = queries[queries["consent"].eq(query_log.CONSENTED) & queries["audio_sha"].ne("")]
        for request_id, sha in zip(given["request_id"], given["audio_sha"], strict=True):
            self._marks.add("label", str(self._row(name)["probably"]), utterance_id=request_id, audio_sha=sha, by=by)
        self.say(f"{len(given)} of {len(queries)} queries will be asked about first by retrain"
                 + ("; the other users did not consent." if len(given) < len(queries) else "."))
        self._on_mark()


def table(scene: Scene) -> pd.DataFrame:
    """List the terms of the latest window. Returns: COLUMNS; `ratio` is nan for what the reference never heard."""
    report = scene.report
    if report is None:
        return pd.DataFrame(columns=COLUMNS)
    last = report.last
    rising = report.terms[report.terms["window"].eq(last["window"])]
    quiet = report.windows[report.windows["window"].lt(last["window"]) & report.windows["outcome"].eq("quiet")]
    n_before = len(scene.bases[scene.version].rows) if last["reference"] == "dev" else quiet["n_queries"].sum()
    expected = rising["n_reference"] * last["n_queries"] / max(n_before, 1)
    said = scene.marks[scene.marks["kind"].isin(["name", "label"])]
    names = dict(zip(said.loc[said["kind"].eq("name"), "value"], said.loc[said["kind"].eq("name"), "by"], strict=True))
    queued = set(said.loc[said["kind"].eq("label"), "utterance_id"])
    states = [(names.get(near, "") if near else "", any(i in queued for i in ids))
              for near, ids in zip(rising["nearest"], rising["example_ids"], strict=True)]
    return rising.assign(probably=rising["nearest"], ratio=rising["n_queries"] / expected.where(expected > 0),
                         state=states)[COLUMNS].reset_index(drop=True)


def _probably(name: str) -> str:
    return f"▶ <b>{escape(name)}</b>" if name else '▶ <span class="wb-soft">nothing near</span>'


def _heard(letters: str) -> str:
    return f"“{escape(letters)}”"


def _number(value: float) -> str:
    return f"{value:,.0f}"


def _ratio(value: float) -> str:
    return "new" if pd.isna(value) else f"× {value:.1f}"


def _state(state: tuple[str, bool]) -> str:
    by, is_queued = state
    accepted = f'<span class="wb-badge wb-yes">accepted by {escape(by)}</span>' if by else ""
    queued = '<span class="wb-badge wb-done">to label</span>' if is_queued else ""
    return f'<span class="wb-buttons">{BUTTONS}</span> {accepted} {queued}'
