"""Slices and their measures."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from workbench import gates, intervals, scoring, slicing
from workbench.errors import RecipeError

WORDS = 4


Row = dict[str, Any]


def drawn(wers: dict[str, float], n: int = 300, *, column: str = "noise", seed: int = 0,
          **columns: Any) -> pd.DataFrame:
    """Draw scores of `n` four-word queries a value, ten of a speaker, at the WER given for each value."""
    rng = np.random.default_rng(seed)
    values = np.repeat(list(wers), n)
    errors = rng.binomial(WORDS, np.repeat(list(wers.values()), n))
    return pd.DataFrame({
        "utterance_id": [f"u{i}" for i in range(len(values))], "speaker": [f"s{i // 10}" for i in range(len(values))],
        column: values, "n_errors": errors, "n_words": WORDS, "n_char_errors": 3 * errors, "n_chars": 20,
        "is_exact": errors == 0, **columns,
    })


def by(key: str, table: pd.DataFrame) -> dict[str, Row]:
    return {str(row[key]): {str(name): value for name, value in row.items()} for row in table.to_dict("records")}


def test_bands_divide_noise_levels_and_durations_and_leave_the_unknown_unknown() -> None:
    table = pd.DataFrame({"snr_db": [-3.0, 0.0, 4.9, 5.0, 10.0, 20.0, np.nan],
                          "duration_s": [0.5, 2.0, 3.0, 4.0, 9.0, 1.99, 2.5]})
    before = table.copy()
    banded = slicing.bands(table)
    assert banded["snr_band"].tolist()[:-1] == ["<0 dB", "0-5", "0-5", "5-10", "10-20", ">20"]
    assert banded["snr_band"].isna().tolist() == [False] * 6 + [True]
    assert banded["duration_band"].tolist() == ["<2 s", "2-3 s", "3-4 s", ">4 s", ">4 s", "<2 s", "2-3 s"]
    pd.testing.assert_frame_equal(table, before)
    pd.testing.assert_frame_equal(slicing.bands(banded), banded)
    assert slicing.bands(pd.DataFrame({"text": ["a"]})).columns.tolist() == ["text"]


def test_columns_worth_slicing_are_known_ones_and_a_manifests_own_of_a_few_values() -> None:
    n = 120
    table = pd.DataFrame({
        "utterance_id": [f"u{i}" for i in range(n)], "text": ["a", "b"] * 60, "city": ["x", "y", "z"] * 40,
        "speaker": [f"s{i % 60}" for i in range(n)], "noise": ["car", "quiet"] * 60, "device": ["one"] * n,
        "gender": ["f", None] * 60, "intent": ["play", "call", "find"] * 40, "duration_s": np.linspace(1, 5, n),
        "remark": [f"r{i}" for i in range(n)], "is_exact": [True, False] * 60,
    })
    assert slicing.slice_columns(slicing.bands(table)) == ["noise", "duration_band", "intent", "city"]
    assert "speaker" in slicing.slice_columns(table[table["speaker"].isin({"s1", "s2", "s3"})])


def test_a_slice_is_measured_as_the_same_utterances_scored_alone() -> None:
    utterances = pd.DataFrame({
        "utterance_id": list("abcde"), "speaker": ["s1", "s1", "s2", "s3", "s3"],
        "noise": ["car", "car", "car", "quiet", "quiet"],
        "reference": ["play some jazz", "weather", "", "play some jazz", "hello"]})
    scores = scoring.score(utterances, ["play jazz", "weather", "uh", "play some jazz", "hello"])
    table = by("value", slicing.slice_table(scores, ["noise"]))
    car = table["car"]
    assert (car["column"], car["name"]) == ("noise", "noise = car")
    assert (car["n_utterances"], car["n_speakers"], car["n_words"]) == (3, 2, 4)
    assert [car["share"], car["wer"], car["cer"], car["query_accuracy"]] == pytest.approx([0.6, 2 / 4, 7 / 21, 0.5])
    alone = intervals.rate_interval([1, 0, 1], [3, 1, 0], ["s1", "s1", "s2"])
    assert [car["wer_low"], car["wer_high"], car["note"]] == [alone.low, alone.high, alone.note]
    assert table["quiet"]["query_accuracy"] == 1.0


def test_weights_set_the_share_of_use_but_not_the_wer_within_a_uniform_slice() -> None:
    scores = drawn({"quiet": 0.05, "car": 0.3}, 100)
    weights = gates.poststratification_weights(scores["noise"], {"quiet": 0.8, "car": 0.2})
    plain, weighted = (by("value", slicing.slice_table(scores, ["noise"], weights=w)) for w in (None, weights))
    assert weighted["car"]["share"] == pytest.approx(0.2)
    for name in ("wer", "wer_low", "wer_high"):
        assert weighted["car"][name] == pytest.approx(plain["car"][name])
    everything = by("name", slicing.overall(scores, weights))["all"]
    assert everything["share"] == 1
    assert everything["wer"] == pytest.approx(0.8 * plain["quiet"]["wer"] + 0.2 * plain["car"]["wer"])


def test_the_whole_set_has_the_columns_of_its_slices() -> None:
    scores = drawn({"quiet": 0.05, "car": 0.3}, 20)
    assert slicing.overall(scores).columns.tolist() == slicing.slice_table(scores, ["noise"]).columns.tolist()
    assert slicing.slice_table(scores, []).columns.tolist() == slicing.overall(scores).columns.tolist()


def test_missing_and_empty_values_are_no_slice_and_bands_stay_in_their_order() -> None:
    scores = drawn({"a": 0.1, "": 0.1}, 50, snr_db=[25.0, -5.0, 12.0, 3.0, np.nan] * 20)
    scores.loc[0, "noise"] = None
    table = slicing.slice_table(scores, ["snr_band", "noise"])
    assert table["value"].tolist() == ["<0 dB", "0-5", "10-20", ">20", "a"]


def test_scores_without_speakers_say_that_intervals_are_too_narrow() -> None:
    table = slicing.slice_table(drawn({"quiet": 0.05, "car": 0.3}, 50).drop(columns="speaker"), ["noise"])
    assert table["note"].tolist() == ["speakers unknown: interval too narrow"] * 2
    assert table["n_speakers"].tolist() == [0, 0]


def test_slicing_by_a_column_that_is_not_there_is_a_wrong_call() -> None:
    with pytest.raises(ValueError, match="no columns accent; there are .*noise"):
        slicing.slice_table(drawn({"quiet": 0.1}, 5), ["accent"])


def test_an_expression_is_a_slice_beside_what_it_leaves_out() -> None:
    scores = drawn({"quiet": 0.05, "car": 0.3}, 100, duration_s=np.tile([2.0, 5.0], 100))
    table = slicing.slice_table(scores, [], {"long_car": 'noise == "car" and duration_s > 4'})
    assert table["name"].tolist() == ["long_car", "not long_car"]
    assert table["value"].tolist() == ["yes", "no"]
    assert table["n_utterances"].tolist() == [50, 150]


@pytest.mark.parametrize(("expression", "rows"), [
    ('noise == "car"', [0, 1]), ('noise in ["car", "home"] and duration_s > 4', [1]), ("2 < duration_s <= 5", [1, 2]),
    ('not noise == "car"', [2, 3]), ("snr_db < -1 or duration_s >= 6", [0, 3]), ("is_exact", [0, 2]),
    ("~is_exact & (duration_s * 2 > 10.5)", [3]), ('noise != "car"', [2, 3]),
])
def test_expressions_compare_columns_and_missing_values_match_only_unlike(expression: str, rows: list[int]) -> None:
    table = pd.DataFrame({"noise": ["car", "car", "home", None], "duration_s": [1.0, 5.0, 3.0, 6.0],
                          "snr_db": [-2.0, 3.0, np.nan, np.nan], "is_exact": [True, False, True, False]})
    found = slicing.matches(table, expression)
    assert found.dtype == bool and np.flatnonzero(found).tolist() == rows


@pytest.mark.parametrize(("expression", "message"), [
    ("weather == 1", "needs weather; there are the columns noise, duration_s"),
    ('__import__("os").system("true")', "only comparisons of columns are allowed"),
    ("noise.str.len() > 2", "only comparisons of columns are allowed"),
    ("@secret == 1", "not an expression"),
    ("noise = 'car'", "not an expression"),
    ("", "not an expression"),
    ("duration_s", "compare a column with a value"),
    ("1 == 1", "compare a column with a value"),
    ("noise > 3", "cannot be evaluated"),
])
def test_anything_else_in_an_expression_is_refused_with_what_is_wanted(expression: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        slicing.matches(pd.DataFrame({"noise": ["car"], "duration_s": [1.0]}), expression)


def test_two_columns_cross_into_the_pairs_that_occur() -> None:
    scores = drawn({"quiet": 0.0, "car": 1.0}, 10, accent=["x"] * 15 + ["y"] * 5)
    found = slicing.crossed(scores, "noise", "accent")
    assert sorted(found.values.tolist()) == [["car", "x", 1.0, 5], ["car", "y", 1.0, 5], ["quiet", "x", 0.0, 10]]
