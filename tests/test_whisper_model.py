from pathlib import Path

import numpy as np
import pytest
import torch
import whisper

from tests import published, watched
from workbench import batches, model_registry, whisper_model
from workbench.errors import CheckpointError, RegistryError


@pytest.fixture(scope="module")
def model() -> whisper_model.SpeechModel:
    return whisper_model.build("", "toy", seed=0)


def test_the_same_seed_builds_the_same_weights() -> None:
    first, again, other = (whisper_model.build("", "toy", seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["whisper.encoder.conv1.weight"], other["whisper.encoder.conv1.weight"])


def test_from_nothing_what_is_heard_is_not_drowned_by_positions() -> None:
    encoder = whisper_model.build("", "small", seed=0).whisper.encoder
    mel = torch.randn(1, encoder.conv1.in_channels, 300, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        heard = torch.nn.functional.gelu(encoder.conv2(torch.nn.functional.gelu(encoder.conv1(mel))))
    assert heard.std() > 0.3 * encoder.positional_embedding[:150].std()


def test_a_saved_checkpoint_opens_with_whisper_and_comes_back_whole(
    model: whisper_model.SpeechModel, tmp_path: Path
) -> None:
    path = whisper_model.save(model, tmp_path / "model.pt", recipe="abc")
    theirs = whisper.load_model(str(path))
    ours = whisper_model.load(path)
    assert theirs.dims == model.dims
    assert torch.equal(theirs.decoder.token_embedding.weight, model.whisper.decoder.token_embedding.weight)
    assert ours.head is not None and model.head is not None
    assert torch.equal(ours.head.weight, model.head.weight)
    assert whisper_model.notes(path)["recipe"] == "abc"


def test_an_ordinary_whisper_checkpoint_opens_padded_and_without_a_head(
    model: whisper_model.SpeechModel, tmp_path: Path
) -> None:
    path = tmp_path / "plain.pt"
    torch.save({"dims": vars(model.dims), "model_state_dict": model.whisper.state_dict()}, path)
    opened = whisper_model.load(path)
    assert opened.context == "padded" and opened.head is None
    with pytest.raises(CheckpointError, match="no character head"):
        opened.letters(torch.zeros(1, 10, 64))


def test_the_short_encoder_equals_whispers_own_on_thirty_seconds(model: whisper_model.SpeechModel) -> None:
    plain = whisper.model.Whisper(model.dims)
    plain.load_state_dict(model.whisper.state_dict())
    mel = torch.randn(1, 80, 3000)
    with torch.inference_mode():
        assert torch.allclose(plain.encoder(mel), model.whisper.encoder(mel), atol=1e-5)
        assert model.whisper.encoder(mel[:, :, :300]).shape == (1, 150, 64)


def test_a_multilingual_model_is_told_its_language_and_an_english_one_hears_english(
    model: whisper_model.SpeechModel, tmp_path: Path
) -> None:
    base = published.checkpoint(tmp_path / "base.pt", kind="multilingual", width=64, n_layers=1)
    german = whisper_model.load(base, language="de")
    assert whisper_model.load(whisper_model.save(german, tmp_path / "german.pt")).language == "de"
    words = batches.tokenizer(True, german.language)
    read, _ = batches.spell_tokens("drei", words)
    assert words.decode_with_timestamps(read).startswith("<|startoftranscript|><|de|><|transcribe|>")
    with pytest.raises(CheckpointError, match="does not know language 'xx'; choose one of en, zh, de"):
        whisper_model.load(base, language="xx")
    with pytest.raises(CheckpointError, match="does not know language 'de'; choose one of en$"):
        whisper_model.load(whisper_model.save(model, tmp_path / "english.pt"), language="de")


def test_log_mel_of_a_batch_is_whispers_one_by_one() -> None:
    clips = torch.from_numpy(np.random.default_rng(0).normal(0, [[0.001], [0.3]], (2, 16_000)).astype("float32"))
    batch = whisper_model.log_mel(clips, 80)
    for row in range(2):
        assert torch.allclose(batch[row], whisper.log_mel_spectrogram(clips[row]), atol=1e-5)


def test_contexts_come_in_steps_with_a_margin_and_never_pass_thirty_seconds(model: whisper_model.SpeechModel) -> None:
    assert model.context_samples(1) == 8_000
    assert model.context_samples(8_000) == 16_000  # the margin does not fit into the same half second
    assert model.context_samples(10_000_000) == 480_000
    padded = whisper_model.SpeechModel(model.dims, context="padded")
    assert padded.context_samples(1) == 480_000


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"not a checkpoint", "not a PyTorch checkpoint"), ({"weights": 1}, "lacks `dims`"), ({"dims": {"n_mels": 80},
      "model_state_dict": {}}, "its dims are")],
)
def test_what_is_not_a_whisper_checkpoint_is_refused(content: object, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.pt"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(CheckpointError, match=message):
        whisper_model.load(path)


def test_weights_that_do_not_fit_their_dims_are_refused(model: whisper_model.SpeechModel, tmp_path: Path) -> None:
    torch.save({"dims": vars(model.dims), "model_state_dict": {}}, tmp_path / "bad.pt")
    with pytest.raises(CheckpointError, match="do not fit its dims"):
        whisper_model.load(tmp_path / "bad.pt")


def test_an_unknown_model_is_refused_with_what_there_is(root: Path) -> None:
    (root / "data" / "runs" / "mine").mkdir(parents=True)
    (root / "data" / "runs" / "mine" / "model.pt").touch()
    assert whisper_model.find("mine") == root / "data" / "runs" / "mine" / "model.pt"
    with pytest.raises(CheckpointError, match=r"(?s)there are: mine.*tiny.en"):
        whisper_model.find("yours")


def test_a_published_model_that_cannot_be_fetched_says_where_to_put_it(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(whisper._MODELS, "tiny.en", "http://127.0.0.1:9/sha/tiny.en.pt")  # nothing listens there
    with pytest.raises(CheckpointError, match=str(root / "data" / "models" / "tiny.en.pt")):
        whisper_model.find("tiny.en")


def test_a_released_version_is_found_by_its_alias(root: Path) -> None:
    watched.give_store(root)
    checkpoint = whisper_model.save(whisper_model.build("", "toy", seed=0), root / "m.pt")
    released = model_registry.register(checkpoint, None, run="mine", stage="deploy", metrics={}, tags={})
    model_registry.promote(released.version, by="me")
    assert whisper_model.find("champion").read_bytes() == checkpoint.read_bytes()
    assert whisper_model.find(released.version) == whisper_model.find("champion")
    with pytest.raises(RegistryError, match="no model 'previous'"):
        whisper_model.find("previous")
