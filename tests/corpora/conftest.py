"""What tests of corpora share: recordings for a manifest, and a miniature LibriSpeech, as a folder and packed."""

import os
from pathlib import Path

import pytest

from tests import miniature_corpora
from tests.conftest import Project
from tests.corpora.listed import clip
from workbench import audio

os.environ.setdefault("HF_DATASETS_OFFLINE", "1")


@pytest.fixture(scope="session")
def librispeech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("spoken")
        (root / "notebooks").mkdir()
        patch.setenv("WORKBENCH_ROOT", str(root))
        return miniature_corpora.librispeech(root, n_speakers=24, n_each=4)


@pytest.fixture(scope="session")
def tarball(librispeech: Path) -> Path:
    return miniature_corpora.tarball(librispeech, librispeech.with_name("miniature.tar.gz"))


@pytest.fixture
def corpus(project: Project) -> Path:
    """Record forty queries of twenty speakers, and give the folder."""
    folder = project.root / "corpus"
    folder.mkdir()
    for i in range(40):
        audio.write(folder / f"{i:02d}.wav", clip(i))
    return folder
