"""What nodes hear for us: what they cannot read is read here, and what came back need not be heard again.

The nodes here are functions of this process; test_many_machines has real ones. What is heard without them is in
corpora/test_collecting.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from test_training import tones

from workbench import hearing, manifests, many_machines
from workbench.progress import pass_through

Rows = list[dict[str, Any]]


@pytest.fixture
def listed(root: Path, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """Give the rows of a manifest in five parts, with a file that nobody can read."""
    monkeypatch.setattr(hearing, "PART", 10)
    folder = root / "corpus"
    folder.mkdir()
    table = tones(folder, 45, 0)
    (folder / "0-13.wav").write_bytes(b"no sound")
    table[["utterance_id", "audio_path", "text", "speaker"]].to_csv(folder / "m.csv", index=False)
    return manifests.read(str(folder / "m.csv"), base_folder=root)


def by_nodes(monkeypatch: pytest.MonkeyPatch, change: Callable[[int, Rows], Rows]) -> None:
    """Let parts go to nodes, whose answers come back changed."""
    def each(function: Callable[[Sequence[str]], Rows], parts: Sequence[Sequence[str]]) -> Iterator[Rows]:
        yield from (change(number, function(part)) for number, part in enumerate(parts))

    monkeypatch.setattr(many_machines, "is_chosen", lambda: True)
    monkeypatch.setattr(many_machines, "each", each)


@pytest.mark.parametrize("keeping", ["nothing", "copied", "in place"])
def test_what_a_node_does_not_see_is_heard_here_with_the_same_result(
        listed: pd.DataFrame, keeping: hearing.Keeping, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "other" / "notebooks").mkdir(parents=True)
    with monkeypatch.context() as patch:
        patch.setenv("WORKBENCH_ROOT", str(tmp_path / "other"))
        here = hearing.hear(listed, keeping, pass_through)
    assert here["reason"].dropna().index.tolist() == [13]

    def blind(number: int, rows: Rows) -> Rows:
        return [{"reason": "audio is not a file"} if number == 2 or i % 3 == 0 else row for i, row in enumerate(rows)]

    by_nodes(monkeypatch, blind)
    pd.testing.assert_frame_equal(hearing.hear(listed, keeping, pass_through), here, check_exact=True)


def test_what_nodes_had_heard_before_a_break_need_not_be_heard_again(
        listed: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = list[int]()

    def note(number: int, rows: Rows) -> Rows:
        heard.append(len(rows))
        if len(heard) == 4:
            raise KeyboardInterrupt
        return rows

    by_nodes(monkeypatch, note)
    with pytest.raises(KeyboardInterrupt):
        hearing.hear(listed, "copied", pass_through)
    heard.clear()
    whole = hearing.hear(listed, "copied", pass_through)
    assert heard == [10, 6], "what is left, and the file that somebody may have mended"
    assert whole["audio_sha"].notna().sum() == 44 and whole.index.equals(listed.index)
