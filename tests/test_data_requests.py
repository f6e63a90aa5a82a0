import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from workbench import audio, cli, corpora, data_requests, datasets
from workbench.errors import ManifestError, RequestError

NEED: dict[str, Any] = {"column": "noise", "value": "car", "n_clips": 3, "method": "augment", "gain": 0.02,
                        "gain_low": 0.01, "gain_high": 0.03, "ceiling": 0.04, "ceiling_low": 0.03, "ceiling_high": 0.05,
                        "advice": "collect 3 recordings"}


def manifest(folder: Path, speakers: str, **columns: str) -> Path:
    """Write recordings of noise bursts, one a speaker named by a letter."""
    folder.mkdir()
    rng = np.random.default_rng(len(speakers))
    for i, _ in enumerate(speakers):
        audio.write(folder / f"{i}.wav", (0.1 * rng.normal(size=16_000)).astype("float32"))
    rows = pd.DataFrame({"audio_path": [f"{i}.wav" for i in range(len(speakers))], "text": "play adele",
                         "speaker": list(speakers)}).assign(**columns)
    rows.to_csv(folder / "manifest.csv", index=False)
    return folder / "manifest.csv"


@pytest.fixture
def speech(root: Path) -> datasets.Dataset:
    return corpora.collect([str(manifest(root / "base", "aabbcc", noise="quiet"))]).dataset


def test_the_same_need_is_asked_for_once(root: Path) -> None:
    first = data_requests.ask("mine", NEED, dataset_version="v1")
    assert data_requests.ask("mine", NEED, dataset_version="v1") == first
    assert data_requests.every("mine") == [first] and first.title == "3 utterances with noise = car"
    assert data_requests.ask("mine", NEED | {"value": "street"}, dataset_version="v1") != first
    assert data_requests.find(first.request_id) == first


def test_real_data_waits_for_people_and_says_what_they_do(root: Path, speech: datasets.Dataset) -> None:
    request = data_requests.ask("mine", NEED, dataset_version=speech.version)
    assert data_requests.bring(request, speech, size="toy", seed=0) is None
    decision = data_requests.wait_for(request, speech.table)
    assert decision.outcome == "waiting" and f"workbench fulfil {request.request_id}" in decision.sentence
    listed = pd.read_csv(next((root / "data" / "requests" / "mine").glob("*.record_list.csv")))
    assert listed["text"].tolist() == ["play adele"] and set(listed["noise"]) == {"car"}


def test_what_people_bring_becomes_a_new_version_and_leaves_the_old_one(root: Path, speech: datasets.Dataset) -> None:
    request = data_requests.ask("mine", NEED, dataset_version=speech.version)
    assert data_requests.fulfil(request.request_id, manifest(root / "more", "adde", noise="car"))[0].left_out == ""
    grown = data_requests.bring(request, speech, size="toy", seed=0)
    assert grown is not None and grown.version != speech.version
    assert len(grown.table) == 10 and grown.table["noise"].eq("car").sum() == 4
    assert len(datasets.load(speech.version).table) == 6


def test_recordings_that_another_request_or_the_manifest_brought_answer_a_request_without_a_round(
    root: Path, speech: datasets.Dataset
) -> None:
    first, second = (data_requests.ask("mine", NEED | {"value": noise}, dataset_version=speech.version)
                     for noise in ("car", "street"))
    more = manifest(root / "more", "adde")
    for request in (first, second):
        data_requests.fulfil(request.request_id, more)
    grown = data_requests.bring(first, speech, size="toy", seed=0)
    assert grown is not None and data_requests.bring(second, grown, size="toy", seed=0) is None
    assert data_requests.state(second) == "all are in the data already"
    assert data_requests.state(first) == "4 are in the data"


def test_speakers_who_judge_teach_nothing_and_that_is_said_at_once(root: Path) -> None:
    speech = corpora.collect([str(manifest(root / "base", "abcdefghijklmnopqrst" * 2, noise="quiet"))]).dataset
    assert not speech.is_few_speakers
    new = list("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    of = datasets.assign_splits(new, str(speech.card["salt"]))
    teaching, judging = ([name for name in new if (of[name] == "train") == wanted] for wanted in (True, False))
    request = data_requests.ask("mine", NEED, dataset_version=speech.version)
    with pytest.raises(RequestError, match="none of 3 recordings can be learned from.*bring some of other speakers"):
        data_requests.fulfil(request.request_id, manifest(root / "judges", "".join(judging[:3]), noise="car"))
    assert data_requests.state(request) == "open"

    more = manifest(root / "mixed", "".join([*judging[:2], *teaching[:2]]), noise="car")
    told = CliRunner().invoke(cli.app, ["fulfil", request.request_id, "--manifest", str(more)]).output
    assert f"4 recordings taken for {request.request_id}, 2 of them to learn from" in told
    grown = data_requests.bring(request, speech, size="toy", seed=0)
    assert grown is not None and len(grown.train) == len(speech.train) + 2


def test_a_manifest_that_changed_since_it_was_fulfilled_is_to_be_fulfilled_again(
    root: Path, speech: datasets.Dataset
) -> None:
    request = data_requests.ask("mine", NEED, dataset_version=speech.version)
    more = manifest(root / "more", "adde")
    data_requests.fulfil(request.request_id, more)
    more.write_text("\n".join(more.read_text().splitlines()[:-1]))
    again = f"changed.*workbench fulfil {request.request_id} --manifest"
    with pytest.raises(RequestError, match=again):
        data_requests.bring(request, speech, size="toy", seed=0)
    assert len(data_requests.fulfil(request.request_id, more)[0].good) == 3
    grown = data_requests.bring(request, speech, size="toy", seed=0)
    assert grown is not None and len(grown.table) == 9
    more.unlink()
    with pytest.raises(RequestError, match=again):
        data_requests.bring(request, speech, size="toy", seed=0)


def test_a_folder_of_recordings_fulfils_a_request_and_a_damaged_file_is_named(
    root: Path, speech: datasets.Dataset
) -> None:
    request = data_requests.ask("mine", NEED, dataset_version=speech.version)
    more = manifest(root / "more", "adde")
    for row in pd.read_csv(more).itertuples():
        (more.parent / row.audio_path).with_suffix(".txt").write_text(row.text)
    more.unlink()
    assert len(data_requests.fulfil(request.request_id, more.parent)[0].good) == 4
    assert data_requests.bring(request, speech, size="toy", seed=0) is not None
    assert [r.request_id for r in data_requests.every("mine")] == [request.request_id] and not data_requests.every("")
    (data_requests.folder("mine") / "torn.json").write_text('{"a": 1}')
    with pytest.raises(RequestError, match=r"torn.json is damaged or of another version"):
        data_requests.every()


def test_who_fulfils_a_request_is_told_what_was_left_out_and_nothing_of_collects_parameters(
    root: Path, speech: datasets.Dataset
) -> None:
    request = data_requests.ask("mine", NEED, dataset_version=speech.version)
    more = manifest(root / "more", "defghijklmnopqrstuvwx")
    rows = pd.read_csv(more)
    rows.loc[rows.index == 4, "text"] = ""
    rows.to_csv(more, index=False)
    told = CliRunner().invoke(cli.app, ["fulfil", request.request_id, "--manifest", str(more)]).output
    assert "1 of 21 rows left out: line 6: text is empty; write down what is said\n20 recordings taken" in told
    assert data_requests.fulfilment(request) is not None
    pd.concat([rows.head(5), rows.tail(5)]).to_csv(more, index=False)
    with pytest.raises(ManifestError, match="1 of 10 rows cannot be used, at most 5% .*Mend or drop these rows$"):
        data_requests.fulfil(request.request_id, more)


def test_an_unknown_request_names_the_known_ones(root: Path) -> None:
    request = data_requests.ask("mine", NEED, dataset_version="v1")
    with pytest.raises(RequestError, match=request.request_id):
        data_requests.find("yours-123")


def test_a_manifest_that_does_not_pass_fulfils_nothing(root: Path) -> None:
    request = data_requests.ask("mine", NEED, dataset_version="v1")
    (root / "bad.csv").write_text("audio_path,speaker\na.wav,b\n")
    with pytest.raises(ManifestError, match="text"):
        data_requests.fulfil(request.request_id, root / "bad.csv")
    assert data_requests.fulfilment(request) is None


# --- people's requests -----------------------------------------------------------------------------------------------


def person_asks(speech: datasets.Dataset, where: dict[str, str], n: int = 3, by: str = "ada") -> data_requests.Request:
    return data_requests.ask_for("mine", where, n, by=by, reason="worst in my town", dataset_version=speech.version)


@pytest.fixture
def varied(root: Path) -> datasets.Dataset:
    rows = pd.read_csv(manifest(root / "base", "aabbccddeeffgghhiijjkk"))
    rows = rows.assign(noise=["quiet", "car"] * 11, device=["wide", "narrow", "narrow"] * 7 + ["wide"])
    rows.to_csv(root / "base" / "manifest.csv", index=False)
    return corpora.collect([str(root / "base" / "manifest.csv")]).dataset


def test_a_person_asks_by_several_conditions_once_and_is_named(varied: datasets.Dataset) -> None:
    first = person_asks(varied, {"noise": "car", "device": "narrow"})
    assert first.title == "3 utterances with noise = car and device = narrow" and first.by == "ada"
    assert person_asks(varied, {"device": "narrow", "noise": "car"}, by="eve") == first
    data_requests.ask("mine", NEED, dataset_version=varied.version)
    assert data_requests.of_people("mine") == [first] and len(data_requests.every("mine")) == 2
    told = data_requests.listing(data_requests.every("mine")).set_index("by")
    assert told.loc["ada", "expected_gain"] == "not estimated" and told.loc["analyze", "state"] == "open"


@pytest.mark.parametrize(("where", "n", "by", "message"), [
    ({"noise": "car"}, 3, " ", "type yours once"), ({"noise": "car"}, 0, "ada", "ask for 1 to"),
    ({"noise": "car"}, 10**6, "ada", "ask for 1 to 20,000"), ({}, 3, "ada", "everything.*noise"),
    ({"weather": "rain"}, 3, "ada", "weather.*pick slices by.*noise"),
])
def test_a_request_that_nobody_could_answer_is_not_taken(
    varied: datasets.Dataset, where: dict[str, str], n: int, by: str, message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        person_asks(varied, where, n, by)
    assert data_requests.every() == []


def test_what_people_bring_for_a_person_has_all_that_was_asked_for(varied: datasets.Dataset, root: Path) -> None:
    request = person_asks(varied, {"noise": "car", "device": "narrow"})
    listed = pd.read_csv(data_requests.record_list(request, varied.table))
    assert set(listed["noise"]) == {"car"} and set(listed["device"]) == {"narrow"}
    data_requests.fulfil(request.request_id, manifest(root / "more", "adz", noise="car"))
    assert data_requests.state(request) == "3 brought"
    grown = data_requests.bring(request, varied, size="toy", seed=0)
    assert grown is not None and data_requests.state(request) == "3 are in the data"
    new = grown.table[grown.table["utterance_id"].str.startswith(request.request_id)]
    assert new["device"].tolist() == ["narrow"] * 3
    assert len(data_requests.every("mine")) == 1


def test_a_request_file_of_old_with_one_condition_is_read(root: Path) -> None:
    old = {"request_id": "mine-1", "run": "mine", "column": "noise", "value": "car", "n_utterances": 3,
           "method": "augment", "expected_gain": {"value": 0.1, "low": 0.0, "high": 0.2, "note": ""},
           "reason": "", "dataset_version": "v1"}
    data_requests.folder("mine").mkdir(parents=True)
    (data_requests.folder("mine") / "mine-1.json").write_text(json.dumps(old))
    assert data_requests.find("mine-1").where == {"noise": "car"} and data_requests.find("mine-1").gain.high == 0.2


def test_what_the_demo_world_cannot_record_for_a_person_is_refused_and_said(varied: datasets.Dataset) -> None:
    demo = datasets.save(varied.table.assign(source="demo"))
    request = person_asks(demo, {"noise": "car", "speaker": "nobody there"})
    assert data_requests.bring(request, demo, size="toy", seed=0) is None
    assert "refused: only 0 of 3 clips" in data_requests.state(request)


@pytest.mark.slow
def test_the_demo_world_answers_a_person_by_all_conditions(root: Path) -> None:
    speech = corpora.collect(["demo"], size="toy", seed=0).dataset
    request = person_asks(speech, {"noise": "car", "snr_band": "0-5", "accent": "en-029"}, n=4)
    grown = data_requests.bring(request, speech, size="toy", seed=0)
    assert grown is not None
    new = grown.table[~grown.table["utterance_id"].isin(speech.table["utterance_id"])]
    assert new["noise"].tolist() == ["car"] * 4 and set(new["accent"]) == {"en-029"}
    assert new["snr_db"].between(0, 5).all()
    other = data_requests.bring(request, speech, size="toy", seed=0, number=1)
    assert other is not None and not set(other.table["audio_sha"]) >= set(new["audio_sha"])
    reseeded = data_requests.bring(request, speech, size="toy", seed=1)  # other recordings of the same people
    elsewhere = data_requests.bring(request, speech, size="toy", seed=0, world_seed=1)
    assert reseeded is not None and elsewhere is not None
    phones = speech.table.groupby("speaker")["device"].first().to_dict()
    assert all(phones.get(row.speaker, row.device) == row.device for row in reseeded.table.itertuples())
    assert not set(elsewhere.table["audio_sha"]) >= set(new["audio_sha"])


@pytest.mark.slow
def test_the_demo_world_answers_by_itself_with_training_voices(root: Path) -> None:
    speech = corpora.collect(["demo"], size="toy", seed=0).dataset
    request = data_requests.ask("mine", NEED, dataset_version=speech.version)
    grown = data_requests.bring(request, speech, size="toy", seed=0)
    assert grown is not None
    new = grown.table[~grown.table["utterance_id"].isin(speech.table["utterance_id"])]
    assert new["noise"].tolist() == ["car"] * 3 and set(new["split"]) == {"train"}
    assert set(new["speaker"]) <= set(speech.train["speaker"])
