"""Any model on any manifest: what is scored, and what is said of rows that could not be."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from workbench import audio, cli, evaluation, recognizers
from workbench.errors import ManifestError
from workbench.records import Hypothesis


class Deaf:
    """Hears the same in everything."""

    def transcribe(self, recordings: Sequence[audio.Samples]) -> list[Hypothesis]:
        return [Hypothesis("play adele", 0.0, 0.0, 1.0) for _ in recordings]


@pytest.fixture
def listed(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """List forty recordings, of which one is too long."""
    monkeypatch.setattr(recognizers, "load", lambda name: Deaf())
    rng = np.random.default_rng(0)
    for i in range(40):
        samples = rng.normal(size=16_000 * (40 if i == 5 else 1)) / 10
        audio.write(root / f"{i}.wav", samples.astype("float32"))
    rows = pd.DataFrame({"audio_path": [f"{i}.wav" for i in range(40)], "text": "play adele",
                         "speaker": [f"s{i // 2}" for i in range(40)], "noise": ["car", "quiet"] * 20})
    rows.to_csv(root / "manifest.csv", index=False)
    return root / "manifest.csv"


def test_what_could_not_be_scored_is_told_in_the_first_row(listed: Path) -> None:
    found = evaluation.evaluate("deaf", listed, by="noise")
    assert found["n_utterances"].tolist() == [39, 20, 19] and found["wer"].eq(0).all()
    assert found["left_out"].str.startswith("1 of 40 rows left out: line 7: audio is 40.0 s long").tolist() == [
        True, False, False]


def test_what_could_not_be_scored_is_told_on_the_command_line_and_in_the_numbers(listed: Path) -> None:
    told = CliRunner().invoke(cli.app, ["evaluate", "deaf", "--manifest", str(listed), "--json",
                                        str(listed.with_name("numbers.json"))])
    assert "1 of 40 rows left out: line 7: audio is 40.0 s long" in told.output
    numbers = json.loads(listed.with_name("numbers.json").read_text())
    assert [row["slice"] for row in numbers] == ["all"] and numbers[0]["left_out"].startswith("1 of 40 rows left out")


def test_too_many_bad_rows_are_to_be_mended_as_no_parameter_allows_them_here(listed: Path) -> None:
    pd.read_csv(listed).head(8).to_csv(listed, index=False)
    with pytest.raises(ManifestError, match="1 of 8 rows cannot be used, at most 5% .*Mend or drop these rows$"):
        evaluation.evaluate("deaf", listed)
