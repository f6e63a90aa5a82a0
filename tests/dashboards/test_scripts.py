"""The widgets' scripts in a real browser, each alone with a model of its own: keys, focus, sound and zoom."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect
from plotly.offline import get_plotlyjs

from workbench import audio
from workbench.widgets import shell

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
Draw = Callable[..., None]
MODEL = """async ([source, state, wav, place]) => {
    const listeners = [], values = { ...state };
    if (wav) values.wav = new DataView(Uint8Array.from(wav).buffer);
    const model = { sent: [], saved: [], get: (name) => values[name], send: (content) => model.sent.push(content),
        save_changes: () => model.saved.push({ ...values }),
        on: (names, heard) => { for (const name of names.split(" ")) listeners.push([name, heard]); }, off: () => {},
        set: (name, value) => {
            const isNew = JSON.stringify(values[name]) !== JSON.stringify(value);
            values[name] = value;
            if (isNew) for (const [wanted, heard] of listeners) if (wanted === `change:${name}`) heard();
        } };
    const el = document.createElement("div");
    document.querySelector(place).append(el);
    window.models = [...(window.models || []), model];
    const made = await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
    await made.default.render({ model, el });
}"""


@pytest.fixture
def page(browser: Browser) -> Page:
    """Give an empty page with a part for keys."""
    made = browser.new_page()
    made.set_default_timeout(60_000)
    made.set_content('<body><div class="wb-keys" style="width:600px"></div></body>')
    return made


@pytest.fixture
def draw(page: Page) -> Draw:
    """Draw a script with what its model holds; models are the page's `models`, in their order."""
    def drawn(script: str, wav: bytes = b"", **state: Any) -> None:
        source = Path(shell.asset(script)).read_text(encoding="utf-8")
        page.evaluate(MODEL, [source, state, list(wav), ".wb-keys"])

    return drawn


def sent(page: Page, number: int) -> list[Any]:
    found: list[Any] = page.evaluate("number => models[number].sent", number)
    return found


def put(page: Page, number: int, **changes: Any) -> None:
    """Let the kernel change a model."""
    page.evaluate("([number, changes]) => { for (const [k, v] of Object.entries(changes)) models[number].set(k, v); }",
                  [number, changes])


def player(draw: Draw, **state: Any) -> None:
    sound = audio.wav_bytes(np.sin(np.arange(8_000) / 5).astype(np.float32) / 2)
    draw("player.js", wav=sound, **{"duration_s": 0.5, "words": [], "shape": [0, 0], "label": "u1", "loaded": 1,
                                    "when_silent": "gone"} | state)


def test_a_key_that_is_held_down_is_pressed_once(page: Page, draw: Draw) -> None:
    draw("keys.js", hint=[["1", "noise"]], known=["space", "1"])
    page.locator(".wb-keys").focus()
    for _ in range(3):
        page.keyboard.down("1")  # all but the first are repeats
    page.keyboard.up("1")
    page.keyboard.press("1")
    assert sent(page, 0) == [{"key": "1"}, {"key": "1"}]


def test_arrows_move_the_slider_that_they_are_pressed_on(page: Page, draw: Draw) -> None:
    draw("keys.js", hint=[], known=["space", "ArrowRight"])
    player(draw)
    page.locator(".wb-seek").press("ArrowRight")
    assert page.locator(".wb-seek").input_value() == "1" and sent(page, 0) == []
    page.locator(".wb-keys").press("ArrowRight")
    assert sent(page, 0) == [{"key": "ArrowRight"}]


def test_a_clip_that_was_taken_out_cannot_be_played(page: Page, draw: Draw) -> None:
    player(draw)
    page.wait_for_function("document.querySelector('audio').readyState > 0")
    page.evaluate("models[0].set('wav', new DataView(new ArrayBuffer(0)))")
    put(page, 0, loaded=2)
    expect(page.locator(".wb-note")).to_have_text("gone")
    page.locator(".wb-player").dispatch_event("wb-play")
    paused, source = page.evaluate("(({ paused, currentSrc, readyState }) => [paused, readyState])"
                                   "(document.querySelector('audio'))")
    assert paused and source == 0


def test_a_range_whose_field_is_emptied_reaches_to_its_end(page: Page, draw: Draw) -> None:
    draw("filters.js", columns=[], picked={}, search="", extra=[], told="",
         spans=[{"name": "snr_db", "title": "SNR", "unit": "dB", "min": -5, "max": 30}], ranges={"snr_db": [5, 20]})
    page.locator("summary").click()
    for field, found in (("SNR from", {"snr_db": [-5, 20]}), ("SNR to", {})):
        page.get_by_label(field).fill("")
        page.get_by_label(field).press("Tab")
        assert page.evaluate("models[0].get('ranges')") == found


def rows(ids: list[str]) -> list[dict[str, Any]]:
    return [{"id": name, "cells": [name, '<button data-action="ask">ask</button>']} for name in ids]


def test_what_is_pressed_in_a_table_keeps_the_focus_though_the_table_is_drawn_again(page: Page, draw: Draw) -> None:
    heads = [{"name": "id", "title": "id", "is_number": False, "is_sortable": True},
             {"name": "ask", "title": "", "is_number": False, "is_sortable": False}]
    draw("rows.js", columns=heads, shown=rows(["a", "b"]), n_rows=5, page=0, n_pages=3, sorted_by="", selected="",
         is_descending=True, label="names", when_empty="none")
    page.get_by_label("sort by id").press("Enter")
    put(page, 0, shown=rows(["b", "a"]))
    expect(page.get_by_label("sort by id")).to_be_focused()
    page.get_by_label("next page").press("Enter")
    put(page, 0, shown=rows(["c", "d"]))
    expect(page.get_by_label("next page")).to_be_focused()
    page.get_by_label("next page").press("Enter")
    put(page, 0, shown=rows(["e"]))
    expect(page.get_by_label("page before")).to_be_focused()  # there is no next one
    put(page, 0, shown=rows(["e", "f"]))
    page.locator("tr[data-id=f] button").focus()
    put(page, 0, shown=rows(["f", "e"]))
    expect(page.locator("tr[data-id=f] button")).to_be_focused()
    put(page, 0, shown=[{"id": "f", "cells": ["f", "asked"]}])
    expect(page.locator("tr[data-id=f]")).to_be_focused()
    put(page, 0, shown=[{"id": "f", "cells": ["f", "still asked"]}])
    expect(page.locator("tr[data-id=f]")).to_be_focused()


def test_a_zoom_is_taken_back_from_any_time_line_of_its_group(page: Page, draw: Draw) -> None:
    page.add_script_tag(content=get_plotlyjs())
    figure = json.dumps({"data": [{"x": [1, 2, 3], "y": [1, 2, 3]}], "layout": {"height": 200}})
    for group in ("time", "time", "other"):
        draw("chart.js", figure=figure, label="", group=group, zoomed=[], clicked={})
    zoomed = "models.map((model) => model.get('zoomed'))"
    relayout = "([at, change]) => Plotly.relayout(document.querySelectorAll('.js-plotly-plot')[at], change)"
    page.evaluate(relayout, [0, {"xaxis.range[0]": 1.5, "xaxis.range[1]": 2.5}])
    assert page.evaluate(zoomed) == [[1.5, 2.5], [1.5, 2.5], []]
    page.evaluate(relayout, [1, {"xaxis.autorange": True}])
    assert page.evaluate(zoomed) == [[], [], []]
    assert page.evaluate("models.map((model) => model.saved.at(-1)?.zoomed ?? null)") == [[], [], None]
