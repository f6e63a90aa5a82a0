"""Before any work starts: whether the servers that the settings name answer, let us, and are of our kind; and bases.

Only what is set away from its default is asked, and each is asked once, at the same time as the others.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from workbench import registry, settings, shared_store
from workbench.errors import QueryLogError


def check(bases: Iterable[str] = ()) -> None:
    """Ask the tracking server, the query log and the team's store, then for the models that a training begins from.

    Nothing is written but a table or a row of the log's own, a tag of the project's experiment, and an object that is
    deleted again. No model is fetched.
    Raises: the WorkbenchError of the first that fails.
    """
    asked = settings.Settings()
    ways: list[Callable[[], None]] = []
    ways += [registry.check] if asked.tracking_url else []
    ways += [_query_log] if asked.query_log_url else []
    ways += [_store] if asked.store_url else []
    if ways:
        with ThreadPoolExecutor(len(ways), "preflight") as threads:
            for done in [threads.submit(way) for way in ways]:
                done.result()
    for name in bases:
        _base(name)


def _base(name: str) -> None:
    if (settings.root() / name).is_file():  # where kernels stand
        return  # other names are known to whisper alone, which takes seconds to load
    from workbench import whisper_model

    whisper_model.check(name)


def _query_log() -> None:
    from workbench.query_log import QueryLog

    with closing(QueryLog()) as log:
        problem = log.check()
        if problem:
            raise QueryLogError(problem)
        log.check_secret()


def _store() -> None:
    store = shared_store.opened()
    assert store is not None
    store.check()
