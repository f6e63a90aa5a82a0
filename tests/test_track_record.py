"""The workbench's score of its own predictions, over runs."""

from pathlib import Path

import pandas as pd
import pytest

from tests.test_opportunities import judged
from workbench import storage, track_record
from workbench.records import Decision


def improved(run: str, predictions: pd.DataFrame) -> None:
    """Leave an improve stage with what it predicted and achieved."""
    stage = storage.open_stage("improve", run)
    stage.save_table("predictions", predictions)
    stage.close(parameters={}, metrics={}, decision=Decision("done", "It is done."))


def a_round(ceiling: float, achieved: float, request: str = "cars") -> pd.DataFrame:
    predicted = {f"predicted{end}": ceiling / 2 + by for end, by in (("", 0.0), ("_low", -0.01), ("_high", 0.01))}
    return judged((ceiling, achieved)).assign(request=request, **predicted)


@pytest.fixture
def notebooks(root: Path) -> Path:
    (root / "notebooks").mkdir(exist_ok=True)
    (root / "notebooks" / "05_improve.ipynb").write_text("{}")
    return root


def test_without_a_judged_round_there_is_none_and_the_prior_stands(notebooks: Path) -> None:
    improved("empty", pd.DataFrame())
    assert track_record.rounds().empty and list(track_record.rounds().columns) == track_record.COLUMNS
    assert track_record.realization().mean == pytest.approx(0.5, abs=0.01)


def test_rounds_of_all_runs_are_collected_and_the_next_expects_what_they_brought(notebooks: Path) -> None:
    improved("a", a_round(0.06, 0.02))
    improved("b", a_round(0.05, 0.015, "streets"))
    found = track_record.rounds(a_round(0.04, 0.01, "phones"))
    assert found["run"].tolist() == ["a", "b", "this run"] and found["achieved"].tolist() == [0.02, 0.015, 0.01]
    assert track_record.realization().n_rounds == 2 and track_record.realization().mean < 0.45


def test_a_stage_before_improve_finds_the_same_once_its_own_run_has_improved(notebooks: Path) -> None:
    improved("a", a_round(0.06, 0.02))
    before = track_record.rounds(before="b")
    improved("b", a_round(0.05, 0.015, "streets"))
    pd.testing.assert_frame_equal(track_record.rounds(before="b"), before)
    assert len(track_record.rounds()) == 2


def test_one_round_that_two_runs_share_is_one_witness(notebooks: Path) -> None:
    improved("a", a_round(0.06, 0.02))
    improved("b", a_round(0.06, 0.02))
    assert len(track_record.rounds()) == 1


def test_predictions_of_old_expected_the_whole_gap_to_close(notebooks: Path) -> None:
    old = a_round(0.06, 0.02).drop(columns=["ceiling", "ceiling_low", "ceiling_high"])
    improved("old", old)
    row = track_record.rounds().iloc[0]
    assert (row["ceiling"], row["ceiling_low"]) == (row["predicted"], row["predicted_low"])


def test_what_people_asked_for_had_no_prediction_and_is_no_witness(notebooks: Path) -> None:
    asked = a_round(0.06, 0.02).assign(ceiling=float("nan"), predicted=float("nan"))
    improved("people", asked)
    assert track_record.rounds().empty and track_record.is_within(asked).isna().all()


def test_a_prediction_held_when_both_intervals_touch() -> None:
    held = pd.concat([a_round(0.06, 0.036), a_round(0.06, 0.05)])
    assert track_record.is_within(held).tolist() == [True, False]
