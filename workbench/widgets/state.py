"""What one visitor of the error-analysis page looks at: a model, a selection, one query; all parts observe it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import traitlets

from workbench import cards
from workbench.answers import Opened
from workbench.marks import Marks
from workbench.selections import Mistake, Selection
from workbench.speaker_sums import Mask
from workbench.widgets.visitor import Visitor

HIDDEN = '<span class="wb-soft">(hidden while it is written down)</span>'


class State(traitlets.HasTraits):
    """The one place that parts read from and write to; `said` is a line for the visitor, `n_marks` counts writes.

    `hidden` are the queries that somebody writes down by ear now: no table shows what was said and heard of them.
    """

    selection: Any = traitlets.Any(Selection())
    current = traitlets.Unicode()
    said = traitlets.Unicode()
    n_marks = traitlets.Int(0)
    hidden: Any = traitlets.Any(frozenset())

    def __init__(self, opened: Opened, *, marks: Marks, visitor: Visitor) -> None:
        """Begin with all queries of an opened model."""
        super().__init__()
        self.opened, self.data, self.marks, self.visitor = opened, opened.data, marks, visitor
        self._masked: tuple[Any, Mask] = (self.selection, np.ones(len(self.data), bool))

    @property
    def mask(self) -> Mask:
        """Which utterances the selection holds."""
        if self._masked[0] is not self.selection:
            self._masked = (self.selection, self.data.mask(self.selection))
        return self._masked[1]

    def row(self, utterance_id: str) -> dict[str, Any]:
        """Give all that is known of a query."""
        return {str(k): v for k, v in self.data.scores.iloc[int(self.data.rows.get_loc(utterance_id))].items()}

    def differences(self, queries: pd.DataFrame) -> list[str]:
        """Write what was said of each query with what was heard instead, unless it is hidden."""
        words = queries[["utterance_id", "reference", "hypothesis"]].itertuples(index=False, name=None)
        return [HIDDEN if name in self.hidden else cards.difference(*pair) for name, *pair in words]

    def pick(self, **picked: str) -> None:
        """Filter by values of columns, beside the filters that are set; the same values again take them off."""
        have = dict(self.selection.picked)
        wanted = {column: (value,) for column, value in picked.items()}
        is_again = all(have.get(column) == value for column, value in wanted.items())
        have |= dict.fromkeys(wanted, ()) if is_again else wanted
        self.selection = replace(self.selection, picked={column: values for column, values in have.items() if values})

    def only(self, mistake: Mistake | None) -> None:
        """Filter by a mistake; the same again takes the filter off."""
        self.selection = replace(self.selection, mistake=None if mistake == self.selection.mistake else mistake)

    def only_these(self, ids: frozenset[str] | None, title: str) -> None:
        """Filter by name."""
        self.selection = replace(self.selection, ids=ids, ids_title=title)

    def on_selection(self, callback: Callable[[], None]) -> None:
        """Call back now and whenever the selection changes."""
        self.observe(lambda _: callback(), "selection")
        callback()

    def mark(self, kind: str, value: str, utterance_id: str, *, drawn: str = "",
             then: Callable[[], None] = lambda: None) -> None:
        """Keep what the visitor says of a query, under their name, which is asked for once."""
        sha = str(self.row(utterance_id)["audio_sha"])

        def keep(name: str) -> None:
            self.marks.add(kind, value, utterance_id=utterance_id, audio_sha=sha, by=name, run=self.opened.source.run,
                           drawn=drawn)
            self.n_marks += 1
            then()

        self.visitor.ask(keep, self.say)

    def say(self, words: str) -> None:
        """Tell the visitor."""
        self.said = ""
        self.said = words
