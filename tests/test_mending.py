"""What would be left without some errors, and the opening sentence; counted by hand on five queries."""

import numpy as np
import pandas as pd
import pytest

from tests.test_exploring import listened, random_table
from workbench import exploring, mending
from workbench.exploring import Explored
from workbench.mending import Fix
from workbench.records import Interval
from workbench.selections import Mistake, Selection


@pytest.fixture
def data() -> Explored:
    return exploring.explored(*exploring.scored(listened()), weights=np.ones(5))


CAR, OSLO, FIND = Fix("noise", "car"), Fix(mistake=Mistake("word", "oslo")), Fix(mistake=Mistake("word", "find"))


def test_a_slice_or_a_word_taken_out_leaves_the_other_errors(data: Explored) -> None:
    assert mending.remaining(data, [CAR]).tolist() == [0, 0, 0, 1, 1]
    assert mending.remaining(data, [OSLO]).tolist() == [2, 0, 0, 1, 1]
    assert mending.remaining(data, []).tolist() == data.errors.tolist()


def test_gains_overlap_so_together_they_are_less_than_one_by_one(data: Explored) -> None:
    left = mending.what_if(data, data.mask(Selection()), [CAR, OSLO, FIND])
    assert [fix.title for fix in left] == ["noise: car", "oslo wrong", "find wrong", "all of these together"]
    assert [fix.wer.value for fix in left] == pytest.approx([2 / 13, 4 / 13, 4 / 13, 1 / 13])
    assert left[-1].wer_gain.value == pytest.approx(4 / 13)
    assert sum(fix.wer_gain.value for fix in left[:-1]) == pytest.approx(5 / 13)
    assert [fix.query_accuracy.value for fix in left] == pytest.approx([3 / 4, 2 / 4, 2 / 4, 1])
    assert left[-1].query_gain.value == pytest.approx(3 / 4)


def test_one_fix_has_no_line_of_all_together(data: Explored) -> None:
    assert len(mending.what_if(data, data.mask(Selection()), [CAR])) == 1


def test_what_if_stays_within_the_selection(data: Explored) -> None:
    quiet = data.mask(Selection({"noise": ("quiet",)}))
    left = mending.what_if(data, quiet, [CAR])[0]
    assert left.wer_gain.value == 0 and left.wer.value == pytest.approx(2 / 8)


def test_an_empty_selection_has_nothing_to_count(data: Explored) -> None:
    left = mending.what_if(data, data.mask(Selection(search="nowhere")), [CAR])[0]
    assert np.isnan(left.wer_gain.value) and left.wer_gain.note == "nothing to count"


@pytest.mark.slow
def test_the_interval_of_a_gain_covers_the_true_gain_as_often_as_it_says() -> None:
    n_covered = 0
    for seed in range(60):
        table, _ = random_table(600, seed=seed)
        data = exploring.explored(*exploring.scored(table), weights=np.ones(600))
        gain = mending.what_if(data, data.mask(Selection()), [CAR])[0].wer_gain
        n_covered += gain.low <= 0.3 / 3 <= gain.high
    assert n_covered >= 52  # of 60 at 95 %, fewer than 52 come about once in 1,000


def summary(right: float) -> dict[str, Interval]:
    return {"query_accuracy": Interval(right, right - 0.03, right + 0.03), "same_result": Interval(0.9, 0.88, 0.92)}


def slices(car: float, rest: float) -> pd.DataFrame:
    rows = [("noise", name, f"noise = {name}", n, n / 1000, right, right - 0.03, right + 0.03)
            for name, n, right in (("car", 200, car), ("quiet", 800, rest))]
    columns = ["column", "value", "name", "n_utterances", "share", "query_accuracy", "query_accuracy_low",
               "query_accuracy_high"]
    return pd.DataFrame(rows, columns=columns)


def test_the_page_opens_with_what_is_heard_and_what_to_mend() -> None:
    words = mending.sentence(summary(0.84), slices(0.60, 0.90))
    assert words == ("Hears 84 of 100 queries word for word (81–87), 90 well enough to find the same. "
                     "Worst in cars: mending that would win 5 to 7 more.")


def test_the_worst_slice_is_the_one_that_the_opening_names() -> None:
    accents = slices(0.70, 0.95).assign(column="accent", value=["far", "near"], name=["accent = far", "accent = near"],
                                        share=[0.4, 0.6], query_accuracy_low=[0.5, 0.75], query_accuracy_high=[0.9, 1])
    both = pd.concat([accents, slices(0.60, 0.90)], ignore_index=True)
    worst, ranked = mending.worst_slice(both), mending.queries_to_win(both)
    assert ranked["name"].iloc[0] == "accent = far" and worst is not None and worst["name"] == "noise = car"
    assert "Worst in cars" in mending.sentence(summary(0.84), both)
    assert mending.worst_slice(slices(0.84, 0.84)) is None and mending.worst_slice(slices(0.84, 0.84).head(0)) is None


def test_where_no_slice_is_clearly_worse_it_says_so() -> None:
    assert mending.sentence(summary(0.84), slices(0.84, 0.84)).endswith("No place is clearly worse than the others.")


def test_without_speech_it_says_that_there_is_none() -> None:
    nothing = {"query_accuracy": Interval(np.nan, np.nan, np.nan)}
    assert mending.sentence(nothing, slices(0.8, 0.8)) == "There are no spoken queries among these."


def test_slices_are_named_as_people_do() -> None:
    assert mending.place("noise", "car") == "in cars" and mending.place("noise", "fan") == "in fan noise"
    assert mending.place("region", "north") == "where region is north"
    assert mending.label("snr_band", "0-5") == "SNR: 0-5" and mending.label("long_query", "yes") == "long query"
