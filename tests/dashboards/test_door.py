"""The door of the dashboards: who comes in, what is shown and what never is, and what happens to kernels."""

import contextlib
import json
import os
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect

from tests.conftest import Project, make_project
from tests.dashboards.conftest import Door, Visitors, opened, photograph, workbench
from tests.processes import wait_until, wait_until_gone

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
IDLE_S = "45"  # a browser on busy cores may take half of it before it connects to the page's kernel
COUNTER = """
import ipywidgets as widgets
from workbench import cards
from workbench.widgets import shell
def build():
    n, said = [0], shell.html(cards.headline("0 so far"))
    def add(_):
        n[0] += 1
        said.value = cards.headline(f"{n[0]} so far")
    button = widgets.Button(description="one more")
    button.on_click(add)
    return widgets.VBox([said, button])
panel = shell.page(build)
"""
BROKEN = "from workbench.widgets import shell\npanel = shell.page(lambda: {}['a secret of the house'])"
RAISING = "panel = {}['a secret of the house']"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Give a project without data, with pages beside the two that count, and that go wrong in several ways."""
    project = make_project(tmp_path_factory.mktemp("house"))
    pages = project.root / "notebooks" / "dashboards"
    for name, source in (("counter", COUNTER), ("broken", BROKEN), ("raising", RAISING)):
        notebook = json.loads((pages / "monitoring.ipynb").read_text())
        notebook["cells"] = [{"cell_type": "code", "id": f"cell-{i}", "metadata": {}, "outputs": [],
                              "execution_count": None, "source": text} for i, text in enumerate((source, "panel"))]
        notebook["metadata"]["title"] = name
        (pages / f"{name}.ipynb").write_text(json.dumps(notebook))
    (project.root / "data" / "runs").mkdir(parents=True)
    (project.root / "data" / "secret.csv").write_text("a,secret\n")
    return project


@pytest.fixture(scope="module")
def door(house: Project) -> Iterator[Door]:
    with opened(house, WORKBENCH_DASHBOARD_IDLE_S=IDLE_S) as running:
        yield running


def children(pid: int) -> dict[int, str]:
    """Give the processes below one, with their command lines."""
    found: dict[int, str] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[1]) == pid and fields[0] != "Z":
                words = stat.with_name("cmdline").read_bytes().replace(b"\0", b" ").decode()
                found |= {int(stat.parent.name): words}
    return found


def kernels(door: Door) -> dict[int, str]:
    return {pid: words for pid, words in children(door.process.pid).items() if "ipykernel" in words}


# --- who comes in ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/voila/render/counter.ipynb", "/voila/tree", "/voila/api/contents/",
                                  "/voila/files/counter.ipynb", "/voila/render/counter.ipynb?token=wrong"])
def test_without_the_token_nothing_is_shown(door: Door, path: str) -> None:
    answer = httpx.get(door.url + path, follow_redirects=True)
    assert answer.status_code in (200, 403)
    assert "so far" not in answer.text and "counter" not in answer.text.replace("counter.ipynb", "")
    if answer.status_code == 200:
        assert "workbench dashboards" in answer.text and 'name="password"' in answer.text


def test_the_page_that_asks_for_the_token_lets_in_who_has_it_and_says_when_it_is_wrong(
    door: Door, visit: Visitors
) -> None:
    page = visit(door.page("counter", token=""), shown="form")
    expect(page.locator("h1")).to_contain_text("open with the link that workbench dashboards printed")
    page.get_by_label("Token").fill("something else")
    page.get_by_role("button", name="Let me in").click()
    expect(page.get_by_role("alert")).to_contain_text("not the token")
    page.get_by_label("Token").fill(door.token)
    page.keyboard.press("Enter")
    expect(page.locator(".wb-headline")).to_have_text("0 so far")


def test_the_token_is_printed_with_the_links_and_not_among_the_words_of_the_process(door: Door) -> None:
    printed = door.words.read_text()
    assert door.page("error_analysis") in printed and door.page("monitoring") in printed
    assert door.token not in Path(f"/proc/{door.process.pid}/cmdline").read_text()
    assert not [words for words in children(door.process.pid).values() if door.token in words]


def test_once_its_links_are_printed_it_answers_and_ctrl_c_ends_it_and_its_kernels_without_a_word(
        tmp_path: Path) -> None:
    with opened(make_project(tmp_path)) as running:
        assert httpx.get(running.page("monitoring", token="wrong")).status_code == httpx.codes.FOUND
        wait_until(lambda: kernels(running))
        started = kernels(running)
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(timeout=60) == 0
        wait_until_gone(*started)
        assert re.fullmatch(r"([a-z ]+: http://\S+\n)+", running.words.read_text())


def test_the_index_leads_to_both_pages(door: Door, visit: Visitors) -> None:
    page = visit(f"{door.url}/?token={door.token}", shown="a.page")
    expect(page.get_by_role("link")).to_have_count(2)
    page.get_by_role("link", name="Monitoring").click()
    expect(page).to_have_title("Monitoring")
    page.wait_for_selector(".wb-headline")


def test_a_port_in_use_is_one_message_and_exit_code_2(house: Project) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = workbench(house, "dashboards", "--port", str(port))
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1 and done.stdout == ""
    assert f"127.0.0.1:{port} (Address already in use)" in done.stderr and f"--port {port + 1}" in done.stderr


def test_the_help_has_examples(house: Project) -> None:
    assert "workbench dashboards --port 9000 --no-auth" in workbench(house, "dashboards", "--help").stdout


# --- what is shown ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [
    "/voila/files/counter.ipynb", "/voila/files/../recipes/default.py", "/voila/files/..%2f..%2fdata%2fsecret.csv",
    "/voila/static/..%2f..%2fdata%2fsecret.csv", "/voila/static/%2fetc%2fpasswd",
    "/voila/render/..%2frecipes%2fdefault.py", "/voila/templates/workbench/static/..%2f..%2fconf.json",
    "/voila/render/..%2f02_collect.ipynb",
])
def test_notebooks_sources_and_data_are_not_served(door: Door, path: str) -> None:
    answer = httpx.get(door.url + path, params={"token": door.token}, follow_redirects=True, timeout=30)
    assert answer.status_code >= 400
    assert "secret" not in answer.text and "root:" not in answer.text and "def " not in answer.text


def test_a_page_carries_no_source(door: Door) -> None:
    answer = httpx.get(door.page("counter"), timeout=60, follow_redirects=True)
    assert answer.status_code == 200 and "so far" not in answer.text.partition("<body")[0]
    assert "import ipywidgets" not in answer.text and "shell.page" not in answer.text


@pytest.mark.parametrize("name", ["broken", "raising"])
def test_what_goes_wrong_is_a_sentence_to_the_visitor_and_a_traceback_in_the_log(
    door: Door, visit: Visitors, name: str
) -> None:
    page = visit(door.page(name), shown={"broken": ".wb-headline", "raising": "#rendered_cells"}[name])
    page.wait_for_selector("#loading", state="detached")
    said = page.inner_text("body")
    assert "secret" not in said and "KeyError" not in said and "line 1" not in said and len(said) > 20
    wait_until(lambda: "a secret of the house" in door.words.read_text())


def test_a_project_without_data_says_what_to_run(door: Door, visit: Visitors) -> None:
    for name in ("error_analysis", "monitoring"):
        page = visit(door.page(name))
        expect(page.locator("body")).to_contain_text(re.compile(r"nothing to show yet.*`?workbench (run|serve)", re.S))


def test_a_page_that_is_not_there_is_a_sentence(door: Door, visit: Visitors) -> None:
    page = visit(door.page("nothing"), shown="h1")
    expect(page.locator("h1")).to_have_text(re.compile("no such page|could not be shown"))


def test_pages_follow_what_the_system_prefers(door: Door, visit: Visitors) -> None:
    grounds = {}
    for scheme in ("light", "dark"):
        page = visit(door.page("counter"), scheme=scheme)
        grounds[scheme] = page.evaluate("""() => {
          const nodes = document.elementsFromPoint(innerWidth / 2, innerHeight - 5);
          const seen = nodes.map(n => getComputedStyle(n).backgroundColor).filter(c => c !== 'rgba(0, 0, 0, 0)');
          return [seen[0], getComputedStyle(document.querySelector('.wb-headline')).color]; }""")
    assert grounds == {"light": ["rgb(245, 247, 251)", "rgb(27, 35, 51)"],
                       "dark": ["rgb(17, 21, 29)", "rgb(230, 233, 239)"]}


# --- kernels ---------------------------------------------------------------------------------------------------------


def test_two_visitors_do_not_disturb_each_other(door: Door, visit: Visitors) -> None:
    first, second = visit(door.page("counter")), visit(door.page("counter"))
    for n in (1, 2):
        first.get_by_role("button", name="one more").click()
        expect(first.locator(".wb-headline")).to_have_text(f"{n} so far")
    second.get_by_role("button", name="one more").click()
    expect(second.locator(".wb-headline")).to_have_text("1 so far")
    expect(first.locator(".wb-headline")).to_have_text("2 so far")


def test_a_killed_kernel_is_said_and_loading_again_helps(door: Door, visit: Visitors) -> None:
    page = visit(door.page("counter"))
    kernel_id = json.loads(page.locator("#jupyter-config-data").inner_text())["kernelId"]
    pid, = (pid for pid, words in kernels(door).items() if kernel_id in words)
    expect(page.locator(".wb-lost")).to_be_hidden()
    os.kill(pid, signal.SIGKILL)
    expect(page.locator(".wb-lost")).to_be_visible(timeout=45_000)
    expect(page.locator(".wb-lost")).to_contain_text("lost its connection")
    page.get_by_role("button", name="Load it again").click()
    expect(page.locator(".wb-lost")).to_be_hidden()
    page.get_by_role("button", name="one more").click()
    expect(page.locator(".wb-headline")).to_have_text("1 so far")


def test_a_page_that_was_left_gives_its_kernel_back_and_an_open_one_keeps_it(door: Door, visit: Visitors) -> None:
    page = visit(door.page("counter"))
    mine = json.loads(page.locator("#jupyter-config-data").inner_text())["kernelId"]
    left = httpx.get(door.page("counter"), timeout=60, follow_redirects=True)  # asks, and never connects
    lost = json.loads(re.findall(r'id="jupyter-config-data"[^>]*>(.+?)</script>', left.text, re.S)[0])["kernelId"]
    assert any(lost in words for words in kernels(door).values())
    wait_until(lambda: not any(lost in words for words in kernels(door).values()), within_s=240)
    assert any(mine in words for words in kernels(door).values())
    page.get_by_role("button", name="one more").click()
    expect(page.locator(".wb-headline")).to_have_text("1 so far")


def test_the_door_for_people_to_look_at(door: Door, visit: Visitors) -> None:
    schemes = ("light", "dark")
    taken = photograph(visit, f"{door.url}/?token={door.token}", "index", schemes=schemes, shown="a.page")
    taken += photograph(visit, door.page("counter", token=""), "token", schemes=schemes, shown="form")
    assert len(taken) == 8 and all(path.stat().st_size > 5_000 for path in taken)
