"""The biasing list as it is kept: who and when, removed and come back, and which models no longer need a name."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from workbench import name_list, people_cli
from workbench.errors import MarkError
from workbench.marks import Marks
from workbench.name_list import Entry, NameList, Probe
from workbench.query_log import LoggedQuery, QueryLog


@pytest.fixture
def listed(url: str) -> Iterator[NameList]:
    made = NameList(Marks(url))
    yield made
    made.close()


def test_a_name_is_kept_as_it_is_written_with_who_when_and_how_it_sounds(listed: NameList, url: str) -> None:
    assert listed.entries() == []
    listed.add("Olivia  Rodrigo", by=" ada ", sounds="ONLEverodryo!", now_s=1.75e9)
    again = NameList(Marks(url))
    assert again.entries() == [Entry("olivia rodrigo", "ada", 1.75e9, "onleverodryo")]
    again.close()


def test_a_name_that_is_removed_is_gone_until_it_is_put_there_anew(listed: NameList) -> None:
    for name in ("hozier", "lizzo"):
        listed.add(name, by="ada")
    listed.remove("Hozier", by="eve")
    assert [entry.name for entry in listed.entries()] == ["lizzo"]
    with pytest.raises(MarkError, match="there are: lizzo"):
        listed.remove("hozier", by="eve")
    listed.add("hozier", by="ben")
    assert [(entry.name, entry.by) for entry in listed.entries()] == [("lizzo", "ada"), ("hozier", "ben")]


def test_a_learned_name_is_served_to_older_models_alone_so_that_a_rollback_needs_no_thought(listed: NameList) -> None:
    listed.add("hozier", by="ada")
    assert all(listed.entry("hozier").is_for(version) for version in ("1", "12", "by-hand-3f2a"))
    listed.learned("hozier", version="10", by="retrain")
    entry = listed.entry("hozier")
    assert [version for version in ("2", "9", "10", "11", "by-hand-3f2a") if entry.is_for(version)] == ["2", "9"]
    assert entry.by == "ada"
    listed.add("hozier", by="retrain")
    assert listed.entry("hozier").is_for("11")


@pytest.mark.parametrize(("name", "message"), [("eve", "write it longer"), ("東京", "as it sounds"), ("", "longer")])
def test_a_name_that_would_be_heard_everywhere_or_nowhere_is_refused(root: Path, name: str, message: str) -> None:
    with pytest.raises(MarkError, match=message):
        NameList().add(name, by="ada")
    assert NameList().entries() == []


def test_how_a_name_was_heard_goes_with_the_user_who_said_it_and_the_name_stays(listed: NameList, url: str) -> None:
    log = QueryLog(url)
    log.append([LoggedQuery(request_id="with", time_s=0, user_hash="h", consent="audio", audio_sha="a1"),
                LoggedQuery(request_id="without", time_s=0, user_hash="i")])
    listed.add("hozier", by="ada", sounds="osya", request_id="with")
    with pytest.raises(MarkError, match="did not consent"):
        listed.add("lizzo", by="ada", sounds="leeso", request_id="without")
    assert {e.name: e.sounds for e in listed.entries()} == {"hozier": "osya", "lizzo": ""}
    log.forget("h")
    assert listed.sounds("1") == {"hozier": "", "lizzo": ""}
    log.close()


def test_a_name_needs_somebody_who_put_it_there(root: Path) -> None:
    with pytest.raises(MarkError, match="nobody's name"):
        NameList().add("hozier", by=" ")


def test_the_digest_tells_lists_apart_by_names_and_sounds_not_by_who_or_when() -> None:
    one, two = Entry("hozier", "ada", 1.0), Entry("hozier", "eve", 2.0)
    assert name_list.digest([one]) == name_list.digest([two]) != name_list.digest([Entry("hozier", "ada", 1.0, "osya")])
    assert name_list.digest([]) == ""


def test_what_a_probe_found_is_read_back_by_name_and_version(root: Path) -> None:
    assert name_list.probe_of("hozier", "1") is None
    name_list.keep(Probe("hozier", "1", 20, 2, 13, 12))
    name_list.keep(Probe("hozier", "1", 20, 2, 14, 12))
    found = name_list.probe_of("hozier", "1")
    assert found is not None and found.n_after == 14 and name_list.probe_of("hozier", "2") is None
    assert str(found) == "recognized in 2 of 20 synthesized clips without the list, 14 with it (version 1)"


def test_the_commands_put_a_name_there_list_it_and_take_it_off(root: Path) -> None:
    def run(*words: str) -> str:
        done = CliRunner().invoke(people_cli.app, ["names", *words], catch_exceptions=False)
        assert done.exit_code == 0
        return done.output

    assert "no server runs here" in run("add", "Hozier", "--by", "ada", "--sounds", "osya", "--no-probe")
    assert all(word in run("list") for word in ("hozier", "osya", "ada", "served"))
    assert "no model is the champion" in run("probe", "hozier")
    assert "off the biasing list" in run("remove", "hozier", "--by", "ada")
    assert "workbench names add NAME" in run("list")
