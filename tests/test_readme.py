"""README is true: its commands exist, its links lead somewhere, and its package list is the package."""

import doctest
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from test_floors import FLOORS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```\n(.*?)^```", README, re.M | re.S)
COMMANDS = sorted({shlex.split(part)[1] for block in BLOCKS for line in block.splitlines()
                   for part in line.removeprefix("$ ").split("#")[0].split("&&")
                   if part.strip().startswith("workbench")})


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_that_readme_shows_exists(command: str) -> None:
    done = subprocess.run([sys.executable, "-m", "workbench.cli", command, "--help"], capture_output=True, check=False)
    assert done.returncode == 0


def test_the_two_set_up_commands_come_first() -> None:
    assert [block.strip() for block in BLOCKS[:2]] == [
        'pip install -c constraints.txt -e ".[demo]" && workbench run',
        'pip install -c constraints.txt -e ".[dev]" && pytest',
    ]


def test_links_and_pictures_are_there() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    assert targets and not [target for target in targets if not (ROOT / target).exists()]


def test_every_module_is_named_on_its_floor() -> None:
    listed = re.findall(r"^        \d \w+ +(.+(?:\n {21}.+)*)", README, re.M)
    assert [set(words.split()) for words in listed] == [set(floor) for floor in FLOORS]


def test_what_the_numbers_mean_is_what_they_are() -> None:
    found = doctest.testfile(str(ROOT / "README.md"), module_relative=False)
    assert found.attempted >= 10 and not found.failed
