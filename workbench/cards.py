"""Pieces of a page in HTML: headline, tiles, tables, and one utterance to hear and read; they look right in Jupyter too.

Every piece carries the few style rules it needs, so that it can stand in a notebook, a report or a dashboard.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from html import escape
from typing import Any

import numpy as np
import pandas as pd

from workbench import audio, scoring
from workbench.records import Interval, Outcome

STYLE = """<style>
.wb{--ink:#1b2433;--soft:#667085;--line:#e2e6ee;--card:#fff;--blue:#0b63ce;--teal:#00857a;--amber:#b26a00;--red:#c0271d;
 --blue-bg:#e7f0fc;--teal-bg:#e2f5f1;--amber-bg:#fdf1dd;--red-bg:#fce8e6;color:var(--ink);
 font:14px/1.45 system-ui,sans-serif;font-variant-numeric:tabular-nums}
@media (prefers-color-scheme:dark){.wb{--ink:#e6eaf2;--soft:#98a2b3;--line:#313a4a;--card:#1a212e;--blue:#6cabff;
 --teal:#45c9b8;--amber:#f0b04f;--red:#ff8a80;--blue-bg:#17304f;--teal-bg:#123a36;--amber-bg:#3d2f14;--red-bg:#46211e}}
.wb-headline{font-size:22px;font-weight:650;line-height:1.3;max-width:46em;margin:.2em 0}
.wb-note{color:var(--soft);margin:.4em 0}
.wb-tiles{display:flex;flex-wrap:wrap;gap:12px;margin:.5em 0}
.wb-tile{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:10px 16px;min-width:150px}
.wb-tile b{font-size:22px;margin-right:.35em}.wb-tile small,.wb-soft{color:var(--soft)}
.wb-badge{display:inline-block;border-radius:999px;padding:1px 10px;font-size:12px;font-weight:600}
.wb-yes{color:var(--teal);background:var(--teal-bg)}.wb-no{color:var(--red);background:var(--red-bg)}
.wb-cannot_tell,.wb-waiting{color:var(--amber);background:var(--amber-bg)}.wb-done{color:var(--blue);background:var(--blue-bg)}
.wb-scroll{overflow-x:auto;margin:.5em 0}.wb table{border-collapse:collapse;color:var(--ink)}
.wb th{color:var(--soft);font-weight:500;text-align:left}.wb th,.wb td{padding:5px 14px 5px 0;border-bottom:1px solid var(--line)}
.wb .wb-number{text-align:right}
.wb-utterance{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:12px 16px;margin:10px 0;max-width:760px}
.wb-utterance audio{width:100%;height:34px;margin:6px 0}.wb-utterance svg{width:100%;height:56px;color:var(--blue)}
.wb-del{color:var(--red);background:var(--red-bg);text-decoration:line-through;border-radius:4px;padding:0 4px}
.wb-ins{color:var(--blue);background:var(--blue-bg);text-decoration:underline;border-radius:4px;padding:0 4px}
</style>"""

_SHARES = ("wer", "cer", "share", "query_accuracy", "entity_accuracy", "gain", "predicted", "achieved", "change", "beyond",
           "before", "control", "treated", "difference", "accuracy", "margin", "unseen")
"""Columns that begin so hold fractions, and are shown as percent."""

_WAVEFORM_POINTS = 240


def _piece(inner: str) -> str:
    return f'{STYLE}<div class="wb">{inner}</div>'


def headline(sentence: str) -> str:
    """Say what came out, large."""
    return _piece(f'<p class="wb-headline">{escape(sentence)}</p>')


def note(sentence: str) -> str:
    """Say something small."""
    return _piece(f'<p class="wb-note">{escape(sentence)}</p>')


@dataclass(frozen=True, slots=True)
class Tile:
    """One number with its interval and, when it was promised, its verdict in words."""

    label: str
    value: str
    interval: str
    outcome: Outcome = "done"
    verdict: str = ""


_VERDICTS = {"yes": "met: target", "no": "missed: target", "cannot_tell": "cannot tell yet: target"}
_LABELS = {"wer": "Word error rate", "cer": "Character error rate", "query_accuracy": "Word for word",
           "entity_accuracy": "Names right", "silence_answered": "Silence answered"}


def target_tile(metric: str, interval: Interval, target: Any = None) -> Tile:
    """Make the tile of a metric; with a target (`metric`, `sense`, `value`, `verdict`) it says met, missed or cannot tell."""
    value = f"{100 * interval.value:.1f} %"
    between = interval.note if np.isnan(interval.low) else f"{100 * interval.low:.1f} to {100 * interval.high:.1f}"
    if target is None:
        return Tile(_LABELS.get(metric, metric), value, between)
    outcome = target.verdict(interval)
    words = f"{_VERDICTS[outcome]} {'≤' if target.sense == '<=' else '≥'} {100 * target.value:g} %"
    return Tile(_LABELS.get(metric, metric), value, between, outcome, words)


def tiles(shown: Sequence[Tile]) -> str:
    """Lay tiles side by side."""
    cells = [f'<div class="wb-tile"><small>{escape(t.label)}</small><div><b>{escape(t.value)}</b>'
             f'<span class="wb-soft">{escape(t.interval)}</span></div>'
             + (f'<span class="wb-badge wb-{t.outcome}">{escape(t.verdict)}</span>' if t.verdict else "") + "</div>"
             for t in shown]
    return _piece(f'<div class="wb-tiles">{"".join(cells)}</div>')


def table(rows: pd.DataFrame) -> str:
    """Write a table; fractions as percent, counts with separators, missing values as a dash."""
    if rows.empty:
        return note("nothing to list")
    head = "".join(f'<th{_side(rows[c])}>{escape(str(c).replace("_", " "))}</th>' for c in rows)
    body = "".join("<tr>" + "".join(f"<td{_side(rows[c])}>{escape(_written(str(c), value))}</td>"
                                    for c, value in zip(rows, row, strict=True)) + "</tr>"
                   for row in rows.itertuples(index=False, name=None))
    return _piece(f'<div class="wb-scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>')


def _side(column: pd.Series) -> str:
    return ' class="wb-number"' if pd.api.types.is_numeric_dtype(column) else ""


def _written(column: str, value: Any) -> str:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return "–"
    if isinstance(value, float | np.floating):
        if column.startswith(_SHARES):
            return f"{100 * value:.1f} %"
        return f"{value:,.0f}" if value == int(value) and abs(value) >= 1 else f"{value:.3g}"
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)


def fields(record: Any) -> str:
    """Write a mapping or a dataclass as name and value, a line each."""
    content: Mapping[str, Any] = asdict(record) if is_dataclass(record) and not isinstance(record, type) else record
    rows = "".join(f"<tr><th>{escape(str(name).replace('_', ' '))}</th><td>{escape(_words(str(name), value))}</td></tr>"
                   for name, value in content.items())
    return _piece(f'<div class="wb-scroll"><table><tbody>{rows}</tbody></table></div>')


def _words(name: str, value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_words(str(k), v)}" for k, v in value.items()) or "none"
    if isinstance(value, list | tuple):
        return "; ".join(str(v) for v in value) or "none"
    return _written(name, value)


def difference(reference: str, hypothesis: str) -> str:
    """Write what was said with what was heard instead: lost words struck through, heard ones underlined."""
    words = []
    for edit in scoring.align(reference, hypothesis):
        if edit.kind == "equal":
            words.append(escape(edit.reference_word))
            continue
        if edit.reference_word:
            words.append(f'<del class="wb-del">{escape(edit.reference_word)}</del>')
        if edit.hypothesis_word:
            words.append(f'<ins class="wb-ins">{escape(edit.hypothesis_word)}</ins>')
    return " ".join(words) or '<span class="wb-soft">(nothing said)</span>'


def utterance_card(utterance: Mapping[str, Any] | pd.Series, hypothesis: str | None, samples: Any,
                   sample_rate_hz: int = audio.SAMPLE_RATE_HZ) -> str:
    """Show one utterance: hear it, see it, and read what was said and, where there is a hypothesis, heard."""
    row = dict(utterance.items())
    known = ("utterance_id", "speaker", "noise", "snr_db", "accent", "gender", "device", "duration_s")
    facts = " · ".join(f"{name.replace('_', ' ')} {_written(name, row[name])}" for name in known if row.get(name) is not None)
    said = escape(row["reference"]) if hypothesis is None else difference(row["reference"], hypothesis)
    sound = base64.b64encode(audio.wav_bytes(samples, sample_rate_hz)).decode()
    return _piece(f'<div class="wb-utterance"><div>{said}</div>{_waveform(np.asarray(samples))}'
                  f'<audio controls preload="none" src="data:audio/wav;base64,{sound}"></audio>'
                  f'<div class="wb-soft">{escape(facts)}</div></div>')


def _waveform(samples: Any) -> str:
    edges = np.linspace(0, len(samples), _WAVEFORM_POINTS + 1, dtype=int)
    heights = [float(np.abs(samples[a:b]).max()) if b > a else 0.0 for a, b in zip(edges, edges[1:], strict=False)]
    top = max(max(heights), 1e-6)
    strokes = "".join(f"M{i} {50 - 48 * h / top:.1f}V{50 + 48 * h / top:.1f}" for i, h in enumerate(heights))
    return (f'<svg viewBox="0 0 {_WAVEFORM_POINTS} 100" preserveAspectRatio="none" role="img" aria-label="waveform">'
            f'<path d="{strokes}" stroke="currentColor" stroke-width=".7" fill="none"/></svg>')
