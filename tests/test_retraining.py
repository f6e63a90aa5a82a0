"""A fair retraining: nobody judges who was learned from, the base stays heard, and the verdict counts users."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from workbench import (
    audio,
    consented_audio,
    datasets,
    engines,
    gates,
    model_registry,
    query_log,
    recognizers,
    retraining,
    whisper_model,
)
from workbench.errors import ManifestError
from workbench.improvement import Arms
from workbench.model_registry import ModelVersion
from workbench.retraining import DAY_S, SOURCE, Trial

SCOPE = gates.read(gates.save_fields(["wer at most 0.10"], "noise", ["quiet 0.8", "car 0.2"], ["noise quiet"], 0.01))
N_USERS, N_DAYS = 60, 7


def a_log(n: int = 420) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame({
        "request_id": [f"r{i:04d}" for i in range(n)], "user_hash": [f"h{i % N_USERS:02d}" for i in range(n)],
        "time_s": 1e9 + np.sort(rng.uniform(0, N_DAYS * DAY_S, n)), "role": "champion", "error": "", "consent": "audio",
        "audio_sha": [f"{i:064x}" for i in range(n)], "hypothesis": "play queen", "device": "wideband",
        "app_version": "3.1.0", "duration_s": 1.0, "level_dbfs": -20.0, "ctc_gap": 0.1, "avg_logprob": -0.1})


# --- who learns, who judges ------------------------------------------------------------------------------------------


def test_no_user_and_no_day_is_on_both_sides() -> None:
    log = a_log()
    pool = retraining.pools(log, n_later_days=3)
    learned, judged = (log[log["request_id"].isin(ids)] for ids in (pool.learned, pool.judged))
    assert not set(learned["user_hash"]) & set(judged["user_hash"])
    assert learned["time_s"].max() < pool.later_s <= judged["time_s"].min()
    assert len(learned) == pytest.approx(.75 * 4 / 7 * 420, rel=.3)
    assert len(judged) == pytest.approx(.25 * 3 / 7 * 420, rel=.4)


def test_who_comes_later_judges_too() -> None:
    log = a_log()
    is_late = log["time_s"] >= retraining.pools(log, n_later_days=3).later_s
    log.loc[is_late, "user_hash"] = "new " + log["user_hash"]
    assert retraining.pools(log, n_later_days=3).judged == frozenset(log.loc[is_late, "request_id"])


def test_a_judge_stays_one_whoever_else_calls() -> None:
    few, many = (retraining.split_of(pd.Series([f"h{i:02d}" for i in range(n)])) for n in (20, 500))
    assert few == {user: many[user] for user in few}


def test_without_consented_queries_there_is_nobody() -> None:
    pool = retraining.pools(a_log(5).assign(consent=""), n_later_days=3)
    assert not pool.learned and not pool.judged


def test_in_a_first_week_it_says_what_is_missing_and_how_to_go_on() -> None:
    log = a_log()
    for days, n_consented, lacks in ((7, 420, "420 consented queries over 7.0 days, 0 may be learned from and 420"),
                                     (7, 0, "0 consented queries over 0.0 days"), (3, 420, "")):
        rows = log.assign(consent=log["consent"].where(log.index < n_consented, ""))
        pool = retraining.pools(rows, n_later_days=days)
        missing = retraining.what_lacks(rows, pool, n_later_days=days, run="mine")
        assert (missing is None) == (not lacks)
        assert missing is None or (missing.outcome == "waiting" and lacks in missing.sentence
                                   and "workbench run retrain --force --run mine" in missing.sentence)


# --- the data --------------------------------------------------------------------------------------------------------


@pytest.fixture
def speech(root: Path) -> datasets.Dataset:
    rows = [{"utterance_id": f"b{i}", "text": "play queen", "speaker": f"s{i}", "split": split, "source": "demo",
             "noise": "quiet", "samples": np.full(1_600, .001 * (i + 1), np.float32)}
            for i, split in enumerate(["train"] * 6 + ["valid", "dev", "gate", "test"])]
    return datasets.save(datasets.store_rows(rows))


@pytest.fixture
def log(speech: datasets.Dataset) -> pd.DataFrame:
    log = a_log(120)
    log["audio_sha"] = [consented_audio.store_clip(np.full(800, .0005 * (i + 1), np.float32)) for i in range(len(log))]
    return log


def labelled(log: pd.DataFrame, kind: str) -> pd.DataFrame:
    return pd.DataFrame({"request_id": log["request_id"], "reference": "play hozier", "labeller": "demo", "kind": kind})


def test_a_released_challenger_hears_again_what_was_consented_to_and_nothing_else(log: pd.DataFrame,
                                                                                  tmp_path: Path) -> None:
    checkpoint = tmp_path / "model.pt"
    whisper_model.save(whisper_model.build("", "toy", seed=1), checkpoint)
    engine = engines.export(checkpoint, tmp_path / "engine")
    version = model_registry.register(checkpoint, engine, run="r", stage="deploy", metrics={}, tags={}).version
    secret = log.assign(consent=log["consent"].mask(log["request_id"].eq("r0001"), ""))
    heard = retraining.replay(version, secret, {"r0000", "r0001", "r0002"})
    clips = [audio.read(consented_audio.clip_path(sha)) for sha in log["audio_sha"].iloc[[0, 2]]]
    answers = [hypothesis.text for hypothesis in engines.FastRecognizer(engine).transcribe(clips)]
    assert heard == dict(zip(["r0000", "r0002"], answers, strict=True))
    assert retraining.replay("", log, {"r0000"}) == {}


def test_the_version_says_where_each_clip_came_from_and_keeps_its_sound(speech: datasets.Dataset,
                                                                        log: pd.DataFrame) -> None:
    pool = retraining.pools(log, n_later_days=3)
    grown = retraining.learn(speech, labelled(log, "chosen"), log, pool)
    new = grown.table[grown.table["source"] == SOURCE].set_index("utterance_id")
    assert set(new.index) == pool.learned and grown.card["parent"] == speech.version
    assert new["speaker"].to_dict() == log.set_index("request_id").loc[new.index, "user_hash"].to_dict()
    assert set(new["split"]) == {"train", "valid"} and set(new["reference"]) == {"play hozier"}
    assert new["audio_path"].str.contains("/data/datasets/audio/").all()
    one = new.iloc[0]
    consented_audio.delete_clip(str(one["audio_sha"]))
    assert audio.content_hash(audio.read(str(one["audio_path"]))) == one["audio_sha"]


def test_the_base_splits_stay_as_they_were(speech: datasets.Dataset, log: pd.DataFrame) -> None:
    grown = retraining.learn(speech, labelled(log, "chosen"), log, retraining.pools(log, n_later_days=3))
    for split in ("dev", "gate", "test"):
        assert grown.split(split)["utterance_id"].tolist() == speech.split(split)["utterance_id"].tolist()


def test_only_the_audit_judges_and_only_where_nothing_is_learned(speech: datasets.Dataset, log: pd.DataFrame) -> None:
    pool = retraining.pools(log, n_later_days=3)
    grown = retraining.learn(speech, labelled(log, "chosen"), log, pool)
    judges = retraining.judging_set(labelled(log, "audit"), log, pool)
    assert set(judges["utterance_id"]) == pool.judged
    assert not set(judges["speaker"]) & set(grown.table["speaker"])
    assert not set(judges["audio_sha"]) & set(grown.table["audio_sha"])
    assert retraining.judging_set(labelled(log, "chosen"), log, pool).empty


def test_labels_of_judges_alone_teach_nothing(speech: datasets.Dataset, log: pd.DataFrame) -> None:
    pool = retraining.pools(log, n_later_days=3)
    judged = log[log["request_id"].isin(pool.judged)]
    with pytest.raises(ManifestError, match="nothing new"):
        retraining.learn(speech, labelled(judged, "chosen"), log, pool)


def test_production_is_repeated_until_it_is_heard_and_all_of_the_base_is_replayed(speech: datasets.Dataset,
                                                                                 log: pd.DataFrame) -> None:
    few = labelled(log[log["request_id"].isin(sorted(retraining.pools(log, n_later_days=3).learned)[:3])], "chosen")
    grown = retraining.learn(speech, few, log, retraining.pools(log, n_later_days=3))
    mixed = retraining.replayed(grown, base_share=.3)
    n_new = int(mixed["source"].eq(SOURCE).sum())
    assert set(mixed["utterance_id"]) == set(grown.train["utterance_id"])
    assert mixed[mixed["source"] != SOURCE]["utterance_id"].is_unique
    assert (len(mixed) - n_new) / len(mixed) <= .3


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_of_all_or_nothing_is_a_wrong_call(speech: datasets.Dataset, share: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        retraining.replayed(speech, base_share=share)


def test_the_examiner_asks_nobody_who_was_learned_from(speech: datasets.Dataset, log: pd.DataFrame) -> None:
    sent = pd.DataFrame({"utterance_id": ["x", "y", "z"], "user": ["ann", "bob", "cid"], "status": [200, 200, 429],
                         "model_version": "1"})
    known = speech.table.assign(speaker=query_log.user_hash("ann"))
    assert retraining.elsewhere(sent, datasets.Dataset("v", known), "2").empty
    free = retraining.elsewhere(sent, datasets.Dataset("v", known), "1")
    assert free["utterance_id"].tolist() == ["y"] and free["speaker"].tolist() == [query_log.user_hash("bob")]


# --- the verdict -----------------------------------------------------------------------------------------------------


def scores(rate: float, seed: int, *, n_speakers: int = 60, same: np.ndarray | None = None) -> pd.DataFrame:
    """Draw errors at a rate; `same` are uniform draws that both models share, so that they err alike."""
    n = n_speakers * 5
    draws = np.random.default_rng(seed).random((n, 4)) if same is None else same
    errors = (draws < rate).sum(1)
    return pd.DataFrame({
        "utterance_id": [f"q{i}" for i in range(n)], "speaker": np.repeat(np.arange(n_speakers), 5),
        "noise": np.tile(["quiet", "car"], n)[:n], "device": np.tile(["wideband", "narrow", "budget"], n)[:n],
        "n_errors": errors, "n_words": 4, "n_char_errors": errors, "n_chars": 20, "is_exact": errors == 0,
        "hypothesis": "secret words", "reference": "secret words"})


def arms(before: float, after: float, seed: int = 0) -> Arms:
    same = np.random.default_rng(seed).random((300, 4))
    return Arms({"before": Path("a.pt"), "treated": Path("b.pt")},
                {"before": scores(before, 0, same=same), "treated": scores(after, 0, same=same)})


def trial(production: tuple[float, float], base: tuple[float, float]) -> Trial:
    return Trial(base=arms(*base, seed=1), production=arms(*production), scope=SCOPE, budget=0.01)


def test_better_on_production_and_nothing_forgotten_may_answer() -> None:
    decision = retraining.decide(trial((.30, .15), (.10, .10)))
    assert decision.outcome == "yes" and "-14.3 points" in decision.sentence


def test_a_challenger_that_forgets_too_much_may_not_answer() -> None:
    decision = retraining.decide(trial((.30, .15), (.10, .20)))
    assert decision.outcome == "no" and "on the base gate it got worse by +9" in decision.sentence


def test_too_few_judges_cannot_tell_and_it_says_how_many_labels_more() -> None:
    few = Arms({}, {arm: scores(.3, seed, n_speakers=6) for seed, arm in enumerate(("before", "treated"))})
    decision = retraining.decide(Trial(arms(.10, .10), few, SCOPE, .01))
    assert decision.outcome == "cannot_tell"
    assert re.search(r"label \d+ more utterances \(.+\) of production from \d+ new speakers to tell \d+\.\d points",
                     decision.sentence)


def test_a_gain_of_a_third_that_is_ruled_out_is_a_no() -> None:
    many = Arms({}, {arm: scores(.3, seed, n_speakers=400) for seed, arm in enumerate(("before", "treated"))})
    decision = retraining.decide(Trial(arms(.10, .10), many, SCOPE, .01))
    assert decision.outcome == "no" and "the gain is below the 10.0 points planned for" in decision.sentence


def test_a_challenger_that_is_worse_on_production_may_not_answer() -> None:
    assert retraining.decide(trial((.15, .30), (.10, .10))).outcome == "no"


def test_a_look_at_production_spends_what_the_plan_leaves_it(root: Path) -> None:
    few = Arms({}, {arm: scores(.3, seed, n_speakers=6) for seed, arm in enumerate(("before", "treated"))})
    held, look = retraining.look(Trial(arms(.10, .10), few, SCOPE, .01), champion="1", challenger="a")
    assert look.fraction < 1 and held.alpha == look.alpha < .05
    whole, later = retraining.look(trial((.30, .15), (.10, .10)), champion="1", challenger="b")
    assert later.fraction >= 1 and whole.is_last and not held.is_last
    assert later.number == 2 and later.n_models == 2 and whole.alpha == pytest.approx(.05 - look.alpha, abs=1e-3)


def test_the_table_of_gates_says_who_was_asked_and_how_it_ended() -> None:
    table = retraining.gates(trial((.30, .15), (.10, .10)))
    assert table["gate"].tolist() == ["on production: better", "on the base gate: at most 1 points worse",
                                      "with noise quiet: not shown to be 1 points worse"]
    assert table["verdict"].tolist() == ["yes", "yes", "yes"] and table["n_speakers"].tolist() == [60, 60, 60]
    assert table["champion"][0] == pytest.approx(.30, abs=.03) and table["challenger"][0] == pytest.approx(.15, abs=.03)


def test_a_false_gain_is_let_through_no_more_often_than_stated() -> None:
    """Two equal models: one-sided 5 % of the comparisons say better, give or take what 200 can show."""
    n_better = 0
    for seed in range(200):
        pair = Arms({}, {"before": scores(.2, 2 * seed), "treated": scores(.2, 2 * seed + 1)})
        n_better += retraining.questions(Trial(arms(.1, .1), pair, SCOPE, .01))[0].verdict.outcome == "yes"
    assert n_better <= 20


def test_won_back_is_relative_and_has_an_interval() -> None:
    found = retraining.won_back(arms(.30, .15))
    assert found["relative_change"].value == pytest.approx(-.5, abs=.1)
    assert found["relative_change"].low < found["relative_change"].value < found["relative_change"].high < 0
    assert found["wer_champion"].value == pytest.approx(.30, abs=.03)


def test_the_record_and_the_card_hold_numbers_and_no_words() -> None:
    held = trial((.30, .15), (.10, .10))
    found = retraining.measures(held)
    assert found["production_relative_change"].high < 0 < found["production_wer_challenger"].value
    assert found["base_gate_change"].value == 0 and found["production_change"].value == pytest.approx(-.15, abs=.03)
    card = retraining.model_card("r", retraining.decide(held), retraining.gates(held))
    assert "on production: better: yes" in card and "secret" not in card


def test_phones_lie_side_by_side() -> None:
    table = retraining.by_device(arms(.30, .15), SCOPE)
    assert table["name"].tolist() == ["device = budget", "device = narrow", "device = wideband"]
    assert list(table) == ["name", "n_utterances", "before", "treated", "change", "change_low", "change_high",
                           "q", "verdict"]


def test_what_is_kept_of_the_judges_holds_no_words() -> None:
    kept = retraining.without_words(arms(.30, .15))
    assert "secret" not in kept.to_csv()
    assert kept["n_errors_champion"].sum() > kept["n_errors_challenger"].sum() and kept["request_id"].is_unique


def test_answers_then_and_now_are_compared_on_the_same_recordings() -> None:
    first = pd.DataFrame({"utterance_id": ["x", "y", "z"], "reference": ["play queen", "play blur", ""],
                          "hypothesis": ["play green", "play blur", "oh"], "speaker": ["a", "b", "b"]})
    second = pd.DataFrame({"utterance_id": ["z", "x", "y"], "text": ["", "play queen", ""], "status": [200, 200, 0]})
    compared = retraining.answered(first, second)
    assert compared.scores["before"]["n_errors"].tolist() == [1, 1]
    assert compared.scores["treated"]["n_errors"].tolist() == [0, 0]


def test_a_rerun_starts_from_the_champion_before_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {name: ModelVersion(name, Path(name), (), {"run": "r", "stage": stage})
             for name, stage in (("champion", "retrain"), ("previous", "deploy"))}
    monkeypatch.setattr(model_registry, "resolve", there.__getitem__)
    assert retraining.reigning("r").version == "previous"
    assert retraining.reigning("another").version == "champion"


def test_both_models_hear_the_same_recordings(monkeypatch: pytest.MonkeyPatch) -> None:
    utterances = pd.DataFrame({"utterance_id": ["x", "y"], "reference": ["play queen", ""], "speaker": ["a", "b"]})
    answers = {"a.pt": ["play green", ""], "b.pt": ["play queen", ""]}
    monkeypatch.setattr(recognizers, "transcribe", lambda path, table: table[["utterance_id"]].assign(
        hypothesis=answers[path.name]))
    compared = retraining.compare(Path("a.pt"), Path("b.pt"), utterances)
    assert compared.scores["before"]["n_errors"].tolist() == [1, 0]
    assert compared.scores["treated"]["n_errors"].tolist() == [0, 0]
