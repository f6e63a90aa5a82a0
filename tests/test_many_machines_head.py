"""A run whose cluster loses its head says so and ends, and goes on with a new one, on real Ray clusters."""

import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests import ray_nodes
from tests.conftest import Project
from tests.ray_nodes import Nodes

WORK = (
    "# Second\n\n> How much is there to do?",
    "%parameters\nrun: str = ''\nn_tasks: int = 400  # half a second each",
    "from workbench import many_machines, settings, storage\nfrom workbench.records import Decision\n"
    "stage = storage.open_stage('second', run)\nn_items = len(stage.input('first').json('items'))",
    "import time\nflag = settings.root() / 'quick'\n"
    "done = many_machines.map_all(lambda i: time.sleep(0.0 if flag.exists() else 0.5) or i, range(n_tasks), 'working')",
    "stage.close(parameters={'n_tasks': n_tasks}, metrics={'total': sum(done)},\n"
    "            decision=Decision('done', f'{len(done)} are done.'))",
)
PATIENCE_S = 300.0


def lose_head(nodes: Nodes) -> None:
    """Kill all of the head's processes without a word."""
    head = nodes.cluster.head_node
    assert head is not None
    for found in [found for all_of_kind in head.all_processes.values() for found in all_of_kind]:
        for process in [*psutil.Process(found.process.pid).children(recursive=True), found.process]:
            process.kill()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_whose_head_is_lost_ends_with_a_message_and_the_same_command_goes_on(
        project: Project, tmp_path: Path) -> None:
    project.notebook("02_second", WORK)
    words, said = ("run", "--engine", "ray", "--ray-address"), tmp_path / "said.txt"
    with ray_nodes.running(is_working_head=False) as nodes, said.open("w") as file:
        nodes.be_two()
        run = subprocess.Popen(project.command(*words, nodes.address), env=project.environment(), cwd=project.root,
                               stdout=file, stderr=file)
        try:
            deadline_s = time.monotonic() + PATIENCE_S
            while not nodes.working("ray::_apply"):
                assert time.monotonic() < deadline_s and run.poll() is None, said.read_text()
                time.sleep(0.2)
            lose_head(nodes)
            assert run.wait(PATIENCE_S) == 1, said.read_text()
        finally:
            run.kill()
    assert "the kernel died" in said.read_text() and "the same command runs this stage again" in said.read_text()
    assert "Traceback" not in said.read_text()
    (project.root / "quick").touch()
    with ray_nodes.running(is_working_head=False) as nodes:
        nodes.be_two()
        again = project.workbench(*words, nodes.address, timeout_s=PATIENCE_S)
    assert again.returncode == 0 and "unchanged" in again.stdout, again.stdout + again.stderr
    assert project.record("02_second")["metrics"]["total"]["value"] == sum(range(400))
