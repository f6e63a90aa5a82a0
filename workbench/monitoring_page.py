"""The monitoring page's head and sentence in HTML, and its still: the page as it is now, for mail and archive.

A still holds no sound and no word of production: terms are counts and ids, which the page behind its token resolves.
"""

import json
from collections.abc import Mapping
from contextlib import closing
from html import escape
from typing import Any

import pandas as pd

from workbench import cards, drift, monitoring_figures, standing, storage, timelines
from workbench.errors import StageError
from workbench.monitoring_figures import TIME_LINES
from workbench.registry import PROJECT
from workbench.standing import Standing
from workbench.timelines import DAY_S
from workbench.watching import Scene, Watcher

STILL_S = 21 * DAY_S


def head(scene: Scene) -> str:
    """Say who answers, since when, and who answers beside."""
    champion, beside = scene.lineup["champion"], scene.lineup["challenger"]
    since = scene.released[champion].tags.get("promoted_at", "") if champion in scene.released else ""
    told = [f"champion {PROJECT} v{champion}" + (f", since {pd.Timestamp(since):%d %b %H:%M}" if since else ""),
            f"{scene.lineup['challenger_mode']} v{beside}" if beside else "no challenger"]
    return f'<div class="wb wb-head"><b>Monitoring</b> <span class="wb-soft">· {escape(" · ".join(told))}</span></div>'


def last_query(scene: Scene) -> str:
    """Say when the last query came, and in which window."""
    at = pd.Timestamp(scene.reading.last_s, unit="s")
    return f"last query {at:%d %b %H:%M} · window {int(scene.rows['window'].max())}"


def sentence(now: Standing) -> str:
    """Write the state, its sentence, and the rule behind it."""
    return (f'<div class="wb wb-standing" data-state="{now.state}"><p class="wb-headline">'
            f'<span class="wb-badge wb-{standing.OUTCOMES[now.state]}">{now.state}</span> {escape(now.sentence)}</p>'
            f'<p class="wb-note wb-rule">{escape(now.rule)}</p></div>')


def features(scene: Scene, n_windows: int = 4) -> pd.DataFrame:
    """List features with their states in the latest windows.

    Returns: feature, name, state (of the latest window: word, n, n_needed), told (before and now, and where it moved
        most), windows (number and word of each).
    """
    columns = ["feature", "name", "state", "told", "windows"]
    report = scene.report
    if report is None:
        return pd.DataFrame(columns=columns)
    sizes = {int(row["window"]): int(row["n_queries"]) for row in report.windows.tail(n_windows).to_dict("records")}
    judged = {number: _judged(report.results[number], n) for number, n in sizes.items()}
    last = max(judged)
    return pd.DataFrame([
        {"feature": row["feature"], "name": standing.drift_name(row["feature"]),
         "state": (row["state"], sizes[last], int(row["n_needed"])),
         "told": drift.before_and_now(row) if row["kind"] else ("", ""),
         "windows": [(number, str(table.at[row["feature"], "state"])) for number, table in judged.items()]}
        for row in judged[last].to_dict("records")], columns=columns)


def _judged(result: drift.DriftResult, n: int) -> pd.DataFrame:
    """Give every feature its state; those that a side lacks, or has of too few users, cannot be told."""
    known = drift.states(result.table, n) if len(result.table) else pd.DataFrame(columns=["feature", "kind", "state"])
    lacking = [f.name for f in drift.DEFAULT if f.name not in set(known["feature"])]
    rest = pd.DataFrame({"feature": lacking, "kind": "", "state": "cannot tell",
                         "n_needed": 0 if len(known) else result.n_needed})
    return (pd.concat([known, rest]) if len(known) else rest).set_index("feature", drop=False)


def twin(run: str) -> str:
    """Write the body of the still: sentence, tiles, time lines, what moved, terms by id and count, alarms.

    Raises: StageError when the run has not monitored; ServiceError when nobody has asked anything.
    """
    if storage.read_record(run, "monitor") is None:
        raise StageError(f"run {run} has not monitored: workbench run monitor --run {run}")
    with closing(Watcher()) as watcher:
        scene = watcher.refresh()
    since_s, last_s = max(scene.reading.start_s, scene.reading.last_s - STILL_S), scene.reading.last_s
    over = timelines.over_time(scene, step_s=DAY_S)
    lines = (monitoring_figures.time_line(over, line, span_s=(since_s, last_s)) for line in TIME_LINES)
    return "\n".join([
        head(scene), cards.style() + sentence(standing.stand(scene)), cards.note(last_query(scene)),
        cards.tiles(standing.tiles(scene, since_s)), *(_plot(figure) for figure in lines),
        _section("What moved", "the latest window against what was normal"), cards.table(_moved(scene)),
        _section("New names", "terms that several users said, by id; the page behind its token shows them"),
        cards.table(_terms(scene)),
        _section("Alarms", "those that hold now first"), cards.table(_alarms(scene))])


def _moved(scene: Scene) -> pd.DataFrame:
    found = features(scene)
    return pd.DataFrame({"feature": found["name"], "state": [word for word, _, _ in found["state"]],
                         "before and now": [" · ".join(filter(None, told)) for told in found["told"]],
                         "queries": [n for _, n, _ in found["state"]],
                         "would do": [needed or None for _, _, needed in found["state"]]})


def _terms(scene: Scene) -> pd.DataFrame:
    report = scene.report
    columns = ["request_id", "n_queries", "n_users", "n_reference"]
    return report.terms.loc[report.terms["window"].eq(report.last["window"]), columns] if report else \
        pd.DataFrame(columns=columns)


def _alarms(scene: Scene) -> pd.DataFrame:
    return standing.alarms(scene)[["window", "version", "rule", "evidence", "reopen", "state", "by"]]


def _section(title: str, subtitle: str) -> str:
    return f'<div class="wb"><h2>{escape(title)}</h2><p class="wb-soft">{escape(subtitle)}</p></div>'


def _plot(figure: Mapping[str, Any]) -> str:
    """Write a figure as stage pages do: `page.js` draws it."""
    content = json.dumps(figure).replace("</", r"<\/")
    return f'<figure class="plot"><script type="application/json">{content}</script></figure>'
