"""What is known of the corpora that can be prepared: where to get them, what they ask, and how a source names one.

Nothing here opens a file: the readers are in `corpus_layouts`, `hub_corpora`, `lhotse_manifests`, `noise_recordings`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from workbench.errors import ManifestError

AUDIO_SUFFIXES = (
    ".aif", ".aiff", ".au", ".avr", ".caf", ".flac", ".htk", ".ircam", ".mat4", ".mat5", ".mp3", ".mpc2k", ".nist",
    ".ogg", ".paf", ".pvf", ".rf64", ".sd2", ".sds", ".svx", ".voc", ".w64", ".wav", ".wavex", ".wve", ".xi",
    ".3gp", ".aac", ".amr", ".m4a", ".mka", ".mp4", ".oga", ".opus", ".webm", ".wma")
"""What of a folder is taken for a recording: libsndfile's formats but raw, which tells no rate, and FFmpeg's usual."""

_NAMED = re.compile(r"([A-Za-z][A-Za-z0-9_-]+):(?!//)(.+)")
"""`librispeech:/data/LibriSpeech`, but neither `s3://bucket/manifest.csv` nor a drive's letter."""


@dataclass(frozen=True, slots=True)
class CorpusCard:
    """One corpus: its title, where to get it, its licence and how to cite it; `place` says what to give of it."""

    name: str
    title: str
    place: str
    url: str
    license: str
    citation: str
    is_noise: bool = False


CARDS: Mapping[str, CorpusCard] = MappingProxyType({card.name: card for card in (
    CorpusCard(
        "librispeech", "LibriSpeech", "the folder LibriSpeech, a subset, or a tarball (dev-clean.tar.gz, ...)",
        "https://www.openslr.org/12", "CC BY 4.0",
        "V. Panayotov, G. Chen, D. Povey, S. Khudanpur: Librispeech: an ASR corpus based on public domain audio books. "
        "ICASSP 2015"),
    CorpusCard(
        "speech_commands", "Speech Commands v0.02", "the unpacked folder, or speech_commands_v0.02.tar.gz",
        "http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz", "CC BY 4.0",
        "P. Warden: Speech Commands: a dataset for limited-vocabulary speech recognition. arXiv 1804.03209, 2018"),
    CorpusCard(
        "common_voice", "Mozilla Common Voice", "a release's language folder (the one with clips/), or its tarball",
        "https://commonvoice.mozilla.org/datasets", "CC0 1.0 (and a promise not to identify speakers)",
        "R. Ardila et al.: Common Voice: a massively-multilingual speech corpus. LREC 2020, arXiv 1912.06670"),
    CorpusCard(
        "fleurs", "FLEURS", "a language on the hub (en_us), a snapshot's folder, or a folder made by save_to_disk",
        "https://huggingface.co/datasets/google/fleurs", "CC BY 4.0",
        "A. Conneau et al.: FLEURS: few-shot learning evaluation of universal representations of speech. SLT 2022, "
        "arXiv 2205.12446"),
    CorpusCard(
        "minds14", "MInDS-14", "MInDS-14.zip/en-US, or its folder unpacked and the language; a language on the hub "
        "(en-US), a snapshot's folder, or a folder made by save_to_disk",
        "https://huggingface.co/datasets/PolyAI/minds14", "CC BY 4.0",
        "D. Gerz et al.: Multilingual and cross-lingual intent detection from spoken data. EMNLP 2021, "
        "arXiv 2104.08524"),
    CorpusCard(
        "lhotse", "a lhotse manifest", "cuts.jsonl.gz, or a folder with recordings and supervisions",
        "https://lhotse.readthedocs.io/en/latest/corpus.html", "that of the corpus the manifest is of",
        "that of the corpus the manifest is of; for lhotse itself: P. Zelasko et al., arXiv 2110.12561"),
    CorpusCard(
        "musan", "MUSAN, its noises", "the folder musan, or musan.tar.gz",
        "https://www.openslr.org/17", "CC BY 4.0 (each folder has a LICENSE file for its recordings)",
        "D. Snyder, G. Chen, D. Povey: MUSAN: a music, speech, and noise corpus. arXiv 1510.08484, 2015",
        is_noise=True),
    CorpusCard(
        "demand", "DEMAND", "the folder that holds DKITCHEN, DLIVING, ..., or the zips (DKITCHEN_16k.zip, ...)",
        "https://zenodo.org/records/1227121", "CC BY-SA 3.0",
        "J. Thiemann, N. Ito, E. Vincent: The diverse environments multi-channel acoustic noise database (DEMAND). "
        "Proceedings of Meetings on Acoustics 19, 2013", is_noise=True),
)})


def find(name: str) -> CorpusCard:
    """Look a corpus up; hyphens and capitals do not matter. Raises: ManifestError that lists what there is."""
    plain = name.lower().replace("-", "_")
    if plain not in CARDS:
        raise ManifestError(f"no corpus {name!r}; there are: {', '.join(CARDS)}; any other is a manifest "
                            "(csv, jsonl, parquet) or a folder of audio with .txt files")
    return CARDS[plain]


def named(source: str) -> tuple[str, str] | None:
    """Tell what a source names, as `librispeech:/data/LibriSpeech`: a name and a place; None for any other source."""
    found = _NAMED.fullmatch(source)
    return (found[1], found[2]) if found else None
