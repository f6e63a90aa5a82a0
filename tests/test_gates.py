from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from workbench import gates, storage
from workbench.errors import ParameterError, ScoringError
from workbench.records import Decision, Interval

TARGETS = ["wer at most 0.10", "query_accuracy at least 0.8"]
FIELDS = gates.save_fields(TARGETS, "noise", ["quiet 0.8", "car 0.2"], [], 0.005)


def test_a_target_is_met_only_when_the_whole_interval_keeps_it() -> None:
    target = gates.parse_target("wer at most 0.10")
    assert target.verdict(Interval(0.08, 0.06, 0.09)) == "yes"
    assert target.verdict(Interval(0.09, 0.07, 0.11)) == "cannot_tell"
    assert target.verdict(Interval(0.14, 0.12, 0.16)) == "no"
    assert str(target) == "WER ≤ 10 %"


@pytest.mark.parametrize("line", ["wer <= 0.1", "wer at most ten", "speed at most 0.1", "wer", ""])
def test_a_target_that_cannot_be_read_says_how_to_write_one(line: str) -> None:
    with pytest.raises(ParameterError, match="METRIC at most VALUE"):
        gates.parse_target(line)


@pytest.mark.parametrize(
    ("lines", "message"), [(["quiet", "car 0.2"], "NAME SHARE"), (["quiet 0.5", "car 0.2"], "add up to 0.7")]
)
def test_shares_that_cannot_be_read_say_why(lines: list[str], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        gates.parse_shares(lines)


def test_weights_turn_the_collected_mix_into_the_mix_of_use() -> None:
    table = pd.DataFrame({"noise": ["quiet"] * 5 + ["car"] * 5})
    weights = gates.read(FIELDS).weights(table)
    assert weights[:5].sum() / weights.sum() == pytest.approx(0.8)


def test_data_that_does_not_know_the_column_counts_alike() -> None:
    scope = gates.read(FIELDS)
    assert np.array_equal(scope.weights(pd.DataFrame({"text": ["a", "b"]})), [1, 1])
    assert np.array_equal(scope.weights(pd.DataFrame({"noise": ["tunnel", None]})), [1, 1])


def test_what_is_no_declared_part_of_use_has_no_weight_and_what_nobody_placed_its_own() -> None:
    table, scope = pd.DataFrame({"noise": ["quiet"] * 4 + ["car"] * 4 + ["tunnel", None]}), gates.read(FIELDS)
    assert scope.weights(table) == pytest.approx([1.6 * 9 / 8] * 4 + [0.4 * 9 / 8] * 4 + [0, 1])
    assert scope.n_left_out(table) == 1 and scope.n_left_out(table.tail(2)) == 0


def test_scope_finds_its_targets() -> None:
    scope = gates.read(FIELDS)
    target = scope.target("wer")
    assert target is not None and target.value == 0.10
    assert scope.target("cer") is None


def test_poststratification_gives_every_value_its_share_of_use() -> None:
    values = pd.Series(["quiet"] * 8 + ["car"] * 2, name="noise")
    weights = gates.poststratification_weights(values, {"quiet": 0.5, "car": 0.3, "tram": 0.2})
    assert weights.mean() == pytest.approx(1)
    assert weights[8:].sum() / weights.sum() == pytest.approx(0.3 / 0.8)


def test_values_without_a_share_are_named() -> None:
    values = pd.Series(["quiet", "tram", None], name="noise")
    with pytest.raises(ScoringError, match="no share of use for noise = tram, \\(missing\\); declared are quiet, car"):
        gates.poststratification_weights(values, {"quiet": 0.5, "car": 0.5})
    with pytest.raises(ScoringError, match="declare one above 0"):
        gates.poststratification_weights(pd.Series(["quiet"]), {"quiet": 0.0})


def test_gates_are_held_to_what_scope_planned() -> None:
    scope = gates.read(gates.save_fields(TARGETS, "noise", [], [], 0.005, 0.03, 700))
    stakes = scope.stakes()
    assert (stakes.planned, stakes.margin, stakes.most_labels) == (0.03, 0.005, 700)
    assert scope.stakes(planned=0.1, margin=0.01).planned == 0.1


def test_a_pilot_is_what_improves_arms_did_on_dev(root: Path) -> None:
    (root / "notebooks" / "05_improve.ipynb").touch()
    heard = pd.DataFrame({"utterance_id": [f"u{i}" for i in range(40)], "speaker": [f"s{i % 8}" for i in range(40)],
                          "reference": "play queen"})
    rng, stage = np.random.default_rng(0), storage.open_stage("improve", "earlier")
    said = {arm: rng.choice(["play queen", "play green", "lay green"], 40) for arm in ("control", "treated")}
    stage.save_table("listened", pd.concat([heard.assign(hypothesis=said[arm], arm=arm) for arm in said]))
    stage.close(parameters={}, metrics={}, decision=Decision("done", ""))
    told = gates.pilot("earlier")
    assert told.n_per_speaker == 5 and told.variance > 0 and told.range[0] < told.variance < told.range[1]


def test_a_pilot_without_arms_says_what_to_name(root: Path) -> None:
    (root / "notebooks" / "05_improve.ipynb").touch()
    with pytest.raises(ParameterError, match='name a run whose improve compared some, or ""'):
        gates.pilot("nowhere")


def test_promises_of_an_older_run_have_the_usual_plan() -> None:
    older = {k: v for k, v in FIELDS.items() if k not in ("planned_difference", "most_labels")}
    assert gates.read(older).planned_difference == gates.PLANNED_DIFFERENCE
