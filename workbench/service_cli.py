"""The commands around the live service; `cli` adds them to its own. What they do lives in the modules they call."""

import inspect
import os
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from workbench.errors import QueryLogError, ServiceError
from workbench.people_cli import print_table

if TYPE_CHECKING:
    import pandas as pd

    from workbench.serving.service import Options

app = typer.Typer()
Engine = Literal["auto", "fast", "torch", "ray"]
MAX_PORT = 65_535


def _named(by: str) -> str:
    if not by.strip():
        raise typer.BadParameter("nobody is named; give the name of who decides this")
    return by


WHO = typer.Option(help="Who decides this.", callback=_named)
keys_app = typer.Typer(no_args_is_help=True, help="Who may use the service: make, list and revoke keys.")
app.add_typer(keys_app, name="keys")


@app.command(epilog="Examples: workbench serve  |  workbench serve --model digits --port 8001 --no-auth  |  "
                    "workbench serve --detach")
def serve(
    model: Annotated[str, typer.Option(help="A checkpoint's or engine's path, a run's name, champion, a version or a "
                                            "published name. The champion is followed as it changes.")] = "champion",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=MAX_PORT, help="Port to listen on; 0 takes a free one.")] = 8000,
    no_auth: Annotated[bool, typer.Option("--no-auth", help="Answer without a key.")] = False,
    engine: Annotated[Engine, typer.Option(help="auto, fast (CTranslate2), torch (the reference), or ray (replicas).",
                                           )] = "auto",
    replicas: Annotated[int, typer.Option(min=0, help="So many on a Ray cluster; 0 is this one process.")] = 0,
    max_replicas: Annotated[int, typer.Option(min=0, help="Let them become so many while queries queue.")] = 0,
    ray_address: Annotated[str, typer.Option(help="The cluster's head node; none makes one of this machine.")] = "",
    simulated_clock: Annotated[bool, typer.Option("--simulated-clock", help="Take each query's time from its "
                                                  "X-Query-Time header, for simulated weeks.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Return when it answers; `workbench stop` ends it.")] = False,
    is_started: Annotated[bool, typer.Option("--started", hidden=True)] = False,
) -> None:
    """Answer queries over HTTP as OpenAI's API does: POST /v1/audio/transcriptions; / is a page with a microphone."""
    usual = inspect.signature(serve).parameters
    asked = {name for name, value in locals().items() if name in usual and value != usual[name].default}
    # Numpy has little to multiply here, and threads of its own would spin beside the model's: 127 instead of 230 ms of
    # processor time for one clip on two cores. It reads this when it is imported.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from workbench import clusters

    if not is_started:
        _ask_servers()
    fleet = max(replicas, int(max_replicas > 0 or engine == "ray"))
    if fleet:
        clusters.choose(ray_address, is_needed_here=not detach)
    if not no_auth and not is_started:
        _make_first_key()
    if detach:
        return _detach("--model", model, "--host", host, "--engine", engine, "--replicas", str(fleet), "--max-replicas",
                       str(max_replicas), "--ray-address", ray_address,
                       *(["--simulated-clock"] if simulated_clock else []), port=port, needs_key=not no_auth,
                       is_plain=asked == {"detach"})
    from workbench.serving import service, sources

    found = sources.find(model, "auto" if engine == "ray" else engine)
    return _serve(service.Options(found, not no_auth, simulated_clock), fleet, max_replicas, host=host, port=port)


def _detach(*flags: str, port: int, needs_key: bool, is_plain: bool) -> None:
    """Start a server that outlives this command, and say where it answers, and with what; a plain one may run already.
    """
    from workbench.serving import server

    running = server.find()
    if running is not None and not is_plain:  # it has a model, a port and keys of its own
        raise ServiceError(f"a server runs already at {running.url}; end it first: workbench stop")
    running = server.start(*flags, port=port, needs_key=needs_key)
    print(f"serving at {running.url}, process {running.pid}, with {server.wait_ready(running)}")


def _serve(options: "Options", n_replicas: int, max_replicas: int, *, host: str, port: int) -> None:
    """Answer in this process, or have replicas answer."""
    if n_replicas:
        from workbench.serving import replicas as many

        return many.run(options, many.Fleet(n_replicas, max_replicas), host=host, port=port)
    from workbench.serving import server
    from workbench.serving.app import create_app

    return server.run(create_app(options), host=host, port=port, needs_key=options.needs_key)


def _ask_servers() -> None:
    from workbench import preflight

    try:
        preflight.check()
    except QueryLogError as error:  # a log comes back by itself: until then the server is not ready, and says why
        print(f"workbench: {error}", file=sys.stderr)


def _make_first_key() -> None:
    from workbench import keys

    if all(keys.server_of(key.name) is not None for key in keys.listing()):
        print(f"a first key, shown only now: {keys.create('first')}", flush=True)


@app.command(epilog="Example: workbench stop")
def stop() -> None:
    """End the project's server; it answers what it has accepted first."""
    from workbench.serving import server

    running = server.stop()
    print(f"the server at {running.url} has answered what it had accepted, and ended")


@app.command(epilog="Examples: workbench dashboards  |  workbench dashboards --port 9000 --no-auth")
def dashboards(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=MAX_PORT, help="Port to listen on.")] = 8866,
    token: Annotated[str, typer.Option(envvar="WORKBENCH_DASHBOARDS_TOKEN",
                                       help="What the links carry; a new one is made if none is given.")] = "",
    no_auth: Annotated[bool, typer.Option("--no-auth", help="Let everybody in.")] = False,
) -> None:
    """Show error analysis and monitoring as pages, and print the links that let people in."""
    from workbench import dashboards as pages

    pages.serve(host=host, port=port, token=token, needs_token=not no_auth)


@keys_app.command("create", epilog="Example: workbench keys create phone-app")
def create_key(name: Annotated[str, typer.Argument(help="Whose key it is.")]) -> None:
    """Make a key; it is shown only now."""
    from workbench import keys

    print(keys.create(name))


@keys_app.command("list", epilog="Example: workbench keys list")
def list_keys() -> None:
    """List the keys' names."""
    from workbench import keys

    table = Table("key", "made (UTC)", box=None, pad_edge=False)
    for key in keys.listing():
        table.add_row(key.name, key.created)
    print_table(table, "no key; make one with: workbench keys create NAME")


@keys_app.command("revoke", epilog="Example: workbench keys revoke phone-app")
def revoke_key(name: Annotated[str, typer.Argument(help="As `workbench keys list` shows it.")]) -> None:
    """Make a key worthless, from its next request on."""
    from workbench import keys

    keys.revoke(name)
    print(f"{name} can no longer use the service")


@app.command(epilog="Example: workbench models")
def models() -> None:
    """List the registered models, the latest first, and which of them answer."""
    from workbench import model_registry, storage

    table = Table("version", "is", "from", "promoted", "files", box=None, pad_edge=False)
    for version in reversed(model_registry.versions()):
        tags = version.tags
        promoted = f"{tags['promoted_at']} by {tags['promoted_by']}" if "promoted_at" in tags else ""
        table.add_row(version.version, ", ".join(version.aliases), f"{tags.get('run', '')}/{tags.get('stage', '')}",
                      promoted, str(version.folder.relative_to(storage.data_folder().parent)))
    print_table(table, "no model is registered; deploy does it: workbench run --to deploy")


@app.command(epilog="Example: workbench promote 4 --by ada")
def promote(
    version: Annotated[str, typer.Argument(help="A version, or `challenger`.")],
    by: Annotated[str, WHO],
) -> None:
    """Make a version the champion; a running server changes to it without dropping a query."""
    from workbench import model_registry

    before = model_registry.alias_state()["champion"]
    if before and model_registry.resolve(version).version == before:
        print(f"version {before} is the champion already")
        return
    promoted = model_registry.promote(version, by=by)
    back = f"; back with: workbench rollback --by {shlex.quote(by)}" if model_registry.alias_state()["previous"] else ""
    print(f"version {promoted.version} is the champion{back}")


@app.command(epilog="Example: workbench rollback --by ada")
def rollback(by: Annotated[str, WHO]) -> None:
    """Make the previous champion the champion again."""
    from workbench import model_registry

    print(f"version {model_registry.rollback(by=by).version} is the champion again")


@app.command(epilog="Examples: workbench challenge 4  |  workbench challenge 4 --share 0.05  |  "
                    "workbench challenge none")
def challenge(
    version: Annotated[str, typer.Argument(help="A version; `none` lets the champion answer alone.")],
    share: Annotated[float, typer.Option(min=0, max=1, help="Let it answer this share of users (a canary); 0 is a "
                                                            "shadow, whose answers nobody sees.")] = 0.0,
) -> None:
    """Let a version answer beside the champion, as a shadow or as a canary; a running server follows."""
    from workbench import model_registry

    if version == "none":
        model_registry.clear_challenger()
        return print("the champion answers alone")
    number = model_registry.set_challenger(version, "canary" if share else "shadow", share).version
    how = f"answers {100 * share:g} % of users" if share else "hears all queries, and nobody sees its answers"
    return print(f"version {number} {how}; end that with: workbench challenge none")


@app.command(epilog="Example: workbench forget u017")
def forget(user: Annotated[str, typer.Argument(help="As the app sent it in X-User-Id.")]) -> None:
    """Delete what a user said, everywhere, keep nothing of them from now on, and list what had used it."""
    from workbench import consent

    print(consent.forget(user))


@app.command(epilog="Examples: workbench simulate --week 1 --week 2  |  "
                    "workbench simulate --manifest more.csv --rate 5")
def simulate(
    weeks: Annotated[list[int] | None, typer.Option("--week", min=1, help="A week of the demo world.")] = None,
    manifest: Annotated[Path | None, typer.Option(help="Recordings to send: CSV, JSONL or Parquet.")] = None,
    name: Annotated[str, typer.Option(help="What was sent goes to data/traffic/NAME/sent.parquet.")] = "hand",
    n: Annotated[int, typer.Option(min=1, help="Queries a week.")] = 200,
    rate: Annotated[float, typer.Option(min=0, help="Queries a second; 0 is as fast as they are answered.")] = 0.0,
    concurrency: Annotated[int, typer.Option(min=1, help="Phones at a time.")] = 8,
    consent_share: Annotated[float | None, typer.Option(min=0, max=1, help="The share of users who consent.")] = None,
    seed: Annotated[int, typer.Option(help="Which people and queries.")] = 1,
    url: Annotated[str, typer.Option(help="A server; the project's own if none is named.")] = "",
    key: Annotated[str, typer.Option(help="A key of that server.")] = "",
) -> None:
    """Send queries to a server as phones would, and say how they were answered."""
    from workbench import traffic
    from workbench.serving import server

    began_s = time.time()
    if not weeks and manifest is None:
        raise ServiceError("nothing to send; name a --week of the demo world, or a --manifest")
    sent = traffic.simulate(name, weeks=weeks or (), n=n, manifest=manifest.resolve() if manifest else None, seed=seed,
                            url=url, key=key, concurrency=concurrency, rate=rate, consent_share=consent_share)
    sent = sent[sent["sent_s"].ge(began_s)] if "sent_s" in sent else sent.head(0)
    if sent.empty:
        print(f"nothing was sent: all of it was answered before, under the name {name}; another --name or --seed sends "
              "anew")
        return
    if not _tell(sent):
        raise typer.Exit(1)
    if "time_s" in sent and not server.has_simulated_clock(url):
        print("each was logged as of now, whenever it was recorded; for days and weeks to pass as recorded: workbench "
              "stop, then workbench serve --detach --simulated-clock")


def _tell(sent: "pd.DataFrame") -> bool:
    """Say how what was sent was answered. Returns: whether anything was."""
    answered = sent[sent["status"] == 200]
    latency_ms = answered["latency_ms"]
    print(f"{len(answered):,} of {len(sent):,} queries were answered" + (
        f", half of them within {latency_ms.median():.0f} ms, 95 % within {latency_ms.quantile(0.95):.0f} ms"
        if len(answered) else ""))
    for error, n_failed in sent.loc[sent["status"] != 200, "error"].value_counts().items():
        print(f"{n_failed:,} failed: {error}")
    return len(answered) > 0
