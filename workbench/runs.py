"""What the runs of this project found, side by side: their stages' states, and the differences of two runs."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from workbench import shared_runs, storage
from workbench.errors import ParameterError
from workbench.notebooks import StageNotebook
from workbench.records import Interval
from workbench.storage import StageRecord

if TYPE_CHECKING:
    import pandas as pd

FAILURE = shared_runs.FAILURE
SCORES = "scores"
_FRACTIONS = ("wer", "cer", "accuracy", "share", "rate", "right", "answered")
_DIFFERENCES = ("difference", "gain", "change", "beyond")


@dataclass(frozen=True, slots=True)
class StageState:
    """Where a stage of a run stands: finished with a record, failed with a message, or not started."""

    notebook: StageNotebook
    record: StageRecord | None
    failure: Mapping[str, Any] | None

    @property
    def word(self) -> str:
        """One of the outcomes, `failed` or `not_started`."""
        if self.record is not None:
            return self.record.decision.outcome
        return "failed" if self.failure else "not_started"

    @property
    def sentence(self) -> str:
        """What it concluded, or why it failed."""
        if self.record is not None:
            return self.record.decision.sentence
        return str((self.failure or {}).get("message", ""))


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One run in a line."""

    run: str
    n_finished: int
    n_stages: int
    finished: str
    wall_time_s: float
    last: StageState | None


@dataclass(frozen=True, slots=True)
class Change:
    """A parameter or a version that two runs have differently; None where a run has no such thing."""

    stage: str
    name: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class MetricChange:
    """A metric of two runs; `difference` is after minus before, paired when both scored the same utterances."""

    stage: str
    name: str
    before: Interval | None
    after: Interval | None
    difference: Interval | None
    is_paired: bool


@dataclass(frozen=True, slots=True)
class RunDifference:
    """All that two runs have differently, and all metrics of both."""

    parameters: Sequence[Change]
    versions: Sequence[Change]
    metrics: Sequence[MetricChange]


def states(run: str, notebooks: Sequence[StageNotebook]) -> list[StageState]:
    """Read where every stage of a run stands."""
    return [StageState(notebook, storage.read_record(run, notebook.name), _failure(run, notebook))
            for notebook in notebooks]


def _failure(run: str, notebook: StageNotebook) -> Mapping[str, Any] | None:
    try:
        content = json.loads((storage.run_folder(run) / notebook.folder_name / FAILURE).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return dict(content)


def summaries(notebooks: Sequence[StageNotebook]) -> list[RunSummary]:
    """Summarize every run, the one that finished a stage last first; colleagues' are brought from the team's store."""
    shared_runs.bring_all()
    folders = sorted(path for path in (storage.data_folder() / "runs").glob("*") if path.is_dir())
    found = [_summary(path.name, states(path.name, notebooks)) for path in folders]
    return sorted(found, key=lambda summary: summary.finished, reverse=True)


def _summary(run: str, found: Sequence[StageState]) -> RunSummary:
    records = [state.record for state in found if state.record]
    told = [state for state in found if state.record or state.failure]
    return RunSummary(
        run=run, n_finished=len(records), n_stages=len(found),
        finished=max((str(record.content["finished"]) for record in records), default=""),
        wall_time_s=sum(float(record.content["wall_time_s"]) for record in records), last=told[-1] if told else None,
    )


def compare(before: str, after: str, notebooks: Sequence[StageNotebook]) -> RunDifference:
    """Put two runs side by side, a colleague's as it is in the team's store.

    Raises: ParameterError when one of them has no finished stage.
    """
    for run in (before, after):
        shared_runs.bring(run)
    records = {run: _records(run, notebooks) for run in (before, after)}
    pairs = [(name, records[before].get(name), records[after].get(name)) for name in (n.name for n in notebooks)]
    pairs = [(name, a, b) for name, a, b in pairs if a or b]
    return RunDifference(
        parameters=[change for name, a, b in pairs for change in _changes(name, "parameters", a, b)],
        versions=[change for name, a, b in pairs for change in _changes(name, "versions", a, b)],
        metrics=[change for name, a, b in pairs for change in _metric_changes(name, a, b)],
    )


def _records(run: str, notebooks: Sequence[StageNotebook]) -> dict[str, StageRecord]:
    found = {state.notebook.name: state.record for state in states(run, notebooks) if state.record}
    if not found:
        there = ", ".join(summary.run for summary in summaries(notebooks)) or "none"
        raise ParameterError(f"run {run!r} has no finished stage; there are: {there}")
    return found


def _changes(stage: str, field: str, before: StageRecord | None, after: StageRecord | None) -> list[Change]:
    if before is None or after is None:
        return []
    a, b = before.content[field], after.content[field]
    return [Change(stage, name, a.get(name), b.get(name)) for name in {**a, **b}
            if a.get(name) != b.get(name) and name != "run"]


def _metric_changes(stage: str, before: StageRecord | None, after: StageRecord | None) -> list[MetricChange]:
    a, b = (record.metrics if record else {} for record in (before, after))
    changes = []
    for name in {**a, **b}:
        if name not in a or name not in b:
            changes.append(MetricChange(stage, name, a.get(name), b.get(name), None, is_paired=False))
            continue
        assert before is not None and after is not None
        paired = _paired(before, after, a[name].value, b[name].value)
        difference = paired or independent_difference(a[name], b[name])
        changes.append(MetricChange(stage, name, a[name], b[name], difference, is_paired=paired is not None))
    return changes


def independent_difference(before: Interval, after: Interval) -> Interval:
    """Subtract two estimates that share nothing, with an interval from theirs.

    Source: square-and-add of each side's distance, Newcombe 1998 (method 10); Zou & Donner 2008 (MOVER).
    """
    value = after.value - before.value
    low = value - math.hypot(after.value - after.low, before.high - before.value)
    high = value + math.hypot(after.high - after.value, before.value - before.low)
    return Interval(value, low, high, before.note or after.note)


def _paired(before: StageRecord, after: StageRecord, value_before: float, value_after: float) -> Interval | None:
    """Compare utterance by utterance, if these metrics are the pooled WERs of two score tables of the same queries."""
    if not all(f"{SCORES}.parquet" in record.content["outputs"] for record in (before, after)):
        return None
    a, b = (record.table(SCORES).sort_values("utterance_id", ignore_index=True) for record in (before, after))
    is_same_set = a["utterance_id"].equals(b["utterance_id"])
    if not (is_same_set and _is_pooled_wer(a, value_before) and _is_pooled_wer(b, value_after)):
        return None
    from workbench import differences

    was = _on_references_of(b, a)
    if not was["n_words"].equals(b["n_words"]):
        return None
    difference = differences.paired_difference(was["n_errors"], b["n_errors"], b["n_words"], b["speaker"]).difference
    return difference if was is a else replace(difference, note="both on the later run's references")


def _on_references_of(later: "pd.DataFrame", scores: "pd.DataFrame") -> "pd.DataFrame":
    """Score answers anew where references of the same recordings were corrected since; else give them as they are."""
    known = {"audio_sha", "reference", "hypothesis"}
    if not known <= set(scores) & set(later) or not scores["audio_sha"].equals(later["audio_sha"]):
        return scores
    if scores["reference"].equals(later["reference"]):
        return scores
    from workbench import scoring

    return scoring.score(scores.assign(reference=later["reference"]), scores["hypothesis"])


def _is_pooled_wer(scores: "pd.DataFrame", value: float) -> bool:
    n_words = scores["n_words"].sum()
    return n_words > 0 and math.isclose(scores["n_errors"].sum() / n_words, value, abs_tol=1e-9)


def metric_text(name: str, metric: Interval, *, is_signed: bool = False) -> str:
    """Word a metric by its name: fractions and relative changes in percent, differences in points, others as is."""
    words = name.split("_")
    is_fraction = any(word in _FRACTIONS for word in words)
    if "relative" in words:
        value, low, high = (f"{100 * x:+.0f}" for x in (metric.value, metric.low, metric.high))
        return f"{value} % ({low} to {high})"
    if (is_signed and is_fraction) or any(word in _DIFFERENCES for word in words):
        return metric.points() if metric.low < metric.high else f"{100 * metric.value:+.1f} points"
    if is_fraction:
        return metric.percent() if metric.low < metric.high else f"{100 * metric.value:.1f} %"
    unit = " s" if words[-1] == "s" else " min" if words[-1] in ("min", "minutes") else ""
    sign = "+" if is_signed else ""
    value, low, high = (format(x, f"{sign},.0f" if float(x).is_integer() else f"{sign}.3g")
                        for x in (metric.value, metric.low, metric.high))
    return f"{value}{unit}" if metric.low == metric.high else f"{value}{unit} ({low} to {high})"
