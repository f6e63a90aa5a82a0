"""What holds now and what was: states and their sentences, what became of alarms, tiles; on a log that goes on."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests import watched
from workbench import catalogue, gates, model_registry, monitoring, standing, timelines, watching
from workbench.cards import Tile
from workbench.errors import ServiceError
from workbench.expected_wer import Calibration
from workbench.monitoring import DAY_S, Rules
from workbench.query_log import QueryLog
from workbench.watching import Scene, Watcher

NAMES = {name for group in catalogue.NEW_ENTITIES.values() for name in group}


@pytest.fixture
def watcher(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watcher]:
    """Give a watcher of a project with a champion, whose log is still empty."""
    monkeypatch.setattr(watching, "promised", lambda run: (Rules(), sorted(NAMES)))
    watched.release(root, "first")
    model_registry.promote("1", by="ada")
    made = Watcher()
    yield made
    made.close()


def states(scene: Scene) -> dict[str, set[str]]:
    listed = standing.alarms(scene)
    return {rule: set(part["state"]) for rule, part in listed.groupby("rule")}


def test_before_anybody_asks_it_says_what_to_run(watcher: Watcher) -> None:
    with pytest.raises(ServiceError, match="workbench simulate"):
        watcher.refresh()


def test_a_quiet_week_is_quiet_and_a_few_queries_are_too_few_to_tell(watcher: Watcher) -> None:
    rows = watched.week(1)
    watched.fill(rows.head(60))
    early = standing.stand(watcher.refresh())
    assert early.state == "watch" and "too early to tell" in early.sentence and "60 queries" in early.sentence
    watched.fill(rows.tail(len(rows) - 60))
    scene = watcher.refresh()
    assert standing.stand(scene).state == "quiet" and "no rule broken" in standing.stand(scene).rule
    assert len(scene.rows) == len(rows) and standing.alarms(scene).empty


def test_users_are_counted_alike_in_windows_of_which_unlike_shares_were_drawn(watcher: Watcher) -> None:
    first = watched.week(1)
    rows = pd.concat([first.assign(user_hash=first["user_hash"].str[::-1]), watched.week(2)])  # other people each week
    watched.fill(rows)
    scene = watcher.refresh()
    is_drawn = scene.rows["window"].eq(2) | scene.rows["block"].str[:4].lt("8000")
    unlike = replace(scene, rows=scene.rows[is_drawn],
                     reading=replace(scene.reading, shares=pd.Series({1: 0.5, 2: 1.0})))
    told = [int(standing.tiles(one, 0)[0].interval.split()[0].replace(",", "")) for one in (scene, unlike)]
    assert told == [rows["user_hash"].nunique(), pytest.approx(rows["user_hash"].nunique(), rel=0.15)]


def test_a_shifted_week_calls_for_action_while_it_is_still_going_on(watcher: Watcher) -> None:
    third = watched.week(3, **watched.SHIFTED)
    watched.fill(pd.concat([watched.week(1), watched.week(2), third.head(500)]))
    now = standing.stand(watcher.refresh())
    assert now.state == "act"
    assert "noisier places" in now.sentence and "names it never learned" in now.sentence
    assert "phones cut the sound short" in now.sentence and "collect" in now.sentence and "retrain" in now.sentence
    assert "against 2 normal windows" in now.rule and "risk 1 % a window" in now.rule


def shifted(watcher: Watcher) -> Scene:
    watched.fill(pd.concat([watched.week(1), watched.week(2), watched.week(3, **watched.SHIFTED)]))
    return watcher.refresh()


def test_an_acknowledged_alarm_is_watched_and_names_who_does(watcher: Watcher) -> None:
    scene = shifted(watcher)
    listed = standing.alarms(scene)
    assert set(listed["state"]) == {"open"} and listed["is_now"].all()
    for name in listed["alarm_id"]:
        watcher.marks.add("alarm", name, by="Ada")
    after = watcher.refresh()
    assert states(after)["drift: SNR"] == {"acknowledged"} and set(standing.alarms(after)["by"]) == {"Ada"}
    assert standing.stand(after).state == "watch" and "Ada knows" in standing.stand(after).sentence


def test_an_alarm_passes_or_goes_on_with_the_next_window(watcher: Watcher) -> None:
    shifted(watcher)
    watched.fill(watched.week(4, car=0.5))
    told = states(watcher.refresh())
    assert told["drift: SNR"] == {"open", "went on"} and told["drift: bandwidth"] == {"passed"}


def test_a_new_model_is_watched_until_it_is_asked_and_then_resolves_what_it_mends(watcher: Watcher, root: Path) -> None:
    shifted(watcher)
    watched.release(root, "second")
    model_registry.promote("2", by="retrain")
    before = watcher.refresh()
    now = standing.stand(before)
    assert before.version == "1" and now.state == "watch" and "Version 2 answers now" in now.sentence
    watched.fill(watched.week(4, version="2", car=0.5))
    after = watcher.refresh()
    assert after.version == "2" and standing.stand(after).state == "act"
    told = states(after)
    assert told["drift: SNR"] == {"still so", "open"} and told["drift: bandwidth"] == {"resolved"}
    assert "version 2" in set(standing.alarms(after).query("state == 'resolved'")["by"])
    assert timelines.events(after).query("kind == 'model'")["begins_s"].tolist() == [
        after.rows.loc[after.rows["version"].eq("2"), "time_s"].min()]


def test_a_model_without_a_basis_is_not_judged_and_says_why(root: Path) -> None:
    watched.release(root, "first", has_basis=False)
    model_registry.promote("1", by="ada")
    watched.fill(watched.week(1, 200))
    made = Watcher()
    scene = made.refresh()
    now = standing.stand(scene)
    assert now.state == "watch" and "without a basis" in now.sentence and "workbench run deploy" in now.rule
    labels = {tile.label: tile for tile in standing.tiles(scene, 0.0)}
    assert labels["Queries"].value == "200" and labels["Expected WER, an estimate"].value == "–"
    assert timelines.over_time(scene, step_s=DAY_S).table["n_queries"].sum() == 200
    made.close()


def test_what_was_looked_at_is_not_looked_at_again(watcher: Watcher, monkeypatch: pytest.MonkeyPatch) -> None:
    first = shifted(watcher)
    looked, real = list[int](), monitoring.summarize

    def noted(rows: pd.DataFrame, calibration: Calibration) -> dict[str, Any]:
        looked.append(int(rows["window"].iloc[0]))
        return real(rows, calibration)

    monkeypatch.setattr(monitoring, "summarize", noted)
    again = watcher.refresh()
    assert looked == []
    watched.fill(watched.week(4, 50))
    watcher.refresh()
    assert looked == [4]
    pd.testing.assert_frame_equal(again.reports["1"].windows, first.reports["1"].windows)


def test_a_user_who_is_forgotten_leaves_the_page_with_the_next_look(watcher: Watcher) -> None:
    rows = watched.week(1, 400)
    watched.fill(rows)
    user = rows["user_hash"].value_counts().index[0]
    assert watcher.refresh().rows["user_hash"].eq(user).any()
    log = QueryLog()
    log.refuse(user)
    watcher.refresh()  # while datasets and tables are cleaned; the rows go last
    log.forget(user)
    log.close()
    scene = watcher.refresh()
    assert not scene.rows["user_hash"].eq(user).any() and len(scene.rows) == 400
    assert scene.rows.loc[scene.rows["user_hash"].eq(""), "hypothesis"].eq("").all()


def test_an_accepted_name_is_one_that_may_be_meant(watcher: Watcher) -> None:
    scene = shifted(watcher)
    assert scene.report is not None
    term = scene.report.terms.query("window == 3")["term"].iloc[0]
    watcher.marks.add("name", term, by="Ada")
    after = watcher.refresh().report
    assert after is not None
    assert after.terms.query("window == 3").set_index("term").at[term, "nearest"] == term


def audited(watcher: Watcher, n: int, target: str, n_misheard: int = 0) -> tuple[Scene, Tile]:
    rows = watched.week(1).assign(consent="audio")
    log = QueryLog()
    watched.fill(rows, log)
    labels = rows.sample(n, random_state=0)[["request_id", "reference"]].assign(labeller="ada", kind="audit")
    labels["reference"] = ["said otherwise"] * n_misheard + labels["reference"].tolist()[n_misheard:]
    log.add_labels(labels)
    log.close()
    scene = watcher.refresh()
    scene = replace(scene, rules=replace(scene.rules, target=gates.parse_target(target)))
    return scene, next(tile for tile in standing.tiles(scene, 0.0) if tile.label.startswith("Audited"))


def near_its_target(scene: Scene) -> Tile:
    found = standing.audit(scene)[0]
    near = replace(scene, rules=replace(scene.rules, target=gates.parse_target(f"wer at most {found.value:.4f}")))
    return next(tile for tile in standing.tiles(near, 0.0) if tile.label.startswith("Audited"))


def test_an_audit_says_among_whom_and_how_old_and_when_it_is_too_near_to_tell(watcher: Watcher) -> None:
    scene, tile = audited(watcher, 200, "wer at most 0.02")
    found, rows = standing.audit(scene)
    assert len(rows) == 200 and found.low <= found.value <= found.high
    assert "200 of consenting users" in tile.label and "days old" in tile.label
    tile = near_its_target(scene)
    assert tile.outcome == "cannot_tell" and tile.verdict.endswith("too close to tell")


def test_a_small_audit_says_how_many_labels_more_would_tell(watcher: Watcher) -> None:
    scene, _ = audited(watcher, 40, "wer at most 0.02", n_misheard=10)
    found, tile = standing.audit(scene)[0], near_its_target(scene)
    # Half the interval has to become 1.96 / (1.96 + 0.84) of two points, four times out of five.
    n_more = math.ceil(40 * (((found.high - found.low) / 2 / (0.02 * 1.959964 / (1.959964 + 0.841621))) ** 2 - 1))
    assert n_more > 40 and tile.outcome == "cannot_tell" and tile.verdict.endswith(f": label {n_more:,} more")


def test_without_labels_it_says_how_many_it_takes(watcher: Watcher) -> None:
    _, tile = audited(watcher, 0, "wer at most 0.1")
    assert tile.value == "–" and tile.outcome == "cannot_tell" and tile.verdict.startswith("label ")


def test_an_expectation_is_never_met_or_missed_and_failures_are_judged_by_their_interval(watcher: Watcher) -> None:
    rows = watched.week(1)
    rows["error"] = np.where(np.arange(len(rows)) % 10 == 0, "model_error", "")
    watched.fill(rows)
    shown = {tile.label: tile for tile in standing.tiles(watcher.refresh(), 0.0)}
    assert shown["Expected WER, an estimate"].outcome == "done"
    assert shown["Failed requests"].outcome == "no" and "120 of 1,200" in shown["Failed requests"].interval
    answered = np.floor(rows.loc[rows["error"].eq(""), "latency_ms"])
    assert shown["Latency p95"].value == f"{answered.quantile(0.95, 'higher'):,.0f} ms"
    assert {"Empty answers", "Asked again within 30 s", "Consented clips"} <= set(shown)


def test_time_lines_count_every_query_and_draw_the_band_of_calm_days(watcher: Watcher) -> None:
    scene = shifted(watcher)
    over = timelines.over_time(scene, step_s=DAY_S)
    by_day = (scene.rows["time_s"] // DAY_S).value_counts().sort_index()
    assert over.table["n_queries"].tolist() == by_day.tolist()
    assert over.table["snr_db"].iloc[0] == scene.rows[scene.rows["time_s"] < DAY_S]["snr_db"].median()
    low, high = over.bands["snr_db"]
    assert over.table.loc[over.table["window"].le(2), "snr_db"].between(low, high).all()
    assert over.table.loc[over.table["window"].eq(3), "snr_db"].lt(low).mean() > 0.5
    begins_s = scene.reports["1"].alarms["time_s"].iloc[0]
    assert over.events.to_dict("records") == [{"begins_s": begins_s, "kind": "alarm"}]
    hours = timelines.over_time(scene, step_s=3_600.0).table
    assert len(hours) > 200 and hours["n_queries"].sum() == len(scene.rows)
