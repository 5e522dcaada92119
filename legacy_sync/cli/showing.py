"""What happened to one record? `legacy-sync show`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from legacy_sync.cli.shell import JsonOption, console, opened_workspace, print_json, print_next, print_table

if TYPE_CHECKING:
    from legacy_sync.sync.life import Life


def show(
    entity: Annotated[str, typer.Argument(metavar="ENTITY", help="A target table.")],
    key: Annotated[str | None, typer.Argument(metavar="[KEY]", help="The key of the record in 4D.")] = None,
    erp_key: Annotated[
        str | None, typer.Option("--erp-key", metavar="K", help="The key of its ERP row instead.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Tell the life of one record: its row, every run that touched it, what both sides say, what waits."""
    if (key is None) == (erp_key is None):
        raise typer.BadParameter("name the record by its key, or by --erp-key K", param_hint="KEY")
    with opened_workspace() as (workspace, project):
        from legacy_sync.sync.life import read_life

        life = read_life(workspace, project.get(entity), str(key or erp_key), is_erp_key=key is None)
    if as_json:
        print_json(life.to_json())
    else:
        _show(life)


def _show(life: Life) -> None:
    out = console()
    for text in _heading(life):
        out.print(text, markup=False, soft_wrap=True)
    print_table("what happened" if life.events else "", ("run", "when", "who", "what", "column", "from", "to"),
                [line for event in life.events for line in _event(event, life.erp_table)])  # fmt: skip
    values = [(v["column"], v["legacy"], v["erp"], _remark(v, life)) for v in life.values]
    print_table("values" if values else "", ("column", "4D (last taken in)", "ERP now", ""), values)
    parents = [(p["column"], p["table"], p["erp_key"], p["entity"], p["legacy_key"]) for p in life.parents]
    print_table("refers to" if parents else "", ("column", "table", "row", "entity", "legacy key"), parents)
    parked = [(str(q["id"]), q["status"], q["reason"], q["message"], q["parked_at"], q["closed_by"])
              for q in life.quarantine]  # fmt: skip
    print_table("parked" if parked else "", ("id", "status", "reason", "message", "parked at", "closed by"), parked)
    conflicts = [(str(c["id"]), c["status"], c["column_name"] or c["sort"].replace("_", " "), c["base_value"],
                  c["legacy_value"], c["erp_value"], c["decided_by"] or c["winner"])
                 for c in life.conflicts]  # fmt: skip
    print_table(
        "conflicts" if conflicts else "", ("id", "status", "column", "base", "4D", "ERP", "decided by"), conflicts
    )
    landed = [(f["fetch"], f["partition"], f["mode"]) for f in life.landed or ()]
    print_table("landed in the newest fetches" if landed else "", ("fetch", "partition", "mode"), landed)
    if any(q["status"] == "open" for q in life.quarantine):
        print_next([f"`legacy-sync quarantine show {life.quarantine[-1]['id']}` explains why it waits"])


def _heading(life: Life) -> list[str]:
    binding = life.binding
    if binding is None:
        return [f"{life.entity} {life.legacy_key}: was never loaded"]
    there = "" if life.is_there else ", which is not in the ERP any more"
    lines = [f"{life.entity} {life.legacy_key} is row {life.erp_key} of {life.erp_table}{there}"]
    if binding["missing_since"]:
        lines.append(f"its record is gone from 4D since {binding['missing_since']:%Y-%m-%d %H:%M} UTC")
    if binding["kept_at"]:
        lines.append(f"a person took its deletion back on {binding['kept_at']:%Y-%m-%d %H:%M} UTC: the row stays")
    return lines


def _event(event: dict[str, Any], table: str) -> list[tuple[Any, ...]]:
    kind = event["kind"] if event.get("erp_table") in (None, table) else f"{event['kind']} in {event['erp_table']}"
    if event.get("undoes"):
        kind = f"{kind} (of run {', '.join(map(str, event['undoes']))})"
    place = (str(event["run_id"]), event["started_at"], event["started_by"], kind)
    values = [v for v in event["values"] if v["old"] != v["new"]]
    return [(*place, v["column"], v["old"], v["new"]) for v in values] or [(*place, "", "", "")]


def _remark(value: dict[str, Any], life: Life) -> str:
    if not life.is_there:
        return ""
    if value["erp"] != value["agreed"]:
        return "edited in the ERP"
    return "" if value["legacy"] == value["erp"] else "kept as it is in the ERP until 4D changes it"
