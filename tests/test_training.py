"""The loop, on words that are tones: whether it learns, resumes and caches; not how well speech is understood."""

import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import whisper

from workbench import (
    audio,
    cross_fitting,
    objective,
    recognizers,
    repetition,
    scoring,
    side_by_side,
    storage,
    training,
    whisper_model,
)
from workbench.augmentation import Silence
from workbench.recipes import Fit, Recipe

ON_A_PROCESSOR = pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU adds up in any order, one fit at a time")
WORDS = {"one": 400.0, "two": 900.0, "three": 1800.0}
RECIPE = Recipe(
    augmentations=(Silence(0.05),),
    spec_augment=None,
    fit=Fit(batch_size=8, learning_rate=4e-3, n_warmup_steps=10, n_validations=2),
)


def tones(folder: Path, n: int, seed: int) -> pd.DataFrame:
    """Make recordings that say one to three words, each word a tone; a few say nothing."""
    rng, rows = np.random.default_rng(seed), []
    time_s = np.arange(4_000) / audio.SAMPLE_RATE_HZ
    for i in range(n):
        words = [] if i % 10 == 9 else list(rng.choice(list(WORDS), rng.integers(1, 4)))
        spoken = [np.sin(2 * np.pi * WORDS[w] * time_s) for w in words] or [np.zeros(4_000)]
        samples = (0.3 * np.concatenate(spoken) + rng.normal(0, 0.01, 4_000 * len(spoken))).astype("float32")
        path = folder / f"{seed}-{i}.wav"
        audio.write(path, samples)
        rows.append(
            {
                "utterance_id": path.stem,
                "audio_path": str(path),
                "reference": " ".join(words),
                "text": " ".join(words),
                "speaker": f"s{i % 4}",
                "duration_s": len(samples) / audio.SAMPLE_RATE_HZ,
                "audio_sha": audio.content_hash(samples),
                "split": "train",
                "source": "tones",
            }
        )
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, pd.DataFrame]:
    folder = tmp_path_factory.mktemp("tones")
    return tones(folder, 60, 0), tones(folder, 20, 1)


def fit(speech: tuple[pd.DataFrame, pd.DataFrame], n_steps: int, seed: int = 0,
        model: whisper_model.SpeechModel | None = None) -> training.FitResult:
    model = model or whisper_model.build("", "toy", seed=seed)
    return training.fit(model, speech[0], valid=speech[1], recipe=RECIPE, n_steps=n_steps, seed=seed)


def test_the_loop_learns_to_write_what_is_said_and_to_be_silent(
    root: Path, speech: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    done = fit(speech, 400)
    assert done.curve["step"].tolist() == [200, 400]
    assert done.curve["valid_wer"].iloc[-1] < 0.2
    heard = recognizers.transcribe(done.checkpoint, speech[1])
    scores = scoring.score(speech[1], heard["hypothesis"])
    assert scores["n_errors"].sum() / scores["n_words"].sum() == pytest.approx(done.curve["valid_wer"].min())
    silent = heard[speech[1]["reference"].eq("").to_numpy()]
    assert silent["hypothesis"].eq("").all()
    assert silent["no_speech_prob"].min() > heard["no_speech_prob"].median()
    assert whisper.load_model(str(done.checkpoint)).dims.n_audio_state == 64


def test_the_same_fit_is_read_from_the_cache_and_another_is_not(
    root: Path, speech: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    first = fit(speech, 4)
    written = first.checkpoint.stat().st_mtime_ns
    assert fit(speech, 4).checkpoint.stat().st_mtime_ns == written
    assert fit(speech, 5).key != first.key
    assert fit(speech, 4, seed=1).key != first.key
    corrected = speech[0].assign(reference="two")
    assert (
        training.fit(whisper_model.build("", "toy", seed=0), corrected, valid=speech[1], recipe=RECIPE, n_steps=4).key
        != first.key
    )


def _fit_saving_always(root: str, speech: tuple[pd.DataFrame, pd.DataFrame], n_steps: int) -> None:
    os.environ["WORKBENCH_ROOT"] = root
    torch.set_num_threads(1)
    os.environ["WORKBENCH_SAVE_EVERY_S"] = "0"
    fit(speech, n_steps)


def test_a_short_fit_learns_longer_than_it_validates(root: Path, tmp_path: Path) -> None:
    often = replace(RECIPE, fit=replace(RECIPE.fit, n_validations=8))
    model = whisper_model.build("", "toy", seed=0)
    table = tones(tmp_path, 20, 0)
    done = training.fit(model, table, valid=table.head(2), recipe=often, n_steps=11, seed=0)
    assert done.curve["step"].tolist() == [6, 11]



def test_a_training_killed_twice_ends_as_an_unbroken_one(
    root: Path, tmp_path: Path, speech: tuple[pd.DataFrame, pd.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    unbroken = fit(speech, 16)
    again = tmp_path / "again"
    (again / "notebooks").mkdir(parents=True)
    monkeypatch.setenv("WORKBENCH_ROOT", str(again))
    spawn = multiprocessing.get_context("spawn")
    seen = -1
    for at_least in (1, 9):  # before and after the validation at step 8
        process = spawn.Process(target=_fit_saving_always, args=(str(again), speech, 16))
        process.start()
        seen = _wait_for_a_save(again, at_least, process)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    assert 9 <= seen < 16
    resumed = fit(speech, 16)
    torch.set_num_threads(threads)
    assert resumed.key == unbroken.key
    assert resumed.curve["train_loss"].tolist() == pytest.approx(unbroken.curve["train_loss"].tolist(), abs=1e-6)
    first, second = (torch.load(f.checkpoint)["model_state_dict"] for f in (unbroken, resumed))
    assert all(torch.allclose(first[name], second[name], atol=1e-6) for name in first)


def _wait_for_a_save(root: Path, at_least: int, process: "multiprocessing.process.BaseProcess") -> int:
    """Wait until a step is saved. Returns: which."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.is_alive():
        for path in (root / "data" / "cache" / "fits").glob("*/resume.pt"):
            step = int(torch.load(path)["past"]["step"])
            if step >= at_least:
                return step
        time.sleep(0.05)
    raise AssertionError("the training ended, or saved nothing, before it could be killed")


def test_every_speaker_is_heard_by_a_model_that_never_heard_them(
    root: Path, speech: tuple[pd.DataFrame, pd.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained_on: list[set[str]] = []
    real = training.fit

    def spy(model: whisper_model.SpeechModel, train: pd.DataFrame, **how: object) -> training.FitResult:
        trained_on.append(set(train["speaker"]))
        return real(model, train, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(training, "fit", spy)
    heard = cross_fitting.fit_folds(lambda: whisper_model.build("", "toy", seed=0), speech[0], recipe=RECIPE, n_steps=2)
    assert sorted(heard["utterance_id"]) == sorted(speech[0]["utterance_id"])
    unheard = [{"s0", "s1", "s2", "s3"} - known for known in trained_on]  # in the order in which threads began
    assert sorted(map(sorted, unheard)) == [["s0"], ["s1"], ["s2"], ["s3"]]


def test_nothing_to_train_on_is_a_wrong_call(root: Path, speech: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    with pytest.raises(ValueError, match="no utterances"):
        training.fit(whisper_model.build("", "toy", seed=0), speech[0].iloc[:0], valid=None, recipe=RECIPE, n_steps=1)


def test_a_clips_answer_does_not_depend_on_its_neighbours(
    root: Path, speech: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    recognizer = recognizers.load(fit(speech, 120).checkpoint)
    recordings = [audio.read(path) for path in speech[1]["audio_path"]]
    together = recognizer.transcribe(recordings)
    alone = [recognizer.transcribe([recording])[0] for recording in recordings]
    assert [h.text for h in together] == [h.text for h in alone]
    assert [h.avg_logprob for h in together] == pytest.approx([h.avg_logprob for h in alone], abs=1e-3)


def test_a_padded_model_decodes_to_the_same_text_under_whisper_itself(
    root: Path, speech: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    padded = Recipe(
        context="padded",
        spec_augment=None,
        fit=Fit(batch_size=8, learning_rate=4e-3, n_warmup_steps=5, n_validations=1),
    )
    model = whisper_model.build("", "toy", seed=0, context="padded")
    done = training.fit(model, speech[0].head(16), valid=None, recipe=padded, n_steps=12)
    clips = speech[1][speech[1]["reference"].ne("")].head(6)
    recordings = [audio.read(path) for path in clips["audio_path"]]
    ours = recognizers.load(done.checkpoint).transcribe(recordings)
    plain = recognizers.PlainWhisper(done.checkpoint)
    theirs = plain.transcribe(recordings)
    assert [h.text for h in plain.transcribe(recordings[2:3])] == [theirs[2].text], "a neighbour changed an answer"
    said = [repetition.said_once(t.text) for h, t in zip(ours, theirs, strict=True) if h.text]
    assert [h.text for h in ours if h.text] == said


def test_a_decode_is_cached_by_weights_and_audio(root: Path, speech: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    checkpoint = fit(speech, 2).checkpoint
    first = recognizers.transcribe(checkpoint, speech[1])
    cached = list(storage.cache_folder("decodes").glob("*.parquet"))
    again = recognizers.transcribe(checkpoint, speech[1].assign(utterance_id=lambda t: t["utterance_id"] + "x"))
    assert list(storage.cache_folder("decodes").glob("*.parquet")) == cached
    assert again["hypothesis"].tolist() == first["hypothesis"].tolist()
    assert again["utterance_id"].str.endswith("x").all()


@pytest.fixture
def two_threads() -> Iterator[None]:
    n_threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(n_threads)


@ON_A_PROCESSOR
@pytest.mark.usefixtures("two_threads")
def test_fits_side_by_side_end_as_they_would_alone(root: Path, speech: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    def weights(done: training.FitResult) -> dict[str, torch.Tensor]:
        return whisper_model.load(done.checkpoint).state_dict()

    models = [whisper_model.build("", "toy", seed=seed) for seed in (0, 1)]
    fits = [partial(fit, speech, 12, seed, model) for seed, model in enumerate(models)]
    together = [weights(done) for done in side_by_side.run(fits)]
    assert torch.get_num_threads() == 2
    shutil.rmtree(storage.cache_folder("fits"))
    torch.set_num_threads(1)
    for seed, found in enumerate(together):
        alone = weights(fit(speech, 12, seed))
        assert all(torch.equal(found[name], alone[name]) for name in alone)


@ON_A_PROCESSOR
@pytest.mark.usefixtures("two_threads")
def test_what_ends_one_fit_ends_those_beside_it(root: Path, speech: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    began = threading.Event()

    def fail() -> training.FitResult:
        began.wait()
        raise MemoryError

    def go_on() -> training.FitResult:
        began.set()
        return fit(speech, 1_000_000)

    with pytest.raises(MemoryError):
        side_by_side.run([go_on, fail])


def test_the_tokens_of_words_are_those_of_the_references() -> None:
    from workbench import batches, whisper_model

    said = ["what's on in l'été", "o'clock", "", "play the blues", "rock and roll's", "two  spaces", " straße 9"]
    model = whisper_model.build("", "toy", seed=0)
    words = batches.tokenizer(model.whisper.is_multilingual)
    wanted = {token for each in {*said, ""} for tokens in batches.spell_tokens(each, words) for token in tokens}
    assert objective.occurring_tokens(said, model).tolist() == sorted(wanted)


def test_a_recipe_may_leave_out_the_warm_up(root: Path, tmp_path: Path) -> None:
    recipe = replace(RECIPE, fit=replace(RECIPE.fit, n_warmup_steps=0))
    done = training.fit(whisper_model.build("", "toy", seed=0), tones(tmp_path, 16, 0), valid=None, recipe=recipe,
                        n_steps=3)
    assert done.best_step == 3
