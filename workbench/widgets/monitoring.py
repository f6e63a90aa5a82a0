"""The page monitoring."""

import ipywidgets as widgets

from workbench import cards
from workbench.widgets import shell


def build() -> widgets.Widget:
    """Give the page for a visitor."""
    return shell.html(cards.headline("Monitoring"))
