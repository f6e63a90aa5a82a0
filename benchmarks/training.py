"""How many seconds of audio does a second of training take in? Our loop and the usual fine-tuning recipe's, in turn.

    python benchmarks/training.py --sizes small full --batches 2 4 8 --clips 1.5 3 6 --rounds 3
    python benchmarks/training.py --precision bfloat16

Both train the same Whisper (`full` is tiny's size: width 384, 4+4 layers), in one precision on the same threads, on
the same invented clips with five words each. `ours` is `training.fit` under the default recipe, from files to updated
weights. `usual` is the loop of the common recipe, written with openai-whisper's model: clips padded to 30 s, cross-
entropy over the whole vocabulary, AdamW, gradients clipped at 1; its features are made beforehand and cost it nothing.
Each measures in a process of its own, whose largest memory is told. The limit is the processor's: the operations of a
step's matrix products and convolutions, forward and backward, at the pace of one large product of matrices in the same
precision; what share of that pace each reaches is told too. Wanted: eight times the audio a second. The rounds go to
reports/benchmarks/training.csv, what they say to training.txt; other choices have a name of their own.

Where there is a GPU both train on it, in bfloat16 unless told otherwise; the memory told is the card's, and the name
has the card in it. On a processor both train in float32 unless told otherwise, whatever the default recipe chooses.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import report
import torch
import whisper
from peak import peak_mb
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode
from whisper.model import Whisper, disable_sdpa

from workbench import audio, batches, recipes, training, whisper_model

REPOSITORY = Path(__file__).parents[1]
WORDS = ("play", "the", "latest", "news", "weather", "in", "paris", "coffee", "near", "me", "open", "now", "radio")
SPREAD = 0.4
"""Clips are this much shorter or longer than their mean."""
PEER_RATE = 1e-5
"""Source: the Whisper event's script, learning_rate; its gradients are clipped at 1, the Trainer's default."""
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
N_SQUARE = 2048 if DEVICE == "cpu" else 8192
"""Rows of the square matrices whose product stands for the processor's pace."""
PRECISION: Literal["float32", "bfloat16"] = "float32" if DEVICE == "cpu" else "bfloat16"
CARD = "" if DEVICE == "cpu" else torch.cuda.get_device_name()
SIZES, BATCHES, CLIPS_S = ["small", "full"], [2, 4, 8], [1.5, 3.0, 6.0]
GOAL_TIMES = 8.0


@dataclass(frozen=True)
class Case:
    """One measurement: who trains which model on what, and how many steps."""

    contestant: str
    size: str
    batch_size: int
    clip_s: float
    n_steps: int
    n_threads: int
    precision: Literal["float32", "bfloat16"] = PRECISION


def clips(folder: Path, case: Case) -> pd.DataFrame:
    """Invent recordings: noise as long as queries, under five words each."""
    rng, rows = np.random.default_rng(0), []
    for i in range(case.batch_size * case.n_steps):
        samples = rng.normal(0, 0.1, int(case.clip_s * rng.uniform(1 - SPREAD, 1 + SPREAD) * audio.SAMPLE_RATE_HZ))
        path = folder / f"{i}.wav"
        audio.write(path, samples.astype("float32"))
        rows.append({"audio_path": str(path), "reference": " ".join(rng.choice(WORDS, 5)), "audio_sha": str(i),
                     "duration_s": len(samples) / audio.SAMPLE_RATE_HZ})
    return pd.DataFrame(rows)


def ours(table: pd.DataFrame, case: Case) -> Callable[[int], float]:
    """Make our loop. Returns: what takes so many steps and gives their seconds."""
    how = recipes.load("default")
    how = replace(how, fit=replace(how.fit, batch_size=case.batch_size, precision=case.precision,
                                   n_validations=1))
    model = whisper_model.build("", case.size, seed=0)

    def train(n_steps: int) -> float:  # every call trains the weights on, which is a fit that no cache knows
        return training.fit(model, table, valid=None, recipe=how, n_steps=n_steps).wall_time_s

    return train


def usual(table: pd.DataFrame, case: Case) -> Callable[[int], float]:
    """Make the usual recipe's loop over features that are there. Returns: as `ours`."""
    model = Whisper(whisper_model.build("", case.size, seed=0).dims).to(DEVICE)
    words = batches.tokenizer(model.is_multilingual)
    data = [(whisper.log_mel_spectrogram(whisper.pad_or_trim(audio.read(path))), *batches.spell_tokens(text, words))
            for path, text in zip(table["audio_path"], table["reference"], strict=True)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEER_RATE)

    def step(rows: list[tuple[Tensor, list[int], list[int]]]) -> None:
        mel, read, write = zip(*rows, strict=True)
        targets = batches._padded(write, batches.IGNORED).to(DEVICE)
        with torch.autocast(DEVICE, dtype=torch.bfloat16, enabled=case.precision == "bfloat16"):
            logits = model(torch.stack(mel).to(DEVICE), batches._padded(read, words.eot).to(DEVICE))
            loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=batches.IGNORED)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    def train(n_steps: int) -> float:
        began_s = time.monotonic()
        for i in range(n_steps):
            step(data[i * case.batch_size : (i + 1) * case.batch_size])
        rest()
        return time.monotonic() - began_s

    return train


def measure(case: Case) -> dict[str, float]:
    """Train in this process. Returns: seconds a step, peak memory, operations a step, the processor's pace."""
    torch.set_num_threads(case.n_threads)
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(REPOSITORY / "notebooks" / "recipes", Path(folder) / "notebooks" / "recipes")
        os.environ["WORKBENCH_ROOT"] = folder
        table = clips(Path(folder), case)
        train = {"ours": ours, "usual": usual}[case.contestant](table, case)
        train(1)
        step_s = train(case.n_steps) / case.n_steps
        largest = peak_mb() if DEVICE == "cpu" else torch.cuda.max_memory_allocated() / 2**20
        found = {"step_s": step_s, "peak_mb": largest, "pace": pace(case), "audio_s": case.batch_size * mean_s(table)}
        return {**found, "operations": operations(case, table)}


def mean_s(table: pd.DataFrame) -> float:
    """Give the clips' mean length."""
    return float(table["duration_s"].mean())


def rest() -> None:
    """Wait until the GPU, if there is one, has done what it was told."""
    if DEVICE != "cpu":
        torch.cuda.synchronize()


def pace(case: Case) -> float:
    """Multiply large matrices. Returns: operations a second, the median of five."""
    a, b = (torch.randn(N_SQUARE, N_SQUARE, device=DEVICE, dtype=getattr(torch, case.precision)) for _ in range(2))
    seconds = []
    for _ in range(6):
        rest()
        began_s = time.monotonic()
        a @ b
        rest()
        seconds.append(time.monotonic() - began_s)
    return 2 * N_SQUARE**3 / float(np.median(seconds[1:]))


def operations(case: Case, table: pd.DataFrame) -> float:
    """Count a step's operations, attention written out; the usual recipe's by one clip, for all cost the same."""
    n_steps, scale = (case.n_steps, 1) if case.contestant == "ours" else (1, case.batch_size)
    counted = case if case.contestant == "ours" else replace(case, batch_size=1, n_steps=1)
    train = {"ours": ours, "usual": usual}[case.contestant](table[: counted.batch_size * n_steps], counted)
    with disable_sdpa(), FlopCounterMode(display=False) as counter:
        train(n_steps)
    return counter.get_total_flops() * scale / n_steps


def cases(options: argparse.Namespace) -> Iterator[Case]:
    """List the measurements of a round: batch sizes at the middle length, lengths at the middle batch size."""
    middle_batch, middle_clip = (sorted(v)[len(v) // 2] for v in (options.batches, options.clips))
    shapes = [(b, middle_clip) for b in options.batches]
    shapes += [(middle_batch, clip_s) for clip_s in options.clips if clip_s != middle_clip]
    for size in options.sizes:
        for batch_size, clip_s in shapes:
            for contestant, n_steps in (("ours", options.steps), ("usual", options.usual_steps)):
                yield Case(contestant, size, batch_size, clip_s, n_steps, options.threads, options.precision)


def in_own_process(case: Case) -> dict[str, Any]:
    """Measure a case apart from all others."""
    command = [sys.executable, __file__, "--case", json.dumps(asdict(case))]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return {**asdict(case), **json.loads(done.stdout.splitlines()[-1])}


def table_of(rows: pd.DataFrame) -> pd.DataFrame:
    """Set the contestants side by side: medians over the rounds, and how often faster with lowest and highest."""
    rows = rows.assign(audio=rows["audio_s"] / rows["step_s"], share=rows["operations"] / rows["step_s"] / rows["pace"])
    values = ["step_s", "audio", "peak_mb", "operations", "share"]
    by = ["size", "batch_size", "clip_s"]
    wide = rows.pivot_table(index=[*by, "round"], columns="contestant", values=values, sort=False)
    times = wide["audio"]["ours"] / wide["audio"]["usual"]
    medians = wide.groupby(level=by, sort=False).median()
    made = pd.DataFrame({f"{value}_{name}": medians[value][name] for value in values for name in ("ours", "usual")})
    spread = times.groupby(level=by, sort=False).agg(["median", "min", "max"]).add_prefix("times_")
    return made.assign(operations_ours=made["operations_ours"] / 1e9, operations_usual=made["operations_usual"] / 1e9
                       ).rename(columns=lambda name: name.replace("operations", "gflop")).join(spread)


def exponents(table: pd.DataFrame) -> Iterator[str]:
    """Say how a step's time grows with the batch and with the clips."""
    for size, part in table.reset_index().groupby("size", sort=False):
        for column, fixed in (("batch_size", "clip_s"), ("clip_s", "batch_size")):
            line = part[part[fixed].eq(part[fixed].mode()[0])]
            for name in ("ours", "usual") if len(line) > 1 else ():
                grown = report.exponent(line[column], line[f"step_s_{name}"])
                yield f"{size}: a step of {name} grows with {column} to the power {grown:.2f}"


def name_of(options: argparse.Namespace) -> str:
    """Name the table after what it is of: the card, and whatever was chosen instead of the defaults."""
    chosen = ((options.sizes, SIZES), (options.batches, BATCHES), (options.clips, CLIPS_S),
              ([options.precision], [PRECISION]), ([f"{options.threads}-threads"], [f"{os.cpu_count()}-threads"]))
    return "_".join(["training", *CARD.split(), *(str(one) for ours, usual in chosen if ours != usual for one in ours)])


def main() -> None:
    """Run the benchmark and print both contestants side by side."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=SIZES)
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    parser.add_argument("--clips", type=float, nargs="+", default=CLIPS_S, help="mean seconds")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10, help="of ours, a measurement")
    parser.add_argument("--usual-steps", type=int, default=2)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default=PRECISION)
    parser.add_argument("--case", help="measure this one alone, in this process")
    options = parser.parse_args()
    if options.case:
        print(json.dumps(measure(Case(**json.loads(options.case)))))
        return
    rows: list[dict[str, Any]] = []
    for number in range(options.rounds):
        for case in cases(options):
            rows.append({**in_own_process(case), "round": number})
            print(json.dumps(rows[-1]), flush=True)
    table = table_of(pd.DataFrame(rows))
    least = table["times_median"].min()
    report.publish(
        name_of(options), pd.DataFrame(rows), f"medians of {options.rounds} rounds, {CARD or options.threads} "
        f"{'' if CARD else 'threads'}, {options.precision}; audio: seconds of clips a second; share: of the pace of a "
        f"product of {N_SQUARE:,} square matrices, {np.median([r['pace'] for r in rows]) / 1e9:.0f} Gflop/s",
        table.reset_index().to_string(index=False, float_format="%.3g"), *exponents(table),
        f"ours takes in at least {least:.2f} times the audio, wanted {GOAL_TIMES:g}: "
        f"{'yes' if least >= GOAL_TIMES else 'no'}")


if __name__ == "__main__":
    main()
