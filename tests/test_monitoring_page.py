"""The page's pieces and its still: what it shows, what it must not, and what it says where there is little."""

import json
import re
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests import watched
from workbench import drift, model_registry, monitoring_figures, monitoring_page, timelines
from workbench.errors import ServiceError, StageError
from workbench.monitoring import DAY_S
from workbench.query_log import QueryLog
from workbench.watching import Scene, Watcher
from workbench.widgets import drifting
from workbench.widgets.monitoring import Monitoring

STAGES = ("01_scope", "06_deploy", "07_monitor")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Scene]:
    """Make a project whose third week has shifted, and look at it; nobody here changes it."""
    root = tmp_path_factory.mktemp("world")
    (root / "notebooks").mkdir()
    for stage in STAGES:
        (root / "notebooks" / f"{stage}.ipynb").write_text("{}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKBENCH_ROOT", str(root))
        watched.world(root)
        watcher = Watcher()
        scene = watcher.refresh()
        watcher.close()
    return root, scene


@pytest.fixture
def shifted(world: tuple[Path, Scene], monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setenv("WORKBENCH_ROOT", str(world[0]))
    return world[1]


def test_the_head_names_the_champion_the_day_and_who_answers_beside(shifted: Scene) -> None:
    head = monitoring_page.head(shifted)
    assert "champion voice-search v1, since" in head and "shadow v2" in head
    assert "window 3" in monitoring_page.last_query(shifted)


def test_features_have_a_state_in_each_window(shifted: Scene) -> None:
    table = monitoring_page.features(shifted).set_index("feature")
    assert set(table.index) == {feature.name for feature in drift.DEFAULT}
    assert table.at["snr_db", "windows"] == [(1, "quiet"), (2, "quiet"), (3, "moved")]
    assert table.at["snr_db", "state"][0] == "moved" and "→" in table.at["snr_db", "told"][0]
    assert table.at["duration_s", "state"] == ("quiet", 900, 0)


def test_with_too_few_users_no_feature_can_be_told_and_each_says_what_would_do(root: Path) -> None:
    watched.release(root, "first")
    model_registry.promote("1", by="ada")
    watched.fill(watched.week(1, 20))
    watcher = Watcher()
    states = monitoring_page.features(watcher.refresh())["state"]
    watcher.close()
    assert len(states) == len(drift.DEFAULT)
    assert all(word == "cannot tell" and n == 20 and needed > 20 for word, n, needed in states)


def test_a_still_shows_the_sentence_the_tiles_and_every_time_line(shifted: Scene) -> None:
    body = monitoring_page.twin("mine")
    assert 'data-state="act"' in body and "noisier places" in body
    assert body.count('class="wb-tile"') == 8
    figures = [json.loads(figure) for figure in re.findall(r'json">(.*?)</script>', body)]
    assert [figure["layout"]["title"]["text"] for figure in figures] == [
        line.title for line in monitoring_figures.TIME_LINES]
    assert "What moved" in body and "Alarms" in body


def test_a_still_holds_no_word_and_no_user_of_production(shifted: Scene) -> None:
    body = monitoring_page.twin("mine")
    report = shifted.report
    assert report is not None and len(report.terms) >= 3
    assert all(term not in body for term in report.terms["term"])
    assert all(name not in body for name in report.terms["nearest"] if name)
    assert all(name in body for name in report.terms.loc[report.terms["window"].eq(3), "request_id"])
    said = {words for words in shifted.rows["hypothesis"] if len(words.split()) > 2}
    assert not [words for words in said if words in body]
    assert not [user for user in shifted.rows["user_hash"].unique() if user in body]


def test_a_still_says_what_to_run_before_there_is_anything(root: Path) -> None:
    for stage in STAGES:
        (root / "notebooks" / f"{stage}.ipynb").write_text("{}")
    with pytest.raises(StageError, match="workbench run monitor --run mine"):
        monitoring_page.twin("mine")
    watched.world(root, 90)
    log = QueryLog()
    log.close()
    (root / "data" / "queries.db").unlink()
    with pytest.raises(ServiceError, match="workbench simulate"):
        monitoring_page.twin("mine")


def test_a_time_line_has_its_band_its_events_and_its_labelled_dots(shifted: Scene) -> None:
    over = timelines.over_time(shifted, step_s=DAY_S)
    span_s = shifted.reading.start_s, shifted.reading.last_s
    by_title = {line.title: monitoring_figures.time_line(over, line, span_s=span_s)
                for line in monitoring_figures.TIME_LINES}
    wer = by_title["Expected WER, and labelled (dots)"]
    assert [trace["mode"] for trace in wer["data"]] == ["lines", "markers"]
    assert wer["data"][1]["y"] == pytest.approx(timelines.audits(shifted.labelled)["audited_wer"].tolist())
    shapes = by_title["SNR, median"]["layout"]["shapes"]
    assert [shape["type"] for shape in shapes] == ["rect", "line"]
    assert (shapes[0]["y0"], shapes[0]["y1"]) == over.bands["snr_db"]
    assert len(by_title["Latency p50, p95, p99"]["data"]) == 3
    assert by_title["Failed and refused requests"]["layout"]["yaxis"]["range"] == [0.0, 0.01]
    assert len({tuple(figure["layout"]["xaxis"]["range"]) for figure in by_title.values()}) == 1
    assert json.loads(json.dumps(wer, allow_nan=False)) == wer


def test_a_time_line_of_what_has_no_end_is_json_that_a_browser_reads(shifted: Scene) -> None:
    over, gap = timelines.over_time(shifted, step_s=DAY_S), "ctc_gap"
    line = next(line for line in monitoring_figures.TIME_LINES if line.columns == (gap,))
    table = over.table.assign(**{gap: [np.inf, np.nan, *over.table[gap].iloc[2:]]})
    endless = replace(over, table=table, bands={**over.bands, gap: (0.1, np.inf)})
    drawn = monitoring_figures.time_line(endless, line, span_s=(shifted.reading.start_s, shifted.reading.last_s))
    assert json.loads(json.dumps(drawn, allow_nan=False)) == drawn
    assert drawn["data"][0]["y"][:3] == [None, None, over.table[gap].iloc[2]]
    assert [shape["type"] for shape in drawn["layout"]["shapes"]] == ["line"]


def test_what_cannot_be_told_says_how_many_queries_would_do() -> None:
    table = pd.DataFrame({"feature": ["snr_db", "duration_s", "has_unseen"], "is_alarm": [True, False, False],
                          "detectable": [0.4, 0.5, 0.03]})
    told = drift.states(table, 100)
    assert told["state"].tolist() == ["moved", "cannot tell", "quiet"]
    assert told["n_needed"].tolist() == [0, 400, 0]  # twice the planned 0.25 can be shown: four times the queries


@pytest.mark.parametrize("is_all", [False, True])
def test_a_feature_without_an_end_is_distributed_as_far_as_it_has_one(shifted: Scene, is_all: bool) -> None:
    gap = shifted.rows["ctc_gap"].where(shifted.rows.index % 50 > 0, np.inf)
    endless = replace(shifted, rows=shifted.rows.assign(ctc_gap=np.inf if is_all else gap))
    drawn = drifting.distribution(endless, "ctc_gap")
    assert [trace.name for trace in drawn.data] == ([] if is_all else ["reference", "now"])


def test_what_could_not_be_shown_is_shown_by_the_next_look(shifted: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(scene: Scene) -> None:
        raise StageError("it is away")

    with closing(Watcher()) as watcher:
        page = Monitoring(watcher)
        page._seen, page.shadows.rows.shown, page.alarms.now.shown = "what was before", [], []
        with monkeypatch.context() as patch:
            patch.setattr(page.alarms, "show", fail)
            page.look()
        assert "it is away" in page.trouble.value and not page.shadows.rows.shown
        page.look()
        assert not page.trouble.value and page.shadows.rows.shown and page.alarms.now.shown
