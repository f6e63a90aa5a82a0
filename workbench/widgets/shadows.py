"""Champion and challenger on the monitoring page: how far they agree, and queries won and lost, to hear."""

from html import escape

import pandas as pd

from workbench import cards, shadowing
from workbench.watching import Scene
from workbench.widgets import clips, shell
from workbench.widgets.rows import Column, Rows

OUTCOMES = {shadowing.WON: "yes", shadowing.LOST: "no", shadowing.BOTH_WRONG: "cannot_tell", shadowing.DIFFERS: "done"}
ALONE = ("The champion answers alone. A challenger that answers beside it, unseen, is compared here: a release that is "
         "not shown to be better becomes one.")


class Shadows:
    """The sentence, and the queries that the two models answer differently."""

    def __init__(self) -> None:
        self._found: shadowing.Comparison | None = None
        self.told, self.sound = shell.html(""), shell.html("")
        columns = [Column("outcome", "", _outcome), Column("hypothesis", "champion"),
                   Column("shadow_hypothesis", "challenger", is_sortable=False)]
        self.rows = Rows(columns, id_column="request_id", label="queries answered differently", n_a_page=8,
                         when_empty="They never differ.")
        self.rows.on_select(self._hear)
        self.view = shell.card("Champion and challenger", "the same queries through both; pick one to hear it",
                               self.told, self.rows, self.sound)

    def show(self, scene: Scene) -> None:
        """Show the scene."""
        self._found = shadowing.compare(scene.pairs, scene.labelled)
        self.told.value = cards.note(shadowing.sentence(self._found) if self._found else ALONE)
        self.rows.layout.display = "" if self._found else "none"
        self.rows.renew(self._found.differing if self._found else pd.DataFrame())

    def _hear(self, name: str) -> None:
        assert self._found is not None
        rows = self._found.differing
        self.sound.value = clips.hear(rows[rows["request_id"].eq(name)].assign(told=_both))


def _both(rows: pd.DataFrame) -> "pd.Series[str]":
    said = rows["reference"].map(lambda words: f"said: {words} · " if words else "")
    return said + "champion: " + rows["hypothesis"] + " · challenger: " + rows["shadow_hypothesis"]


def _outcome(word: str) -> str:
    return f'<span class="wb-badge wb-{OUTCOMES[word]}">{escape(word)}</span>'
