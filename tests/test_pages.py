"""What a page promises: it opens offline with its plots, says one sentence first, and the index tells the run."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import CHROMIUM, FLAGS, Project
from workbench import notebooks, pages, storage
from workbench.records import Decision, Interval
from workbench.storage import StageRecord

if TYPE_CHECKING:
    from playwright.sync_api import BrowserType

FIGURE = {"data": [{"type": "bar", "x": [1, 2], "y": ["</script>", "b"]}], "layout": {"title": {"text": "t"}}}


def executed(folder: Path, name: str, outputs: list[dict[str, Any]]) -> Path:
    """Write a notebook as papermill leaves it."""
    path = folder / f"{name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = [{"cell_type": "markdown", "metadata": {}, "source": "# First\n\n> How many?\n\nSome *prose*."},
             {"cell_type": "markdown", "metadata": {"tags": ["papermill-error-cell-tag"]}, "source": "An Exception"},
             {"cell_type": "code", "metadata": {}, "source": "look(at='this')", "outputs": outputs}]
    path.write_text(json.dumps({"cells": cells}))
    return path


def displayed(kind: str, content: Any) -> dict[str, Any]:
    return {"output_type": "display_data", "data": {kind: content, "text/plain": "never shown"}}


def a_record(outcome: str = "cannot_tell", run: str = "default") -> StageRecord:
    stage = storage.open_stage("first", run)
    stage.close(parameters={}, metrics={"n_queries": 600, "dev_wer": Interval(0.071, 0.062, 0.081)},
                decision=Decision(outcome, "Hears <most> queries; label 900 more."))  # type: ignore[arg-type]
    record = storage.read_record(run, "first")
    assert record is not None
    return record


def page_of(project: Project, outputs: list[dict[str, Any]]) -> str:
    notebook = notebooks.discover()[0]
    path = executed(project.root / "reports/default", "01_first", outputs)
    return pages.write_page(path, notebook, a_record()).read_text()


def test_a_page_begins_with_the_decision_and_the_key_numbers_with_their_intervals(project: Project) -> None:
    page = page_of(project, [])
    assert "Hears &lt;most&gt; queries; label 900 more." in page
    assert '<span class="badge cannot_tell">cannot tell</span>' in page
    assert page.index("7.1 %") < page.index("6.2 to 8.1") < page.index("600") < page.index("Some <em>prose</em>")
    assert "An Exception" not in page


def test_a_page_asks_the_network_for_nothing_and_finds_plotly_beside_it(project: Project) -> None:
    page = page_of(project, [displayed(pages.PLOTLY_TYPE, FIGURE), displayed("text/html", "<b>rich</b>")])
    assert not re.findall(r"(?:src|href)=[\"']?(?:https?:)?//|url\(|@import|\bimport\(", page)
    assert '<script src="plotly.min.js"></script>' in page
    assert project.report("plotly.min.js").stat().st_size > 1_000_000
    figure = re.search(r'<script type="application/json">(.*?)</script>', page)
    assert figure is not None and json.loads(figure[1]) == FIGURE
    assert "never shown" not in page


def test_a_page_without_plots_brings_no_plotly(project: Project) -> None:
    assert "plotly.min.js" not in page_of(project, [])
    assert not project.report("plotly.min.js").exists()


def test_every_kind_of_output_has_its_form(project: Project) -> None:
    page = page_of(project, [
        {"output_type": "stream", "name": "stdout", "text": ["1 < 2\n"]}, displayed("image/png", "iVBORw0KGgo=\n"),
        displayed("image/svg+xml", ["<svg>", "</svg>"]), displayed("text/markdown", "**loud**"),
        {"output_type": "execute_result", "data": {"text/plain": "<Thing>"}},
        {"output_type": "error", "ename": "E", "evalue": "e", "traceback": ["\x1b[31mE\x1b[0m: e"]}])
    for piece in ("<pre>1 &lt; 2\n</pre>", 'src="data:image/png;base64,iVBORw0KGgo="', "<svg></svg>",
                  "<strong>loud</strong>", "<pre>&lt;Thing&gt;</pre>", '<pre class="error">'):
        assert piece in page
    assert "\x1b" not in page
    assert '<details class="method">' in page


def test_a_stage_that_left_no_notebook_still_gets_a_page_that_says_why(project: Project) -> None:
    notebook = notebooks.discover()[0]
    path = project.root / "reports/default/01_first.ipynb"
    assert "The kernel died" in pages.write_failed_page(path, notebook, "default", "the kernel died").read_text()


def test_the_index_tells_each_stage_with_its_question_answer_and_state(project: Project) -> None:
    a_record("yes")
    storage.write_json(project.root / "data/runs/default/02_second/failure.json", {"message": "KeyError: 'x'"})
    project.notebook("03_third", ["# Third\n\n> And then?", "%parameters\nrun: str = ''\nn: int = 1"])
    index = pages.write_index(project.root / "reports/default", "default", notebooks.discover()).read_text()
    for piece in ("How many are there?", "Is their sum large?", "And then?", "Hears &lt;most&gt; queries", "7.1 %",
                  '<span class="badge yes">yes</span>', '<span class="badge failed">failed</span>',
                  '<span class="badge not_started">not started</span>', "second failed: KeyError"):
        assert piece in index
    assert not re.findall(r"(?:src|href)=[\"']?(?:https?:)?//", index)


@pytest.mark.slow
def test_a_browser_without_a_network_draws_the_plots_in_light_and_dark(
    project: Project, chromium: "BrowserType"
) -> None:
    page_of(project, [displayed(pages.PLOTLY_TYPE, FIGURE)])
    complaints: list[str] = []
    browser = chromium.launch(executable_path=CHROMIUM, args=FLAGS)
    for scheme in ("light", "dark"):
        context = browser.new_context(color_scheme=scheme, offline=True, viewport={"width": 390, "height": 800})
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(project.report("01_first.html").as_uri())
        page.wait_for_selector("figure.plot .main-svg")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    browser.close()
    assert not complaints
