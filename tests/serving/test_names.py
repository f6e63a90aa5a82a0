"""The biasing list, live: a running server's next answers have a name that is put there, and not when it is off."""

import shutil
from pathlib import Path

import pandas as pd

from tests.serving.conftest import command, serving
from workbench import storage
from workbench.name_list import NameList


def test_a_name_changes_the_next_answers_of_a_running_server_until_it_is_removed(
    served_root: Path, forgetful: Path, trained: tuple[Path, pd.DataFrame]
) -> None:
    path = storage.run_folder("forgetful") / "model.pt"
    path.parent.mkdir(parents=True)
    shutil.copy(forgetful, path)
    said = trained[1].set_index("reference")["audio_path"]
    three, others = Path(said.loc["three"].iloc[0]).read_bytes(), Path(said.loc["one one"].iloc[0]).read_bytes()
    with serving(served_root, "--model", "forgetful", "--no-auth") as server:
        server.wait_ready()
        before, other = (server.send(content).json()["text"] for content in (three, others))
        assert "three" not in before
        added = command(served_root, "names", "add", "Three", "--by", "ada", "--no-probe")
        assert added.returncode == 0 and f"{server.url} answers so since" in added.stdout
        alone, many = server.send(three).json()["text"], server.send_many(6, three)
        assert {answer.json()["text"] for answer in many} == {alone} == {"three"}
        assert server.send(others).json()["text"] == other
        row = server.rows()[2]
        assert (row["hypothesis"], row["biased_from"]) == ("three", before)
        assert server.rows()[0]["biased_from"] == server.rows()[-1]["biased_from"] == ""
        assert server.metric("workbench_names") == 1
        NameList().remove("three", by="eve")
        server.wait(lambda said: said["names"] == "")
        assert server.send(three).json()["text"] == before
