"""How does serving grow with replicas: one server process here, and one and two replicas on a Ray cluster?

    pip install -c constraints.txt -e ".[dev]" && python benchmarks/replicas.py
    python benchmarks/replicas.py --phones 1 4 16 64 --rounds 3

The nodes are processes of this machine with one processor each, a replica on each, and the process has one thread; one
with a thread a core is beside it. All answer with weights of random numbers in the shape of Whisper tiny (`peers.py`)
and are sent three seconds of noise by phones on the same cores, which is why two replicas on two cores cannot be twice
as fast. Every place is started anew in every round. Wanted: two replicas answer 1.6 times as often as one. The medians
go to reports/benchmarks/replicas.csv, what they say to replicas.txt.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from unittest import mock

import pandas as pd

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import peers  # noqa: E402
import ray_nodes  # noqa: E402
import report  # noqa: E402

from workbench import shipping, traffic  # noqa: E402
from workbench.serving import server  # noqa: E402

PLACES = THREAD, PROCESS, ONE, TWO = "process, 1 thread", "process", "1 replica", "2 replicas"
N_A_PHONE, N_LEAST = 20, 80
"""Requests a round: some seconds of work."""
START_S = 300.0
"""A server's start, in which Ray starts a proxy and replicas that load their libraries, on a busy machine."""
GOAL_TIMES = 1.6


@contextmanager
def serving(place: str, model: Path, address: str) -> Iterator[server.Running]:
    """Run a server in a place; replicas on the cluster at an address."""
    words = ("--replicas", place[0], "--ray-address", address) if address else ()
    with mock.patch.dict(os.environ):
        os.environ.pop("OMP_NUM_THREADS", None)
        os.environ.update({} if place == PROCESS else {"OMP_NUM_THREADS": "1"})
        try:
            running = server.start("--model", str(model), *words, within_s=START_S)
            server.wait_ready(running, within_s=START_S)
            yield running
        finally:
            server.stop()


def ask(place: str, model: Path, clips: pd.DataFrame, phones: Sequence[int], address: str = "",
        ) -> Iterator[dict[str, object]]:
    """Let a place answer each number of phones. Yields: phones, answers a second, latencies."""
    with serving(place, model, address) as running:
        for n_phones in phones:
            n = max(N_LEAST, N_A_PHONE * n_phones)
            for is_told in (False, True):  # the first round warms up
                few = clips.head(n if is_told else 4 * n_phones)
                sent = traffic.send(few, url=running.url, key=running.key, concurrency=n_phones)
                if is_told:
                    yield {"place": place, "phones": n_phones, **shipping.load_test(sent)}


def everywhere(model: Path, clips: pd.DataFrame, options: argparse.Namespace) -> Iterator[dict[str, object]]:
    """Measure all places in turn, `rounds` times."""
    for number in range(options.rounds):
        for place in (THREAD, PROCESS):
            yield from ({"round": number, **row} for row in ask(place, model, clips, options.phones))
        with ray_nodes.running() as nodes:
            for place in (ONE, TWO):
                if place == TWO:
                    nodes.be_two()
                found = ask(place, model, clips, options.phones, nodes.address)
                yield from ({"round": number, **row} for row in found)


def compare(found: pd.DataFrame) -> list[str]:
    """Say by how much two replicas are ahead, and how each place's answers grow with the phones."""
    rates = found.pivot(index=["phones", "round"], columns="place", values="requests_per_s")
    medians = rates.groupby("phones").median()
    most = int(medians.index.max())
    held = f"; wanted {GOAL_TIMES:g} with {most} phones"
    return [*(f"{n} phones: two replicas answer {report.spread(rates.loc[n, TWO] / rates.loc[n, ONE])} times as often "
              f"as one{held if n == most else ''}" for n in medians.index),
            *(f"{place}: answers a second grow with the phones to the power "
              f"{report.exponent(medians.index, medians[place]):.2f}" for place in PLACES)]


def main() -> None:
    """Run the benchmark and publish its medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--phones", type=int, nargs="+", default=[1, 4, 16, 32])
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "notebooks").mkdir()
        os.environ["WORKBENCH_ROOT"] = name
        model = peers.engine(peers.checkpoint("tiny", folder))
        clips = peers.clips(max(N_LEAST, N_A_PHONE * max(options.phones)), folder / "clips")
        found = pd.DataFrame(everywhere(model, clips, options))
    table = found.groupby(["phones", "place"])[["requests_per_s", "p50_ms", "p95_ms", "n_failed"]].median()
    report.publish(report.table_name("replicas", parser, options), found,
                   f"random weights, clips of {peers.CLIP_S:g} s, {options.rounds} rounds, medians",
                   table.reindex(PLACES, level="place").to_string(float_format="%.1f"), *compare(found))


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
