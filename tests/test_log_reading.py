"""What the monitoring stage reads of the log, on SQLite and PostgreSQL: small windows whole, large ones enough."""

import time
from dataclasses import fields
from typing import Any

import pandas as pd
import pytest

from tests import watched
from workbench import monitoring, monitoring_reports
from workbench.log_reading import LOAD_TEST, LogReader
from workbench.monitoring import WEEK_S, Report, Rules
from workbench.query_log import QueryLog

N = 400


@pytest.fixture
def rows(url: str) -> pd.DataFrame:
    """Fill a log with three weeks, the third shifted, with what is nobody's, and with an audit."""
    weeks = [watched.week(1, N), watched.week(2, N), watched.week(3, 2 * N, **watched.SHIFTED)]
    written = pd.concat(weeks).assign(consent="audio")
    shadow = weeks[1].tail(60).assign(role="shadow", model_version="2")
    load = weeks[0].head(40).assign(request_id=lambda t: "x" + t["request_id"], app_version=LOAD_TEST, time_s=0.0)
    log = QueryLog(url)
    watched.fill(pd.concat([load, written, shadow]), log)
    said = weeks[2].sample(80, random_state=1)[["request_id", "reference"]]
    log.add_labels(said.assign(labeller="ada", kind="audit"))
    log.close()
    return written


def judged(url: str, **how: Any) -> Report:
    log = LogReader(url)
    asked = log.drawn(after_row=10, up_to_row=log.last_row() - 100, width_s=WEEK_S, **how)
    report = monitoring.watch(asked.rows, watched.basis(), labels=log.labelled(), rules=Rules(), start_s=asked.start_s)
    log.close()
    return monitoring_reports.counted(report, asked.counts)


def of_all_rows(url: str) -> Report:
    log = QueryLog(url)
    everything = log.read(after_row=10, up_to_row=log.last_row() - 100)
    report = monitoring.watch(everything, watched.basis(), labels=log.labels(), rules=Rules())
    log.close()
    return report


def test_windows_that_are_small_are_judged_as_the_whole_log_is(url: str, rows: pd.DataFrame) -> None:
    ours, whole = judged(url), of_all_rows(url)
    for table in (field.name for field in fields(Report) if field.name != "results"):
        found = getattr(ours, table)
        pd.testing.assert_frame_equal(found.drop(columns="n_judged", errors="ignore"), getattr(whole, table))
    assert monitoring_reports.conclude(ours) == monitoring_reports.conclude(whole)
    assert ours.windows["n_judged"].tolist() == ours.windows["n_queries"].tolist()


def test_a_large_window_is_counted_whole_judged_by_some_users_and_by_all_that_was_audited(
        url: str, rows: pd.DataFrame) -> None:
    ours, whole = judged(url, n_sampled=N), of_all_rows(url)
    assert ours.windows["n_queries"].tolist() == whole.windows["n_queries"].tolist()
    assert ours.days["n_queries"].tolist() == whole.days["n_queries"].tolist()
    assert ours.windows["n_judged"].tolist()[:2] == [N, N] and N / 2 < ours.windows["n_judged"].iloc[2] < 1.5 * N
    assert ours.last["n_audited"] == whole.last["n_audited"] > 70
    assert monitoring_reports.conclude(ours).outcome == monitoring_reports.conclude(whole).outcome == "no"


@pytest.mark.parametrize("n_sampled", [10 * N, N])
def test_a_query_of_a_clock_far_ahead_makes_no_window(url: str, rows: pd.DataFrame, n_sampled: int) -> None:
    before = judged(url, n_sampled=n_sampled)
    last = LogReader(url).last_row()
    ahead = rows.tail(1).assign(request_id="late", time_s=time.time() + 400 * 86_400)
    watched.fill(pd.concat([ahead, rows.head(100).assign(request_id=lambda t: "y" + t["request_id"], role="shadow")]),
                 QueryLog(url))
    assert LogReader(url).last_row() - 100 == last + 1
    after = judged(url, n_sampled=n_sampled)
    assert after.windows["window"].tolist() == [1, 2, 3] and len(before.windows) == 3
    assert after.last["n_queries"] == before.last["n_queries"] + 40  # what was not read before


def test_a_log_without_queries_of_people_is_read_as_an_empty_table(url: str) -> None:
    watched.fill(watched.week(1, 20).assign(role="shadow"), QueryLog(url))
    log = LogReader(url)
    asked = log.drawn(after_row=0, up_to_row=log.last_row(), width_s=WEEK_S)
    log.close()
    assert asked.rows.empty and asked.n_queries == 0 and not monitoring.is_of_people(asked.rows).any()
