"""What keeps a page live: it asks the kernel every few seconds while it is seen, and says how old its data is."""

from collections.abc import Callable

import anywidget
import traitlets

from workbench.widgets import shell


class Timer(anywidget.AnyWidget):
    """Calls back every `every_s` while the page is in the foreground; the data's age is counted on in the browser."""

    _esm = shell.asset("timer.js")
    every_s = traitlets.Float(4.0).tag(sync=True)
    age_s = traitlets.Float(0.0).tag(sync=True)
    about = traitlets.Unicode().tag(sync=True)

    def __init__(self, look: Callable[[], None], *, every_s: float = 4.0) -> None:
        """Begin; `look` is called with each tick, and the page is answered when it returns."""
        super().__init__(every_s=every_s)
        self._look, self.n_looks = look, 0
        self.on_msg(lambda *_: self._answer())

    def _answer(self) -> None:
        self.n_looks += 1
        self._look()
        self.send({"looked": self.n_looks})
