"""How many queries a second does the live server answer, and how fast, with 1 to 32 phones at once?

    pip install -c constraints.txt -e ".[peers]" && python benchmarks/service.py
    python benchmarks/service.py --wait-ms 5 50
    python benchmarks/service.py --run default

A server of its own is started on this machine, which makes the requests too. It answers with weights of random numbers
in the shape of Whisper tiny and is sent three seconds of noise each (see `peers.py`); or, by `--run`, it answers with
the model of a finished run and is sent that run's dev clips, once `workbench run --to train` has made both. `--model`
is another model, such as champion or an engine's folder.

With several `--wait-ms` (how long a query waits for company) a server for each is started in turn, and each is held
against the first by round. All numbers of phones are measured in every round, so that a machine that slows down slows
all of them. The tables go to reports/benchmarks/.
"""

import argparse
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import peers
import report

from workbench import datasets, settings, shipping, storage, traffic
from workbench.errors import ServiceError
from workbench.serving import server

N_CLIPS = {1: 60, 4: 160, 8: 240, 16: 320, 32: 320}
"""Requests a round by number of phones: some seconds of work each."""
WAIT = "WORKBENCH_BATCH_WAIT_MS"


@contextmanager
def serving(model: str, engine: str, wait_ms: float) -> Iterator[server.Running]:
    """Run a server whose queries wait so long for company."""
    os.environ[WAIT] = str(wait_ms)
    running = server.start("--model", model, "--engine", engine)
    try:
        server.wait_ready(running)
        yield running
    finally:
        server.stop()


def measure(model: str, clips: pd.DataFrame, options: argparse.Namespace) -> pd.DataFrame:
    """Send clips to each server from each number of phones. Returns: a row a round, wait and number of phones."""
    rows = []
    for number in range(options.rounds):
        for wait_ms in options.wait_ms:
            with serving(model, options.engine, wait_ms) as running:
                traffic.send(clips.head(max(N_CLIPS)), url=running.url, key=running.key)  # which warms it up
                for n_phones, n in N_CLIPS.items():
                    sent = traffic.send(clips.head(n), url=running.url, key=running.key, concurrency=n_phones)
                    rows.append({"round": number, "wait_ms": wait_ms, "phones": n_phones, **shipping.load_test(sent),
                                 "memory_mb": server.memory_mb(running)})
    return pd.DataFrame(rows)


def compare(found: pd.DataFrame, waits_ms: Sequence[float]) -> list[str]:
    """Say how answers grow with the phones, and how each wait compares to the first by round."""
    rates = found.groupby(["wait_ms", "phones"])["requests_per_s"].median()
    lines = [f"{wait_ms:g} ms: answers a second grow with the phones to the power "
             f"{report.exponent(list(N_CLIPS), rates[wait_ms]):.2f}" for wait_ms in waits_ms]
    by = found.pivot(index=["phones", "round"], columns="wait_ms", values=["requests_per_s", "p50_ms"])
    for wait_ms in waits_ms[1:]:
        answers, latency = (by[value, wait_ms] / by[value, waits_ms[0]] for value in ("requests_per_s", "p50_ms"))
        lines += [f"{wait_ms:g} ms against {waits_ms[0]:g} ms, {n} phones: {report.spread(answers[n])} times the "
                  f"answers a second, {report.spread(latency[n])} of the median latency" for n in N_CLIPS]
    return lines


def random_engine(folder: Path) -> str:
    """Make an engine of random weights, in a project of its own."""
    (folder / "notebooks").mkdir()
    os.environ["WORKBENCH_ROOT"] = str(folder)
    return str(peers.engine(peers.checkpoint("tiny", folder)))


def dev_clips(run: str) -> pd.DataFrame:
    """Find the clips of a finished run."""
    record = storage.read_record(run, "collect")
    assert record is not None, f"run {run} has no dataset: workbench run --run {run} --to train"
    return datasets.load(record.json("dataset")["version"]).dev.assign(app_version="load-test")


def main() -> None:
    """Run the benchmark and publish the medians, their growth and how waits compare."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--run", default="", help="the run whose model answers its dev clips")
    parser.add_argument("--model", default="", help="another model: a run, champion, a version or a path")
    parser.add_argument("--engine", default="auto", choices=["auto", "fast", "torch"])
    parser.add_argument("--wait-ms", type=float, nargs="+", default=[settings.Settings().batch_wait_ms])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = options.model or options.run or random_engine(Path(folder))
        clips = dev_clips(options.run) if options.run else peers.clips(max(N_CLIPS.values()), Path(folder) / "clips")
        if server.find() is not None:
            raise ServiceError("a server of this project runs and would be measured instead; end it with `workbench "
                               "stop`")
        found = measure(model, clips, options)
    table = found.groupby(["wait_ms", "phones"]).median().drop(columns=["round", "real_time_factor"])
    report.publish(report.table_name("service", parser, options), found,
                   f"{options.model or options.run or 'random weights'}, clips of "
                   f"{clips['duration_s'].median():.1f} s, {options.rounds} rounds, medians",
                   table.to_string(float_format="%.1f"), *compare(found, options.wait_ms))


if __name__ == "__main__":
    main()
