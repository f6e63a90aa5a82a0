"""Experiment tracking in MLflow: what was fitted with what, and how it went. SQLite by default, a server by URL."""

import importlib.metadata
import json
import logging
import math
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from workbench import __version__, settings, storage
from workbench.errors import SettingsError
from workbench.records import Interval

if TYPE_CHECKING:
    import pandas as pd  # the server asks for aliases and never makes tables

PROJECT = "voice-search"

TAG = {"key": "workbench", "value": __version__}
"""What is written on the project's experiment before any work, to see that we may write."""
RIGHTS = "PERMISSION_DENIED"
"""What MLflow calls it when we may not. Source: mlflow.protos.databricks_pb2.ErrorCode."""
ASK_MLFLOW = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND)
"""What a server answers where it wants to know who we are, or has no experiment yet: then MLflow's client asks."""
ANSWER_S = 5.0
"""A tracking server that takes longer to say its version is as good as away."""
MOST_BYTES = 1_000_000
"""What is read of an answer; an experiment's own words are a few hundred."""
MAX_RETRIES = 2
"""Of a request to a tracking server or database; MLflow's own 7 and 10 take minutes to say that it is gone."""


def tracking_url() -> str:
    """Give where MLflow keeps its records: WORKBENCH_TRACKING_URL, or `data/mlflow.db`."""
    return settings.Settings().tracking_url or f"sqlite:///{storage.data_folder() / 'mlflow.db'}"


def check() -> None:
    """Make sure that the tracking store answers, lets us write, and is of our MLflow's kind, before any work starts.

    The project's experiment is made, and a tag set on it. A server is asked by plain HTTP; what else is named, or wants
    to know who we are, MLflow itself asks: two seconds.
    Raises: SettingsError that says what is wrong.
    """
    url = tracking_url()
    if "://" not in url:
        raise SettingsError(f"WORKBENCH_TRACKING_URL is {url!r}; write http://HOST:PORT of an MLflow server, or a "
                            "database as sqlite:///FILE")
    try:
        if not url.startswith("http") or not _is_open(url):
            store = client(url)
            store.set_experiment_tag(_experiment(store), **TAG)
    except SettingsError:
        raise
    except Exception as error:  # MLflow, its database and the network each raise kinds of their own
        if getattr(error, "error_code", "") == RIGHTS:
            raise SettingsError(f"the tracking store {shown(url)} does not let us write to the experiment {PROJECT} "
                                f"({' '.join(str(error).split())[:300]}); have whoever MLFLOW_TRACKING_USERNAME names "
                                "given the right to edit it") from error
        raise SettingsError(f"the tracking store {shown(url)} does not answer as it should "
                            f"({' '.join(str(error).split())[:300]}); mend WORKBENCH_TRACKING_URL, or what MLflow says "
                            "there") from error


def _is_open(url: str) -> bool:
    """Ask a server for its version, and whether everybody may write. Raises: SettingsError when it is not our kind."""
    ours, bare = importlib.metadata.version("mlflow"), re.sub(r"://[^/@]*@", "://", url.rstrip("/"))
    try:
        theirs = _ask(f"{bare}/version")
        if not theirs[:1].isdigit():
            raise SettingsError(f"what answers at {shown(url)} is no MLflow server; mend WORKBENCH_TRACKING_URL")
        if theirs.partition(".")[0] != ours.partition(".")[0]:
            raise SettingsError(f"the tracking store {shown(url)} is MLflow {theirs[:20]}, and here is {ours}; the "
                                "first number must be the same: install its version here, or have it upgraded")
        experiments = f"{bare}/api/2.0/mlflow/experiments"
        there = json.loads(_ask(f"{experiments}/get-by-name?experiment_name={PROJECT}"))["experiment"]
        _ask(f"{experiments}/set-experiment-tag", {"experiment_id": there["experiment_id"], **TAG})
    except urllib.error.HTTPError as error:
        if error.code in ASK_MLFLOW:
            return False
        raise
    return True


def _ask(address: str, content: Mapping[str, str] | None = None) -> str:
    """Get an address, or post JSON to it."""
    body = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(address, data=body, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:
        return str(answer.read(MOST_BYTES).decode("utf-8", "replace")).strip()


def shown(url: str) -> str:
    """Give a URL without its password, for messages."""
    return re.sub(r"(://[^:/@]*):[^@/]*@", r"\1:***@", url)


def client(url: str) -> Any:
    """Open MLflow's client: quiet, with a data folder to write to, and not for minutes at a store that is gone."""
    import mlflow
    import mlflow.store.db.utils

    for noisy in ("alembic", "mlflow"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    retries = mlflow.environment_variables.MLFLOW_HTTP_REQUEST_MAX_RETRIES
    if not retries.is_set():
        retries.set(MAX_RETRIES)
    mlflow.store.db.utils.MAX_RETRY_COUNT = MAX_RETRIES  # it can be set in no other way
    storage.data_folder().mkdir(exist_ok=True)
    return mlflow.MlflowClient(url)


def track(
    run: str,
    stage: str,
    *,
    parameters: Mapping[str, Any],
    metrics: Mapping[str, Interval | float],
    curve: "pd.DataFrame | None" = None,
) -> str:
    """Record one fit. `curve` is a table with a `step` column; every other column becomes a series.

    Returns: MLflow's run id.
    Raises: SettingsError when the tracking store does not answer.
    """
    import mlflow

    try:
        store = client(tracking_url())
        record = store.create_run(_experiment(store), run_name=f"{run}/{stage}", tags={"run": run, "stage": stage})
        store.log_batch(
            record.info.run_id,
            metrics=_metrics(mlflow, metrics, curve),
            params=[mlflow.entities.Param(k, str(v)[:500]) for k, v in parameters.items()],
        )
        store.set_terminated(record.info.run_id)
    except Exception as error:  # MLflow, its database and the network each raise kinds of their own
        raise SettingsError(
            f"the tracking store {shown(tracking_url())} did not take the record ({str(error)[:200]}); "
            "mend WORKBENCH_TRACKING_URL or unset it"
        ) from error
    return str(record.info.run_id)


def _experiment(store: Any) -> str:
    """Give the project's experiment; of two runs that make it at once, one finds that it is there."""
    found = store.get_experiment_by_name(PROJECT)
    if found is None:
        # A server knows where its own artifacts lie; this machine's disk is nothing to it.
        where = None if tracking_url().startswith("http") else (storage.data_folder() / "mlartifacts").as_uri()
        try:
            return str(store.create_experiment(PROJECT, artifact_location=where))
        except Exception:
            found = store.get_experiment_by_name(PROJECT)
            if found is None:
                raise
    return str(found.experiment_id)


def _metrics(mlflow: Any, metrics: Mapping[str, Interval | float], curve: "pd.DataFrame | None") -> list[Any]:
    flat: list[tuple[str, float, int]] = []
    for name, metric in metrics.items():
        parts = (
            {"": metric}
            if not isinstance(metric, Interval)
            else {"": metric.value, "_low": metric.low, "_high": metric.high}
        )
        flat += [(name + suffix, value, 0) for suffix, value in parts.items()]
    if curve is not None:
        flat += [
            (str(name), float(row[name]), int(row["step"]))
            for row in curve.to_dict("records")
            for name in row
            if name != "step"
        ]
    return [mlflow.entities.Metric(name, value, 0, step) for name, value, step in flat if math.isfinite(value)]
