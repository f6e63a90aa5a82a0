"""README is true: its commands exist, its links lead somewhere, and its package list is the package."""

import doctest
import re
import shlex
from pathlib import Path

import pytest
import typer
from test_floors import FLOORS
from typer.core import TyperGroup

from workbench import cli, notebooks

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```\n(.*?)^```", README, re.M | re.S)
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
CODE = re.compile(r"^```\w*\n(.*?)^```|^ {4}(\S.*)$|`([^`]+)`", re.M | re.S)


def shown(page: Path) -> list[str]:
    """List the command lines of a page, each as it would be typed."""
    code = "\n".join(next(filter(None, found)) for found in CODE.findall(page.read_text()))
    lines = code.replace("\\\n", " ").splitlines()
    parts = [part.strip() for line in lines for part in re.split(r"&&| \| |\d?>>", line.partition(" #")[0])]
    typed = [re.search(r"(?:^|^\$ |^ExecStart=\S+/| )(workbench (?!import )[a-z].*)", part) for part in parts]
    return [found[1] for found in typed if found]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_option_and_parameter_that_a_page_shows_exists(page: Path) -> None:
    stages = {path.stem[3:]: notebooks.read(path).parameters for path in (ROOT / "notebooks").glob("0*.ipynb")}
    lines = shown(page)
    assert lines
    for line in lines:
        words, command = shlex.split(line)[1:], typer.main.get_command(cli.app)
        while isinstance(command, TyperGroup) and words:
            assert words[0] in command.commands, f"{page.name}: {line}"
            command = command.commands[words.pop(0)]
        options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        asked = {word.partition("=")[0] for word in words if re.match("--?[a-z]", word)}
        assert asked <= options or command.name == "lab", f"{page.name}: {line}"
        for stage, name in re.findall(r"-p '?(\w+)\.(\w+)=", line):
            assert name in stages[stage], f"{page.name}: {line}"


def test_the_two_set_up_commands_come_first() -> None:
    assert [block.strip() for block in BLOCKS[:2]] == [
        'pip install -c constraints.txt -e ".[demo]" && workbench run',
        'pip install -c constraints.txt -e ".[dev]" && pytest',
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_pictures_and_files_that_a_page_names_are_there(page: Path) -> None:
    text = page.read_text()
    linked = [page.parent / target for target in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in target]
    named = [ROOT / name for name in re.findall(r"\b(?:docs|benchmarks|notebooks|workbench|tests)/[\w./-]+\.\w+", text)]
    missing = [path for path in (*linked, *named) if not path.exists()]
    assert not missing


def test_readme_leads_to_every_page() -> None:
    assert {page.name for page in PAGES[1:]} <= {Path(target).name for target in re.findall(r"\]\(([^)#]+)\)", README)}


def test_every_module_is_named_on_its_floor() -> None:
    listed = re.findall(r"^        \d \w+ +(.+(?:\n {21}.+)*)", README, re.M)
    assert [set(words.split()) for words in listed] == [set(floor) for floor in FLOORS]


def test_what_the_numbers_mean_is_what_they_are() -> None:
    found = doctest.testfile(str(ROOT / "README.md"), module_relative=False)
    assert found.attempted >= 10 and not found.failed
