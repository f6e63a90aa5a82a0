"""The files of released models: copied whole into folders named by what they hold, and shared through the team's store.

What a version is and who answers is `model_registry`'s.
"""

import fcntl
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from workbench import shared_store, storage
from workbench.errors import RegistryError

FACTS = "facts.json"


def folder() -> Path:
    """Give where the files of released models lie."""
    return storage.data_folder() / "models" / "registry"


@contextmanager
def held() -> Iterator[None]:
    """Hold the registry of this machine; a killed holder lets go."""
    path = folder() / ".lock"
    with storage.explaining(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def copy(files: Mapping[str, Path], target: Path, known: Mapping[str, Any]) -> None:
    """Copy a release's files, and write what is known of them; what is there whole already is left as it is."""
    for left_over in target.parent.glob(".copy-*"):  # from a registration that was killed: we hold the lock
        shutil.rmtree(left_over, ignore_errors=True)
    if _is_whole(target):
        return
    with storage.explaining(target):
        temporary = Path(tempfile.mkdtemp(prefix=".copy-", dir=target.parent))
        for name, path in files.items():
            (temporary / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(path, temporary / name)
        storage.write_json(temporary / FACTS, known)
        temporary.chmod(0o755)
        shutil.rmtree(target, ignore_errors=True)
        temporary.rename(target)


def _is_whole(target: Path) -> bool:
    """Whether all files that a release says it has are there and unchanged."""
    if not (target / FACTS).is_file():
        return False
    shas = json.loads((target / FACTS).read_text(encoding="utf-8"))["files"]
    paths = {target / name: sha for name, sha in shas.items()}
    return all(path.is_file() and storage.hash_file(path) == sha for path, sha in paths.items())


def publish(version_folder: Path) -> None:
    """Mirror a released model's files in the team's store, if there is one. Raises: StoreError when it does not."""
    store = shared_store.opened()
    if store is not None:
        store.push(version_folder, FACTS)


def fetch(target: Path) -> bool:
    """Bring a version's files here from the team's store, and make sure that they are what was released.

    Returns: whether there is a store that has them.
    Raises: RegistryError when they are damaged, StoreError when they do not come whole.
    """
    store = shared_store.opened()
    if store is None or not store.fetch(target, FACTS):
        return False
    if not _is_whole(target):
        shutil.rmtree(target)
        raise RegistryError(f"{store.url} holds a damaged {target.name}; on the machine that released it, delete its "
                            f"{FACTS} there and do `workbench publish`")
    return True
