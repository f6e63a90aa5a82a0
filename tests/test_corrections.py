"""Corrected references: a new version beside the old one, and an honest rate of what was wrong."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from workbench import corrections, datasets
from workbench.corrections import Corrected


@pytest.fixture
def speech(root: Path) -> datasets.Dataset:
    rng = np.random.default_rng(0)
    return datasets.save(datasets.store_rows([
        {"utterance_id": f"u-{i}", "text": "Songs by Adele", "speaker": f"s-{i // 2}", "source": "demo",
         "split": "dev" if i < 20 else "train", "entity": "adele",
         "samples": rng.uniform(-.1, .1, 800).astype("float32")} for i in range(30)]), salt="x")


def said(speech: datasets.Dataset, words: dict[str, tuple[str, str, str]]) -> pd.DataFrame:
    """Give marks as `marks.latest` does: what, by whom and drawn how, by utterance."""
    shas = speech.table.set_index("utterance_id")["audio_sha"]
    return pd.DataFrame([{"audio_sha": shas[name], "value": value, "by": by, "drawn": drawn}
                         for name, (value, by, drawn) in words.items()],
                        columns=["audio_sha", "value", "by", "drawn"])


def test_a_correction_makes_a_new_version_and_leaves_the_old_one(speech: datasets.Dataset) -> None:
    done = corrections.apply(speech, said(speech, {"u-1": ("Songs by a-ha!", "eve", "suspect")}))
    assert done.dataset.version != speech.version and done.dataset.card["parent"] == speech.version
    assert done.dataset.card["note"] == "1 references corrected by eve" and done.dataset.card["salt"] == "x"
    row = done.dataset.table.set_index("utterance_id").loc["u-1"]
    assert row["reference"] == row["text"] == "songs by a ha" and row["entity"] == ""
    others = ~speech.table["utterance_id"].eq("u-1")
    pd.testing.assert_frame_equal(done.dataset.table[others], speech.table[others])
    assert set(datasets.load(speech.version).table["reference"]) == {"songs by adele"}
    assert done.changes.to_dict("records") == [{"utterance_id": "u-1", "split": "dev", "before": "songs by adele",
                                                "after": "songs by a ha", "by": "eve"}]


def test_a_name_that_is_still_said_stays_the_entity(speech: datasets.Dataset) -> None:
    done = corrections.apply(speech, said(speech, {"u-1": ("play Adele", "eve", "")}))
    assert set(done.dataset.table["entity"]) == {"adele"}


def test_a_reference_found_right_changes_nothing_but_is_counted(speech: datasets.Dataset) -> None:
    done = corrections.apply(speech, said(speech, {"u-1": ("songs by ADELE", "eve", "random")}))
    assert done.dataset is speech and len(done.heard) == 1 and done.changes.empty


def test_without_corrections_the_dataset_is_the_same(speech: datasets.Dataset) -> None:
    done = corrections.apply(speech, said(speech, {}))
    assert done.dataset is speech and done.heard.empty and corrections.rates(done.heard).empty
    assert list(done.heard.columns) == corrections.HEARD


def test_marks_of_recordings_that_are_not_in_the_data_are_left_alone(speech: datasets.Dataset) -> None:
    elsewhere = pd.DataFrame({"audio_sha": ["elsewhere"], "value": ["x"], "by": ["eve"], "drawn": [""]})
    assert corrections.apply(speech, elsewhere).dataset is speech


def test_the_rate_of_those_drawn_by_chance_stands_apart_from_the_suspects(speech: datasets.Dataset) -> None:
    words = {f"u-{i}": ("nobody" if i == 0 else "songs by adele", "eve", "random") for i in range(10)}
    words |= {f"u-{i}": ("nobody" if i < 16 else "songs by adele", "ada", "suspect") for i in range(12, 18)}
    found = corrections.rates(corrections.apply(speech, said(speech, words)).heard).set_index("drawn")
    assert found["n_heard"].to_dict() == {"random": 10, "suspect": 6}
    assert found["n_wrong"].to_dict() == {"random": 1, "suspect": 4}
    assert found.loc["random", "share"] == pytest.approx(.1)
    assert found.loc["random", "share_low"] < .1 < found.loc["random", "share_high"] < .6
    assert isinstance(corrections.apply(speech, said(speech, {})), Corrected)
