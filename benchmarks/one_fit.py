"""One contestant of `from_nothing.py`: fits a size with the package that PYTHONPATH names, of whatever time that is.

    python benchmarks/one_fit.py FOLDER SIZE N_STEPS N_THREADS SEED

It tells, a JSON row a line, how far it has come; its clock stands still while the WER is taken. So that the oldest
package can run it, nothing is imported here that came later.
"""

import argparse
import json
import time
from dataclasses import replace
from typing import Any

import pandas as pd
import torch
from whisper import decoding

from workbench import audio, recipes, recognizers, scoring, settings, training, whisper_model

EVERY = 100
"""Steps from one loss that is told to the next."""


def listen_now(number: int, n_steps: int) -> bool:
    """Say whether the WER is taken after a step: twenty-one times, from a third of the steps on."""
    return number in {round(n_steps * (i + 10) / 30) for i in range(21)}


def tell(quiet: pd.DataFrame, n_steps: int) -> Any:
    """Make what takes the place of the loop's step: the same step, timed, which tells what it has come to."""
    recordings, step = [audio.read(path) for path in quiet["audio_path"]], training._Training._step
    spent, losses = {"wall_s": 0.0, "cpu_s": 0.0}, list[float]()

    def timed(self: Any, number: int, *parts: Any) -> float:  # today's loop hands over batches, the first made its own
        began = time.monotonic(), time.process_time()
        loss = step(self, number, *parts)
        spent["wall_s"] += time.monotonic() - began[0]
        spent["cpu_s"] += time.process_time() - began[1]
        losses.append(loss)
        is_heard = listen_now(number + 1, n_steps)
        if is_heard or (number + 1) % EVERY == 0:
            row = {"step": number + 1, "of": n_steps, **spent, "loss": sum(losses) / len(losses), "wer": None}
            losses.clear()
            if is_heard:
                heard = recognizers.WhisperRecognizer(self.model).transcribe(recordings)
                scores = scoring.score(quiet, [hypothesis.text for hypothesis in heard])
                row["wer"] = float(scores["n_errors"].sum() / scores["n_words"].sum())
            print(json.dumps(row), flush=True)
        return loss

    return timed


def main() -> None:
    """Fit, and tell."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("folder", help="where train.parquet and quiet.parquet lie")
    parser.add_argument("size")
    parser.add_argument("steps", type=int, help="0: as the size says")
    parser.add_argument("threads", type=int)
    parser.add_argument("seed", type=int)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    train, quiet = (pd.read_parquet(f"{options.folder}/{name}.parquet") for name in ("train", "quiet"))
    # Each has one hypothesis; Whisper's choice among several divides by a length, which is zero while nothing is known.
    decoding.MaximumLikelihoodRanker.rank = lambda self, tokens, sum_logprobs: [0] * len(tokens)
    how, n_steps = recipes.load("default"), options.steps or settings.amounts(options.size).n_steps
    how = replace(how, fit=replace(how.fit, n_validations=1))
    training._Training._step = tell(quiet, n_steps)  # type: ignore[method-assign]
    training.fit(whisper_model.build("", options.size, seed=options.seed), train, valid=None, recipe=how,
                 n_steps=n_steps, seed=options.seed)


if __name__ == "__main__":
    main()
