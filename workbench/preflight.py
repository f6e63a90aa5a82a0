"""Before any work starts: whether the servers that the settings name answer, let us, and are of our kind.

Only what is set away from its default is asked, and each is asked once, at the same time as the others.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from workbench import registry, settings, shared_store
from workbench.errors import QueryLogError


def check() -> None:
    """Ask the tracking server, the query log and the team's store. Raises: the WorkbenchError of the first that fails.

    Nothing but a table or a row of the log's own, and an object that is deleted again, is written.
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
