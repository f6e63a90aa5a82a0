"""A published model on a published corpus, offline, through all eight stages, with people where people are needed.

The checkpoint has tiny's shape and format and random weights, and the corpus is a miniature: what is shown is that the
way is open from end to end, not that anything is learned on it. Slow.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import whisper

from tests import miniature_corpora, published
from tests.conftest import Project, make_project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

START_S, DAY_S = 1_700_000_000.0, 86_400.0
RECIPE = '''
from dataclasses import replace
from workbench import recipes
published = recipes.load("published")
recipe = replace(published, fit=replace(published.fit, batch_size=2, n_accumulated=2, learns="lora", n_warmup_steps=2,
                                        finetune_learning_rate=5e-4, n_validations=1))
'''
ORDER = ("run", "--run", "books", "--size", "toy", "-p", "collect.sources=[librispeech:given/LibriSpeech]",
         *(word for stage in ("train", "analyze", "improve", "retrain") for word in ("-p", f"{stage}.recipe=books")),
         "-p", "train.base=given/tiny.pt", "-p", "train.n_steps=4", "-p", "improve.n_steps=2",
         "-p", "retrain.n_steps=2", "-p", "retrain.n_labels=16")


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Project]:
    project = make_project(tmp_path)
    (tmp_path / "notebooks" / "recipes" / "books.py").write_text(RECIPE)
    miniature_corpora.librispeech(tmp_path / "given", n_speakers=30, n_each=3)
    published.checkpoint(tmp_path / "given" / "tiny.pt")
    callers(miniature_corpora.librispeech(tmp_path / "callers", n_speakers=24, n_each=2, seed=1))
    yield project
    project.workbench("stop")


def callers(corpus: Path) -> None:
    """Let the readers of another corpus call over three weeks; half of them only in the last one."""
    rows = []
    for number, chapter in enumerate(sorted(corpus.rglob("*.trans.txt"))):
        for call, line in enumerate(chapter.read_text().splitlines()):
            name, said = line.split(maxsplit=1)
            day = (number % 12) + (15 if number >= 12 else 0)
            rows.append({"audio_path": str((chapter.parent / f"{name}.flac").relative_to(corpus)), "text": said,
                         "speaker": chapter.parent.parent.name, "time_s": START_S + DAY_S * day + 60 * call})
    pd.DataFrame(rows).to_csv(corpus / "calls.csv", index=False)


def went(project: Project, *words: str) -> str:
    done: subprocess.CompletedProcess[str] = project.workbench(*words, timeout_s=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_all_eight_stages_on_a_published_checkpoint_and_corpus(books: Project) -> None:
    said = went(books, *ORDER)
    assert "CC BY 4.0" in books.report("02_collect.html", "books").read_text()
    card = books.root / "data" / "runs" / "books" / "03_train" / "model_card.json"
    assert "given/tiny.pt" in card.read_text() and '"lora"' in card.read_text()
    # The short context of random weights is not shown to be as good as their long one, and nothing ships by itself.
    assert books.record("06_deploy", "books")["decision"]["outcome"] in ("no", "cannot_tell")
    assert "workbench promote 1 --by NAME" in said and "08_retrain" not in said

    went(books, "promote", "1", "--by", "ada")
    went(books, *ORDER, "--from", "deploy", "--to", "deploy", "--force")
    went(books, "stop")  # its own clock knows nothing of the three weeks in which they called
    went(books, "serve", "--detach", "--simulated-clock", "--port", "0")
    assert "48 of 48 queries were answered" in went(books, "simulate", "--manifest", "callers/LibriSpeech/calls.csv",
                                                    "--consent-share", "1")
    said = went(books, *ORDER)
    assert re.search(r"08_retrain .* waiting: Waiting for people to write down", said), said

    sheet = books.root / went(books, "label", "export", "--run", "books").strip()
    sent = pd.read_parquet(books.root / "data" / "traffic" / "hand" / "sent.parquet").set_index("request_id")
    asked = pd.read_csv(sheet)
    asked.assign(reference=asked["request_id"].map(sent["reference"])).to_csv(sheet, index=False)
    went(books, "label", "import", str(sheet), "--by", "ada", "--run", "books")
    went(books, *ORDER)
    retrain = books.record("08_retrain", "books")
    assert retrain["parameters"]["recipe"]["fit"]["learns"] == "lora"
    assert {"production_wer_champion", "production_wer_challenger", "base_gate_change"} <= set(retrain["metrics"])
    released = json.loads((books.root / "data" / "runs" / "books" / "08_retrain" / "released.json").read_text())
    assert not released["is_promoted"]  # on real calls a person decides
    assert re.search(r"^books +8/8 ", went(books, "runs"), re.M)
    listed = {words[0]: words[1:] for line in went(books, "models").splitlines()[1:] if (words := line.split())}
    assert listed["1"][0] == "champion" and listed[released["version"]][0] == "books/retrain"
    for words in listed.values():
        path = books.root / words[-1] / "model.pt"
        assert whisper.load_model(str(path), device="cpu").dims.n_audio_state == published.TINY["n_audio_state"]
