"""The error-analysis page in a real browser on a real run: everything that can be done there, and what it does."""

import csv
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.conftest import Project
from tests.dashboards.conftest import Door, Visitors, photograph
from workbench import answers, comparing, data_requests, explorer, storage
from workbench.answers import Opened
from workbench.marks import Marks
from workbench.selections import Mistake, Selection

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
PAGE = "error_analysis"
READY = "table[aria-label=queries] tbody tr"


@pytest.fixture
def truth(finished: Project, monkeypatch: pytest.MonkeyPatch) -> Opened:
    """Give what the page shows, read from the run beside it."""
    monkeypatch.setenv("WORKBENCH_ROOT", str(finished.root))
    return answers.read(answers.latest("default"))


@pytest.fixture
def page(door: Door, visit: Visitors, truth: Opened) -> Page:
    return visit(door.page(PAGE), shown=READY)


def count(truth: Opened, selection: Selection) -> str:
    return f"{int(truth.data.mask(selection).sum())} of {len(truth.data)} queries"


def told(page: Page) -> Locator:
    return page.locator(".wb-told")


def rows(page: Page, table: str) -> Locator:
    return page.locator(f'table[aria-label="{table}"] tbody tr')


def card(page: Page, title: str) -> Locator:
    return page.locator(".wb-card", has=page.get_by_role("heading", name=title, exact=True))


def toast(page: Page) -> Locator:
    return page.locator(".wb-toast")


def pick(page: Page, column: str, value: str) -> None:
    """Open a chip and tick a value."""
    chip = page.locator(f'details.wb-chip[data-name="{column}"]')
    chip.locator("summary").click()
    chip.locator(f'input[value="{value}"]').click()
    page.keyboard.press("Escape")


def click_middle(page: Page, target: Locator) -> None:
    """Click into the middle of something that plotly drew."""
    target.scroll_into_view_if_needed()
    at = target.bounding_box()
    assert at
    page.mouse.click(at["x"] + at["width"] / 2, at["y"] + at["height"] / 2)


def give_name(page: Page, name: str = "Ada") -> None:
    page.locator("dialog[open] input").fill(name)
    page.keyboard.press("Enter")
    expect(page.locator("dialog[open]")).to_have_count(0)


# --- what it opens with ----------------------------------------------------------------------------------------------


def test_it_opens_with_the_sentence_the_tiles_and_where_they_come_from(page: Page, truth: Opened) -> None:
    expect(page.locator(".wb-headline")).to_have_text(explorer.opening(truth))
    path = page.locator(".wb-path")
    for words in ("run default", "dev, open for browsing", f"{len(truth.data)} queries", "weighted to declared use by"):
        expect(path).to_contain_text(words)
    tiles = page.locator(".wb-tile")
    expect(tiles.first).to_contain_text(f"{100 * truth.data.summary(truth.data.mask(Selection()))['wer'].value:.1f} %")
    expect(tiles.first).to_contain_text(re.compile("met: target|missed: target|cannot tell: target"))
    expect(told(page)).to_have_text(count(truth, Selection()))


# --- filters ---------------------------------------------------------------------------------------------------------


def test_filters_narrow_everything_below_and_come_off_again(page: Page, truth: Opened) -> None:
    noise = truth.data.groups["noise"][1][0]
    pick(page, "noise", noise)
    expect(told(page)).to_have_text(count(truth, Selection({"noise": (noise,)})))
    expect(page.locator('details[data-name="noise"] summary')).to_have_text(f"noise: {noise}")
    places = rows(page, "queries").locator("td:nth-child(3)")
    expect(places.filter(has_not_text=re.compile(f"^{noise}"))).to_have_count(0)  # the count is told before they come
    page.locator(".wb-search").fill("the")
    expect(told(page)).to_have_text(count(truth, Selection({"noise": (noise,)}, search="the")))
    page.get_by_role("button", name="show all").click()
    expect(told(page)).to_have_text(count(truth, Selection()))


def test_a_range_of_snr_filters(page: Page, truth: Opened) -> None:
    chip = page.locator('details[data-name="snr_db"]')
    chip.locator("summary").click()
    chip.get_by_label("SNR to").fill("15")
    chip.get_by_label("SNR to").press("Tab")
    low = float(np.floor(truth.data.scores["snr_db"].min()))
    expect(told(page)).to_have_text(count(truth, Selection(ranges={"snr_db": (low, 15.0)})))


def test_a_click_in_the_plot_of_slices_and_in_the_heat_map_filters(page: Page, truth: Opened) -> None:
    plot = page.locator('[aria-label="WER by slice with intervals"]')
    click_middle(page, plot.locator(".scatterlayer .point").first)
    expect(told(page)).not_to_have_text(count(truth, Selection()))
    expect(page.locator("details.wb-chip.wb-on")).to_have_count(1)
    page.get_by_role("button", name="show all").click()
    expect(told(page)).to_have_text(count(truth, Selection()))
    label = page.locator('[aria-label="WER of two columns crossed"] .heatmap-label text').first
    words = str(label.text_content())
    click_middle(page, label)
    expect(page.locator("details.wb-chip.wb-on")).to_have_count(2)
    n = words.rpartition("n ")[2]
    expect(told(page)).to_have_text(f"{n} of {len(truth.data)} queries")


def test_slices_are_a_table_too_sorted_by_what_could_be_won_and_other_columns_can_be_crossed(
        page: Page, truth: Opened) -> None:
    card(page, "Where it fails").get_by_role("button", name="table").click()
    found = rows(page, "slices")
    expect(found.first).to_be_visible()
    won = [float(words.removesuffix(" pts")) for words in found.locator("td:nth-child(7)").all_inner_texts()]
    assert won == sorted(won, reverse=True) and len(won) > 3
    found.first.click()
    expect(told(page)).not_to_have_text(count(truth, Selection()))
    page.get_by_role("button", name="show all").click()
    heat = page.locator('[aria-label="WER of two columns crossed"]')
    card(page, "Two at once").locator("select").first.select_option("gender")
    # the few women of a toy run may fill no cell of ten queries, the men do
    expect(heat.locator(".ytick text", has_text=re.compile("^male$"))).to_have_count(1)


# --- words and queries -----------------------------------------------------------------------------------------------


def test_a_word_heard_wrong_shows_its_queries(page: Page, truth: Opened) -> None:
    top = truth.data.mistakes(truth.data.mask(Selection())).iloc[0]
    mistake = Mistake(top["kind"], top["said"], top["heard"])
    rows(page, "words heard wrong").first.click()
    expect(told(page)).to_have_text(count(truth, Selection(mistake=mistake)))
    expect(page.get_by_role("button", name=f"no longer only {mistake}")).to_be_visible()
    page.get_by_role("button", name=f"no longer only {mistake}").click()
    expect(told(page)).to_have_text(count(truth, Selection()))
    words = card(page, "Words heard wrong")
    words.get_by_role("button", name="names").click()
    name = truth.data.entity_accuracy(truth.data.mask(Selection())).iloc[0]["said"]
    expect(rows(page, "words heard wrong").first).to_contain_text(name)
    rows(page, "words heard wrong").first.click()
    expect(told(page)).to_have_text(count(truth, Selection(mistake=Mistake("entity", name))))


def test_the_table_sorts_and_turns_its_pages(page: Page, truth: Opened) -> None:
    table = page.locator(".wb-rows", has=page.locator('table[aria-label="queries"]'))
    page.get_by_role("button", name="sort by id").click()
    expect(rows(page, "queries").first).to_have_attribute("data-id", truth.data.scores["utterance_id"].min())
    table.get_by_role("button", name="next page").click()
    ids = sorted(truth.data.scores["utterance_id"])
    expect(rows(page, "queries").first).to_have_attribute("data-id", ids[10])


def test_the_selection_downloads_as_csv(page: Page, truth: Opened, tmp_path: Path) -> None:
    noise = truth.data.groups["noise"][1][0]
    pick(page, "noise", noise)
    chosen = Selection({"noise": (noise,)})
    expect(told(page)).to_have_text(count(truth, chosen))
    with page.expect_download() as waited:
        page.get_by_role("button", name="download CSV").click()
    waited.value.save_as(tmp_path / "queries.csv")
    with (tmp_path / "queries.csv").open() as file:
        found = list(csv.DictReader(file))
    assert {row["utterance_id"] for row in found} == set(
        truth.data.scores.loc[truth.data.mask(chosen), "utterance_id"])
    assert {"reference", "hypothesis", "wer", "speaker"} <= set(found[0]) and "audio_path" not in found[0]


# --- one query -------------------------------------------------------------------------------------------------------


def painted(player: Locator, canvas: str) -> int:
    """Count the different colours of a canvas."""
    return int(player.locator(canvas).evaluate(
        "c => new Set(new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer)).size"))


def test_a_query_is_heard_seen_and_read(page: Page, truth: Opened) -> None:
    known = {row["utterance_id"]: len(answers.timed_words(row)) for row in truth.data.scores.to_dict("records")}
    shown = [str(line.get_attribute("data-id")) for line in rows(page, "queries").all()[1:]]
    utterance_id = next(name for name in shown if known[name])  # a toy also babbles what no clip is long enough for
    rows(page, "queries").nth(1 + shown.index(utterance_id)).click()
    clip = page.locator(".wb-clip").first
    player = clip.locator(".wb-player")
    expect(player).to_have_attribute("data-drawn", utterance_id)
    row = truth.data.scores.set_index("utterance_id").loc[utterance_id]
    n_samples = round(row["duration_s"] * 16_000)
    assert abs(int(player.get_attribute("data-bytes") or 0) - 2 * n_samples) < 100
    assert painted(player, ".wb-wave") > 2 and painted(player, ".wb-spectrum") > 20
    said = clip.locator(".wb-difference")
    assert said.locator("del").all_inner_texts() or said.locator("ins").all_inner_texts()
    expect(clip).to_contain_text("confidence 0.")
    expect(clip).to_contain_text(row["speaker"])
    words = player.locator(".wb-word")
    expect(words).to_have_count(known[utterance_id])
    player.get_by_role("button", name="play", exact=True).click()
    expect(player).to_have_attribute("data-played", "1")
    expect(player).not_to_have_attribute("data-at", "0.00")
    assert player.get_attribute("data-refused") is None
    words.first.click()
    expect(player).to_have_attribute("data-played", "2")


def test_keys_play_and_go_to_the_next_query(page: Page) -> None:
    ids = [line.get_attribute("data-id") for line in rows(page, "queries").all()]
    rows(page, "queries").first.click()
    player = page.locator(".wb-clip .wb-player").first
    expect(player).to_have_attribute("data-drawn", str(ids[0]))
    page.keyboard.press("Space")
    expect(player).to_have_attribute("data-played", "1")
    page.keyboard.press("ArrowRight")
    expect(player).to_have_attribute("data-drawn", str(ids[1]))
    expect(rows(page, "queries").nth(1)).to_have_attribute("aria-selected", "true")


def test_a_neighbour_by_the_same_mistake_is_a_click_away(page: Page, truth: Opened) -> None:
    scores = truth.data.scores
    shared = next(i for i in scores["utterance_id"] if len(truth.data.neighbours(i)))
    near = truth.data.neighbours(shared)["utterance_id"].iloc[0]
    page.locator(".wb-search").fill(shared)
    expect(rows(page, "queries")).to_have_count(1)
    rows(page, "queries").first.click()
    clip = page.locator(".wb-clip").first
    clip.locator(f'tr[data-id="{near}"]').click()
    expect(clip.locator(".wb-player")).to_have_attribute("data-drawn", near)


# --- what people write back ------------------------------------------------------------------------------------------


def marks_of(kind: str, utterance_id: str) -> list[tuple[str, str, str]]:
    table = Marks().table(kind)
    of = table[table["utterance_id"].eq(utterance_id)]
    return list(of[["value", "by", "run"]].itertuples(index=False, name=None))


def test_a_cause_is_kept_under_a_name_that_is_asked_once_and_survives_a_reload(
        page: Page, door: Door, visit: Visitors) -> None:
    first, second = (str(rows(page, "queries").nth(i).get_attribute("data-id")) for i in (2, 3))
    rows(page, "queries").nth(2).click()
    expect(page.locator(".wb-clip .wb-player").first).to_have_attribute("data-drawn", first)
    page.keyboard.press("1")
    give_name(page)
    expect(toast(page)).to_contain_text(f"{first} marked: noise")
    rows(page, "queries").nth(3).click()
    expect(page.locator(".wb-clip .wb-player").first).to_have_attribute("data-drawn", second)
    page.locator(".wb-clip").first.get_by_role("button", name="2 cut off").click()
    expect(toast(page)).to_contain_text(f"{second} marked: cut off")
    assert marks_of("cause", first) == [("noise", "Ada", "default")]
    assert marks_of("cause", second) == [("cut off", "Ada", "default")]
    expect(card(page, "Causes found")).to_contain_text("errors that people listened to")
    again = visit(door.page(PAGE), shown=READY)
    again.locator(".wb-search").fill(first)
    expect(rows(again, "queries")).to_have_count(1)
    rows(again, "queries").first.click()
    expect(again.locator(".wb-clip").first.locator(".wb-marks")).to_contain_text("noise by Ada")
    assert again.locator('[aria-label="causes of errors, the commonest first"] .bars .point').count() >= 2


def test_a_widget_that_loads_late_on_a_slow_machine_is_not_given_up(page: Page) -> None:
    is_given_up, is_over = page.evaluate("""async () => {
        const anywidgets = AbortSignal.timeout(2000), another = AbortSignal.timeout(2001);
        await new Promise(done => another.addEventListener("abort", () => setTimeout(done, 100)));
        return [anywidgets.aborted, another.aborted];
    }""")
    assert is_over and not is_given_up


def test_a_reference_is_corrected_blind(page: Page, truth: Opened) -> None:
    line = rows(page, "queries").nth(4)
    utterance_id = str(line.get_attribute("data-id"))
    line.click()
    clip = page.locator(".wb-clip").first
    expect(clip.locator(".wb-player")).to_have_attribute("data-drawn", utterance_id)
    clip.get_by_role("button", name="correct…").click()
    expect(clip.locator(".wb-difference")).to_be_hidden()
    expect(clip.locator(".wb-word")).to_have_count(0)
    expect(line).to_contain_text("hidden while it is written down")
    clip.locator(".wb-transcript input").fill("what I heard")
    clip.locator(".wb-transcript input").press("Tab")
    clip.get_by_role("button", name="save").click()
    give_name(page, "Bea")
    expect(toast(page)).to_contain_text("kept what you heard: what I heard")
    expect(clip.locator(".wb-difference")).to_be_visible()
    expect(line).not_to_contain_text("hidden")
    assert marks_of("reference", utterance_id) == [("what I heard", "Bea", "default")]


def test_nothing_is_written_for_who_will_not_give_a_name(page: Page) -> None:
    line = rows(page, "queries").nth(5)
    utterance_id = str(line.get_attribute("data-id"))
    line.click()
    expect(page.locator(".wb-clip .wb-player").first).to_have_attribute("data-drawn", utterance_id)
    page.keyboard.press("3")
    page.get_by_role("button", name="not now").click()
    expect(page.locator("dialog[open]")).to_have_count(0)
    assert marks_of("cause", utterance_id) == []


def test_a_selection_is_put_into_a_data_request(page: Page, truth: Opened) -> None:
    ask = page.get_by_role("button", name="ask for more like the selection")
    ask.click()
    expect(toast(page)).to_contain_text("filter by one value of a column first")
    noise = truth.data.groups["noise"][1][0]
    pick(page, "noise", noise)
    expect(told(page)).to_have_text(count(truth, Selection({"noise": (noise,)})))
    ask.click()
    give_name(page, "Cy")
    expect(toast(page)).to_contain_text(f"Asked for 200 utterances with noise = {noise}")
    asked = [request for request in data_requests.every("default") if request.by == "Cy"]
    assert [(dict(request.where), request.n_utterances) for request in asked] == [({"noise": noise}, 200)]


def test_the_fix_worth_most_is_a_button_away_from_a_data_request(finished: Project, door: Door, visit: Visitors,
                                                                 truth: Opened) -> None:
    noise = truth.data.groups["noise"][1][0]
    hears_all_but(finished, noise)
    planted = answers.latest("planted")
    page = visit(door.page(PAGE), shown=READY)
    page.locator(".wb-model select").select_option(planted.title)
    fix = rows(page, "what to do next").first
    expect(fix).to_contain_text(noise)
    fix.get_by_role("button", name="add to request").click()
    give_name(page, "Dee")
    expect(toast(page)).to_contain_text(f"with noise = {noise}")
    expect(fix).to_contain_text("asked")
    expect(fix.get_by_role("button")).to_have_count(0)
    asked, = data_requests.of_people("planted")
    assert (asked.by, dict(asked.where)) == ("Dee", {"noise": noise}) and asked.n_utterances > 0


def hears_all_but(project: Project, noise: str) -> None:
    """Make an earlier run `planted` of the finished one: its model hears all but one noise word for word."""
    runs = project.root / "data" / "runs"
    for stage in ("01_scope", "03_train"):
        shutil.copytree(runs / "default" / stage, runs / "planted" / stage)
    path = runs / "planted" / "03_train" / "listened.parquet"
    heard = pd.read_parquet(path)
    storage.write_table(path, heard.assign(hypothesis=heard["reference"].where(heard["noise"].ne(noise), "")))
    record = storage.read_record("planted", "train")
    assert record is not None
    outputs = {**record.content["outputs"], "listened.parquet": storage.hash_file(path)}
    earlier = {"finished": "2020-01-01 00:00:00", "outputs": outputs}
    storage.write_json(record.folder / storage.RECORD, {**record.content, **earlier})


# --- what-if, comparison, listening ----------------------------------------------------------------------------------


def test_what_if_takes_slices_and_words_out_and_says_that_gains_overlap(page: Page) -> None:
    part = card(page, "What if these were mended?")
    slices = part.locator(".wb-choices").first.locator("button")
    expect(slices.first).to_have_attribute("aria-pressed", "true")
    one = part.locator(".wb-note").inner_text()
    assert re.search(r"[\d.]+ % WER would be left \([\d.]+ to [\d.]+\)", one)
    slices.nth(1).click()
    expect(part.locator(".wb-note")).to_contain_text("Gains overlap")
    part.locator(".wb-choices").nth(1).locator("button").first.click()
    expect(part.locator(".ytick text")).to_have_count(4)
    for button in (slices.nth(0), slices.nth(1), part.locator(".wb-choices").nth(1).locator("button").first):
        button.click()
    expect(part.locator(".wb-note")).to_have_text("Choose slices or words to take out of the errors.")


def test_a_model_is_compared_with_another_by_slice_by_query_and_by_word(page: Page, truth: Opened) -> None:
    part = card(page, "Compare models")
    others = [source for source in answers.sources("default") if source != truth.source]
    part.locator("select").select_option(others[0].title)
    compared = comparing.compare(truth.data, answers.read(others[0]).data, [truth.data])
    everything = truth.data.mask(Selection())
    counts = comparing.won_and_lost(compared, 0, everything)
    expect(part.locator(".wb-note").first).to_contain_text(re.compile(r"WER [\d.]+ → [\d.]+ %, [+-][\d.]+ points"))
    expect(part.locator(".wb-note").first).to_contain_text(f"{counts['won']} queries won, {counts['lost']} lost")
    expect(part.locator('[aria-label^="change of WER by slice"] .scatterlayer .point').first).to_be_visible()
    changed = comparing.by_query(compared, everything)
    expect(rows(page, "queries won and lost")).to_have_count(min(len(changed), 8))
    words = comparing.by_word(compared, everything)["said"].tolist()
    expect(part).to_contain_text(words[0] if words else "No word changed.")
    click_middle(page, part.locator('[aria-label^="errors by query"] .scatterlayer .point').last)
    expect(page.get_by_role("button", name=re.compile("no longer only . errors before"))).to_be_visible()
    n = int(told(page).inner_text().split()[0])
    cells = comparing.cells(compared, 0, everything)
    assert n == cells["n"].iloc[-1]


def test_several_models_stand_side_by_side_against_one(finished: Project, door: Door, visit: Visitors,
                                                       truth: Opened) -> None:
    runs, stage = finished.root / "data" / "runs", storage.stage_folder_name(truth.source.stage)
    for name in ("01_scope", stage):  # the page's model once more: nothing won, nothing lost
        shutil.copytree(runs / "default" / name, runs / "an-earlier" / name, dirs_exist_ok=True)
    again = truth.source.title.replace("default", "an-earlier")
    other = next(source.title for source in answers.sources("default") if source != truth.source)
    page = visit(door.page(PAGE), shown=READY)
    part, choices = card(page, "Compare models"), card(page, "Compare models").locator(".wb-choices")
    part.locator("select").select_option(truth.source.title)
    expect(part.locator(".wb-note")).to_have_text("Choose another model beside it.")
    verdicts = part.locator(".wb-note", has_text="WER")
    for n, title in enumerate((other, again), 1):
        choices.get_by_role("button", name=title, exact=True).click()
        expect(verdicts).to_have_count(n)
        expect(verdicts.last).to_contain_text(f"{title}: ")
    expect(verdicts.last).to_contain_text("Cannot tell")
    expect(verdicts.last).to_contain_text("0 queries won, 0 lost")
    for title in (other, again):
        points = part.locator(f'[aria-label="change of WER by slice, {title}"] .scatterlayer .point')
        expect(points.first).to_be_visible()
    found = comparing.compare(truth.data, truth.data, [answers.read(source).data for source in answers.sources()
                                                       if source.title in (other, again)])
    n_changed, heads = len(comparing.by_query(found, found.common)), part.locator("th").all_inner_texts()
    expect(rows(page, "queries won and lost")).to_have_count(min(n_changed, 8))
    assert [title for title in (other, again) if f"heard {title}" in heads] == [other, again] * (n_changed > 0)
    choices.get_by_role("button", name=other, exact=True).click()
    expect(verdicts).to_have_count(1)
    expect(part).to_contain_text("No query changed.")


def test_another_model_can_be_opened(page: Page, truth: Opened) -> None:
    other = next(source for source in answers.sources("default") if source != truth.source)
    page.locator(".wb-model select").select_option(other.title)
    expect(page.locator(".wb-path")).to_contain_text(f"model of {other.title.split(' · ')[1]}")
    expect(page.locator(".wb-headline")).to_have_text(explorer.opening(answers.read(other)))


@pytest.fixture
def torn(finished: Project) -> Iterator[None]:
    """Give the project an older run whose table was cut off."""
    runs = finished.root / "data" / "runs"
    for stage in ("01_scope", "03_train"):
        shutil.copytree(runs / "default" / stage, runs / "torn" / stage)
    record = runs / "torn" / "03_train" / "record.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"finished": "2020-01-01 00:00:00"}))
    (runs / "torn" / "03_train" / "listened.parquet").write_bytes(b"half")
    yield
    shutil.rmtree(runs / "torn")


@pytest.mark.usefixtures("torn")
def test_a_model_that_cannot_be_opened_leaves_the_page_and_its_choice_as_they_were(
        door: Door, visit: Visitors, truth: Opened) -> None:
    page = visit(door.page(PAGE), shown=READY)
    choice = page.locator(".wb-model select")
    other = next(source.title for source in answers.sources("default") if source != truth.source)
    for _ in range(2):
        choice.select_option("torn · train")
        expect(toast(page)).to_contain_text("lost or damaged")
        expect(choice).to_have_value(truth.source.title)
        expect(page.locator(".wb-headline")).to_have_text(explorer.opening(truth))
    choice.select_option(other)
    expect(page.locator(".wb-path")).to_contain_text(f"model of {other.split(' · ')[1]}")
    expect(toast(page)).to_have_text("")
    expect(choice).to_have_value(other)


def test_the_listening_queue_goes_on_by_key_and_transcribing_hides_all_words(page: Page, truth: Opened) -> None:
    part = card(page, "Listening queue")
    progress, player = part.locator(".wb-progress"), part.locator(".wb-player")
    expect(progress).to_contain_text("1 of ")
    first = str(player.get_attribute("data-drawn"))
    assert truth.data.errors[truth.data.rows.get_loc(first)] == truth.data.errors.max()
    part.get_by_role("button", name="next →").click()
    expect(progress).to_contain_text("2 of ")
    part.get_by_role("button", name="next →").press("ArrowLeft")
    expect(progress).to_contain_text("1 of ")
    page.keyboard.press("4")
    give_name(page, "Dee")
    expect(toast(page)).to_contain_text(f"{first} marked: wrong reference")
    expect(progress).to_contain_text("2 of ")
    part.get_by_role("button", name="transcribe blind").click()
    expect(part.locator(".wb-transcript")).to_be_visible()
    expect(part.locator(".wb-difference")).to_be_hidden()
    expect(part.locator(".wb-word")).to_have_count(0)
    heard = str(player.get_attribute("data-drawn"))
    part.get_by_role("button", name="nobody speaks").click()
    expect(toast(page)).to_contain_text(f"{heard} kept what you heard: nobody speaks")
    kept = Marks().table("reference").set_index("utterance_id").loc[heard]
    assert (kept["value"], kept["by"]) == ("", "Dee") and kept["drawn"] in ("suspect", "random")


def test_visitors_filter_and_mark_apart(door: Door, visit: Visitors, page: Page, truth: Opened) -> None:
    other = visit(door.page(PAGE), shown=READY)
    noise = truth.data.groups["noise"][1][0]
    pick(page, "noise", noise)
    expect(told(page)).to_have_text(count(truth, Selection({"noise": (noise,)})))
    expect(told(other)).to_have_text(count(truth, Selection()))


def test_it_can_be_used_by_keyboard_alone(page: Page, truth: Opened) -> None:
    page.locator('details[data-name="noise"] summary').focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    noise = truth.data.groups["noise"][1][0]
    expect(told(page)).to_have_text(count(truth, Selection({"noise": (noise,)})))
    page.keyboard.press("Escape")
    line = rows(page, "queries").first
    line.focus()
    page.keyboard.press("Enter")
    expect(page.locator(".wb-clip .wb-player").first).to_have_attribute("data-drawn",
                                                                        str(line.get_attribute("data-id")))


# --- for people to look at -------------------------------------------------------------------------------------------


def test_pictures_are_taken_for_review(door: Door, visit: Visitors, truth: Opened) -> None:
    def look(page: Page) -> None:
        page.wait_for_selector(READY)
        rows(page, "queries").first.click()
        expect(page.locator(".wb-clip .wb-player").first).to_have_attribute("data-drawn", re.compile("."))

    taken = photograph(visit, door.page(PAGE), "error-analysis", look, schemes=("light", "dark"), shown=READY)
    assert len(taken) == 4 and all(path.stat().st_size > 50_000 for path in taken)
