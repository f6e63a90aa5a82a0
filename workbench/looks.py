"""The ledger of looks at growing data: "cannot tell, label more" asks to look again, and each look spends some risk."""

import json
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from workbench import planning, spending, storage
from workbench.differences import PairedResult


@dataclass(frozen=True, slots=True)
class Look:
    """One look: how much of the planned data is in, the risk it may spend, and how many models asked the question."""

    number: int
    fraction: float
    alpha: float
    n_models: int

    @property
    def is_last(self) -> bool:
        """Whether the speech of the plan is in, so that all risk is spent."""
        return self.fraction >= 1

    @property
    def sentence(self) -> str:
        """Say it in words."""
        models = f", {self.n_models} models tried" if self.n_models > 1 else ""
        return (f"Look {self.number}, with {100 * min(self.fraction, 1):.0f} % of the speech that the plan takes"
                f"{models}: better has to show at a risk of {100 * self.alpha:.2g} %.")


def take(question: str, model: str, judged: Iterable[str], paired: PairedResult, planned: float) -> Look:
    """Note a look and say what it may spend; the same model on the same utterances (`judged`) is the same look again.

    Other utterances make another look where some of them were looked at before, or this model was: such looks share the
    risk of the plan that the first of them made, by how much all of them have seen. Where an earlier look was at
    another model, or at utterances that are not among these, they share it without counting on their likeness. A second
    model on the same data, or on data that nobody has looked at, is a claim of its own, and is counted.
    """
    path = storage.data_folder() / "datasets" / "looks.json"
    ledger: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    mine = [entry for entry in ledger if entry["question"] == question and "judged" in entry]
    ids, seen = _short(judged), [frozenset(entry["judged"].split()) for entry in mine]
    before = list(dict.fromkeys(seen[:seen.index(ids)] if ids in seen else seen))
    of_model = {data for entry, data in zip(mine, seen, strict=True) if entry["model"] == model}
    earlier = [data for data in before if data & ids or data in of_model]
    related = [entry for entry, data in zip(mine, seen, strict=True) if data == ids or data in earlier]
    wanted = related[0]["planned"] if related else planning.utterances(planned, planning.pilot(paired).variance)
    look = {"question": question, "model": model, "planned": wanted, "judged": " ".join(sorted(ids))}
    if look not in mine:
        storage.write_json(path, [*ledger, look])
        mine.append(look)
    models = {entry["model"] for entry, data in zip(mine, seen, strict=False) if data in earlier}
    fractions = [len(data) / wanted for data in accumulate([*earlier, ids], operator.or_)]
    is_growing = models <= {model} and all(data <= ids for data in earlier)
    return Look(len(fractions), fractions[-1], _level(fractions, is_growing=is_growing),
                len({entry["model"] for entry in mine}))


def _short(judged: Iterable[str]) -> frozenset[str]:
    """Name utterances in 8 hex digits each: the ledger tells them apart and needs no more of them."""
    return frozenset(storage.hash_bytes(str(name).encode())[:8] for name in judged)


def _level(fractions: Sequence[float], *, is_growing: bool) -> float:
    """Say what the last look may spend: nothing where it sees nothing that the looks before it did not."""
    rising = list(dict.fromkeys(fractions))
    if len(fractions) > 1 and fractions[-1] == fractions[-2]:
        return 0.0
    return spending.look_level(rising) if is_growing else spending.another_level(rising)
