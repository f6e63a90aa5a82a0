"""What people say on the pages makes stages out of date: those that read it, and no others."""

import contextlib
import json
import subprocess
import sys

from tests import miniature_corpora
from tests.conftest import FIRST, Project
from workbench import audio, fingerprints, notebooks
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


def test_without_a_log_reading_marks_loads_no_database_library(project: Project) -> None:
    project.notebook("01_first", [*FIRST[:3], "from workbench import corrections\ncorrections.x()"])
    code = ("import sys\nfrom workbench import fingerprints, notebooks\n"
            "fingerprints.fingerprint(notebooks.discover()[0], {}, 'default')\n"
            "print([name for name in ('sqlalchemy', 'pandas') if name in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], env=project.environment(), cwd=project.root,
                          capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
    assert not (project.root / "data" / "queries.db").exists()
