"""What must be so on a node before it gets work, by what it says of itself; real clusters are in test_many_machines."""

import re
from pathlib import Path

import pytest

from workbench import clusters
from workbench.errors import ClusterError

OURS = {"the workbench's code": "c0de", "torch": "2.9.0"}


def test_a_node_that_has_all_that_is_here_and_sees_the_folder_may_work(root: Path) -> None:
    clusters._compare("node-b", OURS, {**OURS, "sees": "yes"})


def test_a_node_that_does_not_see_the_folder_is_named_with_what_to_share(root: Path) -> None:
    said = f"node node-b does not see {root}; the project's folder must be shared by all nodes under the same path"
    with pytest.raises(ClusterError, match=re.escape(said)):
        clusters._compare("node-b", OURS, {**OURS, "sees": ""})


def test_what_a_node_has_otherwise_is_told_before_what_it_sees(root: Path) -> None:
    with pytest.raises(ClusterError, match=r"node node-b has torch 2\.8\.0, wanted 2\.9\.0 as here; make them"):
        clusters._compare("node-b", OURS, {**OURS, "torch": "2.8.0", "sees": ""})


def test_a_node_looks_for_the_very_file_that_was_laid_there(root: Path) -> None:
    (root / "token").touch()
    assert clusters._look(str(root / "token"))["sees"] and not clusters._look(str(root / "other"))["sees"]
