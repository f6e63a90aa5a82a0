"""Weeks of a log that shift on purpose: what is seen, what alarms, which stage reopens, and what pages may show."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests import simulated_log
from workbench import (
    catalogue,
    expected_wer,
    gates,
    monitoring,
    monitoring_figures,
    monitoring_reports,
    new_names,
    scoring,
    terms,
)
from workbench.datasets import Dataset
from workbench.errors import ServiceError
from workbench.monitoring import DAY_S, WEEK_S, Basis, Report, Rules

N = 1_500
NO_LABELS = pd.DataFrame(columns=["request_id", "reference", "labeller", "kind"])
SHIFTED = {"car": 0.5, "narrow": 0.4, "new_share": 0.12}


def dev() -> pd.DataFrame:
    return simulated_log.week(np.random.default_rng(1), N, number=0)


def basis() -> Basis:
    rows = dev()
    scored = scoring.score(rows.assign(utterance_id=rows["request_id"], speaker=rows["user_hash"],
                                       text=rows["reference"]), rows["hypothesis"].tolist())
    names = [name for group in catalogue.NEW_ENTITIES.values() for name in group]
    return Basis(rows, terms.phrases(rows["reference"]), expected_wer.calibrate(scored), names)


def three_weeks(**shifts: Any) -> pd.DataFrame:
    rng = np.random.default_rng(2)
    weeks = [simulated_log.week(rng, N, number=n, **(shifts if n == 3 else {})) for n in (1, 2, 3)]
    return pd.concat(weeks, ignore_index=True)


@pytest.fixture(scope="module")
def shifted() -> Report:
    return monitoring.watch(three_weeks(**SHIFTED), basis(), labels=NO_LABELS)


@pytest.fixture(scope="module")
def quiet() -> Report:
    return monitoring.watch(three_weeks(), basis(), labels=NO_LABELS)


def test_quiet_weeks_stay_quiet_and_become_the_new_normal(quiet: Report) -> None:
    assert quiet.alarms.empty and quiet.calm == {1, 2, 3}
    assert quiet.windows["reference"].tolist() == ["dev", "1 normal window", "2 normal windows"]
    assert monitoring_reports.conclude(quiet).outcome == "yes"


def test_a_shifted_week_alarms_for_each_of_its_reasons_and_names_the_stages(shifted: Report) -> None:
    assert set(shifted.alarms["window"]) == {3}
    told = set(shifted.results[3].moved)
    assert {"snr_db", "bandwidth_hz", "has_unseen"} <= told
    assert {"collect", "retrain"} <= set(shifted.alarms["reopen"])
    decision = monitoring_reports.conclude(shifted)
    assert decision.outcome == "no" and "collect" in decision.sentence.partition("Reopen")[2]
    assert "SNR" in decision.sentence and "bandwidth" in decision.sentence


def test_new_names_are_listed_with_what_they_may_be(shifted: Report) -> None:
    last = shifted.terms[shifted.terms["window"].eq(3)]
    assert len(last) >= 3 and last["n_users"].min() >= 3
    names = {name for group in catalogue.NEW_ENTITIES.values() for name in group}
    assert last["nearest"].isin(names).mean() > 0.5


def test_a_decision_holds_no_words_of_production(shifted: Report) -> None:
    sentence = monitoring_reports.conclude(shifted).sentence
    assert not [term for term in shifted.terms["term"] if term in sentence]


def test_answers_of_shadows_and_load_tests_are_nobodys(quiet: Report) -> None:
    rows = three_weeks()
    noise = rows.head(200).assign(request_id=lambda t: "x" + t["request_id"])
    mixed = pd.concat([rows, noise.assign(role="shadow"), noise.assign(app_version=monitoring.LOAD_TEST)])
    seen = monitoring.watch(mixed, basis(), labels=NO_LABELS)
    assert seen.windows["n_queries"].tolist() == quiet.windows["n_queries"].tolist()
    with pytest.raises(ServiceError, match="no query of people"):
        monitoring.of_people(noise.assign(role="shadow"))


def failing(share: float, error: str) -> pd.DataFrame:
    rows = three_weeks()
    is_failed = (rows["time_s"] > 2 * WEEK_S) & (np.random.default_rng(3).random(len(rows)) < share)
    return rows.assign(error=np.where(is_failed, error, ""))


@pytest.mark.parametrize(("rows", "rules", "rule", "stage"), [
    (failing(0.08, "model_error"), Rules(), "failed requests", "deploy"),
    (three_weeks().assign(latency_ms=3_000.0), Rules(), "latency", "deploy"),
])
def test_failures_and_slowness_reopen_deploy(rows: pd.DataFrame, rules: Rules, rule: str, stage: str) -> None:
    alarms = monitoring.watch(rows, basis(), labels=NO_LABELS, rules=rules).alarms
    assert (alarms.loc[alarms["window"].eq(3), "rule"] == rule).any()
    assert (alarms.loc[alarms["rule"].eq(rule), "reopen"] == stage).all()


def test_requests_that_no_server_could_answer_are_no_failures() -> None:
    report = monitoring.watch(failing(0.3, "invalid_audio"), basis(), labels=NO_LABELS)
    assert "failed requests" not in set(report.alarms["rule"])
    assert report.last["failed_share"] == 0 and report.last["refused_share"] > 0.2


def test_an_audit_says_what_confidence_cannot() -> None:
    rows = three_weeks(**SHIFTED)
    drawn = rows.groupby(rows["time_s"] // WEEK_S).sample(200, random_state=0)
    labels = drawn[["request_id", "reference"]].assign(labeller="ada", kind="audit")
    rules = Rules(target=gates.parse_target("wer at most 0.005"))
    report = monitoring.watch(rows.drop(columns="reference"), basis(), labels=labels, rules=rules)
    true = scoring.score(rows.assign(utterance_id=rows["request_id"], speaker=rows["user_hash"],
                                     text=rows["reference"]), rows["hypothesis"].tolist())
    wer = true.groupby((rows["time_s"] // WEEK_S).to_numpy())[["n_errors", "n_words"]].sum()
    found = report.windows.set_index("window")
    assert found["audited_wer"].to_numpy() == pytest.approx((wer["n_errors"] / wer["n_words"]).to_numpy(), abs=0.02)
    assert found["n_audited"].eq(200).all()
    disagreeing = report.alarms[report.alarms["rule"].eq("audit against expectation")]
    assert set(disagreeing["window"]) == {3} and set(disagreeing["reopen"]) == {"retrain"}
    assert re.fullmatch(r"200 audited queries hold \+\d.* points .* against what confidence let one expect",
                        disagreeing["evidence"].iloc[0])
    assert report.labelled["day"].tolist() == [1, 8, 15]
    assert "audited WER" in set(report.alarms.loc[report.alarms["window"].eq(3), "rule"])
    assert "audited_wer" in monitoring_reports.metrics(report)
    assert any(tile.label.lower().startswith("audited") for tile in monitoring_reports.tiles(report, rules))


def test_a_few_failures_beyond_the_limit_are_no_verdict(quiet: Report) -> None:
    last = {**quiet.last, "failed_share": 2 / 120, "failed_share_low": .0004, "failed_share_high": .09}
    report = replace(quiet, windows=pd.concat([quiet.windows.iloc[:-1], pd.DataFrame([last])], ignore_index=True))
    tile, = (tile for tile in monitoring_reports.tiles(report, Rules()) if tile.label == "Failed requests")
    assert tile.outcome == "cannot_tell" and tile.value == "1.7 %" and tile.verdict == "cannot tell: 1 %"


def test_an_expectation_is_never_a_verdict(quiet: Report, shifted: Report) -> None:
    for report, doubt in ((quiet, "estimate"), (shifted, "extrapolating")):
        for tile in monitoring_reports.tiles(report, Rules()):
            if tile.label.startswith("Expected"):
                assert tile.verdict == "" and tile.outcome == "done" and doubt in tile.interval
    assert quiet.windows["extrapolating"].eq("").all() and shifted.windows["extrapolating"].ne("").tolist() == [
        False, False, True]
    assert {"n_queries", "expected_wer", "n_alarmed_windows"} <= set(monitoring_reports.metrics(quiet))


def test_a_window_that_grows_little_by_little_is_judged_anew_once_it_has_grown_enough() -> None:
    known, rows, memory = basis(), three_weeks().head(1_030), dict[tuple[int, ...], monitoring.Look]()
    seen = monitoring.with_features(monitoring.in_windows(rows, WEEK_S), known.known, known.gap_limit)
    judged = [monitoring.look_through(seen.head(n), known, labels=NO_LABELS, rules=Rules(), memory=memory, slack=0.02)
              for n in (1_000, 1_015, 1_030)]
    assert [looks[0].row["n_queries"] for looks in judged] == [1_000, 1_000, 1_030]


def test_what_is_typed_later_lets_no_name_rise_in_an_earlier_window() -> None:
    rows = three_weeks(**SHIFTED)
    begin_s, third_s = (rows["time_s"].min() // DAY_S * DAY_S + n * WEEK_S for n in (0, 2))
    typed = pd.DataFrame([(pd.Timestamp(time_s, unit="s"), query, n) for time_s in (begin_s - DAY_S, begin_s, third_s)
                          for query, n in (("play madonna", 1_000), ("zyxwv", 50 * (time_s == third_s)))],
                         columns=["date", "query", "n"]).query("n > 0")
    told = dict[int, pd.DataFrame]()

    def noted(window: pd.DataFrame, *, typed: pd.DataFrame, **_: Any) -> pd.DataFrame:
        told[int(window["window"].iloc[0])] = typed
        return typed.head(0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(new_names, "new_terms", noted)
        monitoring.watch(rows, replace(basis(), typed=typed), labels=NO_LABELS)
    assert [("zyxwv" in set(told[n]["name"])) for n in (1, 2, 3)] == [False, False, True]


def test_words_that_were_dropped_make_a_query_unknown_not_known() -> None:
    rows = dev().assign(hypothesis="", heard_letters="")
    seen = monitoring.with_features(rows, [], 0.1)
    assert seen["has_unseen"].isna().all() and seen["is_empty"].eq(0).all()


def test_bands_need_six_normal_days_and_hold_nearly_all_of_them(quiet: Report, shifted: Report) -> None:
    columns = ["n_queries", "snr_db"]
    assert monitoring_reports.bands(quiet.days.head(5), quiet.calm, columns) == {}
    low, high = monitoring_reports.bands(shifted.days, shifted.calm, columns)["snr_db"]
    inside = shifted.days["snr_db"].between(low, high)
    is_normal = shifted.days["window"].isin(shifted.calm)
    assert inside[is_normal].all() and inside[~is_normal].mean() < 0.5


def test_events_are_the_days_of_alarms_and_of_new_models(shifted: Report) -> None:
    rows = three_weeks(**SHIFTED)
    rows["model_version"] = np.where(rows["time_s"] > 10 * DAY_S, "2", "1")
    found = monitoring_reports.events(shifted, rows)
    assert found.to_dict("records") == [{"day": 15, "kind": "alarm"}, {"day": 11, "kind": "model"}]


def test_figures_show_every_panel_the_band_and_the_events(shifted: Report) -> None:
    names = [panel.column for panel in monitoring_figures.PANELS]
    bands = monitoring_reports.bands(shifted.days, shifted.calm, names)
    events = pd.DataFrame({"day": [15], "kind": ["alarm"]})
    figure = monitoring_figures.over_time(shifted.days, bands=bands, events=events, labelled=shifted.labelled)
    assert len(figure.data) == len(names)
    assert len([s for s in figure.layout.shapes if s.type == "rect"]) == len(bands) == len(names)
    assert len([s for s in figure.layout.shapes if s.type == "line"]) == len(names)
    moved = monitoring_figures.what_moved(shifted.results[3].table)
    assert {"moved", "cannot tell", "quiet"} == {line.name for line in moved.data}
    assert "There is nothing to show" in monitoring_figures.what_moved(pd.DataFrame()).to_json()


def speech(split: str) -> Dataset:
    rows = pd.DataFrame({"utterance_id": ["a"], "split": [split], "entity": ["oslo"]})
    return Dataset("v", rows)


def test_without_people_or_speech_to_compare_with_it_waits() -> None:
    assert monitoring.what_lacks(speech("dev"), dev(), run="mine") is None
    few = monitoring.what_lacks(speech("train"), dev(), run="mine")
    nobody = monitoring.what_lacks(speech("dev"), dev().assign(app_version=monitoring.LOAD_TEST),
                                   run="mine")
    assert few and few.outcome == "waiting" and "ten speakers" in few.sentence
    assert nobody and nobody.outcome == "waiting" and "people to call" in nobody.sentence
