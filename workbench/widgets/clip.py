"""One query in full: heard, seen, read, marked. Its reference can be corrected blind, with all words hidden."""

import math
from collections.abc import Callable, Mapping
from html import escape
from typing import Any

import ipywidgets as widgets
import pandas as pd

from workbench import answers, cards
from workbench.errors import WorkbenchError
from workbench.marks import CAUSES
from workbench.widgets import shell
from workbench.widgets.player import Player
from workbench.widgets.rows import Column, Rows
from workbench.widgets.state import State

_PLACE = ("noise", "snr_db", "speaker", "accent", "gender")
_FACTS = ("device", "intent", "entity", "duration_s", "level_dbfs", "source", "heard_letters")
_UNITS = {"snr_db": "dB", "duration_s": "s", "level_dbfs": "dBFS"}
HINT = (("space", "play"), ("1–7", "cause"), ("→", "next"))
KEYS = (*map(str, range(1, len(CAUSES) + 1)), "ArrowRight")


class Clip:
    """A card for one query; `after` is called with its id once something was said of it."""

    def __init__(self, state: State, *, after: Callable[[str], None] = lambda _: None) -> None:
        """Make an empty card. `box` is what to show."""
        self.state, self.after, self.utterance_id, self.drawn, self._hidden = state, after, "", "", ""
        self.heading, self.said, self.facts, self.marked = (shell.html("") for _ in range(4))
        self.player = Player()
        self.causes = _buttons([f"{i} {cause}" for i, cause in enumerate(CAUSES, 1)], lambda i: self.cause(CAUSES[i]))
        correct = widgets.Button(description="correct…", button_style="primary", tooltip="write down what is said")
        correct.on_click(lambda _: self.transcribe(is_on=True))
        self.actions = _flow(*self.causes, correct)
        self.blind = Blind(self._correct, lambda: self.transcribe(is_on=False))
        self.near = Rows([Column("said", "the same mistake in", write=str, is_sortable=False),
                          Column("shared", "", is_sortable=False)], id_column="utterance_id", n_a_page=4,
                         label="queries with the same mistake", when_empty="No other query has the same mistake.",
                         prepare=lambda part: part.assign(said=state.differences(part)))
        self.near.on_select(lambda picked: setattr(state, "current", picked))
        state.observe(lambda change: self.near.follow(change["new"]), "current")
        state.observe(lambda _: self.near.rewrite(), "hidden")
        self.open = widgets.VBox([self.said, self.facts, self.actions, self.marked, self.near])
        self.box = widgets.VBox([self.heading, self.player, self.open, self.blind.box])
        self.box.add_class("wb-card")
        self.box.add_class("wb-clip")
        self.show("")

    def show(self, utterance_id: str, *, is_blind: bool = False, drawn: str = "") -> None:
        """Turn to a query; blind, nothing that was said or heard is on the page."""
        self.utterance_id, self.drawn = utterance_id, drawn
        if not utterance_id:
            self.heading.value = _heading("One query", "click a row to hear it, and see why it went wrong")
            self.player.empty("Choose a query to hear it.")
            self.open.layout.display, self.blind.box.layout.display = "none", "none"
            self._hide("")
            return
        row = self.state.row(utterance_id)
        place = [_fact(name, row[name]) for name in _PLACE if _is_known(row.get(name))]
        self.heading.value = _heading(" · ".join([utterance_id, *place]), "")
        try:
            self.player.load(answers.samples(row), [] if is_blind else answers.timed_words(row), label=utterance_id)
        except WorkbenchError as error:  # gone, or the team's store does not answer
            self.player.empty(f"This clip cannot be played: {error}")
        self._describe(row)
        self.transcribe(is_on=is_blind)

    def _describe(self, row: Mapping[str, Any]) -> None:
        is_sure = _is_known(row.get("avg_logprob"))
        facts = [f"confidence {math.exp(float(row['avg_logprob'])):.2f}"] if is_sure else []
        facts += [_fact(name, row[name]) for name in _FACTS if _is_known(row.get(name))]
        self.said.value = _piece(f'<p class="wb-difference">{_difference(row)}</p>')
        self.facts.value = _piece(f'<p class="wb-soft wb-meta">{escape(" · ".join(facts))}</p>')
        self.near.show(self.state.data.neighbours(self.utterance_id))
        self.near.follow(self.state.current)
        self._show_marks(row)

    def _show_marks(self, row: Mapping[str, Any]) -> None:
        known = self.state.marks.table()
        about = known[known["audio_sha"].eq(str(row["audio_sha"])) & known["kind"].isin(["cause", "reference"])]
        lines = [f"{'cause' if kind == 'cause' else 'corrected to'} <b>{escape(value or '(nobody speaks)')}</b> "
                 f"by {escape(by)}, {pd.Timestamp(time_s, unit='s'):%Y-%m-%d %H:%M}"
                 for kind, value, by, time_s in about[["kind", "value", "by", "time_s"]].itertuples(index=False)]
        self.marked.value = _piece(f'<p class="wb-marks wb-meta">{"<br>".join(lines)}</p>') if lines else ""

    def cause(self, cause: str) -> None:
        """Mark the cause of the errors."""
        if self.utterance_id and self.blind.box.layout.display == "none":
            self.state.mark("cause", cause, self.utterance_id, then=lambda: self._done(f"marked: {cause}"))

    def pressed(self, key: str) -> None:
        """Act on a key of 1 to 7."""
        if key.isdigit():
            self.cause(CAUSES[int(key) - 1])

    def transcribe(self, *, is_on: bool) -> None:
        """Hide all words and ask for what is said, or show them again."""
        self.open.layout.display, self.blind.box.layout.display = ("none", "") if is_on else ("", "none")
        self._hide(self.utterance_id if is_on else "")
        if not self.utterance_id:
            return
        words = [] if is_on else answers.timed_words(self.state.row(self.utterance_id))
        self.player.words = [word._asdict() for word in words]
        if is_on:
            self.blind.clear()

    def _hide(self, utterance_id: str) -> None:
        """Hide a query's words on the whole page, and show again those that this card hid before."""
        hidden = self.state.hidden - {self._hidden} | {utterance_id} - {""}
        self._hidden, self.state.hidden = utterance_id, hidden

    def _correct(self, words: str) -> None:
        self.state.mark("reference", words, self.utterance_id, drawn=self.drawn,
                        then=lambda: self._done(f"kept what you heard: {words or 'nobody speaks'}"))

    def _done(self, words: str) -> None:
        self.state.say(f"{self.utterance_id} {words}")
        self.transcribe(is_on=False)
        self._show_marks(self.state.row(self.utterance_id))
        self.after(self.utterance_id)


class Blind:
    """Where somebody writes down what they hear, without being told what a model or another person wrote."""

    def __init__(self, keep: Callable[[str], None], leave: Callable[[], None]) -> None:
        """Call `keep` with the words, or `leave`."""
        self.words = widgets.Text(placeholder="what is said", continuous_update=False)
        self.words.add_class("wb-transcript")
        save, silent, cancel = (widgets.Button(description=words) for words in ("save", "nobody speaks", "leave"))
        save.button_style = "primary"
        save.on_click(lambda _: keep(self.words.value.strip()) if self.words.value.strip() else None)
        silent.on_click(lambda _: keep(""))
        cancel.on_click(lambda _: leave())
        why = shell.html(cards.note("Listen and write what you hear. What was written and heard before is hidden, so "
                                    "that it does not sway you."))
        self.box = widgets.VBox([why, self.words, _flow(save, silent, cancel)])

    def clear(self) -> None:
        """Empty the field."""
        self.words.value = ""


def _buttons(words: list[str], callback: Callable[[int], None]) -> list[widgets.Button]:
    made = [widgets.Button(description=word) for word in words]
    for i, button in enumerate(made):
        button.on_click(lambda _, i=i: callback(i))
    return made


def _flow(*content: widgets.Widget) -> widgets.Box:
    box = widgets.Box(list(content), layout={"flex_flow": "row wrap", "grid_gap": ".3rem", "overflow": "visible"})
    box.add_class("wb-flow")
    return box


def _piece(inner: str) -> str:
    return f'<div class="wb">{inner}</div>'


def _heading(title: str, subtitle: str) -> str:
    return _piece(f'<h2 class="wb-title">{escape(title)}</h2><p class="wb-soft wb-sub">{escape(subtitle)}</p>')


def _difference(row: Mapping[Any, Any]) -> str:
    return cards.difference(str(row["reference"]), str(row["hypothesis"]))


def _is_known(value: Any) -> bool:
    return not (value is None or value == "" or pd.isna(value))


def _fact(name: str, value: Any) -> str:
    if name in _UNITS:
        return f"{value:.1f} {_UNITS[name]}"
    words = {"speaker": "speaker ", "heard_letters": "letters heard: ", "source": "from "}
    return f"{words.get(name, '')}{value}"
