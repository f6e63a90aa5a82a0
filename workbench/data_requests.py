"""Data requests: what analyze, or people on its page, ask for, who brings it, and what came of it.

A request is a file that is never altered; its fulfilment is a second file beside it, what became of it a third. In the
demo world the recordings come by themselves; on real data people record, and `workbench fulfil` brings their manifest.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from workbench import corpora, datasets, slicing, storage, synthesis
from workbench.corpora import Checked
from workbench.datasets import Dataset
from workbench.errors import ManifestError, RequestError, SynthesisError
from workbench.records import Decision, Interval

Method = Literal["collect", "augment"]
FULFILLED, ANSWERED = ".fulfilled.json", ".answered.json"
"""What people brought, which improve depends on; and what improve made of a request, which nothing depends on."""

MAX_ASKED = 20_000
"""Utterances that one request of a person may ask for: more than twice what `full` asks for; above, it is a slip."""
FROM_WORDS = {"intent", "entity_type", "duration_band"}
"""Columns that follow from what is said, not from who says it and where: prompts must be chosen for them."""

JUDGES = ("none of {} recordings can be learned from: their speakers judge, for ever, by salted hash; bring some of "
          "other speakers")
UNKNOWN_GAIN = Interval(float("nan"), float("nan"), float("nan"), "not estimated")


@dataclass(frozen=True, slots=True)
class Request:
    """So many utterances where columns have these values, why, and what they should bring (WER, fraction of all use).

    `by` is the person who asked, "" for the workbench itself, which alone knows a gain to expect.
    """

    request_id: str
    run: str
    where: Mapping[str, str]
    n_utterances: int
    method: Method
    expected_gain: Mapping[str, Any]
    reason: str
    dataset_version: str
    by: str = ""
    asked: str = ""
    closed_gap: Mapping[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Say it in a line."""
        conditions = " and ".join(f"{column} = {value}" for column, value in self.where.items())
        return f"{self.n_utterances:,} utterances with {conditions}"

    @property
    def gain(self) -> Interval:
        """Give the expected gain with its interval; nan where nobody estimated one."""
        return Interval(**self.expected_gain) if self.expected_gain else UNKNOWN_GAIN

    @property
    def ceiling(self) -> Interval:
        """Give what closing the whole gap would win; requests of old expected just that."""
        return Interval(**self.closed_gap) if self.closed_gap else self.gain


def folder(run: str) -> Path:
    """Give where a run's requests lie."""
    return storage.data_folder() / "requests" / run


def ask(run: str, opportunity: Mapping[str, Any], *, dataset_version: str) -> Request:
    """Turn the first line of an opportunity table into a request; the same need is asked for once."""
    ceiling, gain = (Interval(float(opportunity[name]), float(opportunity[f"{name}_low"]),
                              float(opportunity[f"{name}_high"])) for name in ("ceiling", "gain"))
    need = [run, opportunity["column"], str(opportunity["value"]), int(opportunity["n_clips"]), dataset_version]
    return _keep(Request(
        request_id=f"{run}-{storage.hash_value(need)[:6]}",
        run=run,
        where={str(opportunity["column"]): str(opportunity["value"])},
        n_utterances=int(opportunity["n_clips"]),
        method="augment" if opportunity["method"] == "augment" else "collect",
        expected_gain=gain.as_dict(),
        reason=str(opportunity["advice"]),
        dataset_version=dataset_version,
        closed_gap=ceiling.as_dict(),
    ))


def ask_for(run: str, where: Mapping[str, str], n: int, *, by: str, reason: str, dataset_version: str) -> Request:
    """Keep what a person asks for; the run's next improve answers it, and the same need is asked for once.

    Raises: RequestError when nobody's name is with it, the number is no sensible one, or the data has no such column.
    """
    if not by.strip():
        raise RequestError("nobody's name is with this request; type yours once at the top of the page")
    if not 1 <= n <= MAX_ASKED:
        raise RequestError(f"{n:,} utterances were asked for; ask for 1 to {MAX_ASKED:,}")
    known = slicing.slice_columns(slicing.bands(datasets.load(dataset_version, needs_audio=False).table))
    if not where or not set(where) <= set(known):
        raise RequestError(f"nobody can be asked for {dict(where) or 'everything'}; pick slices by {', '.join(known)}")
    need = [run, sorted(where.items()), n, dataset_version]
    return _keep(Request(
        request_id=f"{run}-{storage.hash_value(need)[:6]}", run=run, where=dict(where), n_utterances=n,
        method="collect", expected_gain={}, reason=reason.strip(), dataset_version=dataset_version, by=by.strip(),
        asked=time.strftime("%Y-%m-%d %H:%M:%S"),
    ))


def _keep(request: Request) -> Request:
    """Write a request, unless it is there already. Returns: what is there."""
    path = folder(request.run) / f"{request.request_id}.json"
    if path.is_file():
        return _read(path)
    storage.write_json(path, asdict(request))
    return request


def _read(path: Path) -> Request:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        if "column" in known:  # requests had one condition once
            known["where"] = {known.pop("column"): known.pop("value")}
        return Request(**known)
    except (ValueError, TypeError) as error:
        raise RequestError(f"{path} is damaged or of another version ({error}); move it away") from error


def find(request_id: str) -> Request:
    """Read a request by its id. Raises: RequestError when there is none."""
    found = [request for request in every() if request.request_id == request_id]
    if not found:
        known = ", ".join(r.request_id for r in every()) or "none"
        raise RequestError(f"no data request {request_id!r}; there are: {known}")
    return found[0]


def every(run: str = "*") -> list[Request]:
    """Read all requests, of one run or of all. Raises: RequestError for a file that is none."""
    paths = sorted((storage.data_folder() / "requests").glob("*/*.json"))
    return [_read(path) for path in paths
            if run in ("*", path.parent.name) and not path.name.endswith((FULFILLED, ANSWERED))]


def of_people(run: str) -> list[Request]:
    """Read what people asked for on the pages, the earliest first."""
    return sorted((r for r in every(run) if r.by), key=lambda r: (r.asked, r.request_id))


def fulfilment(request: Request) -> dict[str, Any] | None:
    """Say what people brought for a request, or None while it waits."""
    return _note(request, FULFILLED)


def state(request: Request) -> str:
    """Say in a few words what has become of a request."""
    brought, answered = _note(request, FULFILLED), _note(request, ANSWERED)
    if answered:
        arrived = "all are in the data already" if answered.get("n") == 0 else f"{answered.get('n')} are in the data"
        return f"refused: {answered['refused']}" if "refused" in answered else arrived
    return f"{brought['n']} brought" if brought else "open"


def is_waiting(request: Request) -> bool:
    """Say whether a request is open or only brought; what is in the data or was refused may be asked for again."""
    return _note(request, ANSWERED) is None


def listing(requests: Sequence[Request]) -> pd.DataFrame:
    """Lay requests out, a row each. Returns: request, asks_for, by, expected_gain (in words), state, why."""
    return pd.DataFrame([
        {"request": r.request_id, "asks_for": r.title, "by": r.by or "analyze",
         "expected_gain": r.gain.points() if r.expected_gain else r.gain.note, "state": state(r), "why": r.reason}
        for r in requests])


def _note(request: Request, ending: str) -> dict[str, Any] | None:
    path = folder(request.run) / f"{request.request_id}{ending}"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _write_note(request: Request, ending: str, content: Mapping[str, Any]) -> None:
    storage.write_json(folder(request.run) / f"{request.request_id}{ending}", content)


def record_list(request: Request, utterances: pd.DataFrame) -> Path:
    """Write the list that people record from: prompts, and the columns that the manifest must bring back.

    Prompts are what was said before; where the slice lies in the words (FROM_WORDS), what was said in the slice.
    """
    known, is_fit = slicing.bands(utterances), utterances["text"].ne("")
    for column in FROM_WORDS & set(request.where) & set(known):
        is_fit &= known[column].eq(request.where[column])
    prompts = utterances.loc[is_fit, "text"].drop_duplicates().sample(frac=1, random_state=0).head(request.n_utterances)
    table = pd.DataFrame(
        {
            "audio_path": [f"{request.request_id}-{i:04d}.wav" for i in range(len(prompts))],
            "text": prompts.to_numpy(),
            "speaker": "",
            **request.where,
        }
    )
    path = folder(request.run) / f"{request.request_id}.record_list.csv"
    storage.write_text(path, table.to_csv(index=False))
    return path


def fulfil(request_id: str, manifest: Path) -> tuple[Checked, int]:
    """Take the recordings that people made for a request, after the checks of any manifest.

    Returns: what was taken, and what was turned away; how many of them will be learned from.
    Raises: RequestError for an unknown request, or recordings that nothing could be learned from; ManifestError when
        the manifest does not pass.
    """
    request = find(request_id)
    taken = corpora.check(str(manifest.resolve()))
    n_taught = int(datasets.splits_of_new(datasets.load(request.dataset_version, needs_audio=False),
                                          taken.good).eq("train").sum())
    if not n_taught:
        raise RequestError(JUDGES.format(len(taken.good)))
    brought = {"manifest": str(manifest.resolve()), "content": _content(taken.good), "n": len(taken.good)}
    _write_note(request, FULFILLED, brought)
    return taken, n_taught


def _content(rows: pd.DataFrame) -> str:
    return storage.hash_table(rows[["audio_sha", "reference"]])


def bring(request: Request, speech: Dataset, *, size: str, seed: int, number: int = 0, world_seed: int = 0,
          ) -> Dataset | None:
    """Give the dataset version that holds what was asked for, or None: people still have to record it, or nobody can.

    Where all that people brought is in the data already, by another request or the manifest, that is noted, and None.
    A demo dataset is answered by the demo world of `world_seed`, collect's, with new recordings of training speakers,
    others for each `seed` and `number`; a slice that this world cannot record is noted, and None.
    Raises: RequestError when the manifest is no longer what was taken.
    """
    try:
        rows = _rows(request, speech, size, seed + 1 + number, world_seed)
    except SynthesisError as error:
        _write_note(request, ANSWERED, {"refused": str(error)})
        rows = None
    if rows is None:
        return None
    if "audio_sha" in rows and rows["audio_sha"].isin(speech.table["audio_sha"]).all():
        _write_note(request, ANSWERED, {"n": 0, "dataset": speech.version})
        return None
    grown = datasets.extend(speech, rows, note=request.title)
    if len(grown.train) == len(speech.train):
        _write_note(request, ANSWERED, {"refused": JUDGES.format(len(rows))})
        return None
    _write_note(request, ANSWERED, {"n": len(grown.table) - len(speech.table), "dataset": grown.version})
    return grown


def _rows(request: Request, speech: Dataset, size: str, round_seed: int, world_seed: int) -> pd.DataFrame | None:
    brought = fulfilment(request)
    if brought is not None:
        again = f"fulfil again: workbench fulfil {request.request_id} --manifest FILE"
        try:
            rows = corpora.read_rows([brought["manifest"]])
        except ManifestError as error:
            raise RequestError(f"what was changed since it was fulfilled cannot be used: {error}; {again}") from error
        if _content(rows) != brought.get("content", _content(rows)):  # which notes of earlier versions lack
            raise RequestError(f"{brought['manifest']} has changed since it was fulfilled; {again}")
        rows = rows.assign(utterance_id=request.request_id + "-" + rows["utterance_id"])
        return rows.assign(**{column: value for column, value in request.where.items() if column not in rows})
    if set(speech.table["source"]) != {"demo"}:
        return None
    return synthesis.collect_more(seed=world_seed, size=size, where=request.where, n=request.n_utterances,
                                  round_seed=round_seed)


def wait_for(request: Request, utterances: pd.DataFrame) -> Decision:
    """Leave the list that people record from, and say what is waited for."""
    prompts = record_list(request, utterances)
    return Decision(
        "waiting",
        f"Waiting for {request.title}. Record what {prompts.relative_to(storage.data_folder().parent)} "
        f"lists, then: workbench fulfil {request.request_id} --manifest FILE, and run again.",
    )
