"""A project whose log was drawn by chance (`simulated_log`), with released models and what they are watched against."""

import functools
import hashlib
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests import simulated_log
from workbench import (
    bases,
    catalogue,
    consented_audio,
    expected_wer,
    model_registry,
    monitoring,
    scoring,
    storage,
    terms,
)
from workbench.log_database import LoggedQuery
from workbench.model_registry import ModelVersion
from workbench.monitoring import DAY_S, WEEK_S, Basis, Rules
from workbench.query_log import QueryLog
from workbench.records import Decision

N_DEV, N_WEEK = 1_200, 1_200
SHIFTED: dict[str, Any] = {"car": 0.5, "narrow": 0.4, "new_share": 0.12}


@functools.cache
def basis() -> Basis:
    rows = simulated_log.week(np.random.default_rng(1), N_DEV, number=0).assign(weight=1.0)
    scored = scoring.score(rows.assign(utterance_id=rows["request_id"], speaker=rows["user_hash"],
                                       text=rows["reference"]), rows["hypothesis"].tolist())
    return Basis(rows.drop(columns=["reference", "is_new_name"]), terms.phrases(rows["reference"]),
                 expected_wer.calibrate(scored), [name for group in catalogue.NEW_ENTITIES.values() for name in group])


def asked(log: QueryLog, from_week: float, to_week: float) -> list[LoggedQuery]:
    """Read what people have asked in a part of their weeks, counted from the first day's beginning."""
    rows = monitoring.of_people(log.read())
    weeks = rows["time_s"].sub(rows["time_s"].min() // DAY_S * DAY_S) / WEEK_S
    part = rows[weeks.ge(from_week) & weeks.lt(to_week)].drop(columns="row_id")
    return [LoggedQuery(**{str(name): value for name, value in row.items()}) for row in part.to_dict("records")]


def week(number: int, n: int = N_WEEK, *, seed: int = 2, version: str = "1", **shifts: float) -> pd.DataFrame:
    """Draw a week of people whose names are hashes, as in the log."""
    rows = simulated_log.week(np.random.default_rng([seed, number]), n, number=number, **shifts)  # type: ignore[arg-type]
    hashes = [hashlib.sha256(user.encode()).hexdigest()[:16] for user in rows["user_hash"]]
    return rows.assign(user_hash=hashes, model_version=version, consent="", audio_sha="", device="wideband")


def fill(rows: pd.DataFrame, log: QueryLog | None = None) -> None:
    """Write rows into the project's log, in their order."""
    log = log or QueryLog()
    names = [name for name in LoggedQuery.__dataclass_fields__ if name in rows]
    log.append(LoggedQuery(**{str(k): v for k, v in row.items()}) for row in rows[names].to_dict("records"))
    log.close()


@functools.cache
def empty_store() -> bytes:
    """Give MLflow's database with its tables, made once a process: a new one takes seconds."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        (Path(folder) / "notebooks").mkdir()
        patch.setenv("WORKBENCH_ROOT", folder)
        assert model_registry.versions() == []
        return (Path(folder) / "data" / "mlflow.db").read_bytes()


def give_store(root: Path) -> None:
    """Give a project without a registry an empty one."""
    database = root / "data" / "mlflow.db"
    if not database.exists():
        database.parent.mkdir(exist_ok=True)
        database.write_bytes(empty_store())


def release(root: Path, weights: str, *, has_basis: bool = True) -> ModelVersion:
    """Release a model of a few bytes, with a basis."""
    give_store(root)
    checkpoint = root / "model.pt"
    checkpoint.write_text(weights)
    folder = bases.save(basis(), root / f"basis-{weights}") if has_basis else None
    return model_registry.register(checkpoint, None, run="mine", stage="deploy", metrics={}, tags={}, basis=folder)


def world(root: Path, n: int = N_WEEK) -> None:
    """Make a project in which week 3 goes on: it has shifted, half of the users consent, and a challenger listens too.

    The clips of those who consent lie there, of the new names and of what the two models answer differently.
    """
    release(root, "first")
    model_registry.promote("1", by="deploy")
    release(root, "second")
    model_registry.set_challenger("2", "shadow")
    stage = storage.open_stage("monitor", "mine")
    stage.save_json("seen", {"rules": Rules().as_dict(), "names": list(basis().catalogue)})
    stage.close(parameters={}, metrics={}, decision=Decision("done", "Watched."))
    third = _consenting(week(3, n, **SHIFTED)).head(3 * n // 4)
    shadow = third.tail(120).assign(role="shadow", model_version="2", hypothesis=third["reference"].tail(120))
    log = QueryLog()
    fill(pd.concat([week(1, n), week(2, n), third, shadow]), log)
    told = third.tail(120)[third.tail(120)["consent"].eq("audio")].head(40)
    log.add_labels(told[["request_id", "reference"]].assign(labeller="ada", kind="audit"))
    log.close()


def _consenting(rows: pd.DataFrame) -> pd.DataFrame:
    """Let every other user consent, and keep a clip of each new name that they say, and of their last queries."""
    is_given = rows["user_hash"].map(lambda name: int(name[-1], 16) % 2 == 0)
    has_clip = is_given & (rows["is_new_name"] | (np.arange(len(rows)) > len(rows) // 2))
    sound = np.random.default_rng(5).standard_normal((len(rows), 1_600)).astype(np.float32) / 20
    shas = [consented_audio.store_clip(samples) if is_kept else ""
            for samples, is_kept in zip(sound, has_clip, strict=True)]
    return rows.assign(consent=np.where(is_given, "audio", ""), audio_sha=shas)
