"""Pieces of a page in HTML: headline, tiles, tables, and one utterance to hear and read; plain strings, nothing else.

Every piece carries the few style rules it needs, so that it looks right in a notebook, a report or a dashboard. Colours
follow the page: JupyterLab's theme where there is one, else what the reader's system prefers.
"""

import base64
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from html import escape
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd

from workbench import audio, scoring
from workbench.records import Interval, Outcome, spoken

STYLE = """<style>
.wb{color-scheme:light dark;--ink:light-dark(#1b2333,#e6e9ef);--soft:light-dark(#5f6b7e,#9aa4b5);
--line:light-dark(#e3e7ef,#333c4b);--card:light-dark(#fff,#1e2531);--blue:light-dark(#0b5fc1,#7fb2f5);
--teal:light-dark(#0b806e,#5fcfba);--amber:light-dark(#a86200,#e8b15a);--red:light-dark(#b8242a,#f08a86);
--blue-bg:light-dark(#e4eefb,#1c3350);--teal-bg:light-dark(#dff3ee,#163d37);--amber-bg:light-dark(#fdf0d9,#433416);
--red-bg:light-dark(#fbe4e3,#4b2526);color:var(--ink);font:14px/1.5 system-ui,-apple-system,"Segoe UI","DejaVu Sans",
sans-serif;font-variant-numeric:tabular-nums;overflow-wrap:break-word}
[data-jp-theme-light=true] .wb{color-scheme:light}[data-jp-theme-light=false] .wb{color-scheme:dark}
.wb .wb-headline{font-size:1.5em;font-weight:700;line-height:1.3;max-width:38em;margin:.3em 0;text-wrap:pretty}
.wb .wb-note{max-width:52em;margin:.4em 0}.wb-note,.wb-soft,.wb-label{color:var(--soft)}
.wb-label,.wb-meta{font-size:.87em}
.wb-tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(13.5em,1fr));gap:.8em;margin:.5em 0}
.wb-tile,.wb-utterance{background:var(--card);border:1px solid var(--line);border-radius:9px;padding:.75em .9em}
.wb-label{display:block}.wb-value{font-size:1.6em;font-weight:700;white-space:nowrap;margin-right:.3em}
.wb-badge{display:inline-block;border-radius:1em;padding:.05em .6em;font-size:.82em;font-weight:700}
.wb-yes{color:var(--teal);background:var(--teal-bg)}.wb-no{color:var(--red);background:var(--red-bg)}
.wb-done{color:var(--blue);background:var(--blue-bg)}
.wb-cannot_tell,.wb-tie,.wb-waiting{color:var(--amber);background:var(--amber-bg)}
.wb-scroll{overflow-x:auto;margin:.5em 0}
.wb table.wb-table{border-collapse:collapse;table-layout:auto;margin:0;font-size:.95em;color:var(--ink)}
.wb table.wb-table tr,.wb table.wb-table thead,.wb table.wb-table tbody tr:nth-child(n){background:none;border:0}
.wb table.wb-table th,.wb table.wb-table td{text-align:left;vertical-align:top;max-width:34em;white-space:normal;
padding:.35em 1.6em .35em 0;border:0;border-bottom:1px solid var(--line)}
.wb table.wb-table th{color:var(--soft);font-weight:500}
.wb table.wb-table .wb-number{text-align:right}
.wb table.wb-table td.wb-number{white-space:nowrap}
.wb table.wb-table td.wb-number .wb-break{white-space:normal}
.wb table.wb-table td.wb-long{min-width:15em}
.wb-utterance{margin:.8em 0;max-width:52em}
.wb-utterance header{display:flex;flex-wrap:wrap;gap:.1em .8em;align-items:baseline}
.wb-utterance .wb-said{font-size:1.15em;line-height:1.8;margin:.3em 0 .1em}
.wb-utterance svg{display:block;width:100%;height:56px;color:var(--blue)}
.wb-utterance audio{display:block;width:100%;height:36px;margin:.5em 0 .2em}
.wb-seconds{display:flex;justify-content:space-between;font-size:.8em;color:var(--soft)}
.wb del,.wb ins{border-radius:.3em;padding:.05em .35em}
.wb del{color:var(--red);background:var(--red-bg);text-decoration:line-through}
.wb ins{color:var(--blue);background:var(--blue-bg);text-decoration:underline;text-underline-offset:.2em}
</style>"""
"""The same rules with every piece: repeating them changes nothing, and a piece can stand alone."""

LONG_LETTERS = 30
"""A column that holds longer words keeps a width at which they can be read, however many columns stand beside it."""

_FRACTIONS = ("wer", "cer", "share", "query_accuracy", "entity_accuracy", "same_result", "before", "control", "treated",
              "accuracy", "shrunk_wer", "unseen", "expected_wer", "expected_accuracy", "audited_wer", "empty_share",
              "failed", "champion", "challenger")
_DIFFERENCES = ("gain", "gap", "ceiling", "predicted", "achieved", "change", "beyond", "difference", "margin")
"""Columns that begin so hold fractions, and are shown as percent and as percentage points."""

_LABELS = {"wer": "Word error rate", "cer": "Character error rate", "query_accuracy": "Word for word",
           "entity_accuracy": "Names right", "silence_answered": "Silence answered"}
_VERDICTS = {"yes": "met: target", "no": "missed: target", "cannot_tell": "cannot tell: target"}
_UNITS = {"snr_db": "dB", "duration_s": "s", "level_dbfs": "dBFS"}
_PLACE, _WHO = ("noise", "snr_db"), ("speaker", "accent", "gender", "device", "duration_s", "level_dbfs")
"""What an utterance's card says beside its name, and below; whatever of it the row has."""

_WAVEFORM_POINTS = 320


def style() -> str:
    """Give the style rules alone, for a page that is put together from pieces."""
    return STYLE


def _piece(inner: str) -> str:
    return f'{STYLE}<div class="wb">{inner}</div>'


def headline(sentence: str) -> str:
    """Say what came out, large."""
    return _piece(f'<p class="wb-headline">{escape(sentence)}</p>')


def note(sentence: str) -> str:
    """Say something small."""
    return _piece(f'<p class="wb-note">{escape(sentence)}</p>')


class Promise(Protocol):
    """What a tile asks of a target (`gates.Target` is one)."""

    @property
    def sense(self) -> str: ...
    @property
    def value(self) -> float: ...
    def verdict(self, interval: Interval) -> Outcome: ...


class Tile(NamedTuple):
    """One number with its interval and, when it was promised, its verdict in words."""

    label: str
    value: str
    interval: str = ""
    outcome: Outcome = "done"
    verdict: str = ""


def target_tile(metric: str, interval: Interval, target: Promise | None = None) -> Tile:
    """Make the tile of a metric; with a target it says met, missed or cannot tell."""
    words = spoken(metric)
    label = _LABELS.get(metric, words[:1].upper() + words[1:])
    if target is None:
        return rate_tile(label, interval)
    outcome = target.verdict(interval)
    sense = "≤" if target.sense == "<=" else "≥"
    return rate_tile(label, interval, outcome,
                     f"{_VERDICTS[outcome]} {sense}\u00a0{100 * target.value:g}\u00a0%")


def rate_tile(label: str, interval: Interval, outcome: Outcome = "done", verdict: str = "") -> Tile:
    """Make the tile of a rate: a dash where nothing was counted, and beside its interval what that does not know."""
    has_interval = not (np.isnan(interval.low) or np.isnan(interval.high))
    between = f"{100 * interval.low:.1f} – {100 * interval.high:.1f}" if has_interval else ""
    value = "–" if np.isnan(interval.value) else f"{100 * interval.value:.1f} %"
    return Tile(label, value, "; ".join(filter(None, (between, interval.note))), outcome, verdict)


def tiles(shown: Sequence[tuple[str, str, str, Outcome, str]]) -> str:
    """Lay tiles side by side: label, value, interval, outcome and verdict of each."""
    cells = []
    for label, value, interval, outcome, verdict in shown:
        badge = f'<span class="wb-badge wb-{outcome}">{escape(verdict)}</span>' if verdict else ""
        cells.append(f'<div class="wb-tile"><span class="wb-label">{escape(label)}</span><div><span class="wb-value">'
                     f'{escape(value)}</span><span class="wb-soft">{escape(interval)}</span></div>{badge}</div>')
    return _piece(f'<div class="wb-tiles">{"".join(cells)}</div>')


def table(rows: pd.DataFrame, formats: Mapping[str, str] | None = None) -> str:
    """Write a table: fractions as percent, counts with separators, missing values as a dash.

    Columns `x_low` and `x_high` beside an `x` are its interval, and stand in its cell. `formats` names columns and how
    to write them instead, as `format` does it (".1%", ",", "+.2f").
    """
    if rows.empty:
        return note("Nothing to list.")
    formats, ends = formats or {}, {f"{name}_{end}" for name in rows for end in ("low", "high")
                                    if {f"{name}_low", f"{name}_high"} <= set(rows)}
    sides = {name: _side(rows[name]) for name in rows if name not in ends}
    head = "".join(f"<th{side}>{escape(spoken(str(name)))}</th>" for name, side in sides.items())
    body = "".join("<tr>" + "".join(f"<td{side}>{_cell(row, name, formats.get(str(name), ''))}</td>"
                                    for name, side in sides.items()) + "</tr>" for row in rows.to_dict("records"))
    return _piece('<div class="wb-scroll"><table class="wb-table"><thead><tr>' + head + "</tr></thead><tbody>" + body
                  + "</tbody></table></div>")


def _cell(row: Mapping[Any, Any], name: Any, form: str) -> str:
    """Write a value as HTML, and behind it, or below where there is no room, its interval's ends if they are known."""
    written = escape(_written(str(name), row[name], form))
    ends = [row.get(f"{name}_{end}") for end in ("low", "high")]
    if any(end is None or pd.isna(end) for end in ends):
        return written
    low, high = (_written(str(name), end, form).removesuffix(" %").removesuffix(" pts") for end in ends)
    return f'{written}<span class="wb-break"> </span>{escape(f"({low} to {high})")}'


def _side(column: "pd.Series[Any]") -> str:
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return ' class="wb-number"'
    is_long = column.map(lambda value: isinstance(value, str) and len(value) > LONG_LETTERS).any()
    return ' class="wb-long"' if is_long else ""


def _written(name: str, value: Any, form: str = "") -> str:
    if value is None or (pd.api.types.is_scalar(value) and pd.isna(value)):
        return "–"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_written(str(k), v)}" for k, v in value.items()) or "none"
    if isinstance(value, list | tuple):
        return "; ".join(_written(name, v) for v in value) or "none"
    if isinstance(value, Interval):
        return value.percent()
    if not isinstance(value, int | float | np.number):
        return str(value)
    if form:
        return format(value, form).replace("%", " %")
    if isinstance(value, int | np.integer):
        return f"{value:,}"
    if name.startswith(_FRACTIONS):
        return f"{100 * value:.1f} %"
    if name.startswith(_DIFFERENCES):
        return f"{100 * value:.1f} pts"
    number = float(value)
    return f"{number:,.0f}" if number.is_integer() or abs(number) >= 1000 else f"{number:.3g}"


def fields(record: Any) -> str:
    """Write a mapping or a dataclass as name and value, a line each."""
    content: Mapping[str, Any] = asdict(record) if is_dataclass(record) and not isinstance(record, type) else record
    rows = "".join(f"<tr><th>{escape(spoken(str(name)))}</th><td>{escape(_written(str(name), value))}</td></tr>"
                   for name, value in content.items())
    return _piece(f'<div class="wb-scroll"><table class="wb-table"><tbody>{rows}</tbody></table></div>')


def difference(reference: str, hypothesis: str) -> str:
    """Write what was said with what was heard instead: lost words struck through, heard ones underlined."""
    words = []
    runs = itertools.groupby(scoring.align(reference, hypothesis), key=lambda edit: edit.kind == "equal")
    for is_right, run in runs:
        edits = list(run)
        said, heard = (escape(" ".join(filter(None, side))) for side in zip(
            *((edit.reference_word, edit.hypothesis_word) for edit in edits), strict=True))
        words += [said] if is_right else [f"<del>{said}</del>"] * bool(said) + [f"<ins>{heard}</ins>"] * bool(heard)
    return " ".join(words) or '<span class="wb-soft">(nothing said)</span>'


def utterance_card(utterance: "Mapping[str, Any] | pd.Series[Any]", hypothesis: str | None, samples: Any,
                   sample_rate_hz: int = audio.SAMPLE_RATE_HZ, note: str = "") -> str:
    """Show one utterance: hear it, see it, and read what was said and, where there is a hypothesis, heard.

    Of the row it uses `reference` (normalized, as the hypothesis must be) and shows utterance_id, noise, snr_db,
    speaker, accent, gender, device, duration_s and level_dbfs where they are known.
    """
    row = dict(utterance.items())
    said = row["reference"] or ""
    text = (escape(said) or difference("", "")) if hypothesis is None else difference(said, hypothesis)
    place, who = (" · ".join(_fact(name, row[name]) for name in names if _is_known(row.get(name)))
                  for names in (_PLACE, _WHO))
    sound = base64.b64encode(audio.wav_bytes(samples, sample_rate_hz)).decode()
    return _piece(
        f'<article class="wb-utterance"><header><b>{escape(str(row.get("utterance_id", "")))}</b>'
        f'<span class="wb-soft">{escape(place)}</span>{_score(said, hypothesis)}</header><p class="wb-said">{text}</p>'
        f'{_waveform(np.asarray(samples), sample_rate_hz)}'
        f'<audio controls preload="metadata" src="data:audio/wav;base64,{sound}"></audio>'
        f'<div class="wb-soft wb-meta">{escape(who)}</div>'
        + (f'<div class="wb-meta">{escape(note)}</div>' if note else "") + "</article>")


def listen(utterances: pd.DataFrame) -> str:
    """Show utterances to hear, one under the other, read from their `audio_path`; `hypothesis` is shown if there."""
    return "".join(utterance_card(row, row.get("hypothesis"), audio.read(row["audio_path"]))
                   for row in utterances.to_dict("records"))


def _is_known(value: Any) -> bool:
    return not (value is None or value == "" or pd.isna(value))


def _fact(name: str, value: Any) -> str:
    if name in _UNITS:
        return f"{value:.1f} {_UNITS[name]}"
    return f"speaker {value}" if name == "speaker" else str(value)


def _score(said: str, hypothesis: str | None) -> str:
    if hypothesis is None:
        return ""
    n_wrong = len([edit for edit in scoring.align(said, hypothesis) if edit.kind != "equal"])
    n_words = len(said.split())
    if not n_wrong:
        return '<span class="wb-badge wb-yes">word for word</span>'
    errors = f"{n_wrong} error{'s' * (n_wrong > 1)} in {n_words} word{'s' * (n_words != 1)}"
    return f'<span class="wb-badge wb-no">{errors if n_words else "words heard in silence"}</span>'


def _waveform(samples: Any, sample_rate_hz: int) -> str:
    edges = np.linspace(0, len(samples), _WAVEFORM_POINTS + 1, dtype=int)
    heights = np.array([np.abs(samples[a:b]).max() if b > a else 0.0 for a, b in zip(edges, edges[1:], strict=False)])
    heights = 48 * heights / max(float(heights.max()), 1e-6)
    strokes = "".join(f"M{i} {50 - h:.1f}V{50 + max(h, 0.5):.1f}" for i, h in enumerate(heights))
    return (f'<svg viewBox="0 0 {_WAVEFORM_POINTS} 100" preserveAspectRatio="none" role="img" aria-label="waveform">'
            f'<path d="{strokes}" stroke="currentColor" stroke-width=".8" fill="none"/></svg>'
            f'<div class="wb-seconds"><span>0 s</span><span>{len(samples) / sample_rate_hz:.1f} s</span></div>')
