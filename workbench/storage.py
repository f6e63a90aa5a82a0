"""Where stages leave what they found: whole files, content hashes, and one `record.json` a stage, written last.

Files are written under a temporary name and renamed, whole or not at all; a stage without a record did not happen.
"""

import errno
import hashlib
import importlib.metadata
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench import settings
from workbench.errors import SettingsError, StageError, StageWaits
from workbench.records import Decision, Interval

if TYPE_CHECKING:
    import pandas as pd  # half a second, which an unchanged run does not need

FIXED = "{stage}.fixed.json"
"""Beside a stage's folder, which is emptied: what a rerun must find as it was."""
RECORD = "record.json"
VERSIONS_OF = ("voice-search-workbench", "torch", "torchaudio", "openai-whisper", "pandas", "jiwer")


@contextmanager
def replacing(path: Path, *, mode: int = 0o644) -> Iterator[Path]:
    """Give a temporary name to write to; on success it becomes `path`, on failure it is gone.

    What is no file, such as /dev/null or /dev/stdout, is written to as it is.
    Raises: SettingsError when the folder cannot be written to or the disk is full.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        yield path
        return
    with explaining(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            temporary.chmod(mode)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def explaining(path: Path) -> Iterator[None]:
    """Turn a full disk or a folder that cannot be written to, met while making `path`, into a SettingsError."""
    try:
        yield
    except OSError as error:
        raise _storage_error(path, error) from error


def _storage_error(path: Path, error: OSError) -> Exception:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return SettingsError(f"the disk is full: {path} could not be written; free some space and run the same command")
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.EEXIST):
        return SettingsError(f"{path.parent} cannot be written to ({error.strerror}); make it writable and run again")
    return error


def write_text(path: Path, text: str) -> Path:
    """Write a text file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def write_json(path: Path, value: Any) -> Path:
    """Write JSON whole or not at all; records with `as_dict` and paths are understood."""
    return write_text(path, json.dumps(value, indent=1, default=_plain, ensure_ascii=False) + "\n")


def _plain(value: Any) -> Any:
    for method in ("as_dict", "item", "tolist"):
        if hasattr(value, method):
            return getattr(value, method)()
    return str(value)


def write_table(path: Path, table: "pd.DataFrame") -> Path:
    """Write a table as Parquet whole or not at all."""
    with replacing(path) as temporary:
        table.to_parquet(temporary, index=False)
    return path


def hash_bytes(*parts: bytes) -> str:
    """Hash parts, each kept apart from the next. Returns: 64 hex digits of SHA-256."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def hash_value(value: Any) -> str:
    """Hash anything that JSON can write; the order of keys does not matter."""
    return hash_bytes(json.dumps(value, sort_keys=True, default=_plain).encode())


def hash_file(path: Path) -> str:
    """Hash a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_table(table: "pd.DataFrame") -> str:
    """Hash a table's columns and values, whatever library version wrote it."""
    with tempfile.TemporaryFile() as file:  # the text of a million rows would fill the memory
        table.to_csv(file, index=False, float_format="%.6g")
        n_bytes = file.tell().to_bytes(8, "big")
        file.seek(0)
        return hashlib.file_digest(file, lambda: hashlib.sha256(n_bytes)).hexdigest()  # as `hash_bytes` does


def data_folder() -> Path:
    """Give `data/` of the project."""
    return settings.root() / "data"


def cache_folder(kind: str) -> Path:
    """Give the folder of what can be made again: `fits`, `decodes`."""
    return data_folder() / "cache" / kind


def run_folder(run: str) -> Path:
    """Give a run's folder."""
    return data_folder() / "runs" / run


def stage_folder_name(stage: str) -> str:
    """Give a stage's numbered name, as its notebook has it: `04_analyze`. Raises: StageError for an unknown stage."""
    found = sorted((settings.root() / "notebooks").glob(f"[0-9][0-9]_{stage}.ipynb"))
    if not found:
        raise StageError(f"no notebook notebooks/NN_{stage}.ipynb; a stage is named after its notebook")
    return found[0].stem


@dataclass(frozen=True, slots=True)
class StageRecord:
    """What a finished stage left: `record.json` and the files beside it."""

    stage: str
    run: str
    folder: Path
    content: Mapping[str, Any]

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The values the notebook ran with."""
        return dict(self.content["parameters"])

    @property
    def decision(self) -> Decision:
        """What the stage concluded."""
        return Decision(**self.content["decision"])

    @property
    def metrics(self) -> dict[str, Interval]:
        """Each metric with its interval; a plain number has low = high = value."""
        return {name: Interval(**fields) for name, fields in self.content["metrics"].items()}

    def path(self, name: str) -> Path:
        """Give an output's path. Raises: StageError when the stage left no such file."""
        if name not in self.content["outputs"]:
            raise StageError(f"{self.stage} of {self.run} gives no {name}, but {', '.join(self.content['outputs'])}")
        return self.folder / name

    def table(self, name: str) -> "pd.DataFrame":
        """Read an output table. Raises: StageError when there is none, or it is damaged."""
        import pandas as pd

        return self._read(self.path(f"{name}.parquet"), pd.read_parquet)

    def json(self, name: str) -> Any:
        """Read an output JSON file. Raises: StageError when there is none, or it is damaged."""
        return self._read(self.path(f"{name}.json"), lambda path: json.loads(path.read_text(encoding="utf-8")))

    def _read(self, path: Path, read: Callable[[Path], Any]) -> Any:
        try:
            return read(path)
        except (OSError, ValueError) as error:  # what pyarrow and json raise are ValueErrors
            raise StageError(f"{path} is lost or damaged ({str(error).splitlines()[0]}); make it again: "
                             f"workbench run {self.stage} --run {self.run} --force") from error


def read_record(run: str, stage: str) -> StageRecord | None:
    """Read a stage's record, or None when it did not happen (or its record is damaged)."""
    folder = run_folder(run) / stage_folder_name(stage)
    try:
        return StageRecord(stage, run, folder, json.loads((folder / RECORD).read_text(encoding="utf-8")))
    except (FileNotFoundError, json.JSONDecodeError):
        return None


@dataclass(slots=True)
class Stage:
    """A stage while its notebook runs: it reads earlier stages, saves files, and closes with what it found."""

    name: str
    run: str
    folder: Path
    started_s: float = field(default_factory=time.monotonic)
    outputs: dict[str, str] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)

    def input(self, stage: str, *files: str) -> StageRecord:
        """Read an earlier stage of this run; a notebook run by hand falls back on the latest run that has it.

        With `files`, only those can be read, and this stage is out of date only when one of them changes.
        Raises: StageError when no run has it.
        """
        record = read_record(self.run, stage)
        if record is None and self.run == settings.lab_run():
            records = list((data_folder() / "runs").glob(f"*/{stage_folder_name(stage)}/{RECORD}"))
            latest = max(records, key=lambda path: path.stat().st_mtime, default=None)
            record = read_record(latest.parents[1].name, stage) if latest else None
        if record is None:
            raise StageError(f"{self.name} needs {stage}, which has not finished in run {self.run}; "
                             f"do `workbench run --to {stage} --run {self.run}` first")
        left = {name: sha for name, sha in record.content["outputs"].items() if not files or name in files}
        self.inputs[stage] = hash_value(left)
        return replace(record, content={**record.content, "outputs": left})

    def file(self, name: str) -> Path:
        """Give the path of an output to write; `keep` it afterwards."""
        return self.folder / name

    def keep(self, path: Path) -> Path:
        """Note a file in the stage's folder as an output."""
        self.outputs[path.name] = hash_file(path)
        return path

    def save_table(self, name: str, table: "pd.DataFrame") -> Path:
        """Save a table as `<name>.parquet`."""
        return self.keep(write_table(self.file(f"{name}.parquet"), table))

    def save_json(self, name: str, value: Any) -> Path:
        """Save a value as `<name>.json`."""
        return self.keep(write_json(self.file(f"{name}.json"), value))

    def fixed(self, name: str, value: Any) -> Any:
        """Give a value as it was when this run first asked, so that a rerun sees the same; `--force` takes it anew."""
        path = run_folder(self.run) / FIXED.format(stage=self.folder.name)
        known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        if name not in known:
            write_json(path, known | {name: value})
        return known.get(name, value)

    def wait(self, decision: Decision) -> None:
        """Close here, since people are asked for something. Raises: StageWaits, which ends the notebook."""
        self.close(parameters={}, metrics={}, decision=decision)
        raise StageWaits(decision.sentence)

    def save_model(self, checkpoint: Path) -> Path:
        """Save a checkpoint as `model.pt`, and make it the run's model."""
        for target in (self.file("model.pt"), run_folder(self.run) / "model.pt"):
            with replacing(target) as temporary:
                shutil.copyfile(checkpoint, temporary)
        return self.keep(self.file("model.pt"))

    def close(self, *, parameters: Mapping[str, Any], metrics: Mapping[str, Interval | float],
              decision: Decision, versions: Mapping[str, str] | None = None) -> None:
        """Write the record: the stage has happened. `versions` adds names of data, recipe or weights it stood on."""
        plain = {name: m if isinstance(m, Interval) else Interval(m, m, m) for name, m in metrics.items()}
        write_json(self.folder / RECORD, {
            "stage": self.name, "run": self.run,
            "fingerprint": settings.Settings().fingerprint,
            "parameters": dict(parameters), "inputs": self.inputs, "outputs": self.outputs,
            "metrics": {name: m.as_dict() for name, m in plain.items()},
            "decision": {"outcome": decision.outcome, "sentence": decision.sentence},
            "versions": {**{name: _version(name) for name in VERSIONS_OF}, **(versions or {})},
            "wall_time_s": round(time.monotonic() - self.started_s, 2), "finished": time.strftime("%Y-%m-%d %H:%M:%S")})


def _version(package: str) -> str:
    with suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
    return "absent"


def open_stage(name: str, run: str = "") -> Stage:
    """Begin a stage with an empty folder. No run named means the notebook was opened by hand: run `lab-<user>`."""
    run = run or settings.lab_run()
    folder = run_folder(run) / stage_folder_name(name)
    with explaining(folder / RECORD):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    return Stage(name, run, folder)
