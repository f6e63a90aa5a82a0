"""How many queries a second does the live server answer, and how fast, with 1, 8 and 32 phones at once?

    python benchmarks/service.py --model default

A server of its own is started on this machine, which makes the requests too, and is sent the run's dev clips; each
number of phones is measured in several rounds in turn, so that a machine that slows down slows all of them. The table
goes to reports/benchmarks/service.csv.
"""

import argparse

import pandas as pd

from workbench import datasets, shipping, storage, traffic
from workbench.errors import ServiceError
from workbench.serving import server

PHONES = (1, 8, 32)
N_CLIPS = 300


def measure(running: server.Running, clips: pd.DataFrame, n_rounds: int) -> pd.DataFrame:
    """Send all clips with each number of phones, in turn. Returns: a row a round and number of phones."""
    rows = []
    for number in range(n_rounds + 1):  # the first round warms up
        for n_phones in PHONES:
            sent = traffic.send(clips, url=running.url, key=running.key, concurrency=n_phones)
            rows.append({"round": number, "phones": n_phones, **shipping.load_test(sent),
                         "memory_mb": server.memory_mb(running)})
    return pd.DataFrame(rows).query("round > 0")


def main() -> None:
    """Run the benchmark and print the medians with their spread over rounds."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--model", default="default", help="a run's name, champion, a version or a path")
    parser.add_argument("--run", default="default", help="the run whose dev clips are sent")
    parser.add_argument("--engine", default="auto", choices=["auto", "fast", "torch"])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if server.find() is not None:
        raise ServiceError("a server of this project runs and would be measured instead; end it with `workbench stop`")
    record = storage.read_record(options.run, "collect")
    assert record is not None, f"run {options.run} has no dataset: workbench run --to collect"
    clips = datasets.load(record.json("dataset")["version"]).dev.head(N_CLIPS).assign(app_version="load-test")
    running = server.start("--model", options.model, "--engine", options.engine)
    try:
        server.wait_ready(running)
        found = measure(running, clips, options.rounds)
    finally:
        server.stop()
    grouped = found.drop(columns="round").groupby("phones")
    table = grouped.median().round(1)
    table["requests_per_s min-max"] = grouped["requests_per_s"].agg(lambda s: f"{s.min():.0f}-{s.max():.0f}")
    print(f"{len(clips)} clips of {clips['duration_s'].median():.1f} s, {options.rounds} rounds, median over rounds")
    print(table.to_string())
    path = storage.data_folder().parent / "reports" / "benchmarks" / "service.csv"
    storage.write_text(path, found.to_csv(index=False))
    print(f"written: {path}")


if __name__ == "__main__":
    main()
