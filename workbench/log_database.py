"""Where the query log lies: its tables, and transactions on SQLite (WAL, every commit on the disk) or PostgreSQL.

On both there is one writer at a time, so that rows become visible in the order of their numbers, and nobody who is
being forgotten slips in between. What is read and written is `query_log`'s.
"""

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import sqlalchemy as sql
from sqlalchemy.exc import SQLAlchemyError

from workbench import settings, storage
from workbench.errors import QueryLogError

PATIENCE_S = 30  # how long a writer waits for another before it gives up
CONNECT_S = 5  # a database that takes longer to pick up is as good as away
SILENT_S = 10  # a machine that acknowledges nothing for so long is gone
NETWORK = {"connect_timeout": CONNECT_S, "tcp_user_timeout": 1000 * SILENT_S, "keepalives_idle": SILENT_S // 2,
           "keepalives_interval": 1, "keepalives_count": SILENT_S // 2}
"""Source: PostgreSQL's documentation, 34.1.2; without these Linux waits two hours for a silent machine."""
WRITERS_LOCK = 0x766F696365  # PostgreSQL's advisory locks are numbers: "voice" in ASCII
REGISTRY_LOCK = 0x6D6F64656C  # "model": who changes which model answers
NO_NUMBER = float("nan")
LOAD_TEST = "load-test"
"""The app_version that deploy's own queries carry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedQuery:
    """One query as it was answered (`error` is "") or refused (`error` is the kind); what was not measured is NaN.

    `time_s` is UTC, `role` champion, canary or shadow, `consent` "audio" or ""; `latency_ms` ends before the commit;
    `biased_from` is what the decoder wrote where the biasing list changed it.
    """

    request_id: str
    time_s: float
    user_hash: str = ""
    app_version: str = ""
    device: str = ""
    model_version: str = ""
    role: str = "champion"
    hypothesis: str = ""
    heard_letters: str = ""
    ctc_gap: float = NO_NUMBER
    avg_logprob: float = NO_NUMBER
    no_speech_prob: float = NO_NUMBER
    compression_ratio: float = NO_NUMBER
    duration_s: float = NO_NUMBER
    level_dbfs: float = NO_NUMBER
    snr_db: float = NO_NUMBER
    bandwidth_hz: float = NO_NUMBER
    queue_ms: float = NO_NUMBER
    decode_ms: float = NO_NUMBER
    latency_ms: float = NO_NUMBER
    consent: str = ""
    audio_sha: str = ""
    error: str = ""
    biased_from: str = ""


_metadata = sql.MetaData()
queries = sql.Table(
    "queries", _metadata,
    sql.Column("row_id", sql.BigInteger().with_variant(sql.Integer, "sqlite"), primary_key=True),
    *(sql.Column(f.name, sql.Text if f.type is str else sql.Double, nullable=f.type is not str)
      for f in fields(LoggedQuery)),
    sql.UniqueConstraint("request_id", "role"),
    # By time and request only: an index on users or words would keep copies of them in its free space.
    sql.Index("queries_by_time", "time_s"),
    sqlite_autoincrement=True,  # a number is never given twice
)
labels = sql.Table(
    "labels", _metadata,
    sql.Column("request_id", sql.Text, primary_key=True),
    *(sql.Column(name, sql.Text, nullable=False) for name in ("reference", "labeller", "kind")),
)
marks = sql.Table(
    "marks", _metadata,
    sql.Column("mark_id", sql.BigInteger().with_variant(sql.Integer, "sqlite"), primary_key=True),
    sql.Column("time_s", sql.Double, nullable=False),
    *(sql.Column(name, sql.Text, nullable=False)
      for name in ("kind", "utterance_id", "audio_sha", "value", "by", "run", "drawn")),
    sqlite_autoincrement=True,
)
forgotten = sql.Table("forgotten", _metadata, sql.Column("mark", sql.Text, primary_key=True))
secrets_used = sql.Table("secrets_used", _metadata, sql.Column("mark", sql.Text, primary_key=True))
checks = sql.Table("checks", _metadata, sql.Column("n_checks", sql.BigInteger, nullable=False))


def address(url: str = "") -> str:
    """Give the URL of the project's log: the one named, or WORKBENCH_QUERY_LOG_URL, or that of `data/queries.db`."""
    return url or settings.Settings().query_log_url or f"sqlite:///{storage.data_folder() / 'queries.db'}"


class Database:
    """The database at a URL; it connects, and makes the tables, when first used."""

    def __init__(self, url: str) -> None:
        """Point at a database. Raises: QueryLogError for a URL that is neither SQLite's nor PostgreSQL's."""
        self._url = _usable(url)
        self._file = Path(self._url.database or "").absolute() if self._url.get_backend_name() == "sqlite" else None
        patience: dict[str, Any] = {"timeout": PATIENCE_S} if self._file else NETWORK
        try:
            self._engine = sql.create_engine(self._url, pool_pre_ping=not self._file, connect_args=patience)
        except ModuleNotFoundError as error:
            raise QueryLogError(f"a PostgreSQL log needs psycopg ({error}); pip install -e '.[postgres]'") from error
        if self._file:
            sql.event.listen(self._engine, "connect", _set_up_sqlite)
        sql.event.listen(self._engine, "begin", _begin)
        self._inode = 0

    @property
    def name(self) -> str:
        """The URL without its password, for messages."""
        return self._url.render_as_string(hide_password=True)

    @property
    def is_there(self) -> bool:
        """Whether it may hold anything: a file that nobody has written yet holds nothing, and need not be made."""
        return self._file is None or self._file.is_file()

    @contextmanager
    def reading(self) -> Iterator[sql.Connection]:
        """Give a transaction that sees one state of the log. Raises: QueryLogError when the log does not answer."""
        with self._explaining():
            self._find()
            with self._engine.begin() as connection:
                yield connection

    @contextmanager
    def writing(self) -> Iterator[sql.Connection]:
        """Give the only writing transaction there is; when the block has ended it is on the disk, or undone.

        Raises: QueryLogError when the log cannot be written.
        """
        with self._explaining():
            self._find()
            with self._engine.execution_options(is_writing=True).begin() as connection:
                yield connection

    @contextmanager
    def alone(self, number: int) -> Iterator[None]:
        """Hold what one process of a team may do at a time; it is let go of when the block, or its process, ends.

        SQLite is one machine's, which has its own locks. Raises: QueryLogError when another holds it for too long.
        """
        with contextlib.ExitStack() as held:
            if not self._file:
                with self._explaining():
                    connection = held.enter_context(self._engine.execution_options(is_plain=True).begin())
                    connection.exec_driver_sql(f"SELECT set_config('lock_timeout', '{PATIENCE_S}s', true),"
                                               f" pg_advisory_xact_lock({number})")
            yield

    def erase_traces(self) -> None:
        """Make the database's files let go of the bytes of what was updated or deleted.

        PostgreSQL's own write-ahead log and backups keep them for as long as its administrator says.
        Raises: QueryLogError when a reader is in the way.
        Source: secure_delete zeroes them in SQLite's main file; a truncating checkpoint empties the log beside it.
        """
        with self._explaining():
            self._find()
            mode = {} if self._file else {"isolation_level": "AUTOCOMMIT"}
            with self._engine.execution_options(is_plain=True, **mode).connect() as connection:
                if not self._file:
                    connection.exec_driver_sql("VACUUM queries, labels, marks")
                elif connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").scalar_one():
                    raise QueryLogError(f"somebody reads {self.name} all the time, so that what was forgotten is still "
                                        "in its write-ahead log; end the reader and run the same command")

    def close(self) -> None:
        """Let go of all connections."""
        self._engine.dispose()

    def _find(self) -> None:
        """Make the database at first use; later, make sure that it is still the one that we have open."""
        if self._inode and self._file and _inode(self._file) != self._inode:
            raise QueryLogError(f"the query log {self._file} was moved or replaced while in use; what is written now "
                                "would be lost: put it back, or start the server again")
        if not self._inode:
            if self._file:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                self._file.touch(mode=0o600)  # it holds what people said; SQLite's other files follow it
            with self._engine.execution_options(is_writing=True).begin() as connection:
                _metadata.create_all(connection)
                _add_missing(connection)
            self._inode = _inode(self._file) if self._file else 1

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, OSError) as error:
            reason = " ".join(str(getattr(error, "orig", None) or error).split())[:300]
            raise QueryLogError(f"the query log {self.name} does not work ({reason}); mend the database, free disk "
                                "space, or set WORKBENCH_QUERY_LOG_URL") from error


def _usable(url: str) -> sql.URL:
    try:
        parsed = sql.make_url(url)
    except SQLAlchemyError as error:
        raise QueryLogError("the query log's URL cannot be understood; write sqlite:////folder/queries.db or "
                            "postgresql://user:password@host/database") from error
    kind = parsed.drivername.partition("+")[0]
    if kind in ("postgres", "postgresql"):
        return parsed.set(drivername="postgresql+psycopg")
    if kind == "sqlite" and parsed.database not in (None, "", ":memory:"):
        return parsed
    raise QueryLogError(f"the query log's URL begins with {kind}; it must be postgresql:// or sqlite:///FILE")


def clean(words: str) -> str:
    """Leave out what no database takes in a text: NUL (PostgreSQL), and halves of surrogate pairs (both)."""
    return words.replace("\0", "").encode("utf-8", "replace").decode()


def _add_missing(connection: sql.Connection) -> None:
    """Give the queries of an older release the columns that came later; its server can write on beside us."""
    there = {column["name"] for column in sql.inspect(connection).get_columns(queries.name)}
    for column in queries.columns:
        if column.name not in there:
            kind = column.type.compile(connection.dialect) + ("" if column.nullable else " DEFAULT '' NOT NULL")
            connection.exec_driver_sql(f"ALTER TABLE {queries.name} ADD COLUMN {column.name} {kind}")


def _inode(file: Path) -> int:
    return file.stat().st_ino if file.exists() else 0


def _set_up_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None  # we begin transactions ourselves: Python's way would begin them too late
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: sql.Connection) -> None:
    options = connection.get_execution_options()
    if options.get("is_plain"):
        return  # neither VACUUM nor a checkpoint may be part of a transaction
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("is_writing") else "BEGIN")
    elif options.get("is_writing"):
        connection.exec_driver_sql(
            f"SELECT set_config('synchronous_commit', 'on', true), set_config('lock_timeout', '{PATIENCE_S}s', true),"
            f" pg_advisory_xact_lock({WRITERS_LOCK})")
    else:
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
