"""A long cell's bar: a file under the pipeline, drawn by hand, never a nuisance."""

from pathlib import Path

import pytest

from workbench import live, progress


def test_under_the_pipeline_a_bar_is_a_file_and_draws_nothing(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "progress.json"
    monkeypatch.setenv("WORKBENCH_PROGRESS_FILE", str(file))
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_WRITES", 0.0)
    words = [progress.read(file) for _ in progress.track(["a", "b"], "adding")]
    assert words == ["adding 0/2 (0%)", "adding 1/2 (50%)"]
    assert not file.exists() and progress.read(file) == ""
    with progress.Bar("training", total=1800) as bar:
        bar.update(812, "training, loss 0.31")
        assert progress.read(file) == "training, loss 0.31 812/1,800 (45%)"
    assert capfd.readouterr() == ("", "")


def test_it_writes_at_most_twice_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "progress.json"
    monkeypatch.setenv("WORKBENCH_PROGRESS_FILE", str(file))
    with progress.Bar("counting") as bar:
        written = file.stat().st_ino
        for _ in range(100):
            bar.advance()
        assert file.stat().st_ino == written


def test_a_folder_that_is_gone_costs_the_bar_and_not_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_PROGRESS_FILE", str(tmp_path / "gone" / "progress.json"))
    assert list(progress.track(iter([1, 2]), "adding")) == [1, 2]


def test_by_hand_a_bar_is_drawn(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("WORKBENCH_PROGRESS_FILE", raising=False)
    assert list(progress.track([1, 2], "adding")) == [1, 2]
    assert "adding" in capfd.readouterr().err


@pytest.mark.parametrize(("seconds", "words"), [(4.21, "4.2 s"), (187, "3:07"), (3723, "1:02:03")])
def test_times_are_worded_as_people_do(seconds: float, words: str) -> None:
    assert live.duration(seconds) == words
