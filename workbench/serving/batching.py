"""Micro-batches: queries wait a bounded time for company, in a queue of bounded length, for the one model thread."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

from workbench.audio import Samples
from workbench.log_database import LoggedQuery
from workbench.records import Hypothesis
from workbench.serving.journal import Entry, Journal
from workbench.serving.metrics import Metrics
from workbench.serving.models import Lineup, LiveModels, Loaded, Role
from workbench.serving.openai_shape import ApiError

MAX_SHADOWS = 256
"""Clips that wait for a shadow; three seconds each, they take 50 MB. Beyond that the oldest go unheard."""

DRAIN_S = 15.0
"""How long a stopping server goes on with what its clients no longer wait for; a log that hangs would take longer."""

QUIET_SHARE = 0.4
"""Of the time for company, how much may pass without any. On two cores 4 to 16 phones come closer than these 20 ms, and
are answered a tenth (4) to a third (8) more often than when all waited 5 ms (`benchmarks/service.py`)."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a query waits for company, how many are decoded together, and how many may wait."""

    wait_s: float
    max_batch: int
    max_queue: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What a query got, and from whom."""

    hypothesis: Hypothesis
    model_version: str
    language: str


@dataclass(slots=True)
class Query:
    """A decoded query on its way: `row` holds what is known of it before the model has heard it."""

    row: LoggedQuery
    samples: Samples
    wanted: str
    language: str
    arrived_s: float
    queued_s: float = field(default_factory=time.monotonic)
    answered: asyncio.Future[Answer] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def fail(self, error: Exception) -> None:
        """Hand an error to whoever waits."""
        if not self.answered.done():
            self.answered.set_exception(error)


class Batcher:
    """Gathers queries, lets models hear them one batch at a time, and answers when the log has them."""

    def __init__(self, models: LiveModels, journal: Journal, *, metrics: Metrics, limits: Limits) -> None:
        self._models, self._journal, self._metrics, self._limits = models, journal, metrics, limits
        self._queue: asyncio.Queue[Query] = asyncio.Queue()
        self._shadows: deque[tuple[Query, Loaded]] = deque()
        self._thread = ThreadPoolExecutor(1, "model")
        self._commits: set[asyncio.Task[None]] = set()
        self._n_entering, self._n_unanswered, self._seconds_each, self._is_shadowing = 0, 0, 0.05, False
        self._n_last = 1

    @property
    def depth(self) -> int:
        """How many queries wait for the model, those included whose audio is being decoded."""
        return self._n_entering + self._queue.qsize()

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place in the queue while a query's audio is decoded. Raises: ApiError, status 429, when it is full."""
        if max(self.depth, self._journal.n_waiting) >= self._limits.max_queue:
            raise ApiError(429, f"{self._limits.max_queue} queries wait already; try again after the time in "
                           "Retry-After", code="queue_full", retry_after_s=self.depth * self._seconds_each)
        self._n_entering += 1
        try:
            yield
        finally:
            self._n_entering -= 1

    async def answer(self, query: Query) -> Answer:
        """Queue a query and wait for its answer, which the log holds by then."""
        self._queue.put_nowait(query)
        self._n_unanswered += 1
        try:
            return await query.answered
        finally:
            self._n_unanswered -= 1

    async def run(self) -> None:
        """Work through the queue for ever; a shadow hears what it should when nobody waits."""
        while True:
            if self._shadows and self._queue.empty():
                await self._let_shadow_hear()
            else:
                await self._answer(await self._gather())

    async def drain(self) -> None:
        """Wait until nothing is queued, heard or logged any more, for a bounded time: shadows may miss a few."""
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                while self._n_unanswered or self._n_entering or self._shadows or self._is_shadowing:
                    await asyncio.sleep(0.01)
        self._shadows.clear()
        self._thread.shutdown()

    async def _gather(self) -> list[Query]:
        """Take the queries that wait, then those expected: who was just answered asks again. A lone one goes alone.

        What the decoder does for each word costs about the same for one clip as for eight, so company is worth a wait.
        """
        n_expected = self._n_last + self.depth
        batch = [await self._queue.get()]
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.wait_s):
                while len(batch) < self._limits.max_batch and (len(batch) < n_expected or self.depth):
                    async with asyncio.timeout(None if self.depth else QUIET_SHARE * self._limits.wait_s):
                        batch.append(await self._queue.get())
        self._n_last = len(batch)
        return batch

    async def _answer(self, batch: Sequence[Query]) -> None:
        lineup, began_s = self._models.lineup, time.monotonic()
        self._metrics.batch_size.observe(len(batch))
        heard: list[tuple[Query, Answer, Entry]] = []
        for (model, role), queries in _by_model(batch, lineup).items():
            for query, hypothesis, decode_s in await self._hear(model, queries):
                self._metrics.latency.labels("queue").observe(began_s - query.queued_s)
                self._metrics.latency.labels("decode").observe(decode_s)
                row = replace(query.row, queue_ms=1e3 * (began_s - query.queued_s), decode_ms=1e3 * decode_s)
                entry = _entry(row, query, hypothesis, model=model.version, role=role)
                heard.append((query, Answer(hypothesis, model.version, model.language), entry))
                if lineup and lineup.challenger and lineup.mode == "shadow" and role == "champion":
                    self._queue_shadow(query, lineup.challenger)
        self._seconds_each = 0.9 * self._seconds_each + 0.1 * (time.monotonic() - began_s) / len(batch)
        kept = {id(query) for query, _, _ in heard}
        for query in batch:
            if id(query) not in kept:
                query.fail(ApiError(500, "the model failed on this clip", code="model_error"))
        commit = asyncio.create_task(self._commit(heard))
        self._commits.add(commit)
        commit.add_done_callback(self._commits.discard)

    async def _hear(self, model: Loaded, queries: Sequence[Query]) -> list[tuple[Query, Hypothesis, float]]:
        """Decode together, or one by one when that fails, so that one clip's trouble is its own.

        Returns: query, hypothesis and seconds; queries that the model failed on are left out.
        """
        began_s = time.monotonic()
        try:
            found = await self._in_thread(lambda: model.recognizer.transcribe([q.samples for q in queries]))
            return [(q, h, time.monotonic() - began_s) for q, h in zip(queries, found, strict=True)]
        except Exception:
            if len(queries) > 1:
                return [heard for query in queries for heard in await self._hear(model, [query])]
            log.exception("the model %s failed on a clip", model.version)
            return []

    async def _in_thread(self, work: Callable[[], list[Hypothesis]]) -> list[Hypothesis]:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _commit(self, heard: Sequence[tuple[Query, Answer, Entry]]) -> None:
        began_s = time.monotonic()
        try:
            await self._journal.append([entry for _, _, entry in heard])
        except ApiError as error:
            for query, _, _ in heard:
                query.fail(error)
            return
        ended_s = time.monotonic()
        for query, answer, _ in heard:
            self._metrics.latency.labels("log").observe(ended_s - began_s)
            self._metrics.latency.labels("total").observe(ended_s - query.arrived_s)
            if not query.answered.done():
                query.answered.set_result(answer)

    def _queue_shadow(self, query: Query, challenger: Loaded) -> None:
        self._shadows.append((query, challenger))
        if len(self._shadows) > MAX_SHADOWS:
            self._shadows.popleft()
            self._metrics.shadows_dropped.inc()

    async def _let_shadow_hear(self) -> None:
        size = min(len(self._shadows), self._limits.max_batch)
        taken = [self._shadows.popleft() for _ in range(size)]
        self._is_shadowing = True
        for model in {id(model): model for _, model in taken}.values():
            queries = [query for query, its in taken if its is model]
            entries = [_entry(replace(query.row, decode_ms=1e3 * decode_s), query, hypothesis, model=model.version,
                              role="shadow") for query, hypothesis, decode_s in await self._hear(model, queries)]
            try:
                await self._journal.append(entries)
            except ApiError:
                self._metrics.shadows_dropped.inc(len(entries))
        self._is_shadowing = False


def _by_model(batch: Sequence[Query], lineup: Lineup | None) -> dict[tuple[Loaded, Role], list[Query]]:
    groups: dict[tuple[str, Role], tuple[Loaded, list[Query]]] = {}
    for query in batch:
        try:
            if lineup is None:
                raise ApiError(503, "no model is loaded; see /health/ready", code="not_ready", retry_after_s=5)
            model, role = lineup.pick(query.wanted, query.row.user_hash or query.row.request_id, query.language)
            groups.setdefault((model.version, role), (model, []))[1].append(query)
        except ApiError as error:
            query.fail(error)
    return {(model, role): queries for (_, role), (model, queries) in groups.items()}


def _entry(row: LoggedQuery, query: Query, hypothesis: Hypothesis, *, model: str, role: Role) -> Entry:
    row = replace(row, model_version=model, role=role, hypothesis=hypothesis.text,
                  heard_letters=hypothesis.heard_letters, ctc_gap=hypothesis.ctc_gap,
                  avg_logprob=hypothesis.avg_logprob, no_speech_prob=hypothesis.no_speech_prob,
                  compression_ratio=hypothesis.compression_ratio, biased_from=hypothesis.biased_from)
    return Entry(row, query.arrived_s, query.samples if row.consent else None)
