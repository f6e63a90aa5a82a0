"""How many queries a second, how fast and in how much memory, against FastAPI around faster-whisper?

    pip install -c constraints.txt -e ".[peers]" && python benchmarks/http_throughput.py --rounds 3

Both servers read the same int8 weights (of random numbers, in the shape of Whisper tiny) and are sent the same clips of
three seconds by the same phones. Both write the same twelve words to each (see `peers.py`) and the benchmark checks
that, so neither wins by writing less. Ours is `workbench serve` as it ships, with its key and its query log; the peer
pads every clip to thirty seconds, as faster-whisper does, and decodes each request by itself. All cores are the peer's,
as one worker with all threads or (`--peer-workers`) as several workers. The servers go in turn, round by round; the
phones run on the same cores. Wanted: twenty times the answers a second with 16 phones, and with one phone a median
latency of at most a fifth; with `--shape small`, ours below 600 MB. The table goes to reports/benchmarks/.
"""

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pandas as pd
import peers
import psutil

from workbench import shipping, storage, traffic
from workbench.serving import server

FEW, MANY = 1, 16
N_CLIPS = {("ours", FEW): 50, ("ours", MANY): 320, ("peer", FEW): 12, ("peer", MANY): 32}
"""Requests a round: some seconds of work for each."""


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
                                str(n_threads), "--workers", str(n_workers)], start_new_session=True)  # as ours
    running = server.Running(f"http://127.0.0.1:{port}", process.pid)
    try:
        while not server._is_alive(running):
            assert process.poll() is None, "the peer ended; it says above why"
            time.sleep(0.2)
        yield running
    finally:
        process.terminate()
        process.wait()


def ask(running: server.Running, clips: pd.DataFrame, n_phones: int) -> dict[str, float]:
    """Send clips and check the answers. Returns: what a load test tells, processor ms a query and memory in MB."""
    process = psutil.Process(running.pid)
    before = process.cpu_times()
    sent = traffic.send(clips, url=running.url, key=running.key, concurrency=n_phones)
    after = process.cpu_times()
    assert sent["status"].eq(httpx.codes.OK).all(), sent["error"].value_counts()
    assert sent["text"].nunique() == 1 and len(sent["text"][0].split()) == peers.N_WORDS, sent["text"].value_counts()
    cpu_s = after.user + after.system - before.user - before.system
    return {**shipping.load_test(sent), "cpu_ms": 1e3 * cpu_s / len(sent), "memory_mb": process.memory_info().rss / 1e6}


def measure(contestants: dict[str, server.Running], clips: pd.DataFrame, n_rounds: int) -> pd.DataFrame:
    """Let both answer in turn. Returns: a row a round, contestant and number of phones."""
    rows = []
    for number in range(n_rounds + 1):
        for n_phones in (FEW, MANY):
            for name, running in contestants.items():
                some = clips.head(N_CLIPS[name, n_phones] if number else n_phones)  # the first round warms up
                rows.append({"round": number, "contestant": name, "phones": n_phones, **ask(running, some, n_phones)})
    return pd.DataFrame(rows).query("round > 0")


def ratios(found: pd.DataFrame) -> list[str]:
    """Compare by round. Returns: a line with the median, least and most for each goal."""
    per = found.pivot(index="round", columns=["contestant", "phones"], values=["requests_per_s", "p50_ms"])
    of = {f"times the answers a second, {MANY} phones (wanted: 20)":
              per["requests_per_s", "ours", MANY] / per["requests_per_s", "peer", MANY],
          "of the peer's median latency, one phone (wanted: at most 0.2)":
              per["p50_ms", "ours", FEW] / per["p50_ms", "peer", FEW]}
    return [f"{r.median():.3g} {name}; {r.min():.3g} to {r.max():.3g} over rounds" for name, r in of.items()]


def main() -> None:
    """Run the benchmark in a project of its own and print medians over rounds."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shape", default="tiny", choices=list(peers.SHAPES))
    parser.add_argument("--peer-workers", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "notebooks").mkdir()
        os.environ["WORKBENCH_ROOT"] = folder
        engine = peers.engine(peers.checkpoint(options.shape, Path(folder)))
        clips = peers.clips(max(N_CLIPS.values()), Path(folder) / "clips")
        with ours(engine) as us, peer(engine, options.peer_workers) as them:
            found = measure({"ours": us, "peer": them}, clips, options.rounds)
    table = found.groupby(["phones", "contestant"]).median().drop(columns=["round", "n_failed", "real_time_factor"])
    print(f"shape {options.shape}, {options.rounds} rounds, medians; the peer has {options.peer_workers} worker(s)")
    print(table.to_string(float_format="%.1f"))
    print("\n".join(ratios(found)))
    name = "http_throughput.csv" if options.shape == "tiny" else f"http_throughput_{options.shape}.csv"
    storage.write_text(Path(__file__).parents[1] / "reports" / "benchmarks" / name, found.to_csv(index=False))


if __name__ == "__main__":
    main()
