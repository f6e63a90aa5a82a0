"""What people say on the pages makes stages out of date: those that read it, and no others."""

import contextlib
import json
import subprocess
import sys

import pytest

from tests import miniature_corpora, watched
from tests.conftest import FIRST, Project
from workbench import audio, fingerprints, model_registry, notebooks
from workbench.marks import Marks


def fingerprint_of(name: str, **values: object) -> str:
    notebook = {n.name: n for n in notebooks.discover()}[name]
    return fingerprints.fingerprint(notebook, values, "default")


def asked_by(name: str) -> str:
    return json.dumps({"request_id": "r2", "where": {"noise": "car"}, "by": name})


def test_a_stage_that_brings_data_is_out_of_date_when_a_person_asks_and_not_when_the_workbench_does(
    project: Project
) -> None:
    project.notebook("01_first", [*FIRST[:3], "from workbench import data_requests\ndata_requests.bring()"])
    asked = project.root / "data/requests/default/r2.json"
    asked.parent.mkdir(parents=True)
    before = fingerprint_of("first")
    asked.write_text(asked_by(""))
    asked.with_suffix(".answered.json").write_text("{}")
    assert fingerprint_of("first") == before
    asked.write_text(asked_by("ada"))
    assert fingerprint_of("first") != before


def test_marks_make_those_stages_out_of_date_that_read_them_and_no_others(project: Project) -> None:
    for number, module in enumerate(("corrections", "causes", "storage"), 1):
        project.notebook(f"0{number}_{module}", [*FIRST[:3], f"from workbench import {module}\n{module}.x()"])
    changed = {}
    for kind, value in (("name", "kyiv"), ("reference", "play jazz"), ("cause", "noise")):
        before = {name: fingerprint_of(name) for name in ("corrections", "causes", "storage")}
        with contextlib.closing(Marks()) as marks:
            marks.add(kind, value, utterance_id="u-1", audio_sha="a1", by="ada")
        changed[kind] = [name for name, print_ in before.items() if fingerprint_of(name) != print_]
    assert changed == {"name": [], "reference": ["corrections"], "cause": ["causes"]}


def test_saying_the_same_again_changes_nothing(project: Project) -> None:
    project.notebook("01_first", [*FIRST[:3], "from workbench import causes\ncauses.x()"])
    prints = []
    for value in ("noise", "noise", "accent", "noise"):
        with contextlib.closing(Marks()) as marks:
            marks.add("cause", value, utterance_id="u-1", audio_sha="a1", by="ada")
        prints.append(fingerprint_of("first"))
    assert prints[0] == prints[1] == prints[3] != prints[2]


def test_a_manifest_by_url_makes_its_stage_out_of_date_when_it_changes(project: Project) -> None:
    import fsspec

    notebook, values = notebooks.discover()[0], {"manifest": "memory://corpus/manifest.csv"}
    prints: list[str] = []
    for content in (b"audio_path,text", b"audio_path,text", b"audio_path,text,speaker"):
        if not prints or len(content) > 15:
            fsspec.filesystem("memory").pipe(values["manifest"], content)
        prints.append(fingerprints.fingerprint(notebook, values, "default"))
    assert prints[0] == prints[1] != prints[2]


def test_a_folder_by_url_makes_its_stage_out_of_date_when_a_file_in_it_changes(project: Project) -> None:
    import fsspec

    project.notebook("01_first", [FIRST[0], FIRST[1] + "\nsources: list[str] = []", *FIRST[2:]])
    store, prints = fsspec.filesystem("memory"), list[str]()
    for name, content in (("ann/a.wav", b"1"), ("ann/a.wav", b"12"), ("ann/a.txt", b"play jazz")):
        store.pipe(f"memory://queries/{name}", content)
        prints += [fingerprint_of("first", sources=["memory://queries"]) for _ in range(2)]
    assert prints[0] == prints[1] != prints[2] == prints[3] != prints[4] == prints[5]


def test_a_release_with_a_language_behind_it_is_watched(project: Project) -> None:
    project.notebook("01_first", [FIRST[0], FIRST[1] + "\nsources: list[str] = []", *FIRST[2:]])
    packed, prints = project.root / "MInDS-14.zip", list[str]()
    for content in (b"1", b"1", b"12"):
        packed.write_bytes(content)
        prints.append(fingerprint_of("first", sources=[f"minds14:{packed}/en-US"]))
    assert prints[0] == prints[1] != prints[2]


def test_noise_that_a_recipe_names_makes_its_stage_run_again_when_a_recording_changes(project: Project) -> None:
    musan = miniature_corpora.musan(project.root, n=4)
    (project.root / "notebooks/recipes/noisy.py").write_text(
        "from workbench.augmentation import RecordedNoise\n"
        f"augmentations = (RecordedNoise('musan:{musan}', 5, 20),)\n")
    project.notebook("01_first", [FIRST[0], FIRST[1] + "\nrecipe: str = 'noisy'", *FIRST[2:]])
    one = next((musan / "noise").rglob("*.wav"))
    said = [project.workbench("run", "--to", "first").stdout for _ in range(2)]
    audio.write(one, miniature_corpora.sound(99))
    said.append(project.workbench("run", "--to", "first").stdout)
    assert ["unchanged" in text for text in said] == [False, True, False]


@pytest.mark.parametrize(("kind", "row"), [
    ("csv", "audio_path,text\ndon't.wav,hi\n"), ("jsonl", '{"audio_filepath": "caf\\u00e9.wav", "text": "hi"}\n'),
    ("jsonl", '{"audio_filepath": "file://FOLDER/a b.wav", "text": "hi"}\n'), ("csv", "text,audio_path\nhi, x.amr \n"),
    ("json", '[\n {"recording": {"sources": [{"source": "x.caf"}]}}\n]\n')])
def test_every_recording_that_a_manifest_names_makes_its_stage_out_of_date(project: Project, kind: str, row: str,
                                                                           ) -> None:
    manifest = project.root / "speech" / f"manifest.{kind}"
    manifest.parent.mkdir()
    manifest.write_text(row.replace("FOLDER", str(manifest.parent)))
    prints = []
    for content in (b"1", b"1", b"12"):
        for name in ("don't.wav", "café.wav", "a b.wav", "x.amr", "x.caf"):
            if not (manifest.parent / name).exists() or content != b"1":
                (manifest.parent / name).write_bytes(content)
        prints.append(fingerprint_of("first", manifest=str(manifest)))
    assert prints[0] == prints[1] != prints[2]


@pytest.mark.parametrize("source", ["recordings", "~/recordings", "musan:recordings"])
def test_a_folder_is_watched_as_its_reader_finds_it_and_no_other_word_is_a_folder(
    project: Project, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(project.root))
    project.notebook("01_first", [FIRST[0], FIRST[1] + "\nsources: list[str] = []", *FIRST[2:]])
    clip = project.root / "recordings" / "a.wma"
    clip.parent.mkdir()
    found, words = [], []
    for content in (b"1", b"12"):
        clip.write_bytes(content)
        found.append(fingerprint_of("first", sources=[source]))
        words.append(fingerprint_of("first", names=["recordings"]))
    assert found[0] != found[1] and words[0] == words[1]


def test_a_linked_folder_is_watched_as_any_other_and_a_circle_of_links_is_no_trap(project: Project) -> None:
    project.notebook("01_first", [FIRST[0], FIRST[1] + "\nsources: list[str] = []", *FIRST[2:]])
    (project.root / "disk/eve").mkdir(parents=True)
    (project.root / "recordings").mkdir()
    (project.root / "recordings/eve").symlink_to(project.root / "disk/eve")
    (project.root / "disk/eve/round").symlink_to(project.root / "recordings")
    prints = list[str]()
    for content in (b"1", b"12"):
        (project.root / "disk/eve/a.wav").write_bytes(content)
        prints += [fingerprint_of("first", sources=["recordings"]) for _ in range(2)]
    assert prints[0] == prints[1] != prints[2] == prints[3]


def test_a_stage_is_out_of_date_when_the_run_that_it_begins_from_has_learned_more(project: Project) -> None:
    project.notebook("01_first", [FIRST[0], FIRST[1] + "\nrecipe: str = ''\nbase: str = ''\npilot: str = ''",
                                  *FIRST[2:]])
    (project.root / "notebooks/recipes/mine.py").write_text("base = 'digits'")
    digits = project.root / "data/runs/digits"
    (digits / "05_improve").mkdir(parents=True)
    (digits / "model.pt").write_text("old")

    def prints() -> list[str]:
        apart = [fingerprint_of("first", **given) for given in ({}, {"base": "default"}, {"size": "digits"})]
        return [*apart, *(fingerprint_of("first", **{name: word}) for name, word in
                          (("base", "digits"), ("pilot", "digits"), ("recipe", "mine")))]

    seen = [prints(), prints()]
    (digits / "model.pt").write_text("new")
    (project.root / "data/runs/default").mkdir()
    (project.root / "data/runs/default/model.pt").write_text("its own")
    seen.append(prints())
    (digits / "05_improve/listened.parquet").write_text("arms")
    seen.append(prints())
    same = [[a == b for a, b in zip(*pair, strict=True)] for pair in zip(seen, seen[1:], strict=False)]
    assert same == [[True] * 6, *[[True] * 3 + [False] * 3] * 2]


def test_a_stage_is_out_of_date_when_the_champion_it_begins_from_is_another(project: Project) -> None:
    project.notebook("01_first", [FIRST[0], FIRST[1] + "\nbase: str = ''", *FIRST[2:]])
    prints = list[str]()
    for version in ("1", "1", "2"):
        if not prints or version == "2":
            watched.release(project.root, version, has_basis=False)
        model_registry.promote(version, by="ada")
        prints.append(fingerprint_of("first", base="champion"))
    assert prints[0] == prints[1] != prints[2]


def test_a_sentence_longer_than_a_file_s_name_may_be_is_a_value_like_any_other(project: Project) -> None:
    assert fingerprint_of("first", manifest="a/b. " * 100) != fingerprint_of("first", manifest="a/c. " * 100)


def test_without_a_log_reading_marks_loads_no_database_library(project: Project) -> None:
    project.notebook("01_first", [*FIRST[:3], "from workbench import corrections\ncorrections.x()"])
    code = ("import sys\nfrom workbench import fingerprints, notebooks\n"
            "fingerprints.fingerprint(notebooks.discover()[0], {}, 'default')\n"
            "print([name for name in ('sqlalchemy', 'pandas') if name in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], env=project.environment(), cwd=project.root,
                          capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
    assert not (project.root / "data" / "queries.db").exists()
