"""What runs left of models' answers, opened for a page; and words laid along a clip."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.test_exploring import listened
from workbench import answers, audio, cards, explorer, gates, storage
from workbench.errors import AudioError, StageError
from workbench.records import Decision
from workbench.selections import Selection

PROMISES = gates.save_fields(["wer at most 0.10"], "noise", ["quiet 0.8", "car 0.2"], [], 0.005)


def leave(run: str, stage: str, table: pd.DataFrame | None = None, **fields: object) -> None:
    """Finish a stage that leaves a table `listened`, or promises."""
    opened = storage.open_stage(stage, run)
    if table is not None:
        opened.save_table("listened", table)
    for name, value in fields.items():
        opened.save_json(name, value)
    opened.close(parameters={"slices": {"loud": "snr_db < 10"}}, metrics={}, decision=Decision("done", "Done."),
                 versions={"dataset": "abc"})


def heard(answers_to: pd.DataFrame | None = None) -> pd.DataFrame:
    table = (listened() if answers_to is None else answers_to).assign(split="dev", source="demo", avg_logprob=-0.1,
                                                                      heard_letters="x")
    return table.assign(audio_sha="sha-" + table["utterance_id"], audio_path="gone.wav")


@pytest.fixture
def run(root: Path) -> Path:
    """Give a project with one run: trained, analyzed, improved with two arms of which one was kept."""
    for number, stage in enumerate(("scope", "collect", "train", "analyze", "improve"), 1):
        (root / "notebooks" / f"0{number}_{stage}.ipynb").write_text("{}")
    (root / "notebooks" / "08_retrain.ipynb").write_text("{}")
    leave("default", "scope", promises=PROMISES)
    leave("default", "train", heard())
    leave("default", "analyze")
    arms = [heard().assign(arm=arm, is_accepted=arm == "treated") for arm in ("control", "treated")]
    leave("default", "improve", pd.concat(arms))
    return root


def test_every_models_answers_are_listed_and_the_accepted_latest_is_opened_first(run: Path) -> None:
    assert {source.title for source in answers.sources()} == {
        "default · train", "default · improve, control", "default · improve, treated"}
    assert answers.latest().title == "default · improve, treated"


def test_without_a_kept_arm_the_trained_model_is_the_latest(run: Path) -> None:
    leave("default", "improve", heard().assign(arm="treated", is_accepted=False))
    assert answers.latest("default").title == "default · train"


def test_a_run_that_asked_for_nothing_has_no_arms(run: Path) -> None:
    leave("default", "improve", heard())
    assert [source.stage for source in answers.sources("default")] == ["train"]


def test_a_table_that_is_lost_or_torn_leaves_the_other_models(run: Path) -> None:
    kept = storage.run_folder("default") / "05_improve" / "listened.parquet"
    kept.write_bytes(kept.read_bytes()[:100])
    assert answers.latest().title == "default · train"
    kept.unlink()
    assert [source.stage for source in answers.sources()] == ["train"]


def test_without_any_run_it_says_what_to_run(root: Path) -> None:
    (root / "notebooks" / "03_train.ipynb").write_text("{}")
    for stage in ("05_improve", "08_retrain"):
        (root / "notebooks" / f"{stage}.ipynb").write_text("{}")
    with pytest.raises(StageError, match="workbench run --to analyze` first"):
        answers.latest()
    with pytest.raises(StageError, match="--run mine` first"):
        answers.latest("mine")


def test_what_is_no_declared_part_of_use_is_said_to_be_left_out_and_is_no_slice(run: Path) -> None:
    table = heard().assign(noise=["car", "car", "quiet", "quiet", "cafe"])
    leave("other", "scope", promises=PROMISES)
    leave("other", "train", table)
    leave("other", "analyze")
    opened = answers.read(answers.latest("other"))
    assert "weighted to declared use by noise, without 1 of no declared noise" in explorer.path_line(opened)
    cafe, everything = (opened.data.mask(Selection(picked)) for picked in ({"noise": ("cafe",)}, {}))
    assert opened.data.slices(cafe).empty and np.isnan(opened.data.summary(cafe)["wer"].value)
    assert "noise = cafe" not in opened.data.slices(everything)["name"].tolist()


def test_an_opened_source_has_its_weights_slices_and_dataset(run: Path) -> None:
    opened = answers.read(answers.latest())
    assert len(opened.data) == 5 and "arm" not in opened.data.columns and "loud" in opened.data.names
    assert opened.dataset_version == "abc" and not opened.is_cross_fitted
    assert opened.data.weights == pytest.approx(np.array([0.5, 4 / 3, 0.5, 4 / 3, 4 / 3]))


def test_what_was_scored_once_is_read_again_and_anew_when_answers_change(run: Path) -> None:
    source = answers.latest("default")
    answers.read(source)
    folder = storage.cache_folder("explored")
    assert len(list(folder.iterdir())) == 1
    answers.read(source)
    assert len(list(folder.iterdir())) == 1
    changed = heard().assign(hypothesis=lambda t: t["reference"], arm="treated", is_accepted=True)
    leave("default", "improve", changed)
    assert answers.read(answers.latest("default")).data.errors.sum() == 0


def test_a_source_whose_scope_is_gone_says_what_to_run(run: Path) -> None:
    source = answers.latest()
    (storage.run_folder("default") / "01_scope" / "record.json").unlink()
    with pytest.raises(StageError, match="lost its scope; do `workbench run --to analyze --run default`"):
        answers.read(source)


def test_a_clip_is_found_by_its_content_wherever_the_project_lies(root: Path) -> None:
    sha = "ab" + "0" * 62
    kept = root / "data" / "datasets" / "audio" / "ab" / f"{sha}.wav"
    kept.parent.mkdir(parents=True)
    audio.write(kept, np.zeros(1600, np.float32))
    assert len(answers.samples({"audio_path": "/elsewhere/x.wav", "audio_sha": sha})) == 1600
    with pytest.raises(AudioError, match="not a file"):
        answers.samples({"audio_path": "/elsewhere/x.wav", "audio_sha": "cd"})


Times = list[tuple[str, float, float]]


def timed(reference: str, hypothesis: str, times: Times) -> list[tuple[str, str, float, float]]:
    row = {"reference": reference, "hypothesis": hypothesis, "word_times": json.dumps(times) if times else ""}
    return [word[:4] for word in answers.timed_words(row)]


def test_words_stand_where_they_were_heard_and_lost_ones_in_the_gap() -> None:
    times = [("play", 0.1, 0.4), ("a", 0.9, 1.0), ("dell", 1.0, 1.4)]
    assert timed("play some adele", "play a dell", times) == [
        ("play", "equal", 0.1, 0.4), ("some → a", "sub", 0.9, 1.0), ("adele → dell", "sub", 1.0, 1.4)]
    assert timed("play some a", "play a", times[:2]) == [
        ("play", "equal", 0.1, 0.4), ("(some)", "del", 0.4, 0.9), ("a", "equal", 0.9, 1.0)]
    assert timed("play", "play a", times[:2])[1] == ("+ a", "ins", 0.9, 1.0)


def test_a_word_lost_at_the_end_or_between_touching_words_is_still_seen() -> None:
    assert timed("play now", "play", [("play", 0.1, 0.4)])[1] == ("(now)", "del", 0.4, 0.4 + answers.MIN_WORD_S)


def test_without_times_for_every_word_there_are_none() -> None:
    assert timed("play", "play", []) == [] and timed("play it", "play it", [("play", 0.1, 0.4)]) == []


def test_opening_a_model_loads_neither_torch_nor_whisper() -> None:
    code = ("import sys, workbench.widgets.error_analysis, workbench.explorer; "
            "print([name for name in ('torch', 'whisper', 'mlflow', 'papermill') if name in sys.modules])")
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"


# --- the static twin -------------------------------------------------------------------------------------------------


def test_the_twin_opens_as_the_page_does_and_has_its_plots_and_its_worst_queries(run: Path) -> None:
    twin, opened = explorer.twin("default"), answers.read(answers.latest("default"))
    assert explorer.opening(opened) in twin and "run default" in twin
    plots = [part.partition("</script>")[0] for part in twin.split('<script type="application/json">')[1:]]
    assert plots and all(json.loads(plot)["data"] is not None for plot in plots)
    assert "<del>adele</del> <ins>a dell</ins>" in twin and "<td>(nothing)</td>" in twin
    for tile in explorer.tiles(opened):
        assert tile.value in twin


def test_the_twin_names_production_by_id_alone(run: Path) -> None:
    private = heard().assign(source=["production", *["demo"] * 4], arm="treated", is_accepted=True)
    leave("default", "improve", private)
    twin = explorer.twin("default")
    assert "adele" not in twin and "u1" in twin and "a query of production" in twin and "also" in twin


def test_the_twin_of_a_run_without_answers_says_what_to_run(run: Path) -> None:
    with pytest.raises(StageError, match="--run other"):
        explorer.twin("other")


def test_the_tiles_say_what_is_met_and_what_would_be(run: Path) -> None:
    opened = answers.read(answers.latest("default"))
    tiles = {tile.label: tile for tile in explorer.tiles(opened)}
    everything = opened.data.mask(Selection())
    assert tiles["Word error rate"].value == f"{100 * opened.data.summary(everything)['wer'].value:.1f} %"
    assert "target ≤" in tiles["Word error rate"].verdict


def many(n: int = 600) -> pd.DataFrame:
    """Give queries of 60 speakers, a third of them in cars; all are heard but every third in a car."""
    rows = [(f"u{i}", "play adele", "play a dell" if i % 9 == 1 else "play adele", f"s{i % 60}",
             "car" if i % 3 == 1 else "quiet", 5.0, "") for i in range(n)]
    return heard(pd.DataFrame(rows, columns=[*listened()]))


def tiles_of(run: str, table: pd.DataFrame) -> dict[str, cards.Tile]:
    leave(run, "scope", promises=PROMISES)
    leave(run, "train", table)
    return {tile.label: tile for tile in explorer.tiles(answers.read(answers.latest(run)))}


def test_the_tiles_name_the_slice_that_the_opening_names_and_none_where_it_names_none(run: Path) -> None:
    tiles = tiles_of("other", many())
    assert "Worst in cars" in explorer.opening(answers.read(answers.latest("other")))
    assert tiles["Worst slice, queries wrong"].verdict == "noise: car"
    assert tiles["Worst slice, queries wrong"].value == "33.5 %"
    assert tiles["If all were like quiet, WER"].value == "0.0 %"
    few_in_cars = ["car"] * 20 + ["quiet"] * 580
    faultless = tiles_of("faultless", many().assign(hypothesis="play adele", noise=few_in_cars))
    assert "Word error rate" in faultless and "Worst slice, queries wrong" not in faultless


def test_where_nobody_knows_who_spoke_every_tile_says_that_its_interval_is_too_narrow(run: Path) -> None:
    tiles = tiles_of("other", many().assign(speaker=None))
    assert len(tiles) == 5 and all("interval too narrow" in tile.interval for tile in tiles.values())
    assert explorer.twin("other").count("interval too narrow") == len(tiles)


def test_where_nobody_spoke_tiles_have_a_dash(run: Path) -> None:
    tiles = tiles_of("other", many().assign(reference=""))
    assert [tile.value for tile in tiles.values()] == ["–", "–", "–"]
