"""The command line: words in, words out. What a command does lives in the module it calls, loaded only then."""

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from workbench import people_cli, service_cli
from workbench.errors import ParameterError, RunHeldError, WorkbenchError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich",
                  help="The whole life of a voice-search recognizer, stage by stage, each stage a notebook.",
                  epilog="Begin with: workbench run --run toy --size toy")
app.add_typer(service_cli.app)
app.add_typer(people_cli.app)
MISTAKE, HELD, STOPPED = 2, 3, 130
A_MODEL = "A path, a run's name, champion, a version or a published name."


def main() -> None:
    """Run a command; what a user can mend ends it with one message and exit code 2, a held run with 3."""
    try:
        app()
    except WorkbenchError as error:
        print(f"workbench: {error}", file=sys.stderr)
        sys.exit(_code(error))
    except SystemExit as ended:  # which typer makes of Ctrl-C, without a word
        if ended.code == STOPPED:
            print("workbench: stopped; the same command goes on where this one was", file=sys.stderr)
        raise


def _code(error: BaseException) -> int:
    return STOPPED if isinstance(error, KeyboardInterrupt) else HELD if isinstance(error, RunHeldError) else MISTAKE


@app.command(epilog="Examples: workbench run  |  workbench run --run toy --to train --size toy  |  "
                    "workbench run --run digits -p 'collect.sources=\\[digits/manifest.csv]'")
def run(
    stages: Annotated[list[str] | None, typer.Argument(help="Stages to run; all if none is named.")] = None,
    run: Annotated[str, typer.Option(help="Name of the run.")] = "default",
    size: Annotated[str, typer.Option(help="toy, small or full: how much of everything.")] = "",
    first: Annotated[str, typer.Option("--from", help="Begin at this stage.")] = "",
    last: Annotated[str, typer.Option("--to", help="End with this stage.")] = "",
    parameter: Annotated[list[str] | None, typer.Option("--parameter", "-p", metavar="STAGE.NAME=VALUE",
                                                        help="Set a parameter; the value is YAML.")] = None,
    params: Annotated[Path | None, typer.Option(help="A YAML file of {stage: {name: value}}.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Run also what is unchanged.")] = False,
    defaults: Annotated[bool, typer.Option("--defaults", help="Forget the size and the parameters that the run was "
                                           "given before.")] = False,
    json: Annotated[bool, typer.Option("--json", help="End with a line of JSON: exit code, outcomes, report.")] = False,
    engine: Annotated[Literal["local", "ray"] | None, typer.Option(help="Where models train and decode: local "
                                                                   "(this machine) or ray (a cluster).")] = None,
    ray_address: Annotated[str, typer.Option(help="Its head node: auto or HOST:PORT; none makes a cluster of "
                                                  "this machine.")] = "",
) -> None:
    """Run the stages in order, skipping what is unchanged; after a failure the same command goes on there.

    A run keeps the size and the parameters that it was given.
    """
    from workbench import clusters, outcomes, pipeline

    order = pipeline.Order(stages=stages or (), run=run, size=size, first=first, last=last,
                           assignments=parameter or (), parameter_file=params, is_forced=force, is_plain=defaults)
    pipeline.stop_on_sigterm()
    try:
        with clusters.prepared(engine or "", ray_address):
            code = pipeline.run(order, Console())
    except (WorkbenchError, KeyboardInterrupt) as error:
        if json:
            print(outcomes.line(run, _code(error), str(error) or "stopped"))
        raise
    if json:
        print(outcomes.line(run, code))
    raise typer.Exit(code)


@app.command(epilog="Examples: workbench publish  |  workbench publish digits")
def publish(runs: Annotated[list[str] | None, typer.Argument(help="Runs made here; all if none is named.")] = None,
            ) -> None:
    """Put into the team's store what was made here before there was one: runs, their data, released models."""
    from workbench import sharing

    for told in sharing.publish(runs or ()):
        print(told)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
             epilog="Example: workbench lab --no-browser --port 8899")
def lab(context: typer.Context) -> None:
    """Open the notebooks in JupyterLab; what they find goes to a run of your own, lab-<user>."""
    from workbench import settings

    root = settings.root()
    os.chdir(root)
    os.environ["WORKBENCH_ROOT"] = str(root)
    os.execv(sys.executable, [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={root / 'notebooks'}",
                              *context.args])


@app.command()
def runs() -> None:
    """List all runs, the latest first."""
    from workbench import live, notebooks
    from workbench import runs as all_runs

    table = Table("run", "stages", "finished", "time", "last stage", "which concluded", box=None, pad_edge=False)
    for summary in all_runs.summaries(notebooks.discover()):
        last = summary.last
        table.add_row(summary.run, f"{summary.n_finished}/{summary.n_stages}", summary.finished,
                      live.duration(summary.wall_time_s), last.notebook.name if last else "",
                      f"{last.word.replace('_', ' ')}: {last.sentence}" if last else "")
    _print(table, "no run yet; begin with: workbench run")


@app.command(epilog="Example: workbench diff default louder")
def diff(before: Annotated[str, typer.Argument(help="A run.")],
         after: Annotated[str, typer.Argument(help="Another.")]) -> None:
    """Show what two runs have differently, and their metrics side by side with the difference's interval."""
    from workbench import notebooks
    from workbench import runs as all_runs

    found = all_runs.compare(before, after, notebooks.discover())
    for title, changes in (("parameters", found.parameters), ("data and versions", found.versions)):
        table = Table("stage", title, before, after, box=None, pad_edge=False)
        for change in changes:
            table.add_row(change.stage, change.name, _text(change.before), _text(change.after))
        _print(table, f"{title}: the same")
    table = Table("stage", "metric", before, after, f"{after} - {before}", box=None, pad_edge=False)
    for metric in found.metrics:
        words = [all_runs.metric_text(metric.name, m) if m else "-" for m in (metric.before, metric.after)]
        difference = all_runs.metric_text(metric.name, metric.difference, is_signed=True) if metric.difference else "-"
        table.add_row(metric.stage, metric.name, *words, difference + (" paired" if metric.is_paired else ""))
    _print(table, "no metric")


@app.command(epilog="Examples: workbench transcribe query.m4a  |  workbench transcribe *.wav --model digits")
def transcribe(
    files: Annotated[list[Path], typer.Argument(help="Recordings, in any format that ffmpeg opens.")],
    model: Annotated[str, typer.Option(help=A_MODEL)] = "default",
) -> None:
    """Write down what recordings say, a line each."""
    from workbench import recognizers

    recognizer = recognizers.load(model)
    for file in files:
        words = recognizers.transcribe_file(recognizer, file)
        print(f"{file}\t{words}" if len(files) > 1 else words)


@app.command(epilog="Example: workbench evaluate digits --manifest test/manifest.csv --by speaker")
def evaluate(
    model: Annotated[str, typer.Argument(help=A_MODEL)],
    manifest: Annotated[str, typer.Option(help="CSV, JSONL or Parquet with audio_path and text; a file or a URL.")],
    by: Annotated[str, typer.Option(help="A column: one line for each of its values, too.")] = "",
    root: Annotated[str, typer.Option(help="The audio's folder or URL, if not the manifest's.")] = "",
    json: Annotated[Path | None, typer.Option(help="Write the numbers here, too.")] = None,
) -> None:
    """Score a model on a manifest: WER, CER and query accuracy with 95 % intervals."""
    from workbench import evaluation, remote, storage
    from workbench.records import Interval

    places = [place if not place or remote.is_url(place) else str(Path(place).resolve()) for place in (manifest, root)]
    if not manifest:
        raise ParameterError("--manifest is empty; name a manifest, or a folder of recordings with texts beside them")
    if json is not None and (json.is_dir() or not json.resolve().parent.is_dir()):
        raise ParameterError(f"--json {json} is no file in a folder that is there; name one to write the numbers to")
    found = evaluation.evaluate(model, places[0], by=by, audio_root=places[1] or None)
    metrics = [name for name in found if f"{name}_low" in found]
    table = Table("slice", "utterances", "speakers", *map(str, metrics), "note", box=None, pad_edge=False)
    for row in found.to_dict("records"):
        rates = [Interval(row[m], row[f"{m}_low"], row[f"{m}_high"]).percent() for m in metrics]
        table.add_row(row["slice"], f"{row['n_utterances']:,}", str(row["n_speakers"]), *rates, row["note"])
    _print(table, "nothing to score")
    if left_out := found["left_out"].iloc[0]:
        print(left_out)
    if json is not None:
        storage.write_json(json.resolve(), found.to_dict("records"))


@app.command()
def requests(run: Annotated[str, typer.Option(help="Only those of this run.")] = "*") -> None:
    """List the data requests: what was asked for, why, and whether it came."""
    from workbench import data_requests

    found = data_requests.listing(data_requests.every(run))
    table = Table(*(str(name).replace("_", " ") for name in found), box=None, pad_edge=False)
    for row in found.itertuples(index=False, name=None):
        table.add_row(*map(str, row))
    whose = "" if run == "*" else f" of run {run!r}"
    _print(table, f"no data request{whose}; analyze makes them, and people on its page")


@app.command(epilog="Example: workbench fulfil mine-3f2a1c --manifest more/manifest.csv")
def fulfil(
    request_id: Annotated[str, typer.Argument(help="As `workbench requests` lists it.")],
    manifest: Annotated[Path, typer.Option(help="What people recorded for it.")],
) -> None:
    """Bring the recordings that a data request waits for; the next `workbench run` goes on with them."""
    from workbench import data_requests

    run_name = data_requests.find(request_id).run
    taken, n_taught = data_requests.fulfil(request_id, manifest.resolve())
    if taken.left_out:
        print(taken.left_out)
    judging = f", {n_taught} of them to learn from (the others' speakers judge)" if n_taught < len(taken.good) else ""
    print(f"{len(taken.good)} recordings taken for {request_id}{judging}; go on with: workbench run --run {run_name}")


@app.command(epilog="Examples: workbench prepare librispeech /data/LibriSpeech  |  "
                    "workbench prepare common_voice cv-corpus-17.0-en.tar.gz --to en.parquet --limit 20000  |  "
                    "workbench prepare fleurs en_us")
def prepare(
    corpus: Annotated[str, typer.Argument(help="librispeech, speech_commands, common_voice, fleurs, minds14, lhotse; "
                                               "or noise: musan, demand.")],
    place: Annotated[str, typer.Argument(help="Its folder or tarball; of fleurs and minds14 also a language's name.")],
    to: Annotated[Path | None, typer.Option(help="Write the manifest here (.parquet), not under data/raw.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="At most so many utterances, spread over splits and speakers.")] = 0,
    splits: Annotated[bool, typer.Option(help="Keep the corpus's own splits; without, collect divides anew.")] = True,
) -> None:
    """Make a manifest of a published corpus, with its splits, speakers, licence and citation; resumes after a kill."""
    from workbench import progress, published_corpora

    report = published_corpora.report(corpus, place, base_folder=Path.cwd(), to=to.resolve() if to else None,
                                      limit=limit, has_splits=splits, progress=progress.track)
    print(report)


def _text(value: object) -> str:
    return "-" if value is None else str(value)


def _print(table: Table, otherwise: str) -> None:
    console = Console(markup=False)
    if not console.is_terminal:
        console = Console(markup=False, width=200)  # whole lines in a file or a pipe
    console.print(table if table.row_count else otherwise)
    console.print()


if __name__ == "__main__":
    main()
