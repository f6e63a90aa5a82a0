"""What every stage notebook keeps to, so that it can be read as an essay and run by anybody."""

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("[0-9][0-9]_*.ipynb"))
MAX_CELL_LINES = 12


def cells(path: Path, kind: str = "") -> list[dict[str, Any]]:
    content = json.loads(path.read_text())["cells"]
    return [{**cell, "text": "".join(cell["source"])} for cell in content if not kind or cell["cell_type"] == kind]


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_it_opens_with_its_question_and_its_parameters(notebook: Path) -> None:
    first, second = cells(notebook)[:2]
    assert re.fullmatch(r"# \w+\n> .+\?", first["text"])
    assert second["metadata"]["tags"] == ["parameters"]


def test_every_parameter_is_plain_typed_and_explained(notebook: Path) -> None:
    for line in cells(notebook, "code")[0]["text"].splitlines():
        assert re.fullmatch(r"\w+: (int|float|str|bool|list\[str\]) = [^=#]+  # [^=]+", line), line


def test_it_is_an_essay_with_short_cells_and_as_much_prose_as_code(notebook: Path) -> None:
    prose, code = cells(notebook, "markdown"), cells(notebook, "code")
    assert 18 <= len(prose) + len(code) <= 32
    assert len(prose) >= len(code) - 4
    long = [cell["text"] for cell in code[1:] if len(cell["text"].splitlines()) > MAX_CELL_LINES]
    assert not long, f"longer than {MAX_CELL_LINES} lines: {long}"


def test_the_method_is_composed_not_defined(notebook: Path) -> None:
    for cell in cells(notebook, "code"):
        kinds = {type(node).__name__ for node in ast.walk(ast.parse(cell["text"]))}
        assert not kinds & {"FunctionDef", "ClassDef", "Try", "AsyncFunctionDef"}
        assert not re.search(r"^\s*[%!]", cell["text"], re.M)


def test_it_begins_and_ends_its_stage(notebook: Path) -> None:
    code = [cell["text"] for cell in cells(notebook, "code")]
    assert f'storage.open_stage("{notebook.stem[3:]}", run)' in code[1]
    assert "stage.close(" in code[-1]


def test_it_is_committed_without_outputs(notebook: Path) -> None:
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells(notebook, "code"))
