"""A project whose log was drawn by chance (`simulated_log`), with released models and what they are watched against."""

import functools
import hashlib
from pathlib import Path

import numpy as np
import pandas as pd

from tests import simulated_log
from workbench import bases, catalogue, expected_wer, model_registry, scoring, terms
from workbench.log_database import LoggedQuery
from workbench.model_registry import ModelVersion
from workbench.monitoring import Basis
from workbench.query_log import QueryLog

N_DEV, N_WEEK = 1_200, 1_200
SHIFTED = {"car": 0.5, "narrow": 0.4, "new_share": 0.12}


@functools.cache
def basis() -> Basis:
    rows = simulated_log.week(np.random.default_rng(1), N_DEV, number=0).assign(weight=1.0)
    scored = scoring.score(rows.assign(utterance_id=rows["request_id"], speaker=rows["user_hash"],
                                       text=rows["reference"]), rows["hypothesis"].tolist())
    return Basis(rows.drop(columns=["reference", "is_new_name"]), terms.phrases(rows["reference"]),
                 expected_wer.calibrate(scored), [name for group in catalogue.NEW_ENTITIES.values() for name in group])


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


def release(root: Path, weights: str, *, has_basis: bool = True) -> ModelVersion:
    """Release a model of a few bytes, with a basis."""
    checkpoint = root / "model.pt"
    checkpoint.write_text(weights)
    folder = bases.save(basis(), root / f"basis-{weights}") if has_basis else None
    return model_registry.register(checkpoint, None, run="mine", stage="deploy", metrics={}, tags={}, basis=folder)
