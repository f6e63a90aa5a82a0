"""Runs side by side: what differs, and by how much with which interval."""

import pandas as pd
import pytest

from tests.conftest import Project
from workbench import errors, notebooks, runs, scoring, storage
from workbench.records import Decision, Interval


def finish(run: str, *, n_errors: list[int], n_items: int = 3, ids: str = "abcdef") -> None:
    """Leave a finished first stage with a score table."""
    stage = storage.open_stage("first", run)
    scores = pd.DataFrame({"utterance_id": list(ids), "speaker": ["s1", "s1", "s2", "s2", "s3", "s3"],
                           "n_errors": n_errors, "n_words": [4] * 6})
    stage.save_table("scores", scores)
    wer = sum(n_errors) / 24
    stage.close(parameters={"run": run, "n_items": n_items}, decision=Decision("done", f"{run} is done."),
                metrics={"dev_wer": Interval(wer, wer / 2, wer * 2), "n_queries": 6},
                versions={"dataset": f"v{n_items}"})


def metric(before: str, after: str, name: str = "dev_wer") -> runs.MetricChange:
    found = runs.compare(before, after, notebooks.discover())
    return next(change for change in found.metrics if change.name == name)


def test_two_runs_are_told_apart_by_their_parameters_and_data(project: Project) -> None:
    finish("a", n_errors=[2, 2, 2, 2, 2, 2])
    finish("b", n_errors=[1, 1, 1, 1, 1, 2], n_items=5)
    found = runs.compare("a", "b", notebooks.discover())
    assert found.parameters == [runs.Change("first", "n_items", 3, 5)]
    assert found.versions == [runs.Change("first", "dataset", "v3", "v5")]


def test_the_same_utterances_are_compared_in_pairs(project: Project) -> None:
    finish("a", n_errors=[2, 2, 2, 2, 2, 2])
    finish("b", n_errors=[1, 1, 1, 1, 1, 2])
    change = metric("a", "b")
    assert change.is_paired and change.difference is not None
    assert change.difference.value == pytest.approx(-5 / 24)
    assert change.difference.high - change.difference.low < 0.5
    assert not metric("a", "b", "n_queries").is_paired


def test_answers_on_references_of_before_a_correction_are_scored_on_the_corrected_ones(project: Project) -> None:
    said = ["play adele", "weather", "songs by queen", "noon", "play jazz", "stop"]
    heard = ["play adele", "weather", "songs by prince", "noon", "play jazz", "stop"]
    for run, references in (("a", said), ("b", [*said[:2], "songs by prince", *said[3:]])):
        stage = storage.open_stage("first", run)
        utterances = pd.DataFrame({"utterance_id": list("abcdef"), "audio_sha": list("uvwxyz"), "reference": references,
                                   "speaker": ["s1", "s1", "s2", "s2", "s3", "s3"]})
        scores = scoring.score(utterances, heard)
        stage.save_table("scores", scores)
        wer = scoring.pooled_wer(scores)
        stage.close(parameters={}, metrics={"dev_wer": Interval(wer, wer, wer)}, decision=Decision("done", "Done."))
    change = metric("a", "b")
    assert change.before is not None and change.before.value == 1 / 10
    assert change.is_paired and change.difference is not None and change.difference.value == 0
    assert change.difference.note == "both on the later run's references"


def test_other_utterances_are_compared_as_independent(project: Project) -> None:
    finish("a", n_errors=[2, 2, 2, 2, 2, 2])
    finish("b", n_errors=[1, 1, 1, 1, 1, 2], ids="abcdeg")
    change = metric("a", "b")
    assert not change.is_paired and change.difference is not None
    assert change.difference.low < change.difference.value < change.difference.high


def test_independent_differences_add_distances_in_squares() -> None:
    # 0.5 - 0.4; low: hypot(0.5 - 0.47, 0.44 - 0.4) = 0.05; high: hypot(0.56 - 0.5, 0.4 - 0.32) = 0.10
    difference = runs.independent_difference(Interval(0.4, 0.32, 0.44), Interval(0.5, 0.47, 0.56))
    assert (difference.value, difference.low, difference.high) == pytest.approx((0.1, 0.05, 0.2))


def test_a_run_that_does_not_exist_is_named_with_those_that_do(project: Project) -> None:
    finish("a", n_errors=[1] * 6)
    with pytest.raises(errors.ParameterError, match="'nothing' has no finished stage; there are: a"):
        runs.compare("a", "nothing", notebooks.discover())


def test_runs_are_listed_with_their_last_word(project: Project) -> None:
    finish("a", n_errors=[1] * 6)
    storage.write_json(project.root / "data/runs/b/02_second/failure.json", {"message": "it broke", "cell": 3})
    listed = {summary.run: summary for summary in runs.summaries(notebooks.discover())}
    assert listed["a"].n_finished == 1 and listed["a"].n_stages == 2
    assert listed["a"].last is not None and listed["a"].last.sentence == "a is done."
    assert listed["b"].last is not None and (listed["b"].last.word, listed["b"].last.sentence) == ("failed", "it broke")


@pytest.mark.parametrize(("name", "value", "words"), [
    ("dev_wer", Interval(0.071, 0.062, 0.081), "7.1 % (6.2 to 8.1)"),
    ("target_wer", Interval(0.06, 0.06, 0.06), "6.0 %"),
    ("replay_relative_change", Interval(-0.365, -0.433, -0.288), "-36 % (-43 to -29)"),
    ("gain_beyond_control", Interval(0.02, 0.01, 0.03), "+2.0 points (+1.0 to +3.0)"),
    ("n_train", Interval(4000, 4000, 4000), "4,000"), ("fit_s", Interval(12.34, 12.34, 12.34), "12.3 s")])
def test_a_metric_is_worded_by_its_name(name: str, value: Interval, words: str) -> None:
    assert runs.metric_text(name, value) == words
