import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_improvement import SCOPE, scores

from tests import published, watched
from workbench import datasets, model_registry, shipping, whisper_model
from workbench.records import Decision, Interval
from workbench.shipping import Rival


def test_the_first_model_ships_as_a_pilot_and_says_which_targets_it_misses() -> None:
    found = shipping.gate(scores(0.05, 0.60, 1), None, SCOPE)
    assert found.outcome == "yes"
    assert "pilot" in found.sentence and "WER ≤ 10 %: missed" in found.sentence


def test_only_a_better_model_takes_a_champions_place() -> None:
    champion = scores(0.05, 0.40, 1)
    assert shipping.gate(scores(0.05, 0.15, 2), champion, SCOPE).outcome == "yes"
    assert shipping.gate(scores(0.05, 0.80, 2), champion, SCOPE).outcome == "no"
    undecided = shipping.gate(scores(0.05, 0.37, 5), champion, SCOPE)
    assert undecided.outcome == "cannot_tell" and undecided.sentence.startswith("Does not ship yet: over all use")
    assert "label 268 more utterances" in undecided.sentence and "from 27 new speakers" in undecided.sentence
    assert shipping.gate(champion, champion, SCOPE).outcome == "no"  # two points of gain are ruled out


def test_a_better_model_that_harms_a_protected_slice_does_not_ship() -> None:
    found = shipping.gate(scores(0.15, 0.05, 2), scores(0.05, 0.80, 1), SCOPE)
    assert found.outcome == "no" and "with noise quiet it got worse" in found.sentence


def test_a_look_is_taken_only_against_a_champion_and_may_spend_its_share(root: Path) -> None:
    champion, candidate = scores(0.05, 0.40, 1), scores(0.05, 0.15, 2)
    rival = Rival("version 1", Path("model.pt"), is_base=False)
    assert shipping.look(candidate, None, SCOPE, model="m1", rival=None) is None
    look = shipping.look(candidate, champion, SCOPE, model="m1", rival=rival)
    assert look is not None and 0 < look.alpha <= 0.05
    assert shipping.gate(candidate, champion, SCOPE, look=look).outcome == "yes"
    told = shipping.gate(scores(0.05, 0.37, 5), champion, SCOPE, look=replace(look, alpha=0.0))
    assert told.outcome == "cannot_tell"


def test_a_verdict_says_who_answers_unless_a_colleague_s_version_came_first(root: Path) -> None:
    watched.give_store(root)
    for weights in "abc":
        watched.release(root, weights, has_basis=False)
    yes, cannot_tell = Decision("yes", "Ships."), Decision("cannot_tell", "Does not ship yet.")
    assert shipping.release("1", yes, over="") == yes
    assert shipping.release("1", yes, over="") == yes  # a rerun after its own promotion
    assert shipping.release("2", cannot_tell, over="1") == cannot_tell
    late = shipping.release("3", yes, over="")
    assert late.outcome == "cannot_tell" and "by now 1 is the champion; judge it again with --force" in late.sentence
    assert shipping.release("1", yes, over="1") == yes  # deployed again, it is nobody's rival
    state = model_registry.alias_state()
    assert (state["champion"], state["challenger"], state["challenger_mode"]) == ("1", "2", "shadow")


def test_what_a_person_rolled_back_answers_again_only_by_a_person(root: Path) -> None:
    watched.give_store(root)
    yes = Decision("yes", "Ships.")
    for version in [watched.release(root, weights, has_basis=False).version for weights in "ab"]:
        shipping.release(version, yes, over=model_registry.alias_state()["champion"])
    model_registry.rollback(by="bob")
    again = watched.release(root, "b").version  # the same weights under another number
    for version in ("2", again):
        told = shipping.release(version, yes, over="1")
        assert told.outcome == "cannot_tell"
        assert f"by bob; to let it answer again: workbench promote {version} --by NAME" in told.sentence
    assert model_registry.alias_state()["champion"] == "1"
    model_registry.promote("2", by="ann")
    assert shipping.release("2", yes, over="1") == yes == shipping.release(again, yes, over="2")
    undecided = Decision("cannot_tell", "Does not ship yet.")
    assert shipping.release(again, undecided, over="1") == undecided and model_registry.reigns(again)


def test_a_champion_that_is_deployed_again_goes_on_answering_and_is_nothing_to_go_back_to(root: Path) -> None:
    for weights in "ab":
        shipping.release(watched.release(root, weights, has_basis=False).version, Decision("yes", "Ships."),
                         over=model_registry.alias_state()["champion"])
    rival = shipping.rival("2", "", model=model_registry.resolve("2").facts["checkpoint"][:12])
    champion = scores(0.05, 0.40, 1)
    assert shipping.look(champion, champion, SCOPE, model="m", rival=rival) is None
    found = shipping.gate(champion, champion, SCOPE, rival=rival)
    assert found.outcome == "yes" and "version 2 is this model" in found.sentence
    renewed = watched.release(root, "b").version
    assert shipping.release(renewed, found, over="2") == found
    state = model_registry.alias_state()
    assert (state["champion"], state["previous"]) == (renewed, "1")


def test_a_champion_that_was_trained_on_what_judges_is_left_to_a_person(root: Path) -> None:
    watched.give_store(root)
    speech = datasets.save(pd.DataFrame({
        "utterance_id": ["1"], "audio_path": ["1.wav"], "audio_sha": ["sha"], "text": ["a"], "reference": ["a"],
        "speaker": ["ann"], "duration_s": [1.0], "level_dbfs": [-20.0], "source": ["files"], "split": ["train"]}))
    (root / "model.pt").write_text("a")
    model_registry.register(root / "model.pt", None, run="mine", stage="deploy", metrics={},
                            tags={"dataset": speech.version})
    unheard = speech.train.assign(audio_sha="other")
    rivals = [shipping.rival("1", "", unsplit=judged) for judged in (speech.train, unheard)]
    taught = shipping.gate(scores(0.05, 0.15, 2), scores(0.05, 0.40, 1), SCOPE, rival=rivals[0])
    assert taught.outcome == "cannot_tell" and "workbench promote" in taught.sentence
    assert shipping.gate(scores(0.05, 0.15, 2), scores(0.05, 0.40, 1), SCOPE, rival=rivals[1]).outcome == "yes"


def test_a_short_context_ships_only_where_it_is_no_worse_than_the_published_model(root: Path, tmp_path: Path) -> None:
    base = published.checkpoint(tmp_path / "base.pt", width=64, n_layers=1)
    rival = shipping.rival("", str(base))
    assert rival is not None and rival.is_base and rival.checkpoint == base
    good = shipping.gate(scores(0.05, 0.15, 2), scores(0.05, 0.40, 1), SCOPE, rival=rival)
    assert good.outcome == "yes" and "pilot" in good.sentence
    assert shipping.gate(scores(0.05, 0.80, 2), scores(0.05, 0.40, 1), SCOPE, rival=rival).outcome == "no"
    assert shipping.look(scores(0.05, 0.15, 2), scores(0.05, 0.40, 1), SCOPE, model="m", rival=rival) is None


def test_what_was_not_published_is_no_rival(root: Path, tmp_path: Path) -> None:
    ours = whisper_model.save(whisper_model.build("", "toy", seed=0), tmp_path / "ours.pt")
    assert [shipping.rival("", base) for base in ("", "demo", str(ours))] == [None, None, None]


def test_promises_have_a_verdict_each() -> None:
    kept = shipping.promises(scores(0.02, 0.02, 1), SCOPE)
    assert kept["target"].tolist() == ["WER ≤ 10 %"] and kept["verdict"].tolist() == ["met"]
    assert kept["low"][0] < kept["value"][0] < kept["high"][0] and kept["to_tell"].tolist() == [""]


def test_a_promise_that_cannot_be_told_says_what_would_tell_it() -> None:
    near = shipping.promises(scores(0.08, 0.12, 1).head(120), SCOPE)
    assert near["verdict"].tolist() == ["cannot tell"]
    assert re.fullmatch(r"label \d+ more utterances in the mix of use from \d+ new speakers to tell 2.0 points",
                        near["to_tell"][0])


def test_the_ledger_counts_models_not_repetitions(root: Path) -> None:
    test, other = (pd.DataFrame({"audio_sha": [f"{name}{i}" for i in range(3)]}) for name in "ab")
    shipping.open_test(test, run="one", model="m1")
    assert len(shipping.open_test(test, run="again", model="m1")) == 1
    assert shipping.open_test(test.iloc[::-1], run="two", model="m2")["model"].tolist() == ["m1", "m2"]
    assert len(shipping.open_test(other, run="two", model="m2")) == 1


def test_a_load_test_counts_failures_apart_from_latencies() -> None:
    sent = pd.DataFrame({"status": [200] * 99 + [429], "latency_ms": [*np.arange(1, 100.0), 5_000],
                         "duration_s": 2.0, "started_s": [0.0] * 99 + [4.95]})
    found = shipping.load_test(sent)
    assert found["n_failed"] == 1 and found["p50_ms"] == 50
    assert found["requests_per_s"] == pytest.approx(99 / 9.95)
    assert found["real_time_factor"] == pytest.approx(9.95 / 198)


def test_a_model_s_card_says_which_language_it_hears_and_where_it_is_worst() -> None:
    slices = pd.DataFrame([("a speaker", "speaker", 0.9, 0.8, 1.0, 5), ("street", "place", 0.3, 0.2, 0.4, 40),
                           ("home", "place", 0.1, 0.05, 0.2, 60)],
                          columns=["name", "column", "wer", "wer_low", "wer_high", "n_utterances"])
    decision, metrics = Decision("yes", "Ships."), {"gate_wer": Interval(0.2, 0.1, 0.3)}
    card = shipping.model_card("r", decision, metrics, slices)
    assert "Ships." in card and "queries in English." in card and "- gate wer: 20.0 % (10.0 to 30.0)" in card
    assert card.index("street: WER 30.0 %") < card.index("home: WER 10.0 %") and "a speaker" not in card
    german = shipping.model_card("r", decision, metrics, slices, language="german")
    assert german == card.replace("English", "German") and "Noise" not in card
    credited = shipping.model_card("r", decision, metrics, slices, noise=["DEMAND: CC BY-SA 3.0"])
    assert credited.startswith(card.rstrip()) and "- DEMAND: CC BY-SA 3.0" in credited


def test_the_rollback_rule_names_the_command_and_where_to() -> None:
    rule = shipping.rollback_rule(["wer"], "3")
    assert "version 3" in rule and "workbench rollback" in rule
    assert "no earlier version" in shipping.rollback_rule([], "")
