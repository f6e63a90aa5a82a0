"""What a user can mend: one exception per kind of mistake. Wrong calls are `ValueError`; our own logic is `assert`ed.

A message says what was found, what was wanted and what to do next. The command line prints it without a traceback.
"""


class WorkbenchError(Exception):
    """A mistake that the user can mend; ends a command with exit code 2."""


class StageWaits(WorkbenchError):  # noqa: N818  it is no error: people are asked, and the same command goes on
    """A stage can go no further until people have done something; its record says what."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


class SettingsError(WorkbenchError):
    """The place the workbench runs in, or a setting, is not usable: no root, an unwritable folder, a full disk."""


class ParameterError(WorkbenchError):
    """An unknown stage or parameter, or a value of the wrong type."""


class ManifestError(WorkbenchError):
    """A manifest, or what it lists, cannot be used."""


class AudioError(WorkbenchError):
    """A file cannot be read as audio."""


class AudioTooLongError(AudioError):
    """A file holds more audio than was asked for."""


class RecipeError(WorkbenchError):
    """A recipe is missing, or lacks something that it must say."""


class CheckpointError(WorkbenchError):
    """A model is missing, or is not a Whisper checkpoint."""


class FetchError(WorkbenchError):
    """A file cannot be fetched, or is not what its checksum says."""


class SynthesisError(WorkbenchError):
    """The demo world cannot speak here."""


class ScoringError(WorkbenchError):
    """A set cannot be scored: no reference words, or utterances without a hypothesis."""


class StageError(WorkbenchError):
    """A stage lacks an earlier stage's outputs."""


class RequestError(WorkbenchError):
    """A data request does not exist, or cannot be fulfilled with what was given."""


class RegistryError(WorkbenchError):
    """The model registry does not answer, or has no such version."""


class OvertakenError(RegistryError):
    """Another version became champion while this one was judged; nothing was promoted."""


class StoreError(WorkbenchError):
    """The team's store does not answer, is not there, or does not let us; or a name in it is somebody else's."""


class RunHeldError(WorkbenchError):
    """Another process holds the run; ends a command with exit code 3."""


class ServiceError(WorkbenchError):
    """The service cannot start, be reached or be stopped, or has no model to answer with."""


class QueryLogError(WorkbenchError):
    """The query log cannot be reached, read or written; nothing was acknowledged."""


class MarkError(WorkbenchError):
    """What somebody said on a page cannot be kept: nobody's name is with it, or it is about somebody who left."""


class KeysError(WorkbenchError):
    """A key's name is taken or unknown, or the file of keys is damaged."""


class ClusterError(WorkbenchError):
    """Ray is absent, its cluster cannot be reached or does not fit this machine, or it lost what it worked on."""
