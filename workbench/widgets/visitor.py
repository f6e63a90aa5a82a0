"""Who is at the page: a name, asked once when something is first written; keys that they press; files they take."""

from collections.abc import Callable, Sequence

import anywidget
import traitlets

from workbench.widgets import shell


class Visitor(anywidget.AnyWidget):
    """Knows the visitor's name, or asks for it in a dialog; the browser remembers it for the next visit."""

    _esm = shell.asset("visitor.js")
    _css = shell.asset("visitor.css")
    name = traitlets.Unicode().tag(sync=True)

    def __init__(self) -> None:
        super().__init__()
        self._waiting: Callable[[], None] | None = None
        self.on_msg(lambda _, content, buffers: self._answered(str(content.get("named", ""))))

    def ask(self, then: Callable[[str], None], say: Callable[[str], None]) -> None:
        """Do what needs a name, at once or when the visitor has given it; `say` tells of what went wrong."""
        act = shell.guarded(say)(lambda: then(self.name))
        if self.name:
            act()
        else:
            self._waiting = act
            self.send({"ask": True})

    def _answered(self, name: str) -> None:
        waiting, self._waiting = self._waiting, None
        if name and waiting:
            self.name = name
            waiting()


class Keys(anywidget.AnyWidget):
    """Shows which keys do what, and calls back with those pressed within the part of the page classed `wb-keys`.

    The space key plays the clip there by itself.
    """

    _esm = shell.asset("keys.js")
    hint: list[tuple[str, str]] = traitlets.List().tag(sync=True)  # type: ignore[assignment]
    known: list[str] = traitlets.List().tag(sync=True)  # type: ignore[assignment]

    def __init__(self, hint: Sequence[tuple[str, str]], keys: Sequence[str], callback: Callable[[str], None]) -> None:
        """Say what keys do (key, words) and which names (as browsers call them) to listen for."""
        super().__init__(hint=[list(pair) for pair in hint], known=["space", *keys])
        self.on_msg(lambda _, content, buffers: callback(str(content["key"])) if "key" in content else None)


class Download(anywidget.AnyWidget):
    """A link that saves what `make` gives, as bytes, under a name."""

    _esm = shell.asset("download.js")
    words = traitlets.Unicode().tag(sync=True)

    def __init__(self, words: str, name: Callable[[], str], make: Callable[[], bytes]) -> None:
        super().__init__(words=words)
        self.on_msg(lambda _, content, buffers: self.send({"name": name()}, [make()]))
