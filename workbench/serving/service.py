"""Everything that lives as long as the server does: models, queue, log and metrics, and what looks after them."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench import name_list, settings
from workbench.log_database import LOAD_TEST
from workbench.marks import Marks
from workbench.name_list import NameList
from workbench.query_log import QueryLog
from workbench.serving.batching import Batcher, Limits
from workbench.serving.journal import Entry, Journal
from workbench.serving.metrics import Metrics
from workbench.serving.models import LiveModels, Source
from workbench.serving.openai_shape import ApiError
from workbench.serving.uploads import Clip, decode

if TYPE_CHECKING:
    from workbench.consent import Forgetting  # whose pandas an answer does not need

POLL_S = 1.0
"""How often the registry's aliases, the biasing list and the log are looked at."""

CLEAN_UP_S = 3600.0
"""How often words and sounds whose time is over are dropped."""

SETTLE_S = 60.0
"""How long a replica may load its model before it takes queries; a large one takes some ten seconds."""

N_DECODING_THREADS = 2
"""Uploads are unpacked in a millisecond or two, while the model takes tens: more threads would only fight it."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    """How a server is run: where its models come from, whether keys are asked for, and whose clock counts.

    A replica stands behind a front, whose process is the server's and which names the queries; 0 for a server alone.
    """

    source: Source
    needs_key: bool = True
    has_simulated_clock: bool = False
    front_pid: int = 0


class Service:
    """The parts, and the tasks that keep them going between `running`'s two ends."""

    def __init__(self, options: Options) -> None:
        limits = settings.Settings()
        self.options, self.metrics, self._names = options, Metrics(), NameList(Marks(limits.query_log_url))
        self.models = LiveModels(options.source, self._names.entries)
        self.journal = Journal(limits.query_log_url)
        queueing = Limits(limits.batch_wait_ms / 1e3, limits.max_batch, limits.max_queue)
        self.batcher = Batcher(self.models, self.journal, metrics=self.metrics, limits=queueing)
        self.longest_s, self.max_bytes = limits.max_duration_s, round(limits.max_body_mb * 1e6)
        self._decoding = ThreadPoolExecutor(N_DECODING_THREADS, "decoding")
        self._loading = ThreadPoolExecutor(1, "loading")
        self._cleaning = ThreadPoolExecutor(1, "cleaning")  # asyncio would not end before a thread of its own does
        self._notes: set[asyncio.Task[None]] = set()
        self._is_stopping = False
        self._clock_s: float | None = None

    @property
    def problems(self) -> list[str]:
        """Say why queries cannot be answered now; nothing when they can."""
        found = ("the service is stopping" if self._is_stopping else "",
                 "" if self.models.lineup else self.models.problem, self.journal.problem)
        return [problem for problem in found if problem]

    @property
    def version(self) -> str:
        """Name the champion that answers now."""
        return self.models.lineup.champion.version if self.models.lineup else "none"

    @property
    def names(self) -> str:
        """Tell by a hash which names the champion's answers are held against now: who knows the list can compare."""
        return name_list.digest(self.models.lineup.champion.names if self.models.lineup else ())

    async def decode(self, content: bytes) -> Clip:
        """Unpack an upload away from the event loop. Raises: ApiError, status 400."""
        unpack = asyncio.get_running_loop().run_in_executor
        return await unpack(self._decoding, lambda: decode(content, longest_s=self.longest_s))

    async def time_s(self, told_s: float | None, *, app_version: str) -> float:
        """Give a query's time: what its sender says on a simulated clock, which stands still until the next one does.

        The page with the microphone knows of no simulated weeks: by our clock its query would be months after them.
        Raises: ApiError, status 503, when the log, which knows the time after a start, does not answer.
        """
        if self.options.has_simulated_clock and app_version != LOAD_TEST:
            if told_s is not None:
                self._clock_s = told_s
            elif self._clock_s is None or self.options.front_pid:  # the last time may have been told to another replica
                self._clock_s = await self.journal.last_asked_s()
            told_s = self._clock_s
        return time.time() if told_s is None else told_s

    async def forget(self, user: str) -> "Forgetting":
        """Forget a user everywhere. Raises: WorkbenchError when the log, the store or the secret does not let us."""
        return await asyncio.get_running_loop().run_in_executor(self._cleaning, _forget, user)

    def note(self, entry: Entry) -> None:
        """Log a query that failed; nobody waits for it, so that a log in trouble does not hold up the refusal."""
        task = asyncio.create_task(self._note(entry))
        self._notes.add(task)
        task.add_done_callback(self._notes.discard)

    async def _note(self, entry: Entry) -> None:
        with suppress(ApiError):
            await self.journal.append([entry])

    async def settle(self, within_s: float = SETTLE_S) -> None:
        """Wait until queries can be answered, or for so long: what is in the way then is said to who asks."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self.problems:
                    await asyncio.sleep(0.05)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the tasks; on leaving, answer, shadow and log what is still on its way."""
        work = (self.journal.run(), self.batcher.run(), self._watch_log(), self._follow_models(), self._clean_up())
        tasks = [asyncio.create_task(each) for each in work]
        try:
            yield
        finally:
            self._is_stopping = True
            await self.batcher.drain()
            await asyncio.gather(*self._notes)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.journal.close()
            self._names.close()

    async def _follow_models(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if await loop.run_in_executor(self._loading, self.models.poll):
                self._show_lineup()
            await asyncio.sleep(POLL_S)

    def _show_lineup(self) -> None:
        lineup = self.models.lineup
        assert lineup is not None
        self.metrics.model.clear()
        self.metrics.names.set(len(lineup.champion.names))
        self.metrics.model.labels(lineup.champion.version, "champion").set(1)
        if lineup.challenger is not None:
            self.metrics.model.labels(lineup.challenger.version, lineup.mode).set(1)

    async def _watch_log(self) -> None:
        while True:
            await self.journal.check()
            await asyncio.sleep(POLL_S)

    async def _clean_up(self) -> None:
        """Drop words and sounds whose time is over; a simulated clock's weeks have no such time."""
        while not self.options.has_simulated_clock:
            await asyncio.sleep(CLEAN_UP_S)
            try:
                await asyncio.get_running_loop().run_in_executor(self._cleaning, _enforce_retention)
            except Exception:  # whatever a database or a disk raises: the next hour's attempt must come
                log.exception("retention could not be enforced")


def _forget(user: str) -> "Forgetting":
    from workbench import consent

    return consent.forget(user)


def _enforce_retention() -> None:
    from workbench import consent

    limits = settings.Settings()
    consent.enforce_retention(QueryLog(limits.query_log_url), time.time(), limits.days_words, limits.days_audio)
