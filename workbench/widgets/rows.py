"""A table of any length on a page: the kernel sorts and pages, the browser holds one page of rows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from typing import Any

import anywidget
import pandas as pd
import traitlets

from workbench.widgets import shell


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name in the table, its heading, how a value is written (as HTML), and whether it is a number."""

    name: str
    title: str
    write: Callable[[Any], str] = lambda value: escape(str(value))
    is_number: bool = False
    is_sortable: bool = True


class Rows(anywidget.AnyWidget):
    """Shows a table page by page; rows are picked by click or Enter, sorted by their headings.

    `selected` is the id of the picked row ("" for none). A column's `write` may give buttons with `data-action`;
    pressing one calls what `on_action` was given, with the action and the row's id.
    """

    _esm = shell.asset("rows.js")
    _css = shell.asset("rows.css")
    columns: Any = traitlets.List().tag(sync=True)
    shown: Any = traitlets.List().tag(sync=True)
    n_rows = traitlets.Int(0).tag(sync=True)
    page = traitlets.Int(0).tag(sync=True)
    n_pages = traitlets.Int(1).tag(sync=True)
    sorted_by = traitlets.Unicode().tag(sync=True)
    is_descending = traitlets.Bool(True).tag(sync=True)
    selected = traitlets.Unicode().tag(sync=True)
    label = traitlets.Unicode().tag(sync=True)
    when_empty = traitlets.Unicode("Nothing to list.").tag(sync=True)

    def __init__(self, columns: Sequence[Column], *, id_column: str, label: str, n_a_page: int = 12,
                 sorted_by: str = "", is_descending: bool = True, when_empty: str = "Nothing to list.",
                 prepare: Callable[[pd.DataFrame], pd.DataFrame] | None = None) -> None:
        """Make an empty table. `prepare` adds, to the rows of one page alone, what is costly to write."""
        self._columns, self._id, self._n, self._prepare = tuple(columns), id_column, n_a_page, prepare
        self._table, self._ordered = pd.DataFrame(), pd.DataFrame()
        heads = [{k: v for k, v in asdict(c).items() if k != "write"} for c in columns]
        super().__init__(columns=heads, label=label, sorted_by=sorted_by, is_descending=is_descending,
                         when_empty=when_empty)
        self.observe(lambda _: self._sort(), ["sorted_by", "is_descending"])
        self.observe(lambda _: self.rewrite(), "page")

    def show(self, table: pd.DataFrame) -> None:
        """Put another table in its place, from its first page on."""
        self._table = table
        self._sort()

    def renew(self, table: pd.DataFrame) -> None:
        """Put the same table with newer contents in its place; the page that is shown stays."""
        page = self.page
        self.show(table)
        self.page = min(page, self.n_pages - 1)

    @property
    def ordered(self) -> pd.DataFrame:
        """The whole table in the order in which it is shown."""
        return self._ordered

    def pick(self, row_id: str) -> None:
        """Pick a row as a click does, and turn to its page."""
        found = self._ordered.index[self._ordered[self._id].astype(str).eq(row_id)] if len(self._ordered) else []
        if len(found):
            self.page = int(self._ordered.index.get_loc(found[0])) // self._n
        self.selected = row_id

    def follow(self, row_id: str) -> None:
        """Mark the row that was picked, here or elsewhere; none where it is not listed."""
        is_listed = len(self._ordered) > 0 and bool(self._ordered[self._id].astype(str).eq(row_id).any())
        self.selected = row_id if is_listed else ""

    def on_select(self, callback: Callable[[str], None]) -> None:
        """Call back with the id of each row that is picked."""
        self.observe(lambda change: callback(change["new"]) if change["new"] else None, "selected")

    def on_action(self, callback: Callable[[str, str], None]) -> None:
        """Call back with a pressed button's action and its row's id."""
        self.on_msg(lambda _, content, buffers: callback(content["action"], content["id"])
                    if "action" in content else None)

    def _sort(self) -> None:
        by, table = self.sorted_by, self._table
        if by in table and len(table):
            table = table.sort_values(by, ascending=not self.is_descending, kind="stable", na_position="last")
        self._ordered = table
        self.n_rows, self.n_pages = len(table), max(1, -(-len(table) // self._n))
        if self.page:
            self.page = 0  # which turns to it
        else:
            self.rewrite()

    def rewrite(self) -> None:
        """Write the page that is shown: it was turned to, or what `prepare` adds has changed."""
        part = self._ordered.iloc[self.page * self._n:(self.page + 1) * self._n]
        part = self._prepare(part) if self._prepare and len(part) else part
        self.shown = [_written(self._columns, self._id, row) for row in part.to_dict("records")]


def _written(columns: Sequence[Column], id_column: str, row: Mapping[Any, Any]) -> dict[str, Any]:
    cells = ["" if value is None else column.write(value)
             for column in columns for value in [row.get(column.name)]]
    return {"id": str(row[id_column]), "cells": cells}
