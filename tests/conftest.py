"""A small project in a temporary folder: two stages that need neither torch nor speech, and the command to run them."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock

from tests.postgresql import Server, running
from workbench import __version__  # noqa: F401 - which sets what OpenMP reads as PyTorch is loaded

if TYPE_CHECKING:
    import pandas as pd
    from playwright.sync_api import BrowserType

# A worker has one core, and so have the commands that it starts. Two threads would not train faster: beside a busy
# process a step of the default size takes 0.38 s with two, which wait for each other, and 0.24 with one.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

REPOSITORY = Path(__file__).parents[1]
CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]
"""How a system's Chromium is started without a screen; it then asks nobody but our own servers."""

FIRST = (
    "# First\n\n> How many are there?",
    "%parameters\nrun: str = ''  # the run\nsize: str = 'toy'  # how much\nn_items: int = 3  # how many to count\n"
    "rate: float = 0.5  # a share\nnames: list[str] = ['a']  # some names\nmanifest: str = ''  # a file",
    "from workbench import storage\nfrom workbench.records import Decision, Interval\n"
    "stage = storage.open_stage('first', run)",
    "## What came out",
    "stage.save_json('items', list(range(n_items)))\nprint(n_items, 'items')",
    "metrics = {'n_items': n_items, 'dev_wer': Interval(rate, rate / 2, rate * 2)}\n"
    "stage.close(parameters={'n_items': n_items, 'rate': rate}, metrics=metrics,\n"
    "            decision=Decision('done', f'There are {n_items} items.'))",
)
SECOND = (
    "# Second\n\n> Is their sum large?",
    "%parameters\nrun: str = ''\ntarget: int = 2  # a large sum",
    "from workbench import progress, storage\nfrom workbench.records import Decision\n"
    "stage = storage.open_stage('second', run)\nitems = stage.input('first').json('items')",
    "total = sum(progress.track(items, 'adding'))",
    "stage.close(parameters={'target': target}, metrics={'total': total},\n"
    "            decision=Decision('yes' if total >= target else 'no', f'The sum is {total}.'))",
)


def write_notebook(path: Path, cells: Sequence[str]) -> None:
    """Write a notebook; a cell that begins with `#` or is prose is markdown, `%parameters` tags the cell."""
    written: list[dict[str, Any]] = []
    for number, source in enumerate(cells):
        is_prose, is_tagged = source.startswith("#"), source.startswith("%parameters\n")
        written.append({
            "id": f"cell-{number}", "cell_type": "markdown" if is_prose else "code",
            "metadata": {"tags": ["parameters"]} if is_tagged else {}, "source": source.removeprefix("%parameters\n"),
            **({} if is_prose else {"execution_count": None, "outputs": []}),
        })
    path.write_text(json.dumps({"cells": written, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))


@dataclass(frozen=True)
class Project:
    """A project's root, and what one does in it."""

    root: Path

    def notebook(self, name: str, cells: Sequence[str]) -> None:
        """Write or replace a stage notebook."""
        write_notebook(self.root / "notebooks" / f"{name}.ipynb", cells)

    def record(self, stage: str, run: str = "default") -> Any:
        """Read a stage's record as it lies there."""
        return json.loads((self.root / "data" / "runs" / run / stage / "record.json").read_text())

    def report(self, name: str, run: str = "default") -> Path:
        """Give a file among a run's reports."""
        return self.root / "reports" / run / name

    def command(self, *words: str) -> list[str]:
        """Give the argument list of a `workbench` command."""
        return [sys.executable, "-m", "workbench.cli", *words]

    def environment(self, **more: str) -> Mapping[str, str]:
        """Give an environment in which commands work on this project."""
        return {**os.environ, "WORKBENCH_ROOT": str(self.root), **more}

    def workbench(self, *words: str, folder: Path | None = None, timeout_s: float = 120,
                  **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a `workbench` command to its end."""
        return subprocess.run(self.command(*words), env=self.environment(**environment), cwd=folder or self.root,
                              capture_output=True, text=True, timeout=timeout_s, check=False)


def make_project(folder: Path) -> Project:
    """Copy the notebooks and recipes into a root of their own."""
    shutil.copytree(REPOSITORY / "notebooks", folder / "notebooks", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    return Project(folder)


def make_float32_project(folder: Path) -> Project:
    """Make a project like that of `toy_run`, which its runs may be held against."""
    project = make_project(folder)
    recipe = project.root / "notebooks" / "recipes" / "default.py"
    asked = recipe.read_text()
    recipe.write_text(asked.replace("fit=Fit(", 'fit=Fit(precision="float32", '))
    assert recipe.read_text() != asked
    return project


def pytest_configure() -> None:
    """Let the programs that tests start hear of Ctrl-C: what a script's shell starts beside itself ignores it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the claims, which make the run of the default size, and leave others that need it for the end."""
    needing = {item.path for item in items if "default_run" in getattr(item, "fixturenames", ())}
    items.sort(key=lambda item: 1 if item.path not in needing else 0 if item.path.stem == "test_claims" else 2)


@pytest.fixture(scope="session")
def default_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Give a project in which the run of the default size has gone through all eight stages: a copy for each worker.

    The run itself is made once, in some 15 minutes. WORKBENCH_DEFAULT_RUN may name the root of one that is finished.
    """
    made, root = os.environ.get("WORKBENCH_DEFAULT_RUN", ""), tmp_path_factory.mktemp("default")
    shutil.copytree(made or made_once(tmp_path_factory, "default-run", _make_default_run), root, dirs_exist_ok=True,
                    ignore=shutil.ignore_patterns("notebooks", "service.json"))
    project = make_project(root)
    yield project
    project.workbench("stop")


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """Make a folder, unless another worker has; one that comes meanwhile waits for it.

    WORKBENCH_TEST_MADE may name a place where such folders stay, for the next call of pytest on the same code.
    """
    base = factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    root = Path(os.environ.get("WORKBENCH_TEST_MADE", base)) / name
    with FileLock(root.with_suffix(".lock")):
        if not (root / "made").exists():
            shutil.rmtree(root, ignore_errors=True)
            root.mkdir()
            make(root)
            (root / "made").touch()
    return root


def _make_default_run(root: Path) -> None:
    project = make_project(root)
    done = project.workbench("run", timeout_s=3500)
    project.workbench("stop")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def toy_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Project]:
    """Give a toy run from scope to improve that nothing disturbed, and a copy from when collect had ended.

    It is to be compared with: the tests of all workers read it, and change nothing. It learns in float32, so that sums
    in another order differ by nothing that a toy's decisions could hang on.
    """
    root = made_once(tmp_path_factory, "toy-run", _make_toy_run)
    return Project(root / "whole"), Project(root / "begun")


def _make_toy_run(root: Path) -> None:
    from test_cycle import ORDER, workbench

    project = make_float32_project(root / "whole")
    for last in ("collect", "improve"):
        done = workbench(project, *ORDER, "--to", last)
        assert done.returncode == 0, done.stdout + done.stderr
        if last == "collect":
            shutil.copytree(project.root, root / "begun")
    assert project.record("04_analyze", "toy")["decision"]["outcome"] == "yes", "improve has nothing to do"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Make the project, and make it the one that modules called in this process work on."""
    (tmp_path / "notebooks" / "recipes").mkdir(parents=True)
    made = Project(tmp_path)
    made.notebook("01_first", FIRST)
    made.notebook("02_second", SECOND)
    monkeypatch.setenv("WORKBENCH_ROOT", str(tmp_path))
    return made


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make an empty project, and make it the one that modules called in this process work on."""
    (tmp_path / "notebooks").mkdir()
    monkeypatch.setenv("WORKBENCH_ROOT", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> "tuple[Path, pd.DataFrame]":
    """Give a toy that has learned a little, and clips that it never heard."""
    from test_training import fit, tones

    folder = tmp_path_factory.mktemp("trained")
    (folder / "notebooks").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKBENCH_ROOT", str(folder))
        return fit((tones(folder, 60, 0), tones(folder, 40, 1)), 160).checkpoint, tones(folder, 60, 2)


@pytest.fixture(scope="session")
def forgetful(trained: "tuple[Path, pd.DataFrame]") -> Path:
    """Give the same toy as if its decoder had never learned the word `three`, which its character head hears."""
    import torch
    from whisper.tokenizer import get_tokenizer

    from workbench import whisper_model

    model = whisper_model.load(trained[0])
    tokens = [token for word in ("three", " three") for token in get_tokenizer(False).encode(word)]
    with torch.no_grad():  # the likelier it would be, the unlikelier it is
        model.whisper.decoder.token_embedding.weight[tokens] *= -1
    return whisper_model.save(model, trained[0].with_name("forgetful.pt"))


@pytest.fixture(scope="module")
def postgres() -> Iterator[Server]:
    """Give a PostgreSQL server."""
    with running() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, root: Path) -> str:
    """Give the address of an empty log, on each kind of database."""
    if request.param == "sqlite":
        return f"sqlite:///{root}/data/queries.db"
    server: Server = request.getfixturevalue("postgres")
    return server.new_log()


@pytest.fixture(scope="session")
def chromium() -> "Iterator[BrowserType]":
    """Give what starts browsers: one for all tests, as playwright runs once in a process."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        yield playwright.chromium
