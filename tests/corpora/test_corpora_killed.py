"""Preparing a corpus that was killed at any moment goes on, and writes nothing twice."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import miniature_corpora
from tests.corpora.preparing import prepared
from workbench import archives

KILLED = """
import os, signal, sys
from workbench import published_corpora
def progress(items, description, total=None):
    for number, item in enumerate(items):
        if description.startswith(sys.argv[3]) and number == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        yield item
published_corpora.prepare(sys.argv[1], sys.argv[2], progress=progress)
"""


def killed(root: Path, name: str, place: Path, moment: str) -> None:
    """Prepare in a process of its own that is killed at a moment."""
    done = subprocess.run([sys.executable, "-c", KILLED, name, str(place), moment], check=False, capture_output=True,
                          text=True, env={**os.environ, "WORKBENCH_ROOT": str(root)})
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_an_unpacking_that_was_killed_is_completed_and_writes_nothing_twice(root: Path, tarball: Path) -> None:
    killed(root, "librispeech", tarball, "unpacking")
    folder = archives.folder_of("librispeech", tarball)
    there = {path: path.stat().st_mtime_ns for path in folder.rglob("*.flac") if not path.name.startswith(".")}
    assert there and json.loads((folder / archives.NOTE).read_text())["is_whole"] is False
    next(iter(there)).with_name(".1-1-0000.flac.half.flac").write_bytes(b"half a file, as a kill leaves it")
    after = prepared("librispeech", tarball)
    n_sounds = len([path for path in folder.rglob("*.flac") if not path.name.startswith(".")])
    assert 0 < len(there) < n_sounds == len(after)
    assert {path: path.stat().st_mtime_ns for path in there} == there


@pytest.mark.parametrize("moment", ["reading chapters", "unpacking"])
def test_wherever_it_was_killed_the_next_call_ends_as_if_it_had_not_been(
        root: Path, librispeech: Path, tarball: Path, moment: str) -> None:
    killed(root, "librispeech", tarball, moment)
    after, never = prepared("librispeech", tarball), prepared("librispeech", librispeech)
    assert after.drop(columns="audio_path").equals(never.drop(columns="audio_path"))


def test_writing_the_audio_of_tables_goes_on_after_a_kill(root: Path) -> None:
    pytest.importorskip("datasets")
    place = miniature_corpora.fleurs_snapshot(root)
    killed(root, "fleurs", place, "writing audio")
    assert len(list((root / "data" / "raw").rglob("*.wav"))) == 2 and not list((root / "data").rglob("*.parquet"))
    table = prepared("fleurs", place)
    assert len(table) == 36 and all(Path(path).is_file() for path in table["audio_path"])
