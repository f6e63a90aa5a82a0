"""The fast engine against PyTorch, on toy models: of random weights, and of tones that are words."""

import itertools
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import ctranslate2
import numpy as np
import pandas as pd
import pytest
import torch
import whisper
from whisper.model import ModelDimensions

from tests import published
from tests.serving.conftest import serving
from workbench import audio, batches, engines, recognizers, recognizing, repetition, whisper_model
from workbench.biasing import BiasingList, Rules
from workbench.errors import CheckpointError, SettingsError
from workbench.records import Hypothesis
from workbench.whisper_model import SpeechModel

NOISES = [np.random.default_rng(n).normal(0, 0.1, n).astype("float32") for n in (1, 3_000, 16_000, 16_001, 40_000)]
NUMBERS = ("avg_logprob", "no_speech_prob", "compression_ratio", "ctc_gap")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = whisper_model.build("", "toy", seed=0)
    return whisper_model.save(model, tmp_path_factory.mktemp("random") / "model.pt")


def assert_same(found: list[Hypothesis], wanted: list[Hypothesis], tolerance: float = 1e-3) -> None:
    assert [(f.text, f.heard_letters) for f in found] == [(w.text, w.heard_letters) for w in wanted]
    for name in NUMBERS:
        ours, theirs = ([getattr(h, name) for h in answers] for answers in (found, wanted))
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance, err_msg=name)


def test_float32_answers_as_pytorch_in_every_field(trained: tuple[Path, pd.DataFrame], tmp_path: Path) -> None:
    checkpoint, clips = trained
    recordings = [audio.read(path) for path in clips["audio_path"]]
    wanted = recognizers.load(checkpoint).transcribe(recordings)
    assert len({h.text for h in wanted}) > 5 and "" in {h.text for h in wanted}
    fast = engines.FastRecognizer(engines.export(checkpoint, tmp_path / "engine", quantization="float32"))
    assert_same(fast.transcribe(recordings), wanted)


@pytest.mark.parametrize("quantization", ["int8", "float16"])
def test_fewer_bits_answer_nearly_as_pytorch(
    quantization: engines.Quantization, trained: tuple[Path, pd.DataFrame], tmp_path: Path
) -> None:
    checkpoint, clips = trained
    wanted = recognizers.decode(recognizers.load(checkpoint), clips)
    engine = engines.export(checkpoint, tmp_path / "engine", quantization=quantization)
    heard = recognizers.decode(engines.FastRecognizer(engine), clips)
    assert heard.columns.tolist() == wanted.columns.tolist()
    found = engines.parity(clips, wanted, heard)
    assert found.share_changed.value <= 0.1 and abs(found.wer_difference.value) <= 0.05
    assert (heard["avg_logprob"] - wanted["avg_logprob"]).abs().median() < 0.05
    assert (heard["ctc_gap"] - wanted["ctc_gap"]).abs().median() < 0.1
    assert (engine / "model.bin").stat().st_size < 0.6 * checkpoint.stat().st_size


def test_answers_stop_at_the_same_length_and_do_not_depend_on_neighbours(checkpoint: Path, tmp_path: Path) -> None:
    wanted = recognizers.load(checkpoint).transcribe(NOISES)
    fast = engines.FastRecognizer(engines.export(checkpoint, tmp_path / "engine", quantization="float32"))
    assert_same(fast.transcribe(NOISES), wanted)  # random weights never end an answer: its length is the limit's
    assert_same([fast.transcribe([noise])[0] for noise in NOISES], wanted)
    assert fast.transcribe([]) == []


@pytest.mark.parametrize(("n_vocab", "n_mels"), [(51_864, 80), (51_865, 80), (51_866, 128)])
def test_every_published_kind_of_whisper_has_its_tokens_in_place(n_vocab: int, n_mels: int, tmp_path: Path) -> None:
    dims = ModelDimensions(n_mels, 1500, 64, 2, 1, n_vocab, 448, 64, 2, 1)
    torch.manual_seed(0)
    model = SpeechModel(dims, has_head=False)
    torch.nn.init.normal_(model.whisper.decoder.positional_embedding, std=0.01)
    path = tmp_path / "plain.pt"
    torch.save({"dims": asdict(dims), "model_state_dict": model.whisper.state_dict()}, path)
    wanted = recognizers.load(path).transcribe(NOISES[3:])
    fast = engines.FastRecognizer(engines.export(path, tmp_path / "engine", quantization="float32"))
    assert fast.context == "padded"
    assert_same(fast.transcribe(NOISES[3:]), wanted)
    assert_same([fast.transcribe([noise])[0] for noise in NOISES[3:]], wanted)
    assert all(h.heard_letters == "" and np.isnan(h.ctc_gap) for h in wanted)


def test_an_engine_hears_the_language_that_its_model_was_told(tmp_path: Path) -> None:
    base = published.checkpoint(tmp_path / "base.pt", kind="multilingual", width=64, n_layers=1)
    answers = {}
    for language in ("en", "de"):
        path = whisper_model.save(whisper_model.load(base, language=language), tmp_path / f"{language}.pt")
        fast = engines.FastRecognizer(engines.export(path, tmp_path / language, quantization="float32"))
        answers[language] = fast.transcribe(NOISES[3:])
        assert_same(answers[language], recognizers.load(path).transcribe(NOISES[3:]))
    assert answers["en"][0].avg_logprob != answers["de"][0].avg_logprob


def test_a_language_of_many_tokens_is_not_cut_short(tmp_path: Path) -> None:
    query, second = "मुझे कल सुबह सात बजे का अलार्म लगाना है आज दिल्ली में मौसम कैसा रहेगा", audio.SAMPLE_RATE_HZ
    base = published.checkpoint(tmp_path / "base.pt", kind="multilingual", width=64, n_layers=1)
    longest = {}
    for language in ("en", "hi"):
        model = whisper_model.load(base, language=language)
        path = whisper_model.save(model, tmp_path / f"{language}.pt")
        both = recognizers.load(path), engines.FastRecognizer(engines.export(path, tmp_path / language))
        longest[language], = {recognizer._kind(np.zeros(5 * second))[1] for recognizer in both}
    n_tokens = len(batches.tokenizer_of(model).encode(f" {query}"))
    assert longest["en"] < n_tokens + 1 <= longest["hi"], "with the end of the answer"


def test_what_whisper_never_writes_the_engine_never_writes(tmp_path: Path) -> None:
    model = whisper_model.build("", "toy", seed=0)
    words, decoder = whisper.tokenizer.get_tokenizer(False), model.whisper.decoder
    with torch.no_grad():  # as if every answer wanted to be a bracket, and then a word
        bracket, word = (decoder.token_embedding.weight[words.encode(text)[0]] for text in ("[", " play"))
        decoder.ln.bias += 40 * bracket / bracket.norm() ** 2 + 39 * word / word.norm() ** 2
    path = whisper_model.save(model, tmp_path / "model.pt")
    wanted = recognizers.load(path).transcribe(NOISES[2:3])
    fast = engines.FastRecognizer(engines.export(path, tmp_path / "engine", quantization="float32"))
    assert wanted[0].text == "play" and wanted[0].compression_ratio > repetition.MAX_COMPRESSION
    assert_same(fast.transcribe(NOISES[2:3]), wanted)


def test_threads_that_share_an_engine_get_their_own_answers(checkpoint: Path, tmp_path: Path) -> None:
    fast = engines.FastRecognizer(engines.export(checkpoint, tmp_path / "engine"), n_threads=1)
    wanted = [fast.transcribe([noise])[0] for noise in NOISES]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda noise: fast.transcribe([noise])[0], NOISES * 4))
    assert [h.text for h in found] == [h.text for h in wanted * 4]


def test_batches_heard_at_once_are_answered_as_one_after_the_other(checkpoint: Path, tmp_path: Path) -> None:
    engine, clips = engines.export(checkpoint, tmp_path / "engine"), NOISES * 12
    for one in (both := [engines.FastRecognizer(engine, n_at_once=n) for n in (1, 3)]):
        one.batch_size = 4
    one_by_one, at_once = (recognizer.transcribe(clips) for recognizer in both)
    assert len(at_once) == len(clips) > 12 and at_once == one_by_one
    with pytest.raises(TypeError):
        both[1].transcribe([*NOISES, None])  # type: ignore[list-item]


@pytest.mark.parametrize("quantization", ["int8", "float32"])
@pytest.mark.parametrize("n_best", [1, 3])
def test_a_clip_is_answered_alike_alone_and_in_any_company(
        trained: tuple[Path, pd.DataFrame], quantization: engines.Quantization, n_best: int, tmp_path: Path) -> None:
    checkpoint, clips = trained
    engine = engines.export(checkpoint, tmp_path / "engine", quantization=quantization)
    names = BiasingList({"four": "", "three": ""}, Rules(n_best=n_best))
    recordings = [audio.read(path) for path in clips["audio_path"]]
    recordings += [np.tile(recording, 2) for recording in recordings[:12]]  # of another length
    alone = engines.FastRecognizer(engine, n_at_once=1).biased(names)
    wanted = [alone.transcribe([recording])[0] for recording in recordings]
    assert len({answer.text for answer in wanted}) > 3, "they say different things"
    for n_at_once, batch_size, seed in itertools.product((1, 2, 3), (2, 8), (0, 1)):
        recognizer = engines.FastRecognizer(engine, n_at_once=n_at_once).biased(names)
        recognizer.batch_size = batch_size
        order = np.random.default_rng(seed).permutation(len(recordings))
        heard = recognizer.transcribe([recordings[i] for i in order])
        assert_same(heard, [wanted[i] for i in order])


def test_a_gpu_that_ctranslate2_cannot_use_is_said_and_the_processor_hears(
        checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engines.export(checkpoint, tmp_path / "engine")
    wanted = engines.FastRecognizer(engine).transcribe(NOISES)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: 1)  # as where its libraries are another version's
    with pytest.warns(UserWarning, match="hears on the processor, for CTranslate2 cannot use the GPU"):
        fast = engines.FastRecognizer(engine)
    assert fast.transcribe(NOISES) == wanted


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux lists what a process has loaded")
def test_a_server_of_an_engine_holds_no_pytorch_however_much_it_answered(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "notebooks").mkdir()
    engine = engines.export(checkpoint, tmp_path / "engine")
    with serving(tmp_path, "--model", str(engine), "--engine", "fast", "--no-auth") as server:
        assert {answer.status_code for answer in server.wait_ready().send_many(16)} == {200}
        loaded = Path(f"/proc/{server.process.pid}/maps").read_text(encoding="utf-8")
    assert "ctranslate2" in loaded and "libtorch" not in loaded


def test_an_engine_leaves_pytorch_its_threads(checkpoint: Path, tmp_path: Path) -> None:
    n_threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        engines.FastRecognizer(engines.export(checkpoint, tmp_path / "engine"), n_at_once=2).transcribe(NOISES)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(n_threads)


def test_pytorch_too_hears_batches_at_once(trained: tuple[Path, pd.DataFrame]) -> None:
    checkpoint, clips = trained
    recordings, n_threads, found = [audio.read(path) for path in clips["audio_path"]], torch.get_num_threads(), []
    try:
        for n in (1, 3):
            torch.set_num_threads(n)
            recognizer = recognizers.load(checkpoint, has_times=True)
            recognizer.batch_size = 4
            found.append(recognizer.transcribe(recordings))
            assert torch.get_num_threads() == n
    finally:
        torch.set_num_threads(n_threads)
    assert len(recordings) > 16 and found[1] == found[0]


def test_an_engine_is_made_once_and_anew_for_other_weights_or_bits(checkpoint: Path, tmp_path: Path) -> None:
    engine = engines.export(checkpoint, tmp_path / "engine")
    written = (engine / "model.bin").stat().st_mtime_ns
    engines.export(checkpoint, engine)
    assert (engine / "model.bin").stat().st_mtime_ns == written
    engines.export(checkpoint, engine, quantization="float32")
    assert engines.facts(engine)["quantization"] == "float32"
    other = whisper_model.save(whisper_model.build("", "toy", seed=1), tmp_path / "other.pt")
    before = engines.facts(engine)["checkpoint"]
    assert engines.facts(engines.export(other, engine, quantization="float32"))["checkpoint"] != before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["engine", "other.pt"]


def test_an_export_that_is_cut_off_leaves_nothing(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", fill_disk)
    with pytest.raises(SettingsError, match="the disk is full"):
        engines.export(checkpoint, tmp_path / "engine")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["model.bin", "head.npz", "vocabulary.json", "config.json", "workbench.json"])
@pytest.mark.parametrize("harm", ["missing", "cut short", "altered"])
def test_a_harmed_engine_is_refused_and_mended_by_another_export(
    name: str, harm: str, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    engine = tmp_path_factory.getbasetemp() / "whole"
    if not engine.is_dir():
        engines.export(checkpoint, engine)
    harmed = shutil.copytree(engine, tmp_path_factory.mktemp("harmed") / "engine")
    content = (harmed / name).read_bytes()
    (harmed / name).unlink()
    if harm != "missing":
        (harmed / name).write_bytes(content[:-50] if harm == "cut short" else b"{" + content[1:-1] + b"x")
    with pytest.raises(CheckpointError, match="export the checkpoint again"):
        engines.FastRecognizer(harmed)
    engines.FastRecognizer(engines.export(checkpoint, harmed))


def test_parity_counts_changed_answers_and_added_errors_by_speaker() -> None:
    utterances = pd.DataFrame({
        "utterance_id": [f"u{i}" for i in range(10)], "speaker": [f"s{i % 5}" for i in range(10)],
        "reference": ["play the song"] * 10,
    })
    reference = utterances[["utterance_id"]].assign(hypothesis="play the song")
    heard = reference.assign(hypothesis=["play a song", "Play the song."] + ["play the song"] * 8)
    found = engines.parity(utterances, reference, heard.sample(frac=1, random_state=0))
    assert found.n_utterances == 10
    assert found.share_changed.value == pytest.approx(0.2)
    assert found.wer_difference.value == pytest.approx(1 / 30)
    assert found.wer_difference.low < 1 / 30 < found.wer_difference.high
    same = engines.parity(utterances, reference, reference)
    assert same.share_changed.value == 0 and same.share_changed.high > 0 and same.wer_difference.value == 0


def test_wide_models_hear_fewer_clips_at_once() -> None:
    assert [recognizing.batch_size(width, 8, 16) for width in (64, 384, 512, 768, 1280)] == [16, 8, 4, 2, 2]


def test_few_clips_are_divided_evenly_among_the_cores(
        checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard, decode = [], engines.FastRecognizer._decode

    def noted(self: engines.FastRecognizer, waveforms: np.ndarray, n_tokens: int) -> list[Hypothesis]:
        heard.append(len(waveforms))
        return decode(self, waveforms, n_tokens)

    monkeypatch.setattr(engines.FastRecognizer, "_decode", noted)
    fast = engines.FastRecognizer(engines.export(checkpoint, tmp_path / "engine"), n_at_once=2)
    for n, sizes in ((1, [1]), (5, [2, 3]), (2 * fast.batch_size, [fast.batch_size] * 2)):
        heard.clear()
        assert len(fast.transcribe(NOISES[:1] * n)) == n and sorted(heard) == sizes
