"""The biasing list as it is kept: which names are on it, since when and by whom, and which models need them no longer.

It is what marks of names come to, so it lies beside the query log, and its history is kept. What
probes found lies in files of the project. How answers are held against names is `biasing`'s, and `probes` probes them.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from workbench import storage, text
from workbench.errors import MarkError
from workbench.marks import Marks

ADDED, SOUNDS, REMOVED, LEARNED = "name", "name sounds", "name removed", "name learned"
MIN_LETTERS = 4
"""Shorter names are heard in the middle of many words."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A name of the list: who put it there and when (UTC seconds), the letters that were heard when people said it
    ("" where that is not known), and which version has learned it ("": none)."""

    name: str
    by: str
    since_s: float
    sounds: str = ""
    learned_in: str = ""

    def is_for(self, version: str) -> bool:
        """Whether a model's answers are held against it: after a rollback, those of one that came before are again."""
        if not self.learned_in:
            return True
        return version.isdecimal() and self.learned_in.isdecimal() and int(version) < int(self.learned_in)


def digest(entries: Sequence[Entry]) -> str:
    """Name what answers are held against. Returns: 12 hex digits, "" for nothing."""
    return storage.hash_value([[entry.name, entry.sounds] for entry in entries])[:12] if entries else ""


def entries_of(rows: Iterable[Mapping[str, object]]) -> list[Entry]:
    """List the names that marks in their order leave on the list, in the order in which they were put there."""
    found: dict[str, Entry] = {}
    for row in rows:
        kind, name = str(row["kind"]), str(row["value"])
        if kind == ADDED:
            sounds = found[name].sounds if name in found else ""
            found[name] = Entry(name, str(row["by"]), float(str(row["time_s"])), sounds)
        elif kind == REMOVED:
            found.pop(name, None)
        elif kind == SOUNDS and name in found:
            found[name] = replace(found[name], sounds=str(row["drawn"]))
        elif kind == LEARNED and name in found:
            found[name] = replace(found[name], learned_in=str(row["utterance_id"]))
    return list(found.values())


class NameList:
    """The list that marks make, those beside the project's query log if no others are given."""

    def __init__(self, marks: Marks | None = None) -> None:
        """Raises: QueryLogError for a database that is neither SQLite's nor PostgreSQL's."""
        self._marks = marks or Marks()

    def add(self, name: str, *, by: str, sounds: str = "", request_id: str = "", now_s: float | None = None) -> None:
        """Put a name on the list, as it should be written; one that a model has learned is put there anew.

        `sounds` is how it sounds: the letters that were heard in the query `request_id`, and go when its user is
        forgotten, or, without one, what a person makes of it.

        Raises: MarkError when it cannot be spelled, is too short, nobody's name is with it, or the query's user did
            not consent.
        """
        letters = text.spelling(name)
        if len(letters.replace(" ", "")) < MIN_LETTERS:
            raise MarkError(f"{name!r} is spelled {letters!r}: fewer than {MIN_LETTERS} letters are heard everywhere, "
                            "and letters other than a to z nowhere; write it longer, or as it sounds")
        written = text.normalize(name)
        self._marks.add(ADDED, written, by=by, now_s=now_s)
        if sounds:
            self._marks.add(SOUNDS, written, utterance_id=request_id, by=by, drawn=text.spelling(sounds), now_s=now_s)

    def remove(self, name: str, *, by: str) -> None:
        """Take a name off the list. Raises: MarkError when it is not there, or nobody's name is with it."""
        self._marks.add(REMOVED, self.entry(name).name, by=by)

    def learned(self, name: str, *, version: str, by: str) -> None:
        """Note that a model has learned a name: neither its answers nor those of later ones are held against it.

        Raises: MarkError when it is not there, or nobody's name is with it.
        """
        self._marks.add(LEARNED, self.entry(name).name, utterance_id=version, by=by)

    def entry(self, name: str) -> Entry:
        """Find a name. Raises: MarkError, which lists those that are there."""
        found = {entry.name: entry for entry in self.entries()}
        if text.normalize(name) not in found:
            raise MarkError(f"{name!r} is not on the biasing list; there are: {', '.join(found) or 'none'}")
        return found[text.normalize(name)]

    def entries(self) -> list[Entry]:
        """List all names that nobody removed."""
        return entries_of(self._marks.rows(ADDED, SOUNDS, REMOVED, LEARNED))

    def sounds(self, version: str) -> dict[str, str]:
        """Give the names that a model's answers are held against, with how they sound."""
        return {entry.name: entry.sounds for entry in self.entries() if entry.is_for(version)}

    def close(self) -> None:
        """Let go of the database."""
        self._marks.close()


@dataclass(frozen=True, slots=True)
class Probe:
    """Clips of a name through a version: how many were recognized without the list, with it, and only with it."""

    name: str
    version: str
    n_clips: int
    n_before: int
    n_after: int
    n_won: int

    def __str__(self) -> str:
        return (f"recognized in {self.n_before} of {self.n_clips} synthesized clips without the list, "
                f"{self.n_after} with it (version {self.version})")


def keep(probe: Probe) -> None:
    """Keep what a probe found; a later one of the same name and version replaces it."""
    storage.write_json(_probe_file(probe.name, probe.version), asdict(probe))


def probe_of(name: str, version: str) -> Probe | None:
    """Find what was found of a name in a version, None before it was probed."""
    path = _probe_file(name, version)
    return Probe(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def probed_s() -> float:
    """Say when a probe last found something (seconds since 1970), 0 before any did."""
    folder = storage.data_folder() / "names"
    return folder.stat().st_mtime if folder.is_dir() else 0.0


def _probe_file(name: str, version: str) -> Path:
    return storage.data_folder() / "names" / f"{storage.hash_value([name, version])[:16]}.json"
