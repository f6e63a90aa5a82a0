"""Selections of a scored set: a table small enough to count by hand, and agreement with `slicing` on a larger one."""


import numpy as np
import pandas as pd
import pytest

from workbench import exploring, scoring, slicing
from workbench.exploring import Explored
from workbench.selections import Mistake, Selection


def listened() -> pd.DataFrame:
    """Give five queries of three speakers: 5 errors in 13 words, one name of three wrong, one clip without speech."""
    rows = [
        ("u1", "play adele", "play a dell", "ann", "car", 2.0, "adele"),
        ("u2", "play oasis", "play oasis", "ann", "quiet", 25.0, "oasis"),
        ("u3", "weather in oslo", "weather in also", "bob", "car", 4.0, ""),
        ("u4", "find tacos near me now please", "tacos near me now please", "cid", "quiet", 30.0, "tacos"),
        ("u5", "", "the", "cid", "quiet", 30.0, ""),
    ]
    columns = ["utterance_id", "reference", "hypothesis", "speaker", "noise", "snr_db", "entity"]
    return pd.DataFrame(rows, columns=columns)


@pytest.fixture
def data() -> Explored:
    return exploring.explored(*exploring.scored(listened()), weights=np.ones(5), expressions={"loud": "snr_db < 10"})


def shown(data: Explored, selection: Selection) -> list[str]:
    return data.scores.loc[data.mask(selection), "utterance_id"].tolist()


def test_a_selection_holds_what_every_one_of_its_filters_lets_through(data: Explored) -> None:
    assert shown(data, Selection()) == ["u1", "u2", "u3", "u4", "u5"]
    assert shown(data, Selection({"noise": ("car",)})) == ["u1", "u3"]
    assert shown(data, Selection({"noise": ("car", "quiet"), "speaker": ("ann",)})) == ["u1", "u2"]
    assert shown(data, Selection({"loud": ("no",)})) == ["u2", "u4", "u5"]
    assert shown(data, Selection(ranges={"snr_db": (2.0, 4.0)})) == ["u1", "u3"]
    assert shown(data, Selection(search=" ALSO ")) == ["u3"]
    assert shown(data, Selection(search="adele", ids=frozenset(["u2"]))) == []


def test_a_mistake_selects_the_queries_that_have_it(data: Explored) -> None:
    for mistake, expected in ((Mistake("sub", "oslo", "also"), ["u3"]), (Mistake("del", "find"), ["u4"]),
                              (Mistake("ins", "", "the"), ["u5"]), (Mistake("word", "adele"), ["u1"]),
                              (Mistake("entity", "adele"), ["u1"]), (Mistake("entity", "oasis"), []),
                              (Mistake("sub", "no", "such"), []), (Mistake("word", "unsaid"), [])):
        assert shown(data, Selection(mistake=mistake)) == expected, mistake


def test_a_value_that_the_data_lacks_selects_nothing(data: Explored) -> None:
    assert shown(data, Selection({"noise": ("street",)})) == []


def test_a_selection_says_itself_in_words() -> None:
    assert Selection().words() == "all queries"
    narrowed = Selection({"noise": ("car",)}, {"snr_db": (0.0, 5.0)}, "oslo", Mistake("del", "find"), frozenset(),
                         "won")
    assert narrowed.words() == "noise: car · snr_db 0 to 5 · “oslo” · find lost · won"


def test_errors_and_rates_are_those_counted_by_hand(data: Explored) -> None:
    summary = data.summary(data.mask(Selection()))
    assert summary["wer"].value == pytest.approx(5 / 13)
    assert summary["query_accuracy"].value == pytest.approx(1 / 4)
    assert summary["entity_accuracy"].value == pytest.approx(2 / 3)
    cars = data.summary(data.mask(Selection({"noise": ("car",)})))
    assert cars["wer"].value == pytest.approx(3 / 5) and cars["query_accuracy"].value == 0


def test_mistakes_words_and_names_are_counted_within_the_selection(data: Explored) -> None:
    cars = data.mask(Selection({"noise": ("car",)}))
    found = {tuple(row) for row in data.mistakes(cars).itertuples(index=False, name=None)}
    assert ("sub", "oslo", "also", 1) in found and len(found) == 3
    words = data.word_accuracy(cars).set_index("said")
    assert words.loc["oslo", "accuracy"] == 0 and words.loc["play", "accuracy"] == 1 and "tacos" not in words.index
    assert data.entity_accuracy(cars).to_dict("records") == [{"said": "adele", "n": 1, "n_wrong": 1, "accuracy": 0.0}]
    assert data.word_interval(cars, "oslo").value == 0
    assert data.word_interval(data.mask(Selection()), "oasis", is_entity=True).value == 1


def test_neighbours_share_a_mistake_the_most_alike_first() -> None:
    rows = [("a", "go to oslo", "go two also"), ("b", "to oslo", "two also"), ("c", "to paris", "two paris"),
            ("d", "to rome", "to rome")]
    table = pd.DataFrame(rows, columns=["utterance_id", "reference", "hypothesis"]).assign(speaker="s")
    near = exploring.explored(*exploring.scored(table), weights=np.ones(4)).neighbours("a")
    assert near["utterance_id"].tolist() == ["b", "c"]
    assert near["shared"].tolist() == ["oslo → also, to → two", "to → two"]


def random_table(n: int = 1500, n_speakers: int = 40, seed: int = 1) -> tuple[pd.DataFrame, np.ndarray]:
    """Make answers whose errors depend on the noise and the speaker, some speakers unknown, with weights of use."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({
        "utterance_id": [f"u{i}" for i in range(n)], "reference": "one two three four",
        "speaker": [f"s{k}" for k in rng.integers(n_speakers, size=n)],
        "noise": rng.choice(["car", "quiet", "home"], n),
        "snr_db": rng.uniform(-5, 30, n), "duration_s": rng.uniform(1, 5, n)})
    table.loc[rng.random(n) < 0.02, "reference"] = ""
    is_wrong = rng.random((n, 4)) < np.where(table["noise"] == "car", 0.3, 0.05)[:, None]
    words = np.array(["one", "two", "three", "four"])
    table["hypothesis"] = [" ".join(np.where(wrong, "x", words)) for wrong in is_wrong]
    return table, rng.uniform(0.5, 2, n)


def test_slices_are_those_of_slicing_with_the_same_intervals() -> None:
    table, weights = random_table()
    data = exploring.explored(*exploring.scored(table), weights=weights, expressions={"long": "duration_s > 3"})
    chosen = data.mask(Selection(ranges={"duration_s": (2.0, 4.5)}))
    ours = data.slices(chosen)
    expected = slicing.slice_table(data.scores[chosen], [c for c in data.columns if c != "speaker"],
                                   {"long": "duration_s > 3"}, weights[chosen])
    columns = ["n_utterances", "n_words", "share", "word_share", "wer", "wer_low", "wer_high", "query_accuracy",
               "query_accuracy_low", "query_accuracy_high"]
    assert ours["name"].tolist() == expected["name"].tolist()
    np.testing.assert_allclose(ours[columns].to_numpy(float), expected[columns].to_numpy(float), rtol=1e-9)


def test_the_whole_is_measured_as_scoring_does() -> None:
    table, weights = random_table()
    data = exploring.explored(*exploring.scored(table), weights=weights)
    ours, expected = data.summary(data.mask(Selection())), scoring.summary(data.scores, weights)
    for name in ("wer", "query_accuracy"):
        assert ours[name].low == pytest.approx(expected[name].low) and ours[name].high == pytest.approx(
            expected[name].high)


def test_crossed_columns_are_those_of_slicing() -> None:
    table, weights = random_table(300)
    data = exploring.explored(*exploring.scored(table), weights=weights)
    ours = data.crossed(data.mask(Selection()), "noise", "snr_band").sort_values(["row", "column"], ignore_index=True)
    expected = slicing.crossed(data.scores, "noise", "snr_band", weights).sort_values(["row", "column"],
                                                                                      ignore_index=True)
    pd.testing.assert_frame_equal(ours, expected, check_dtype=False)


def test_unknown_speakers_count_as_one_each_and_are_said_to_be_unknown() -> None:
    table = listened().drop(columns="speaker")
    data = exploring.explored(*exploring.scored(table), weights=np.ones(5))
    assert "unknown" in data.summary(data.mask(Selection()))["wer"].note
    named = listened().assign(speaker=["ann", None, "bob", "", "unknown"])
    partly = exploring.explored(*exploring.scored(named), weights=np.ones(5))
    assert (partly.n_speakers, partly.n_blocks) == (2, 5)
    everything = partly.mask(Selection())
    wer = partly.summary(everything)["wer"]
    assert "3 of 5 speakers unknown" in wer.note and wer.low == scoring.summary(partly.scores, np.ones(5))["wer"].low
    assert partly.slices(everything)["n_speakers"].tolist() == slicing.slice_table(
        partly.scores, ["noise", "snr_band"])["n_speakers"].tolist()


def test_the_order_of_utterances_is_irrelevant() -> None:
    table, weights = random_table(200)
    shuffled = np.random.default_rng(0).permutation(200)
    a = exploring.explored(*exploring.scored(table), weights=weights)
    b = exploring.explored(*exploring.scored(table.iloc[shuffled]), weights=weights[shuffled])
    pd.testing.assert_frame_equal(a.slices(a.mask(Selection())), b.slices(b.mask(Selection())))
