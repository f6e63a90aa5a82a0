import hashlib
from pathlib import Path

import fsspec
import pytest
import whisper

from tests import published, team_servers
from workbench import fetching, remote, whisper_model
from workbench.errors import CheckpointError, FetchError


@pytest.fixture
def offered(tmp_path: Path) -> Path:
    return published.checkpoint(tmp_path / "shop" / "tiny-like.pt", width=64, n_layers=1)


def test_a_fetch_that_broke_off_goes_on_where_it_was(offered: Path, tmp_path: Path) -> None:
    with published.shop(offered.parent) as shop:
        shop.n_bytes = 100_000
        with pytest.raises(FetchError, match="could not be fetched"):
            fetching.fetch(shop.address(offered), tmp_path / "model.pt")
        assert not (tmp_path / "model.pt").exists()
        shop.n_bytes = None
        fetched = fetching.fetch(shop.address(offered), tmp_path / "model.pt")
        assert shop.asked == ["", "bytes=100000-"]
        fetching.fetch(shop.address(offered), tmp_path / "model.pt")
        assert len(shop.asked) == 2  # what is there is not fetched again
    assert fetched.read_bytes() == offered.read_bytes()
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["model.pt"]


@pytest.mark.parametrize(("extra", "asked"), [(b"", 1), (b"of a longer file", 2)])
def test_what_was_all_there_is_taken_and_what_is_of_another_file_is_fetched_anew(
        offered: Path, tmp_path: Path, extra: bytes, asked: int) -> None:
    content = offered.read_bytes()
    (tmp_path / ".model.pt.part").write_bytes(content + extra)
    with published.shop(offered.parent) as shop:
        fetched = fetching.fetch(shop.address(offered), tmp_path / "model.pt")
    assert shop.asked == [f"bytes={len(content + extra)}-", ""][:asked]
    assert fetched.read_bytes() == content


def test_what_no_checksum_names_is_never_pieced_together(offered: Path, tmp_path: Path) -> None:
    (tmp_path / ".model.pt.part").write_bytes(b"of the file that lay there yesterday")
    with published.shop(offered.parent) as shop:
        fetched = fetching.fetch(f"{shop.url}/{offered.name}", tmp_path / "model.pt")
    assert shop.asked == [""] and fetched.read_bytes() == offered.read_bytes()


def test_a_file_that_is_not_what_its_checksum_says_is_refused_and_thrown_away(offered: Path, tmp_path: Path) -> None:
    with published.shop(offered.parent) as shop:
        wrong = f"{shop.url}/{offered.name}#sha256={'0' * 64}"
        with pytest.raises(FetchError, match="wanted 000000000000"):
            fetching.fetch(wrong, tmp_path / "model.pt")
    assert not [path for path in tmp_path.iterdir() if path.is_file()]


def test_a_base_by_address_is_kept_under_data_models(offered: Path, root: Path) -> None:
    with published.shop(offered.parent) as shop:
        url = f"{shop.url}/{offered.name}"
        found = whisper_model.find(url)
        assert found.is_relative_to(root / "data" / "models") and found.read_bytes() == offered.read_bytes()
    assert whisper_model.find(url) == found  # the server is gone


def test_a_published_name_comes_through_whispers_own_loader(offered: Path, root: Path,
                                                            monkeypatch: pytest.MonkeyPatch) -> None:
    with published.shop(offered.parent) as shop:
        monkeypatch.setitem(whisper._MODELS, "tiny.en", shop.address(offered))
        shop.n_bytes = 50_000
        with pytest.raises(CheckpointError, match=r"put the file at .*tiny-like\.pt"):
            whisper_model.find("tiny.en")
        shop.n_bytes = None
        found = whisper_model.find("tiny.en")
        assert shop.asked == ["", "bytes=50000-"]
    assert found == root / "data" / "models" / offered.name
    assert whisper.load_model(str(found)).dims.n_audio_state == 64


def test_an_address_that_is_none_says_so(root: Path) -> None:
    with pytest.raises(CheckpointError, match="could not be had"):
        whisper_model.find("http://127.0.0.1:9/model.pt")


# --- from a store ----------------------------------------------------------------------------------------------------


@pytest.fixture(params=["file", "memory", "s3"])
def stored(request: pytest.FixtureRequest, offered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Give the address of the checkpoint in a store of each kind."""
    remote._store.cache_clear()
    request.addfinalizer(remote._store.cache_clear)
    if request.param == "file":
        return offered.as_uri()
    if request.param == "memory":
        fsspec.filesystem("memory").pipe("/shop/tiny-like.pt", offered.read_bytes())
        return "memory://shop/tiny-like.pt"
    server = team_servers.s3(tmp_path)
    reached = server.__enter__()
    request.addfinalizer(lambda: server.__exit__(None, None, None))
    for name, value in reached.items():
        monkeypatch.setenv(name, value)
    team_servers.client(reached).upload_file(str(offered), team_servers.BUCKET, "models/tiny-like.pt")
    return f"s3://{team_servers.BUCKET}/models/tiny-like.pt"


def test_a_base_in_a_store_is_fetched_once_and_checked_as_of_the_web(stored: str, offered: Path, root: Path) -> None:
    whisper_model.check(stored)
    assert not (root / "data" / "models").exists()
    found = whisper_model.find(stored)
    assert found.is_relative_to(root / "data" / "models") and found.name == offered.name
    assert whisper_model.load(found).dims.n_audio_state == 64
    sha = hashlib.sha256(offered.read_bytes()).hexdigest()
    with pytest.raises(CheckpointError, match="wanted 000000000000"):
        whisper_model.find(f"{stored}#sha256={'0' * 64}")
    whisper_model.find(f"{stored}#sha256={sha}")
    kept = sorted(str(path.relative_to(root / "data" / "models")) for path in (root / "data" / "models").rglob("*.p*"))
    assert kept == sorted([str(found.relative_to(root / "data" / "models")), f"{sha[:12]}/{offered.name}"])
    with pytest.raises(CheckpointError, match="absent.pt could not be had .*there is no such file"):
        whisper_model.find(stored.replace("tiny-like", "absent"))


@pytest.mark.parametrize(("address", "message"), [
    ("nothing://here/model.pt", "cannot be read .*nothing"), ("s3://team/model.pt", "AWS_.* put the file at ")])
def test_a_store_that_cannot_be_asked_says_so(
        address: str, message: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**team_servers.KEYS, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}.items():
        monkeypatch.setenv(name, value)
    remote._store.cache_clear()
    for act in (whisper_model.check, whisper_model.find):
        with pytest.raises(CheckpointError, match=message):
            act(address)
    remote._store.cache_clear()
