"""Where did both sides change the same value? `legacy-sync conflicts`."""

from __future__ import annotations

from typing import Annotated

import typer

from legacy_sync.cli.shell import JsonOption, opened_workspace, print_json, print_table

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def conflicts() -> None:
    """Values that both sides changed."""


@app.command(name="list")
def list_command(
    entity: Annotated[str | None, typer.Option(help="Only this entity.")] = None,
    status: Annotated[str, typer.Option(help="open, decided, settled or all.")] = "open",
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """Conflicts with the value both sides last agreed on and what each made of it."""
    if status not in ("open", "decided", "settled", "all"):
        raise typer.BadParameter('choose one of "open", "decided", "settled", "all"', param_hint="--status")
    with opened_workspace() as (workspace, project):
        from legacy_sync.ledger.conflicts import list_conflicts

        name = project.get(entity).entity if entity else None
        with workspace.erp() as connection:
            found = list_conflicts(
                connection, entity=name, status=None if status == "all" else status, limit=limit
            )  # fmt: skip
    if as_json:
        print_json({"conflicts": found})
        return
    columns = ("id", "entity", "legacy_key", "column_name", "base_value", "legacy_value", "erp_value", "policy",
               "status", "winner", "detected_at")  # fmt: skip
    titles = [name.removesuffix("_name").replace("_", " ") for name in columns]
    print_table("" if found else f"no conflicts ({status})", titles, [[c[name] for name in columns] for c in found])
