"""The monitoring page in a real browser: on a week that shifts while it goes on, and beside a live server."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from playwright.sync_api import Page, expect

from tests import watched
from tests.conftest import Project, make_project
from tests.dashboards.conftest import QUIET, Door, Visitors, opened, photograph, workbench
from workbench import name_list
from workbench.marks import Marks
from workbench.name_list import Probe
from workbench.query_log import QueryLog

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

QUERIES = ".wb-tile:has-text('Queries') .wb-value"
NAMES, NOW, MOVED, APART = (f"table[aria-label='{label}']" for label in (
    "new names", "alarms that hold now", "what moved", "queries answered differently"))


@pytest.fixture(scope="module")
def shifted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Give a project whose third week is on and has shifted; what tests write goes into it."""
    root = tmp_path_factory.mktemp("shifted")
    made = make_project(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKBENCH_ROOT", str(root))
        watched.world(root)
        yield made


@pytest.fixture(scope="module")
def watching(shifted: Project) -> Iterator[Door]:
    """Give the dashboards of the shifted project."""
    with opened(shifted) as running:
        yield running


def drawn(page: Page) -> None:
    """Wait until the time lines are drawn."""
    page.wait_for_selector(".wb-lines .wb-card:last-child [data-drawn]")


def ranges(page: Page) -> list[list[str]]:
    """Give what each time line is zoomed to."""
    found: list[list[str]] = page.eval_on_selector_all(
        ".wb-lines .js-plotly-plot", "plots => plots.map(plot => plot._fullLayout.xaxis.range.map(String))")
    return found


def marked(kind: str) -> pd.DataFrame:
    marks = Marks()
    table = marks.table(kind)
    marks.close()
    return table


def give_name(page: Page, name: str) -> None:
    page.fill("dialog[open] input", name)
    page.click("dialog[open] button[value=ok]")


def test_week_three_is_shown_as_a_person_would_hope_while_it_goes_on(watching: Door, visit: Visitors) -> None:
    page = visit(watching.page("monitoring"))
    expect(page.locator("[data-state]")).to_have_attribute("data-state", "act")
    sentence = page.inner_text(".wb-standing .wb-headline")
    assert "noisier places" in sentence and "names it never learned" in sentence and "phones" in sentence
    assert "collect" in sentence and "retrain" in sentence
    assert "against 2 normal windows" in page.inner_text(".wb-rule")
    assert "champion voice-search v1" in page.inner_text(".wb-head") and "shadow v2" in page.inner_text(".wb-head")
    tiles = page.locator(".wb-tile").all_inner_texts()
    estimate = next(tile for tile in tiles if tile.startswith("Expected WER"))
    assert "estimate" in estimate and "no labels" in estimate
    badge = page.locator(".wb-tile", has_text="Expected WER").locator(".wb-badge")
    assert "wb-yes" not in str(badge.get_attribute("class")) and "wb-no" not in str(badge.get_attribute("class"))
    assert any(tile.startswith("Audited WER, 40 of consenting users") for tile in tiles)
    moved = page.locator(f"{MOVED} tbody tr", has_text="drift").all_inner_texts()
    assert {"SNR", "Bandwidth"} <= {row.split("\t")[0] for row in moved}


@pytest.mark.timeout(3000)
def test_the_default_runs_third_week_turns_the_page_from_quiet_to_act_before_it_is_over(
    default_run: Project, tmp_path: Path, visit: Visitors
) -> None:
    """What the live server logged of it comes in by the twentieth of a week, to a page that stays open."""
    without_sound = shutil.ignore_patterns("audio", "cache", "service.json")
    shutil.copytree(default_run.root / "data", tmp_path / "data", ignore=without_sound)
    project, url = make_project(tmp_path), f"sqlite:///{tmp_path / 'third_week.db'}"
    back = workbench(project, "rollback", "--by", "tests")  # to whom they asked: week 3 is why there is a newer one
    assert back.returncode == 0, back.stderr
    whole, log = QueryLog(f"sqlite:///{tmp_path / 'data' / 'queries.db'}"), QueryLog(url)
    log.append(watched.asked(whole, 0, 2))
    with opened(project, WORKBENCH_QUERY_LOG_URL=url) as door:
        page = visit(door.page("monitoring"))
        state, sentence = page.locator("[data-state]"), ""
        expect(state).to_have_attribute("data-state", "quiet")
        for twentieth in range(20):
            before = page.inner_text(QUERIES)
            log.append(watched.asked(whole, 2 + twentieth / 20, 2 + (twentieth + 1) / 20))
            expect(page.locator(QUERIES)).not_to_have_text(before)
            sentence = page.inner_text(".wb-standing .wb-headline")
            if "collect" in sentence and "retrain" in sentence:
                break
        assert state.get_attribute("data-state") == "act" and twentieth < 15, sentence
    print(f"act after {(twentieth + 1) / 20:.0%} of week 3: {sentence}")
    assert "collect" in sentence and "retrain" in sentence
    assert "noisier places" in sentence or "phones" in sentence
    for each in (whole, log):
        each.close()


def test_another_time_changes_tiles_and_lines_and_a_zoom_is_followed_by_all(watching: Door, visit: Visitors) -> None:
    page = visit(watching.page("monitoring"))
    drawn(page)
    whole, before = page.inner_text(QUERIES), ranges(page)
    page.get_by_role("button", name="last 24 h").click()
    expect(page.locator(QUERIES)).not_to_have_text(whole)
    wait_for_range(page, before[0])
    day = ranges(page)[0]
    assert pd.Timestamp(day[1]) - pd.Timestamp(day[0]) == pd.Timedelta(hours=24)
    page.get_by_role("button", name="21 days").click()
    wait_for_range(page, day)
    assert page.inner_text(QUERIES) == whole and ranges(page) == before
    zoom(page)
    wait_for_range(page, before[0])
    zoomed = ranges(page)[0]
    assert pd.Timestamp(before[0][0]) < pd.Timestamp(zoomed[0]) < pd.Timestamp(zoomed[1]) < pd.Timestamp(before[0][1])
    page.evaluate("() => document.querySelectorAll('.wb-lines .nsewdrag')[4].scrollIntoView()")
    page.locator(".wb-lines .nsewdrag").nth(4).dblclick()
    wait_for_range(page, zoomed)


def wait_for_range(page: Page, before: list[str]) -> None:
    """Wait until all time lines show the same, and something else than before."""
    page.wait_for_function("""before => {
        const plots = [...document.querySelectorAll('.wb-lines .js-plotly-plot')];
        const shown = new Set(plots.map(plot => String(plot._fullLayout.xaxis.range)));
        return shown.size === 1 && !shown.has(before); }""", arg=",".join(before))


def zoom(page: Page) -> None:
    """Drag over the middle of the first time line."""
    page.locator(".wb-lines .nsewdrag").first.scroll_into_view_if_needed()
    box: Any = page.locator(".wb-lines .nsewdrag").first.bounding_box()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.5 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.5 * box["height"], steps=8)
    page.mouse.up()


def test_a_feature_is_shown_as_it_is_distributed(watching: Door, visit: Visitors) -> None:
    page = visit(watching.page("monitoring"))
    chart = page.locator(".wb-card:has(table[aria-label='what moved']) .gtitle")
    page.locator(f"{MOVED} tbody tr", has_text="Duration").click()
    expect(chart).to_contain_text("Duration")
    page.locator(f"{MOVED} tbody tr", has_text="SNR").press("Enter")
    expect(chart).to_contain_text("SNR")
    assert page.locator(".wb-card:has(table[aria-label='what moved']) .legendtext").all_text_contents() == [
        "reference", "now"]


def test_a_new_name_is_heard_accepted_and_put_into_the_label_queue(watching: Door, visit: Visitors) -> None:
    page = visit(watching.page("monitoring"))
    row = page.locator(f"{NAMES} tbody tr").filter(has=page.locator("td:first-child b")).first
    name = row.locator("td:first-child b").inner_text()
    row.click()
    card = page.locator(f".wb-card:has({NAMES})")
    expect(card.locator("audio").first).to_be_visible()
    expect(card.locator("input.widget-input, .wb-written input")).to_have_value(name)
    played = card.locator("audio").first.evaluate("audio => audio.play().then(() => audio.duration)")
    assert played == pytest.approx(0.1, abs=0.02)
    row.get_by_role("button", name="accept name").click()
    give_name(page, "Ada")
    expect(page.locator(f"{NAMES} tbody tr", has_text="accepted by Ada").first).to_be_visible()
    assert marked("name")[["value", "by"]].to_numpy().tolist() == [[name, "Ada"]]
    listed = page.locator("table[aria-label='names on the biasing list'] tbody tr", has_text=name)
    expect(listed).to_contain_text("Ada")
    name_list.keep(Probe(name, "1", 20, 2, 14, 12))
    expect(listed).to_contain_text("2 → 14 of 20", timeout=30_000)
    listed.get_by_role("button", name="remove").click()
    expect(listed).to_have_count(0)
    assert marked("name removed")["by"].tolist() == ["Ada"]
    row.get_by_role("button", name="label", exact=True).click()
    expect(page.locator(f"{NAMES} tbody tr", has_text="to label").first).to_be_visible()
    queue = marked("label")
    assert len(queue) and set(queue["by"]) == {"Ada"} and queue["audio_sha"].ne("").all()


def test_an_acknowledged_alarm_is_seen_by_another_visitor_who_is_not_disturbed(watching: Door, visit: Visitors) -> None:
    first, second = visit(watching.page("monitoring")), visit(watching.page("monitoring"))
    drawn(second)
    second.get_by_role("button", name="7 days").click()
    n_open = first.locator(f"{NOW} tbody tr", has_text="open").count()
    assert n_open >= 2
    first.locator(f"{NOW} tbody tr", has_text="SNR").get_by_role("button", name="acknowledge").click()
    give_name(first, "Ben")
    for page in (first, second):
        expect(page.locator(f"{NOW} tbody tr", has_text="SNR")).to_contain_text("acknowledged by Ben")
        expect(page.locator(f"{NOW} tbody tr", has_text="open")).to_have_count(n_open - 1)
    expect(second.locator(".wb-spans .mod-active")).to_have_text("7 days")
    expect(first.locator(".wb-spans .mod-active")).to_have_text("21 days")
    alarm = marked("alarm").iloc[0]
    assert alarm["value"] == "version 1, window 3, drift: SNR" and alarm["by"] == "Ben"


def test_champion_and_challenger_are_compared_and_heard(watching: Door, visit: Visitors) -> None:
    page = visit(watching.page("monitoring"))
    card = page.locator(f".wb-card:has({APART})")
    assert "answers as version 1 in" in card.inner_text() and "it won" in card.inner_text()
    won = card.locator("tbody tr", has_text="won").first
    champion, challenger = won.locator("td").nth(1).inner_text(), won.locator("td").nth(2).inner_text()
    won.click()
    expect(card.locator("audio")).to_be_visible()
    assert f"champion: {champion} · challenger: {challenger}" in card.locator(".wb-utterance").inner_text()


def test_queries_come_by_themselves_and_a_page_that_is_not_seen_does_not_ask(watching: Door, visit: Visitors) -> None:
    page = visit(watching.page("monitoring"))
    page.get_by_role("button", name="all").click()
    before = int(page.inner_text(QUERIES).replace(",", ""))
    more = watched.week(3, 2_000, seed=9, **watched.SHIFTED).tail(40)
    watched.fill(more)
    expect(page.locator(QUERIES)).to_have_text(f"{before + 40:,}", timeout=60_000)
    page.evaluate("""() => {
        Object.defineProperty(document, 'visibilityState', { value: 'hidden', configurable: true });
        document.dispatchEvent(new Event('visibilitychange')); }""")
    page.wait_for_function("() => Number(document.querySelector('.wb-live').dataset.age) >= 12")
    assert "stale" in page.inner_text(".wb-live") or int(str(page.get_attribute(".wb-live", "data-age"))) >= 12
    page.evaluate("""() => { delete document.visibilityState;
        document.dispatchEvent(new Event('visibilitychange')); }""")
    page.wait_for_function("() => Number(document.querySelector('.wb-live').dataset.age) <= 4")


def test_while_phones_ask_the_live_server_the_page_goes_along(finished: Project, door: Door, visit: Visitors) -> None:
    started = workbench(finished, "serve", "--detach", "--simulated-clock", "--port", "0")
    assert started.returncode == 0 or "a server runs already" in started.stderr, started.stderr
    page = visit(door.page("monitoring"))
    latest = page.inner_text(QUERIES)
    page.get_by_role("button", name="all").click()
    expect(page.locator(QUERIES)).not_to_have_text(latest)  # four weeks are more than 21 days
    drawn(page)
    seen = [page.inner_text(QUERIES)]
    order = finished.command("simulate", "--week", "5", "--n", "200", "--rate", "5", "--name", "more")
    sending = subprocess.Popen(order, env=finished.environment(**QUIET), cwd=finished.root, stdout=subprocess.DEVNULL)
    for _ in range(2):
        expect(page.locator(QUERIES)).not_to_have_text(seen[-1], timeout=120_000)
        seen.append(page.inner_text(QUERIES))
    assert sending.poll() is None, "the page was late: all was sent before it showed anything twice"
    assert sending.wait(timeout=300) == 0
    counts = [int(text.replace(",", "")) for text in seen]
    assert counts == sorted(counts) and counts[0] < counts[-1]
    expect(page.locator(QUERIES)).to_have_text(f"{counts[0] + 200:,}", timeout=60_000)


def test_the_page_is_photographed(watching: Door, visit: Visitors) -> None:
    taken = photograph(visit, watching.page("monitoring"), "monitoring", drawn, schemes=("light", "dark"))
    assert len(taken) == 4 and all(path.stat().st_size > 20_000 for path in taken)
