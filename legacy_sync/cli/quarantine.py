"""Which rows were set aside, why, and how do they come back? `legacy-sync quarantine`."""

from __future__ import annotations

import getpass
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from legacy_sync.cli.shell import (
    PARKED,
    JsonOption,
    console,
    opened_workspace,
    print_json,
    print_next,
    print_table,
)

if TYPE_CHECKING:
    from legacy_sync.ledger.quarantine import ParkedEntry
    from legacy_sync.sync.report import RunReport
    from legacy_sync.sync.turns import Unit

_STATES = ("open", "watching", "loaded", "discarded", "all")

_NEXT = {
    "reference_missing": "nothing: it is tried again by itself as soon as the row it refers to is in the ERP",
    "reference_ambiguous": "make the row it refers to unique in 4D or in the ERP; it is tried again by itself",
    "duplicate": "correct the double value in 4D; the row then comes again by itself",
    "required": "fill the value in 4D; the row then comes again by itself",
}

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Rows that were set aside: look, try again, discard."
)

IdsArgument = Annotated[list[int] | None, typer.Argument(metavar="[ID]...", help="Numbers from the list.")]
EntityOption = Annotated[str | None, typer.Option("--entity", help="Only this entity.")]


@app.callback()
def quarantine() -> None:
    """Rows that were set aside: look, try again, discard."""


# --- look ----------------------------------------------------------------------------------------


@app.command(name="list")
def list_command(
    entity: EntityOption = None,
    reason: Annotated[str | None, typer.Option(help="Only this reason, such as reference_missing.")] = None,
    status: Annotated[str, typer.Option(help="open, watching, loaded, discarded or all.")] = "open",
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """Parked rows, newest first, and how many wait for which reason."""
    if status not in _STATES:
        raise typer.BadParameter(f"choose one of {', '.join(_STATES)}", param_hint="--status")
    with opened_workspace() as (workspace, project):
        from legacy_sync.ledger import quarantine as ledger

        name = project.get(entity).entity if entity else None
        wanted = None if status == "all" else status
        with workspace.erp() as connection:
            entries = ledger.list_entries(connection, entity=name, status=wanted, reason=reason, limit=limit)
            waiting = [row for row in ledger.count_open(connection) if name in (None, row["entity"])]
    if as_json:
        print_json({"entries": [asdict(entry) for entry in entries], "open": waiting})
        return
    columns = ("id", "entity", "legacy key", "reason", "column", "value", "parked at", "status")
    rows = [(str(e.id), e.entity, e.legacy_key, e.reason, e.column_name, e.value, e.parked_at, e.status)
            for e in entries]  # fmt: skip
    print_table("" if rows else f"no parked rows ({status})", columns, rows)
    if waiting and status == "open":
        summary = [(row["entity"], row["reason"], row["rows"], row["oldest"]) for row in waiting]
        print_table("open rows", ("entity", "reason", "rows", "oldest"), summary)
        print_next(["`legacy-sync quarantine show ID` explains one of them"])


@app.command()
def show(
    entry_id: Annotated[int, typer.Argument(metavar="ID", help="A number from the list.")], as_json: JsonOption = False
) -> None:
    """Everything about one parked row, the record as 4D sent it included, and what to do."""
    with opened_workspace() as (workspace, _project):
        from legacy_sync.ledger.quarantine import get_entry

        with workspace.erp() as connection:
            entry = get_entry(connection, entry_id)
    if as_json:
        print_json({**asdict(entry), "next_step": _next_step(entry)})
        return
    out = console()
    for name, value in asdict(entry).items():
        if name != "row" and value is not None:
            out.print(f"{name.removesuffix('_name').replace('_', ' '):<12} {value}", markup=False, soft_wrap=True)
    out.print("record as received:")
    out.print(json.dumps(entry.row, indent=2, ensure_ascii=False), markup=False, soft_wrap=True)
    print_next([_next_step(entry)])


def _next_step(entry: ParkedEntry) -> str:
    if entry.status != "open":
        return f"nothing: this row is {entry.status}"
    correct = "correct the value in 4D, or the mapping; a changed mapping is tried by itself"
    again = f"`legacy-sync quarantine replay {entry.id}` tries it now"
    return f"{_NEXT.get(entry.reason, correct)}. {again}"


# --- act -----------------------------------------------------------------------------------------


@app.command()
def replay(
    ids: IdsArgument = None,
    entity: EntityOption = None,
    every: Annotated[bool, typer.Option("--all", help="All open rows.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Try parked rows again now, through the normal load."""
    if [bool(ids), bool(entity), every].count(True) != 1:
        raise typer.BadParameter("name either rows by ID, or --entity E, or --all", param_hint="ID")
    with opened_workspace() as (workspace, _project):
        from legacy_sync.cli.progress import Bars
        from legacy_sync.sync.parked import choose_parked, replay_parked, units_with
        from legacy_sync.sync.pipeline import load_unit

        entries = choose_parked(workspace, ids=ids or (), entity=entity, every=every)
        with Bars(len(units_with(workspace, entries))) as bars:

            def load(unit: Unit) -> dict[str, RunReport]:
                with bars.of(unit) as progress:
                    return load_unit(workspace, unit, progress=progress)

            reports, now = replay_parked(workspace, entries, load)
    left = sum(entry.status == "open" for entry in now)
    loaded = len(entries) - left
    if as_json:
        print_json({"tried": len(entries), "loaded": loaded, "still_parked": left,
                    "entities": [report.to_json() for report in reports]})  # fmt: skip
    else:
        console().print(f"{len(entries):,} rows tried: {loaded:,} loaded, {left:,} still parked", markup=False)
        print_next(["`legacy-sync quarantine list` shows why"] if left else [])
    if left:
        raise typer.Exit(PARKED)


@app.command()
def discard(
    ids: Annotated[list[int], typer.Argument(metavar="ID...", help="Numbers from the list.")],
    comment: Annotated[str, typer.Option(help="Why these rows are not wanted; kept with them.")],
    as_json: JsonOption = False,
) -> None:
    """Close parked rows for good; they stay in the list of discarded ones."""
    if not comment.strip():
        raise typer.BadParameter("say why, so that others understand it later", param_hint="--comment")
    with opened_workspace() as (workspace, _project):
        from legacy_sync.sync.parked import choose_parked, discard_parked

        count = len(discard_parked(workspace, choose_parked(workspace, ids=ids), by=_user(), comment=comment))
    if as_json:
        print_json({"discarded": count})
    else:
        console().print(f"{count:,} rows discarded", markup=False)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no entry in the password database, as in some containers
        return "unknown"
