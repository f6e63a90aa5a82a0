"""Forgetting, looked for with a magnifying glass in every file and table; time limits; clips whose row never came."""

import contextlib
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from workbench import audio, consent, consented_audio, datasets, query_log, shared_runs, storage
from workbench.audio import Samples
from workbench.errors import QueryLogError, SettingsError
from workbench.marks import Marks
from workbench.query_log import LoggedQuery, QueryLog

ANN, BOB = "ann@example.org", "bob@example.org"
WORDS = {ANN: "directions to xylophone lane", BOB: "weather in tomorrowland"}
WEIGHTS = "f" * 64


def voice(number: int) -> Samples:
    return np.random.default_rng(number).uniform(-0.5, 0.5, 8_000).astype(np.float32)


def row(user: str, number: int, **fields: object) -> LoggedQuery:
    known = {"request_id": f"{user[:3]}-{number}", "time_s": float(number), "consent": "audio",
             "user_hash": query_log.user_hash(user), "hypothesis": WORDS[user], "heard_letters": WORDS[user]}
    return LoggedQuery(**(known | fields))  # type: ignore[arg-type]


def served(log: QueryLog, n: int = 3) -> None:
    """Let both users ask, with consent, and people label the first query of each."""
    for first, user in ((0, ANN), (100, BOB)):
        log.append([row(user, i, audio_sha=consented_audio.store_clip(voice(first + i))) for i in range(n)])
    log.add_labels(pd.DataFrame({"request_id": ["ann-0", "bob-0"], "reference": [WORDS[ANN], WORDS[BOB]],
                                 "labeller": "eve", "kind": "chosen"}))
    with contextlib.closing(Marks()) as marks:
        for first, user in ((0, ANN), (100, BOB)):
            marks.add("reference", WORDS[user], utterance_id=f"{user[:3]}-0", by="eve",
                      audio_sha=audio.content_hash(voice(first)))
            marks.add("name", WORDS[user].split()[-1], audio_sha=audio.content_hash(voice(first + 1)), by="eve")


def given(user: str, numbers: Sequence[int], first: int) -> list[dict[str, object]]:
    return [{"utterance_id": f"{user[:3]}-{i}", "text": WORDS[user], "speaker": query_log.user_hash(user),
             "split": "train", "source": "production", "samples": voice(first + i)} for i in numbers]


def learned_from(log: QueryLog) -> tuple[datasets.Dataset, datasets.Dataset]:
    """Make a base version and one with what users gave, and what stages, phones and caches leave behind."""
    base = datasets.save(datasets.store_rows([
        {"utterance_id": f"base-{i}", "text": "play jazz", "speaker": f"speaker-{i}", "split": "train",
         "source": "demo", "samples": voice(1000 + i)} for i in range(12)]))
    more = datasets.extend(base, given(ANN, [0, 1], 0) + given(BOB, [0, 1], 100), "retrain")
    stage = storage.run_folder("default") / "08_retrain"
    judged = pd.DataFrame({"utterance_id": ["ann-2", "bob-2", "base-1"], "reference": [WORDS[ANN], WORDS[BOB], "jazz"]})
    storage.write_table(stage / "judging.parquet", judged)
    storage.write_table(stage / "other.parquet", pd.DataFrame({"slice": ["all"], "wer": [0.1]}))
    judged.rename(columns={"utterance_id": "request_id"}).to_csv(stage / "labels.csv", index=False)
    storage.write_json(stage / "record.json", {"stage": "retrain", "run": "default", "outputs": {"model.pt": WEIGHTS},
                                               "versions": {"dataset": more.version}})
    storage.write_json(storage.data_folder() / "models" / "registry" / "default-retrain-1" / "facts.json",
                       {"run": "default", "stage": "deploy", "checkpoint": WEIGHTS})
    storage.write_table(storage.cache_folder("decodes") / "x.parquet", pd.DataFrame({"hypothesis": [WORDS[ANN]]}))
    phones = storage.data_folder() / "traffic" / "1"
    sent = [{"user": user, "request_id": f"{user[:3]}-{i}", "text": WORDS[user],
             "audio_sha": audio.content_hash(voice(first + i))}
            for first, user in ((0, ANN), (100, BOB)) for i in (0, 1)]
    storage.write_table(phones / "week-1.parquet", pd.DataFrame(sent))
    for phone in sent:
        (phones / "audio").mkdir(exist_ok=True)
        shutil.copy(consented_audio.clip_path(phone["audio_sha"]), phones / "audio")
    return base, more


def traces(root: Path, user: str, first: int) -> dict[str, list[str]]:
    """Look for a user in the name, the bytes and, decoded, the tables of every file under a project."""
    sounds = [voice(first + i) for i in range(3)]
    searched = {"id": user.encode(), "hash": query_log.user_hash(user).encode(), "words": WORDS[user].encode(),
                **{f"name of sound {i}": audio.content_hash(s).encode() for i, s in enumerate(sounds)},
                **{f"sound {i}": audio.pcm16(s[1000:1400]).tobytes() for i, s in enumerate(sounds)}}
    found: dict[str, list[str]] = {}
    for path in (path for path in root.rglob("*") if path.is_file()):
        seen = b"\n".join([path.name.encode(), path.read_bytes(), *decoded(path)])
        for what in (what for what, needle in searched.items() if needle in seen):
            found.setdefault(what, []).append(str(path.relative_to(root)))
    return found


def decoded(path: Path) -> Iterator[bytes]:
    if path.suffix == ".parquet":
        yield pd.read_parquet(path).to_csv().encode()
    if path.suffix == ".db":
        with sqlite3.connect(path) as connection:
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                yield repr(connection.execute(f"SELECT * FROM {name}").fetchall()).encode()


@pytest.fixture
def log(root: Path) -> Iterator[QueryLog]:
    (root / "notebooks" / "08_retrain.ipynb").write_text("{}")
    made = QueryLog()
    yield made
    made.close()


# --- forgetting ------------------------------------------------------------------------------------------------------


def test_a_forgotten_user_is_in_no_file_and_no_table_and_others_are_untouched(root: Path, log: QueryLog) -> None:
    served(log)
    base, more = learned_from(log)
    before, of_bob = traces(root, ANN, 0), traces(root, BOB, 100)
    assert set(before) == set(of_bob) >= {"id", "hash", "words", "sound 0", "sound 1", "sound 2"}  # the glass works
    done = consent.forget(ANN, log)
    assert traces(root, ANN, 0) == {}
    database = {"data/queries.db", "data/queries.db-wal"}  # rows move from one to the other; they are read below
    assert {what: set(files) - database for what, files in traces(root, BOB, 100).items()} == {
        what: set(files) - database for what, files in of_bob.items()}
    assert (done.n_queries, done.n_clips, done.n_table_rows) == (3, 5, 4)
    assert done.datasets == (more.version,) and done.models == ("default/retrain", "default-retrain-1")
    assert "3 queries" in str(done) and more.version in str(done)
    assert {row["value"] for row in Marks().rows()} == {WORDS[BOB], "tomorrowland"}
    rows = log.read()
    assert rows["request_id"].tolist() == [f"{user}-{i}" for user in ("ann", "bob") for i in range(3)]
    assert rows["hypothesis"].tolist() == [""] * 3 + [WORDS[BOB]] * 3 and rows["audio_sha"].ne("").sum() == 3


def test_a_dataset_keeps_its_name_and_says_that_it_is_not_what_it_was(root: Path, log: QueryLog) -> None:
    served(log)
    base, more = learned_from(log)
    consent.forget(ANN, log)
    left = datasets.load(more.version)
    assert set(left.table["utterance_id"]) == set(base.table["utterance_id"]) | {"bob-0", "bob-1"}
    assert left.card["tombstones"][0]["n_removed"] == 2 and left.card["is_reproducible"] is False
    assert left.card["n_utterances"] == len(left.table)
    assert all(Path(path).is_file() for path in left.table["audio_path"])
    assert datasets.load(base.version).card == base.card


def test_nothing_of_a_forgotten_user_is_kept_again(root: Path, log: QueryLog) -> None:
    served(log)
    consent.forget(ANN, log)
    log.append([row(ANN, 9, audio_sha=audio.content_hash(voice(0)))])
    assert traces(root, ANN, 0) == {} and log.last_row() == 7
    again = consent.forget(ANN, log)
    assert (again.n_queries, again.n_clips, again.datasets) == (0, 0, ())


def test_without_the_secret_that_names_users_nobody_is_said_to_be_forgotten(root: Path, log: QueryLog) -> None:
    served(log)
    log.check_secret()  # as a server does, before it writes
    secret = root / "data" / "secret.key"
    known = secret.read_bytes()
    for found, message in ((None, "is missing"), (b"1" * 32, "is not the one"), (b"cut", "holds 3 bytes")):
        secret.unlink()
        if found:
            secret.write_bytes(found)
        with pytest.raises(SettingsError, match=f"{message}.*bring the old file back"):
            consent.forget(ANN, log)
        secret.write_bytes(known)
    assert log.read()["hypothesis"].ne("").all() and not log.is_forgotten(query_log.user_hash(ANN))
    assert consent.forget(ANN, log).n_queries == 3


def test_a_name_is_read_as_the_server_reads_it_and_one_that_never_asked_is_doubted(root: Path, log: QueryLog) -> None:
    served(log)
    stranger = consent.forget("an@example.org", log)
    assert "No query of this user was ever logged here; is it the id that the app sends" in str(stranger)
    assert not stranger.is_known and log.is_forgotten(query_log.user_hash("an@example.org"))
    assert consent.forget("an@example.org", log).is_known, "who was forgotten before is no surprise"
    assert consent.forget(f" {ANN}\n", log).n_queries == 3
    assert "ever logged" not in str(consent.forget(ANN, log))


def test_many_users_forgotten_one_by_one_leave_nothing_in_the_database_files(root: Path, log: QueryLog) -> None:
    rng = np.random.default_rng(1)
    users = [f"user-{i:03d}" for i in range(30)]
    for block in range(6):
        log.append([LoggedQuery(request_id=rng.bytes(8).hex(), time_s=float(block), user_hash=query_log.user_hash(user),
                                hypothesis=f"words of {user} " * int(rng.integers(1, 60)), consent="audio")
                    for user in rng.choice(users, 300)])
    for n_gone, user in enumerate(users, 1):
        consent.forget(user, log)
        held = b"".join(path.read_bytes() for path in (root / "data").glob("queries.db*"))
        assert not [other for other in users[:n_gone] if f"words of {other}".encode() in held]
        assert not [other for other in users[:n_gone] if query_log.user_hash(other).encode() in held]
    assert len(log.read()) == 6 * 300


def test_a_forgetting_that_was_cut_off_is_finished_by_the_same_call(
    root: Path, log: QueryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    served(log)
    learned_from(log)
    with monkeypatch.context() as patch, pytest.raises(QueryLogError):
        patch.setattr(storage, "write_table", lambda *_: (_ for _ in ()).throw(QueryLogError("cut off")))
        consent.forget(ANN, log)
    assert log.is_forgotten(query_log.user_hash(ANN)) and traces(root, ANN, 0) != {}
    assert consent.forget(ANN, log).n_queries == 3
    assert traces(root, ANN, 0) == {}


@pytest.mark.parametrize("step", ["_delete_clips", "_forget_in_tables"])
def test_wherever_a_forgetting_is_cut_off_the_same_call_deletes_the_clips_and_names_what_had_used_them(
    root: Path, log: QueryLog, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    served(log)
    _, more = learned_from(log)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(consent, step, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        consent.forget(ANN, log)
    done = consent.forget(ANN, log)
    assert traces(root, ANN, 0) == {}
    assert done.datasets == (more.version,) and done.models == ("default/retrain", "default-retrain-1")


def test_a_recording_that_another_user_sent_too_stays_theirs(root: Path, log: QueryLog) -> None:
    sha = consented_audio.store_clip(voice(7))
    log.append([row(ANN, 1, audio_sha=sha), row(BOB, 1, audio_sha=sha)])
    consent.forget(ANN, log)
    assert consented_audio.clip_path(sha).is_file() and log.audio_shas() == {sha}
    consent.forget(BOB, log)
    assert not consented_audio.clip_path(sha).exists()


def test_a_table_that_cannot_be_read_is_named(root: Path, log: QueryLog) -> None:
    damaged = storage.run_folder("default") / "08_retrain" / "heard.parquet"
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"PAR1 and nothing else")
    done = consent.forget(ANN, log)
    assert done.unreadable == ("runs/default/08_retrain/heard.parquet",) and "look yourself" in str(done)


def test_a_reader_in_the_way_is_told_of_rather_than_passed_over(
    root: Path, log: QueryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workbench.log_database.PATIENCE_S", 0.1)
    impatient = QueryLog()
    served(impatient)
    with sqlite3.connect(root / "data" / "queries.db") as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM queries").fetchone()
        with pytest.raises(QueryLogError, match="end the reader and run the same command"):
            consent.forget(ANN, impatient)
        reader.rollback()
    consent.forget(ANN, impatient)
    assert traces(root, ANN, 0) == {}


# --- time limits -----------------------------------------------------------------------------------------------------


def test_words_without_consent_go_after_days_and_clips_after_more(root: Path, log: QueryLog) -> None:
    now_s, day_s = 1.8e9, 86_400.0
    shas = [consented_audio.store_clip(voice(i)) for i in range(2)]
    log.append([row(ANN, 0, time_s=now_s - 8 * day_s, consent=""), row(ANN, 1, time_s=now_s - 6 * day_s, consent=""),
                row(ANN, 2, time_s=now_s - 91 * day_s, audio_sha=shas[0]),
                row(BOB, 0, time_s=now_s - 89 * day_s, audio_sha=shas[1])])
    done = consent.enforce_retention(log, now_s, 7, 90)
    assert (done.n_queries, done.n_clips) == (1, 1)
    assert log.read()["hypothesis"].tolist() == ["", WORDS[ANN], WORDS[ANN], WORDS[BOB]]
    assert [consented_audio.clip_path(sha).exists() for sha in shas] == [False, True]
    assert consent.enforce_retention(log, now_s, 7, 90) == consent.Retention(0, 0)


def test_a_clip_whose_row_never_came_is_swept_and_a_fresh_one_is_not(root: Path, log: QueryLog) -> None:
    lost, fresh = (consented_audio.store_clip(voice(i)) for i in range(2))
    os.utime(consented_audio.clip_path(lost), (0, 0))
    assert consent.enforce_retention(log, 0.0, 7, 90).n_clips == 1
    assert not consented_audio.clip_path(lost).exists() and consented_audio.clip_path(fresh).exists()
    os.utime(consented_audio.clip_path(fresh), (0, 0))
    assert consented_audio.store_clip(voice(1)) == fresh  # the same sound comes again, and is about to have a row
    assert consent.enforce_retention(log, 0.0, 7, 90).n_clips == 0


def test_a_clip_that_is_renamed_while_it_is_looked_at_does_not_end_the_sweep(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = consented_audio.clip_path(consented_audio.store_clip(voice(0)))
    os.utime(lost, (0, 0))
    listed = [lost.with_name(".renamed.wav"), lost]
    monkeypatch.setattr(Path, "glob", lambda *_: iter(listed))
    assert consented_audio.sweep(set(), older_than_s=600) == 1 and not lost.exists()


def test_a_clip_is_kept_once_for_its_owner_only_and_reads_as_it_was(root: Path) -> None:
    sha = consented_audio.store_clip(voice(1))
    assert consented_audio.store_clip(voice(1)) == sha
    (path,) = (root / "data" / "production").rglob("*.wav")
    assert path == consented_audio.clip_path(sha) and path.stat().st_mode & 0o777 == 0o600
    assert np.allclose(audio.read(path), voice(1), atol=1e-4)
    assert consented_audio.delete_clip(sha) and not consented_audio.delete_clip(sha)


def test_the_report_can_be_sent_as_json(root: Path, log: QueryLog) -> None:
    from dataclasses import asdict

    assert json.loads(json.dumps(asdict(consent.forget(ANN, log))))["n_queries"] == 0


def test_forgetting_reaches_the_team_s_store_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one machine published is forgotten by another one that has no copy of it."""
    shared = tmp_path / "shared"
    shared.mkdir()
    monkeypatch.setenv("WORKBENCH_STORE_URL", f"file://{shared}")
    monkeypatch.setenv("WORKBENCH_QUERY_LOG_URL", f"sqlite:///{tmp_path}/log.db")
    for name in ("serving", "other"):
        (tmp_path / name / "notebooks").mkdir(parents=True)
        (tmp_path / name / "data").mkdir()
        (tmp_path / name / "data" / "secret.key").write_bytes(b"0" * 32)
    monkeypatch.setenv("WORKBENCH_ROOT", str(tmp_path / "serving"))
    with contextlib.closing(QueryLog()) as log:
        served(log)
        _, more = learned_from(log)
        storage.write_text(shared_runs.reports_folder("default") / "index.html", "a page")
        shared_runs.publish("default")
    monkeypatch.setenv("WORKBENCH_ROOT", str(tmp_path / "other"))
    gone = consent.forget(ANN)
    assert gone.datasets == (more.version,) and gone.n_table_rows >= 2
    needles = (WORDS[ANN].encode(), b"ann-", query_log.user_hash(ANN).encode())
    for path in (path for path in shared.rglob("*") if path.is_file()):
        text = pd.read_parquet(path).to_csv().encode() if path.suffix == ".parquet" else path.read_bytes()
        assert not [needle for needle in needles if needle in text], path
        assert audio.content_hash(voice(0)) not in path.name and audio.content_hash(voice(1)) not in path.name
    assert len(list(shared.rglob(f"{audio.content_hash(voice(100))}.wav"))) == 1  # Bob's stays
    again = datasets.load(more.version)
    assert again.card["is_reproducible"] is False and len(again.table) == 14
