from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from workbench import gates, improvement, rounds
from workbench.data_requests import Request
from workbench.datasets import Dataset
from workbench.improvement import Arms, Round
from workbench.records import Interval

SCOPE = gates.read(gates.save_fields(["wer at most 0.10"], "noise", ["quiet 0.8", "car 0.2"], ["noise quiet"], 0.005))
N_SPEAKERS, N_EACH, N_WORDS = 40, 10, 4


def scores(quiet: float, car: float, seed: int) -> pd.DataFrame:
    """Draw errors at given rates: half of each speaker's queries in a car."""
    rng = np.random.default_rng(seed)
    noise = np.tile(["quiet", "car"], N_SPEAKERS * N_EACH // 2)
    errors = rng.binomial(N_WORDS, np.where(noise == "car", car, quiet))
    return pd.DataFrame({"utterance_id": range(len(noise)), "speaker": np.repeat(np.arange(N_SPEAKERS), N_EACH),
                         "noise": noise, "n_errors": errors, "n_words": N_WORDS, "n_char_errors": errors, "n_chars": 20,
                         "is_exact": errors == 0})


def arms(before: tuple[float, float], control: tuple[float, float], treated: tuple[float, float]) -> Arms:
    drawn = {name: scores(*rates, seed) for seed, (name, rates) in
             enumerate({"before": before, "control": control, "treated": treated}.items())}
    return Arms({name: Path(f"{name}.pt") for name in drawn}, drawn)


def a_round(shown: Arms) -> Round:
    gain = Interval(0.03, 0.02, 0.04).as_dict()
    request = Request("mine-1", "mine", {"noise": "car"}, 100, "collect", gain, "", "v1")
    return Round(request, Dataset("v2", pd.DataFrame()), shown, improvement.decide(shown, SCOPE))


def test_a_column_of_the_utterances_that_is_called_as_what_was_heard_is_not_mistaken_for_it() -> None:
    said = pd.DataFrame({"utterance_id": ["a", "b"], "hypothesis": ["old", "old"], "avg_logprob": [0.0, 0.0]})
    heard = pd.DataFrame({"utterance_id": ["b", "a"], "hypothesis": ["new b", "new a"], "avg_logprob": [-1.0, -2.0]})
    found = improvement.in_order(said, heard)
    assert found.to_dict("list") == {"utterance_id": ["a", "b"], "hypothesis": ["new a", "new b"],
                                     "avg_logprob": [-2.0, -1.0]}


MENDED = arms((0.05, 0.40), (0.05, 0.38), (0.05, 0.15))


def test_a_clear_gain_is_kept_and_goes_on() -> None:
    last = a_round(MENDED)
    assert last.decision.outcome == "yes" and last.best == Path("treated.pt")
    assert last.best_scores is MENDED.scores["treated"]


def test_no_gain_is_not_kept() -> None:
    last = a_round(arms((0.05, 0.30), (0.05, 0.30), (0.05, 0.30)))
    assert last.decision.outcome == "cannot_tell" and last.best == Path("before.pt")


def test_a_gain_that_harms_a_protected_slice_is_not_kept() -> None:
    last = a_round(arms((0.05, 0.40), (0.05, 0.40), (0.15, 0.10)))
    assert last.decision.outcome == "no" and "with noise quiet it got worse" in last.decision.sentence
    assert last.best == Path("before.pt")


def test_a_worse_model_is_not_kept() -> None:
    assert a_round(arms((0.01, 0.10), (0.01, 0.10), (0.01, 0.50))).decision.outcome == "no"


def test_a_model_no_better_is_kept_one_time_in_twenty_at_most() -> None:
    n_kept = 0
    for seed in range(60):
        drawn = {name: scores(0.1, 0.3, 3 * seed + i) for i, name in enumerate(("before", "control", "treated"))}
        n_kept += improvement.decide(Arms({}, drawn), SCOPE).outcome == "yes"
    assert n_kept <= 8  # 60 draws at 5 %: more than 8 happens one time in a hundred


def test_overall_differences_are_weighted_to_use_and_slices_are_not() -> None:
    overall = improvement.compare(MENDED, SCOPE).difference.value
    picked = MENDED.scores["before"]["noise"].eq("car").to_numpy()
    in_cars = improvement.compare(MENDED, SCOPE, picked=picked).difference.value
    before, after = (MENDED.scores[arm].loc[picked, "n_errors"].sum() for arm in ("before", "treated"))
    assert in_cars == pytest.approx((after - before) / (picked.sum() * N_WORDS))
    assert abs(overall) == pytest.approx(abs(in_cars) * 0.2, abs=0.02)  # cars are half of the data, a fifth of use


def test_the_story_tells_what_was_asked_what_it_cost_and_what_it_bought() -> None:
    told = rounds.story([a_round(MENDED)], SCOPE).iloc[0]
    assert told["n_clips"] == 100 and told["decision"] == "yes"
    assert told["before"] > told["control"] > told["treated"]
    assert told["beyond_high"] < 0 and told["change"] < told["beyond"]


def test_arms_on_two_versions_of_the_references_are_not_compared() -> None:
    one = pd.DataFrame({"utterance_id": ["a"], "reference": ["songs by queen"], "n_errors": [1], "n_words": [3]})
    assert Arms({}, {"before": one, "treated": one}).scores["before"] is one
    with pytest.raises(ValueError, match="score all of them on one version"):
        Arms({}, {"before": one, "treated": one.assign(reference="songs by prince")})


def test_predictions_are_laid_beside_what_was_bought() -> None:
    row = rounds.predictions([a_round(MENDED)], SCOPE).iloc[0]
    assert row["predicted"] == row["ceiling"] == 0.03 and row["is_within"]
    assert row["achieved_low"] < row["achieved"] < row["achieved_high"]
    assert row["achieved"] == pytest.approx(0.2 * 0.23, abs=0.02)


def test_slices_show_where_something_changed_and_where_not() -> None:
    table = rounds.by_slice(MENDED, SCOPE, ["noise"]).set_index("name")
    assert table.loc["noise = car", "change_high"] < 0
    assert table.loc["noise = quiet", "change_low"] < 0 < table.loc["noise = quiet", "change_high"]


def test_slices_are_called_changed_only_beyond_what_many_of_them_show_by_chance() -> None:
    called = rounds.by_slice(MENDED, SCOPE, ["noise"]).set_index("name")["verdict"].to_dict()
    assert called == {"noise = car": "better", "noise = quiet": "cannot tell"}


def test_rounds_on_the_same_gate_share_the_risk() -> None:
    drawn = next(one for seed in range(99) for one in [Arms({}, {
        "before": scores(0.1, 0.3, seed), "treated": scores(0.08, 0.28, 100 + seed)})]
        if 0.02 < improvement.compare(one, SCOPE).p_better < 0.05)
    assert improvement.decide(drawn, SCOPE).outcome == "yes"
    assert improvement.decide(drawn, SCOPE, alpha=0.05 / 3).outcome == "cannot_tell"


@pytest.mark.parametrize(("speaker", "note"), [("ann", "one speaker: interval assumes that speakers differ as usual"),
                                               (None, "400 of 400 speakers unknown: interval too narrow")])
def test_a_relative_change_of_one_or_unknown_speakers_is_as_wide_as_utterances_leave_it_and_says_so(
        speaker: str | None, note: str) -> None:
    shown = {name: table.assign(speaker=speaker) for name, table in MENDED.scores.items()}
    found = rounds.relative_change(Arms({}, shown), np.ones(N_SPEAKERS * N_EACH, bool))
    assert found.note == note and found.low + 0.05 < found.value < found.high - 0.05


def test_a_relative_change_has_an_interval_that_holds_the_truth() -> None:
    picked = MENDED.scores["before"]["noise"].eq("car").to_numpy()
    change = rounds.relative_change(MENDED, picked)
    assert change.low < 0.15 / 0.40 - 1 < change.high
    assert change.high - change.low < 0.3


def test_the_metrics_name_the_protected_slice_and_the_requested_one() -> None:
    found = rounds.metrics([a_round(MENDED)], SCOPE)
    assert found["requested_slice_relative_change"].high < -1 / 3
    assert "noise_quiet_change" in found and found["wer"].value < 0.10


def test_the_conclusion_is_that_of_the_last_kept_round() -> None:
    good, bad = a_round(MENDED), a_round(arms((0.05, 0.15), (0.05, 0.15), (0.05, 0.15)))
    assert rounds.conclude([good, bad]).outcome == "yes"
    assert rounds.conclude([bad]).outcome == "cannot_tell"
    assert "mine its errors there changed by -" in rounds.conclude([good]).sentence.replace(good.request.title, "mine")


def test_errors_where_there_were_none_are_no_share_of_them() -> None:
    shown = arms((0.05, 0.40), (0.05, 0.38), (0.05, 0.15))
    clean = shown.scores["before"].assign(n_errors=lambda table: table["n_errors"].where(table["noise"] != "car", 0))
    kept = replace(a_round(MENDED), arms=Arms({}, {**shown.scores, "before": clean}))
    assert rounds.conclude([kept]).sentence.endswith("errors came where there were none.")
