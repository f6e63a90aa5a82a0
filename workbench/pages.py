"""From an executed notebook to a page that opens offline, and from a run's records to its index.

The heavy converters load only when a page is really made.
"""

import html
import importlib.util
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench import runs, settings, storage
from workbench.live import WORDS, duration
from workbench.notebooks import StageNotebook
from workbench.records import Interval, spoken
from workbench.storage import StageRecord

ASSETS = Path(__file__).parent / "assets"
INDEX = "index.html"
TWINS = (("error_analysis", "Error analysis", "where it fails, and why"),
         ("monitoring", "Monitoring", "what moved, and how well it answers"))
"""Stills of the dashboards: file and page, title, and what they tell."""
PLOTLY = "plotly.min.js"
PLOTLY_TYPE = "application/vnd.plotly.v1+json"
MAX_TILES = 5
BADGES = {**WORDS, "failed": "failed", "not_started": "not started"}


@dataclass(frozen=True, slots=True)
class Tile:
    """A key number: its words, its value, and its interval ("" when it is plain)."""

    label: str
    value: str
    interval: str


def write_page(executed: Path, notebook: StageNotebook, record: StageRecord) -> Path:
    """Make a finished stage's page beside its executed notebook."""
    return _write(executed, notebook, {
        "run": record.run, "outcome": record.decision.outcome, "sentence": record.decision.sentence,
        "made": record.content["finished"], "tiles": tiles(record.metrics),
        "took": duration(record.content["wall_time_s"]),
    })


def write_failed_page(executed: Path, notebook: StageNotebook, run: str, message: str) -> Path:
    """Make the page of a stage that failed, with all that it had found until then."""
    sentence = message[:1].upper() + message[1:]
    return _write(executed, notebook, {"run": run, "outcome": "failed", "sentence": sentence, "made": "", "tiles": [],
                                       "took": ""})


def write_twin(path: Path, *, title: str, run: str, body: str) -> Path:
    """Make a still of a dashboard page, to be mailed and kept: it opens offline, and its figures can be looked at."""
    has_plot = 'class="plot"' in body
    if has_plot:
        _provide_plotly(path.parent)
    return storage.write_text(path, _render("twin.html.j2", {
        "title": title, "run": run, "body": body, "plotly": PLOTLY if has_plot else "", "index": INDEX,
        "made": time.strftime("%Y-%m-%d %H:%M:%S"),
    }))


def write_index(folder: Path, run: str, notebooks: Sequence[StageNotebook]) -> Path:
    """Tell a run as a story: a card a stage, with its question, its answer, and its key numbers."""
    found = runs.states(run, notebooks)
    cards = [_card(state, folder) for state in found]
    records = [state.record for state in found if state.record]
    return storage.write_text(folder / INDEX, _render("index.html.j2", {
        "run": run, "cards": cards, "badges": BADGES, "headline": _headline(found), "project": settings.root().name,
        "made": max((str(record.content["finished"]) for record in records), default=""),
        "took": duration(sum(float(record.content["wall_time_s"]) for record in records)),
        "n_finished": len(records),
        "twins": [twin for twin in TWINS if (folder / f"{twin[0]}.html").is_file()],
    }))


def tiles(metrics: Mapping[str, Interval], limit: int = MAX_TILES) -> list[Tile]:
    """Choose the key numbers: those that carry an interval first, in the order they were recorded."""
    ordered = sorted(metrics.items(), key=lambda item: item[1].low == item[1].high)
    return [_tile(name, metric) for name, metric in ordered[:limit]]


def _tile(name: str, metric: Interval) -> Tile:
    value, _, interval = runs.metric_text(name, metric).partition(" (")
    return Tile(spoken(name), value, interval.rstrip(")"))


def _headline(found: Sequence[runs.StageState]) -> Mapping[str, str]:
    """The last word of the run so far: a failure, or what the last finished stage concluded."""
    for state in reversed(found):
        if state.word != "not_started":
            where = f"{state.notebook.name} failed: " if state.word == "failed" else ""
            return {"outcome": state.word, "sentence": where + state.sentence}
    return {"outcome": "not_started", "sentence": "Nothing has run yet."}


def _card(state: runs.StageState, folder: Path) -> Mapping[str, Any]:
    page = folder / f"{state.notebook.folder_name}.html"
    return {
        "name": state.notebook.name, "number": state.notebook.folder_name[:2], "question": state.notebook.question,
        "outcome": state.word, "sentence": state.sentence,
        "tiles": tiles(state.record.metrics) if state.record else [], "link": page.name if page.is_file() else "",
        "took": duration(state.record.content["wall_time_s"]) if state.record else "",
    }


# --- one page --------------------------------------------------------------------------------------------------------


def _write(executed: Path, notebook: StageNotebook, words: Mapping[str, Any]) -> Path:
    try:
        cells = json.loads(executed.read_text(encoding="utf-8"))["cells"]
    except (FileNotFoundError, json.JSONDecodeError):
        cells = []  # a kernel that never started, or a disk that was full, leaves nothing to show
    body = "\n".join(_cell(cell) for cell in cells if "papermill-error-cell-tag" not in _tags(cell))
    if 'class="plot"' in body:
        _provide_plotly(executed.parent)
    return storage.write_text(executed.with_suffix(".html"), _render("page.html.j2", {
        **words, "stage": notebook.name, "question": notebook.question, "badges": BADGES, "body": body,
        "plotly": PLOTLY if 'class="plot"' in body else "", "index": INDEX,
    }))


def _provide_plotly(folder: Path) -> None:
    spec = importlib.util.find_spec("plotly")
    assert spec is not None and spec.origin is not None
    source, target = Path(spec.origin).parent / "package_data" / PLOTLY, folder / PLOTLY
    if not target.is_file() or target.stat().st_size != source.stat().st_size:
        with storage.replacing(target) as temporary:
            shutil.copyfile(source, temporary)


def _render(template: str, values: Mapping[str, Any]) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(loader=FileSystemLoader(ASSETS), autoescape=True, undefined=StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True)
    return environment.get_template(template).render(**values)


def _tags(cell: Mapping[str, Any]) -> Sequence[str]:
    return list(cell.get("metadata", {}).get("tags", []))


def _cell(cell: Mapping[str, Any]) -> str:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return f'<section class="prose">{_markdown(source)}</section>'
    if cell["cell_type"] != "code" or not source.strip():
        return ""
    tags = _tags(cell)
    summary = ("parameters" if "parameters" in tags else
               "parameters of this run" if "injected-parameters" in tags else "method")
    outputs = "".join(_output(output) for output in cell.get("outputs", []))
    return (f'<details class="method"><summary>{summary}</summary>'
            f"{_code(source)}</details>" + (f'<div class="outputs">{outputs}</div>' if outputs else ""))


def _markdown(source: str) -> str:
    from nbconvert.filters.markdown_mistune import markdown2html_mistune

    return str(markdown2html_mistune(source))


def _code(source: str) -> str:
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    return str(highlight(source, PythonLexer(), HtmlFormatter()))


def _output(output: Mapping[str, Any]) -> str:
    if output["output_type"] == "stream":
        return f"<pre>{html.escape(''.join(output['text']))}</pre>"
    if output["output_type"] == "error":
        return f'<pre class="error">{_ansi(chr(10).join(output["traceback"]))}</pre>'
    data = output["data"]
    if PLOTLY_TYPE in data:
        figure = json.dumps(data[PLOTLY_TYPE]).replace("</", r"<\/")
        return f'<figure class="plot"><script type="application/json">{figure}</script></figure>'
    if "text/html" in data:
        return f'<div class="rich">{"".join(data["text/html"])}</div>'
    if "image/svg+xml" in data:
        return f'<figure>{"".join(data["image/svg+xml"])}</figure>'
    if "image/png" in data:
        return f'<figure><img alt="" src="data:image/png;base64,{"".join(data["image/png"]).strip()}"></figure>'
    if "text/markdown" in data:
        return f'<section class="prose">{_markdown("".join(data["text/markdown"]))}</section>'
    return f"<pre>{html.escape(''.join(data.get('text/plain', '')))}</pre>"


def _ansi(text: str) -> str:
    from nbconvert.filters.ansi import ansi2html

    return str(ansi2html(text))
