"""One contestant of `batch_decoding.py`, in a process of its own, which imports nothing that it does not need.

    python benchmarks/one_decoder.py CONTESTANT MODEL CLIPS N_THREADS

CLIPS is a text file with a path a line. Prints JSON: seconds to decode, after the model was loaded and warmed up (and
of the processor), peak memory in MB, and the answers that differ.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from peak import peak_mb

Decode = Callable[[Sequence[str]], list[str]]
N_WARM_UP = 2


def ours(model: str, n_threads: int) -> Decode:
    """Open an engine as the notebooks and the server do, and decode files; a table around them costs pandas' 70 MB."""
    from workbench import fast, recognizing

    recognizer = fast.FastRecognizer(Path(model), n_threads=n_threads)
    return lambda paths: [answer.text for answer in recognizing.transcribe_paths(recognizer, paths)]


def ours_in_torch(model: str, n_threads: int) -> Decode:
    """The reference engine: what `recognizers.transcribe` runs when its cache has no answer."""
    import pandas as pd
    import torch

    from workbench import recognizers

    torch.set_num_threads(n_threads)
    recognizer = recognizers.load(model)

    def decode(paths: Sequence[str]) -> list[str]:
        rows = pd.DataFrame({"utterance_id": paths, "audio_path": paths})
        return list(recognizers.decode(recognizer, rows)["hypothesis"])

    return decode


def openai_whisper(model: str, n_threads: int) -> Decode:
    """`whisper.transcribe`, file by file; samples are handed in, since its own reading starts ffmpeg for each.

    On a GPU it is halved, its own default there.
    """
    import soundfile
    import torch
    import whisper

    torch.set_num_threads(n_threads)
    loaded, has_gpu = whisper.load_model(model), torch.cuda.is_available()

    def one(path: str) -> str:
        samples = soundfile.read(path, dtype="float32")[0]
        return str(whisper.transcribe(loaded, samples, language="en", temperature=0.0, without_timestamps=True,
                                      fp16=has_gpu)["text"]).strip()

    return lambda paths: [one(path) for path in paths]


def faster_whisper(model: str, n_threads: int) -> Decode:
    """`WhisperModel.transcribe`, file by file."""
    from faster_whisper import WhisperModel

    loaded = WhisperModel(model, device="cpu", compute_type="int8", cpu_threads=n_threads)

    def one(path: str) -> str:
        segments, _ = loaded.transcribe(path, language="en", beam_size=1, temperature=0.0, without_timestamps=True)
        return "".join(segment.text for segment in segments).strip()

    return lambda paths: [one(path) for path in paths]


CONTESTANTS: dict[str, Callable[[str, int], Decode]] = {
    "ours": ours, "ours in torch": ours_in_torch, "openai-whisper": openai_whisper, "faster-whisper": faster_whisper}


def main() -> None:
    """Decode and print what it took."""
    name, model, clips, n_threads = sys.argv[1:]
    os.environ["OMP_NUM_THREADS"] = n_threads
    paths = Path(clips).read_text().split("\n")
    decode = CONTESTANTS[name](model, int(n_threads))
    decode(paths[:N_WARM_UP])
    began_s, began_cpu_s = time.monotonic(), time.process_time()
    answers = decode(paths)
    wall_s, cpu_s = time.monotonic() - began_s, time.process_time() - began_cpu_s
    print(json.dumps({"wall_s": wall_s, "cpu_s": cpu_s, "peak_mb": peak_mb(), "answers": sorted(set(answers))}))


if __name__ == "__main__":
    main()
