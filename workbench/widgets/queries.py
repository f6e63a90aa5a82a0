"""The table of queries: sort, page, hear; the clip beside it, the keys for both, and the selection as a file."""

from html import escape
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv

from workbench.widgets import shell
from workbench.widgets.clip import HINT, KEYS, Clip
from workbench.widgets.failing import percent
from workbench.widgets.rows import Column, Rows
from workbench.widgets.state import State
from workbench.widgets.visitor import Download, Keys

N_A_PAGE = 10
_NOT_IN_FILES = ("audio_path",)


class Queries:
    """Every query of the selection, the worst first."""

    def __init__(self, state: State) -> None:
        """Follow the selection. `box` is what to show."""
        self.state, scores = state, state.data.scores
        self.table = pd.DataFrame({
            "utterance_id": scores["utterance_id"], "row": np.arange(len(scores)), "n_errors": state.data.errors,
            "wer": scores["wer"], "place": scores.get("noise", ""), "snr_db": scores.get("snr_db", np.nan),
            "confidence": np.exp(scores["avg_logprob"].astype(float)) if "avg_logprob" in scores else np.nan})
        self.rows = Rows([Column("utterance_id", "id", write=_name),
                          Column("said", "what was said and heard", write=str, is_sortable=False),
                          Column("place", "slice"),
                          Column("wer", "WER", write=percent, is_number=True),
                          Column("confidence", "conf.", write="{:.2f}".format, is_number=True)],
                         id_column="utterance_id", label="queries", n_a_page=N_A_PAGE, sorted_by="wer",
                         when_empty="No query is like that; take a filter off.", prepare=self._written)
        self.clip = Clip(state)
        save = Download("download CSV", self.file_name, self.file)
        keys = Keys(HINT, KEYS, self.pressed)
        card = shell.card("Queries", "click one to hear it and see why it went wrong",
                          shell.row(save, keys, shares="auto 1fr"), self.rows)
        self.box = shell.row(card, self.clip.box, shares="minmax(0,1.1fr) minmax(0,1fr)")
        self.box.add_class("wb-keys")
        self.rows.on_select(lambda picked: setattr(state, "current", picked))
        state.observe(shell.guarded(state.say)(lambda change: self._turn_to(change["new"])), "current")
        state.observe(lambda _: self.rows.rewrite(), "hidden")
        state.on_selection(lambda: self.rows.show(self.table[state.mask]))

    def _written(self, part: pd.DataFrame) -> pd.DataFrame:
        rows = self.state.data.scores.iloc[part["row"].to_numpy()]
        return part.assign(said=[f'<div class="wb-wide">{words}</div>' for words in self.state.differences(rows)],
                           place=[_place(*known) for known in zip(part["place"], part["snr_db"], strict=True)])

    def _turn_to(self, utterance_id: str) -> None:
        self.clip.show(utterance_id)
        if self.rows.selected != utterance_id:
            self.rows.pick(utterance_id)

    def pressed(self, key: str) -> None:
        """Act on a key: a cause, or the next query of the table."""
        if key != "ArrowRight":
            self.clip.pressed(key)
            return
        ids = self.rows.ordered["utterance_id"].tolist()
        now = ids.index(self.state.current) if self.state.current in ids else -1
        self.state.current = str(ids[(now + 1) % len(ids)]) if ids else ""

    def file_name(self) -> str:
        """Name the file of the selection."""
        return f"{self.state.opened.source.run}-{self.state.opened.source.stage}-queries.csv"

    def file(self) -> bytes:
        """Write the selection as CSV, all columns."""
        scores, sink = self.state.data.scores, pa.BufferOutputStream()
        chosen = scores[[name for name in scores if name not in _NOT_IN_FILES]].iloc[self.rows.ordered["row"]]
        csv.write_csv(pa.Table.from_pandas(chosen, preserve_index=False), sink)  # ten times as fast as pandas
        return bytes(sink.getvalue())


def _place(noise: Any, snr_db: float) -> str:
    """Write where a query was asked: its noise and how loud that was, each where it is known and says something."""
    named = [] if pd.isna(noise) or not noise else [str(noise)]
    loud = [] if pd.isna(snr_db) or noise == "quiet" else [f"{round(snr_db)} dB"]
    return " · ".join(named + loud).replace(" ", "\u00a0")


def _name(utterance_id: Any) -> str:
    return f'<span class="wb-id">▶ {escape(str(utterance_id))}</span>'
