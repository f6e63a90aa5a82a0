"""Experiment tracking in MLflow: what was fitted with what, and how it went. SQLite by default, a server by URL."""

import contextlib
import importlib.metadata
import logging
import math
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from workbench import settings, storage
from workbench.errors import SettingsError
from workbench.records import Interval

if TYPE_CHECKING:
    import pandas as pd  # the server asks for aliases and never makes tables

PROJECT = "voice-search"

ANSWER_S = 5.0
"""A tracking server that takes longer to say its version is as good as away."""
MAX_RETRIES = 2
"""Of a request to a tracking server or database; MLflow's own 7 and 10 take minutes to say that it is gone."""


def tracking_url() -> str:
    """Give where MLflow keeps its records: WORKBENCH_TRACKING_URL, or `data/mlflow.db`."""
    return settings.Settings().tracking_url or f"sqlite:///{storage.data_folder() / 'mlflow.db'}"


def check() -> None:
    """Make sure that the tracking store answers, lets us, and is of our MLflow's kind, before anything depends on it.

    A server is asked by plain HTTP; what else is named, or wants to know who we are, MLflow itself asks: two seconds.
    Raises: SettingsError that says what is wrong.
    """
    url = tracking_url()
    if "://" not in url:
        raise SettingsError(f"WORKBENCH_TRACKING_URL is {url!r}; write http://HOST:PORT of an MLflow server, or a "
                            "database as sqlite:///FILE")
    try:
        if not url.startswith("http") or not _is_open(url):
            client(url).get_experiment_by_name(PROJECT)
    except SettingsError:
        raise
    except Exception as error:  # MLflow, its database and the network each raise kinds of their own
        raise SettingsError(f"the tracking store {shown(url)} does not answer as it should "
                            f"({' '.join(str(error).split())[:300]}); mend WORKBENCH_TRACKING_URL, or what MLflow says "
                            "there") from error


def _is_open(url: str) -> bool:
    """Ask a server for its version and whether everybody may read. Raises: SettingsError when it is not of our kind."""
    ours, bare = importlib.metadata.version("mlflow"), re.sub(r"://[^/@]*@", "://", url.rstrip("/"))
    try:
        theirs = _get(f"{bare}/version")
        if not theirs[:1].isdigit():
            raise SettingsError(f"what answers at {shown(url)} is no MLflow server; mend WORKBENCH_TRACKING_URL")
        if theirs.partition(".")[0] != ours.partition(".")[0]:
            raise SettingsError(f"the tracking store {shown(url)} is MLflow {theirs[:20]}, and here is {ours}; the "
                                "first number must be the same: install its version here, or have it upgraded")
        _get(f"{bare}/api/2.0/mlflow/experiments/search?max_results=1")
    except urllib.error.HTTPError as error:
        if error.code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return False
        raise
    return True


def _get(address: str) -> str:
    with urllib.request.urlopen(address, timeout=ANSWER_S) as answer:
        return str(answer.read(10_000).decode("utf-8", "replace")).strip()


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
        with contextlib.suppress(Exception):
            return str(store.create_experiment(PROJECT, artifact_location=where))
        found = store.get_experiment_by_name(PROJECT)
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
