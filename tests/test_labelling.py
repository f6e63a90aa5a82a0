"""What people are asked to write down, and that their words find the way back; the audit is drawn by chance alone."""

import functools
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from workbench import cli, expected_wer, labelling, storage
from workbench.errors import ManifestError
from workbench.expected_wer import Calibration
from workbench.log_database import LoggedQuery
from workbench.log_reading import LOAD_TEST
from workbench.marks import Marks
from workbench.query_log import QueryLog


def table(n: int = 60, n_users: int = 20, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame({
        "request_id": [f"r{i:04d}" for i in range(n)], "user_hash": [f"h{i % n_users}" for i in range(n)],
        "role": "champion", "error": "", "consent": "audio", "audio_sha": [f"{i:064x}" for i in range(n)],
        "app_version": "3.1.0",
        "hypothesis": "play queen", "ctc_gap": rng.exponential(0.2, n), "avg_logprob": -rng.exponential(0.2, n),
        "no_speech_prob": 0.0, "compression_ratio": 0.8, "snr_db": 20.0, "bandwidth_hz": 7_000.0, "level_dbfs": -20.0,
        "duration_s": rng.uniform(1, 4, n)})


@functools.cache
def calibration() -> Calibration:
    """Calibrate on answers that are wrong as often as their letters lie apart."""
    rng, rows = np.random.default_rng(1), table(600, seed=1)
    n_words = np.ceil(2 * rows["duration_s"]).astype(int)
    wrong = rng.binomial(n_words, np.clip(rows["ctc_gap"], 0, 1))
    return expected_wer.calibrate(rows.assign(n_errors=wrong, n_words=n_words, speaker=rows["user_hash"]))


def choose(log: pd.DataFrame, **how: Any) -> pd.DataFrame:
    return labelling.choose(log, calibration=calibration(), **({"n_audit": 0, "n_chosen": 0, "seed": 0} | how))


def test_nobody_is_listened_to_without_consent_and_nothing_that_cannot_be_heard() -> None:
    log = table(8)
    log.loc[0, "consent"], log.loc[1, "audio_sha"], log.loc[2, "error"] = "", "", "invalid_audio"
    log.loc[3, "role"], log.loc[4, "user_hash"] = "shadow", ""
    assert labelling.askable(log)["request_id"].tolist() == ["r0005", "r0006", "r0007"]
    asked = choose(log, n_audit=10, n_chosen=10, seed=0)
    assert set(asked["request_id"]) == {"r0005", "r0006", "r0007"}


def test_a_recording_sent_again_is_asked_about_as_it_was_answered_last_and_replays_are_not_people() -> None:
    first = table(3)
    again = first.assign(request_id=["again0", "again1", "again2"], hypothesis="play adele")
    replayed = first.assign(request_id=["x0", "x1", "x2"], app_version=LOAD_TEST)
    rows = labelling.askable(pd.concat([first, again.head(2), replayed], ignore_index=True))
    assert set(rows["request_id"]) == {"again0", "again1", "r0002"}


def test_the_audit_is_fair_and_follows_the_seed() -> None:
    log, counts = table(40), np.zeros(40)
    for seed in range(400):
        asked = choose(log, n_audit=10, n_chosen=0, seed=seed)
        counts[[int(name[1:]) for name in asked["request_id"]]] += 1
    assert counts.sum() == 4000 and counts.min() > 60 and counts.max() < 140  # 100 +/- 4.6 standard errors
    again = choose(log, n_audit=10, n_chosen=0, seed=399)
    pd.testing.assert_frame_equal(asked, again)


def test_new_terms_and_what_is_likely_wrong_take_turns() -> None:
    log = table(60)
    asked = choose(log, n_chosen=6, new_terms=["r0007", "r0011", "r0013"])
    assert asked["reason"].tolist() == ["new term", "likely wrong"] * 3
    assert set(asked.query("reason == 'new term'")["request_id"]) == {"r0007", "r0011", "r0013"}


def test_the_most_errors_to_expect_a_minute_come_first() -> None:
    log = table(60).assign(ctc_gap=0.1, duration_s=2.0)
    log.loc[[3, 9], "ctc_gap"] = 0.9
    assert set(choose(log, n_chosen=2)["request_id"]) == {"r0003", "r0009"}
    same = table(60).assign(ctc_gap=0.4, avg_logprob=-0.2, duration_s=[8.0] * 30 + [2.0] * 30)
    handled = labelling.minutes(same)
    assert handled.iloc[0] == pytest.approx((5 + 6 * 8) / 60) and handled.iloc[-1] == pytest.approx((5 + 6 * 2) / 60)
    value = calibration().errors(same) / handled
    assert choose(same, n_chosen=1)["request_id"].tolist() == [same.loc[value.idxmax(), "request_id"]]


@pytest.mark.parametrize("way", ["shadow", "replayed"])
def test_what_a_challenger_answered_otherwise_comes_before_all_but_what_people_asked_for(way: str) -> None:
    log = table(30)
    shadow = log.iloc[[4, 5, 6]].assign(role="shadow", hypothesis=["play queen", "play adele", "Play Queen!"])
    told: dict[str, Any] = {"challenger": dict(zip(shadow["request_id"], shadow["hypothesis"], strict=True))}
    log, told = (pd.concat([log, shadow]), {}) if way == "shadow" else (log, told)
    asked = choose(log, n_chosen=3, new_terms=["r0011"], asked_for=["r0020"], **told)
    assert asked[["request_id", "reason"]].to_numpy().tolist() == [
        ["r0020", "asked for"], ["r0005", "disagreement"], ["r0011", "new term"]]


def test_the_audit_is_the_same_whatever_is_chosen_beside_it() -> None:
    log = table(60)
    audits = [choose(log, n_audit=10, n_chosen=n, new_terms=terms).query("kind == 'audit'")["request_id"].tolist()
              for n, terms in ((0, []), (30, ["r0001", "r0002"]))]
    assert audits[0] == audits[1]


def test_no_user_is_asked_about_more_than_five_times() -> None:
    asked = choose(table(60, n_users=2), n_audit=0, n_chosen=40, seed=0)
    assert len(asked) == 10


def test_audit_and_chosen_stay_in_their_pools_and_never_meet() -> None:
    log = table(60)
    judged, learned = log["request_id"][:20], log["request_id"][20:]
    asked = choose(log, n_audit=15, n_chosen=30, seed=0, audit_from=judged, chosen_from=learned)
    assert set(asked.query("kind == 'audit'")["request_id"]) <= set(judged) and len(asked) == 45
    assert set(asked.query("kind == 'chosen'")["request_id"]) <= set(learned)
    mixed = choose(log, n_audit=30, n_chosen=30, seed=0)
    assert mixed["request_id"].is_unique and len(mixed) == 60


def test_the_demo_world_answers_what_its_phones_have_sent() -> None:
    asked = pd.DataFrame({"request_id": ["a", "b", "c"], "kind": ["audit", "chosen", "chosen"], "reason": "x"})
    sent = pd.DataFrame({"request_id": ["b", "a", ""], "reference": ["play queen", "", "lost"]})
    labels = labelling.answers_from_demo(asked, sent)
    assert labels.to_dict("list") == {"request_id": ["a", "b"], "reference": ["", "play queen"],
                                      "labeller": ["demo", "demo"], "kind": ["audit", "chosen"]}


# --- sheets ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def log(root: Path) -> QueryLog:
    log = QueryLog()
    log.append([LoggedQuery(request_id=name, time_s=1.0, user_hash="h", consent="audio", audio_sha="ab" * 32,
                            hypothesis="play queen") for name in ("a", "b", "c")])
    return log


ASKED = pd.DataFrame({"request_id": ["a", "b", "c"], "kind": ["audit", "chosen", "chosen"], "reason": "audit"})


def test_people_get_a_sheet_that_does_not_tell_them_what_was_heard(log: QueryLog) -> None:
    sheet = labelling.export(ASKED, log.read(), "r")
    assert "play queen" not in sheet.read_text()
    written = pd.read_csv(sheet, dtype=str, keep_default_na=False)
    assert list(written) == list(labelling.SHEET) and set(written["request_id"]) == {"a", "b", "c"}
    assert written["audio_path"].str.endswith(f"production/audio/ab/{'ab' * 32}.wav").all()


def test_what_people_wrote_comes_back_normalized_and_silence_is_an_answer(log: QueryLog) -> None:
    sheet = labelling.export(ASKED, log.read(), "r")
    filled = pd.read_csv(sheet, dtype=str, keep_default_na=False).set_index("request_id")
    filled.loc["a", "reference"], filled.loc["b", "reference"] = " Play Queen! ", "[no speech]"
    filled.to_csv(sheet)
    assert labelling.bring(sheet, "r", by="ada", log=log) == 2
    labels = labelling.labels_of(ASKED, log).set_index("request_id")
    assert labels["reference"].to_dict() == {"a": "play queen", "b": ""}
    assert set(labels["labeller"]) == {"ada"} and labels["kind"].to_dict() == {"a": "audit", "b": "chosen"}
    assert "play queen" not in (labelling.folder("r") / "brought.json").read_text()


def test_another_filling_is_seen_as_another(log: QueryLog, tmp_path: Path) -> None:
    notes = []
    for words in ("play queen", "play adele"):
        (tmp_path / "s.csv").write_text(f"request_id,kind,reference\na,audit,{words}\n")
        labelling.bring(tmp_path / "s.csv", "r", by="ada", log=log)
        notes.append((labelling.folder("r") / "brought.json").read_text())
    assert notes[0] != notes[1]


@pytest.mark.parametrize(("content", "message"), [
    ("request_id,kind,reference\na,audit,\n", r"none of 1 rows has a reference.*\[no speech\]"),
    ("request_id,words\na,b\n", "lacks kind, reference; fill the reference column"),
    ("request_id,kind,reference\na,maybe,b\n", "kind is 'maybe'"),
    ("", "cannot be read as CSV"),
])
def test_a_sheet_that_is_none_is_refused(log: QueryLog, tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "s.csv").write_text(content)
    with pytest.raises(ManifestError, match=message):
        labelling.bring(tmp_path / "s.csv", "r", by="ada", log=log)


def test_a_sheet_that_is_not_there_is_named_with_where_it_lies(log: QueryLog, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"no sheet .*absent.csv; `workbench label export`"):
        labelling.bring(tmp_path / "absent.csv", "r", by="ada", log=log)


@pytest.mark.parametrize(("written", "is_enough"), [
    ([], False), (["a"], False), (["b", "c"], False), (["a", "b"], True), (["a", "b", "c"], True)])
def test_it_goes_on_with_half_of_each_kind(written: list[str], is_enough: bool) -> None:
    assert labelling.is_enough(ASKED, pd.DataFrame({"request_id": written})) == is_enough


def test_nothing_asked_is_never_enough() -> None:
    assert not labelling.is_enough(ASKED.head(0), pd.DataFrame({"request_id": []}))


def test_waiting_says_how_many_where_and_what_to_do(log: QueryLog) -> None:
    sheet = labelling.export(ASKED, log.read(), "r")
    decision = labelling.wait_for(ASKED, pd.DataFrame(), sheet, "r")
    assert decision.outcome == "waiting"
    assert "3 queries" in decision.sentence and "label import data/labels/r/asked.csv --run r" in decision.sentence


def test_the_sheet_is_found_once_it_was_asked_for(log: QueryLog) -> None:
    with pytest.raises(ManifestError, match="asks for no labels"):
        labelling.sheet_of("r")
    assert labelling.export(ASKED, log.read(), "r") == labelling.sheet_of("r")


def test_a_filled_sheet_comes_in_by_the_command_line(log: QueryLog, root: Path) -> None:
    sheet = pd.read_csv(labelling.export(ASKED, log.read(), "r"), dtype=str).assign(reference="play queen")
    sheet.to_csv(root / "filled.csv", index=False)
    before = storage.data_folder() / "labels" / "r" / "brought.json"
    assert not before.exists()
    done = CliRunner().invoke(cli.app, ["label", "import", str(root / "filled.csv"), "--run", "r", "--by", "ada"])
    assert done.exit_code == 0 and f"{len(ASKED)} labels kept" in done.output and before.exists()


def test_the_summary_counts_and_holds_no_words(log: QueryLog) -> None:
    labels = pd.DataFrame({"request_id": ["a"]})
    told = labelling.summary(ASKED, labels, log.read())
    assert told.iloc[0].to_dict() == {"reason": "audit", "n_asked": 3, "n_labelled": 1, "n_users": 1}


def test_what_people_marked_on_the_page_is_asked_first(root: Path) -> None:
    log = pd.DataFrame({
        "request_id": [f"q{i}" for i in range(40)], "user_hash": [f"u{i}" for i in range(40)], "consent": "audio",
        "audio_sha": [f"s{i}" for i in range(40)], "error": "", "role": "champion", "hypothesis": "play adele",
        "app_version": "3.1.0",
        "ctc_gap": np.linspace(0, 1, 40), "avg_logprob": np.linspace(-1, 0, 40), "no_speech_prob": 0.0,
        "compression_ratio": 0.8, "snr_db": 20.0, "bandwidth_hz": 7_000.0, "level_dbfs": -20.0, "duration_s": 2.0})
    with closing(Marks()) as marks:
        for name in ("q7", "q21", "elsewhere"):
            marks.add("label", "lizzo", utterance_id=name, by="ada")
    asked = choose(log, n_audit=0, n_chosen=6, seed=0, asked_for=labelling.asked_for())
    assert asked["request_id"].tolist()[:2] == ["q7", "q21"] and asked["reason"].tolist()[:2] == ["asked for"] * 2
    assert len(asked) == 6 == asked["request_id"].nunique()
    assert labelling.summary(asked, log.head(0).assign(reference=""), log).query("n_asked > 0")["reason"].tolist() == [
        "asked for", "likely wrong"]
    few = choose(log, n_audit=0, n_chosen=1, seed=0, asked_for={"q7", "q21"})
    assert few["reason"].tolist() == ["asked for"]
