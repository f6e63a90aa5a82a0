"""The page with the microphone, in a real browser with a device that beeps."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserType, Page, expect

from tests.conftest import CHROMIUM, FLAGS
from tests.serving.conftest import Server

pytestmark = pytest.mark.slow
MICROPHONE = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]


@pytest.fixture
def page(server: Server, chromium: BrowserType) -> Iterator[Page]:
    browser = chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *MICROPHONE])
    opened = browser.new_page(viewport={"width": 420, "height": 780})
    troubles: list[str] = []
    opened.on("pageerror", lambda error: troubles.append(str(error)))
    opened.on("console", lambda said: troubles.append(said.text) if said.type == "error" and "429" not in said.text
              else None)
    opened.goto(server.url)
    yield opened
    assert not troubles
    browser.close()


def speak(page: Page) -> None:
    page.get_by_role("button", name="Speak").click()
    expect(page.locator("#state")).to_contain_text(re.compile(r"^[1-9]\d*\.\d s"), timeout=20_000)
    page.get_by_role("button", name="Stop").click()


def test_what_is_spoken_is_recorded_sent_and_shown(page: Page, server: Server) -> None:
    page.get_by_label("Keep what I say").check()
    speak(page)
    expect(page.locator("#facts")).to_contain_text("request", timeout=30_000)
    number = (page.locator("#facts").text_content() or "").rpartition("request ")[2].strip()
    row, = server.rows(f"request_id like '{number}%'")
    assert row["device"] == "web page" and row["consent"] == "audio" and 0.8 < row["duration_s"] < 10
    assert page.locator("#heard").text_content() == (row["hypothesis"].strip() or "I heard no words.")
    page.get_by_role("button", name="Forget everything I said").click()
    expect(page.locator("#forgotten")).to_have_text("Done.", timeout=30_000)
    row, = server.rows(f"request_id like '{number}%'")
    assert row["hypothesis"] == row["audio_sha"] == row["user_hash"] == ""


def test_a_refusal_is_shown_in_the_servers_words(page: Page) -> None:
    page.route("**/v1/audio/transcriptions", lambda route: route.fulfill(
        status=429, json={"error": {"message": "64 queries wait already", "type": "", "param": None, "code": ""}}))
    speak(page)
    expect(page.locator("#heard")).to_have_text("64 queries wait already", timeout=20_000)
    expect(page.get_by_role("button", name="Speak")).to_be_enabled()
