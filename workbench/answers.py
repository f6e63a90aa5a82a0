"""What models heard on open data, from what a run's stages left: ready for a page, without any model being loaded.

Dev is open for browsing; gate and test are not, and are never read here.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from workbench import (
    audio,
    data_requests,
    exploring,
    finding,
    gates,
    remote,
    scoring,
    shared_datasets,
    slicing,
    storage,
    suspects,
    text,
    track_record,
)
from workbench.data_requests import Request
from workbench.errors import StageError
from workbench.exploring import Explored
from workbench.gates import Scope
from workbench.opportunities import Realization

STAGES = ("train", "improve", "retrain")
"""Who leaves a `listened`, in the order in which a run comes by them."""

MIN_WORD_S = 0.06
"""The narrowest that a lost word is drawn."""


@dataclass(frozen=True, slots=True)
class Source:
    """One model's answers to dev: of a run's stage, and there of one arm ("" where there is one only)."""

    run: str
    stage: str
    arm: str
    is_accepted: bool
    finished: str

    @property
    def title(self) -> str:
        """Name it in a line."""
        return f"{self.run} · {self.stage}" + (f", {self.arm}" if self.arm else "")


@dataclass(frozen=True, slots=True)
class Opened:
    """A source, opened: its answers, what was promised, the suspected references, and what gains came to."""

    source: Source
    data: Explored
    scope: Scope
    suspected: pd.DataFrame
    realization: Realization
    dataset_version: str
    is_cross_fitted: bool


class Word(NamedTuple):
    """A word on the time line of a clip: what to write, what it is (equal, sub, del, ins), and when."""

    words: str
    kind: str
    start: float
    end: float
    title: str


def sources(run: str = "") -> list[Source]:
    """List all that can be opened, of one run or of all, in the order in which they were made."""
    folders = sorted((storage.data_folder() / "runs").glob(f"{run or '*'}/"))
    found = [source for folder in folders for stage in STAGES for source in _sources_of(folder.name, stage)]
    return sorted(found, key=lambda source: source.finished)


def _sources_of(run: str, stage: str) -> list[Source]:
    record = storage.read_record(run, stage)
    if record is None or "listened.parquet" not in record.content["outputs"]:
        return []
    finished = str(record.content["finished"])
    if stage == "train":
        return [Source(run, stage, "", True, finished)]
    try:
        arms = pd.read_parquet(record.path("listened.parquet"), columns=["arm", "is_accepted"]).drop_duplicates()
    except (OSError, ValueError, KeyError):
        return []  # a table without an answer has no arms, and of one that is lost or torn nobody can tell
    return [Source(run, stage, str(arm), bool(kept), finished) for arm, kept in arms.itertuples(index=False)]


def latest(run: str = "") -> Source:
    """Give the model that was accepted last, of a run or of the run that is newest.

    Raises: StageError when there is no run whose model has listened to dev.
    """
    found = [source for source in sources(run) if source.is_accepted]
    if not found:
        named = f"run {run}" if run else "any run"
        raise StageError(f"no model of {named} has listened to dev yet; do `workbench run --to analyze"
                         f"{f' --run {run}' if run else ''}` first, then load this page again")
    newest = found[-1].run
    return max((s for s in found if s.run == newest), key=lambda s: STAGES.index(s.stage))


def read(source: Source) -> Opened:
    """Open a source. Raises: StageError when its run does not hold what belongs to it any more."""
    record, promised = storage.read_record(source.run, source.stage), storage.read_record(source.run, "scope")
    if record is None or promised is None:
        raise StageError(f"run {source.run} has lost its {'scope' if record else source.stage}; "
                         f"do `workbench run --to analyze --run {source.run}`")
    listened = record.table("listened")
    if source.arm:
        listened = listened[listened["arm"] == source.arm].drop(columns=["arm", "is_accepted"])
    listened, scope = listened.reset_index(drop=True), gates.read(promised.json("promises"))
    analyzed = storage.read_record(source.run, "analyze")
    scores, edits, suspected = _scored(listened, [record.content["outputs"]["listened.parquet"], source.arm])
    data = exploring.explored(scores, edits, weights=scope.weights(scores),
                              expressions=analyzed.parameters.get("slices", {}) if analyzed else {})
    return Opened(source, data, scope, suspected, track_record.realization(),
                  str(record.content["versions"].get("dataset", "")), bool((listened["split"] == "train").all()))


def _scored(listened: pd.DataFrame, made_from: list[str]) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Score, align and suspect once: at 100,000 utterances that takes longer than a visitor waits."""
    modules = (exploring, finding, scoring, slicing, suspects, text)
    code = [storage.hash_file(Path(str(module.__file__))) for module in modules]
    folder = storage.cache_folder("explored") / storage.hash_value([made_from, code])[:16]
    scores, edits, suspected = paths = [folder / f"{name}.parquet" for name in ("scores", "edits", "suspected")]
    if not all(path.is_file() for path in paths):
        for path, table in zip(paths, (*exploring.scored(listened), suspects.suspected_references(listened)),
                               strict=True):
            storage.write_table(path, table)
    return pd.read_parquet(scores), pd.read_parquet(edits), pd.read_parquet(suspected)


def samples(row: Mapping[Any, Any]) -> audio.Samples:
    """Read an utterance's clip, wherever the project lies now.

    Raises: AudioError when it is gone; StoreError when the team's store does not give it.
    """
    path, sha = str(row["audio_path"]), str(row.get("audio_sha", ""))
    place = f"{shared_datasets.CLIPS}/{sha[:2]}/{sha}.wav"
    kept = storage.data_folder() / place
    if sha and not kept.is_file() and not remote.is_url(path) and not Path(path).is_file():
        shared_datasets.fetch_clips([place])  # of a colleague's run, whose tables alone came here
    return audio.read(kept if sha and kept.is_file() else path)


def timed_words(row: Mapping[Any, Any]) -> list[Word]:
    """Lay the difference of reference and hypothesis along the clip; nothing where no times are known.

    A lost word has no time of its own: it stands in the gap where it should have been.
    """
    known = str(row.get("word_times") or "")
    times = [(float(start), float(end)) for _, start, end in json.loads(known)] if known else []
    edits = scoring.align(str(row["reference"]), str(row["hypothesis"]))
    if len(times) != sum(edit.kind != "del" for edit in edits):
        return []
    found, upcoming, now = [], iter([*times, None]), 0.0
    following = next(upcoming)
    for edit in edits:
        if edit.kind == "del":
            end = max(following[0] if following else now, now + MIN_WORD_S)
            found.append(Word(f"({edit.reference_word})", "del", now, end, f"{edit.reference_word} was lost"))
            continue
        assert following is not None
        start, now = following
        words, title = {
            "equal": (edit.hypothesis_word, edit.hypothesis_word),
            "sub": (f"{edit.reference_word} → {edit.hypothesis_word}",
                    f"{edit.reference_word} was heard as {edit.hypothesis_word}"),
        }.get(edit.kind, (f"+ {edit.hypothesis_word}", f"{edit.hypothesis_word} was not said"))
        found.append(Word(words, edit.kind, start, now, title))
        following = next(upcoming)
    return found


def request_for(opened: Opened, where: Mapping[str, str], n: int, *, by: str, reason: str) -> Request:
    """Ask people for recordings like those that were picked; the next run of improve reads it."""
    return data_requests.ask_for(opened.source.run, where, n, by=by, reason=reason,
                                 dataset_version=opened.dataset_version)
