"""Stills of the dashboards: written after a run in which something ran, linked, and left out while data is missing."""

import io

import pytest
from rich.console import Console

from tests.conftest import Project
from workbench import notebooks, pages, pipeline, twins
from workbench.errors import QueryLogError, StageError


def a_body(run: str) -> str:
    return f'<p>Hears {run}.</p><figure class="plot"><script type="application/json">{{"data": []}}</script></figure>'


def not_yet(run: str) -> str:
    raise StageError("train has not finished")


def broken(run: str) -> str:
    raise QueryLogError("the log does not answer")


def test_a_still_opens_offline_with_its_figures_and_leads_back_to_the_run(project: Project) -> None:
    folder = project.root / "reports" / "default"
    path, = twins.write("default", folder, print, {"error_analysis": a_body})
    page = path.read_text()
    assert "<title>Error analysis · default</title>" in page and "Hears default." in page
    assert '<script src="plotly.min.js">' in page and (folder / "plotly.min.js").is_file()
    assert 'href="index.html"' in page and "http" not in page.replace("application/json", "")


def test_without_data_there_is_no_still_and_an_old_one_goes(project: Project) -> None:
    folder, said = project.root / "reports" / "default", list[str]()
    twins.write("default", folder, said.append, {"error_analysis": a_body, "monitoring": a_body})
    assert twins.write("default", folder, said.append, {"error_analysis": not_yet, "monitoring": broken}) == []
    assert not list(folder.glob("*.html")) and said == ["no still of monitoring: the log does not answer"]


def test_the_index_links_the_stills_that_are_there(project: Project) -> None:
    folder = project.root / "reports" / "default"
    twins.write("default", folder, print, {"monitoring": a_body})
    index = pages.write_index(folder, "default", notebooks.discover()).read_text()
    assert '<a href="monitoring.html">Monitoring</a>' in index and "error_analysis.html" not in index


def test_stills_are_written_when_a_stage_ran_and_not_again_when_none_did(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(twins, "due", lambda run: True)
    monkeypatch.setattr(twins, "CODE", "open({folder!r} + '/error_analysis.html', 'w').write({run!r})")
    still = project.report("error_analysis.html")
    for n_written in (1, 0):
        pipeline.run(pipeline.Order(), Console(file=io.StringIO()))
        assert still.is_file() == bool(n_written)
        assert ("error_analysis.html" in project.report("index.html").read_text()) == bool(n_written)
        still.unlink(missing_ok=True)


def test_stills_that_cannot_be_written_are_said_and_the_run_is_done(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(twins, "due", lambda run: True)
    monkeypatch.setattr(twins, "CODE", "print('no still of one')\nraise ValueError('of {run}')")
    said = io.StringIO()
    assert pipeline.run(pipeline.Order(), Console(file=said)) == 0
    assert "no stills of the pages: ValueError: of default" in said.getvalue()
    assert "report: " in said.getvalue()


def test_a_kernel_that_dies_over_the_stills_is_said_and_the_run_is_done(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(twins, "due", lambda run: True)
    monkeypatch.setattr(twins, "CODE", "import os\nos.kill(os.getpid(), 9)")
    said = io.StringIO()
    assert pipeline.run(pipeline.Order(), Console(file=said)) == 0
    assert "no stills of the pages: the kernel died" in said.getvalue()
