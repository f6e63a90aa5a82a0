"""The commands for what people give a running service: names that it should know, and what was really said."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from workbench.name_list import NameList

app = typer.Typer()
names_app = typer.Typer(no_args_is_help=True, help="The biasing list: names that answers are held against, live.")
app.add_typer(names_app, name="names")
label_app = typer.Typer(no_args_is_help=True, help="What people write down of production, for audits and retraining.")
app.add_typer(label_app, name="label")


@label_app.command("export", epilog="Example: workbench label export --run default")
def export_labels(run: Annotated[str, typer.Option(help="The run whose retrain stage asks.")] = "default") -> None:
    """Say where the sheet lies that people fill in."""
    from workbench import labelling

    print(labelling.sheet_of(run))


@label_app.command("import", epilog="Example: workbench label import data/labels/default/asked.csv --by ada")
def import_labels(file: Annotated[Path, typer.Argument(help="The filled sheet.")],
                  by: Annotated[str, typer.Option(help="Who wrote them down.")],
                  run: Annotated[str, typer.Option(help="The run that asked.")] = "default") -> None:
    """Take a filled sheet into the query log; the same run goes on with it."""
    from workbench import labelling
    from workbench.query_log import QueryLog

    n_kept = labelling.bring(file, run, by=by, log=QueryLog())
    print(f"{n_kept:,} labels kept; go on with: workbench run --run {run}")


@names_app.command("add", epilog="Example: workbench names add 'olivia rodrigo' --sounds onleverodryo --by ada")
def add_name(
    name: Annotated[str, typer.Argument(help="As it should be written.")],
    by: Annotated[str, typer.Option(help="Who decides this.")],
    sounds: Annotated[str, typer.Option(help="The letters that are heard when people say it.")] = "",
    no_probe: Annotated[bool, typer.Option("--no-probe", help="Do not try it on synthesized clips.")] = False,
) -> None:
    """Put a name on the list; a running server answers with it within seconds."""
    from workbench.name_list import NameList

    listed = NameList()
    listed.add(name, by=by, sounds=sounds)
    print(f"{name!r} is on the biasing list; {_served(listed)}")
    if not no_probe:
        probe_names(name)


@names_app.command("remove", epilog="Example: workbench names remove 'olivia rodrigo' --by ada")
def remove_name(name: Annotated[str, typer.Argument(help="As `workbench names list` shows it.")],
                by: Annotated[str, typer.Option(help="Who decides this.")]) -> None:
    """Take a name off the list."""
    from workbench.name_list import NameList

    listed = NameList()
    listed.remove(name, by=by)
    print(f"{name!r} is off the biasing list; {_served(listed)}")


def _served(listed: "NameList") -> str:
    """Wait for the project's server to take the list, and say since when it has."""
    from workbench.serving import server

    running = server.find()
    if running is None:
        return "no server runs here: the next one takes the list as it is"
    version = server.wait_names(running, listed.entries())
    return f"{running.url} answers so since {time.strftime('%H:%M:%S')}, with version {version}"


@names_app.command("list", epilog="Example: workbench names list")
def list_names() -> None:
    """List the names, who put them there, and what was found of each with the champion."""
    from workbench import model_registry, name_list

    champion = model_registry.alias_state()["champion"]
    table = Table("name", "sounds", "since (UTC)", "by", "", "probe", box=None, pad_edge=False)
    for entry in name_list.NameList().entries():
        since = time.strftime("%Y-%m-%d %H:%M", time.gmtime(entry.since_s))
        state = "served" if entry.is_for(champion) else f"expired: version {entry.learned_in} has learned it"
        table.add_row(entry.name, entry.sounds, since, entry.by, state,
                      str(name_list.probe_of(entry.name, champion) or ""))
    print_table(table, "no name; put one there with: workbench names add NAME --by WHO")


@names_app.command("probe", epilog="Examples: workbench names probe hozier  |  workbench names probe")
def probe_names(name: Annotated[str, typer.Argument(help="One of the list; all, and the list's harm, if none.")] = "",
                ) -> None:
    """Let the champion hear synthesized clips of names with and without the list, and dev for what the list spoils."""
    from workbench import model_registry, probes
    from workbench.name_list import NameList

    listed = NameList()
    if not model_registry.alias_state()["champion"]:
        print("no probe: no model is the champion yet")
        return
    for found in probes.of_champion(listed, [listed.entry(name).name] if name else []):
        print(f"{found.name}: {found}")
    if not name:
        print(f"the list: {probes.harm_of_champion(listed)}")


def print_table(table: Table, otherwise: str) -> None:
    """Print a table, or a sentence where it is empty."""
    console = Console(markup=False)
    if not console.is_terminal:
        console = Console(markup=False, width=200)  # whole lines in a file or a pipe
    console.print(table if table.row_count else otherwise)
