"""The way into the query log: rows of many queries in one transaction, committed before their answers leave."""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from workbench import consented_audio
from workbench.audio import Samples
from workbench.errors import WorkbenchError
from workbench.log_database import LoggedQuery
from workbench.query_log import QueryLog
from workbench.serving.openai_shape import ApiError

STALL_S = 10.0
"""A log that takes longer is as good as away: a transaction takes milliseconds, and a phone would not wait."""

STALLED = f"the query log has not answered for {STALL_S:g} s; see whether its database hangs or is cut off"


@dataclass(frozen=True, slots=True)
class Entry:
    """A row to be, the recording when there is consent to keep it, and since when (monotonic) its user has waited."""

    row: LoggedQuery
    since_s: float
    recording: Samples | None = None


class Journal:
    """One thread that writes: while a transaction runs, the next one gathers what comes."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._log: QueryLog | None = None
        self._thread = ThreadPoolExecutor(1, "journal")
        self._waiting: list[tuple[Sequence[Entry], asyncio.Future[None]]] = []
        self._has_work = asyncio.Event()
        self._problem, self._began_s, self._is_named = "the query log is being opened", math.inf, False

    @property
    def problem(self) -> str:
        """Say why the log cannot be written, as was seen last, or since when it hangs; "" when it can be."""
        return STALLED if time.monotonic() - self._began_s > STALL_S else self._problem

    @property
    def n_waiting(self) -> int:
        """How many rows wait for their transaction."""
        return sum(len(entries) for entries, _ in self._waiting)

    async def append(self, entries: Sequence[Entry]) -> None:
        """Return when the rows are on the disk. Raises: ApiError, status 503, when they cannot be, or not in time."""
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((entries, done))
        self._has_work.set()
        try:
            async with asyncio.timeout(STALL_S):
                await done
        except TimeoutError as error:
            self._waiting = [waiting for waiting in self._waiting if waiting[1] is not done]
            raise _refusal(STALLED) from error

    async def run(self) -> None:
        """Write what waits, for ever."""
        while True:
            await self._has_work.wait()
            self._has_work.clear()
            taken, self._waiting = self._waiting, []
            problem = await self._in_thread(partial(self._write, [e for entries, _ in taken for e in entries]))
            for _, done in taken:
                if not done.done():
                    done.set_exception(_refusal(problem)) if problem else done.set_result(None)

    async def last_asked_s(self) -> float | None:
        """Give the time of what people asked last. Raises: ApiError, status 503, when the log does not answer."""
        found = list[float | None]()

        def read() -> str:
            found.append(self._opened().last_asked_s())
            return ""

        try:
            async with asyncio.timeout(STALL_S):
                problem = await self._in_thread(read)
        except TimeoutError as error:
            raise _refusal(STALLED) from error
        if problem:
            raise _refusal(problem)
        return found[0]

    async def check(self) -> None:
        """See whether the log can be written now, and names users as before; `problem` says what is wrong."""
        await self._in_thread(self._check)

    def _check(self) -> str:
        self._is_named = False
        return self._opened().check()

    async def _in_thread(self, work: Callable[[], str]) -> str:
        def explained() -> str:
            self._began_s = time.monotonic()
            try:
                return work()
            except WorkbenchError as error:
                return str(error)
            except Exception as error:  # whatever a database or a disk raises: queries are refused, the server lives
                return f"the query log does not answer ({type(error).__name__}: {str(error)[:200]})"
            finally:
                self._began_s = math.inf

        self._problem = await asyncio.get_running_loop().run_in_executor(self._thread, explained)
        return self._problem

    def _opened(self) -> QueryLog:
        """Give the log, once we are sure to name users as its other rows do. Raises: SettingsError when we do not."""
        if self._log is None:
            self._log = QueryLog(self._url)
        if not self._is_named:
            self._log.check_secret()
            self._is_named = True
        return self._log

    def _write(self, entries: Sequence[Entry]) -> str:
        log = self._opened()
        log.append([self._row(log, entry) for entry in entries])
        return ""

    def _row(self, log: QueryLog, entry: Entry) -> LoggedQuery:
        row, audio_sha = entry.row, ""
        if entry.recording is not None and not log.is_forgotten(row.user_hash):
            audio_sha = consented_audio.store_clip(entry.recording)
        return replace(row, audio_sha=audio_sha, latency_ms=1e3 * (time.monotonic() - entry.since_s))

    async def close(self) -> None:
        """Let the thread finish; where the log keeps it too long, it is left behind."""
        with suppress(TimeoutError):
            async with asyncio.timeout(STALL_S):
                await self._in_thread(lambda: "")
        self._thread.shutdown(wait=False)


def _refusal(problem: str) -> ApiError:
    return ApiError(503, f"the query could not be logged, so it is not answered: {problem}", code="log_unavailable",
                    retry_after_s=1)
