"""Manifests of lhotse: supervisions become utterances, pieces of recordings are cut out."""

from pathlib import Path

import pytest

from tests import miniature_corpora
from tests.corpora.preparing import prepared, table_of
from workbench import audio
from workbench.errors import ManifestError


def test_supervisions_of_lhotse_become_utterances_and_pieces_of_recordings_are_cut_out(root: Path) -> None:
    pytest.importorskip("lhotse")
    place = miniature_corpora.lhotse_manifests(root)
    table = prepared("lhotse", place)
    assert table["split"].value_counts().to_dict() == {"train": 60, "test": 5}
    assert set(table["accent"]) == {"scottish", "indian"} and set(table["gender"]) == {"female", "male"}
    whole, piece = (table.set_index("utterance_id")["audio_path"][name] for name in ("test-02-0", "train-02-1"))
    assert whole == str(place / "audio" / "test-02.wav"), "a whole recording stays where it is"
    cut, of = audio.read(piece), audio.read(place / "audio" / "train-02.wav")
    assert cut.tolist() == of[16_000:32_000].tolist()
    collected = table_of("lhotse", place)
    assert len(collected) == 65 and collected["duration_s"].eq(1.0).all()


def test_recordings_whose_paths_are_relative_lie_under_their_manifest(root: Path) -> None:
    lhotse = pytest.importorskip("lhotse")
    place = miniature_corpora.lhotse_manifests(root)
    for part in ("train", "test"):
        manifest = place / f"mini_recordings_{part}.jsonl.gz"
        relative = list(lhotse.load_manifest(manifest))
        for recording in relative:
            recording.sources[0].source = f"audio/{recording.id}.wav"
        lhotse.RecordingSet.from_recordings(relative).to_file(manifest)
    assert len(prepared("lhotse", place / "mini_supervisions_train.jsonl.gz")) == 60
    table = table_of("lhotse", place)
    assert len(table) == 65 and table["duration_s"].eq(1.0).all()


def test_a_recording_that_ends_too_early_for_its_piece_is_named(root: Path) -> None:
    pytest.importorskip("lhotse")
    place = miniature_corpora.lhotse_manifests(root)
    audio.write(place / "audio" / "train-07.wav", miniature_corpora.sound(1, 1.5))
    with pytest.raises(ManifestError, match="train-07.wav cannot be read from .*leave train-07-.* out of the manifest"):
        prepared("lhotse", place)


def test_cuts_of_lhotse_are_read_and_what_is_no_file_is_refused(root: Path) -> None:
    lhotse = pytest.importorskip("lhotse")
    place = miniature_corpora.lhotse_manifests(root)
    cuts = lhotse.CutSet.from_manifests(**{kind: lhotse.load_manifest(place / f"mini_{kind}_train.jsonl.gz")
                                           for kind in ("recordings", "supervisions")})
    cuts.to_file(root / "cuts.jsonl.gz")
    assert prepared("lhotse", root / "cuts.jsonl.gz")["utterance_id"].tolist() == [
        f"train-{n:02d}-{i}" for n in range(20) for i in range(3)]
    mixed = cuts[0].mix(cuts[1], snr=10)
    lhotse.CutSet.from_cuts([mixed]).to_file(root / "cuts_mixed.jsonl.gz")
    with pytest.raises(ManifestError, match="is a mix, only files are read here"):
        prepared("lhotse", root / "cuts_mixed.jsonl.gz")
    source = lhotse.audio.AudioSource("command", [0], "touch /tmp/must-not-run")
    cuts[0].recording.sources[0] = source
    lhotse.CutSet.from_cuts([cuts[0]]).to_file(root / "cuts_of_commands.jsonl.gz")
    with pytest.raises(ManifestError, match="is command, only files are read here; save its audio as files"):
        prepared("lhotse", root / "cuts_of_commands.jsonl.gz")
    (root / "cuts_broken.jsonl.gz").write_bytes(b"no gzip")
    with pytest.raises(ManifestError, match="cannot be read by lhotse .BadGzipFile.*make it again"):
        prepared("lhotse", root / "cuts_broken.jsonl.gz")
    with pytest.raises(ManifestError, match="not a lhotse manifest: .*give a file of cuts"):
        prepared("lhotse", place / "audio")
