"""Does monitoring stay quiet in weeks 1 and 2 and speak in week 3? Twenty seeds of the demo world's traffic, one model.

    python benchmarks/alarms.py --run default --seeds 20

The weeks are spoken and decoded here and go to no server; what the log would hold of them is cached under
`data/cache/alarms`, so that a second run takes a minute. Wanted: at most two false alarms in forty quiet weeks, at most
one miss, at least half of the new names listed, at most a third of those listed wrong, at a level of 1 % a window. The
table goes to reports/benchmarks/alarms.csv, what it says to alarms.txt; other runs, models and seeds have a name of
their own.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one thread a process: the processes share the cores

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks import report
from workbench import (
    audio,
    bases,
    catalogue,
    datasets,
    demo_world,
    engines,
    monitoring,
    progress,
    recognizers,
    scoring,
    settings,
    storage,
    synthesis,
    terms,
    whisper_model,
)

WEEKS = (1, 2, 3)
N_SEEDS = 20
FIELDS = ["request_id", "time_s", "user_hash", "reference", "is_new_name", "noise", "device"]
NO_LABELS = pd.DataFrame(columns=["request_id", "reference", "labeller", "kind"])


def week_of_log(seed: int, week: int, engine: Path, n: int) -> Path:
    """Speak and decode a week once, and keep what the log would hold of it, and the truth."""
    plan = demo_world.production(demo_world.world(0), week=week, n=n, seed=seed)
    code = [storage.hash_file(Path(str(m.__file__))) for m in (synthesis, demo_world, audio)]
    key = storage.hash_value([storage.hash_table(plan), engines.facts(engine), code])[:16]
    path = storage.cache_folder("alarms") / f"{key}.parquet"
    if not path.is_file():
        plan = plan.sort_values("noise_id", ignore_index=True)  # each noise recording is made once
        clips = [synthesis.clip(row) for row in plan.to_dict("records")]
        heard = pd.DataFrame([asdict(h) for h in recognizer(engine).transcribe(clips)])
        storage.write_table(path, as_rows(plan, clips, heard.rename(columns={"text": "hypothesis"})))
    return path


@lru_cache(maxsize=1)
def recognizer(engine: Path) -> engines.FastRecognizer:
    """Load the engine once a process."""
    return engines.FastRecognizer(engine, n_threads=1)


def as_rows(plan: pd.DataFrame, clips: Sequence[audio.Samples], heard: pd.DataFrame) -> pd.DataFrame:
    """Put a week into the log's columns."""
    measured = pd.DataFrame({
        "duration_s": [audio.duration_s(clip) for clip in clips],
        "level_dbfs": [audio.level_dbfs(clip) for clip in clips],
        "snr_db": [audio.estimate_snr_db(clip) for clip in clips],
        "bandwidth_hz": [audio.estimate_bandwidth_hz(clip) for clip in clips]})
    truth = plan.rename(columns={"utterance_id": "request_id", "user": "user_hash", "text": "reference"})[FIELDS]
    return pd.concat([truth, measured, heard], axis=1).assign(role="champion", error="", app_version="").sort_values(
        "time_s", ignore_index=True)


def basis_of(model: Path, run: str) -> monitoring.Basis:
    """Know what the monitor notebook knows: dev and valid as the model hears them, and the words of train."""
    record = storage.read_record(run, "improve") or storage.read_record(run, "collect")
    assert record is not None, f"run {run} has no dataset: workbench run --to collect"
    speech = datasets.load(record.json("dataset")["version"])
    open_data = pd.concat([speech.dev, speech.valid], ignore_index=True)
    basis = bases.measure(open_data, recognizers.transcribe(model, open_data), weights=np.ones(len(open_data)),
                          known=terms.phrases(speech.train["text"]))
    return replace(basis, rows=basis.rows[open_data["split"].eq("dev").to_numpy()])


def judge(seed: int, rows: pd.DataFrame, basis: monitoring.Basis) -> dict[str, object]:
    """Watch three weeks and hold what was said against the truth."""
    rules = monitoring.Rules(max_latency_ms=np.inf)
    report = monitoring.watch(rows.assign(latency_ms=np.nan), basis, labels=NO_LABELS, rules=rules,
                              start_s=demo_world.WEEK_ONE_S)
    moved = {week: sorted(set(report.alarms.loc[report.alarms["window"].eq(week), "rule"])) for week in WEEKS}
    last = report.terms[report.terms["window"].eq(WEEKS[-1])]
    names = [name for group in catalogue.NEW_ENTITIES.values() for name in group]
    said = rows.set_index("request_id")["reference"].map(lambda t: next((name for name in names if name in t), ""))
    meant = last["example_ids"].map(lambda ids: said.loc[list(ids)].mode()[0])
    wer = true_wer(rows)
    return {"seed": seed, "quiet": "; ".join(f"week {w}: {', '.join(moved[w])}" for w in (1, 2) if moved[w]),
            "n_false": sum(bool(moved[w]) for w in (1, 2)), "is_missed": not moved[3],
            "week 3": ", ".join(rule.removeprefix("drift: ") for rule in moved[3]),
            "outcomes": " ".join(report.windows["outcome"]), "n_listed": len(last), "n_wrong": int(meant.eq("").sum()),
            "names_found": meant[meant.ne("")].nunique(), "names_said": said[said.ne("")].nunique(),
            **{f"expected {w}": f"{100 * e:.1f} v {100 * wer[w]:.1f}"
               for w, e in zip(WEEKS, report.windows["expected_wer"], strict=True)}}


def true_wer(rows: pd.DataFrame) -> dict[int, float]:
    """Score each week against what was really said."""
    scores = scoring.score(rows.assign(text=rows["reference"], utterance_id=rows["request_id"]),
                           rows["hypothesis"].tolist())
    week = ((rows["time_s"] - demo_world.WEEK_ONE_S) // demo_world.WEEK_S).astype(int) + 1
    sums = scores.groupby(week.to_numpy())[["n_errors", "n_words"]].sum()
    return dict(zip(sums.index, sums["n_errors"] / sums["n_words"], strict=True))


def named(options: argparse.Namespace) -> list[str]:
    """Say which model and run it was, where these are not the usual ones."""
    return [*[Path(options.model).name] * bool(options.model), *[options.run] * (options.run != "default")]


def main() -> None:
    """Run the benchmark and print what the claim asks for."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--model", default="", help="a checkpoint, a version or a run; else what improve left")
    parser.add_argument("--run", default="default", help="the run whose dataset the model was trained on")
    parser.add_argument("--seeds", type=int, default=N_SEEDS)
    parser.add_argument("--queries", type=int, default=settings.amounts("small").n_week, help="a week")
    options = parser.parse_args()
    model = whisper_model.find(options.model or str(storage.run_folder(options.run) / "05_improve" / "model.pt"))
    engine = engines.export(model, storage.cache_folder("alarms") / storage.hash_file(model)[:12])
    basis = basis_of(model, options.run)
    orders = [(seed, week, engine, options.queries) for seed in range(1, options.seeds + 1) for week in WEEKS]
    with ProcessPoolExecutor(synthesis.N_PROCESSES, get_context("spawn")) as pool:
        paths = list(progress.track(pool.map(week_of_log, *zip(*orders, strict=True)), "weeks", total=len(orders)))
    found = pd.DataFrame([judge(seed, pd.concat(map(pd.read_parquet, paths[3 * i : 3 * i + 3]), ignore_index=True),
                                basis) for i, seed in enumerate(range(1, options.seeds + 1))])
    report.publish(
        "_".join(["alarms", *named(options), *[f"{options.seeds}-seeds"] * (options.seeds != N_SEEDS)]), found,
        found.to_string(index=False), f"false alarms {found['n_false'].sum()} in {2 * len(found)} quiet weeks, misses "
        f"{found['is_missed'].sum()} in {len(found)}; names listed "
        f"{found['names_found'].sum() / found['names_said'].sum():.0%}, of those listed wrong "
        f"{found['n_wrong'].sum() / max(1, found['n_listed'].sum()):.0%}")


if __name__ == "__main__":
    main()
