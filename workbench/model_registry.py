"""Released models: registered versions and who is champion, challenger and previous, in MLflow; files beside it.

A version's files lie whole (`model_files`) before MLflow knows of it, and its folder is named by what it holds: a
registration that was cut off is completed by the next one. Nothing here judges a model or serves it.
"""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

from workbench import model_files, registry, settings, storage
from workbench.errors import CheckpointError, OvertakenError, ParameterError, RegistryError, WorkbenchError
from workbench.model_files import FACTS as FACTS  # what callers look for beside a model
from workbench.model_files import folder as folder
from workbench.records import Interval

Mode = Literal["shadow", "canary"]

ALIASES = ("champion", "challenger", "previous")
BASIS = "basis"
LINEUP = "challenger"
"""The registered model's tag that says how the challenger answers: version, mode and share, changed in one write."""


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A released model: its folder holds model.pt, facts.json; engine/, basis/ and card.md where they were given."""

    version: str
    folder: Path
    aliases: tuple[str, ...]
    tags: Mapping[str, str]

    @property
    def facts(self) -> Mapping[str, Any]:
        """Read what was registered: run, stage, metrics (value, low, high), the checkpoint's hash."""
        return dict(json.loads((self.folder / FACTS).read_text(encoding="utf-8")))


def register(
    checkpoint: Path,
    engine_folder: Path | None,
    *,
    run: str,
    stage: str,
    metrics: Mapping[str, Interval | float],
    tags: Mapping[str, str],
    card: Path | None = None,
    basis: Path | None = None,
) -> ModelVersion:
    """Release a checkpoint; the same files of the same stage are the same version, which keeps the card it had first.

    Raises: CheckpointError without a checkpoint; RegistryError when the tracking store does not answer.
    """
    if not checkpoint.is_file():
        raise CheckpointError(f"no checkpoint at {checkpoint}; train one first")
    answering = {"model.pt": checkpoint}
    for name, given in {"engine": engine_folder, BASIS: basis}.items():
        answering |= {f"{name}/{path.name}": path for path in sorted(given.iterdir())} if given else {}
    files = answering | ({"card.md": card} if card else {})
    shas = {name: storage.hash_file(path) for name, path in files.items()}
    named = f"{run}-{stage}-{storage.hash_value([run, stage, {name: shas[name] for name in answering}])[:12]}"
    plain = {name: m.as_dict() if isinstance(m, Interval) else m for name, m in metrics.items()}
    known = {"run": run, "stage": stage, "checkpoint": shas["model.pt"], "files": shas, "metrics": plain,
             "registered": time.strftime("%Y-%m-%d %H:%M:%S")}
    with model_files.held():
        model_files.copy(files, folder() / named, known)
    model_files.publish(folder() / named)
    with _held(), _asking() as client:
        return _register(client, named, {**tags, "folder": named, "run": run, "stage": stage})


def versions() -> list[ModelVersion]:
    """List every released model, the oldest first. Raises: RegistryError when the tracking store does not answer."""
    with _asking() as client:
        return _versions(client)


def resolve(name: str) -> ModelVersion:
    """Find a version by its number or by champion, challenger or previous.

    Raises: RegistryError, which names what there is, or the file that is missing.
    """
    with _asking() as client:
        return _resolve(client, name)


def alias_state() -> dict[str, Any]:
    """Tell who should answer, cheaply enough to ask every second.

    Returns: champion, challenger, previous (versions, "" where there is none), challenger_mode ("" without one), share.
    Raises: RegistryError when the tracking store does not answer.
    """
    with _asking() as client:
        return _state(client)


def reigns(*versions: str) -> bool:
    """Whether one of these is the champion. Raises: RegistryError when the tracking store does not answer."""
    return alias_state()["champion"] in versions


def promote(version: str, *, by: str, over: str | None = None) -> ModelVersion:
    """Make a version the champion; who was champion becomes previous, and nobody is challenger.

    `over` is the champion ("" for none) that it was judged against: with another one, nothing changes. A champion that
    answers with the same files was registered anew: it is nothing to go back to.
    Raises: RegistryError for a version that does not exist or whose files are missing; OvertakenError when `over` no
        longer reigns.
    """
    resolve(version)  # its files may have to come from afar, which nobody should wait for
    with _held(), _asking() as client:
        chosen, state = _resolve(client, version), _state(client)
        if over is not None and state["champion"] not in (over, chosen.version):
            raise OvertakenError(f"version {chosen.version} was judged against {over or 'no champion'}, but by now "
                                 f"{state['champion'] or 'nobody'} is the champion; judge it again with --force")
        reigning = [v for v in _versions(client) if v.version == state["champion"] != chosen.version]
        if reigning and _answering(reigning[0]) != _answering(chosen):
            _point(client, "previous", state["champion"])
        _point(client, "champion", chosen.version)  # the moment that counts: before it all is as it was
        _clear_challenger(client)
        _note(client, chosen.version, "promoted", by)
        return _resolve(client, chosen.version)


def rollback(*, by: str) -> ModelVersion:
    """Make the previous champion champion again; the one that is left becomes previous, so that it can be undone.

    Raises: RegistryError when there is nothing to go back to.
    """
    with _held(), _asking() as client:
        state = _state(client)
        if state["previous"] in ("", state["champion"]):
            raise RegistryError("there is no previous champion to go back to; promote a version by its number "
                                f"({_there_is(client)})")
        chosen = _resolve(client, "previous")
        _point(client, "champion", chosen.version)
        _point(client, "previous", state["champion"])
        if state["challenger"] == chosen.version:
            _clear_challenger(client)
        _note(client, state["champion"], "rolled_back", by)
        return _resolve(client, chosen.version)


def rolled_back_by(version: str) -> str:
    """Tell who rolled back a version, or its weights under another number, and nobody promoted them since; or "".

    Raises: RegistryError for a version that does not exist or whose files are missing.
    """
    with _asking() as client:
        weights = _answering(_resolve(client, version))["model.pt"]
        same = [v for v in _versions(client) if _answering(v).get("model.pt") == weights]
    told = [(v.tags.get("promoted_at", ""), "") for v in same]
    told += [(v.tags.get("rolled_back_at", ""), v.tags.get("rolled_back_by", "")) for v in same]
    return "" if any("champion" in v.aliases for v in same) else max(told)[1]


def set_challenger(version: str, mode: Mode = "shadow", share: float = 0.0) -> ModelVersion:
    """Let a version answer beside the champion: unseen (shadow), or a share of users (canary).

    Raises: RegistryError for a version that does not exist or is champion; ParameterError for a mode or share that
        makes no sense.
    """
    if mode not in get_args(Mode) or not 0 <= share <= 1:
        raise ParameterError(f"challenger as {mode!r}, share {share}; wanted shadow or canary, and a share of 0 to 1")
    with _held(), _asking() as client:
        chosen = _resolve(client, version)
        if chosen.version == _state(client)["champion"]:
            raise RegistryError(f"version {chosen.version} is the champion; choose another ({_there_is(client)})")
        lineup = {"version": chosen.version, "mode": mode, "share": share if mode == "canary" else 0.0}
        client.set_registered_model_tag(registry.PROJECT, LINEUP, json.dumps(lineup))
        _point(client, "challenger", chosen.version)
        return _resolve(client, chosen.version)


def clear_challenger() -> None:
    """Let the champion answer alone."""
    with _held(), _asking() as client:
        _clear_challenger(client)


@contextmanager
def _held() -> Iterator[None]:
    """Hold the registry, so that two who change it do so one after the other, on all machines of a shared log."""
    with model_files.held():
        if not settings.Settings().query_log_url:
            yield
            return
        from workbench import log_database  # a third of a second, which a registry of one's own does not need

        with closing(log_database.Database(log_database.address())) as log, log.alone(log_database.REGISTRY_LOCK):
            yield


@contextmanager
def _asking() -> Iterator[Any]:
    """Give MLflow's client; whatever it, its database or the network raises is said in one sentence."""
    url = registry.tracking_url()
    try:
        yield _client(url)
    except WorkbenchError:
        raise
    except Exception as error:
        _client.cache_clear()
        reason = str(error).strip()[:200]
        raise RegistryError(f"the model registry at {registry.shown(url)} does not answer ({reason}); mend "
                            "WORKBENCH_TRACKING_URL or start the store, then ask again") from error


@lru_cache(maxsize=1)
def _client(url: str) -> Any:
    return registry.client(url)


def _register(client: Any, named: str, tags: Mapping[str, str]) -> ModelVersion:
    """Make a folder known to MLflow, or bring the tags up to date of the version that it is already."""
    if _registered(client) is None:
        with suppress(Exception):  # another machine may have been quicker; if not, what comes next says what is wrong
            client.create_registered_model(registry.PROJECT)
    found = [v for v in _versions(client) if v.folder.name == named]
    for key, value in tags.items() if found else ():
        client.set_model_version_tag(registry.PROJECT, found[0].version, key, value)
    if not found:
        # A store elsewhere cannot see our disk and need not: the source is a name, the folder lies under folder().
        client.create_model_version(registry.PROJECT, source=f"workbench://registry/{named}", tags=dict(tags))
    return next(v for v in _versions(client) if v.folder.name == named)


def _registered(client: Any) -> Any | None:
    try:
        return client.get_registered_model(registry.PROJECT)
    except Exception as error:  # MLflow's own kind cannot be named without importing it
        if getattr(error, "error_code", "") != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def _versions(client: Any) -> list[ModelVersion]:
    model = _registered(client)
    pointing = {} if model is None else dict(model.aliases)
    found = [] if model is None else client.search_model_versions(f"name='{registry.PROJECT}'", max_results=10_000)
    return [
        ModelVersion(
            str(v.version), folder() / v.tags.get("folder", Path(v.source).name),
            tuple(alias for alias in ALIASES if str(pointing.get(alias)) == str(v.version)), dict(v.tags),
        )
        for v in sorted(found, key=lambda v: int(v.version))
    ]


def _resolve(client: Any, name: str) -> ModelVersion:
    for found in _versions(client):
        if name == found.version or name in found.aliases:
            if not (found.folder / FACTS).is_file() and not model_files.fetch(found.folder):
                raise RegistryError(f"version {found.version} is registered, but {found.folder} is gone; register its "
                                    "checkpoint again, do `workbench publish` where it was made, or promote another")
            return found
    raise RegistryError(f"no model {name!r} in the registry; {_there_is(client)}")


def _answering(found: ModelVersion) -> dict[str, str]:
    """Give the hashes of the weights and the engine that a version answers with; {} where its files are not here."""
    files = found.facts["files"] if (found.folder / FACTS).is_file() else {}
    return {name: sha for name, sha in files.items() if name == "model.pt" or name.startswith("engine/")}


def _there_is(client: Any) -> str:
    told = [" ".join([v.version, *v.aliases]) for v in _versions(client)]
    return f"there is {', '.join(told)}" if told else "nothing is registered yet: `workbench run --to deploy`"


def _state(client: Any) -> dict[str, Any]:
    model = _registered(client)
    state: dict[str, Any] = {a: str(model.aliases.get(a, "")) if model else "" for a in ALIASES}
    if state["challenger"] == state["champion"]:
        state["challenger"] = ""  # a promotion that was killed before its last step
    lineup = json.loads(model.tags.get(LINEUP, "{}")) if model else {}
    is_told = bool(state["challenger"]) and lineup.get("version") == state["challenger"]
    state["challenger_mode"] = "" if not state["challenger"] else lineup["mode"] if is_told else "shadow"
    state["share"] = float(lineup["share"]) if is_told else 0.0
    return state


def _point(client: Any, alias: str, version: str) -> None:
    client.set_registered_model_alias(registry.PROJECT, alias, version)


def _clear_challenger(client: Any) -> None:
    if _registered(client) is not None:
        client.delete_registered_model_alias(registry.PROJECT, "challenger")


def _note(client: Any, version: str, what: str, by: str) -> None:
    client.set_model_version_tag(registry.PROJECT, version, f"{what}_by", by)
    client.set_model_version_tag(registry.PROJECT, version, f"{what}_at", time.strftime("%Y-%m-%d %H:%M:%S"))
