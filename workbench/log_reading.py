"""The query log as watchers read it: counted in the database, and rows of some users alone, so that a million are few.

Only what people asked counts: neither a shadow's answers nor load tests. Nothing here writes.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import sqlalchemy as sql

from workbench import log_database
from workbench.log_database import Database, forgotten, labels, queries

LOAD_TEST = "load-test"
"""The app_version that deploy's own queries carry."""
HOUR_S = 3_600
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
        """Count the users that asked to be forgotten."""
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
