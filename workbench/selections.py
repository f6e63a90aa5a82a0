"""What a reader of errors is looking at: values, ranges, words, one kind of mistake. Records; `exploring` counts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class Mistake(NamedTuple):
    """What to look for in alignments: a kind, the word said and the word heard.

    Kinds: sub, del, ins (as in `scoring`), word (said and not heard, whatever came instead) and entity.
    """

    kind: str
    said: str
    heard: str = ""

    def __str__(self) -> str:
        return {"sub": f"{self.said} → {self.heard}", "del": f"{self.said} lost", "ins": f"{self.heard} made up",
                "entity": f"name {self.said} wrong"}.get(self.kind, f"{self.said} wrong")


@dataclass(frozen=True, slots=True)
class Selection:
    """Which utterances to look at: values by column, ranges (low, high), words to search, a mistake, ids by name."""

    picked: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    search: str = ""
    mistake: Mistake | None = None
    ids: frozenset[str] | None = None
    ids_title: str = ""

    def words(self) -> str:
        """Say it in a line."""
        parts = [f"{column}: {', '.join(values)}" for column, values in self.picked.items() if values]
        parts += [f"{column} {low:g} to {high:g}" for column, (low, high) in self.ranges.items()]
        parts += [f"“{self.search}”"] * bool(self.search) + [str(self.mistake)] * bool(self.mistake)
        return " · ".join(parts + [self.ids_title] * (self.ids is not None)) or "all queries"
