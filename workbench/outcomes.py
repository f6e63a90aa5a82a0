"""How a run ended, as one line of JSON: for cron, systemd, Airflow, and whatever else starts runs and reads on."""

import json
from typing import Any

from workbench import notebooks, runs, settings, shared_runs
from workbench.errors import WorkbenchError
from workbench.runs import StageState


def line(run: str, exit_code: int, error: str = "") -> str:
    """Tell a run's exit code, what each stage has concluded so far, and where its report lies.

    Returns: {run, exit_code, error, is_waiting, stages, report, published}; `stages` is a list of {stage, outcome,
        sentence, finished, wall_time_s}, an outcome being one of the decisions, `failed` or `not_started`.
    """
    try:
        states = runs.states(run, notebooks.discover())
        report = shared_runs.reports_folder(run) / shared_runs.INDEX
        where = {"report": str(report) if report.is_file() else "", "published": _published(run, exit_code)}
    except WorkbenchError:
        states, where = [], {"report": "", "published": ""}
    return json.dumps({"run": run, "exit_code": exit_code, "error": error,
                       "is_waiting": any(state.word == "waiting" for state in states),
                       "stages": [_stage(state) for state in states], **where}, ensure_ascii=False)


def _stage(state: StageState) -> dict[str, Any]:
    content = state.record.content if state.record else {}
    return {"stage": state.notebook.name, "outcome": state.word, "sentence": state.sentence,
            "finished": content.get("finished", ""), "wall_time_s": content.get("wall_time_s", 0.0)}


def _published(run: str, exit_code: int) -> str:
    """Give where the report lies in the team's store: runs that ended by themselves (0, 1) have been published."""
    store = settings.Settings().store_url
    return shared_runs.reports_url(store, run) if store and exit_code in (0, 1) else ""
