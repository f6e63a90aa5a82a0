"""What tests of the pages share: a finished toy run with its live server, the dashboards' server, and a browser.

WORKBENCH_TEST_RUN may name the root of a finished toy run, to be copied instead of made: it takes two minutes to make.
"""

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserType, Page, expect

from tests.conftest import CHROMIUM, FLAGS, REPOSITORY, Project, made_once, make_project
from tests.processes import wait_until

PICTURES = REPOSITORY / "reports" / "dashboards"
ORDER = ("run", "--size", "toy", "-p", "train.n_steps=16", "-p", "improve.n_steps=8", "-p", "monitor.n_queries=150")
"""All eight stages of the run `default`, as small as they can be; the same command again finds nothing to do."""
QUIET = {"OMP_NUM_THREADS": "1"}
WIDTHS_PX = (1280, 390)
"""A laptop and a phone."""
PATIENCE_S = 180.0
expect.set_options(timeout=1000 * PATIENCE_S)


def workbench(project: Project, *words: str, timeout_s: float = 900, **environment: str,
              ) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(project.command(*words), env=project.environment(**QUIET, **environment), cwd=project.root,
                          capture_output=True, text=True, timeout=timeout_s, check=False)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Give a project in which the run `default` went through all eight stages; what serves it ends with the tests."""
    made = os.environ.get("WORKBENCH_TEST_RUN", "") or made_once(tmp_path_factory, "finished-run", _finish)
    root = tmp_path_factory.mktemp("finished")
    shutil.copytree(made, root, dirs_exist_ok=True, ignore=shutil.ignore_patterns("notebooks", "service.json"))
    project = make_project(root)
    try:
        yield project
    finally:
        workbench(project, "stop")


def _finish(root: Path) -> None:
    project = make_project(root)
    try:
        done = workbench(project, *ORDER)
        assert done.returncode == 0, done.stdout + done.stderr
    finally:
        workbench(project, "stop")


@dataclass(frozen=True)
class Door:
    """A running dashboards' server: where it listens, its token, and what it and its pages' kernels printed."""

    port: int
    token: str
    process: subprocess.Popen[bytes]
    words: Path

    @property
    def url(self) -> str:
        """The address without a page."""
        return f"http://127.0.0.1:{self.port}"

    def page(self, name: str, *, token: str | None = None, **query: str) -> str:
        """Give a page's link: `error_analysis` or `monitoring`."""
        asked = {"token": self.token if token is None else token, **query}
        words = "&".join(f"{key}={value}" for key, value in asked.items() if value)
        return f"{self.url}/voila/render/{name}.ipynb" + (f"?{words}" if words else "")


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def opened(project: Project, *words: str, **environment: str) -> Iterator[Door]:
    """Start `workbench dashboards` on a project, and end it and all its kernels afterwards."""
    port, token, log = free_port(), "sesame-of-the-tests", project.root / "dashboards.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            project.command("dashboards", "--port", str(port), *words), cwd=project.root, stdout=output, stderr=output,
            env=project.environment(**QUIET, WORKBENCH_DASHBOARDS_TOKEN=token, **environment))
        try:
            wait_until(lambda: "monitoring: http" in log.read_text() or process.poll() is not None, PATIENCE_S)
            assert process.poll() is None, f"the dashboards did not start: {log.read_text()}"
            yield Door(port, token, process, log)
        finally:
            process.terminate()
            process.wait(timeout=30)


@pytest.fixture(scope="session")
def door(finished: Project) -> Iterator[Door]:
    """Give the dashboards of the finished run."""
    with opened(finished) as running:
        yield running


@pytest.fixture(scope="session")
def browser(chromium: BrowserType) -> Iterator[Browser]:
    """Give Chromium."""
    started = chromium.launch(executable_path=CHROMIUM, args=FLAGS)
    yield started
    started.close()


@dataclass
class Visitors:
    """Opens pages, each as a visitor of their own, and remembers what went wrong on any of them."""

    browser: Browser
    pages: list[Page] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)

    def __call__(self, url: str, *, width_px: int = WIDTHS_PX[0], scheme: str = "light",
                 shown: str = ".wb-headline") -> Page:
        """Open an address and wait until what is `shown` (a selector) is there."""
        context = self.browser.new_context(viewport={"width": width_px, "height": 900}, accept_downloads=True,
                                           color_scheme="dark" if scheme == "dark" else "light")
        context.set_default_timeout(1000 * PATIENCE_S)
        page = context.new_page()
        page.on("pageerror", lambda error: self.troubles.append(f"{url}: {error}"))
        page.on("request", lambda request: self._is_ours(request.url))
        self.pages.append(page)
        page.goto(url, wait_until="commit")
        page.wait_for_selector(shown)
        return page

    def _is_ours(self, url: str) -> None:
        if url.startswith("http") and not url.startswith("http://127.0.0.1:"):
            self.troubles.append(f"the page asks elsewhere: {url}")

    def leave(self) -> None:
        """Close all pages. Raises: AssertionError when one of them had an error or shows a traceback."""
        shown = [page.inner_text("body") for page in self.pages if not page.is_closed()]
        for page in self.pages:
            page.context.close()
        assert not self.troubles
        assert not [words for words in shown if "Traceback" in words or "Error:" in words]


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visitors]:
    """Open pages with `visit(door.page("monitoring"))`; a page error or a traceback on any fails the test."""
    visitors = Visitors(browser)
    yield visitors
    visitors.leave()


def photograph(visit: Visitors, url: str, name: str, prepare: Callable[[Page], None] = lambda page: None,
               *, schemes: tuple[str, ...] = ("light",), shown: str = ".wb-headline") -> list[Path]:
    """Take pictures of a page for people to look at, all of it, as wide as a laptop and a phone.

    Returns: the files, in the repository's `reports/dashboards`.
    Raises: AssertionError when a page is wider than its window.
    """
    PICTURES.mkdir(parents=True, exist_ok=True)
    taken = []
    for scheme in schemes:
        for width_px in WIDTHS_PX:
            page = visit(url, width_px=width_px, scheme=scheme, shown=shown)
            prepare(page)
            _make_room(page)
            ending = "" if scheme == "light" else f"-{scheme}"
            taken.append(PICTURES / f"{name}-{width_px}{ending}.png")
            page.screenshot(path=taken[-1], full_page=True)
    return taken


def _make_room(page: Page) -> None:
    """Make the window as tall as the page, once all its charts are drawn."""
    charts = "[...document.querySelectorAll('.wb-chart')].filter((chart) => chart.offsetParent)"
    page.wait_for_function(charts + ".every((chart) => chart.querySelector('[data-drawn]'))")
    page.evaluate("document.querySelectorAll('*').forEach((part) => { part.scrollTop = 0 })")
    box, size = page.locator(".wb-page, body").last.bounding_box(), page.viewport_size
    assert box and size
    page.set_viewport_size({"width": size["width"], "height": int(box["y"] + box["height"]) + 20})
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "the page is wider than it"
