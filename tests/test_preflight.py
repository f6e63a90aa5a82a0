"""Bad settings are one message before any work starts; on loopback servers, and on PostgreSQL, MLflow and S3 (slow)."""

import hashlib
import multiprocessing
import os
import re
import secrets
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import psycopg
import pytest
import whisper

from tests import team_servers, watched
from tests.conftest import Project
from tests.postgresql import Server
from tests.processes import wait_until
from tests.team_servers import team as team  # a fixture
from workbench import log_database, model_registry, preflight
from workbench.errors import CheckpointError, QueryLogError, SettingsError, StoreError, WorkbenchError
from workbench.query_log import QueryLog

Pages = dict[str, tuple[int, str]]
BY_NAME, MAKE, SET_TAG = (f"/api/2.0/mlflow/experiments/{verb}" for verb in (
    "get-by-name", "create", "set-experiment-tag"))


@pytest.fixture
def serving() -> Iterator[Pages]:
    """Give pages that an HTTP server on loopback shows, with the setting that names it."""
    pages: Pages = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802  the base class's name
            code, said = pages.get(self.path.partition("?")[0], (404, "nothing"))
            self.send_response(code)
            self.end_headers()
            self.wfile.write(said.encode())

        def do_POST(self) -> None:  # noqa: N802
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.do_GET()

        def log_message(self, *_: object) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKBENCH_TRACKING_URL", f"http://ann:secret@127.0.0.1:{server.server_port}")
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        yield pages
    server.shutdown()


FOLDER, S3 = "file:///tmp/no-such-folder-at-all", "s3://team/x"
AWAY = [("run", "STORE_URL", FOLDER, f"no folder {FOLDER[7:]}; make it"), ("run", "STORE_URL", S3, "does not answer"),
        ("run", "TRACKING_URL", "http://127.0.0.1:9", "Connection refused"),
        ("run", "QUERY_LOG_URL", "postgresql://me@127.0.0.1:9/log", "query log"),
        ("serve", "STORE_URL", FOLDER, "no folder"), ("dashboards", "QUERY_LOG_URL", "mysql://x/y", "mysql")]


@pytest.mark.parametrize(("command", "name", "value", "message"), AWAY)
def test_a_server_that_is_away_ends_a_command_before_any_work(
        command: str, name: str, value: str, message: str, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    for page in ("error_analysis", "monitoring"):
        (project.root / "notebooks" / "dashboards").mkdir(exist_ok=True)
        project.notebook(f"dashboards/{page}", ["# A page"])
    nowhere = {**team_servers.KEYS, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    for key, given in {**nowhere, f"WORKBENCH_{name}": value}.items():
        monkeypatch.setenv(key, given)
    ended = project.workbench(command)
    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert message in ended.stderr and ended.stderr.count("\n") == 1 and ended.stderr.startswith("workbench: ")
    assert not (project.root / "reports").exists() and not list(project.root.rglob("record.json"))
    assert not (project.root / "data" / "keys.json").exists()


# --- what a training begins from -------------------------------------------------------------------------------------

TRAINING = ("# Train\n\n> Does it learn?",
            "%parameters\nrun: str = ''\nbase: str = ''  # a model\nrecipe: str = ''  # a file",
            "from workbench import storage\nfrom workbench.records import Decision\n"
            "stage = storage.open_stage('train', run)\n"
            "stage.close(parameters={}, metrics={}, decision=Decision('done', base))")
OFFLINE = {**dict.fromkeys(("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"), "http://127.0.0.1:9"),
           "NO_PROXY": "", "no_proxy": ""}


@pytest.fixture
def learning(project: Project) -> Project:
    """Give a project whose third stage begins from a model."""
    project.notebook("03_train", TRAINING)
    return project


@pytest.mark.parametrize(("base", "message"), [
    ("tiny.eng", "no model 'tiny.eng': it is no file.*published name.*tiny.en"),
    ("weights/none.pt", "no model '/.*/weights/none.pt': it is no file"),
    ("tiny.en", r"tiny.en could not be had \(.*\); .* put the file at .*/data/models/tiny.en.pt"),
    ("https://models.example/a.pt", r"https://models.example/a.pt could not be had \("),
    ("file:///nowhere/a.pt", "file:///nowhere/a.pt could not be had .*there is no such file")])
def test_a_base_that_cannot_be_had_ends_a_run_before_any_stage(
        base: str, message: str, learning: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in OFFLINE.items():
        monkeypatch.setenv(name, value)
    before = sorted(learning.root.rglob("*"))
    ended = learning.workbench("run", "-p", f"train.base={base}")
    assert ended.returncode == 2 and re.match(f"workbench: {message}", ended.stderr), ended.stdout + ended.stderr
    assert ended.stderr.count("\n") == 1 and sorted(learning.root.rglob("*")) == before


def test_the_base_that_a_recipe_says_is_looked_for_too(learning: Project) -> None:
    recipe = learning.root / "notebooks" / "recipes" / "mine.py"
    recipe.write_text("from workbench.recipes import Recipe\nrecipe = Recipe(base='tyni')\n")
    ended = learning.workbench("run", "-p", "train.recipe=mine")
    assert ended.returncode == 2 and "no model 'tyni'" in ended.stderr
    recipe.write_text("recipe = Recipe(base='tyni', few_speakers=Recipe(base='demo'))\n")  # which, only the data says
    assert learning.workbench("run", "-p", "train.recipe=mine").returncode == 0


def test_a_base_is_looked_for_where_the_training_is_to_run_alone(learning: Project) -> None:
    given = learning.root / "data" / "models" / "given.pt"
    given.parent.mkdir(parents=True)
    given.touch()
    assert learning.workbench("run", "--to", "second", "-p", "train.base=tiny.eng").returncode == 0
    assert learning.workbench("run", "-p", "train.base=data/models/given.pt").returncode == 0
    url = given.rename(given.with_name("moved.pt")).as_uri()
    assert learning.workbench("run", "-p", "train.base=data/models/given.pt").returncode == 2
    assert learning.workbench("run", "-p", f"train.base={url}").returncode == 0
    given.with_name("moved.pt").unlink()
    again = learning.workbench("run", "-p", f"train.base={url}")
    assert again.returncode == 0 and "unchanged" in again.stdout
    assert learning.workbench("run", "--force", "-p", f"train.base={url}").returncode == 2


def test_a_published_checkpoint_is_here_when_it_is_whole(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sha, here = hashlib.sha256(b"weights").hexdigest(), root / "data" / "models" / "tiny.en.pt"
    monkeypatch.setitem(whisper._MODELS, "tiny.en", f"http://127.0.0.1:9/{sha}/tiny.en.pt")  # nothing listens there
    here.parent.mkdir(parents=True)
    here.write_bytes(b"weights")
    preflight.check(["tiny.en"])
    here.write_bytes(b"weig")
    with pytest.raises(CheckpointError, match="tiny.en could not be had"):
        preflight.check(["tiny.en"])


# --- servers ---------------------------------------------------------------------------------------------------------


def test_without_settings_nothing_is_asked(root: Path) -> None:
    preflight.check()
    assert not (root / "data").exists()


def test_another_kind_of_mlflow_is_named_with_both_versions(root: Path, serving: Pages) -> None:
    serving["/version"] = (200, "2.9.2")
    with pytest.raises(SettingsError, match=r"//ann:\*\*\*@127.* MLflow 2.9.2, and here is 3\..*install its version"):
        preflight.check()
    serving["/version"] = (200, "<html>something else")
    with pytest.raises(SettingsError, match="is no MLflow server"):
        preflight.check()
    serving |= {"/version": (200, "3.0.0"), BY_NAME: (500, "broken")}
    with pytest.raises(SettingsError, match="500"):
        preflight.check()
    serving |= {BY_NAME: (200, '{"experiment": {"experiment_id": "1"}}'), SET_TAG: (200, "{}")}
    preflight.check()


def test_who_may_not_read_is_told_what_the_server_said(root: Path, serving: Pages) -> None:
    serving |= dict.fromkeys(("/version", BY_NAME, MAKE), (401, "You are not authenticated"))
    with pytest.raises(SettingsError, match="401.*mend WORKBENCH_TRACKING_URL"):
        preflight.check()


@pytest.mark.parametrize("is_there", [True, False])
def test_who_may_read_and_not_write_is_told_so_before_any_work(is_there: bool, root: Path, serving: Pages) -> None:
    told = '{"experiment": {"experiment_id": "1", "name": "voice-search", "lifecycle_stage": "active"}}'
    absent = '{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such experiment"}'
    serving |= {"/version": (200, "3.0.0"), BY_NAME: (200, told) if is_there else (404, absent),
                MAKE: (403, "Permission denied"), SET_TAG: (403, "Permission denied")}
    with pytest.raises(SettingsError, match=r"ann:\*\*\*@.* does not let us write to .*voice-search.*Permission denied"
                                            ".*MLFLOW_TRACKING_USERNAME"):
        preflight.check()


def test_an_address_without_its_kind_is_no_tracking_store(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_TRACKING_URL", "localhost:5000")
    with pytest.raises(SettingsError, match=r"'localhost:5000'; write http://HOST:PORT"):
        preflight.check()


def test_two_keys_of_users_names_on_one_log_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_QUERY_LOG_URL", f"sqlite:///{tmp_path}/shared.db")
    for name in ("ada", "bob"):
        (tmp_path / name / "notebooks").mkdir(parents=True)
    for name in ("ada", "ada"):
        monkeypatch.setenv("WORKBENCH_ROOT", str(tmp_path / name))
        preflight.check()
    monkeypatch.setenv("WORKBENCH_ROOT", str(tmp_path / "bob"))
    with pytest.raises(SettingsError, match=r"secret.key is missing, .* copy that file"):
        preflight.check()
    (tmp_path / "bob/data").mkdir(exist_ok=True)
    (tmp_path / "bob/data/secret.key").write_bytes((tmp_path / "ada/data/secret.key").read_bytes())
    preflight.check()
    (tmp_path / "bob/data/secret.key").write_bytes(secrets.token_bytes(32))
    with pytest.raises(SettingsError, match=r"secret.key is not the one .* copy that file"):
        preflight.check()


@pytest.mark.slow
def test_a_database_of_another_release_of_mlflow_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched.give_store(root)
    monkeypatch.setenv("WORKBENCH_TRACKING_URL", f"sqlite:///{root}/data/mlflow.db")
    preflight.check()
    with sqlite3.connect(root / "data/mlflow.db") as database:
        database.execute("UPDATE alembic_version SET version_num = 'bda7b8c39065'")
    code = "from workbench import preflight; preflight.check()"  # MLflow looks at a database once a process
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stderr
    assert "out-of-date database schema" in said and "SettingsError" in said


# --- on real servers -------------------------------------------------------------------------------------------------


@pytest.fixture
def member(team: dict[str, str], root: Path) -> None:
    """Make the project one of a team's."""
    (root / "data").mkdir()
    (root / "data" / "secret.key").write_bytes(b"0" * 32)


@pytest.mark.slow
def test_what_is_right_is_asked_within_a_second(member: None) -> None:
    preflight.check()
    taken_s = []
    for _ in range(3):
        started_s = time.perf_counter()
        preflight.check()
        taken_s.append(time.perf_counter() - started_s)
    assert min(taken_s) < 1.0


@pytest.mark.slow
@pytest.mark.parametrize(("url", "message"), [("s3://absent/x", "no bucket absent; make it"),
                                              ("s3://team/other", "")])
def test_a_bucket_must_be_there_and_a_folder_in_it_need_not(
        url: str, message: str, member: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_STORE_URL", url)
    if message:
        with pytest.raises(StoreError, match=message):
            preflight.check()
    else:
        preflight.check()


@pytest.mark.slow
def test_who_may_not_write_to_the_bucket_is_told_so(
        tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The S3 server takes three calls before it asks who is there: the bucket, a user without rights, her key."""
    for name in ("WORKBENCH_TRACKING_URL", "WORKBENCH_QUERY_LOG_URL"):
        monkeypatch.delenv(name, raising=False)
    with team_servers.s3(tmp_path, INITIAL_NO_AUTH_ACTION_COUNT="3") as reached:
        people = team_servers.client(reached, "iam")
        people.create_user(UserName="eve")
        key = people.create_access_key(UserName="eve")["AccessKey"]
        for name, value in {**reached, "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
                            "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(StoreError, match="does not let us read and write.*AWS_ACCESS_KEY_ID and its rights"):
            preflight.check()
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
        with pytest.raises(StoreError, match="does not let us"):
            preflight.check()


@pytest.mark.slow
def test_who_may_not_make_tables_is_told_so(postgres: Server, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = postgres.new_log()
    with psycopg.connect(host=str(postgres.folder), user="postgres", dbname="postgres", autocommit=True) as connection:
        connection.execute("CREATE ROLE guest LOGIN")
        connection.execute(f"GRANT USAGE ON SCHEMA {url.rpartition('%3D')[2]} TO guest")
    monkeypatch.setenv("WORKBENCH_QUERY_LOG_URL", url.replace("postgres@", "guest@"))
    with pytest.raises(QueryLogError, match="permission denied"):
        preflight.check()


# --- one at a time, on two machines ----------------------------------------------------------------------------------


def _hold(root: str, url: str) -> None:
    os.environ |= {"WORKBENCH_ROOT": root, "WORKBENCH_QUERY_LOG_URL": url}
    with model_registry._held():
        (Path(root) / "held").touch()
        time.sleep(600)


@pytest.mark.slow
def test_the_registry_is_held_on_all_machines_and_a_killed_holder_lets_go(
        postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = postgres.new_log()
    for name in ("here", "there"):
        (tmp_path / name / "notebooks").mkdir(parents=True)
    monkeypatch.setenv("WORKBENCH_ROOT", str(tmp_path / "here"))
    monkeypatch.setenv("WORKBENCH_QUERY_LOG_URL", url)
    monkeypatch.setattr(log_database, "PATIENCE_S", 1)
    holder = multiprocessing.get_context("spawn").Process(target=_hold, args=(str(tmp_path / "there"), url))
    holder.start()
    wait_until(lambda: (tmp_path / "there" / "held").exists() or not holder.is_alive())
    assert holder.is_alive()
    with pytest.raises(QueryLogError, match="lock timeout"), model_registry._held():
        raise AssertionError("two hold it")
    QueryLog().check_secret()  # the log itself is written meanwhile
    assert holder.pid is not None
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    with model_registry._held():
        pass


def _release_and_promote(root: str, settings: Mapping[str, str], n: int) -> None:
    os.environ |= {**settings, "WORKBENCH_ROOT": root}
    for number in range(n):
        checkpoint = Path(root) / "model.pt"
        checkpoint.write_text(f"{Path(root).name} {number}")
        made = model_registry.register(checkpoint, None, run=Path(root).name, stage="deploy", metrics={}, tags={})
        champion = model_registry.alias_state()["champion"]
        try:
            model_registry.promote(made.version, by=Path(root).name, over=champion)
        except WorkbenchError as error:
            assert "judged against" in str(error)


@pytest.mark.slow
def test_two_machines_release_and_promote_at_once_and_none_is_lost(team: dict[str, str], tmp_path: Path) -> None:
    machines = [tmp_path / name for name in ("here", "there")]
    for machine in machines:
        (machine / "notebooks").mkdir(parents=True)
        (machine / "data").mkdir()
        (machine / "data" / "secret.key").write_bytes(b"0" * 32)
    started = [multiprocessing.get_context("spawn").Process(target=_release_and_promote, args=(str(m), team, 4))
               for m in machines]
    for process in started:
        process.start()
    for process in started:
        process.join(240)
        assert process.exitcode == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKBENCH_ROOT", str(machines[0]))
        found = model_registry.versions()
        assert [v.version for v in found] == [str(n) for n in range(1, 9)]
        assert len({v.folder.name for v in found}) == 8
        state = model_registry.alias_state()
        assert state["champion"] != state["previous"] and "" not in (state["champion"], state["previous"])
        assert len({model_registry.resolve(v.version).facts["checkpoint"] for v in found}) == 8
