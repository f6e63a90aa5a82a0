"""Files by URL: fsspec's memory in place of a store, and a real S3 server on loopback."""

import hashlib
import importlib.util
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pytest

from workbench import audio, corpora, datasets, remote
from workbench.errors import AudioError, ManifestError, SettingsError


@pytest.fixture(autouse=True)
def stores(root: Path) -> Iterator[None]:
    """Begin and end with empty stores, which read their settings anew."""
    for _ in range(2):
        remote._store.cache_clear()
        remote._keep_free_bytes.cache_clear()
        fsspec.filesystem("memory").store.clear()
        if _ == 0:
            yield


@pytest.fixture
def roomy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_KEEP_FREE_GB", "0")


def put(url: str, content: bytes) -> str:
    fsspec.filesystem("memory").pipe(url, content)
    return hashlib.sha256(content).hexdigest()


def clip(seed: int) -> audio.Samples:
    return (np.random.default_rng(seed).normal(size=8_000) * 0.1).astype(np.float32)


def corpus(n: int = 40, folder: str = "") -> tuple[bytes, dict[str, bytes]]:
    """Give a manifest of n queries of twenty speakers, and its files."""
    rows = pd.DataFrame([{"audio_path": f"{folder}clips/{i:02d}.wav", "text": "play jazz", "speaker": f"s{i % 20}"}
                         for i in range(n)])
    return rows.to_csv(index=False).encode(), {f"clips/{i:02d}.wav": audio.wav_bytes(clip(i)) for i in range(n)}


def in_memory(n: int = 40) -> str:
    manifest, files = corpus(n)
    put("memory://speech/manifest.csv", manifest)
    for name, content in files.items():
        put(f"memory://speech/{name}", content)
    return "memory://speech/manifest.csv"


def kept(root: Path) -> list[Path]:
    return [path for path in (root / "data").rglob("*") if path.is_file() and "remote" in path.parts]


# --- names and bytes -------------------------------------------------------------------------------------------------


def test_a_pinned_name_comes_apart_and_other_names_stay_whole() -> None:
    sha = "0" * 64
    for place in ("s3://b/a#1 b.wav", "/data/a.wav", "a#sha256=x.wav"):
        assert remote.unpinned(remote.pinned(place, sha)) == (place, sha)
        assert remote.unpinned(place) == (place, "")
    assert [remote.is_url(place) for place in ("s3://b/k", "file:///a", "/a/b", "a://b", "C:/x")] == [1, 1, 0, 1, 0]


def test_a_place_is_below_a_root_only_without_climbing_out() -> None:
    assert remote.is_below("s3://b/corpus/a/x.wav", "s3://b/corpus")
    assert not remote.is_below("s3://b/corpus2/x.wav", "s3://b/corpus")
    assert not remote.is_below("s3://b/corpus/../x.wav", "s3://b/corpus")


def test_audio_by_url_sounds_as_the_file_does(tmp_path: Path) -> None:
    audio.write(tmp_path / "a.wav", clip(1))
    put("memory://a.wav", (tmp_path / "a.wav").read_bytes())
    for url in ("memory://a.wav", f"file://{tmp_path}/a.wav"):
        assert np.array_equal(audio.read(url), audio.read(tmp_path / "a.wav"))
    with pytest.raises(AudioError, match="memory://no.wav is not a file; check the path"):
        audio.read("memory://no.wav")


def test_what_is_there_is_told_by_a_listing_and_changes_with_the_file() -> None:
    put("memory://x/a.wav", b"1")
    before = remote.states(["memory://x/a.wav", "memory://x/b.wav", "memory://y/c.wav"])
    put("memory://x/a.wav", b"12")
    assert list(before) == ["memory://x/a.wav"] and remote.states(before) != before
    assert remote.states(["https://example.org/a.wav"]) == {"https://example.org/a.wav": remote.UNKNOWN}


def test_a_pinned_file_is_fetched_once_and_kept_under_its_checksum(root: Path, roomy: None) -> None:
    name = remote.pinned("memory://a.wav", put("memory://a.wav", audio.wav_bytes(clip(1))))
    first = audio.read(name)
    fsspec.filesystem("memory").rm("/a.wav")
    assert np.array_equal(audio.read(name), first) and len(kept(root)) == 1
    kept(root)[0].write_bytes(b"damaged")
    with pytest.raises(AudioError, match="is not a file"):  # it is asked for again, and is not there
        audio.read(name)


def test_a_full_disk_keeps_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_KEEP_FREE_GB", "1e9")
    name = remote.pinned("memory://a.wav", put("memory://a.wav", audio.wav_bytes(clip(1))))
    assert len(audio.read(name)) == 8_000 and not kept(root)


@pytest.mark.parametrize("is_far", [True, False])
def test_a_pinned_file_that_has_changed_is_an_error(tmp_path: Path, is_far: bool) -> None:
    place, content = ("memory://a.wav" if is_far else str(tmp_path / "a.wav")), audio.wav_bytes(clip(1))
    write = put if is_far else lambda path, content: str(Path(path).write_bytes(content))
    write(place, content)
    name = remote.pinned(place, hashlib.sha256(content).hexdigest())
    assert len(audio.read(name)) == 8_000
    for path in kept(tmp_path):
        path.unlink()
    write(place, audio.wav_bytes(clip(2)))
    with pytest.raises(AudioError, match="a.wav has changed since it was collected.*or run collect again"):
        audio.read(name)


# --- stores that cannot be used --------------------------------------------------------------------------------------


def test_an_absent_package_is_named() -> None:
    if importlib.util.find_spec("adlfs"):
        pytest.skip("adlfs is installed")
    with pytest.raises(SettingsError, match="az://b/a.wav cannot be opened without the package adlfs: pip install"):
        audio.read("az://b/a.wav")


def test_an_unknown_kind_of_address_is_told() -> None:
    with pytest.raises(SettingsError, match="zzz://a/b.csv cannot be read .Protocol not known: zzz.; check"):
        corpora.collect(["zzz://a/b.csv"])


# --- corpora by URL --------------------------------------------------------------------------------------------------


def test_a_corpus_by_url_is_collected_in_place_and_read_from_there(root: Path, roomy: None) -> None:
    made = corpora.collect([in_memory()], is_copied=False).dataset
    assert set(made.table["source"]) == {"speech"} and set(made.table["split"]) == set(datasets.SPLITS)
    assert made.table["audio_path"].str.match(r"memory://speech/clips/\d\d\.wav#sha256=[0-9a-f]{64}$").all()
    row = datasets.load(made.version).table.iloc[3]
    assert audio.content_hash(audio.read(row["audio_path"])) == row["audio_sha"]
    assert not (root / "data" / "datasets" / "audio").exists()


def test_a_corpus_by_url_is_copied_when_asked_to_and_is_the_version_that_its_files_are(root: Path) -> None:
    far = corpora.collect([in_memory()]).dataset
    manifest, files = corpus()
    for name, content in {"manifest.csv": manifest, **files}.items():
        (root / "speech" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "speech" / name).write_bytes(content)
    assert corpora.collect([str(root / "speech" / "manifest.csv")]).dataset.version == far.version


def test_a_manifest_here_lists_audio_there_under_the_root_that_is_given(root: Path) -> None:
    in_memory()
    manifest, _ = corpus(folder="memory://speech/")
    (root / "here.csv").write_bytes(manifest)
    with pytest.raises(ManifestError, match="audio is outside .*give its folder with --root"):
        corpora.collect(["here.csv"], is_copied=False)
    made = corpora.collect(["here.csv"], audio_root="memory://speech", is_copied=False).dataset
    assert len(made.table) == 40


@pytest.mark.parametrize(("name", "reason"), [
    ("memory://other/x.wav", "audio is outside memory://speech; move it there"),
    ("../other/x.wav", "audio is outside memory://speech; move it there"), ("/etc/x.wav", "audio is outside"),
    ("clips/none.wav", "audio file is absent; correct its path")])
def test_what_lies_elsewhere_or_nowhere_is_set_aside(name: str, reason: str) -> None:
    manifest = in_memory()
    put("memory://other/x.wav", audio.wav_bytes(clip(99)))
    content = fsspec.filesystem("memory").cat("/speech/manifest.csv").replace(b"clips/07.wav", name.encode())
    put(manifest, content)
    rejected = corpora.collect([manifest], is_copied=False).rejected
    assert len(rejected) == 1 and reason in rejected["reason"].iloc[0]


def test_a_missing_manifest_by_url_is_named() -> None:
    with pytest.raises(ManifestError, match="no manifest or folder at memory://speech/none.csv; give demo"):
        corpora.collect(["memory://speech/none.csv"])


def test_a_corpus_on_a_web_server_is_heard_though_nothing_lists_it(tmp_path: Path) -> None:
    manifest, files = corpus()
    (tmp_path / "web" / "clips").mkdir(parents=True)
    for name, content in {"manifest.csv": manifest, **files}.items():
        (tmp_path / "web" / name).write_bytes(content)
    (tmp_path / "web" / "clips" / "07.wav").unlink()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path / "web")) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        made = corpora.collect([f"http://127.0.0.1:{server.server_port}/manifest.csv"], is_copied=False)
        row = made.dataset.table.iloc[0]
        assert audio.content_hash(audio.read(row["audio_path"])) == row["audio_sha"]
        server.shutdown()
    assert len(made.dataset.table) == 39
    assert made.rejected["reason"].tolist() == ["audio is not a file; check the path"]


# --- folders by URL --------------------------------------------------------------------------------------------------


def a_folder() -> dict[str, bytes]:
    """Give forty recordings of twenty speakers in folders of their own, with text beside each, and what is none."""
    files = {"readme.txt": b"not a query", "s1/.hidden.wav": b"not a recording", "s2/notes.md": b"nothing"}
    for i in range(40):
        name = f"s{i % 20}/deep/{i:02d} #1"
        files |= {f"{name}.WAV": audio.wav_bytes(clip(i)), f"{name}.txt": b"\xef\xbb\xbfplay jazz\r\n"}
    return files


def on_disk(place: Path, files: dict[str, bytes]) -> str:
    for name, content in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content)
    return str(place)


@pytest.mark.parametrize("scheme", ["memory", "file"])
def test_a_folder_by_url_is_the_version_that_the_same_folder_here_is(root: Path, scheme: str) -> None:
    here, url = corpora.collect([on_disk(root / "queries", a_folder())]), "memory://queries"
    for name, content in a_folder().items():
        put(f"{url}/{name}", content)
    url = url if scheme == "memory" else f"file://{root}/queries"
    there = corpora.collect([url])
    assert there.dataset.version == here.dataset.version and there.dataset.table["speaker"].nunique() == 20
    assert set(there.dataset.table["reference"]) == {"play jazz"} and set(there.dataset.table["source"]) == {"queries"}
    in_place = corpora.collect([f"{url}/"], is_copied=False).dataset.table
    assert in_place["audio_path"].str.contains(r"queries/s\d+/deep/\d\d #1\.WAV#sha256=[0-9a-f]{64}$").all()
    assert audio.content_hash(audio.read(in_place["audio_path"].iloc[3])) == in_place["audio_sha"].iloc[3]


def test_a_recording_by_url_without_text_and_a_folder_without_recordings_are_told() -> None:
    for name, content in a_folder().items():
        if name != "s7/deep/07 #1.txt":
            put(f"memory://queries/{name}", content)
    made = corpora.collect(["memory://queries"], is_copied=False)
    assert made.rejected["reason"].tolist() == ["text is empty; write down what is said"]
    with pytest.raises(ManifestError, match="no manifest or folder at memory://nowhere; give demo"):
        corpora.collect(["memory://nowhere"])
    with pytest.raises(ManifestError, match="memory://notes lists no recordings; add rows"):
        put("memory://notes/a.md", b"")
        corpora.collect(["memory://notes"])
    put("memory://queries/rows.xlsx", b"")
    with pytest.raises(ManifestError, match="rows.xlsx is no manifest that can be read; give .* or the address of"):
        corpora.collect(["memory://queries/rows.xlsx"])
    with pytest.raises(SettingsError, match="http://127.0.0.1:9/queries cannot be listed, as no web server can; give"):
        corpora.collect(["http://127.0.0.1:9/queries"])


class Quiet(SimpleHTTPRequestHandler):
    """Serves files without telling of it."""

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


# --- S3 --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Give a client of an S3 server on loopback, with a bucket `speech`."""
    boto3, server_of = pytest.importorskip("boto3"), pytest.importorskip("moto.server")
    server = server_of.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1",
                        "AWS_ENDPOINT_URL": f"http://{host}:{port}"}.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3", endpoint_url=f"http://{host}:{port}")
    client.create_bucket(Bucket="speech")
    yield client
    server.stop()


@pytest.mark.slow
def test_a_corpus_on_s3_is_collected_in_place_and_an_epoch_fetches_each_file_once(
    s3: Any, root: Path, roomy: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, files = corpus()
    for name, content in {"manifest.csv": manifest, **files}.items():
        s3.put_object(Bucket="speech", Key=f"corpus/{name}", Body=content)
    made = corpora.collect(["s3://speech/corpus/manifest.csv"], is_copied=False).dataset
    read = [audio.content_hash(audio.read(path)) for path in made.table["audio_path"]]
    assert read == made.table["audio_sha"].tolist() and len(kept(root)) == 40
    again = corpora.collect(["s3://speech/corpus/manifest.csv"], is_copied=False).dataset
    assert again.version == made.version
    for name in files:
        s3.delete_object(Bucket="speech", Key=f"corpus/{name}")
    assert [audio.content_hash(audio.read(path)) for path in made.table["audio_path"]] == read


@pytest.mark.slow
def test_a_folder_on_s3_is_the_version_that_the_same_folder_here_is(s3: Any, root: Path) -> None:
    here = corpora.collect([on_disk(root / "queries", a_folder())]).dataset
    for name, content in a_folder().items():
        s3.put_object(Bucket="speech", Key=f"queries/{name}", Body=content)
    assert corpora.collect(["s3://speech/queries"]).dataset.version == here.version
    for absent in ("s3://speech/none", "s3://absent/queries"):
        with pytest.raises((ManifestError, SettingsError), match=f"{absent}.*(give demo|there is no bucket|bucket)"):
            corpora.collect([absent])


@pytest.mark.slow
def test_an_s3_file_that_changed_an_absent_bucket_and_a_dead_server_are_told_apart(s3: Any, root: Path) -> None:
    key = "corpus/a #1.wav"
    s3.put_object(Bucket="speech", Key=key, Body=audio.wav_bytes(clip(1)))
    name = remote.pinned(f"s3://speech/{key}", hashlib.sha256(audio.wav_bytes(clip(1))).hexdigest())
    assert len(audio.read(name)) == 8_000
    for path in kept(root):
        path.unlink()
    s3.put_object(Bucket="speech", Key=key, Body=audio.wav_bytes(clip(2)))
    with pytest.raises(AudioError, match="has changed since it was collected"):
        audio.read(name)
    with pytest.raises(ManifestError, match="no manifest or folder at s3://absent/manifest.csv"):
        corpora.collect(["s3://absent/manifest.csv"])
    (root / "here.csv").write_bytes(corpus(folder="s3://absent/")[0])
    with pytest.raises(SettingsError, match="s3://absent/clips cannot be read .*bucket.*check the address, the rights"):
        corpora.collect(["here.csv"], audio_root="s3://absent")


@pytest.mark.slow
def test_a_dead_s3_server_is_one_sentence_before_any_work(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(SettingsError, match="s3://speech/manifest.csv cannot be read .*check the address.*AWS_"):
        corpora.collect(["s3://speech/manifest.csv"])
    assert not (root / "data").exists()
