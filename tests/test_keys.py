"""Bearer keys: shown once, kept as hashes, revoked while others use them."""

import subprocess
import sys
from pathlib import Path

import pytest

from workbench import keys
from workbench.errors import KeysError


def test_a_key_opens_for_its_owner_until_it_is_revoked(root: Path) -> None:
    assert keys.is_valid("wb_anything") is None and keys.listing() == []
    phone, watch = keys.create("phone"), keys.create("watch")
    assert phone.startswith("wb_") and (keys.is_valid(phone), keys.is_valid(watch)) == ("phone", "watch")
    assert keys.is_valid(phone[:-1]) is None and keys.is_valid("") is None and keys.is_valid("\ud800") is None
    keys.revoke("phone")
    assert (keys.is_valid(phone), keys.is_valid(watch)) == (None, "watch")
    assert [key.name for key in keys.listing()] == ["watch"]


def test_what_is_kept_gives_no_key_away(root: Path) -> None:
    key = keys.create("phone")
    path = root / "data" / "keys.json"
    assert key not in path.read_text() and key[3:] not in path.read_text() and path.stat().st_mode & 0o777 == 0o600
    assert keys.is_valid(keys.listing()[0].sha256) is None


def test_a_change_by_another_process_is_noticed(root: Path) -> None:
    key = keys.create("phone")
    assert keys.is_valid(key) == "phone"
    subprocess.run([sys.executable, "-c", "from workbench import keys; keys.revoke('phone')"], check=True)
    assert keys.is_valid(key) is None


def test_keys_made_at_the_same_time_are_all_kept(root: Path) -> None:
    code = "import sys; from workbench import keys; [keys.create(f'{sys.argv[1]}{i}') for i in range(5)]"
    started = [subprocess.Popen([sys.executable, "-c", code, name]) for name in "abc"]
    assert [process.wait() for process in started] == [0, 0, 0]
    assert {key.name for key in keys.listing()} == {f"{name}{i}" for name in "abc" for i in range(5)}


def test_a_name_is_needed_and_is_given_once(root: Path) -> None:
    keys.create("phone")
    with pytest.raises(KeysError, match="a key 'phone' already; choose another name"):
        keys.create("phone")
    with pytest.raises(KeysError, match="needs a name"):
        keys.create(" ")
    with pytest.raises(KeysError, match="'server-17' is what a server calls its own key.*another name"):
        keys.create("server-17")
    with pytest.raises(KeysError, match="no key 'watch'; there are: phone"):
        keys.revoke("watch")


@pytest.mark.parametrize("damage", ["{", "[1]", '[{"name": "phone"}]', '{"phone": "x"}'])
def test_a_damaged_file_is_named_and_opens_nothing(root: Path, damage: str) -> None:
    key = keys.create("phone")
    (root / "data" / "keys.json").write_text(damage)
    with pytest.raises(KeysError, match=r"keys\.json is damaged.*make new keys"):
        keys.is_valid(key)
