"""Where did both sides change the same value, and which one counts? `legacy-sync conflicts`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from legacy_sync.cli.shell import PARKED, JsonOption, console, opened_workspace, print_json, print_next, print_table

if TYPE_CHECKING:
    from legacy_sync.sync.resolve import Choice, Settled

_STATES = ("open", "decided", "settled", "all")
_SAMPLE = 20

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

EntityOption = Annotated[str | None, typer.Option("--entity", help="Only this entity.")]
ColumnOption = Annotated[str | None, typer.Option("--column", help="Only this column.")]


@app.callback()
def conflicts() -> None:
    """Values that both sides changed, and rows that one side deleted: look, and decide."""


# --- look ----------------------------------------------------------------------------------------


@app.command(name="list")
def list_command(
    entity: EntityOption = None,
    column: ColumnOption = None,
    status: Annotated[str, typer.Option(help="open, decided, settled or all.")] = "open",
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """Conflicts with the value both sides last agreed on and what each made of it."""
    if status not in _STATES:
        raise typer.BadParameter(f"choose one of {', '.join(_STATES)}", param_hint="--status")
    with opened_workspace() as (workspace, project):
        from legacy_sync.ledger.conflicts import list_conflicts

        name = project.get(entity).entity if entity else None
        wanted = None if status == "all" else status
        with workspace.erp() as connection:
            found = list_conflicts(connection, entity=name, column=column, status=wanted, limit=limit)
    if as_json:
        print_json({"conflicts": found})
        return
    columns = ("id", "entity", "legacy_key", "column_name", "base_value", "legacy_value", "erp_value", "policy",
               "status", "winner", "decided_by", "detected_at")  # fmt: skip
    titles = [name.removesuffix("_name").removesuffix("_value").replace("_", " ") for name in columns]
    rows = [[str(c["id"]), *(c[name] for name in columns[1:])] for c in found]
    print_table("" if found else f"no conflicts ({status})", titles, rows)
    if found and status == "open":
        print_next(["`legacy-sync conflicts show ID` explains one, `legacy-sync conflicts resolve` decides"])


@app.command()
def show(
    number: Annotated[int, typer.Argument(metavar="ID", help="A number from the list.")], as_json: JsonOption = False
) -> None:
    """Everything about one conflict: all three values, since when, who decided, and what to do."""
    with opened_workspace() as (workspace, _project):
        from legacy_sync.ledger.conflicts import get_conflict

        with workspace.erp() as connection:
            conflict = get_conflict(connection, number)
    if as_json:
        print_json({**conflict, "next_step": _next_step(conflict)})
        return
    out = console()
    for name, value in conflict.items():
        if name not in ("cells", "record", "has_record") and value not in (None, ""):
            label = name.removesuffix("_name").replace("_", " ")
            out.print(f"{label:<13} {value}", markup=False, soft_wrap=True)
    if conflict["cells"]:
        cells = [tuple(cell.values()) for cell in conflict["cells"]]
        print_table("columns that changed", ("column", "base", "legacy", "erp"), cells)
    if conflict["record"] is not None:
        out.print("record as received:")
        out.print(json.dumps(conflict["record"], indent=2, ensure_ascii=False), markup=False, soft_wrap=True)
    print_next([_next_step(conflict)])


_MEANING = {
    "value": ("takes the legacy value", "keeps that of the ERP"),
    "gone_in_legacy": ("does with the row what the mapping says of deleted records", "keeps the row"),
    "gone_in_erp": ("inserts the row again", "leaves it deleted"),
}


def _next_step(conflict: dict[str, Any]) -> str:
    number = conflict["id"]
    if conflict["status"] != "open":
        after = conflict["followed_by"]
        return f"look at conflict {after}, which has the values of now" if after else "nothing: it waits no longer"
    legacy, erp = _MEANING[conflict["sort"]]
    text = f"`legacy-sync conflicts resolve {number} --keep legacy` {legacy}, `--keep erp` {erp}"
    return text + (", `--value V` writes another one" if conflict["sort"] == "value" else "")


# --- decide --------------------------------------------------------------------------------------


@app.command()
def resolve(
    ids: Annotated[list[int] | None, typer.Argument(metavar="[ID]...", help="Numbers from the list.")] = None,
    keep: Annotated[str | None, typer.Option(help="Which side counts: legacy or erp.")] = None,
    value: Annotated[
        str | None, typer.Option(help="Write this to the ERP instead; empty: no value, or in texts the empty one.")
    ] = None,
    entity: EntityOption = None,
    column: ColumnOption = None,
    every: Annotated[bool, typer.Option("--all", help="All open conflicts.")] = False,
    comment: Annotated[str | None, typer.Option(help="Why; kept with the conflict.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be decided, and write nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Decide conflicts, one or many, and load their rows with that.

    A choice counts for the values that were listed: where a side changed since, it is not carried out and says so.
    """
    if (keep is None) == (value is None) or keep not in (None, "legacy", "erp"):
        raise typer.BadParameter("say either --keep legacy, or --keep erp, or --value V", param_hint="--keep")
    with opened_workspace() as (workspace, _project):
        from legacy_sync.ledger.runs import who
        from legacy_sync.sync.resolve import Choice, choose
        from legacy_sync.sync.resolve import resolve as settle

        chosen = choose(workspace, ids=list(dict.fromkeys(ids or ())), entity=entity, column=column, every=every)
        choice = Choice("value" if keep is None else "legacy" if keep == "legacy" else "erp", who(), value, comment)
        settled = settle(workspace, chosen, choice, dry_run=dry_run)
    if as_json:
        print_json({"decided": settled.decided, "waiting": settled.waiting, "dry_run": dry_run,
                    "entities": [report.to_json() for report in settled.reports]})  # fmt: skip
    else:
        _print_settled(settled, choice, dry_run)
    if settled.waiting:
        raise typer.Exit(PARKED)


def _print_settled(settled: Settled, choice: Choice, dry_run: bool) -> None:
    said = "would be decided" if dry_run else "decided"
    title = f"{len(settled.decided):,} {said}: {choice} counts"
    columns = ("entity", "legacy_key", "column_name", "legacy_value", "erp_value", "winner")
    rows = [[str(c["id"]), *(c[name] for name in columns)] for c in settled.decided[:_SAMPLE]]
    print_table(title, ("id", "entity", "legacy key", "column", "legacy", "erp", "winner"), rows)
    more = len(settled.decided) - _SAMPLE
    if more > 0:
        console().print(f"… and {more:,} more", markup=False)
    for number, why in list(settled.waiting.items())[:_SAMPLE]:
        console().print(f"conflict {number}: {why}", markup=False, soft_wrap=True)
    if len(settled.waiting) > _SAMPLE:
        console().print(f"… and {len(settled.waiting) - _SAMPLE:,} more that were not decided", markup=False)
