"""What to do next: the fixes worth most, each a button away from a data request; and the words heard wrong."""

from html import escape
from typing import Any

import ipywidgets as widgets
import pandas as pd

from workbench import answers, data_requests
from workbench.selections import Mistake
from workbench.widgets import shell
from workbench.widgets.failing import Failing, percent
from workbench.widgets.rows import Column, Rows
from workbench.widgets.state import State

N_FIXES = 6
PAIRS, WORDS, NAMES = "pairs", "words", "names"


class Fixes:
    """The opportunities within the selection, with buttons that ask people for recordings."""

    def __init__(self, state: State, failing: Failing) -> None:
        """Follow the slices that `failing` measured. `card` is what to show."""
        self.state, self.failing = state, failing
        self.rows = Rows([Column("advice", "fix", write=lambda words: f'<div class="wb-wide">{escape(words)}</div>'),
                          Column("gain", "gain", is_number=True, write=lambda g: f"<b>−{100 * g:.1f}</b> pts"),
                          Column("between", "95 %", is_number=True, is_sortable=False), Column("cost", "cost", _cost),
                          Column("button", "", write=str, is_sortable=False)],
                         id_column="label", label="what to do next", n_a_page=N_FIXES,
                         when_empty="No slice of this selection is clearly worse than its best neighbour.")
        self.n = widgets.BoundedIntText(value=200, min=1, max=20_000, description="queries", layout={"width": "11rem"})
        ask = widgets.Button(description="ask for more like the selection", tooltip="puts the filters into a request")
        ask.on_click(shell.guarded(state.say)(lambda _: self.ask_for_selection()))
        self.rows.on_action(shell.guarded(state.say)(lambda action, label: self.ask_for(label)))
        self.rows.on_select(failing.pick)
        self.card = shell.card("What to do next", "expected gain in WER points over these queries, the most an hour "
                               "first; gains overlap and do not add up", self.rows, widgets.HBox([self.n, ask]))
        state.on_selection(self.show)

    def show(self) -> None:
        """List the fixes of the selection."""
        found = self.failing.opportunities
        top = found[found["is_actionable"].astype(bool)].head(N_FIXES)
        asked = [dict(request.where) for request in data_requests.every(self.state.opened.source.run)
                 if data_requests.is_waiting(request)]
        rows = [{"label": r["label"], "advice": r["advice"].split("; cannot")[0].split(" to bring ")[0],
                 "gain": r["gain"], "cost": (r["cost_min"], r["n_clips"]),
                 "between": f"{100 * r['gain_low']:.1f} to {100 * r['gain_high']:.1f}",
                 "button": _button({r["column"]: r["value"]} in asked)} for r in top.to_dict("records")]
        self.rows.selected = ""
        self.rows.show(pd.DataFrame(rows, columns=["label", "advice", "gain", "between", "cost", "button"]))

    def ask_for(self, label: str) -> None:
        """Put one fix into a data request."""
        row = self.failing.opportunities.set_index("label").loc[label]
        self._ask({str(row["column"]): str(row["value"])}, int(row["n_clips"]), str(row["advice"]))

    def ask_for_selection(self) -> None:
        """Put the selection into a data request: its columns of one value each."""
        where = {column: values[0] for column, values in self.state.selection.picked.items() if len(values) == 1}
        if not where:
            self.state.say("A request is for queries of a kind: filter by one value of a column first, then ask.")
            return
        self._ask(where, int(self.n.value), f"asked for from the page: {self.state.selection.words()}")

    def _ask(self, where: dict[str, str], n: int, reason: str) -> None:
        def ask(name: str) -> None:
            request = answers.request_for(self.state.opened, where, n, by=name, reason=reason)
            is_new = data_requests.is_waiting(request)
            self.state.say(f"Asked for {request.title}. The next `workbench run` of this run brings it." if is_new else
                           f"{request.title} were asked for before: {data_requests.state(request)}.")
            self.show()

        self.state.visitor.ask(ask, self.state.say)


def _cost(cost: tuple[float, int]) -> str:
    """Write people's time, and for how many clips."""
    minutes, n_clips = cost
    return f"{n_clips:,} clips, {minutes / 60:.1f} h"


def _button(is_asked: bool) -> str:
    return '<span class="wb-soft">asked</span>' if is_asked else '<button data-action="ask">add to request</button>'


class Words:
    """Pairs, words and names that were heard wrong; a click shows their queries."""

    def __init__(self, state: State) -> None:
        """Follow the selection. `card` is what to show."""
        self.state, self.mistakes = state, dict[str, Mistake]()
        self.view = widgets.ToggleButtons(options=[PAIRS, WORDS, NAMES], style={"button_width": "auto"})
        self.rows = Rows([Column("said", "said"), Column("heard", "heard", write=_heard),
                          Column("bar", "", write=str, is_sortable=False)],
                         id_column="key", label="words heard wrong", n_a_page=7, when_empty="Nothing was heard wrong.",
                         prepare=self._with_intervals)
        self.view.observe(lambda _: self.show(), "value")
        self.rows.on_select(lambda key: state.only(self.mistakes.get(key)))
        self.card = shell.card("Words heard wrong", "click for their queries", self.view, self.rows)
        state.on_selection(self.show)

    def show(self) -> None:
        """Count the selection's mistakes."""
        table = self._pairs() if self.view.value == PAIRS else self._accuracies(is_entity=self.view.value == NAMES)
        self.rows.selected = ""
        self.rows.show(table)

    def _pairs(self) -> pd.DataFrame:
        found = self.state.data.mistakes(self.state.mask)
        heard = {"del": '<span class="wb-soft">(lost)</span>'}
        self.mistakes = {str(i): Mistake(*row) for i, row in
                         enumerate(found[["kind", "said", "heard"]].itertuples(index=False, name=None))}
        most = max(found["n"].max(), 1) if len(found) else 1
        return found.assign(key=[*self.mistakes], said=found["said"].where(found["kind"].ne("ins"), "(nothing)"),
                            heard=[heard.get(kind, f"→ {escape(word)}") for kind, word in
                                   found[["kind", "heard"]].itertuples(index=False, name=None)],
                            bar=[_bar(n / most, f"{n:,}") for n in found["n"]])

    def _accuracies(self, *, is_entity: bool) -> pd.DataFrame:
        data = self.state.data
        found = (data.entity_accuracy if is_entity else data.word_accuracy)(self.state.mask).query("n_wrong > 0")
        self.mistakes = {word: Mistake("entity" if is_entity else "word", word) for word in found["said"]}
        return found.assign(key=found["said"], bar="",
                            heard=found["accuracy"])

    def _with_intervals(self, part: pd.DataFrame) -> pd.DataFrame:
        if self.view.value == PAIRS:
            return part
        spans = [self.state.data.word_interval(self.state.mask, word, is_entity=self.view.value == NAMES)
                 for word in part["said"]]
        words = [f"{percent(s.low)[:-2]}–{percent(s.high)}, {wrong:,} of {n:,} wrong" for s, wrong, n in
                 zip(spans, part["n_wrong"], part["n"], strict=True)]
        return part.assign(bar=[f'<span class="wb-soft">{word}</span>' for word in words])


def _heard(heard: str | float) -> str:
    """Write what was heard instead, or how often it was right."""
    return heard if isinstance(heard, str) else f"{100 * heard:.0f} % right"


def _bar(share: float, words: Any) -> str:
    return f'<span class="wb-bar" style="width:{6.5 * share:.2f}em"></span> {words}'
