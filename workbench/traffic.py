"""Simulated phones: they send recordings to a server over HTTP, as an app would, and write down what came back.

What was really said stays with the phones, in `data/traffic/<run>/sent.parquet`: the server never learns it.
"""

import asyncio
import hashlib
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import pandas as pd

from workbench import audio, corpora, datasets, model_registry, progress, remote, storage, synthesis, text
from workbench.errors import OvertakenError, ServiceError
from workbench.serving import server

ROUTE = "/v1/audio/transcriptions"
HEADERS = {"user": "X-User-Id", "device": "X-Device", "app_version": "X-App-Version", "time_s": "X-Query-Time"}
"""What of a clip's row goes along, besides consent; a server without a simulated clock passes over the time."""
CONSENTING = frozenset(("true", "audio", "yes", "1", "1.0"))
"""What a manifest's column may say for a yes; whatever else it says is none."""
TIMEOUT_S = 60.0
"""A phone gives up later than the server's own limits do."""
NO_ANSWER = 0
"""The status of a request that no answer came back for."""
BLOCK = 100
"""Queries between two writes of `sent.parquet`: a kill loses the answers, never the truth, of fewer than these."""
N_OF_CHANGE = 40
"""Recordings asked again and again while a version changes: a round of them takes about a second."""
FIRST_SEED = 1
MANIFEST_CONSENT = .6
"""The share of a manifest's speakers who consent, where it does not say: that of the demo world."""

Advance = Callable[[int], object]

# --- sending ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Line:
    """One server to call, how often, and a way to stop calling."""

    url: str
    key: str
    concurrency: int
    rate: float
    stop: threading.Event


def send(clips: pd.DataFrame, *, url: str, key: str = "", concurrency: int = 8, rate: float = 0.0,
         advance: Advance | None = None) -> pd.DataFrame:
    """Send each clip (`audio_path`; optionally user, consent, device, app_version, time_s) and wait for its answer.

    `rate` is queries a second, 0 as fast as `concurrency` phones are answered. No request raises: failures are rows.
    Returns: utterance_id, request_id, status (0 when no answer came), text, error (its code or kind), latency_ms (from
        when the query was due: waiting for a free phone counts), model_version, started_s (from the first), duration_s;
        in the order of `clips`.
    """
    line = _Line(url, key, concurrency, rate, threading.Event())
    with ThreadPoolExecutor(1, "phones") as thread:  # a notebook's own thread runs an event loop already
        try:
            rows = thread.submit(asyncio.run, _send_all(clips.to_dict("records"), line, advance or (lambda _: None)))
            return _as_table(rows.result())
        finally:
            line.stop.set()


def _as_table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    columns = ["utterance_id", "request_id", "status", "text", "error", "latency_ms", "model_version", "started_s",
               "duration_s"]
    return pd.DataFrame(rows, columns=columns)


async def _send_all(clips: Sequence[Mapping[Any, Any]], line: _Line, advance: Advance) -> list[dict[str, Any]]:
    waiting, done = iter(enumerate(clips)), dict[int, dict[str, Any]]()
    start_s = time.monotonic()
    headers = {"Authorization": f"Bearer {line.key}"} if line.key else {}
    limits = httpx.Limits(max_connections=line.concurrency)
    async with httpx.AsyncClient(base_url=line.url, headers=headers, timeout=TIMEOUT_S, limits=limits,
                                 verify=_trusted()) as client:

        async def phone() -> None:
            for number, clip in waiting:
                due_s = start_s + number / line.rate if line.rate else time.monotonic()
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))
                if line.stop.is_set():
                    return
                answer = await _ask(client, clip)
                ended_s = time.monotonic()
                done[number] = {**answer, "utterance_id": clip["utterance_id"], "duration_s": clip.get("duration_s"),
                                "started_s": due_s - start_s, "latency_ms": 1e3 * (ended_s - due_s)}
                advance(1)

        await asyncio.gather(*(phone() for _ in range(line.concurrency)))
    return [done[number] for number in sorted(done)]


@cache
def _trusted() -> ssl.SSLContext:
    """Read the certificates that are trusted once: it takes longer than many a query."""
    return httpx.create_ssl_context()


async def _ask(client: httpx.AsyncClient, clip: Mapping[Any, Any]) -> dict[str, Any]:
    """Send one recording. Returns: request_id, status, text, error, model_version."""
    suffix = Path(remote.unpinned(clip["audio_path"])[0]).suffix
    headers = {header: str(clip[name]) for name, header in HEADERS.items() if name in clip and pd.notna(clip[name])}
    if str(clip.get("consent")).lower() in CONSENTING:
        headers["X-Consent"] = "audio"
    content = audio.read_bytes(clip["audio_path"])
    try:
        answer = await client.post(ROUTE, headers=headers, files={"file": (f"query{suffix}", content)},
                                   data={"model": "champion"})
        return {"request_id": answer.headers.get("X-Request-Id", ""), "status": answer.status_code,
                "model_version": answer.headers.get("X-Model-Version", ""), **_said(answer)}
    except httpx.HTTPError as error:
        return {"request_id": "", "status": NO_ANSWER, "model_version": "", "text": "", "error": type(error).__name__}


def _said(answer: httpx.Response) -> dict[str, str]:
    try:
        content = answer.json()
        if answer.status_code == httpx.codes.OK:
            return {"text": str(content["text"]), "error": ""}
        return {"text": "", "error": str(content["error"].get("code") or content["error"]["type"])}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {"text": "", "error": "not in OpenAI's shape"}


class Load:
    """Queries that go on while something else happens: `with Load(clips, url=...) as load: ...`, then `load.sent`.

    The clips come again and again; on leaving, the phones wait for the answers they still expect.
    """

    def __init__(self, clips: pd.DataFrame, *, url: str, key: str = "", concurrency: int = 4) -> None:
        self.sent = pd.DataFrame()
        self._clips, self._line = clips, _Line(url, key, concurrency, 0.0, threading.Event())
        self._thread = ThreadPoolExecutor(1, "load")
        self._versions: list[str] = []

    def __enter__(self) -> Self:
        self._rows = self._thread.submit(self._go_on)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self._line.stop.set()
        self._thread.shutdown()
        self.sent = _as_table(self._rows.result())

    def _go_on(self) -> list[dict[str, Any]]:
        rows, begun_s = list[dict[str, Any]](), time.monotonic()
        while not self._line.stop.is_set():
            before_s = time.monotonic() - begun_s
            block = asyncio.run(_send_all(self._clips.to_dict("records"), self._line, lambda _: None))
            rows += [{**row, "started_s": row["started_s"] + before_s} for row in block]
            self._versions = [row["model_version"] for row in block if row["status"] == httpx.codes.OK]
        return rows

    def wait_for(self, version: str, within_s: float = 120.0) -> bool:
        """Go on until a whole round was answered by a version, "" for any. Returns: whether it came to that in time."""
        deadline_s = time.monotonic() + within_s
        while time.monotonic() < deadline_s and not self._rows.done():
            if self._versions and (not version or set(self._versions) == {version}):
                return True
            time.sleep(0.05)
        return False


def change_over(clips: pd.DataFrame, *, url: str, key: str, promote: Callable[[], object],
                version: str) -> pd.DataFrame | None:
    """Ask all the while that a promotion takes: one round before it, and on until a round is answered by `version`.

    Returns: the table of `send`; None when another version became champion first, and nothing was promoted.
    Raises: ServiceError when the version does not answer in time.
    """
    some = clips.head(N_OF_CHANGE)
    with Load(some, url=url, key=key) as load:
        load.wait_for("")
        try:
            promote()
        except OvertakenError:
            return None
        is_live = load.wait_for(version)
    if not is_live and model_registry.reigns(version):  # unless a colleague has promoted another one meanwhile
        raise ServiceError(f"{url} does not answer with version {version}; see data/service.log")
    return load.sent


def by_version(sent: pd.DataFrame) -> pd.DataFrame:
    """Count answers and failures by the version that answered. Returns: model_version, n_requests, n_failed."""
    counted = sent.assign(is_failed=sent["status"].ne(httpx.codes.OK)).groupby("model_version", as_index=False)
    return counted.agg(n_requests=("status", "size"), n_failed=("is_failed", "sum"))


def n_failed(sent: pd.DataFrame) -> int:
    """Count requests that were not answered."""
    return int(sent["status"].ne(httpx.codes.OK).sum())


# --- weeks and manifests ---------------------------------------------------------------------------------------------


def simulate(run: str, *, weeks: Sequence[int] = (), n: int = 0, manifest: Path | None = None,
             seed: int | None = None, world_seed: int = 0, url: str = "", key: str = "", concurrency: int = 8,
             rate: float = 0.0, consent_share: float | None = None) -> pd.DataFrame:
    """Send weeks of the demo world (`n` queries each), or any manifest, to a server: the project's own without a URL.

    What was answered already is not sent again, so that a killed simulation goes on where it was; the rest is. Without
    `seed` and `n` the people and the amount of the run's earlier weeks go on. `consent_share` replaces who consents.
    Returns: all that the run has sent, a row a query: the clip's columns, its truth as text and reference, then
        request_id, status, hypothesis, error, latency_ms, model_version, and sent_s, when its block was answered.
    Raises: ServiceError when no server runs, answers or accepts the key: nothing counts as sent then; ManifestError for
    a manifest that cannot be used, or a name that is none.
    """
    if Path(run).name != run or not run.strip("."):
        raise ServiceError(f"name {run!r} cannot name a folder of data/traffic; use letters, digits, . _ -")
    n, seed = _as_before(run, n, seed)
    if sent_by(run).empty:  # speaking takes a while, for nothing where nobody listens
        server.reached(url, key)
    sources = [_recorded(week, n, seed, world_seed) for week in weeks] + ([_listed(manifest)] if manifest else [])
    for name, clips in sources:
        clips = clips if consent_share is None and "consent" in clips else _consenting(clips, consent_share)
        for block in _unsent_blocks(clips, sent_by(run), f"sending {name}"):
            url, key = server.reached(url, key)
            answered = send(block, url=url, key=key, concurrency=concurrency, rate=rate)
            if answered["status"].eq(httpx.codes.UNAUTHORIZED).all():
                raise ServiceError(f"{url} does not accept the key; give one of its keys with --key")
            _keep(run, block, answered)
    return sent_by(run)


def _as_before(run: str, n: int, seed: int | None) -> tuple[int, int]:
    """Fill in what was not said from the weeks that the run has sent. Returns: queries a week, seed."""
    weeks = sent_by(run).reindex(columns=["week", "traffic_seed"]).dropna()
    if weeks.empty:
        return n, FIRST_SEED if seed is None else seed
    return n or int(weeks["week"].value_counts().max()), int(weeks["traffic_seed"].iloc[0]) if seed is None else seed


def _recorded(week: int, n: int, seed: int, world_seed: int) -> tuple[str, pd.DataFrame]:
    return f"week {week}", synthesis.collect_week(seed=world_seed, week=week, n=n, traffic_seed=seed)


def _listed(manifest: Path) -> tuple[str, pd.DataFrame]:
    """Read a manifest's recordings, and say which rows are not sent; speakers are the users."""
    found = corpora.check(str(manifest), keeping="nothing")
    if found.left_out:
        print(found.left_out)
    rows = found.good
    return manifest.name, rows if "user" in rows else rows.assign(user=datasets.blocks(rows))


def _consenting(clips: pd.DataFrame, share: float | None) -> pd.DataFrame:
    """Decide by user who consents: always the same ones, and with a larger share those and more."""
    limit = MANIFEST_CONSENT if share is None else share
    drawn = [int.from_bytes(hashlib.sha256(f"consent {user}".encode()).digest()[:8]) / 2**64 for user in clips["user"]]
    return clips.assign(consent=[number < limit for number in drawn])


def _unsent_blocks(clips: pd.DataFrame, sent: pd.DataFrame, title: str) -> Iterator[pd.DataFrame]:
    """Give what is still to send, a block at a time, under a bar."""
    left = clips[~_names(clips).isin(set(_names(sent[sent["status"].eq(httpx.codes.OK)])))] if len(sent) else clips
    return progress.track((left.iloc[start : start + BLOCK] for start in range(0, len(left), BLOCK)), title,
                          total=-(-len(left) // BLOCK))


def _names(clips: pd.DataFrame) -> pd.Series:
    return clips["utterance_id"] + " " + clips["audio_sha"]


def sent_file(run: str) -> Path:
    """Give the file that tells what a run's phones have sent."""
    return storage.data_folder() / "traffic" / run / "sent.parquet"


def sent_by(run: str) -> pd.DataFrame:
    """Read what a run's phones have sent so far; an empty table when they have not."""
    return pd.read_parquet(sent_file(run)) if sent_file(run).is_file() else pd.DataFrame()


def _keep(run: str, clips: pd.DataFrame, answered: pd.DataFrame) -> None:
    """Add a block to `sent.parquet`, which is written whole; what failed before is forgotten."""
    answered = answered.rename(columns={"text": "hypothesis"}).drop(columns=["duration_s", "started_s"])
    truth = clips.assign(reference=clips["text"].fillna("").map(text.normalize))
    block = truth.merge(answered, on="utterance_id", validate="one_to_one").assign(sent_s=time.time())
    before = sent_by(run)
    if len(before):
        before = before[~_names(before).isin(set(_names(block)))]
    storage.write_table(sent_file(run), pd.concat([before, block], ignore_index=True) if len(before) else block)
