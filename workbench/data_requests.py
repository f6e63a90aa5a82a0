"""Data requests: what analyze asks for, who brings it, and what came of it.

A request is a file that is never altered; its fulfilment is a second file beside it. In the demo world the recordings
come by themselves; on real data people record, and `workbench fulfil` brings their manifest.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from workbench import corpora, datasets, storage, synthesis
from workbench.datasets import Dataset
from workbench.errors import RequestError
from workbench.records import Decision, Interval

Method = Literal["collect", "augment"]


@dataclass(frozen=True, slots=True)
class Request:
    """So many utterances of a slice, why, and what they should bring (WER as a fraction of all use)."""

    request_id: str
    run: str
    column: str
    value: str
    n_utterances: int
    method: Method
    expected_gain: Mapping[str, Any]
    reason: str
    dataset_version: str

    @property
    def title(self) -> str:
        """Say it in a line."""
        return f"{self.n_utterances} utterances with {self.column} = {self.value}"

    @property
    def gain(self) -> Interval:
        """Give the expected gain with its interval."""
        return Interval(**self.expected_gain)


def folder(run: str) -> Path:
    """Give where a run's requests lie."""
    return storage.data_folder() / "requests" / run


def ask(run: str, opportunity: Mapping[str, Any], *, dataset_version: str) -> Request:
    """Turn the first line of an opportunity table into a request; the same need is asked for once."""
    gain = Interval(float(opportunity["gain"]), float(opportunity["gain_low"]), float(opportunity["gain_high"]))
    need = [run, opportunity["column"], str(opportunity["value"]), int(opportunity["n_clips"]), dataset_version]
    request = Request(
        request_id=f"{run}-{storage.hash_value(need)[:6]}",
        run=run,
        column=str(opportunity["column"]),
        value=str(opportunity["value"]),
        n_utterances=int(opportunity["n_clips"]),
        method="augment" if opportunity["method"] == "augment" else "collect",
        expected_gain=gain.as_dict(),
        reason=str(opportunity["advice"]),
        dataset_version=dataset_version,
    )
    path = folder(run) / f"{request.request_id}.json"
    if not path.is_file():
        storage.write_json(path, asdict(request))
    return request


def find(request_id: str) -> Request:
    """Read a request by its id. Raises: RequestError when there is none."""
    paths = list((storage.data_folder() / "requests").glob(f"*/{request_id}.json"))
    if not paths:
        known = ", ".join(r.request_id for r in every()) or "none"
        raise RequestError(f"no data request {request_id!r}; there are: {known}")
    return Request(**json.loads(paths[0].read_text(encoding="utf-8")))


def every(run: str = "*") -> list[Request]:
    """Read all requests, of one run or of all."""
    paths = sorted((storage.data_folder() / "requests").glob(f"{run}/*.json"))
    return [Request(**json.loads(path.read_text(encoding="utf-8"))) for path in paths if ".fulfilled" not in path.name]


def fulfilment(request: Request) -> dict[str, Any] | None:
    """Say what people brought for a request, or None while it waits."""
    path = folder(request.run) / f"{request.request_id}.fulfilled.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def record_list(request: Request, texts: pd.Series) -> Path:
    """Write the list that people record from: prompts, and the columns that the manifest must bring back."""
    prompts = texts[texts.ne("")].drop_duplicates().sample(frac=1, random_state=0).head(request.n_utterances)
    table = pd.DataFrame(
        {
            "audio_path": [f"{request.request_id}-{i:04d}.wav" for i in range(len(prompts))],
            "text": prompts.to_numpy(),
            "speaker": "",
            request.column: request.value,
        }
    )
    path = folder(request.run) / f"{request.request_id}.record_list.csv"
    storage.write_text(path, table.to_csv(index=False))
    return path


def fulfil(request_id: str, manifest: Path) -> int:
    """Take the recordings that people made for a request, after the checks of any manifest.

    Returns: the number of utterances taken.
    Raises: RequestError for an unknown request; ManifestError when the manifest does not pass.
    """
    request = find(request_id)
    collection = corpora.read_rows([str(manifest.resolve())])
    brought = {"manifest": str(manifest.resolve()), "sha256": storage.hash_file(manifest), "n": len(collection)}
    storage.write_json(folder(request.run) / f"{request.request_id}.fulfilled.json", brought)
    return len(collection)


def bring(request: Request, speech: Dataset, *, size: str, seed: int) -> Dataset | None:
    """Give the dataset version that holds what was asked for, or None while people still have to record it.

    A demo dataset is answered by the demo world with new recordings of training speakers.
    """
    brought = fulfilment(request)
    if brought is not None:
        rows = corpora.read_rows([brought["manifest"]])
        rows = rows.assign(utterance_id=request.request_id + "-" + rows["utterance_id"])
        rows = rows if request.column in rows else rows.assign(**{request.column: request.value})
    elif set(speech.table["source"]) == {"demo"}:
        rows = synthesis.collect_more(
            seed=seed, size=size, where={request.column: request.value}, n=request.n_utterances, round_seed=seed + 1
        )
    else:
        return None
    return datasets.extend(speech, rows, note=request.title)


def wait_for(request: Request, texts: pd.Series) -> Decision:
    """Leave the list that people record from, and say what is waited for."""
    prompts = record_list(request, texts)
    return Decision(
        "waiting",
        f"Waiting for {request.title}. Record what {prompts.relative_to(storage.data_folder().parent)} "
        f"lists, then: workbench fulfil {request.request_id} --manifest FILE, and run again.",
    )
