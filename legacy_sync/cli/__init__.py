"""What can be typed after `legacy-sync`? Assembles the commands; each family has its module."""

from __future__ import annotations

from typing import Annotated

import typer

from legacy_sync import __version__
from legacy_sync.cli import (
    checking,
    conflicts,
    demo,
    exporting,
    grants,
    looking,
    notify,
    quarantine,
    reconciling,
    showing,
    syncing,
    undoing,
)
from legacy_sync.cli.shell import CommandGroup, set_up_logging

app = typer.Typer(
    cls=CommandGroup,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help is there in half the time
    pretty_exceptions_enable=False,  # its boxes show local variables, and those may hold passwords
    help="Brings the changes of a 4D ERP into pyERP's PostgreSQL.",
    epilog="Exit codes: 0 done, 1 aborted with nothing half-written, 2 bad usage or configuration, "
    "3 done but rows are parked.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"legacy-sync {__version__}")
        raise typer.Exit


@app.callback()
def main(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show log lines beside the progress bars.")] = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Brings the changes of a 4D ERP into pyERP's PostgreSQL."""
    set_up_logging(verbose)


app.command()(demo.demo)
app.command()(demo.up)
app.command()(checking.check)
app.command()(grants.grants)
app.command()(syncing.plan)
app.command()(syncing.run)
app.command()(looking.status)
app.command()(reconciling.reconcile)
app.command()(showing.show)
app.command()(undoing.undo)
app.command()(exporting.export)
app.command()(notify.notify)
app.add_typer(quarantine.app, name="quarantine")
app.add_typer(conflicts.app, name="conflicts")
