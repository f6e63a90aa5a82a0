"""The running log read on, on SQLite and PostgreSQL: counts are whole, rows are some users', nothing is read twice."""

import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests import watched
from workbench import model_registry, storage
from workbench.live_log import LiveLog
from workbench.log_reading import ALL, LOAD_TEST, LogReader
from workbench.query_log import QueryLog
from workbench.watching import Watcher

WEEK_S = 604_800.0


@pytest.fixture
def written(url: str) -> pd.DataFrame:
    """Fill a log with a week of people, and with what is nobody's."""
    rows = watched.week(1, 600)
    rows.loc[rows.index[:30], "error"] = "model_error"
    rows.loc[rows.index[:30], "latency_ms"] = np.nan
    rows.loc[rows.index[30:50], "compression_ratio"] = 0.0
    shadow = rows.tail(60).assign(role="shadow", model_version="2")
    load = rows.tail(40).assign(request_id=lambda t: "x" + t["request_id"], app_version=LOAD_TEST)
    watched.fill(pd.concat([rows, shadow, load]), QueryLog(url))
    return rows


def test_counts_add_up_to_what_people_asked(url: str, written: pd.DataFrame) -> None:
    reader = LogReader(url)
    counts = reader.counts(0, reader.last_row())
    assert counts["n"].sum() == len(written)
    assert counts.loc[counts["error"].eq("model_error"), "n"].sum() == 30
    assert counts.loc[counts["is_empty"].eq(1), "n"].sum() == 20
    by_hour = counts.groupby("hour")["n"].sum()
    assert by_hour.to_dict() == (written["time_s"] // 3600).astype(int).value_counts().sort_index().to_dict()
    latencies = np.repeat(counts["latency_ms"], counts["n"])
    assert sorted(latencies[latencies >= 0]) == sorted(np.floor(written["latency_ms"].dropna()))
    reader.close()


def test_some_users_are_read_whole_or_not_at_all(url: str, written: pd.DataFrame) -> None:
    reader = LogReader(url)
    some, more = (reader.rows(up_to_row=reader.last_row(), n_of_all=n) for n in (ALL // 4, ALL // 2))
    assert 0 < some["user_hash"].nunique() < more["user_hash"].nunique() < written["user_hash"].nunique()
    assert set(some["user_hash"]) <= set(more["user_hash"])
    whole = written[written["user_hash"].isin(set(some["user_hash"]))]
    assert set(some["request_id"]) == set(whole["request_id"])
    reader.close()


def test_a_log_that_grows_is_read_on_to_the_same_as_a_log_read_at_once(url: str) -> None:
    live, weeks = LiveLog(url, n_sampled=150), [watched.week(number, 500) for number in (1, 2)]
    for rows in (weeks[0].head(100), weeks[0].tail(400), weeks[1]):
        watched.fill(rows, QueryLog(url))
        assert live.refresh()
    assert not live.refresh()
    at_once = LiveLog(url, n_sampled=150)
    at_once.refresh()
    keys = ["hour", "model_version", "error", "is_empty", "latency_ms"]
    ours, theirs = (log.reading.counts.sort_values(keys, ignore_index=True) for log in (live, at_once))
    pd.testing.assert_frame_equal(ours, theirs)
    assert set(live.reading.rows["row_id"]) == set(at_once.reading.rows["row_id"])
    assert live.reading.shares.to_dict() == at_once.reading.shares.to_dict() == {1: 0.25, 2: 0.25}
    assert 0 < len(live.reading.rows) < 1_000
    for log in (live, at_once):
        log.close()


def test_only_the_latest_windows_keep_rows_and_all_are_counted(url: str) -> None:
    watched.fill(pd.concat([watched.week(number, 40) for number in range(1, 12)]), QueryLog(url))
    live = LiveLog(url)
    live.refresh()
    assert sorted(live.reading.rows["window"].unique()) == list(range(4, 12))
    assert live.reading.counts["n"].sum() == 440
    live.close()


@pytest.mark.parametrize("n_before", [0, 300])
def test_a_clock_far_ahead_makes_no_window_and_is_counted(url: str, n_before: int) -> None:
    rows, live = watched.week(1, 400), LiveLog(url)
    ahead = rows.tail(3).assign(request_id=["x", "y", "z"], time_s=time.time() + np.array([30.0, 300.0, 3e9]) * 86_400)
    for part in (rows.head(n_before), pd.concat([rows.iloc[n_before:], ahead])):
        if len(part):
            watched.fill(part, QueryLog(url))
            live.refresh()
    assert set(live.reading.rows["request_id"]) == set(rows["request_id"])
    assert live.reading.last_s == rows["time_s"].max() and live.reading.counts["n"].sum() == 403
    live.close()


def test_weeks_that_all_lie_ahead_are_simulated_and_shown(url: str) -> None:
    rows, live = watched.week(1, 40), LiveLog(url)
    watched.fill(rows.assign(time_s=rows["time_s"] + 4e9), QueryLog(url))
    live.refresh()
    assert len(live.reading.rows) == 40 and live.reading.last_s == rows["time_s"].max() + 4e9
    live.close()


def test_counts_are_kept_and_read_on_from_there(url: str, written: pd.DataFrame,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workbench.live_log.KEEP_EVERY", 100)
    first = LiveLog(url)
    first.refresh()
    kept = next(storage.cache_folder("monitoring").glob("*.parquet"))
    table = pd.read_parquet(kept)
    storage.write_table(kept, table.assign(n=table["n"] * 2))  # so that it shows where they come from
    second = LiveLog(url)
    second.refresh()
    assert second.reading.counts["n"].sum() == 2 * len(written)
    watched.fill(watched.week(2, 50), QueryLog(url))
    second.refresh()
    assert second.reading.counts["n"].sum() == 2 * len(written) + 50
    for log in (first, second):
        log.close()


def test_what_is_kept_holds_neither_words_nor_users(url: str, written: pd.DataFrame,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workbench.live_log.KEEP_EVERY", 100)
    live = LiveLog(url)
    live.refresh()
    kept = next(storage.cache_folder("monitoring").glob("*.parquet"))
    assert set(pd.read_parquet(kept)) == {"hour", "model_version", "error", "is_empty", "latency_ms", "n", "up_to_row"}
    live.close()


def test_the_scene_is_the_same_on_either_database(url: str, root: Path) -> None:
    watched.release(root, "first")
    model_registry.promote("1", by="ada")
    watched.fill(watched.week(1, 900), QueryLog(url))
    watcher = Watcher(url)
    scene = watcher.refresh()
    watcher.marks.add("name", "lizzo", by="Ada")
    assert scene.reading.counts["n"].sum() == len(scene.rows) == 900 and scene.version == "1"
    assert scene.report is not None and scene.report.last["outcome"] == "quiet"
    assert watcher.refresh().marks["by"].tolist() == ["Ada"]
    watcher.close()


def test_an_empty_log_and_one_that_is_not_there_are_no_trouble(root: Path) -> None:
    live = LiveLog()
    assert not live.refresh() and live.reading.rows.empty
    assert not (root / "data" / "queries.db").exists()
    live.close()


def test_consent_and_labels_and_pairs_are_told(url: str) -> None:
    rows = watched.week(1, 90)
    rows.loc[rows.index[:30], ["consent", "audio_sha"]] = ["audio", "ab" * 32]
    shadow = rows.head(20).assign(role="shadow", model_version="2", hypothesis="play blur")
    log = QueryLog(url)
    watched.fill(pd.concat([rows, shadow]), log)
    log.add_labels(rows.head(5)[["request_id", "reference"]].assign(labeller="ada", kind="audit"))
    reader = LogReader(url)
    n_given, n_all = rows.head(30)["user_hash"].nunique(), rows["user_hash"].nunique()
    assert reader.consented(0.0) == {"n_clips": 1, "n_users": n_given, "n_all": n_all}
    labelled = reader.labelled()
    assert set(labelled["request_id"]) == set(rows.head(5)["request_id"]) and labelled["kind"].eq("audit").all()
    pairs = reader.pairs(10)
    assert len(pairs) == 10 and pairs["model_version"].eq("1").all()
    assert pairs["shadow_hypothesis"].eq("play blur").all()
    assert len(labelled) == 5 and reader.n_forgotten() == 0
    reader.close()
    log.close()
