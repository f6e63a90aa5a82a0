"""New names on the monitoring page: what several users say that the model cannot write, to hear, accept and label; and
the biasing list, which accepted names join.
"""

from collections.abc import Callable
from html import escape

import ipywidgets as widgets
import pandas as pd

from workbench import name_list, new_names, query_log, terms, text
from workbench.marks import Marks
from workbench.name_list import NameList
from workbench.serving import server
from workbench.watching import Scene
from workbench.widgets import clips, shell
from workbench.widgets.rows import Column, Rows
from workbench.widgets.visitor import Visitor

COLUMNS = ["request_id", "probably", "term", "n_queries", "n_users", "ratio", "state", "example_ids"]
LISTED = "On the biasing list"
AS_IT_SHOULD_BE = "the name as it should be written"
BUTTONS = '<button data-action="accept">accept name</button> <button data-action="label">label</button>'


class Names:
    """The table of terms that rise; a picked one can be heard and written as it should be."""

    def __init__(self, marks: Marks, visitor: Visitor, on_mark: Callable[[], None]) -> None:
        """`on_mark` is called when something was accepted or put into the label queue."""
        self._scene: Scene | None = None
        self._marks, self._visitor, self._on_mark = marks, visitor, on_mark
        self._listed, self.listed = NameList(marks), _listed_rows()
        columns = [Column("probably", "probably", _probably), Column("term", "heard", _heard),
                   Column("n_queries", "queries", _number, is_number=True),
                   Column("n_users", "users", _number, is_number=True), Column("ratio", "rate", _ratio, is_number=True),
                   Column("state", "", _state, is_sortable=False)]
        self.rows = Rows(columns, id_column="request_id", label="new names", n_a_page=8, sorted_by="n_queries",
                         when_empty="No name rises: nothing that several users said is unlike all that is known.")
        self.written = widgets.Text(placeholder=AS_IT_SHOULD_BE, continuous_update=False)
        self.written.add_class("wb-written")
        self.sound, self.note = shell.html(""), shell.html("")
        self.note.add_class("wb-said-so")
        self.rows.on_select(lambda _: self._hear())
        self.rows.on_action(lambda action, name: (self._accept if action == "accept" else self._label)(name))
        self.listed.on_action(lambda _, name: self._visitor.ask(lambda by: self._remove(name, by), self.say))
        self.view = shell.card("New names", "rising or never seen in training, said by at least three users; pick one "
                               "to hear it", self.rows, self.written, self.note, self.sound,
                               shell.html(f'<h3 class="wb">{LISTED}</h3>'), self.listed)

    def show(self, scene: Scene) -> None:
        """Show the scene."""
        self._scene = scene
        self.rows.renew(table(scene))
        self.listed.renew(listed(scene))
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
        self.written.layout.display, self.written.value = "", str(row["probably"])
        self.written.placeholder = f"{AS_IT_SHOULD_BE}; heard “{row['term']}”"  # misheard letters are no name
        self.sound.value = clips.hear(self._queries(self.rows.selected))
        self.say(f"People said it: {new_names.describe({**row.to_dict(), 'nearest': row['probably']})}.")

    def _accept(self, name: str) -> None:
        row = self._row(name)
        written = self.written.value.strip() if name == self.rows.selected else str(row["probably"])
        if not written:
            self.rows.selected = name
            self.say("Nothing in the catalogue sounds like it: write the name as it should be, then accept it.")
            return
        self._visitor.ask(lambda by: self._accepted(written, heard_as(self._queries(name)), by), self.say)

    def _accepted(self, written: str, heard: tuple[str, str], by: str) -> None:
        self._listed.add(written, by=by, request_id=heard[0], sounds=heard[1])
        server.spawn(["names", "probe", written])
        self.say(f"“{written}” is on the biasing list: a running server's answers are held against it within seconds. "
                 "Below is said, as soon as it is known, how many synthesized clips of it are recognized; retrain "
                 "teaches it once its queries are labelled.")
        self._on_mark()

    def _remove(self, name: str, by: str) -> None:
        self._listed.remove(name, by=by)
        self.say(f"“{name}” is off the biasing list.")
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


def heard_as(queries: pd.DataFrame) -> tuple[str, str]:
    """Find how a name sounds: of the pieces that consenting users said, the one most like the others.

    Returns: the query's request_id, and the letters; "" and "" when nobody consented.
    """
    given = queries[queries["consent"].eq(query_log.CONSENTED) & queries["piece"].ne("")]
    if given.empty:
        return "", ""
    pieces = given["piece"].tolist()
    middle = int(terms.likeness(pieces, pieces).sum(1).argmax())
    return str(given["request_id"].iloc[middle]), pieces[middle]


def _listed_rows() -> Rows:
    columns = [Column("name", "name"), Column("since", "since", _since),
               Column("n_changed", "answers", _number, is_number=True),
               Column("probe", "tried on synthesized clips", is_sortable=False),
               Column("is_served", "", _served, is_sortable=False)]
    return Rows(columns, id_column="name", label="names on the biasing list", n_a_page=8, sorted_by="n_changed",
                when_empty="Nobody has accepted a name: answers are as the model writes them.")


def listed(scene: Scene) -> pd.DataFrame:
    """List the biasing list's names: since when and by whom, in how many recent answers, and what probes found.

    Returns: name, since (a time, and who), n_changed, probe, is_served (by the model that answers now).
    """
    biased = scene.rows.loc[scene.rows["biased_from"].ne(""), "hypothesis"]
    rows = []
    for entry in name_list.entries_of(scene.marks.to_dict("records")):
        found = name_list.probe_of(entry.name, scene.version)
        rows.append({"name": entry.name, "since": (entry.since_s, entry.by),
                     "n_changed": int((" " + biased + " ").str.contains(f" {entry.name} ", regex=False).sum()),
                     "probe": "not yet" if found is None else f"{found.n_before} → {found.n_after} of {found.n_clips}",
                     "is_served": entry.is_for(scene.version)})
    return pd.DataFrame(rows, columns=["name", "since", "n_changed", "probe", "is_served"])


def _since(since: tuple[float, str]) -> str:
    time_s, by = since
    return f"{pd.Timestamp(time_s, unit='s'):%d %b %H:%M}, {escape(by)}"


def _served(is_served: bool) -> str:
    learned = '<span class="wb-badge wb-done">the model has learned it</span> '
    return f'{"" if is_served else learned}<button data-action="remove">remove</button>'


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
    names = {entry.name: entry.by for entry in name_list.entries_of(scene.marks.to_dict("records"))}
    queued = set(scene.marks.loc[scene.marks["kind"].eq("label"), "utterance_id"])
    states = [(names.get(text.normalize(near), ""), any(i in queued for i in ids))
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
