"""What a stage notebook says about itself: its name, question, parameter cell, imports, and the stages it reads.

Read from the file as it stands; nothing here executes a notebook or knows what a stage is for.
"""

import ast
import io
import json
import re
import tokenize
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench import settings
from workbench.errors import ParameterError, SettingsError

PARAMETER_TYPES = ("int", "float", "str", "bool", "list[str]")
_PYTHON_ONLY = re.compile(r"^[ \t]*[%!].*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One line of a parameter cell: `name: type = default  # help`."""

    name: str
    type: str
    default: Any
    help: str


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell's source, without outputs or metadata."""

    kind: str
    source: str


@dataclass(frozen=True, slots=True)
class StageNotebook:
    """A stage as its notebook defines it."""

    name: str
    path: Path
    cells: tuple[Cell, ...]
    parameters: Mapping[str, Parameter]

    @property
    def folder_name(self) -> str:
        """The numbered name: `04_analyze`."""
        return self.path.stem

    @property
    def n_code_cells(self) -> int:
        """How many cells can run."""
        return sum(cell.kind == "code" for cell in self.cells)

    @property
    def question(self) -> str:
        """The question quoted under the title, "" when there is none."""
        prose = "\n".join(cell.source for cell in self.cells[:2] if cell.kind == "markdown")
        quoted = [line.lstrip("> ").strip() for line in prose.splitlines() if line.startswith(">")]
        return " ".join(quoted)

    @property
    def inputs(self) -> dict[str, frozenset[str]]:
        """The stages it reads, in order of appearance, each with the files it depends on; empty means all it left.

        `stage.input("name")` depends on everything, `stage.input("name", "file.json")` on that file alone.
        """
        found = dict[str, frozenset[str]]()
        for node in self._nodes():
            if (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "input"
                    and node.args and isinstance(node.args[0], ast.Constant)):
                name, words = str(node.args[0].value), node.args[1:]
                files = {str(word.value) for word in words if isinstance(word, ast.Constant)}
                is_limited = len(files) == len(words) > 0 and found.get(name) != frozenset()
                found[name] = found.get(name, frozenset()) | files if is_limited else frozenset()
        return found

    @property
    def modules(self) -> frozenset[str]:
        """The `workbench` modules it imports itself."""
        return frozenset(name for node in self._nodes() for name in imported_modules(node))

    @property
    def brings_data(self) -> bool:
        """Whether it does more with data requests than `data_requests.ask(...)`, so that answers matter to it."""
        return bool({node.attr for node in self._nodes() if isinstance(node, ast.Attribute)
                     and isinstance(node.value, ast.Name) and node.value.id == "data_requests"} - {"ask"})

    def _nodes(self) -> Iterator[ast.AST]:
        for cell in self.cells:
            if cell.kind == "code":
                try:
                    yield from ast.walk(ast.parse(_PYTHON_ONLY.sub("pass", cell.source)))
                except SyntaxError:
                    continue  # the kernel will say so, with the cell


def imported_modules(node: ast.AST) -> list[str]:
    """Name what a syntax node imports from `workbench`; attributes of a module may be among the names."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names if alias.name.split(".")[0] == "workbench"]
    if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "workbench":
        return [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []


def discover() -> list[StageNotebook]:
    """Read every `notebooks/NN_name.ipynb`, in order of number.

    Raises: SettingsError when there is none or one is damaged.
    """
    folder = settings.root() / "notebooks"
    notebooks = [read(path) for path in sorted(folder.glob("[0-9][0-9]_*.ipynb"))]
    if not notebooks:
        raise SettingsError(f"{folder} has no stage notebook; stages are named NN_name.ipynb")
    return notebooks


def read(path: Path) -> StageNotebook:
    """Read one stage notebook. Raises: SettingsError when it is damaged, ParameterError for its parameter cell."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))["cells"]
        cells = tuple(Cell(cell["cell_type"], "".join(cell["source"])) for cell in raw)
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise SettingsError(f"{path} is not a notebook ({error!r}); take it from git again") from error
    tagged = ["".join(cell["source"]) for cell in raw if "parameters" in cell.get("metadata", {}).get("tags", [])]
    return StageNotebook(path.stem[3:], path, cells, _read_parameters(path, "\n".join(tagged)))


def _read_parameters(path: Path, source: str) -> dict[str, Parameter]:
    try:
        lines = ast.parse(source).body
        helps = {token.start[0]: token.string.lstrip("# ") for token in
                 tokenize.generate_tokens(io.StringIO(source).readline) if token.type == tokenize.COMMENT}
    except SyntaxError as error:
        raise ParameterError(f"{path}: the parameter cell is not Python: {error}") from error
    parameters = [_read_parameter(path, line, helps.get(line.end_lineno or 0, "")) for line in lines]
    return {parameter.name: parameter for parameter in parameters}


def _read_parameter(path: Path, line: ast.stmt, help_text: str) -> Parameter:
    if not (isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and line.value is not None
            and ast.unparse(line.annotation) in PARAMETER_TYPES):
        raise ParameterError(f"{path}: parameter line `{ast.unparse(line)}` is not `name: type = value  # help` "
                             f"with a type of {', '.join(PARAMETER_TYPES)}")
    try:
        default = ast.literal_eval(line.value)
    except ValueError as error:
        raise ParameterError(f"{path}: the default of {line.target.id} is not a plain value; write it out") from error
    return Parameter(line.target.id, ast.unparse(line.annotation), default, help_text)
