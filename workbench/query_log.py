"""The query log: one row a query, committed before its answer leaves; labels that people gave; who asked to go.

Sound does not lie here (`consented_audio`), only its name; what forgetting means beyond the log is `consent`'s.
"""

import contextlib
import hashlib
import hmac
import operator
import os
import secrets
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sql

from workbench import log_database, storage
from workbench.errors import QueryLogError, SettingsError
from workbench.log_database import Database, checks, clean, forgotten, labels, marks, queries, secrets_used
from workbench.log_database import LoggedQuery as LoggedQuery  # what callers fill in

if TYPE_CHECKING:
    import pandas as pd  # the server writes rows and never reads tables

CONSENTED = "audio"
COLUMNS = tuple(str(column.name) for column in queries.columns)
_WRITTEN = COLUMNS[1:]  # the database gives row_id
ROWS_AT_A_TIME = 20_000  # what is held as Python values: some tens of megabytes
SECRET_BYTES = 32  # as many as a SHA-256; a shorter key weakens the HMAC (RFC 2104, section 3)
MEND_SECRET = ("bring the old file back, or copy that file from a machine of the team's that writes to this log: with "
               "another one a user would be two, and could not be forgotten; where nobody has it, begin a new log")
_WORDLESS = {"hypothesis": "", "heard_letters": "", "biased_from": ""}
_ANONYMOUS = {"user_hash": "", "audio_sha": "", "consent": "", **_WORDLESS}
_LABEL_COLUMNS = [str(column.name) for column in labels.columns]


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What a user left: how many rows were theirs, of which requests, and the sounds that no row names any more."""

    n_queries: int
    audio_shas: tuple[str, ...]
    request_ids: tuple[str, ...]


class QueryLog:
    """The log at a URL, or at WORKBENCH_QUERY_LOG_URL, or in `data/queries.db`; it connects when first used."""

    def __init__(self, url: str = "") -> None:
        """Point at a database. Raises: QueryLogError for a URL that is neither SQLite's nor PostgreSQL's."""
        self._database = Database(log_database.address(url))

    def append(self, rows: Iterable[LoggedQuery]) -> None:
        """Write rows in one transaction, all or none; when this returns they are on the disk.

        Of a forgotten user's rows only the measurements are kept.
        Raises: QueryLogError when they could not be written, or a row is there already; ValueError for a row that
            names a sound without consent.
        """
        values = [_as_values(row) for row in rows]
        if not values:
            return
        with self._database.writing() as connection:
            known = {_mark(value["user_hash"]) for value in values}
            gone = set(connection.scalars(sql.select(forgotten.c.mark).where(forgotten.c.mark.in_(known))))
            connection.execute(sql.insert(queries), [
                value | _ANONYMOUS if _mark(value["user_hash"]) in gone else value for value in values])

    def read(
        self,
        *,
        after_row: int = 0,
        up_to_row: int | None = None,
        since_s: float | None = None,
        until_s: float | None = None,
        columns: Sequence[str] | None = None,
    ) -> "pd.DataFrame":
        """Read rows in order, row_id first: those after one row up to and with another, from a time to before another.

        Raises: QueryLogError when the log does not answer; ValueError for a column that it does not have.
        """
        names = ["row_id", *(name for name in (COLUMNS if columns is None else columns) if name != "row_id")]
        if not set(names) <= set(COLUMNS):
            raise ValueError(f"no column {sorted(set(names) - set(COLUMNS))} in the log; it has {', '.join(COLUMNS)}")
        row, time = queries.c.row_id, queries.c.time_s
        limits = [(operator.gt, row, after_row), (operator.le, row, up_to_row), (operator.ge, time, since_s),
                  (operator.lt, time, until_s)]
        return self._table(sql.select(*(queries.c[name] for name in names)).order_by(row).where(
            *(compare(column, bound) for compare, column, bound in limits if bound is not None)))

    def _table(self, query: sql.Select[Any]) -> "pd.DataFrame":
        import pandas as pd

        types = {str(c.name): {"TEXT": "str", "DOUBLE": "float64"}.get(str(c.type), "int64")
                 for c in query.selected_columns}
        parts = [pd.DataFrame({name: pd.Series([], dtype=type_) for name, type_ in types.items()})]
        with self._database.reading() as connection:
            found = connection.execution_options(yield_per=ROWS_AT_A_TIME).execute(query)
            for part in found.partitions():
                columns = zip(types.items(), zip(*part, strict=True), strict=True)
                parts.append(pd.DataFrame({name: pd.Series(values, dtype=type_) for (name, type_), values in columns}))
        return pd.concat(parts[1:] or parts, ignore_index=True)

    def last_row(self) -> int:
        """Give the number of the last row, 0 when there is none. Raises: QueryLogError when it does not answer."""
        with self._database.reading() as connection:
            return int(connection.scalar(sql.select(sql.func.max(queries.c.row_id))) or 0)

    def last_asked_s(self) -> float | None:
        """Give the time of what people asked last, None before they do. Raises: QueryLogError when it does not answer.
        """
        is_asked = sql.and_(queries.c.role != "shadow", queries.c.app_version != log_database.LOAD_TEST)
        last = sql.select(queries.c.time_s).where(is_asked).order_by(queries.c.row_id.desc()).limit(1)
        with self._database.reading() as connection:
            return connection.scalar(last)

    def check(self) -> str:
        """Write something small. Returns: "" when that worked, else the reason why the log cannot be written."""
        try:
            with self._database.writing() as connection:
                if not connection.execute(sql.update(checks).values(n_checks=checks.c.n_checks + 1)).rowcount:
                    connection.execute(sql.insert(checks).values(n_checks=1))
        except QueryLogError as error:
            return str(error)
        return ""

    def check_secret(self) -> None:
        """Make sure that this project names users as the log's first writer did. Raises: SettingsError if it does not.
        """
        mine = hmac.digest(_secret(self), b"which secret", "sha256").hex()[:32]
        with self._database.writing() as connection:
            known = set(connection.scalars(sql.select(secrets_used.c.mark)))
            if not known:
                connection.execute(sql.insert(secrets_used), {"mark": mine})
        if known and mine not in known:
            raise SettingsError(f"{storage.data_folder() / 'secret.key'} is not the one by which {self._database.name} "
                                f"names users; {MEND_SECRET}")

    def has_names(self) -> bool:
        """Whether a secret was used here, by whomever. Raises: QueryLogError when the log does not answer."""
        used = (secrets_used.select(), forgotten.select(), queries.select().where(queries.c.user_hash != ""))
        if not self._database.is_there:
            return False
        with self._database.reading() as connection:
            return bool(connection.scalar(sql.select(sql.or_(*(sql.exists(rows) for rows in used)))))

    def erase_traces(self) -> None:
        """Make the database's files let go of what was forgotten or dropped. Raises: QueryLogError when they cannot."""
        self._database.erase_traces()

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()

    # --- labels ------------------------------------------------------------------------------------------------------

    def add_labels(self, rows: "pd.DataFrame") -> int:
        """Keep what people wrote: request_id, reference, labeller, kind ("audit" or "chosen"); a later one replaces.

        What an audit drew stays of the audit, or it would lose those that are chosen again: the ones likely wrong.
        A query without consent, or of a user who was forgotten meanwhile, takes none.
        Returns: the number of labels kept.
        Raises: QueryLogError when they cannot be written.
        """
        said = rows.drop_duplicates("request_id", keep="last")[_LABEL_COLUMNS].to_dict("records")
        given = {str(row["request_id"]): {str(name): clean(str(value)) for name, value in row.items()} for row in said}
        with self._database.writing() as connection:
            consented = set(connection.scalars(sql.select(queries.c.request_id).where(queries.c.consent == CONSENTED)))
            drawn = set(connection.scalars(sql.select(labels.c.request_id).where(labels.c.kind == "audit")))
            kept = [label | ({"kind": "audit"} if request_id in drawn else {})
                    for request_id, label in given.items() if request_id in consented]
            if kept:
                theirs = labels.c.request_id == sql.bindparam("replaced")
                connection.execute(sql.delete(labels).where(theirs), [{"replaced": row["request_id"]} for row in kept])
                connection.execute(sql.insert(labels), kept)
        return len(kept)

    def labels(self) -> "pd.DataFrame":
        """Give all labels: request_id, reference, labeller, kind. Raises: QueryLogError when it does not answer."""
        return self._table(sql.select(labels).order_by(labels.c.request_id))

    # --- consent -----------------------------------------------------------------------------------------------------

    def is_forgotten(self, user_hash: str) -> bool:
        """Whether this user asked to be forgotten, so that nothing of theirs may be kept."""
        found = sql.select(forgotten.c.mark).where(forgotten.c.mark == _mark(user_hash))
        with self._database.reading() as connection:
            return connection.scalar(found) is not None

    def refuse(self, user_hash: str) -> tuple[str, ...]:
        """Keep nothing of a user from now on; what is there stays until `forget`. Returns: ids of their requests.

        Raises: QueryLogError when the log cannot be written, or for no user.
        """
        if not user_hash:
            raise QueryLogError("no user is named; queries without one cannot be told apart, and nobody's be forgotten")
        with self._database.writing() as connection:
            _note(connection, _mark(user_hash))
            found = sql.select(queries.c.request_id).distinct().where(queries.c.user_hash == user_hash)
            return tuple(sorted(connection.scalars(found)))

    def forget(self, user_hash: str) -> Forgotten:
        """Take a user out of all rows, and their words, labels and marks; later queries leave measurements alone.

        Raises: QueryLogError when the log cannot be written; ValueError for no user.
        """
        request_ids = self.refuse(user_hash)
        theirs = queries.c.user_hash == user_hash
        with self._database.writing() as connection:
            shas = _released(connection, theirs)
            requests = sql.select(queries.c.request_id).where(theirs)
            connection.execute(sql.delete(labels).where(labels.c.request_id.in_(requests)))
            connection.execute(sql.delete(marks).where(marks.c.utterance_id.in_(requests)))
            for sha in shas:
                connection.execute(sql.delete(marks).where(marks.c.audio_sha == sha))
            n_queries = connection.execute(sql.update(queries).where(theirs).values(_ANONYMOUS)).rowcount
            _note(connection, _mark(f"{user_hash} emptied"))  # who watches has seen the mark, and rows full of words
        return Forgotten(n_queries, shas, request_ids)

    def drop_words(self, before_s: float) -> int:
        """Empty the words and letters of older rows without consent; their measurements stay. Returns: rows changed."""
        is_due = sql.and_(queries.c.time_s < before_s, queries.c.consent == "",
                          sql.or_(*(queries.c[name] != "" for name in _WORDLESS)))
        emptied = sql.update(queries).where(is_due).values(_WORDLESS)
        with self._database.writing() as connection:
            return connection.execute(emptied).rowcount

    def expired_audio(self, before_s: float) -> tuple[str, ...]:
        """Let older rows name no sound any more. Returns: the sounds that no row names now, to be deleted."""
        is_due = sql.and_(queries.c.time_s < before_s, queries.c.audio_sha != "")
        with self._database.writing() as connection:
            shas = _released(connection, is_due)
            connection.execute(sql.update(queries).where(is_due).values(audio_sha=""))
        return shas

    def audio_shas(self) -> set[str]:
        """Name all sounds that a row holds on to."""
        with self._database.reading() as connection:
            return set(connection.scalars(sql.select(queries.c.audio_sha).distinct().where(queries.c.audio_sha != "")))


def _released(connection: sql.Connection, rows: sql.ColumnElement[bool]) -> tuple[str, ...]:
    """Name the sounds that these rows hold and no others do: two users may have sent the very same recording."""
    named = sql.select(queries.c.audio_sha).where(queries.c.audio_sha != "")
    return tuple(sorted(connection.scalars(named.where(rows).except_(named.where(sql.not_(rows))))))


def _note(connection: sql.Connection, mark: str) -> None:
    if connection.scalar(sql.select(forgotten.c.mark).filter_by(mark=mark)) is None:
        connection.execute(sql.insert(forgotten), {"mark": mark})


def _as_values(row: LoggedQuery) -> dict[str, Any]:
    if row.audio_sha and row.consent != CONSENTED:
        raise ValueError(f"request {row.request_id} names a sound without consent; audio is kept only with it")
    values = ((name, getattr(row, name)) for name in _WRITTEN)
    return {name: clean(value) if isinstance(value, str) else float(value) for name, value in values}


def _mark(user_hash: str) -> str:
    """Name a forgotten user otherwise than their rows did, so that not even the hash stays behind."""
    return hashlib.sha256(f"forgotten {user_hash}".encode()).hexdigest()[:32]


def user_hash(user: str) -> str:
    """Give the name under which a user's queries are kept, which nobody without `data/secret.key` can make.

    Returns: 16 hex digits of an HMAC-SHA256, "" for no user.
    Raises: SettingsError when the secret cannot be made or read.
    """
    return hmac.digest(_secret(), user.encode("utf-8", "replace"), "sha256").hex()[:16] if user else ""


def _secret(log: QueryLog | None = None) -> bytes:
    """Read the secret, or make it for a log, the project's if none is given, that names nobody yet."""
    path = storage.data_folder() / "secret.key"
    with storage.explaining(path):
        if not path.exists():
            with contextlib.nullcontext(log) if log else contextlib.closing(QueryLog()) as unnamed:
                if unnamed.has_names() and not path.exists():  # nobody made it meanwhile
                    raise SettingsError(f"{path} is missing, by which the query log names users; {MEND_SECRET}")
            _make_secret(path)
        secret = path.read_bytes() if path.is_file() else b""
    if len(secret) < SECRET_BYTES:
        raise SettingsError(f"{path} holds {len(secret)} bytes, wanted {SECRET_BYTES}; {MEND_SECRET}")
    return secret


def _make_secret(path: Path) -> None:
    """Make the secret, whole or not at all; whoever comes first names it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".secret.", buffering=0) as fresh:
        fresh.write(secrets.token_bytes(SECRET_BYTES))
        os.fsync(fresh.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(fresh.name, path)
