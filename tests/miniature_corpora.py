"""Miniatures of published corpora, each in its true layout on disk: same folders, files, columns and words.

Where a corpus must teach something it is spoken by the demo world, else its sounds are short and made here.
"""

import io
import shutil
import tarfile
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet
import soundfile

from workbench import audio, datasets, demo_world, synthesis

RATE_HZ = audio.SAMPLE_RATE_HZ
QUERIES = ("play some jazz", "call my mother", "the weather in oslo", "turn the light off", "where is the station")
LIBRISPEECH_SUBSETS = {"train-clean-100": 0.6, "dev-clean": 0.2, "test-clean": 0.2}
SPEAKERS_HEAD = ("; Some pieces of information about the speakers\n;\n"
                 ";ID  |SEX| SUBSET           |MINUTES| NAME\n")


def librispeech(folder: Path, *, n_speakers: int = 40, n_each: int = 10, seed: int = 0) -> Path:
    """Speak a LibriSpeech of `n_speakers` with some `n_each` queries each: train-clean-100, dev-clean and test-clean.

    Source: https://www.openslr.org/12, README.TXT there.
    Returns: the folder `LibriSpeech`, as its tarballs unpack to.
    """
    root, spoken = folder / "LibriSpeech", _spoken(folder / "spoken", n_speakers, n_each, seed)
    people = list(dict.fromkeys(spoken["speaker"]))
    subsets = [name for name, share in LIBRISPEECH_SUBSETS.items() for _ in range(round(share * len(people)))]
    subsets = [*["train-clean-100"] * (len(people) - len(subsets)), *subsets][:len(people)]
    sexes, lines = dict(zip(spoken["speaker"], spoken["gender"], strict=True)), []
    for number, (person, subset) in enumerate(zip(people, subsets, strict=True)):
        reader = str(1001 + 3 * number)
        lines.append(f"{reader:<5}| {sexes[person][0].upper()} | {subset:<17}| 25.03 | Reader {reader}\n")
        _read_chapter(root / subset / reader / str(120_000 + number), spoken[spoken["speaker"] == person])
    (root / "SPEAKERS.TXT").write_text(SPEAKERS_HEAD + "".join(lines))
    for name in ("BOOKS", "CHAPTERS", "LICENSE", "README"):
        (root / f"{name}.TXT").write_text(f"{name} of a miniature\n")
    shutil.rmtree(folder / "spoken")
    return root


def _read_chapter(folder: Path, spoken: pd.DataFrame) -> None:
    """Write one reader's chapter: a FLAC file an utterance, and one file with all their words in upper case."""
    folder.mkdir(parents=True)
    chapter, lines = f"{folder.parent.name}-{folder.name}", []
    for number, (sound, said) in enumerate(zip(spoken["audio_path"], spoken["text"], strict=True)):
        lines.append(f"{chapter}-{number:04d} {said.upper()}\n")
        soundfile.write(folder / f"{chapter}-{number:04d}.flac", audio.read(sound), audio.SAMPLE_RATE_HZ)
    (folder / f"{chapter}.trans.txt").write_text("".join(lines))


def _spoken(folder: Path, n_speakers: int, n_each: int, seed: int) -> pd.DataFrame:
    """Let people of the demo world speak in quiet rooms. Returns: text, speaker, gender, accent, audio_path."""
    folder.mkdir(parents=True)
    world = demo_world.world(seed)
    people = world.speakers_of("train", len(world.speakers))
    plan = demo_world.plan(world, split="train", n=len(people) * n_each, mix={"quiet": 1.0}, seed=seed,
                           n_voices=len(world.speakers))
    sexes = [[person.speaker for person in people if person.gender == gender] for gender in ("female", "male")]
    heard = [name for pair in zip(*sexes, strict=False) for name in pair][:n_speakers]
    rows = plan[plan["speaker"].isin(heard) & (plan["text"] != "")]
    return synthesis.render(rows, store=partial(_wav, folder)).sort_values(["speaker", "utterance_id"])


def _wav(folder: Path, samples: audio.Samples) -> dict[str, Any]:
    measured = datasets.measure(samples)
    path = folder / f"{measured['audio_sha']}.wav"
    audio.write(path, samples)
    return {"audio_path": str(path), **measured}


def sound(seed: int, seconds: float = 0.6) -> audio.Samples:
    """Make a short sound that no other seed makes."""
    return (np.random.default_rng(seed).normal(size=round(seconds * RATE_HZ)) * 0.1).astype(np.float32)


def tarball(folder: Path, path: Path, name: str = "") -> Path:
    """Pack a folder as publishers do: under its own name, or under `name` ("." is the bare contents)."""
    with tarfile.open(path, "w:gz") as tar:
        tar.add(folder, arcname=name or folder.name)
    return path


# --- Speech Commands -------------------------------------------------------------------------------------------------


def speech_commands(folder: Path, *, n_speakers: int = 20, words: tuple[str, ...] = ("yes", "no", "marvin")) -> Path:
    """Make a Speech Commands v0.02: a folder a word, speakers as eight hex digits, two lists, background noise.

    Source: README.md of the corpus. Returns: the folder with the lists.
    """
    root, lists = folder / "speech_commands_v0.02", dict[str, list[str]](valid=[], test=[])
    for number in range(n_speakers):
        speaker = f"{0x0a7c2a8d + number:08x}"
        for place, word in enumerate(words):
            name = f"{word}/{speaker}_nohash_{number % 2}.wav"
            (root / word).mkdir(parents=True, exist_ok=True)
            audio.write(root / name, sound(100 * number + place, 1.0))
            for split in lists if number % 10 > 7 else ():
                if (split == "valid") == (number % 10 == 8):
                    lists[split].append(name)
    (root / "_background_noise_").mkdir()
    audio.write(root / "_background_noise_" / "doing_the_dishes.wav", sound(9, 3.0))
    (root / "validation_list.txt").write_text("\n".join(lists["valid"]) + "\n")
    (root / "testing_list.txt").write_text("\n".join(lists["test"]) + "\n")
    for name in ("README.md", "LICENSE"):
        (root / name).write_text(f"{name} of a miniature\n")
    return root


# --- Common Voice ----------------------------------------------------------------------------------------------------

CV_COLUMNS = ("client_id", "path", "sentence_id", "sentence", "sentence_domain", "up_votes", "down_votes", "age",
              "gender", "accents", "variant", "locale", "segment")
"""Source: release 17.0 (2024-03-15) and later."""


def common_voice(folder: Path, *, n_speakers: int = 20, language: str = "en") -> Path:
    """Make a Common Voice release of one language: MP3 clips, a table a split, and what else a release has.

    Returns: the release's folder, which holds the language's.
    """
    root = folder / "cv-corpus-17.0-2024-03-15"
    place, tables = root / language, dict[str, list[dict[str, Any]]](train=[], dev=[], test=[], validated=[])
    (place / "clips").mkdir(parents=True)
    for number in range(3 * n_speakers):
        speaker, name = number // 3, f"common_voice_{language}_{39_000_000 + number}.mp3"
        said = '""Hello"", she said.' if number == 0 else QUERIES[number % len(QUERIES)].capitalize() + "."
        row = dict.fromkeys(CV_COLUMNS, "") | {
            "client_id": f"{speaker:0128x}", "path": name, "sentence": said, "up_votes": "2", "down_votes": "0",
            "age": ("twenties", "fifties", "")[speaker % 3], "locale": language, "sentence_id": f"{number:064x}",
            "gender": ("male_masculine", "female_feminine", "")[speaker % 3],
            "accents": ("United States English", "", "India and South Asia (India, Pakistan, Sri Lanka)")[speaker % 3]}
        soundfile.write(place / "clips" / name, sound(number), 32_000, format="MP3")
        tables["validated"].append(row)
        if number % 3 < 2:  # the third of each speaker repeats a sentence, and is in no split
            tables["dev" if speaker % 10 == 8 else "test" if speaker % 10 == 9 else "train"].append(row)
    for table, rows in {**tables, "other": [], "invalidated": []}.items():
        lines = ["\t".join(CV_COLUMNS), *("\t".join(row.values()) for row in rows)]
        (place / f"{table}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (place / "reported.tsv").write_text("sentence_id\tsentence\tlocale\treason\n")
    (place / "clip_durations.tsv").write_text("clip\tduration[ms]\n")
    return root


# --- the hub ---------------------------------------------------------------------------------------------------------

HUB_ROWS = {"train": 24, "validation": 6, "test": 6}
OTHER_NAMES = {"validation": "dev"}


def _hub_row(number: int, seconds: float = 0.6) -> dict[str, Any]:
    buffer = io.BytesIO()
    soundfile.write(buffer, sound(number, seconds), RATE_HZ, format="WAV")
    return {"name": f"{10_000_000_000 + number}.wav", "said": QUERIES[number % len(QUERIES)], "gender": number % 2,
            "content": buffer.getvalue()}


def fleurs_tables(folder: Path, language: str = "en_us") -> Path:
    """Make a FLEURS as the hub kept it first: data/en_us/train.tsv without a header, audio/train.tar.gz beside it."""
    place = folder / "fleurs" / "data" / language
    (place / "audio").mkdir(parents=True)
    start = 0
    for split, n in HUB_ROWS.items():
        name = OTHER_NAMES.get(split, split)
        rows = [_hub_row(number) for number in range(start, start + n)]
        start += n
        lines = ["\t".join((str(1500 + i // 2), row["name"], row["said"].capitalize() + ".", row["said"],
                            " ".join(row["said"].replace(" ", "|")), "9600", ("MALE", "FEMALE")[row["gender"]]))
                 for i, row in enumerate(rows)]
        (place / f"{name}.tsv").write_text("\n".join(lines) + "\n")
        with tarfile.open(place / "audio" / f"{name}.tar.gz", "w:gz") as tar:
            for row in rows:
                member = tarfile.TarInfo(f"{name}/{row['name']}")
                member.size = len(row["content"])
                tar.addfile(member, io.BytesIO(row["content"]))
    return folder / "fleurs"


def fleurs_splits(splits: dict[str, int] | None = None) -> Any:
    """Make FLEURS as `datasets` has it. Source: its dataset card; gender is a class, audio is held as bytes."""
    from datasets import Audio, ClassLabel, Dataset, DatasetDict, Features, Value

    features = Features({
        "id": Value("int32"), "num_samples": Value("int32"), "path": Value("string"),
        "audio": Audio(sampling_rate=RATE_HZ), "transcription": Value("string"), "raw_transcription": Value("string"),
        "gender": ClassLabel(names=["male", "female", "other"]), "lang_id": ClassLabel(names=["af_za", "en_us"]),
        "language": Value("string"), "lang_group_id": ClassLabel(names=["western_european_we"])})
    made, start = {}, 0
    for split, n in (splits or HUB_ROWS).items():
        rows = [_hub_row(number) for number in range(start, start + n)]
        start += n
        made[split] = Dataset.from_list([{
            "id": 1500 + i // 2, "num_samples": 9600, "path": row["name"],
            "audio": {"bytes": row["content"], "path": row["name"]}, "transcription": row["said"],
            "raw_transcription": row["said"].capitalize() + ".", "gender": row["gender"], "lang_id": 1,
            "language": "English", "lang_group_id": 0} for i, row in enumerate(rows)]).cast(features)
    return DatasetDict(made)


def fleurs_snapshot(folder: Path, *languages: str) -> Path:
    """Make the repository as it is on the hub now: parquet-data/en_us/train-00000-of-00002.parquet, and so on."""
    for language in languages or ("en_us",):
        place = folder / "snapshot" / "parquet-data" / language
        place.mkdir(parents=True)
        for split, rows in fleurs_splits().items():
            n_files = 2 if split == "train" else 1
            for number in range(n_files):
                rows.shard(n_files, number).to_parquet(place / f"{split}-{number:05d}-of-{n_files:05d}.parquet")
    return folder / "snapshot"


def minds14_snapshot(folder: Path, n: int = 20, language: str = "en-US", seconds: float = 0.6) -> Path:
    """Make MInDS-14's repository: en-US/train-00000-of-00001.parquet, telephone speech at 8 kHz, one split."""
    from datasets import Audio, ClassLabel, Dataset, Features, Value

    names = ["abroad", "address", "app_error", "atm_limit", "balance", "business_loan", "card_issues", "cash_deposit",
             "direct_debit", "freeze", "high_value_payment", "joint_account", "latest_transactions", "pay_bill"]
    features = Features({
        "path": Value("string"), "audio": Audio(sampling_rate=8000), "transcription": Value("string"),
        "english_transcription": Value("string"), "intent_class": ClassLabel(names=names),
        "lang_id": ClassLabel(names=["cs-CZ", "en-US"])})
    place, rows = folder / "minds14" / language, list[dict[str, Any]]()
    place.mkdir(parents=True)
    for number in range(n):
        row, name = _hub_row(500 + number, seconds), f"{0x602ba55abb1e6d0f + number:x}.wav"
        rows.append({
            "path": f"{language}~JOINT_ACCOUNT/{name}", "audio": {"bytes": row["content"], "path": name},
            "transcription": row["said"], "english_transcription": row["said"], "intent_class": number % 14,
            "lang_id": 1})
    Dataset.from_list(rows).cast(features).to_parquet(place / "train-00000-of-00001.parquet")
    return folder / "minds14"


def with_card(snapshot: Path) -> Path:
    """Add the README.md by which the hub knows languages, splits and columns, written as `push_to_hub` writes it."""
    from datasets import DatasetInfo, Features, SplitDict, SplitInfo
    from datasets.info import DatasetInfosDict
    from datasets.utils.metadata import MetadataConfigs
    from huggingface_hub import DatasetCardData

    card, infos, configs = DatasetCardData(license="cc-by-4.0"), DatasetInfosDict(), MetadataConfigs()
    for folder in sorted({path.parent for path in snapshot.rglob("*.parquet")}):
        splits, features = SplitDict(), Features()
        for path in sorted(folder.glob("*.parquet")):
            split, table = path.name.partition("-")[0], pyarrow.parquet.read_table(path)
            features = Features.from_arrow_schema(table.schema)
            before = splits.get(split, SplitInfo(split))
            splits[split] = SplitInfo(split, before.num_bytes + table.nbytes, before.num_examples + len(table))
        infos[folder.name] = DatasetInfo(features=features, splits=splits)
        configs[folder.name] = {"data_files": [
            {"split": split, "path": f"{folder.relative_to(snapshot)}/{split}-*"} for split in splits]}
    infos.to_dataset_card_data(card)
    configs.to_dataset_card_data(card)
    (snapshot / "README.md").write_text(f"---\n{card}\n---\n\n# A miniature\n")
    return snapshot


MINDS14_INTENTS = ("ABROAD", "APP_ERROR", "CARD_ISSUES", "JOINT_ACCOUNT", "PAY_BILL")


def minds14_release(folder: Path, n: int = 20, languages: tuple[str, ...] = ("cs-CZ", "en-US")) -> Path:
    """Make MInDS-14.zip: license.md, text.zip with a table a language, audio.zip with a folder a language's intent.

    Source: http://poly-public-data.s3.amazonaws.com/MInDS-14/MInDS-14.zip, as espnet's egs2/minds14 unpacks it.
    """
    parts = {"text": io.BytesIO(), "audio": io.BytesIO()}
    with zipfile.ZipFile(parts["text"], "w") as text, zipfile.ZipFile(parts["audio"], "w") as sounds:
        for place, language in enumerate(languages):
            lines = ["filepath,text_asr,text_translated,intent"]
            for number in range(n):
                intent, row = MINDS14_INTENTS[number % len(MINDS14_INTENTS)], _hub_row(900 + 100 * place + number)
                name = f"{language}~{intent}/{0x602ba55abb1e6d0fbce92065 + number:x}.wav"
                lines.append(f'{name},"{row["said"]}, please",{row["said"]},{intent}')
                sounds.writestr(name, row["content"])
            text.writestr(f"{language}.csv", "\n".join(lines) + "\n")
    with zipfile.ZipFile(folder / "MInDS-14.zip", "w") as whole:
        for part, packed in parts.items():
            whole.writestr(f"MInDS-14/{part}.zip", packed.getvalue())
        whole.writestr("MInDS-14/license.md", "CC BY 4.0\n")
    return folder / "MInDS-14.zip"


# --- lhotse ----------------------------------------------------------------------------------------------------------


def lhotse_manifests(folder: Path, *, n_speakers: int = 20) -> Path:
    """Make what lhotse's recipes leave: mini_recordings_train.jsonl.gz, mini_supervisions_train.jsonl.gz, and test.

    A speaker's recording holds three queries; those of the test part are a recording each.
    """
    from lhotse import Recording, RecordingSet, SupervisionSegment, SupervisionSet

    place = folder / "manifests"
    (place / "audio").mkdir(parents=True)
    for part in ("train", "test"):
        recordings, supervisions = [], []
        for number in range(n_speakers if part == "train" else n_speakers // 4):
            path, n_said = place / "audio" / f"{part}-{number:02d}.wav", 3 if part == "train" else 1
            audio.write(path, sound(1000 * (part == "test") + number, 1.0 * n_said))
            recordings.append(Recording.from_file(path))
            supervisions += [SupervisionSegment(
                id=f"{path.stem}-{i}", recording_id=path.stem, start=1.0 * i, duration=1.0, language="English",
                text=QUERIES[(number + i) % len(QUERIES)], speaker=f"{part}{number:02d}", gender="FM"[number % 2],
                custom={"accent": ("scottish", "indian")[number % 2]}) for i in range(n_said)]
        RecordingSet.from_recordings(recordings).to_file(place / f"mini_recordings_{part}.jsonl.gz")
        SupervisionSet.from_segments(supervisions).to_file(place / f"mini_supervisions_{part}.jsonl.gz")
    return place


# --- noise -----------------------------------------------------------------------------------------------------------


def musan(folder: Path, *, n: int = 30) -> Path:
    """Make a MUSAN: noise from two collections with LICENSE and ANNOTATIONS beside it, some music and speech."""
    root = folder / "musan"
    for place, count in (("free-sound", n - n // 5), ("sound-bible", n // 5)):
        there = root / "noise" / place
        there.mkdir(parents=True)
        names = [f"noise-{place}-{number:04d}" for number in range(count)]
        for number, name in enumerate(names):
            audio.write(there / f"{name}.wav", sound(number + 7000 * (place == "free-sound"), 0.5 + 0.1 * (number % 5)))
        (there / "LICENSE").write_text("".join(f"{name}.wav, public domain\n" for name in names))
        (there / "ANNOTATIONS").write_text("".join(f"{name} noise\n" for name in names))
    for kind in ("music/fma", "speech/librivox"):
        (root / kind).mkdir(parents=True)
        audio.write(root / kind / f"{kind.replace('/', '-')}-0000.wav", sound(1))
    (root / "README").write_text("README of a miniature\n")
    return root


def demand(folder: Path, places: tuple[str, ...] = (), *, is_zipped: bool = False) -> Path:
    """Make a DEMAND: a folder a place with ch01.wav to ch16.wav of the same moment, or the zips they come in."""
    root = folder / "demand"
    root.mkdir(parents=True)
    for number, place in enumerate(places or ("DKITCHEN", "NPARK", "OOFFICE", "PCAFETER", "STRAFFIC", "TCAR")):
        (root / place).mkdir()
        for channel in range(1, 17):
            audio.write(root / place / f"ch{channel:02d}.wav", sound(100 * number + channel, 0.3))
        if is_zipped:
            with zipfile.ZipFile(root / f"{place}_16k.zip", "w", zipfile.ZIP_DEFLATED) as zipped:
                for path in sorted((root / place).iterdir()):
                    zipped.write(path, f"{place}/{path.name}")
            shutil.rmtree(root / place)
    return root
