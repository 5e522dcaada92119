"""Where do we stand? Reads the ledger (`status`) and compares both sides (`reconcile`)."""

from __future__ import annotations

from collections.abc import Mapping as Dict
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import typer

from legacy_sync.cli.shell import (
    ABORTED,
    PARKED,
    EntitiesArgument,
    JsonOption,
    console,
    opened_workspace,
    print_json,
    print_next,
    print_table,
)

if TYPE_CHECKING:
    from legacy_sync.sync.reconcile import Reconciliation

_SHOWN_KEYS = 5
_JSON_KEYS = 1000


def status(entities: EntitiesArgument = None, as_json: JsonOption = False) -> None:
    """Every entity with its last run, what waits for a person, and how old its data is."""
    with opened_workspace() as (workspace, project):
        from legacy_sync.ledger.runs import list_entity_states

        names = [mapping.entity for mapping in project.ordered(entities or None)]
        with workspace.erp() as connection:
            states = list_entity_states(connection)
    now = datetime.now(UTC)
    rows = [_state_of(name, states.get(name, {}), now) for name in names]
    if as_json:
        print_json({"entities": rows})
        return
    columns = ("entity", "run", "outcome", "started", "read", "inserted", "updated", "parked now", "conflicts now",
               "bound", "watermark", "last success")  # fmt: skip
    print_table("", columns, [_row_of(row) for row in rows])
    for row in rows:
        if row["message"]:
            console().print(f"{row['entity']}: {row['message']}", markup=False, style="red", soft_wrap=True)
    print_next(_next_steps(rows))


def _state_of(name: str, state: Dict[str, Any], now: datetime) -> dict[str, Any]:
    success = state.get("last_success_at")
    failed = state.get("outcome") == "failed"
    return {
        "entity": name,
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
        "message": state.get("message") if failed else None,
    }


def _row_of(state: Dict[str, Any]) -> tuple[Any, ...]:
    counts = state["counts"]
    age = state["last_success_age_seconds"]
    return (
        state["entity"],
        state["run_id"],
        state["outcome"].replace("_", " "),
        state["started_at"],
        *(counts.get(name) for name in ("read", "inserted", "updated")),
        state["parked"],
        state["conflicts"],
        state["bound"],
        state["watermark"],
        f"{_span(age)} ago" if age is not None else None,
    )


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


def reconcile(entities: EntitiesArgument = None, as_json: JsonOption = False) -> None:
    """Compare counts and keys of both sides, without fetching whole rows.

    Exit code 0 if both sides agree, 3 if only parked rows are missing, 1 if something else is.
    """
    with opened_workspace() as (workspace, project):
        from legacy_sync.sync.reconcile import reconcile as compare

        with workspace.erp() as connection:
            found = {
                m.entity: compare(connection, workspace.source(m.source.server), m, shown=_JSON_KEYS)
                for m in project.ordered(entities or None)
            }
    if as_json:
        print_json({"entities": [{"entity": name, "agrees": r.agrees, **asdict(r)} for name, r in found.items()]})
    else:
        _show_reconciliations(found)
    if not all(result.agrees for result in found.values()):
        raise typer.Exit(ABORTED)
    if any(result.parked for result in found.values()):
        raise typer.Exit(PARKED)


def _show_reconciliations(found: Dict[str, Reconciliation]) -> None:
    columns = ("entity", "in 4D", "bound", "parked", "not loaded", "gone in 4D", "gone in the ERP", "result")
    rows = [
        (name, r.legacy, r.bound, r.parked, r.not_loaded, r.gone, r.erp_gone, "agrees" if r.agrees else "differs")
        for name, r in found.items()
    ]
    print_table("", columns, rows)
    for name, r in found.items():
        _show_keys(f"{name}, in 4D and not loaded", r.not_loaded, r.not_loaded_keys)
        _show_keys(f"{name}, loaded and no longer in 4D", r.gone, r.gone_keys)
        _show_keys(f"{name}, loaded and deleted in the ERP", r.erp_gone, r.erp_gone_keys)
    missing = [name for name, r in found.items() if r.not_loaded]
    if missing:
        print_next([f"`legacy-sync run {' '.join(missing)}` brings what is missing, with --full it reads everything"])


def _show_keys(title: str, count: int, keys: Sequence[str]) -> None:
    if count:
        more = f" and {count - _SHOWN_KEYS:,} more" if count > _SHOWN_KEYS else ""
        console().print(f"{title}: {', '.join(keys[:_SHOWN_KEYS])}{more}", markup=False, soft_wrap=True)
