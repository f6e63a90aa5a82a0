"""Runs in the team's store: whose a name is, a run's stages and reports mirrored, and other people's runs brought here.

A stage counts in the store when its record is there, which is written last and taken away first. A run belongs to the
project that first published or began it; elsewhere there are only copies, which are never run.
"""

import getpass
import json
import socket
import uuid
from collections.abc import Mapping
from pathlib import Path

from workbench import settings, shared_datasets, shared_store, storage
from workbench.errors import StoreError
from workbench.shared_store import SharedStore

OWNER = "owner.json"
FAILURE, INDEX = "failure.json", "index.html"
STAGES = "[0-9][0-9]_*"
MODELS = ".pt"


def reports_folder(run: str) -> Path:
    """Give where a run's reports lie."""
    return settings.root() / "reports" / run


def reports_url(store_url: str, run: str) -> str:
    """Give where a run's reports lie in the team's store."""
    return f"{store_url.rstrip('/')}/reports/{run}/{INDEX}"


def project_id() -> str:
    """Name this project folder, wherever it is mounted and whatever its machine is called; made once."""
    path = storage.data_folder() / "project.id"
    if not path.is_file():
        storage.write_text(path, f"{uuid.uuid4().hex}\n")
    return path.read_text(encoding="utf-8").strip()


def claim(run: str) -> None:
    """Make a run's name this project's in the store; without a store all names are.

    Raises: StoreError when it is another project's, there or by the copy of it that lies here.
    """
    store = shared_store.opened()
    if store is None:
        return
    path = storage.run_folder(run) / OWNER
    _check_owner(store, run)
    if store.read(path) is None:
        _write_owner(path)
        store.put([path])


def _write_owner(path: Path) -> None:
    owner = {"project": project_id(), "by": getpass.getuser(), "at": f"{socket.gethostname()}:{settings.root()}"}
    storage.write_json(path, owner)


def _check_owner(store: SharedStore, run: str) -> None:
    path = storage.run_folder(run) / OWNER
    there, here = store.read(path), path.read_bytes() if path.is_file() else None
    for found in filter(None, (there, here)):
        owner = json.loads(found)
        if owner["project"] != project_id():
            raise StoreError(f"run {run} belongs to {owner['by']} at {owner['at']}; use another --run NAME, or make it "
                             f"yours: delete {store.url}/data/runs/{run}/{OWNER} and {path}")


def is_ours(run: str) -> bool:
    """Whether a run that lies here was made here; a copy may be brought up to date."""
    path = storage.run_folder(run) / OWNER
    if not path.is_file():
        return bool(shared_store.files_in(path.parent))  # nothing at all is what a copy that broke off left
    return bool(json.loads(path.read_text(encoding="utf-8"))["project"] == project_id())


# --- up --------------------------------------------------------------------------------------------------------------


def publish(run: str) -> str:
    """Mirror a run's finished stages, its model and its reports; what is there already is left alone.

    Returns: where its reports lie, "" without a store.
    Raises: StoreError when the store does not take it; what is finished here stays finished.
    """
    store = shared_store.opened()
    if store is None:
        return ""
    store.check_root()  # it may have gone since this process opened it
    claim(run)
    folder = storage.run_folder(run)
    here = {path.parent: path.read_bytes() for path in sorted(folder.glob(f"{STAGES}/{storage.RECORD}"))}
    there = _records_there(store, run)
    store.delete([place / storage.RECORD for place in there if place not in here])
    changed = [place for place, record in here.items() if there.get(place) != record]
    if changed:  # the run's own files first: were this cut off, the stages would still tell that they have to come
        store.put([path for path in shared_store.files_in(folder) if path.parent == folder and path.name != OWNER])
    for place in changed:
        _publish_dataset(place)
        store.push(place, storage.RECORD)
    store.put([path for path in sorted(folder.glob(f"{STAGES}/{FAILURE}")) if path.parent not in here])
    store.push(reports_folder(run), INDEX)
    return reports_url(store.url, run)


def _publish_dataset(place: Path) -> None:
    version = json.loads((place / storage.RECORD).read_text(encoding="utf-8")).get("versions", {}).get("dataset", "")
    if version:
        shared_datasets.publish(storage.data_folder() / "datasets" / version)


def _records_there(store: SharedStore, run: str) -> dict[Path, bytes]:
    """Read a run's records in the store, by the folder of the stage."""
    records = store.read_all([path for path in store.sizes(storage.run_folder(run)) if path.name == storage.RECORD])
    return {path.parent: content for path, content in records.items()}


# --- down ------------------------------------------------------------------------------------------------------------


def bring(run: str, *, has_model: bool = False) -> bool:
    """Bring another project's run here, or up to date: its stages without their models, and the run's if asked for.

    Returns: whether the store has such a run that is not ours.
    Raises: StoreError when it does not come whole.
    """
    store, folder = shared_store.opened(), storage.run_folder(run)
    if store is None or not run or "/" in run or (folder.is_dir() and is_ours(run)):
        return False
    there, owner = store.sizes(folder), store.read(folder / OWNER)
    if owner is None:
        return False
    storage.write_text(folder / OWNER, owner.decode())  # first: a run without an owner would be ours
    records = store.read_all([path for path in there if path.name == storage.RECORD])
    for record, content in records.items():
        _bring_stage(store, record, content, {p for p in there if record.parent in p.parents and p.suffix != MODELS})
    model = folder / "model.pt"
    if has_model and model in there and (not model.is_file() or _is_older(model, records)):
        store.get({model: model})
    return bool(records)


def bring_all() -> list[str]:
    """Bring all runs of other projects here, without their models. Returns: their names.

    Raises: StoreError, the first one, when all that can be brought are here.
    """
    brought, problems = list[str](), list[StoreError]()
    for run in names():
        try:
            brought += [run] if bring(run) else []
        except StoreError as error:
            problems.append(error)
    if problems:
        raise problems[0]
    return brought


def _bring_stage(store: SharedStore, record: Path, content: bytes, wanted: set[Path]) -> None:
    """Bring one stage: where its record is another than there, it does not count until all of it is new."""
    is_same = record.is_file() and record.read_bytes() == content
    if not is_same:
        record.unlink(missing_ok=True)
    store.get({path: path for path in wanted - {record} if not (is_same and path.is_file())})
    if store.read(record) != content:
        raise StoreError(f"{store.url} gets a new {record.parent.name} of run {record.parent.parent.name} right now; "
                         "try again in a minute")
    if not is_same:
        storage.write_text(record, content.decode())


def _is_older(model: Path, records: Mapping[Path, bytes]) -> bool:
    """Whether a run's model came here before one of its stages did."""
    return any(model.stat().st_mtime < record.stat().st_mtime for record in records)


def names() -> list[str]:
    """Name the runs in the store that are not here as ours; none without a store."""
    store = shared_store.opened()
    if store is None:
        return []
    parent = storage.run_folder("x").parent
    there = {path.relative_to(parent).parts[0] for path in store.sizes(parent) if path.name == storage.RECORD}
    return sorted(run for run in there if not storage.run_folder(run).is_dir() or not is_ours(run))
