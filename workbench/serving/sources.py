"""Where a server's models come from: the registry, followed as its aliases move, or one model that stays."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from workbench import engines, model_registry, recognizers, storage, whisper_model
from workbench.recognizers import Recognizer
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
        if self.engine == "auto":
            return engines.open_version(folder)
        is_fast = self.engine == "fast"
        return engines.FastRecognizer(folder / "engine") if is_fast else recognizers.load(folder / "model.pt")


def find(model: str, engine: Engine) -> Source:
    """Find a model to serve: a path, a run, `champion`, a version or a published name, in that order.

    Raises: CheckpointError or RegistryError when there is none of that name.
    """
    if (Path(model) / engines.FACTS).is_file():
        folder = Path(model).resolve()
        return Fixed(folder.name, lambda: engines.FastRecognizer(folder))
    if not Path(model).is_file() and not (storage.run_folder(model) / "model.pt").is_file():
        if model == "champion":
            return Registered(engine)
        if model in [version.version for version in model_registry.versions()]:
            return Fixed(model, lambda: Registered(engine).load(model))
    checkpoint = whisper_model.find(model)
    digest = storage.hash_file(checkpoint)
    return Fixed(f"{Path(model).stem}-{digest[:8]}", lambda: _open(checkpoint, digest, engine))


def _open(checkpoint: Path, digest: str, engine: Engine) -> Recognizer:
    if engine == "torch":
        return recognizers.load(checkpoint)
    return engines.FastRecognizer(engines.export(checkpoint, storage.cache_folder("engines") / digest[:16]))
