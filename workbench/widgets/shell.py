"""The frame of a dashboard: one look, a page that is never stale, and a sentence where a traceback would be.

A page is built when a visitor comes, never before: a preheated kernel has imported, and read what takes long to read.
"""

import functools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets as widgets
import traitlets
from voila.utils import wait_for_request

from workbench import cards
from workbench.errors import WorkbenchError

ASSETS = Path(__file__).parents[1] / "assets" / "widgets"
SILENCE_S = 15.0
"""A kernel that does not answer for so long is taken for dead; the page says so, and takes it back when it answers."""

log = logging.getLogger(__name__)


def asset(name: str) -> Path:
    """Find a script or a style sheet of the widgets."""
    return ASSETS / name


class Heartbeat(anywidget.AnyWidget):
    """Asks the kernel now and then whether it lives; shows a banner with a way back when it does not answer."""

    _esm = asset("heartbeat.js")
    silence_s = traitlets.Float(SILENCE_S).tag(sync=True)

    def __init__(self) -> None:
        super().__init__()
        self.on_msg(lambda _, content, buffers: self.send({"pong": content.get("ping")}))


def page(build: Callable[..., widgets.Widget], ahead: Callable[[], Any] | None = None) -> widgets.Widget:
    """Give a whole page: waits for its visitor, builds what `build` gives, and says in a sentence what went wrong.

    What `ahead` reads while nobody has come yet is given to `build`, which makes sure that it is not stale; None where
    reading failed.
    """
    read = (_read_ahead(ahead),) if ahead else ()
    wait_for_request()
    try:
        content = build(*read)
    except WorkbenchError as error:
        content = html(cards.headline("There is nothing to show yet.") + cards.note(str(error)))
    except Exception:
        log.exception("the page could not be built")
        content = html(cards.headline("This page could not be built.") + cards.note(
            "The log of `workbench dashboards` says why; load the page again once that is mended."))
    body = widgets.VBox([html(STYLE), Heartbeat(), content])
    body.add_class("wb-page")
    return body


def _read_ahead(ahead: Callable[[], Any]) -> Any:
    """Read what takes long. What fails here fails again before the visitor's eyes, and is said there."""
    try:
        return ahead()
    except Exception:
        log.info("nothing could be read ahead", exc_info=True)
        return None


def html(content: str) -> widgets.HTML:
    """Show a piece of HTML, such as `cards` makes."""
    return widgets.HTML(content, layout={"width": "auto"})


def card(title: str, subtitle: str, *content: widgets.Widget) -> widgets.VBox:
    """Frame a part of the page under its title."""
    heading = html(f'<div class="wb"><h2 class="wb-title">{title}</h2><p class="wb-soft wb-sub">{subtitle}</p></div>')
    box = widgets.VBox([heading, *content])
    box.add_class("wb-card")
    return box


def row(*content: widgets.Widget, shares: str = "") -> widgets.Box:
    """Put parts side by side; on a narrow screen they go one under the other. `shares`: CSS grid columns, 1fr each."""
    columns = shares or " ".join(["minmax(0,1fr)"] * len(content))
    box = widgets.Box(list(content))
    box.add_class("wb-row")
    box.add_class({1: "wb-one", 2: "wb-two", 3: "wb-three"}.get(len(content), "wb-many"))
    box.layout.grid_template_columns = columns if shares else None
    return box


def guarded(say: Callable[[str], None]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate a callback: what goes wrong in it is said with `say`, not lost and not a traceback."""
    def decorate(callback: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(callback)
        def called(*args: Any, **named: Any) -> Any:
            try:
                return callback(*args, **named)
            except WorkbenchError as error:
                say(str(error))
            except Exception:
                log.exception("a callback failed")
                say("That did not work; the log of `workbench dashboards` says why.")
            return None

        return called

    return decorate


STYLE = cards.style() + f"<style>{asset('page.css').read_text(encoding='utf-8')}</style>"
