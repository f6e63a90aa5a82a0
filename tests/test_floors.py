"""The package's shape: imports go down the floors, outside libraries have one owner, and importing stays light."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import workbench

PACKAGE = Path(workbench.__file__).parent
MODULES = {path.stem: path for path in PACKAGE.glob("*.py") if path.stem != "__init__"}
# A package counts as one module: it has one floor, and one door to outside.
MODULES |= {name: PACKAGE / name for name in ("serving", "widgets")}
FILES = [path for path in PACKAGE.rglob("*.py") if path.stem != "__init__"]
FLOORS = (
    ("errors", "records", "settings"),
    ("text", "blocks", "intervals", "differences", "planning", "spending", "verdicts", "scoring", "confounding",
     "slicing", "opportunities", "distributions", "drift", "mishearing", "terms", "new_names", "typed_queries",
     "expected_wer", "auditing", "repetition", "suspects", "audio", "degrade", "catalogue", "figures",
     "monitoring_figures", "cards", "selections", "finding", "speaker_sums", "exploring", "mending", "comparing",
     "explorer_figures", "rephrasing", "shadowing", "frames", "letters", "prompts", "corpus_cards", "remote"),
    (
        "storage",
        "shared_store",
        "shared_datasets",
        "shared_runs",
        "model_files",
        "progress",
        "datasets",
        "compositions",
        "recipes",
        "augmentation",
        "batches",
        "optimizers",
        "precision",
        "adapting",
        "matching",
        "objective",
        "side_by_side",
        "placing",
        "manifests",
        "archives",
        "corpus_layouts",
        "hub_corpora",
        "lhotse_manifests",
        "noise_recordings",
        "published_corpora",
        "hearing",
        "corpora",
        "demo_world",
        "synthesis",
        "fetching",
        "whisper_model",
        "recognizing",
        "recognizers",
        "reference_fit",
        "biasing",
        "training",
        "cross_fitting",
        "starting",
        "registry",
        "model_registry",
        "engines",
        "fast",
        "log_database",
        "query_log",
        "log_reading",
        "marks",
        "name_list",
        "consented_audio",
        "keys",
        "shares",
        "clusters",
        "many_machines",
    ),
    ("gates", "data_requests", "track_record", "corrections", "causes", "improvement", "looks", "rounds",
     "shipping", "monitoring", "monitoring_reports", "labelling", "probes", "retraining", "evaluation", "consent",
     "answers", "explorer", "bases", "live_log", "watching", "timelines", "standing", "monitoring_page",
     "preflight", "sharing"),
    ("notebooks", "parameters", "fingerprints", "nursery", "kernels", "locks", "live", "execution", "pages", "twins",
     "runs", "outcomes", "pipeline", "serving", "traffic", "widgets", "dashboards", "people_cli", "service_cli", "cli"),
)
OWNERS = {
    "papermill": {"execution"},
    "jupyter_client": {"kernels"},
    "jiwer": {"scoring"},
    "rapidfuzz": {"terms", "mishearing"},
    "sklearn": {"expected_wer"},
    "plotly": {"figures", "monitoring_figures", "explorer_figures", "pages", "widgets"},
    "ipywidgets": {"widgets"},
    "anywidget": {"widgets"},
    "voila": {"widgets"},
    "mlflow": {"registry"},
    "fsspec": {"remote", "shared_store"},
    "sqlalchemy": {"log_database", "log_reading", "query_log", "marks"},
    "whisper": {"whisper_model", "precision", "recognizers", "batches", "text", "engines"},
    "ctranslate2": {"engines", "fast"},
    "tiktoken": {"fast"},
    "nbconvert": {"pages"},
    "typer": {"cli", "people_cli", "service_cli"},
    "fastapi": {"serving"},
    "httpx": {"fetching", "serving", "traffic"},
    "peft": {"adapting"},
    "uvicorn": {"serving"},
    "prometheus_client": {"serving"},
    "pydantic_settings": {"settings"},
    "pandera": {"manifests"},
    "torchaudio": {"augmentation", "recognizers"},
    "soundfile": {"audio"},
    "av": {"audio"},
    "datasets": {"hub_corpora"},
    "lhotse": {"lhotse_manifests"},
    "ray": {"clusters", "many_machines", "serving"},
}
HEAVY = ("torch", "whisper", "mlflow", "plotly", "papermill", "nbconvert")


@cache
def imports(path: Path, *, only_top: bool = False) -> set[str]:
    """Give the names of the modules that a file or a package imports, `workbench.x` for our own."""
    trees = [ast.parse(file.read_text()) for file in ([path] if path.is_file() else sorted(path.glob("*.py")))]
    nodes = [node for tree in trees for node in (tree.body if only_top else ast.walk(tree))]
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "workbench":
            found |= {f"workbench.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def ours(path: Path, *, only_top: bool = False) -> set[str]:
    found = {name.split(".")[1] for name in imports(path, only_top=only_top) if name.startswith("workbench.")}
    return found & set(MODULES) - {path.stem}


def floor_of(module: str) -> int:
    return next(number for number, modules in enumerate(FLOORS) if module in modules)


def test_every_module_has_a_floor_and_every_floor_is_real() -> None:
    assert set(MODULES) == {module for floor in FLOORS for module in floor}


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down_or_sideways(module: str) -> None:
    higher = {name for name in ours(MODULES[module]) if floor_of(name) > floor_of(module)}
    assert not higher, f"{module} imports {higher} from a higher floor"


def test_no_modules_import_each_other_in_a_circle() -> None:
    seen: dict[str, bool] = {}

    def walk(module: str) -> None:
        assert seen.get(module, True), f"a circle through {module}"
        if module not in seen:
            seen[module] = False
            for name in ours(MODULES[module], only_top=True):
                walk(name)
            seen[module] = True

    for module in MODULES:
        walk(module)


@pytest.mark.parametrize("library", OWNERS)
def test_an_outside_library_is_imported_by_its_owner_alone(library: str) -> None:
    users = {name for name, path in MODULES.items() if library in {i.split(".")[0] for i in imports(path)}}
    assert users == OWNERS[library] & users and users, f"{library} is imported by {users}"


@pytest.mark.parametrize("file", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_is_one_idea(file: Path) -> None:
    lines = file.read_text().splitlines()
    assert len(lines) <= 300, f"{file} has {len(lines)} lines: it is two ideas"
    assert lines[0].startswith('"""'), f"{file} does not say what lives in it"


@pytest.mark.parametrize(
    "modules", ["workbench", "workbench.cli, workbench.pipeline", "workbench.slicing, workbench.scoring"]
)
def test_light_modules_load_nothing_heavy(modules: str) -> None:
    code = f"import sys, {modules}; print([name for name in {HEAVY} if name in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"


def test_a_server_of_engines_loads_nothing_heavy() -> None:
    modules = "workbench.serving.app, workbench.serving.server, workbench.serving.sources"
    code = f"import sys, {modules}; print([name for name in {(*HEAVY, 'pandas')} if name in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"
