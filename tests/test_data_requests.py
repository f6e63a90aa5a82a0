from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from workbench import audio, corpora, data_requests, datasets
from workbench.errors import ManifestError, RequestError

NEED: dict[str, Any] = {"column": "noise", "value": "car", "n_clips": 3, "method": "augment", "gain": 0.02,
                        "gain_low": 0.01, "gain_high": 0.03, "advice": "collect 3 recordings"}


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
    decision = data_requests.wait_for(request, speech.table["text"])
    assert decision.outcome == "waiting" and f"workbench fulfil {request.request_id}" in decision.sentence
    listed = pd.read_csv(next((root / "data" / "requests" / "mine").glob("*.record_list.csv")))
    assert listed["text"].tolist() == ["play adele"] and set(listed["noise"]) == {"car"}


def test_what_people_bring_becomes_a_new_version_and_leaves_the_old_one(root: Path, speech: datasets.Dataset) -> None:
    request = data_requests.ask("mine", NEED, dataset_version=speech.version)
    assert data_requests.fulfil(request.request_id, manifest(root / "more", "adde", noise="car")) == 4
    grown = data_requests.bring(request, speech, size="toy", seed=0)
    assert grown is not None and grown.version != speech.version
    assert len(grown.table) == 10 and grown.table["noise"].eq("car").sum() == 4
    assert len(datasets.load(speech.version).table) == 6


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


@pytest.mark.slow
def test_the_demo_world_answers_by_itself_with_training_voices(root: Path) -> None:
    speech = corpora.collect(["demo"], size="toy", seed=0).dataset
    request = data_requests.ask("mine", NEED, dataset_version=speech.version)
    grown = data_requests.bring(request, speech, size="toy", seed=0)
    assert grown is not None
    new = grown.table[~grown.table["utterance_id"].isin(speech.table["utterance_id"])]
    assert new["noise"].tolist() == ["car"] * 3 and set(new["split"]) == {"train"}
    assert set(new["speaker"]) <= set(speech.train["speaker"])
