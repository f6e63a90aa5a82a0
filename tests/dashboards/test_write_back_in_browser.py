"""Write-back: what is marked, corrected and asked for in the browser is what the next run reads."""

import contextlib

import pandas as pd
import pytest
from playwright.sync_api import Page, expect

from tests.conftest import Project
from tests.dashboards.conftest import ORDER, Door, Visitors, workbench
from workbench import answers, data_requests, storage
from workbench.marks import Marks

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
HEARD = "what somebody heard in the browser"


def listening(page: Page, mode: str) -> Page:
    """Turn the listening queue to a mode, and wait until a clip is there."""
    page.get_by_role("button", name=mode, exact=True).click()
    expect(page.locator(".wb-progress").last).to_contain_text("1 of")
    return page


def give_name(page: Page, name: str) -> None:
    page.get_by_label("your name").fill(name)
    page.get_by_role("button", name="go on").click()


def test_a_mark_a_correction_and_a_request_made_in_the_browser_are_read_by_the_next_run(
    finished: Project, door: Door, visit: Visitors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKBENCH_ROOT", str(finished.root))
    before = finished.record("02_collect")["versions"]["dataset"]
    page = visit(door.page("error_analysis"))

    queue = page.locator(".wb-keys").last
    listening(page, "the worst")
    queue.get_by_role("button", name="1 noise").click()
    give_name(page, "Wilma")
    expect(page.locator(".wb-toast")).to_contain_text("marked: noise")
    listening(page, "transcribe blind")
    queue.get_by_placeholder("what is said").fill(HEARD)
    queue.get_by_role("button", name="save").click()
    expect(page.locator(".wb-toast")).to_contain_text("kept what you heard")
    told, chip = page.locator(".wb-told"), page.locator('details.wb-chip[data-name="noise"]')
    everything = told.inner_text()
    chip.locator("summary").click()
    chip.locator('input[value="car"]').click()
    page.keyboard.press("Escape")
    expect(told).not_to_have_text(everything)
    page.get_by_role("button", name="ask for more like the selection").click()
    expect(page.locator(".wb-toast")).to_contain_text("Asked for 200 utterances with noise = car")

    with contextlib.closing(Marks()) as kept:
        said = kept.table().query("by == 'Wilma'").set_index("kind")  # other visitors may have been here before
    assert sorted(said.index) == ["cause", "reference"]
    assert said.loc["reference", "drawn"] in ("suspect", "random")
    asked, = [request for request in data_requests.of_people("default") if request.by == "Wilma"]
    assert asked.dataset_version == answers.read(answers.latest("default")).dataset_version

    done = workbench(finished, *ORDER)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "02_collect   starts" in done.stdout and "05_improve   starts" in done.stdout
    name, sha = said.loc["reference", "utterance_id"], said.loc["reference", "audio_sha"]
    version = finished.record("02_collect")["versions"]["dataset"]
    manifest = pd.read_parquet(finished.root / "data" / "datasets" / version / "manifest.parquet")
    assert version != before and manifest.set_index("audio_sha").loc[sha, "reference"] == HEARD
    record = storage.read_record("default", "train")
    assert record is not None
    assert record.table("listened").set_index("utterance_id").loc[name, "reference"] == HEARD
    assert data_requests.state(asked) == f"{asked.n_utterances} are in the data"
    analyzed = finished.report("04_analyze.html").read_text()
    assert "commonest cause is" in analyzed and "<td>noise</td>" in analyzed
    unchanged = workbench(finished, *ORDER)
    assert unchanged.stdout.count("unchanged") == 8, unchanged.stdout

    again = visit(door.page("error_analysis"))
    listening(again, "the worst")
    expect(again.locator("body")).to_contain_text("the commonest cause is")
