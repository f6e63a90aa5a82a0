"""Alarms on the monitoring page: what holds now apart from what was, and who has seen it."""

from collections.abc import Callable
from html import escape

import pandas as pd

from workbench import standing
from workbench.marks import Marks
from workbench.watching import Scene
from workbench.widgets import shell
from workbench.widgets.rows import Column, Rows
from workbench.widgets.visitor import Visitor

OUTCOMES = {"open": "no", "acknowledged": "cannot_tell", "resolved": "yes", "still so": "no", "passed": "done",
            "went on": "done"}
NOW, BEFORE = "Alarms that hold now", "Alarms before"


class Alarms:
    """Two tables: alarms that hold now, each to be acknowledged, and those before with what became of them."""

    def __init__(self, marks: Marks, visitor: Visitor, on_mark: Callable[[], None]) -> None:
        """`on_mark` is called when an alarm was acknowledged."""
        self._marks, self._visitor, self._on_mark = marks, visitor, on_mark
        self.now = _rows("alarms that hold now", "No rule is broken.")
        self.before = _rows("alarms before", "There was none before.")
        self.note = shell.html("")
        self.now.on_action(lambda _, name: visitor.ask(lambda by: self._acknowledge(name, by), self.say))
        self.view = shell.row(
            shell.card(NOW, "acknowledge what you look after; others see who does", self.now, self.note),
            shell.card(BEFORE, "what became of them", self.before))

    def show(self, scene: Scene) -> None:
        """Show the scene."""
        listed = standing.alarms(scene)
        self.now.renew(_told(listed[listed["is_now"]]))
        self.before.renew(_told(listed[~listed["is_now"]]))

    def say(self, sentence: str) -> None:
        """Tell what came of a button."""
        self.note.value = f'<p class="wb wb-note" role="status">{escape(sentence)}</p>'

    def _acknowledge(self, name: str, by: str) -> None:
        self._marks.add("alarm", name, by=by)
        self.say(f"{by} looks after it.")
        self._on_mark()


def _rows(label: str, when_empty: str) -> Rows:
    columns = [Column("time_s", "when", _week),
               Column("told", "rule and evidence", lambda html: html, is_sortable=False), Column("reopen", "reopen"),
               Column("shown", "state", _state, is_sortable=False)]
    return Rows(columns, id_column="alarm_id", label=label, n_a_page=8, when_empty=when_empty)


def _told(listed: pd.DataFrame) -> pd.DataFrame:
    told = [f"<b>{escape(rule.removeprefix('drift: '))}</b><br><span class='wb-soft'>{escape(evidence)}</span>"
            for rule, evidence in zip(listed["rule"], listed["evidence"], strict=True)]
    return listed.assign(told=told, shown=list(zip(listed["state"], listed["by"], strict=True)))


def _week(time_s: float) -> str:
    return f"week of {pd.Timestamp(time_s, unit='s'):%d %b}"


def _state(state: tuple[str, str]) -> str:
    word, by = state
    told = {"acknowledged": f"acknowledged by {by}", "resolved": f"resolved by {by}", "passed": f"passed: {by}",
            "still so": f"still so under {by}"}.get(word, word)
    button = ' <button data-action="acknowledge">acknowledge</button>' if word == "open" else ""
    return f'<span class="wb-badge wb-{OUTCOMES[word]}">{escape(told)}</span>{button}'
