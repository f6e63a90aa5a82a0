"""Where things lie and how much of everything a size means. No other module reads the environment.

Every amount that depends on `size` stands in `AMOUNTS`; a notebook's parameter of 0 means "as the size says".
"""

import getpass
from dataclasses import dataclass
from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict

from workbench.errors import ParameterError, SettingsError


class Settings(BaseSettings):
    """What a person or a server sets in the environment, each as `WORKBENCH_<NAME>`.

    An interrupted training loses no more than `save_every_s`; writing takes a fraction of a second of it.
    """

    model_config = SettingsConfigDict(env_prefix="WORKBENCH_")

    root: Path | None = None
    tracking_url: str = ""
    fingerprint: str = ""
    progress_file: Path | None = None
    save_every_s: float = 20.0


@dataclass(frozen=True, slots=True)
class Amounts:
    """How much of everything one size means.

    `n_train` .. `n_test` are demo utterances a split; `n_steps` optimizer steps of the first training;
    `n_round_steps` those of one improvement round and of its control; `n_request` the most clips asked for in a round.
    """

    n_train: int
    n_valid: int
    n_dev: int
    n_gate: int
    n_test: int
    n_voices: int
    n_steps: int
    n_fold_steps: int
    n_round_steps: int
    n_request: int
    max_rounds: int
    n_resamples: int
    width: int
    n_encoder_layers: int
    n_decoder_layers: int


AMOUNTS = {
    "toy": Amounts(200, 24, 80, 80, 40, 60, 40, 12, 12, 40, 1, 200, 64, 2, 1),
    "small": Amounts(4000, 160, 700, 900, 600, 534, 2600, 1200, 900, 1200, 1, 2000, 128, 4, 2),
    "full": Amounts(20000, 1000, 4000, 4000, 4000, 534, 40000, 8000, 10000, 8000, 3, 10000, 384, 4, 4),
}


def amounts(size: str) -> Amounts:
    """Look a size up. Raises: ParameterError for a size that does not exist."""
    if size not in AMOUNTS:
        raise ParameterError(f"size is {size!r}; choose one of {', '.join(AMOUNTS)}")
    return AMOUNTS[size]


def root() -> Path:
    """Find the project: WORKBENCH_ROOT, or the nearest folder from here up that has `notebooks/`.

    Raises: SettingsError when there is none.
    """
    given = Settings().root
    if given is not None:
        if not (given / "notebooks").is_dir():
            raise SettingsError(f"WORKBENCH_ROOT is {given}, which has no notebooks/ folder; point it at the project")
        return given.resolve()
    here = Path.cwd().resolve()
    for folder in (here, *here.parents):
        if (folder / "notebooks").is_dir() and (folder / "pyproject.toml").is_file():
            return folder
    raise SettingsError(f"no notebooks/ folder in {here} or above; go to the project or set WORKBENCH_ROOT")


def lab_run() -> str:
    """Name the run that a notebook opened by hand writes to, apart from every batch record."""
    return f"lab-{getpass.getuser()}"
