"""What was made here before there was a team's store, put into it: runs with their datasets, and released models."""

from collections.abc import Iterator, Sequence

from workbench import model_files, model_registry, preflight, settings, shared_runs, storage
from workbench.errors import ParameterError, StoreError


def publish(names: Sequence[str] = ()) -> Iterator[str]:
    """Mirror runs of this project (all batch runs, if none is named) and its released models; what is there is left.

    Returns: a line about each.
    Raises: StoreError without a store, or when it does not take something; ParameterError for a run that is not here.
    """
    if not settings.Settings().store_url:
        raise StoreError("there is no team's store; set WORKBENCH_STORE_URL=s3://bucket/folder (docs/team.md)")
    preflight.check()
    here = sorted(path.name for path in storage.run_folder("x").parent.glob("*/") if not path.name.startswith("lab-"))
    for run in names or filter(shared_runs.is_ours, here):
        if run not in here:
            raise ParameterError(f"no run {run!r} here; there are: {', '.join(here) or 'none'}")
        yield f"run {run}: {shared_runs.publish(run)}"
    for version in model_registry.versions():
        if (version.folder / model_files.FACTS).is_file():
            model_files.publish(version.folder)
            yield f"version {version.version}: {version.folder.name}"
