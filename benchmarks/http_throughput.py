"""How many queries a second, how fast and in how much memory, against FastAPI around faster-whisper?

    pip install -c constraints.txt -e ".[peers]" && python benchmarks/http_throughput.py

All servers read the same int8 weights (of random numbers, in the shape of Whisper tiny) and are sent the same clips of
three seconds by the same phones. All write the same twelve words to each (see `peers.py`) and the benchmark checks
that, so none wins by writing less. Ours is `workbench serve` as it ships, with its key and its query log; the peer pads
every clip to thirty seconds, as faster-whisper does, and decodes each request by itself; the GOMP_SPINCOUNT that our
package sets is not handed on to it. All cores are the peer's, in both usual ways: one worker with all threads, and a
worker a core; goals are held against the better one of each round. The servers go in turn, round by round, each time
another one first; the phones run on the same cores.

Wanted: twenty times the answers a second with 16 phones, and with one phone a median latency of at most a fifth; with
`--shape small`, ours below 600 MB. Memory is the most that a server has held by then, since it started; its answers a
second grow with the phones to a power that is told. The tables go to reports/benchmarks/.
"""

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pandas as pd
import peers
import psutil
import report
from peak import peak_mb

from workbench import shipping, traffic
from workbench.serving import server

OURS = "ours"
N_CLIPS = {1: (50, 12), 4: (120, 20), 16: (320, 32)}
"""Requests a round by number of phones, ours and a peer's: some seconds of work for each."""
FEW, MANY = min(N_CLIPS), max(N_CLIPS)
MOST_MB = {"small": 600}
"""What ours may hold, by shape."""


@contextmanager
def ours(engine: Path) -> Iterator[server.Running]:
    """Run our server."""
    running = server.start("--model", str(engine), "--engine", "fast")
    try:
        server.wait_ready(running)
        yield running
    finally:
        server.stop()


@contextmanager
def peer(engine: Path, n_workers: int) -> Iterator[server.Running]:
    """Run the peer's server, with all cores' threads shared among its workers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    n_threads = max(1, (os.cpu_count() or 1) // n_workers)
    program = Path(__file__).with_name("peer_server.py")
    process = subprocess.Popen([sys.executable, str(program), str(engine), "--port", str(port), "--threads",
                                str(n_threads), "--workers", str(n_workers)], env=peers.environment(),
                               start_new_session=True)  # as ours
    running = server.Running(f"http://127.0.0.1:{port}", process.pid)
    try:
        while not server._is_alive(running):
            assert process.poll() is None, "the peer ended; it says above why"
            time.sleep(0.2)
        yield running
    finally:
        process.terminate()
        process.wait()


def ask(running: server.Running, clips: pd.DataFrame, n_phones: int) -> dict[str, object]:
    """Send clips and check the answers. Returns: what a load test tells, processor ms a query and memory in MB."""
    process = psutil.Process(running.pid)
    before = process.cpu_times()
    sent = traffic.send(clips, url=running.url, key=running.key, concurrency=n_phones)
    after = process.cpu_times()
    assert sent["status"].eq(httpx.codes.OK).all(), sent["error"].value_counts()
    assert sent["text"].nunique() == 1 and len(sent["text"][0].split()) == peers.N_WORDS, sent["text"].value_counts()
    cpu_s = after.user + after.system - before.user - before.system
    return {**shipping.load_test(sent), "cpu_ms": 1e3 * cpu_s / len(sent), "peak_mb": peak_mb(running.pid)}


def measure(contestants: Mapping[str, server.Running], clips: pd.DataFrame, n_rounds: int) -> pd.DataFrame:
    """Let all answer in turn. Returns: a row a round, contestant and number of phones."""
    rows, names = [], list(contestants)
    for number in range(n_rounds + 1):
        first = number % len(names)
        for n_phones, (n_ours, n_theirs) in N_CLIPS.items():
            for name in names[first:] + names[:first]:
                n = (n_ours if name == OURS else n_theirs) if number else n_phones  # the first round warms up
                rows.append({"round": number, "contestant": name, "phones": n_phones,
                             **ask(contestants[name], clips.head(n), n_phones)})
    return pd.DataFrame(rows).query("round > 0")


def compare(found: pd.DataFrame, shape: str) -> list[str]:
    """Hold ours against each peer and the better of each round. Returns: lines, the goals and growth among them."""
    rates, latencies = (found[found["phones"].eq(n)].pivot(index="round", columns="contestant", values=value)
                        for n, value in ((MANY, "requests_per_s"), (FEW, "p50_ms")))
    theirs = [name for name in rates if name != OURS]
    rates["the better in each round (wanted: 20)"] = rates[theirs].max(axis=1)
    latencies["the better in each round (wanted: at most 0.2)"] = latencies[theirs].min(axis=1)
    mine = found[found["contestant"].eq(OURS)]
    per_s, most_mb = mine.groupby("phones")["requests_per_s"].median(), mine["peak_mb"].max()
    wanted = f" (wanted: below {MOST_MB[shape]})" if shape in MOST_MB else ""
    return [*(f"{MANY} phones: {report.spread(rates[OURS] / rates[name])} times the answers a second of {name}"
              for name in rates if name != OURS),
            *(f"{FEW} phone: {report.spread(latencies[OURS] / latencies[name])} of the median latency of {name}"
              for name in latencies if name != OURS),
            f"ours: answers a second grow with the phones to the power {report.exponent(per_s.index, per_s):.2f}",
            f"ours at most {most_mb:.0f} MB{wanted}"]


def main() -> None:
    """Run the benchmark in a project of its own and publish medians over rounds."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shape", default="tiny", choices=list(peers.SHAPES))
    parser.add_argument("--peer-workers", type=int, nargs="+", default=sorted({1, os.cpu_count() or 1}))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as servers:
        (Path(folder) / "notebooks").mkdir()
        os.environ["WORKBENCH_ROOT"] = folder
        engine = peers.engine(peers.checkpoint(options.shape, Path(folder)))
        clips = peers.clips(max(max(n) for n in N_CLIPS.values()), Path(folder) / "clips")
        contestants = {OURS: servers.enter_context(ours(engine))}
        for n in options.peer_workers:
            contestants[f"peer, {n} worker{'s' * (n > 1)}"] = servers.enter_context(peer(engine, n))
        found = measure(contestants, clips, options.rounds)
    table = found.groupby(["phones", "contestant"]).median().drop(columns=["round", "n_failed", "real_time_factor"])
    report.publish(report.table_name("http_throughput", parser, options), found,
                   f"shape {options.shape}, {options.rounds} rounds, medians", table.to_string(float_format="%.1f"),
                   *compare(found, options.shape))


if __name__ == "__main__":
    main()
