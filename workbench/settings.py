"""Where things lie and how much of everything a size means. No other module reads the environment.

Every amount that depends on `size` stands in `AMOUNTS`; a notebook's parameter of 0 means "as the size says".
"""

import functools
import getpass
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from workbench.errors import ParameterError, SettingsError


class Settings(BaseSettings):
    """What a person or a server sets in the environment, each as `WORKBENCH_<NAME>`.

    An interrupted training loses no more than `save_every_s`; writing takes a fraction of a second of it.
    The service refuses uploads over `max_body_mb` (OpenAI's limit) and audio over `max_duration_s` (Whisper's window);
    a query waits at most `batch_wait_ms` for company, and at most `max_queue` wait for the model.
    Words of a query without consent go after `days_words`, consented audio after `days_audio`.
    A dashboard page that was closed gives its kernel back after `dashboard_idle_s`; an open one keeps it. Running
    dashboards bring what colleagues' runs have finished every `dashboard_bring_s`.
    Audio read from a URL is kept in data/cache/remote while the disk has more than `keep_free_gb` free.
    `n_best` hypotheses of the decoder are chosen from where there is a biasing list; 1 asks for its answer alone.
    `store_url` is the team's store; S3's own settings keep the names that every tool reads.
    With the `engine` ray, decoding and training go to the cluster at `ray_address` (one of this machine alone if none
    is named), training to at most `ray_workers` of its nodes or GPUs (0: all). Replicas become more when queries have
    queued for `grow_after_s`, and fewer when there was too little to do for `shrink_after_s` (both Ray Serve's own).
    Raises: SettingsError for a value of the wrong kind.
    """

    model_config = SettingsConfigDict(env_prefix="WORKBENCH_")

    root: Path | None = None
    tracking_url: str = ""
    query_log_url: str = ""
    store_url: str = ""
    aws_endpoint_url: str = Field(default="", validation_alias=AliasChoices("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"))
    google_endpoint_url: str = Field(default="", validation_alias="CLOUD_STORAGE_EMULATOR_ENDPOINT")
    aws_region: str = Field(default="", validation_alias=AliasChoices("AWS_REGION", "AWS_DEFAULT_REGION"))
    fingerprint: str = ""
    progress_file: Path | None = None
    save_every_s: float = Field(default=20.0, ge=0)
    max_body_mb: float = Field(default=25.0, gt=0)
    max_duration_s: float = Field(default=30.0, gt=0)
    batch_wait_ms: float = Field(default=50.0, ge=0)
    max_batch: int = Field(default=16, ge=1)
    max_queue: int = Field(default=64, ge=1)
    days_words: float = Field(default=7.0, ge=0)
    days_audio: float = Field(default=90.0, ge=0)
    dashboard_idle_s: int = Field(default=600, ge=0)
    dashboard_bring_s: float = Field(default=300.0, gt=0)
    keep_free_gb: float = Field(default=20.0, ge=0)
    n_best: int = Field(default=1, ge=1)
    engine: Literal["local", "ray"] = "local"
    ray_address: str = ""
    ray_workers: int = Field(default=0, ge=0)
    grow_after_s: float = Field(default=30.0, ge=0)
    shrink_after_s: float = Field(default=600.0, ge=0)

    def __init__(self) -> None:
        try:
            super().__init__()
        except ValidationError as error:
            told = [f"WORKBENCH_{str(found['loc'][0]).upper()} is {found['input']!r}: {found['msg'].lower()}"
                    for found in error.errors()]
            raise SettingsError(f"{'; '.join(told)}; mend it in the environment, or unset it") from error


@dataclass(frozen=True, slots=True)
class Amounts:
    """How much of everything one size means.

    `n_train` .. `n_test` are demo utterances a split; `n_steps` optimizer steps of the first training,
    `n_few_steps` of one with few speakers and `n_fold_steps` of each that leaves one of them out to report on;
    `n_round_steps` those of one improvement round and of its control; `n_request` the most clips asked for in a round;
    `n_week` simulated production queries a week; `n_labels` production clips that people transcribe for a retraining;
    `n_load` requests of the load test.
    """

    n_train: int
    n_valid: int
    n_dev: int
    n_gate: int
    n_test: int
    n_voices: int
    n_steps: int
    n_few_steps: int
    n_fold_steps: int
    n_round_steps: int
    n_request: int
    max_rounds: int
    n_resamples: int
    n_week: int
    n_labels: int
    n_load: int
    width: int
    n_encoder_layers: int
    n_decoder_layers: int


AMOUNTS = {
    "toy": Amounts(
        n_train=200, n_valid=24, n_dev=80, n_gate=80, n_test=40, n_voices=60,
        n_steps=40, n_few_steps=16, n_fold_steps=12, n_round_steps=12, n_request=40, max_rounds=1, n_resamples=200,
        n_week=60, n_labels=40, n_load=40, width=64, n_encoder_layers=2, n_decoder_layers=1,
    ),
    "small": Amounts(
        n_train=4000, n_valid=160, n_dev=700, n_gate=900, n_test=600, n_voices=534,
        n_steps=1800, n_few_steps=1200, n_fold_steps=600, n_round_steps=900, n_request=1200,
        max_rounds=1, n_resamples=2000, n_week=1500, n_labels=1000, n_load=400,
        width=128, n_encoder_layers=4, n_decoder_layers=2,
    ),
    "full": Amounts(
        n_train=20000, n_valid=1000, n_dev=4000, n_gate=4000, n_test=4000, n_voices=534,
        n_steps=40000, n_few_steps=16000, n_fold_steps=8000, n_round_steps=10000, n_request=8000,
        max_rounds=3, n_resamples=10000, n_week=5000, n_labels=4000, n_load=2000,
        width=384, n_encoder_layers=4, n_decoder_layers=4,
    ),
}


def amounts(size: str) -> Amounts:
    """Look a size up. Raises: ParameterError for a size that does not exist."""
    if size not in AMOUNTS:
        raise ParameterError(f"size is {size!r}; choose one of {', '.join(AMOUNTS)}")
    return AMOUNTS[size]


def root() -> Path:
    """Find the project: WORKBENCH_ROOT, or the nearest folder from here up with `notebooks/` and pyproject.toml.

    Raises: SettingsError when there is none.
    """
    return _root(os.environ.get("WORKBENCH_ROOT", ""), Path.cwd())


@functools.lru_cache(8)
def _root(_: str, folder: Path) -> Path:
    """Look once per environment and folder: the service asks for it with every request."""
    given = Settings().root
    if given is not None:
        if not (given / "notebooks").is_dir():
            raise SettingsError(f"WORKBENCH_ROOT is {given}, which has no notebooks/ folder; point it at the project")
        return given.resolve()
    here = folder.resolve()
    for folder in (here, *here.parents):
        if (folder / "notebooks").is_dir() and (folder / "pyproject.toml").is_file():
            return folder
    raise SettingsError(f"neither {here} nor a folder above has notebooks/ and pyproject.toml; go to the project, or "
                        "set WORKBENCH_ROOT to it")


def lab_run() -> str:
    """Name the run that a notebook opened by hand writes to, apart from every batch record."""
    return f"lab-{getpass.getuser()}"
