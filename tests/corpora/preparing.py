"""A published corpus as a table: as it is prepared, and as collect takes it in."""

from pathlib import Path
from typing import Any

import pandas as pd

from workbench import corpora
from workbench import published_corpora as published


def prepared(name: str, place: Path | str, **more: Any) -> pd.DataFrame:
    return pd.read_parquet(published.prepare(name, str(place), **more))


def table_of(name: str, place: Path) -> pd.DataFrame:
    return corpora.collect([f"{name}:{place}"]).dataset.table
