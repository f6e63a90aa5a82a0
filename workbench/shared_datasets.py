"""Dataset versions in the team's store: a version's folder, and the clips that its manifest names, each once.

Clips come first and the card last, so that a version that is there has all its sounds. What a version is, is
`datasets`' to say.
"""

from collections.abc import Iterable
from pathlib import Path

from workbench import shared_store, storage

CLIPS = "datasets/audio"
MANIFEST, CARD = "manifest.parquet", "card.json"


def publish(folder: Path) -> None:
    """Mirror a version, its clips first; without a store, or where it is there already, nothing happens.

    Raises: StoreError when the store does not take it.
    """
    store = shared_store.opened()
    if store is None or not (folder / CARD).is_file() or store.read(folder / CARD) is not None:
        return
    store.put_absent([path for path in _clips(_audio_paths(folder)) if path.is_file()])
    store.push(folder, CARD)


def fetch(folder: Path) -> None:
    """Bring a version here, without its clips, if the team's store has it."""
    store = shared_store.opened()
    if store is not None:
        store.fetch(folder, CARD)


def fetch_clips(audio_paths: Iterable[str]) -> None:
    """Bring those clips here that another machine stored; without a store all are here, or lost.

    Raises: StoreError when one is not there.
    """
    store = shared_store.opened()
    if store is not None:
        store.get({path: path for path in _clips(audio_paths) if not path.is_file()})


def fetch_all_clips(folder: Path) -> None:
    """Bring all clips of a version here that another machine stored. Raises: StoreError when one is not there."""
    if shared_store.opened() is not None:
        fetch_clips(_audio_paths(folder))


def _audio_paths(folder: Path) -> list[str]:
    import pyarrow.parquet

    return list(pyarrow.parquet.read_table(folder / MANIFEST, columns=["audio_path"])["audio_path"].to_pylist())


def _clips(audio_paths: Iterable[str]) -> list[Path]:
    """List the clips that lie among a project's datasets; others stay where they are."""
    return [storage.data_folder() / path for path in sorted(set(audio_paths)) if path.startswith(f"{CLIPS}/")]
