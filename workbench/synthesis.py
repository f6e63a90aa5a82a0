"""The demo world speaks: espeak-ng reads the plan aloud, `degrade` takes it to a place and through a phone.

espeak-ng keeps one global state, so it runs in processes of its own, never in the caller's. Every clip depends on its
row of the plan alone: the library is loaded afresh for each, which takes less than a millisecond.
"""

import _ctypes
import ctypes
import multiprocessing
import os
import tempfile
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextvars import ContextVar
from functools import lru_cache, partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd

from workbench import audio, catalogue, datasets, degrade, demo_world, progress, settings, slicing, storage
from workbench.audio import SAMPLE_RATE_HZ, Samples
from workbench.demo_world import SPLITS, TRAIN_MIX, USE_SHARES, World, plan, world
from workbench.errors import SynthesisError

__all__ = ["SPLITS", "TRAIN_MIX", "USE_SHARES", "World", "clip", "collect", "collect_more", "collect_week",
           "plan", "render", "speak", "world"]

Store = Callable[[Samples], Mapping[str, Any]]
Advance = Callable[[int], object]

# --- espeak-ng -------------------------------------------------------------------------------------------------------

AUDIO_OUTPUT_SYNCHRONOUS, CHARS_UTF8, RATE, PITCH = 2, 1, 1, 3
"""Source: espeak-ng's speak_lib.h."""
ESPEAK_RATE_HZ = 22_050
MOST_CHARACTERS = 128
"""Of a path to its data; espeak-ng has room for 160. Source: espeak-ng, speech.h, N_PATH_HOME."""
_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
_DATA = ContextVar("data", default="")
"""espeak-ng's data as a process that speaks much has it, "" for the package's."""


def _espeak() -> ModuleType:
    """Import the package that bundles espeak-ng. Raises: SynthesisError when it is not installed."""
    try:
        return import_module("espeakng_loader")
    except ImportError as error:
        raise SynthesisError("the demo world speaks through espeak-ng, which is not installed; "
                             "do: pip install -e '.[demo]'") from error


def _link_data(folder: Path) -> str:
    """Lay espeak-ng's data out so that it finds a voice at once, which halves the time that a query takes to speak.

    It asks for a voice's file in small letters, which few are called by, and then reads all voices that there are.
    Returns: the folder, "" where this cannot be: the package's own data speaks alike.
    """
    data = Path(_espeak().get_data_path())
    try:
        for path in data.iterdir():
            if path.name != "lang":
                (folder / path.name).symlink_to(path)
        (folder / "lang").mkdir()
        for path in (data / "lang").rglob("*"):
            if path.is_file():
                (folder / "lang" / path.name.lower()).symlink_to(path)
    except OSError:
        return ""
    return str(folder) if len(str(folder)) < MOST_CHARACTERS else ""


def speak(text: str, voice: str, *, pitch: int, speed: int, seed: int = 0) -> Samples:
    """Say a text in a voice (`accent+variant`), pitch 0 to 99, speed in words a minute; the ends are trimmed.

    Returns: [T] at 16 kHz, the same for the same arguments.
    Raises: SynthesisError when espeak-ng is not installed or does not know the accent; a variant that it does not know
    it leaves out without a word.
    """
    package, pieces = _espeak(), list[bytes]()

    def take(samples: int | None, n: int, _events: int) -> int:
        if samples and n:
            pieces.append(ctypes.string_at(samples, 2 * n))
        return 0

    library, callback, spoken = ctypes.CDLL(package.get_library_path()), _Callback(take), text.encode() + b"\0"
    try:
        library.espeak_Initialize(AUDIO_OUTPUT_SYNCHRONOUS, 0, (_DATA.get() or package.get_data_path()).encode(), 0)
        library.espeak_SetSynthCallback(callback)
        library.espeak_ng_SetRandSeed(ctypes.c_long(seed))
        if library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise SynthesisError(f"espeak-ng has no voice {voice!r}; reinstall it: pip install -e '.[demo]'")
        library.espeak_SetParameter(RATE, speed, 0)
        library.espeak_SetParameter(PITCH, pitch, 0)
        library.espeak_Synth(spoken, len(spoken), 0, 0, 0, CHARS_UTF8, None, None)
    finally:
        library.espeak_Terminate()
        _ctypes.dlclose(library._handle)  # what it remembers of one clip would change the next
    heard = np.frombuffer(b"".join(pieces), np.int16).astype(np.float32) / audio.PCM16_SCALE
    return audio.resample(np.trim_zeros(heard), ESPEAK_RATE_HZ, SAMPLE_RATE_HZ)


# --- one clip --------------------------------------------------------------------------------------------------------

TRACK_S = 10.0
"""Long enough that two clips of two seconds seldom share a piece of noise, and cheap to make."""
N_TALKERS = (4, 8)
"""Fewer are a conversation that can be followed, more are a steady noise."""
SILENCE_S, NO_SPEECH_S = (0.05, 0.3), (1.0, 3.0)
"""Before and after a query, from a tap to the first word; and how long a phone listens to nothing."""
PEAK_DBFS, NO_SPEECH_PEAK_DBFS = (-18.0, -3.0), (-40.0, -12.0)
"""People hold phones near and far; with nobody speaking, what is left is fainter."""


@lru_cache(maxsize=2)
def _track(noise: str, split: str, noise_seed: int) -> Samples:
    """Make a noise recording to cut from; babble is spoken by speakers of its split."""
    n_samples = round(TRACK_S * SAMPLE_RATE_HZ)
    if noise != "babble":
        return degrade.noise(noise, n_samples, noise_seed)
    rng = np.random.default_rng(noise_seed)
    there = [speaker for speaker in world(0).speakers if speaker.split == split]
    talkers = rng.choice(len(there), size=rng.integers(*N_TALKERS), replace=False)
    return degrade.babble([_talk(there[i].voice, rng) for i in talkers], n_samples, noise_seed)


def _talk(voice: str, rng: np.random.Generator) -> Samples:
    """Say a few queries one after the other: somebody else's talk."""
    text = ". ".join(catalogue.queries(3, rng)["text"])
    return speak(text, voice, pitch=int(rng.integers(*demo_world.PITCHES)),
                 speed=int(rng.integers(*demo_world.SPEEDS_WPM)), seed=int(rng.integers(2**31)))


def clip(row: Mapping[str, Any]) -> Samples:
    """Make the recording of one row of a plan: speech, silence around it, the place, the phone, the level."""
    rng = np.random.default_rng(row["seed"])
    track = _track(row["noise"], row["split"], row["noise_seed"])
    if not row["text"]:
        n_samples = round(rng.uniform(*NO_SPEECH_S) * SAMPLE_RATE_HZ)
        heard, peaks = degrade.cut(track, n_samples, row["seed"]), NO_SPEECH_PEAK_DBFS
    else:
        speech = speak(row["text"], row["voice"], pitch=row["pitch"], speed=row["speed"], seed=row["seed"])
        speech = np.pad(speech, [round(rng.uniform(*SILENCE_S) * SAMPLE_RATE_HZ) for _ in range(2)])
        heard, peaks = degrade.mix(speech, degrade.cut(track, len(speech), row["seed"]), row["snr_db"]), PEAK_DBFS
    level = rng.uniform(*peaks)
    return degrade.to_peak(degrade.DEVICES[row["device"]](degrade.to_peak(heard, level)), level)


# --- many clips ------------------------------------------------------------------------------------------------------

N_PROCESSES = min(8, os.cpu_count() or 1)
"""One a core, up to what the start of more would cost; clips do not depend on their number."""


def render(plan: pd.DataFrame, *, store: Store = datasets.store_clip, progress: Advance | None = None) -> pd.DataFrame:
    """Speak every row of a plan in processes of their own, and keep each clip where it was made.

    The processes are forked from one that has imported what they need, and that stays: the next plan's begin at once.

    `store` keeps a clip and returns its columns; it must be importable. `progress` is told how many more are done.
    Returns: the plan with audio_path, audio_sha, duration_s and level_dbfs.
    Raises: SynthesisError when espeak-ng is not installed or its process was killed.
    """
    settings.root()
    places = [rows.to_dict("records") for _, rows in plan.groupby("noise_id")]
    made: list[dict[str, Any]] = []
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "scipy.signal"])
    try:
        with (tempfile.TemporaryDirectory(prefix="workbench-") as folder,
              ProcessPoolExecutor(N_PROCESSES, context, _begin,
                                  (dict(os.environ), Path.cwd(), _link_data(Path(folder)))) as pool):
            for clips in pool.map(partial(_render_place, store=store), places):
                made += clips
                if progress:
                    progress(len(clips))
    except BrokenProcessPool as error:
        raise SynthesisError("a process that speaks the demo world was killed, perhaps for want of memory; "
                             "free some and run the same command: what was spoken is kept") from error
    return plan.merge(pd.DataFrame(made), on="utterance_id", validate="one_to_one") if made else plan


def _render_place(rows: list[dict[str, Any]], store: Store) -> list[dict[str, Any]]:
    """Make the clips of one noise recording, so that it is made once."""
    return [{"utterance_id": row["utterance_id"], **store(clip(row))} for row in rows]


def _begin(environment: dict[str, str], folder: Path, data: str) -> None:
    """Stand where the caller stands, and watch it from a thread: a killed one must not leave processes behind."""
    _DATA.set(data)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    threading.Thread(target=_wait_and_end, daemon=True).start()


def _wait_and_end() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


# --- what notebooks and requests call --------------------------------------------------------------------------------

FOR_RENDERING = ["voice", "pitch", "speed", "noise_id", "noise_seed", "seed"]
"""Columns of a plan that say how to make a clip, not what it is."""
POOL, MAX_ATTEMPTS = 4000, 25
"""A slice is looked for in plans of 4,000 clips: one with a share of a hundredth gives a thousand clips in the end."""


def collect(*, size: str, seed: int, progress: Advance | None = None) -> pd.DataFrame:
    """Record the demo world's first dataset: train mostly quiet, the other splits in the mix of use.

    Returns: a row a clip, ready for a dataset: utterance_id, text, speaker, split, noise, snr_db, accent, gender,
    device, intent, entity, entity_type, source, audio_path, audio_sha, duration_s, level_dbfs.
    """
    amounts = settings.amounts(size)
    return _record(pd.concat([
        plan(world(seed), split=split, n=getattr(amounts, f"n_{split}"), seed=seed, n_voices=amounts.n_voices,
             mix=TRAIN_MIX if split == "train" else USE_SHARES) for split in SPLITS], ignore_index=True), progress)


def _record(plan: pd.DataFrame, advance: Advance | None, store: Store = datasets.store_clip) -> pd.DataFrame:
    """Render a plan under a bar, and leave out how it was made."""
    if advance is None:
        with progress.Bar("speaking", total=len(plan)) as bar:
            return _record(plan, bar.advance, store)
    return render(plan, store=store, progress=advance).drop(columns=FOR_RENDERING).assign(source="demo")


def collect_more(*, seed: int, size: str, where: Mapping[str, str], n: int, round_seed: int,
                 progress: Advance | None = None) -> pd.DataFrame:
    """Record `n` new clips of a slice (`{"noise": "car"}`), with training speakers in training places.

    Returns: rows as `collect` gives them, all of split train, with ids that name the slice.
    Raises: SynthesisError for a slice that the demo world cannot record.
    """
    found = pd.DataFrame()
    for seed_of_pool in np.random.SeedSequence([round_seed, MAX_ATTEMPTS]).generate_state(MAX_ATTEMPTS):
        pool = plan(world(seed), split="train", n=POOL, mix=USE_SHARES, seed=int(seed_of_pool),
                    n_voices=settings.amounts(size).n_voices)
        found = pd.concat([found, _of_slice(pool, where)], ignore_index=True).head(n)
        if len(found) == n:
            break
    else:
        raise SynthesisError(f"only {len(found)} of {n} clips with {dict(where)} turned up in {MAX_ATTEMPTS * POOL:,} "
                             "clips of training speakers; ask for a slice that exists in use, or for fewer")
    name = storage.hash_value([dict(where), seed, round_seed])[:6]
    return _record(found.assign(utterance_id=[f"more-{name}-{i:05d}" for i in range(n)]), progress)


def collect_week(*, seed: int, week: int, n: int, traffic_seed: int = 0,
                 progress: Advance | None = None) -> pd.DataFrame:
    """Record a production week of the world `seed`, once; what is there of the same plan is read.

    The clips lie under `data/traffic`, as on people's phones: what the service may keep of them, it keeps elsewhere.
    Returns: a row a query in the order of time, as `demo_world.production` plans it, with audio_path (absolute),
        audio_sha, duration_s, level_dbfs; text is the truth.
    """
    planned = demo_world.production(world(seed), week=week, n=n, seed=traffic_seed)
    code = [storage.hash_file(Path(str(module.__file__))) for module in (degrade, demo_world)]
    key = storage.hash_value([storage.hash_table(planned), code, storage.hash_file(Path(__file__))])[:12]
    folder = storage.data_folder() / "traffic" / str(traffic_seed)
    recorded = folder / f"week-{week}-{key}.parquet"
    if not recorded.is_file():
        rows = _record(planned, progress, store=partial(_store_in, folder / "audio"))
        storage.write_table(recorded, rows.sort_values("time_s"))
    rows = pd.read_parquet(recorded)
    return rows.assign(audio_path=[str(folder / "audio" / path) for path in rows["audio_path"]])


def _store_in(folder: Path, samples: Samples) -> dict[str, Any]:
    """Keep a clip in a folder of its own, apart from those that datasets are made of."""
    measured = datasets.measure(samples)
    path = folder / f"{measured['audio_sha']}.wav"
    if not path.is_file():
        with storage.replacing(path) as temporary:
            audio.write(temporary, samples)
    return {"audio_path": path.name, **measured}


def _of_slice(pool: pd.DataFrame, where: Mapping[str, str]) -> pd.DataFrame:
    """Keep the rows of a plan that lie in a slice; bands of SNR are known before a clip is made."""
    known = slicing.bands(pool)
    if missing := set(where) - set(known):
        raise SynthesisError(f"the demo world cannot record by {', '.join(missing)}; ask by one of "
                             f"{', '.join(slicing.slice_columns(known))}")
    return pool[np.logical_and.reduce([known[column].astype(str) == str(value) for column, value in where.items()])]
