"""The query log as watchers read it: counted in the database, and rows of some users alone, so that a million are few.

Only what people asked counts: neither a shadow's answers nor load tests. Nothing here writes.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sql

from workbench import log_database
from workbench.log_database import LOAD_TEST as LOAD_TEST  # which is no person's
from workbench.log_database import Database, forgotten, labels, queries

HOUR_S = 3_600
DAY_S = 86_400.0
FAR_S = 1e12
"""Beyond all clocks."""
AHEAD_S = DAY_S
"""A query further ahead of our clock is of one that is wrong: it is counted, but no window is made for it."""
N_SAMPLED = 6_000
"""Queries of a window whose rows are read: ten times what shows that a quarter of the users changed phones."""
ALL = 1 << 16
"""Users are drawn by the first four hex digits of their hash (or of the request, where there is no user)."""
COUNTED = ("hour", "model_version", "error", "is_empty", "latency_ms")
READ = ("row_id", "request_id", "time_s", "user_hash", "model_version", "role", "error", "app_version", "device",
        "hypothesis", "heard_letters", "ctc_gap", "avg_logprob", "no_speech_prob", "compression_ratio", "duration_s",
        "level_dbfs", "snr_db", "bandwidth_hz", "latency_ms", "consent", "audio_sha", "biased_from")

_is_asked = sql.and_(queries.c.role != "shadow", queries.c.app_version != LOAD_TEST)
_known_latency = sql.func.nullif(queries.c.latency_ms, sql.literal(float("nan")))  # NaN is a number to PostgreSQL
_asked_by = sql.case((queries.c.user_hash != "", queries.c.user_hash), else_=queries.c.request_id)
_drawn_by = sql.func.substr(_asked_by, 1, 4)


@dataclass(frozen=True, slots=True)
class Drawn:
    """What is judged of people's queries: all of a window, or of a large one those of some users, and what was audited.

    `rows` has the columns READ; `counts` counts all: window, day (from 1, from `start_s` on), n_queries.
    """

    rows: pd.DataFrame
    counts: pd.DataFrame
    start_s: float

    @property
    def n_queries(self) -> int:
        """All that people asked."""
        return int(self.counts["n_queries"].sum())


def n_drawn(sizes: "pd.Series[int]", n_sampled: int) -> "pd.Series[int]":
    """Say of how many in 65,536 users rows are read, by window: halved until no more than `n_sampled` are expected."""
    return (ALL * 0.5 ** np.ceil(np.log2(np.maximum(sizes / n_sampled, 1)))).clip(lower=1).astype(int)


def timely_until(first_s: float, now_s: float) -> float:
    """Give the time that no window passes; a log that lies ahead as a whole, as simulated weeks may, has none."""
    end_s = now_s // HOUR_S * HOUR_S + AHEAD_S
    return end_s if first_s < end_s else FAR_S


class LogReader:
    """Reads the log at a URL, or at WORKBENCH_QUERY_LOG_URL, or in `data/queries.db`."""

    def __init__(self, url: str = "") -> None:
        """Point at a database. Raises: QueryLogError for a URL that is neither SQLite's nor PostgreSQL's."""
        self._database = Database(log_database.address(url))

    @property
    def name(self) -> str:
        """The URL without its password."""
        return self._database.name

    @property
    def is_there(self) -> bool:
        """Whether the log may hold anything."""
        return self._database.is_there

    def last_row(self) -> int:
        """Give the number of the last row, 0 when there is none."""
        return int(self._one(sql.select(sql.func.max(queries.c.row_id))) or 0)

    def n_forgotten(self) -> int:
        """Count what was noted of users who are forgotten: that they asked, and once more when their rows are empty."""
        return int(self._one(sql.select(sql.func.count()).select_from(forgotten)))

    def counts(self, after_row: int, up_to_row: int) -> pd.DataFrame:
        """Count people's queries. Returns: hour (since 1970), model_version, error, is_empty, latency_ms (whole), n."""
        with self._database.reading() as connection:
            hour, latency = (_whole(connection, value) for value in (
                queries.c.time_s / HOUR_S, sql.func.coalesce(_known_latency, -1)))
            is_empty = sql.case((queries.c.compression_ratio == 0, 1), else_=0)
            columns = [hour, queries.c.model_version, queries.c.error, is_empty, latency]
            found = connection.execute(sql.select(*columns, sql.func.count()).where(
                _is_asked, queries.c.row_id > after_row, queries.c.row_id <= up_to_row).group_by(*columns))
            return _as_table(found, [*COUNTED, "n"])

    def rows(self, *, after_row: int = 0, up_to_row: int, since_s: float | None = None, until_s: float | None = None,
             n_of_all: int = ALL) -> pd.DataFrame:
        """Read people's queries, of `n_of_all` in 65,536 users: always the same ones, and with more those and others.

        Returns: the columns READ, in order of row_id.
        """
        limits: list[Any] = [_is_asked, queries.c.row_id > after_row, queries.c.row_id <= up_to_row]
        limits += [queries.c.time_s >= since_s] if since_s is not None else []
        limits += [queries.c.time_s < until_s] if until_s is not None else []
        limits += [_drawn_by < f"{n_of_all:04x}"] if n_of_all < ALL else []
        return self._table(sql.select(*(queries.c[name] for name in READ)).where(*limits).order_by(queries.c.row_id),
                           READ)

    def drawn(self, *, after_row: int, up_to_row: int, width_s: float, n_sampled: int = N_SAMPLED) -> Drawn:
        """Read what windows are judged by; the first begins at midnight (UTC) before the first query.

        A window of at most `n_sampled` queries is read whole, of a larger one always the same users. Queries that lie
        ahead of now by more than AHEAD_S are left out.
        """
        start_s, end_s, counts = self._counted(after_row, up_to_row, width_s)
        shares = n_drawn(counts.groupby("window")["n_queries"].sum(), n_sampled)
        if (shares == ALL).all():
            return Drawn(self.rows(after_row=after_row, up_to_row=up_to_row, until_s=end_s), counts, start_s)
        parts = [self.rows(after_row=after_row, up_to_row=up_to_row, since_s=start_s + (window - 1) * width_s,
                           until_s=min(start_s + window * width_s, end_s), n_of_all=n) for window, n in shares.items()]
        said = self.labelled()
        audited = said[said["kind"].eq("audit") & said["row_id"].between(after_row + 1, up_to_row)
                       & said["time_s"].lt(end_s)]
        rows = pd.concat([*parts, audited[list(READ)]]).drop_duplicates("row_id")
        return Drawn(rows.sort_values("row_id", ignore_index=True), counts, start_s)

    def _counted(self, after_row: int, up_to_row: int, width_s: float) -> tuple[float, float, pd.DataFrame]:
        """Count people's queries. Returns: when the first window begins, when all end, and window, day, n_queries."""
        limits = [_is_asked, queries.c.row_id > after_row, queries.c.row_id <= up_to_row]
        with self._database.reading() as connection:
            first_s = connection.scalar(sql.select(sql.func.min(queries.c.time_s)).where(*limits)) or 0.0
            start_s, end_s = float(first_s // DAY_S * DAY_S), timely_until(first_s, time.time())
            limits.append(queries.c.time_s < end_s)
            spans = [_whole(connection, (queries.c.time_s - start_s) / long_s) + 1 for long_s in (width_s, DAY_S)]
            found = connection.execute(sql.select(*spans, sql.func.count()).where(*limits).group_by(*spans))
            counts = pd.DataFrame(found.fetchall(), columns=["window", "day", "n_queries"], dtype="int64")
        return start_s, end_s, counts.sort_values(["window", "day"], ignore_index=True)

    def labelled(self) -> pd.DataFrame:
        """Give the labelled queries. Returns: the columns READ, and reference, labeller, kind."""
        names = (*READ, "reference", "labeller", "kind")
        both = queries.join(labels, labels.c.request_id == queries.c.request_id)
        columns = [*(queries.c[name] for name in READ), *(labels.c[name] for name in names[len(READ):])]
        return self._table(sql.select(*columns).select_from(both).where(_is_asked).order_by(queries.c.row_id), names)

    def pairs(self, limit: int) -> pd.DataFrame:
        """Give the latest queries that a shadow answered too.

        Returns: request_id, time_s, user_hash, duration_s, audio_sha, consent, version and hypothesis of the champion,
            and shadow_version and shadow_hypothesis.
        """
        shadow = queries.alias("shadow")
        both = shadow.join(queries, sql.and_(queries.c.request_id == shadow.c.request_id, queries.c.role != "shadow"))
        names = ("request_id", "time_s", "user_hash", "duration_s", "audio_sha", "consent", "model_version",
                 "hypothesis")
        columns = [*(queries.c[name] for name in names), shadow.c.model_version, shadow.c.hypothesis]
        found = sql.select(*columns).select_from(both).where(
            shadow.c.role == "shadow", shadow.c.error == "", queries.c.error == "", _is_asked).order_by(
            shadow.c.row_id.desc()).limit(limit)
        return self._table(found, [*names, "shadow_version", "shadow_hypothesis"])

    def consented(self, since_s: float) -> dict[str, int]:
        """Count what may be listened to. Returns: n_clips, n_users who gave them, n_all users, since a time."""
        is_given = sql.and_(queries.c.consent != "", queries.c.audio_sha != "")
        user = sql.case((queries.c.user_hash != "", queries.c.user_hash))
        found = sql.select(sql.func.count(sql.distinct(sql.case((is_given, queries.c.audio_sha)))),
                           sql.func.count(sql.distinct(sql.case((is_given, user)))),
                           sql.func.count(sql.distinct(user))).where(_is_asked, queries.c.time_s >= since_s)
        with self._database.reading() as connection:
            n_clips, n_users, n_all = connection.execute(found).one()
        return {"n_clips": int(n_clips), "n_users": int(n_users), "n_all": int(n_all)}

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()

    def _one(self, query: sql.Select[Any]) -> Any:
        with self._database.reading() as connection:
            return connection.scalar(query)

    def _table(self, query: sql.Select[Any], names: Sequence[str]) -> pd.DataFrame:
        with self._database.reading() as connection:
            return _as_table(connection.execute(query), names)


def _whole(connection: sql.Connection, value: sql.ColumnElement[Any]) -> sql.ColumnElement[int]:
    """Round down: SQLite's cast cuts, PostgreSQL's rounds."""
    is_postgres = connection.dialect.name == "postgresql"
    return sql.cast(sql.func.floor(value) if is_postgres else value, sql.BigInteger)


_COUNTS = {"hour", "n", "row_id", "is_empty"}
_NUMBERS = {"latency_ms", "time_s", "ctc_gap", "avg_logprob", "no_speech_prob", "compression_ratio", "duration_s",
            "level_dbfs", "snr_db", "bandwidth_hz"}


def _as_table(found: sql.CursorResult[Any], names: Sequence[str]) -> pd.DataFrame:
    columns = list(zip(*found.fetchall(), strict=True)) or [()] * len(names)
    table = pd.DataFrame(dict(zip(names, columns, strict=True)))
    return table.astype({name: "int64" if name in _COUNTS else "float64" if name in _NUMBERS else "str"
                         for name in names})
