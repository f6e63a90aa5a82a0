"""Experiment tracking in MLflow: what was fitted with what, and how it went. SQLite by default, a server by URL."""

import logging
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from workbench import settings, storage
from workbench.errors import SettingsError
from workbench.records import Interval

if TYPE_CHECKING:
    import pandas as pd  # the server asks for aliases and never makes tables

PROJECT = "voice-search"

MAX_RETRIES = 2
"""Of a request to a tracking server or database; MLflow's own 7 and 10 take minutes to say that it is gone."""


def tracking_url() -> str:
    """Give where MLflow keeps its records: WORKBENCH_TRACKING_URL, or `data/mlflow.db`."""
    return settings.Settings().tracking_url or f"sqlite:///{storage.data_folder() / 'mlflow.db'}"


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
        found = store.get_experiment_by_name(PROJECT)
        experiment = (
            found.experiment_id
            if found
            else store.create_experiment(PROJECT, artifact_location=(storage.data_folder() / "mlartifacts").as_uri())
        )
        record = store.create_run(experiment, run_name=f"{run}/{stage}", tags={"run": run, "stage": stage})
        store.log_batch(
            record.info.run_id,
            metrics=_metrics(mlflow, metrics, curve),
            params=[mlflow.entities.Param(k, str(v)[:500]) for k, v in parameters.items()],
        )
        store.set_terminated(record.info.run_id)
    except Exception as error:  # MLflow, its database and the network each raise kinds of their own
        raise SettingsError(
            f"the tracking store {tracking_url()} did not take the record ({str(error)[:200]}); "
            "mend WORKBENCH_TRACKING_URL or unset it"
        ) from error
    return str(record.info.run_id)


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
