"""Parameters are checked before any kernel starts, and every message says what exists."""

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import FIRST, Project
from workbench import errors, notebooks, parameters


def passed(*assignments: str, folder: Path = Path("/nowhere"), size: str = "", file: Path | None = None) -> Any:
    given = parameters.read_given(assignments, file)
    return parameters.check(notebooks.discover(), given, run="default", size=size, folder=folder)["first"]


def test_a_notebook_tells_its_parameters_question_inputs_and_imports(project: Project) -> None:
    first, second = notebooks.discover()
    assert first.parameters["n_items"] == notebooks.Parameter("n_items", "int", 3, "how many to count")
    assert first.question == "How many are there?"
    assert second.inputs == {"first": frozenset()}
    assert {"workbench.storage", "workbench.progress"} <= second.modules


def test_run_and_size_go_to_the_notebooks_that_have_them(project: Project) -> None:
    assert passed(size="small") == {"run": "default", "size": "small"}
    assert passed("first.size=toy", size="small")["size"] == "toy"


@pytest.mark.parametrize(("assignment", "value"), [
    ("first.n_items=7", 7), ("first.rate=1", 1.0), ("first.rate=1e-3", 0.001), ("first.names=[x, y]", ["x", "y"]),
    ("first.names=[]", []), ("first.manifest=", ""), ("first.manifest='7'", "7")])
def test_values_are_yaml_of_the_parameters_type(project: Project, assignment: str, value: Any) -> None:
    name = assignment.partition("=")[0].removeprefix("first.")
    given = passed(assignment)[name]
    assert given == value and type(given) is type(value)


@pytest.mark.parametrize(("assignment", "message"), [
    ("first.n_item=7", "unknown parameter of first 'n_item', did you mean n_items.*rate"),
    ("frist.n_items=7", "unknown stage 'frist', did you mean first"),
    ("first.n_items=many", "first.n_items is 'many'.*must be int"), ("first.n_items=1.5", "must be int"),
    ("first.n_items=true", "must be int"), ("first.n_items=-5", "n_items is -5, must be 0 or more"),
    ("first.rate=fast", "must be float"), ("first.rate=.nan", "must be float"),
    ("first.names=x", r"must be list\[str\].*write \[x\]"), ("first.names=[1]", r"must be list\[str\]"),
    ("first.manifest=7", "must be str.*quotes"), ("first.run=mine", "--run"), ("first.size=big", "toy, small, full"),
    ("n_items=7", "stage.name=value"), ("first.n_items", "stage.name=value"), ("first.names=[a", "not YAML")])
def test_what_papermill_would_let_through_is_refused_with_what_exists(
        project: Project, assignment: str, message: str) -> None:
    with pytest.raises(errors.ParameterError, match=message):
        passed(assignment)


def test_a_missing_recipe_is_named_with_those_that_exist(project: Project) -> None:
    (project.root / "notebooks/recipes/loud.py").touch()
    project.notebook("01_first", [FIRST[0], FIRST[1] + "\nrecipe: str = 'loud'", *FIRST[2:]])
    assert passed() == {"run": "default"}
    with pytest.raises(errors.RecipeError, match="no recipe 'quiet'.*loud"):
        passed("first.recipe=quiet")


def test_relative_paths_are_the_callers(project: Project, tmp_path: Path) -> None:
    (tmp_path / "speech").mkdir()
    given = passed("first.names=[demo, speech, ../a/b.csv, s3://b/x.csv]", "first.manifest=m.jsonl", folder=tmp_path)
    assert given["names"] == ["demo", str(tmp_path / "speech"), str(tmp_path.parent / "a/b.csv"), "s3://b/x.csv"]
    assert given["manifest"] == str(tmp_path / "m.jsonl")


@pytest.mark.parametrize("words", ["we keep nothing " * 24, "~some keep/nothing", "musan: " + "a" * 300])
def test_a_sentence_is_no_path_however_long_it_is_or_it_begins(project: Project, words: str) -> None:
    assert passed(f"first.manifest={words.strip()!r}", folder=project.root)["manifest"] == words.strip()


def test_a_parameter_file_gives_values_under_those_of_the_command_line(project: Project, tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text("first:\n  n_items: 9\n  rate: 0.1\n")
    given = passed("first.rate=0.2", file=file)
    assert (given["n_items"], given["rate"]) == (9, 0.2)
    file.write_text("first: 9\n")
    with pytest.raises(errors.ParameterError, match="must say `stage:`"):
        passed(file=file)
    file.write_text("first: [9")
    with pytest.raises(errors.ParameterError, match="cannot be read as YAML"):
        passed(file=file)
    with pytest.raises(errors.ParameterError, match="absent.yaml: there is no such file"):
        passed(file=tmp_path / "absent.yaml")


def test_stages_are_picked_by_name_and_by_range_in_the_notebooks_order(project: Project) -> None:
    found = notebooks.discover()
    assert [n.name for n in parameters.select(found, ["second", "first"])] == ["first", "second"]
    assert [n.name for n in parameters.select(found, first="second")] == ["second"]
    assert [n.name for n in parameters.select(found, last="first")] == ["first"]
    with pytest.raises(errors.ParameterError, match="unknown stage 'third'.*first, second"):
        parameters.select(found, ["third"])
    with pytest.raises(errors.ParameterError, match="no stage is left"):
        parameters.select(found, ["first"], first="second")


@pytest.mark.parametrize("line", ["n = 3", "n: complex = 3j", "n: int = len('abc')", "n: int = ("])
def test_a_parameter_line_of_another_shape_is_refused(project: Project, line: str) -> None:
    project.notebook("01_first", [FIRST[0], f"%parameters\nrun: str = ''\n{line}"])
    with pytest.raises(errors.ParameterError, match="01_first.ipynb"):
        notebooks.discover()


def test_a_damaged_notebook_is_named(project: Project) -> None:
    (project.root / "notebooks/02_second.ipynb").write_text("{")
    with pytest.raises(errors.SettingsError, match="02_second.ipynb is not a notebook"):
        notebooks.discover()
