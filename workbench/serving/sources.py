"""Where a server's models come from: the registry, followed as its aliases move, or one model that stays.

PyTorch is imported where it is needed and not before: a server whose models are engines never loads it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from workbench import fast, model_registry, storage
from workbench.fast import FastRecognizer
from workbench.recognizing import Recognizer
from workbench.serving.models import Source

Engine = Literal["auto", "fast", "torch"]


@dataclass(frozen=True, slots=True)
class Fixed:
    """One model that never changes: `workbench serve --model run`."""

    version: str
    loader: Callable[[], Recognizer]

    def state(self) -> Mapping[str, Any]:
        """Give it as the champion."""
        return {"champion": self.version}

    def load(self, version: str) -> Recognizer:
        """Load it."""
        return self.loader()


@dataclass(frozen=True, slots=True)
class Registered:
    """The registry's champion and challenger."""

    engine: Engine

    def state(self) -> Mapping[str, Any]:
        """Ask the registry."""
        return model_registry.alias_state()

    def load(self, version: str) -> Recognizer:
        """Load the engine that was exported for a version, or its checkpoint."""
        folder = model_registry.resolve(version).folder
        is_fast = self.engine == "fast" or self.engine == "auto" and (folder / "engine").is_dir()
        return FastRecognizer(folder / "engine") if is_fast else _open_reference(folder / "model.pt")


def find(model: str, engine: Engine) -> Source:
    """Find a model to serve: a path, a run, `champion`, a version or a published name, in that order.

    Raises: CheckpointError or RegistryError when there is none of that name.
    """
    if (Path(model) / fast.FACTS).is_file():
        folder = Path(model).resolve()
        return Fixed(folder.name, lambda: FastRecognizer(folder))
    if not Path(model).is_file() and not (storage.run_folder(model) / "model.pt").is_file():
        if model == "champion":
            return Registered(engine)
        if model in [version.version for version in model_registry.versions()]:
            return Fixed(model, lambda: Registered(engine).load(model))
    from workbench import whisper_model

    checkpoint = whisper_model.find(model)
    digest = storage.hash_file(checkpoint)
    return Fixed(f"{Path(model).stem}-{digest[:8]}", lambda: _open(checkpoint, digest, engine))


def _open(checkpoint: Path, digest: str, engine: Engine) -> Recognizer:
    from workbench import engines

    if engine == "torch":
        return _open_reference(checkpoint)
    return FastRecognizer(engines.export(checkpoint, storage.cache_folder("engines") / digest[:16]))


def _open_reference(checkpoint: Path) -> Recognizer:
    from workbench import recognizers

    return recognizers.load(checkpoint)
