"""The demo world is heard: voices speak, clips come out alike every time, slices can be asked for, no process stays."""

import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.processes import descendants, wait_until, wait_until_gone
from workbench import audio, demo_world, settings, synthesis
from workbench.audio import Samples
from workbench.errors import SynthesisError
from workbench.synthesis import USE_SHARES, plan, world

TINY = dataclasses.replace(settings.AMOUNTS["toy"], n_train=20, n_valid=2, n_dev=12, n_gate=4, n_test=2)


def some(n: int = 40, split: str = "dev", seed: int = 0) -> pd.DataFrame:
    return plan(world(0), split=split, n=n, mix=USE_SHARES, seed=seed, n_voices=60)


def give_up(_samples: Samples) -> dict[str, str]:
    """Stand in for a store, and die: the test runs it in the speaking process."""
    os._exit(9)


@pytest.fixture(scope="module")
def module_root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("project")
    (folder / "notebooks").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKBENCH_ROOT", str(folder))
        patch.setitem(settings.AMOUNTS, "tiny", TINY)
        yield folder


@pytest.fixture(scope="module")
def told() -> list[int]:
    return []


@pytest.fixture(scope="module")
def collected(module_root: Path, told: list[int]) -> pd.DataFrame:
    return synthesis.collect(size="tiny", seed=0, progress=told.append)


# --- one voice -------------------------------------------------------------------------------------------------------


def test_a_voice_says_the_same_whatever_was_said_before() -> None:
    first = synthesis.speak("weather in paris", "en-029+croak", pitch=50, speed=160, seed=4)
    synthesis.speak("play queen", "en-us+f2", pitch=40, speed=130, seed=1)
    again = synthesis.speak("weather in paris", "en-029+croak", pitch=50, speed=160, seed=4)
    assert np.array_equal(first, again)


def test_a_slower_voice_takes_longer_and_neither_end_is_silent() -> None:
    slow, fast = (synthesis.speak("how to make apple pie", "en-us+m3", pitch=50, speed=s) for s in (120, 170))
    assert 1.0 < audio.duration_s(fast) < audio.duration_s(slow) < 3
    assert audio.peak(slow[:800]) > 0.001 and audio.peak(slow[-1600:]) > 0.001


def test_espeak_has_every_accent_and_variant_of_the_world_and_no_two_sound_alike() -> None:
    names = [f"{accent}+f3" for accent in demo_world.ACCENTS]
    names += [f"en-us+{variant}" for variant in (*demo_world.FEMALE, *demo_world.MALE) if variant != "f3"]
    heard = {synthesis.speak("hi there", name, pitch=50, speed=170).tobytes() for name in names}
    assert len(heard) == len(names) == 94  # an unknown variant would be left out, and two of them sound alike


@pytest.mark.parametrize("accent", demo_world.ACCENTS)
def test_data_laid_out_for_many_clips_speaks_as_the_package_s_own(accent: str, tmp_path: Path) -> None:
    own = synthesis.speak("hi there", f"{accent}+klatt4", pitch=50, speed=170)
    before = synthesis._DATA.set(synthesis._link_data(tmp_path))
    try:
        linked = synthesis.speak("hi there", f"{accent}+klatt4", pitch=50, speed=170)
    finally:
        synthesis._DATA.reset(before)
    assert linked.tobytes() == own.tobytes() and (tmp_path / "lang" / accent).is_symlink()


def test_where_data_cannot_be_laid_out_the_package_s_own_is_spoken_from(
        monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    long = tmp_path / ("a" * 120)
    long.mkdir()
    assert synthesis._link_data(long) == "" and synthesis._link_data(long) == ""  # the second finds links there


def test_an_accent_that_does_not_exist_is_named() -> None:
    with pytest.raises(SynthesisError, match=r"no voice 'en-moon\+f1'"):
        synthesis.speak("hello", "en-moon+f1", pitch=50, speed=150)


def test_without_espeak_one_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(SynthesisError, match=r"pip install -e '\.\[demo\]'"):
        synthesis.render(some(4))


# --- the whole collection --------------------------------------------------------------------------------------------


def test_a_collection_has_all_splits_in_the_amounts_of_its_size(collected: pd.DataFrame, told: list[int]) -> None:
    assert collected["split"].value_counts().to_dict() == {"train": 20, "valid": 2, "dev": 12, "gate": 4, "test": 2}
    assert collected["utterance_id"].is_unique and sum(told) == len(collected) == 40


def test_a_collection_says_what_a_clip_is_and_not_how_it_was_made(collected: pd.DataFrame) -> None:
    assert set(collected) == {
        "utterance_id", "text", "speaker", "split", "noise", "snr_db", "accent", "gender", "device", "intent",
        "entity", "entity_type", "source", "audio_path", "audio_sha", "duration_s", "level_dbfs"}
    assert set(collected["source"]) == {"demo"}


def test_every_clip_lies_in_the_store_under_its_hash(collected: pd.DataFrame, module_root: Path) -> None:
    for row in collected.itertuples():
        samples = audio.read(module_root / "data" / str(row.audio_path))
        assert audio.content_hash(samples) == row.audio_sha
        assert audio.duration_s(samples) == pytest.approx(row.duration_s, abs=1e-3)


def test_clips_last_as_long_as_queries_do_and_none_is_clipped_or_mute(collected: pd.DataFrame) -> None:
    assert collected["duration_s"].between(0.8, 6).all() and 1.5 < collected["duration_s"].mean() < 3.5
    assert collected["level_dbfs"].between(-60, -5).all()


def test_a_clip_made_alone_is_the_one_made_among_others(collected: pd.DataFrame) -> None:
    planned = plan(world(0), split="dev", n=12, mix=USE_SHARES, seed=0, n_voices=60).to_dict("records")
    alone = {row["utterance_id"]: audio.content_hash(synthesis.clip(row)) for row in reversed(planned)}
    assert alone == collected.query("split == 'dev'").set_index("utterance_id")["audio_sha"].to_dict()


def test_a_car_is_heard_as_noisy_and_a_quiet_room_as_quiet(collected: pd.DataFrame, module_root: Path) -> None:
    spoken = collected[collected["text"] != ""]
    heard = [audio.estimate_snr_db(audio.read(module_root / "data" / path)) for path in spoken["audio_path"]]
    by_place = spoken.assign(heard=heard).groupby("noise")["heard"].median()
    assert by_place["quiet"] > by_place["car"] + 10


def test_a_production_week_is_recorded_once_and_apart_from_the_datasets(root: Path) -> None:
    told: list[int] = []
    week = synthesis.collect_week(seed=0, week=3, n=12, traffic_seed=4, progress=told.append)
    again = synthesis.collect_week(seed=0, week=3, n=12, traffic_seed=4, progress=told.append)
    pd.testing.assert_frame_equal(week, again)
    assert sum(told) == len(week) == 12 and week["time_s"].is_monotonic_increasing
    assert {"user", "consent", "text", "device", "app_version"} <= set(week)
    for row in week.itertuples():
        assert audio.content_hash(audio.read(Path(str(row.audio_path)))) == row.audio_sha
    assert not (root / "data" / "datasets").exists()


# --- slices ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def unspoken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the sound: what is chosen to be spoken is the question."""
    monkeypatch.setattr(synthesis, "render", lambda rows, **_: rows)


@pytest.mark.parametrize("where", [{"noise": "car"}, {"accent": "en-029"}, {"entity_type": "artist"},
                                   {"snr_band": "<0 dB"}, {"noise": "street", "gender": "female"}])
def test_what_was_asked_for_comes_from_training_speakers(where: dict[str, str], unspoken: None) -> None:
    rows = synthesis.collect_more(seed=0, size="small", where=where, n=150, round_seed=1)
    assert len(rows) == 150 and set(rows["split"]) == {"train"}
    known = {s.speaker for s in world(0).speakers if s.split == "train"}
    assert set(rows["speaker"]) <= known
    for column, value in where.items():
        assert (rows["snr_db"] < 0).all() if column == "snr_band" else set(rows[column]) == {value}


def test_two_rounds_bring_different_clips_under_different_ids(unspoken: None) -> None:
    first, again, second = (synthesis.collect_more(seed=0, size="small", where={"noise": "car"}, n=50, round_seed=r)
                            for r in (1, 1, 2))
    pd.testing.assert_frame_equal(first, again)
    assert not set(first["utterance_id"]) & set(second["utterance_id"])
    assert not first["snr_db"].equals(second["snr_db"])


def test_a_column_the_world_does_not_know_is_refused_with_those_it_does() -> None:
    with pytest.raises(SynthesisError, match=r"cannot record by long_car; ask by one of noise, snr_band, accent"):
        synthesis.collect_more(seed=0, size="toy", where={"long_car": "yes"}, n=5, round_seed=1)


def test_a_slice_that_does_not_exist_is_refused_with_what_turned_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthesis, "MAX_ATTEMPTS", 2)
    with pytest.raises(SynthesisError, match="only 0 of 5 clips with .*moon.* turned up in 8,000"):
        synthesis.collect_more(seed=0, size="toy", where={"noise": "moon"}, n=5, round_seed=1)


# --- processes -------------------------------------------------------------------------------------------------------


def test_a_speaking_process_that_is_killed_says_so(root: Path) -> None:
    with pytest.raises(SynthesisError, match="was killed.*run the same command"):
        synthesis.render(some(4), store=give_up)


@pytest.mark.slow
def test_the_processes_end_when_the_caller_is_killed(root: Path) -> None:
    program = ("from workbench.synthesis import plan, render, world\nif __name__ == '__main__':\n"
               "    render(plan(world(0), split='train', n=4000, mix={'quiet': 1}, seed=0, n_voices=60))")
    (root / "speak.py").write_text(program, encoding="utf-8")
    caller = subprocess.Popen([sys.executable, "speak.py"], cwd=root, stderr=subprocess.DEVNULL,
                              env={**os.environ, "WORKBENCH_ROOT": str(root)})
    wait_until(lambda: any((root / "data").rglob("*.wav")))
    speakers = descendants(caller.pid)
    caller.send_signal(signal.SIGKILL)
    caller.wait()
    assert len(speakers) >= 4  # two that speak, what they are forked from, and Python's tracker of resources
    wait_until_gone(*speakers)


@pytest.mark.slow
def test_the_world_can_be_collected_from_a_notebook(root: Path) -> None:
    import nbformat
    import papermill

    cells = ["from workbench import synthesis\nw = synthesis.world(0)",
             "rows = synthesis.render(synthesis.plan(w, split='dev', n=4, mix={'quiet': 1}, seed=0, n_voices=60))",
             "assert rows['duration_s'].gt(0).all() and len(rows) == 4"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells],
                                        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    nbformat.write(notebook, root / "collect.ipynb")
    papermill.execute_notebook(root / "collect.ipynb", root / "out.ipynb", cwd=root, progress_bar=False)
    assert len(list((root / "data").rglob("*.wav"))) == 4
