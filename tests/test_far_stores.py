"""Google's store and the hub of Hugging Face on loopback, reached by their own clients: pyarrow and huggingface_hub."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from tests import team_servers
from tests.hub import TOKEN, Hub, answering
from tests.test_remote import a_folder, clip, corpus, kept
from workbench import audio, corpora, remote, settings, shared_store
from workbench.errors import AudioError, ManifestError, SettingsError, StoreError

SOON_S = 30.0
"""What a dead store may take; Google's client tries twice for as long as it is given."""


@pytest.fixture(autouse=True)
def stores(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Begin and end with stores that read their settings anew, and keep what is fetched."""
    monkeypatch.setenv("WORKBENCH_KEEP_FREE_GB", "0")
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("HOME", str(root))
    remembering = (remote._store, remote._keep_free_bytes, shared_store._open)
    for each in remembering:
        each.cache_clear()
    yield
    for each in remembering:
        each.cache_clear()


# --- Google's store --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    pytest.importorskip("gcp_storage_emulator")
    with team_servers.google(tmp_path_factory.mktemp("google")) as reached:
        yield reached


@pytest.fixture
def google(emulator: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Callable[[str, bytes], None]:
    """Give a way to put files into the bucket."""
    for name, value in emulator.items():
        monkeypatch.setenv(name, value)

    def put(name: str, content: bytes) -> None:
        with remote.google_store().open_output_stream(f"{team_servers.BUCKET}/{name}") as file:
            file.write(content)

    return put


def test_a_corpus_on_googles_store_is_collected_in_place_and_an_epoch_fetches_each_file_once(
        google: Callable[[str, bytes], None], root: Path) -> None:
    manifest, files = corpus()
    for name, content in {"manifest.csv": manifest, **files}.items():
        google(f"corpus/{name}", content)
    made = corpora.collect(["gs://team/corpus/manifest.csv"], is_copied=False).dataset
    assert made.table["audio_path"].str.match(r"gs://team/corpus/clips/\d\d\.wav#sha256=[0-9a-f]{64}$").all()
    read = [audio.content_hash(audio.read(path)) for path in made.table["audio_path"]]
    assert read == made.table["audio_sha"].tolist() and len(kept(root)) == 40
    google("corpus/clips/07.wav", audio.wav_bytes(clip(99)))  # listings tell, so that it alone is heard again
    again = corpora.collect(["gs://team/corpus/manifest.csv"], is_copied=False).dataset
    assert (again.table["audio_sha"] != made.table["audio_sha"]).sum() == 1


def test_a_changed_object_an_absent_one_and_an_absent_bucket_are_told_apart(
        google: Callable[[str, bytes], None], root: Path) -> None:
    name = "one/a #1.wav"
    google(name, audio.wav_bytes(clip(1)))
    place = remote.pinned(f"gs://team/{name}", hashlib.sha256(audio.wav_bytes(clip(1))).hexdigest())
    assert len(audio.read(place)) == 8_000
    for path in kept(root):
        path.unlink()
    google(name, audio.wav_bytes(clip(2)))
    with pytest.raises(AudioError, match="has changed since it was collected"):
        audio.read(place)
    for source in ("gs://team/none.csv", "gs://absent/manifest.csv"):
        with pytest.raises(ManifestError, match=f"no manifest or folder at {source}; give demo"):
            corpora.collect([source])
    (root / "here.csv").write_bytes(corpus(folder="gs://absent/")[0])
    with pytest.raises(SettingsError, match=r"gs://absent/clips cannot be read \(there is no bucket absent\); check"):
        corpora.collect(["here.csv"], audio_root="gs://absent")
    (root / "there.csv").write_bytes(corpus(folder="gs://team/nothing/")[0])
    with pytest.raises(ManifestError, match="audio file is absent; correct its path"):
        corpora.collect(["there.csv"], audio_root="gs://team/nothing")


def test_a_folder_on_googles_store_is_listed_with_all_below_it(google: Callable[[str, bytes], None]) -> None:
    for name, content in a_folder().items():
        google(f"folder/{name}", content)
    assert len(corpora.collect(["gs://team/folder"], is_copied=False).dataset.table) == 40


def refuses(handler: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
    told = {"error": {"code": 403, "message": "eve@example.org does not have storage.objects.get access"}}
    return 403, {"Content-Type": "application/json"}, json.dumps(told).encode()


@pytest.mark.parametrize("source", ["gs://team/manifest.csv", "gs://team/folder"])
def test_who_has_no_right_is_told_in_one_sentence(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(refuses) as address:
        monkeypatch.setenv("CLOUD_STORAGE_EMULATOR_ENDPOINT", address)
        with pytest.raises(SettingsError, match=f"{source} cannot be read .*eve@example.org does not have .*check the "
                                                "address, the rights and GOOGLE_APPLICATION_CREDENTIALS") as told:
            corpora.collect([source])
    assert len(str(told.value)) < 300


@pytest.mark.slow
@pytest.mark.parametrize(("endpoint", "message"), [
    ("http://127.0.0.1:9", "Could not connect to server"),
    ("", "access token to authenticate.*GOOGLE_APPLICATION_CREDENTIALS")])
def test_a_dead_google_and_nobody_signed_in_are_one_sentence_soon_before_any_work(
        endpoint: str, message: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUD_STORAGE_EMULATOR_ENDPOINT", endpoint)
    began_s = time.monotonic()
    with pytest.raises(SettingsError, match=f"gs://team/manifest.csv cannot be read .*{message}") as told:
        corpora.collect(["gs://team/manifest.csv"])
    assert time.monotonic() - began_s < SOON_S and len(str(told.value)) < 500 and not (root / "data").exists()


def test_a_teams_store_at_google_gives_back_what_it_was_given(google: Callable[[str, bytes], None], root: Path) -> None:
    store = shared_store.opened()
    assert store is not None
    store.check()
    folder = settings.root() / "data" / "things" / "one"
    (folder / "deep").mkdir(parents=True)
    (folder / "facts").write_text("{}")
    (folder / "deep" / "b").write_bytes(b"\0" * 3_000_000)
    store.push(folder, "facts")
    (folder / "facts").unlink()
    assert store.fetch(folder, "facts") and (folder / "deep" / "b").stat().st_size == 3_000_000
    (folder / "deep" / "b").unlink()
    (folder / "facts").write_text("{1}")
    store.push(folder, "facts")
    assert [path.name for path in store.sizes(folder)] == ["facts"]


@pytest.mark.slow
@pytest.mark.parametrize(("url", "is_there", "message"), [
    ("gs://absent/voice", True, "there: no bucket absent; make it, or mend WORKBENCH_STORE_URL"),
    ("gs://team/voice", False, "does not answer .*Could not connect to server.; mend WORKBENCH_STORE_URL")])
def test_a_teams_store_that_google_does_not_have_is_told_soon(
        url: str, is_there: bool, message: str, emulator: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**emulator, "WORKBENCH_STORE_URL": url}.items():
        monkeypatch.setenv(name, value)
    if not is_there:
        monkeypatch.setenv("CLOUD_STORAGE_EMULATOR_ENDPOINT", "http://127.0.0.1:9")
    began_s = time.monotonic()
    with pytest.raises(StoreError, match=message):
        shared_store.opened()
    assert time.monotonic() - began_s < SOON_S


def test_a_teams_store_that_does_not_let_us_in_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_STORE_URL", "gs://team/voice")
    with answering(refuses) as address:
        monkeypatch.setenv("CLOUD_STORAGE_EMULATOR_ENDPOINT", address)
        with pytest.raises(StoreError, match="not let us read and write .*eve.*; mend GOOGLE_APPLICATION_CREDENTIALS"):
            shared_store.opened()


# --- the hub of Hugging Face -----------------------------------------------------------------------------------------

@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Run a hub with a public data set and a private one."""
    manifest, files = corpus()
    made = Hub({f"ada/{name}": {"manifest.csv": manifest, **files} for name in ("queries", "private")})
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with answering(made) as address:
        set_hub(address, monkeypatch)
        yield made


def set_hub(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Do what HF_ENDPOINT does, which is read when the client is first imported, and may have been."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "ENDPOINT", address)
    files = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", files)


@pytest.mark.parametrize("name", ["queries", "private"])
def test_a_corpus_on_the_hub_is_collected_in_place_and_a_changed_file_is_noticed(
        name: str, hub: Hub, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    source = f"hf://datasets/ada/{name}/manifest.csv"
    made = corpora.collect([source], is_copied=False).dataset
    wanted = rf"hf://datasets/ada/{name}/clips/\d\d\.wav#sha256=[0-9a-f]{{64}}$"
    assert made.table["audio_path"].str.match(wanted).all()
    read = [audio.content_hash(audio.read(path)) for path in made.table["audio_path"]]
    assert read == made.table["audio_sha"].tolist() and len(kept(root)) == 40
    hub.fetched.clear()
    assert corpora.collect([source], is_copied=False).dataset.version == made.version
    assert hub.fetched == ["manifest.csv"]
    hub.repositories[f"ada/{name}"]["clips/07.wav"] = audio.wav_bytes(clip(99))
    again = corpora.collect([source], is_copied=False).dataset
    assert (again.table["audio_sha"] != made.table["audio_sha"]).sum() == 1
    for path in kept(root):
        path.unlink()
    with pytest.raises(AudioError, match="07.wav has changed since it was collected"):
        [audio.read(path) for path in made.table["audio_path"]]


def test_a_folder_on_the_hub_is_listed_with_all_below_it(hub: Hub) -> None:
    hub.repositories["ada/folder"] = a_folder()
    assert len(corpora.collect(["hf://datasets/ada/folder"], is_copied=False).dataset.table) == 40


@pytest.mark.parametrize(("source", "error", "message"), [
    ("datasets/ada/none/manifest.csv", SettingsError, "repository not found.*the rights and HF_TOKEN, then run"),
    ("datasets/ada/none", SettingsError, "repository not found.*the rights and HF_TOKEN, then run"),
    ("datasets/ada/private/manifest.csv", SettingsError, "401 Unauthorized.*the rights and HF_TOKEN, then run"),
    ("datasets/ada/queries/none.csv", ManifestError, "no manifest or folder at hf://datasets/ada/queries/none.csv"),
    ("datasets/ada/queries/none", ManifestError, "no manifest or folder at hf://datasets/ada/queries/none; give")])
def test_what_the_hub_does_not_have_or_give_is_told_in_one_sentence(
        source: str, error: type[Exception], message: str, hub: Hub, root: Path) -> None:
    with pytest.raises(error, match=message) as told:
        corpora.collect([f"hf://{source}"])
    assert "\n" not in str(told.value) and len(str(told.value)) < 350 and not (root / "data").exists()


def test_a_dead_hub_is_told_in_one_sentence_at_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_hub("http://127.0.0.1:9", monkeypatch)
    began_s = time.monotonic()
    with pytest.raises(SettingsError, match="queries/manifest.csv cannot be read .*refused.*HF_TOKEN"):
        corpora.collect(["hf://datasets/ada/queries/manifest.csv"])
    assert time.monotonic() - began_s < SOON_S and not (root / "data").exists()
