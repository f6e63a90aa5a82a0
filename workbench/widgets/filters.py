"""The filters of the error-analysis page: chips that write the state's selection, and show it when others write it."""

from dataclasses import replace
from typing import Any

import anywidget
import numpy as np
import pandas as pd
import traitlets

from workbench.selections import Selection
from workbench.widgets import shell
from workbench.widgets.state import State

SPANS = {"snr_db": ("SNR", "dB"), "duration_s": ("duration", "s")}
MAX_SPEAKERS = 200
"""Values of a column that still make a list to choose from."""

_SHOWN_WHEN_PICKED = ("snr_band", "duration_band", "speaker")
"""What there is another way to narrow by; a click elsewhere on the page may pick it."""


class Choices(anywidget.AnyWidget):
    """Things to switch on and off: `options` are names and words, `picked` the names that are on."""

    _esm = shell.asset("choices.js")
    _css = shell.asset("filters.css")
    title = traitlets.Unicode().tag(sync=True)
    options: Any = traitlets.List().tag(sync=True)
    picked: Any = traitlets.List().tag(sync=True)


class Filters(anywidget.AnyWidget):
    """Chips by column, ranges, a search field, and what else the selection holds, to be taken off."""

    _esm = shell.asset("filters.js")
    _css = shell.asset("filters.css")
    columns: Any = traitlets.List().tag(sync=True)
    spans: Any = traitlets.List().tag(sync=True)
    picked: Any = traitlets.Dict().tag(sync=True)
    ranges: Any = traitlets.Dict().tag(sync=True)
    search = traitlets.Unicode().tag(sync=True)
    extra: Any = traitlets.List().tag(sync=True)
    told = traitlets.Unicode().tag(sync=True)

    def __init__(self, state: State) -> None:
        """Offer what the state's data can be filtered by."""
        super().__init__(spans=_spans(state))
        self._state, self._known = state, _columns(state)
        self.observe(lambda _: self._write(), ["picked", "ranges", "search"])
        self.on_msg(lambda _, content, buffers: self._drop(str(content.get("drop", ""))))
        state.on_selection(self._show)

    def _show(self) -> None:
        chosen, n = self._state.selection, int(self._state.mask.sum())
        extra = [{"key": "mistake", "title": str(chosen.mistake)}] * (chosen.mistake is not None)
        extra += [{"key": "ids", "title": chosen.ids_title}] * (chosen.ids is not None)
        with self.hold_sync():
            self.picked = {column: list(values) for column, values in chosen.picked.items()}
            self.ranges = {column: list(span) for column, span in chosen.ranges.items()}
            self.search, self.extra = chosen.search, extra
            self.columns = [c for c in self._known if c["name"] not in _SHOWN_WHEN_PICKED or self.picked.get(c["name"])]
            self.told = f"{n:,} of {len(self._state.data):,} queries"

    def _write(self) -> None:
        wanted = replace(
            self._state.selection, search=self.search,
            picked={column: tuple(values) for column, values in self.picked.items() if values},
            ranges={column: (float(low), float(high)) for column, (low, high) in self.ranges.items()})
        if wanted != self._state.selection:
            self._state.selection = wanted

    def _drop(self, what: str) -> None:
        dropped = {"mistake": {"mistake": None}, "ids": {"ids": None, "ids_title": ""}}
        if what == "all":
            self._state.selection = Selection()
        elif what in dropped:
            self._state.selection = replace(self._state.selection, **dropped[what])  # type: ignore[arg-type]


def _columns(state: State) -> list[dict[str, Any]]:
    found = []
    for column in state.data.names:
        codes, values = state.data.groups[column]
        if 2 <= len(values) <= MAX_SPEAKERS:
            counts = np.bincount(codes[codes >= 0], minlength=len(values)).tolist()
            pairs = [{"value": value, "n": n} for value, n in zip(values, counts, strict=True)]
            found.append({"name": column, "title": column.replace("_", " "), "values": pairs})
    return found


def _spans(state: State) -> list[dict[str, Any]]:
    found = []
    for column, (title, unit) in SPANS.items():
        known = state.data.scores.get(column, pd.Series(dtype=float)).dropna()
        if len(known):
            low, high = float(np.floor(known.min())), float(np.ceil(known.max()))
            found.append({"name": column, "title": title, "unit": unit, "min": low, "max": high})
    return found
