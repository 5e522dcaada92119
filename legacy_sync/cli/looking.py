"""Where do we stand? Reads the ledger (`status`), and asks the sources only with `--live`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Mapping as Dict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from legacy_sync.cli.costs import cost_of, print_costs, print_waiting, waiting_of
from legacy_sync.cli.shell import (
    EntitiesArgument,
    JsonOption,
    console,
    incomplete_links,
    opened_workspace,
    print_json,
    print_next,
    print_table,
)
from legacy_sync.sync.report import link_rates

if TYPE_CHECKING:
    from legacy_sync.mapping.model import Mapping
    from legacy_sync.sync.workspace import Workspace


_COLUMNS = ("group", "entity", "rows", "parked", "conflicts", "last run", "last success", "lag", "watermark", "links")
_RECENT = timedelta(hours=24)

CostOption = Annotated[
    bool, typer.Option("--cost", help="What the runs of the last 24 hours, and the last one, cost and brought.")
]
LiveOption = Annotated[
    bool, typer.Option("--live", help="Ask the sources, by a small request per table, how many changes wait.")
]


def status(
    entities: EntitiesArgument = None, cost: CostOption = False, live: LiveOption = False, as_json: JsonOption = False
) -> None:
    """Every entity with its last run, what waits for a person, and how old its data is."""
    with opened_workspace() as (workspace, project):
        from legacy_sync.ledger.runs import list_costs, list_entity_states, read_links
        from legacy_sync.mapping.loader import dependencies_of
        from legacy_sync.sync.fetch import readers_of

        mappings = project.ordered(entities or None)
        before = dependencies_of(project.mappings)
        now = datetime.now(UTC)
        with workspace.erp() as connection:
            states, links = list_entity_states(connection), read_links(connection)
            costs = list_costs(connection, now - _RECENT)
        found = [
            {
                **_words_of(m, before[m.entity]),
                **_state_of(states.get(m.entity, {}), links.get(m.entity, {}), now),
                "fetched_with": [other.entity for other in readers_of(workspace, m) if other is not m],
                "cost": cost_of(costs.get(m.entity, {})),
            }
            for m in mappings
        ]
        if live:
            _add_waiting(found, workspace, mappings, states)
    groups = list(dict.fromkeys(row["group"] for row in found))
    rows = sorted(found, key=lambda row: groups.index(row["group"]))
    if as_json:
        print_json({"entities": rows})
        return
    print_table("", _COLUMNS, _rows_by_group(rows))
    console().print(_in_one_line(rows), markup=False)
    if cost:
        print_costs(rows)
    if live:
        print_waiting(rows)
    for row in rows:
        if row["message"]:
            console().print(f"{row['entity']}: {row['message']}", markup=False, style="red", soft_wrap=True)
        if row["accepted_by"]:
            text = f"{row['entity']}: its last run had no guards, as {row['accepted_by']} wanted (--accept-shrink)"
            console().print(text, markup=False, soft_wrap=True)
    print_next(_next_steps(rows))


def _add_waiting(
    found: list[dict[str, Any]], workspace: Workspace, mappings: Sequence[Mapping], states: dict[str, dict[str, Any]]
) -> None:
    from legacy_sync.sync.waiting import find_waiting

    waiting = find_waiting(workspace, mappings, states)
    for row in found:
        row["waiting"] = waiting_of(waiting[row["entity"]])


def _words_of(mapping: Mapping, before: Sequence[str]) -> dict[str, Any]:
    """What the mapping says of an entity."""
    return {
        "entity": mapping.entity,
        "group": mapping.group,
        "unit": mapping.unit.name if mapping.unit else None,
        "source": mapping.source.server,
        "legacy_table": mapping.source.table,
        "erp_table": mapping.target.table,
        "after": list(before),
    }


def _state_of(state: Dict[str, Any], links: dict[str, dict[str, int]], now: datetime) -> dict[str, Any]:
    """What the ledger knows of it."""
    success, up_to = state.get("last_success_at"), state.get("changes_up_to")
    failed = state.get("outcome") == "failed"
    return {
        "run_id": state.get("run_id"),
        "outcome": state.get("outcome") or "never run",
        "mode": state.get("mode"),
        "started_at": state.get("started_at"),
        "finished_at": state.get("finished_at"),
        "counts": state.get("counts") or {},
        "bound": state.get("bound", 0),
        "parked": state.get("parked", 0),
        "conflicts": state.get("conflicts", 0),
        "watermark": state.get("watermark"),
        "last_success_at": success,
        "last_success_age_seconds": (now - success).total_seconds() if success else None,
        "changes_up_to": up_to,
        "lag_seconds": (now - up_to).total_seconds() if up_to else None,
        "links": links,
        "link_rates": link_rates(links),
        "message": state.get("message") if failed else None,
        "accepted_by": state.get("accepted_by"),
    }


def _rows_by_group(rows: Sequence[Dict[str, Any]]) -> Iterator[tuple[Any, ...]]:
    """A line per entity, parents first in each group; zeros are left out, since they need nobody."""
    group = None
    for row in rows:
        age, lag = row["last_success_age_seconds"], row["lag_seconds"]
        yield (
            row["group"] if row["group"] != group else "",
            row["entity"],
            row["bound"],
            row["parked"] or None,
            row["conflicts"] or None,
            row["outcome"].replace("succeeded_with_parked", "with parked rows"),
            f"{_span(age)} ago" if age is not None else None,
            _span(lag) if lag is not None else None,
            row["watermark"],
            ", ".join(f"{column} {share}" for column, share in incomplete_links(row["link_rates"]).items()),
        )
        group = row["group"]


def _in_one_line(rows: Sequence[Dict[str, Any]]) -> str:
    numbers = {
        "failed": sum(row["outcome"] == "failed" for row in rows),
        "never run": sum(row["outcome"] == "never run" for row in rows),
        "rows parked": sum(row["parked"] for row in rows),
        "conflicts": sum(row["conflicts"] for row in rows),
    }
    total = sum(row["bound"] for row in rows)
    noted = [f"{number:,} {what}" for what, number in numbers.items() if number]
    behind = [row["changes_up_to"] for row in rows]
    if behind and all(behind):
        noted.append(f"all changes up to {min(behind).astimezone():%Y-%m-%d %H:%M:%S} are in the ERP")
    return ", ".join([f"{len(rows)} entities, {total:,} rows", *noted])


def _span(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def _next_steps(rows: list[dict[str, Any]]) -> list[str]:
    lines = []
    if any(row["outcome"] == "failed" for row in rows):
        lines.append("remove the cause, then `legacy-sync run`")
    if any(row["parked"] for row in rows):
        lines.append("`legacy-sync quarantine list` shows the parked rows")
    if any(row["conflicts"] for row in rows):
        lines.append("`legacy-sync conflicts list` shows what waits for a decision")
    if all(row["outcome"] == "never run" for row in rows):
        lines.append("`legacy-sync plan` shows what a first run would do")
    return lines
