"""The query log, on SQLite and on a PostgreSQL server that the tests start themselves."""

import errno
import math
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sql

from tests.postgresql import Server
from workbench import query_log
from workbench.errors import QueryLogError, SettingsError
from workbench.log_database import Database, queries
from workbench.query_log import LoggedQuery, QueryLog

GROUP = 40
WRITER = f"""
import sys
from workbench.query_log import LoggedQuery, QueryLog
log, name = QueryLog(sys.argv[1]), sys.argv[2]
for group in range(100_000):
    log.append([LoggedQuery(request_id=f"{{name}}-{{group}}-{{i}}", time_s=group, hypothesis="play some jazz " * 20,
                            model_version="7", duration_s=2.5) for i in range({GROUP})])
    print(group, flush=True)
"""


@pytest.fixture
def log(url: str) -> Iterator[QueryLog]:
    made = QueryLog(url)
    yield made
    made.close()


def query(number: int | str = 0, **fields: object) -> LoggedQuery:
    return LoggedQuery(**{"request_id": f"r{number}", "time_s": 0.0, **fields})  # type: ignore[arg-type]


def waited_for(condition: Callable[[], bool], patience_s: float = 60) -> bool:
    ends_s = time.monotonic() + patience_s
    while not condition() and time.monotonic() < ends_s:
        time.sleep(0.005)
    return condition()


# --- rows ------------------------------------------------------------------------------------------------------------


def test_rows_come_back_as_they_were(log: QueryLog) -> None:
    full = query(1, time_s=1.75e9 + 0.123, user_hash="u", hypothesis="café ☕ 'quoted'", ctc_gap=-0.25, consent="audio",
                 audio_sha="ab", latency_ms=12.5, error="", role="canary")
    log.append([full, query(2, hypothesis="nul\0 and half a pair \ud800", level_dbfs=-math.inf)])
    first, second = log.read().to_dict("records")
    assert {name: first[name] for name in ("request_id", "time_s", "hypothesis", "ctc_gap", "audio_sha", "role")} == {
        "request_id": "r1", "time_s": full.time_s, "hypothesis": full.hypothesis, "ctc_gap": -0.25, "audio_sha": "ab",
        "role": "canary"}
    assert first["row_id"] == 1 and math.isnan(first["snr_db"])
    assert second["hypothesis"] == "nul and half a pair ?" and second["level_dbfs"] == -math.inf


def test_an_empty_log_reads_as_a_table_with_all_columns(log: QueryLog) -> None:
    assert log.read().empty and list(log.read().columns) == list(query_log.COLUMNS) and log.last_row() == 0
    assert log.labels().empty and log.read()["snr_db"].dtype == "float64" and log.check() == ""


def test_reading_takes_rows_after_one_up_to_another_and_times_before_another(log: QueryLog) -> None:
    log.append([query(i, time_s=float(i)) for i in range(1, 11)])
    assert log.read(after_row=3, up_to_row=6)["row_id"].tolist() == [4, 5, 6]
    assert log.read(since_s=3.0, until_s=5.0)["time_s"].tolist() == [3.0, 4.0]
    assert list(log.read(columns=["device"]).columns) == ["row_id", "device"] and log.last_row() == 10
    with pytest.raises(ValueError, match="no column.*words.*it has row_id"):
        log.read(columns=["words"])


def test_a_log_of_an_older_release_gets_the_columns_that_came_later_and_its_server_writes_on(url: str) -> None:
    older = Database(url)
    with older.writing() as connection:
        connection.exec_driver_sql("ALTER TABLE queries DROP COLUMN biased_from")
        texts = [c.name for c in queries.columns if not c.nullable and c.name not in ("row_id", "biased_from")]
        old_row = dict.fromkeys(texts, "") | {"request_id": "old", "time_s": 1.0}
        insert = sql.text(f"INSERT INTO queries ({', '.join(old_row)}) VALUES (:{', :'.join(old_row)})")
        connection.execute(insert, old_row)
    newer = QueryLog(url)
    newer.append([query(1, hypothesis="play hozier", biased_from="play oasis")])
    with older.writing() as connection:  # the older server does not know of the column
        connection.execute(insert, old_row | {"request_id": "late"})
    assert newer.read().set_index("request_id")["biased_from"].to_dict() == {"old": "", "r1": "play oasis", "late": ""}
    older.close()
    newer.close()


def test_a_group_is_written_whole_or_not_at_all(log: QueryLog) -> None:
    log.append([query(1)])
    with pytest.raises(QueryLogError, match="does not work"):
        log.append([query(2), query(1), query(3)])
    log.append([query(1, role="shadow")])
    assert log.read()["request_id"].tolist() == ["r1", "r1"]


def test_sound_without_consent_is_a_mistake(log: QueryLog) -> None:
    with pytest.raises(ValueError, match="r1 names a sound without consent"):
        log.append([query(1, audio_sha="ab")])


def test_thousands_of_rows_are_one_quick_transaction(log: QueryLog) -> None:
    log.check()
    started_s = time.monotonic()
    log.append([query(i) for i in range(10_000)])
    assert time.monotonic() - started_s < 20  # some 10,000 rows a second on an idle core; one by one it is minutes
    assert log.last_row() == 10_000


def test_many_writers_lose_nothing_and_what_was_read_up_to_a_row_stays_so(url: str, log: QueryLog) -> None:
    def write(name: str) -> None:
        own = QueryLog(url)
        for group in range(20):
            own.append([query(f"{name}-{group}-{i}") for i in range(5)])
        own.close()

    log.check()
    writers = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for writer in writers:
        writer.start()
    seen = {}
    while any(writer.is_alive() for writer in writers):
        last = log.last_row()
        seen[last] = log.read(up_to_row=last, columns=[])["row_id"].tolist()
    assert len(log.read()) == 4 * 20 * 5 and len(seen) > 1
    assert all(log.read(up_to_row=row, columns=[])["row_id"].tolist() == rows for row, rows in seen.items())


def test_a_kill_in_the_middle_loses_no_acknowledged_row_and_leaves_no_half_group(url: str, tmp_path: Path) -> None:
    for attempt in range(3):
        printed = tmp_path / f"acknowledged-{attempt}"
        with printed.open("w") as file:
            writer = subprocess.Popen([sys.executable, "-c", WRITER, url, str(attempt)], stdout=file)
        assert waited_for(lambda: printed.read_text().count("\n") >= 5)  # noqa: B023
        time.sleep(0.007 * attempt)  # another moment of the transaction each time
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    rows = QueryLog(url).read()
    name, group = (rows["request_id"].str.split("-").str[part].astype(int) for part in (0, 1))
    sizes = rows.groupby([name.rename("name"), group.rename("group")]).size()
    assert (sizes == GROUP).all()
    for attempt in range(3):
        acknowledged = [int(line) for line in (tmp_path / f"acknowledged-{attempt}").read_text().splitlines()]
        assert set(acknowledged) <= set(sizes[attempt].index) and len(acknowledged) >= 5
    assert rows["hypothesis"].eq("play some jazz " * 20).all() and rows["duration_s"].eq(2.5).all()


# --- databases that fail ---------------------------------------------------------------------------------------------


def test_a_crash_of_postgresql_is_reported_and_then_got_over(postgres: Server) -> None:
    log = QueryLog(postgres.new_log())
    log.append([query(i) for i in range(50)])
    postgres.crash()
    try:
        assert "does not work" in log.check() and "postgres" in log.check()
        with pytest.raises(QueryLogError):
            log.append([query("refused")])
    finally:
        postgres.start()
    assert log.check() == ""
    log.append([query("after")])
    assert log.read()["request_id"].tolist() == [*(f"r{i}" for i in range(50)), "rafter"]
    log.close()


def test_an_unreachable_database_says_so_without_its_password() -> None:
    log = QueryLog("postgres://somebody:secret@127.0.0.1:9/queries")
    assert "somebody:***@127.0.0.1:9" in log.check() and "secret" not in log.check()
    with pytest.raises(QueryLogError, match="set WORKBENCH_QUERY_LOG_URL"):
        log.append([query()])


@pytest.mark.parametrize("url", ["mysql://host/queries", "sqlite://", "sqlite:///:memory:", "queries.db"])
def test_a_url_that_cannot_be_used_says_what_can(url: str) -> None:
    with pytest.raises(QueryLogError, match="sqlite:///.*postgresql://|postgresql://.*sqlite:///"):
        QueryLog(url)


def test_a_full_disk_refuses_rows_and_keeps_those_acknowledged(root: Path) -> None:
    log = QueryLog()
    log.append([query(i) for i in range(100)])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))  # a file that cannot grow, as on a full disk
    try:
        with pytest.raises(QueryLogError, match="free disk space"):
            log.append([query(f"big{i}", hypothesis="x" * 1000) for i in range(1000)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    log.append([query("after")])
    assert log.read()["request_id"].tolist() == [*(f"r{i}" for i in range(100)), "rafter"]


def test_a_log_that_was_moved_away_takes_no_rows_that_would_be_lost(root: Path) -> None:
    log = QueryLog()
    log.append([query(1)])
    (root / "data" / "queries.db").rename(root / "data" / "old.db")
    assert "moved or replaced" in log.check()
    with pytest.raises(QueryLogError, match="put it back"):
        log.append([query(2)])


def test_a_damaged_file_is_named(root: Path) -> None:
    (root / "data").mkdir()
    (root / "data" / "queries.db").write_bytes(b"no database " * 1000)
    assert "queries.db does not work (file is not a database)" in QueryLog().check()


def test_a_folder_that_cannot_be_made_is_named(root: Path) -> None:
    (root / "data").write_text("a file where the folder should be")
    assert str(root / "data") in QueryLog().check()


def test_sqlite_waits_for_the_disk_and_hides_the_file_from_others(root: Path) -> None:
    database = Database(f"sqlite:///{root}/data/queries.db")
    with database.writing() as connection:
        pragmas = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")]
    assert pragmas == ["wal", 2]
    assert {path.stat().st_mode & 0o777 for path in (root / "data").glob("queries.db*")} == {0o600}
    database.close()


# --- labels ----------------------------------------------------------------------------------------------------------


def labels(**references: str) -> pd.DataFrame:
    return pd.DataFrame([{"request_id": name, "reference": said, "labeller": "ann", "kind": "audit"}
                         for name, said in references.items()])


def test_a_later_label_replaces_and_only_consented_queries_take_one(log: QueryLog) -> None:
    log.append([query(1, consent="audio"), query(2, consent="audio"), query(3)])
    assert log.add_labels(labels(r1="jaz", r2="weather", r3="secret", nobody="x")) == 2
    assert log.add_labels(labels(r1="jazz")) == 1
    assert log.labels().set_index("request_id")["reference"].to_dict() == {"r1": "jazz", "r2": "weather"}


def test_what_an_audit_drew_stays_of_the_audit_when_it_is_chosen_again(log: QueryLog) -> None:
    log.append([query(number, consent="audio") for number in (1, 2)])
    log.add_labels(labels(r1="jaz", r2="jazz").assign(kind=["audit", "chosen"]))
    log.add_labels(labels(r1="jazz", r2="jazz").assign(kind=["chosen", "audit"]))
    assert log.labels()[["reference", "kind"]].to_numpy().tolist() == [["jazz", "audit"]] * 2


# --- consent ---------------------------------------------------------------------------------------------------------


def test_forgetting_leaves_measurements_and_no_trace_of_who_said_what(log: QueryLog) -> None:
    given = {"consent": "audio", "hypothesis": "play jazz", "heard_letters": "pley", "biased_from": "play blur",
             "device": "phone", "snr_db": 20.0}
    log.append([query(1, user_hash="ann", audio_sha="aa", **given), query(2, user_hash="ann", audio_sha="bb", **given),
                query(3, user_hash="bob", audio_sha="bb", **given)])
    log.add_labels(labels(r1="play jazz", r3="play jazz"))
    gone = log.forget("ann")
    assert gone == query_log.Forgotten(2, ("aa",), ("r1", "r2"))  # bob sent the same recording as r2, and keeps it
    rows = log.read().set_index("request_id")
    words = ["user_hash", "hypothesis", "heard_letters", "biased_from", "audio_sha", "consent"]
    assert rows.loc[["r1", "r2"], words].eq("").all(None)
    assert rows.loc["r1", "device"] == "phone" and rows.loc["r1", "snr_db"] == 20
    assert rows.loc["r3", "hypothesis"] == "play jazz" and log.labels()["request_id"].tolist() == ["r3"]
    assert log.is_forgotten("ann") and not log.is_forgotten("bob")
    log.append([query(4, user_hash="ann", audio_sha="cc", **given)])
    assert log.read(after_row=3)[["user_hash", "hypothesis", "audio_sha"]].eq("").all(None)
    assert log.add_labels(labels(r4="play jazz", r1="play jazz")) == 0
    assert log.forget("ann") == query_log.Forgotten(0, (), ())
    with pytest.raises(QueryLogError, match="no user is named"):
        log.forget("")


def test_nobody_slips_in_while_being_forgotten(url: str, log: QueryLog) -> None:
    stop = threading.Event()

    def write(name: str) -> None:
        own = QueryLog(url)
        for number in range(100_000):
            if stop.is_set():
                break
            own.append([query(f"{name}{number}-{i}", user_hash="ann", hypothesis="play jazz") for i in range(3)])
        own.close()

    log.check()
    writers = [threading.Thread(target=write, args=(name,)) for name in "ab"]
    for writer in writers:
        writer.start()
    assert waited_for(lambda: log.last_row() > 30)
    log.forget("ann")
    log.erase_traces()  # while others write
    rows_then = log.last_row()
    assert waited_for(lambda: log.last_row() > rows_then + 10)
    stop.set()
    for writer in writers:
        writer.join()
    assert log.read()[["user_hash", "hypothesis"]].eq("").all(None)


def test_words_without_consent_and_old_sounds_go(log: QueryLog) -> None:
    log.append([query(1, time_s=10.0, hypothesis="a", biased_from="z"), query(2, time_s=30.0, hypothesis="b"),
                query(3, time_s=10.0, hypothesis="c", consent="audio", audio_sha="aa"),
                query(4, time_s=10.0, hypothesis="d", consent="audio", audio_sha="bb"),
                query(5, time_s=30.0, hypothesis="e", consent="audio", audio_sha="bb")])
    assert log.drop_words(20.0) == 1 and log.drop_words(20.0) == 0
    assert log.expired_audio(20.0) == ("aa",) and log.audio_shas() == {"bb"}
    rows = log.read()
    assert rows["hypothesis"].tolist() == ["", "b", "c", "d", "e"] and rows["biased_from"].eq("").all()
    assert rows["audio_sha"].tolist() == ["", "", "", "", "bb"]


# --- users -----------------------------------------------------------------------------------------------------------


def test_a_user_has_the_same_hash_here_and_another_one_elsewhere(root: Path) -> None:
    here = query_log.user_hash("ann")
    assert here == query_log.user_hash("ann") != query_log.user_hash("bob") and len(here) == 16
    assert query_log.user_hash("") == ""
    secret = root / "data" / "secret.key"
    assert secret.stat().st_mode & 0o777 == 0o600 and [path.name for path in secret.parent.iterdir()] == ["secret.key"]
    secret.unlink()
    assert query_log.user_hash("ann") != here


def test_processes_that_begin_together_make_one_secret(root: Path) -> None:
    code = "from workbench import query_log; print(query_log.user_hash('ann'))"
    started = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert len({process.communicate()[0] for process in started}) == 1


def test_a_lost_secret_is_not_made_anew_where_users_have_names(
        url: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_QUERY_LOG_URL", url)
    log, secret = QueryLog(url), root / "data" / "secret.key"
    log.append([query(1)])
    assert not log.has_names(), "nobody has said who they are"
    log.append([query(2, user_hash=query_log.user_hash("ann"))])
    secret.rename(secret.with_name("old.key"))
    for again in (log.check_secret, lambda: query_log.user_hash("ann")):
        with pytest.raises(SettingsError, match="secret.key is missing, .* bring the old file back"):
            again()
    assert not secret.exists()
    secret.with_name("old.key").rename(secret)
    log.check_secret()
    secret.write_bytes(b"1" * 32)
    with pytest.raises(SettingsError, match="secret.key is not the one .* bring the old file back"):
        log.check_secret()
    log.close()


def test_a_full_disk_leaves_neither_half_a_secret_nor_an_open_file(
        root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    n_open = len(list(Path("/proc/self/fd").iterdir()))
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", fail)
        with pytest.raises(SettingsError, match="the disk is full: .*secret.key"):
            query_log.user_hash("ann")
    assert not list((root / "data").iterdir()) and len(list(Path("/proc/self/fd").iterdir())) == n_open
    assert query_log.user_hash("ann")


def test_a_cut_off_secret_is_not_replaced_silently(root: Path) -> None:
    (root / "data").mkdir()
    (root / "data" / "secret.key").write_bytes(b"short")
    with pytest.raises(SettingsError, match="bring the old file back"):
        query_log.user_hash("ann")
