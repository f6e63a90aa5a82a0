"""What scope promised and later stages read: targets, shares of use, protected slices, and the verdicts on them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from workbench import decisions
from workbench.errors import ParameterError
from workbench.records import Interval, Outcome

METRICS = ("wer", "cer", "query_accuracy", "entity_accuracy")
SENSES: Mapping[str, Literal["<=", ">="]] = {"at most": "<=", "at least": ">="}


@dataclass(frozen=True, slots=True)
class Target:
    """One promise: a metric, a sense and a value (fractions)."""

    metric: str
    sense: Literal["<=", ">="]
    value: float

    def verdict(self, interval: Interval) -> Outcome:
        """Say yes only when the whole interval keeps the promise, no when none of it does."""
        return decisions.target_verdict(interval, self.value, self.sense)

    def __str__(self) -> str:
        return f"{self.metric} {'≤' if self.sense == '<=' else '≥'} {100 * self.value:g} %"


@dataclass(frozen=True, slots=True)
class Scope:
    """What the scope stage left for gates: targets, the mix of use, and the slices that must not get worse."""

    targets: tuple[Target, ...]
    use_column: str
    use_shares: Mapping[str, float]
    protected: tuple[str, ...]
    margin: float

    def target(self, metric: str) -> Target | None:
        """Find the promise on a metric."""
        return next((t for t in self.targets if t.metric == metric), None)

    def weights(self, table: pd.DataFrame) -> np.ndarray:
        """Weight utterances to the declared mix of use; all alike where the data does not know the column.

        Returns: one weight an utterance, 1 on average.
        """
        known = self.use_column in table and set(self.use_shares) >= set(table[self.use_column].dropna())
        if not known or table[self.use_column].isna().any():
            return np.ones(len(table))
        return decisions.poststratification_weights(table[self.use_column], self.use_shares)


def parse_target(line: str) -> Target:
    """Read `wer at most 0.10`. Raises: ParameterError that names the metrics."""
    metric, _, rest = line.strip().partition(" ")
    sense, _, value = rest.strip().rpartition(" ")
    if metric in METRICS and sense in SENSES:
        try:
            return Target(metric, SENSES[sense], float(value))
        except ValueError:
            pass
    raise ParameterError(
        f"target is {line!r}; write `METRIC at most VALUE` or `METRIC at least VALUE`, "
        f"METRIC one of {', '.join(METRICS)}, VALUE a fraction such as 0.10"
    )


def parse_shares(lines: Sequence[str]) -> dict[str, float]:
    """Read `["quiet 0.4", "car 0.2", ...]`. Raises: ParameterError unless the shares add up to one."""
    try:
        shares = {name: float(share) for name, share in (line.rsplit(maxsplit=1) for line in lines)}
    except ValueError as error:
        raise ParameterError(f"use_shares is {list(lines)}; write each as `NAME SHARE`, such as `car 0.2`") from error
    if shares and abs(sum(shares.values()) - 1) > 0.005:
        raise ParameterError(f"use_shares add up to {sum(shares.values()):g}; they must add up to 1")
    return shares


def save_fields(
    targets: Sequence[str], use_column: str, use_shares: Sequence[str], protected: Sequence[str], margin: float
) -> dict[str, Any]:
    """Give scope's promises in the form that `read` takes back."""
    return {
        "targets": [asdict(parse_target(line)) for line in targets],
        "use_column": use_column,
        "use_shares": parse_shares(use_shares),
        "protected": list(protected),
        "margin": margin,
    }


def read(fields: Mapping[str, Any]) -> Scope:
    """Read what scope left."""
    return Scope(
        tuple(Target(**t) for t in fields["targets"]),
        fields["use_column"],
        fields["use_shares"],
        tuple(fields["protected"]),
        fields["margin"],
    )
