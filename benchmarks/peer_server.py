"""What people write first around faster-whisper: a FastAPI route that transcribes each upload, in a pool of threads.

    python benchmarks/peer_server.py ENGINE --port 8100 --threads 2 --workers 1

A process of its own, which imports nothing of the workbench, so that its memory is the peer's; `http_throughput.py`
starts it. Decoding is as ours: greedy, without timestamps, English.
"""

import argparse
import os

import uvicorn
from fastapi import FastAPI, UploadFile
from faster_whisper import WhisperModel


def create_app(model: WhisperModel) -> FastAPI:
    """Make the application; a plain `def` route runs in Starlette's pool of threads."""
    app = FastAPI()

    @app.get("/health/live")
    def live() -> dict[str, int]:
        return {"pid": os.getpid()}

    @app.post("/v1/audio/transcriptions")
    def transcriptions(file: UploadFile) -> dict[str, str]:
        segments, _ = model.transcribe(file.file, language="en", beam_size=1, temperature=0.0, without_timestamps=True)
        return {"text": "".join(segment.text for segment in segments).strip()}

    return app


def main() -> None:
    """Load the model and serve it."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("engine", help="a folder with CTranslate2's files and tokenizer.json")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True)
    options = parser.parse_args()
    model = WhisperModel(options.engine, device="cpu", compute_type="int8", cpu_threads=options.threads,
                         num_workers=options.workers)
    uvicorn.run(create_app(model), port=options.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
