"""How is a run taken back by hand? `legacy-sync undo`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from legacy_sync.cli.shell import ABORTED, JsonOption, console, opened_workspace, print_json, print_next, print_table

if TYPE_CHECKING:
    from legacy_sync.sync.undo import UndoReport

_EFFECTS = {"set": "restored", "remove": "removed", "return": "came back", "leave": "left"}
_SHOWN = 20
_WIDTH = 40


def undo(
    run_ids: Annotated[list[int], typer.Argument(metavar="RUN...", help="Numbers of runs, all undone together.")],
    skip_changed: Annotated[
        bool, typer.Option("--skip-changed", help="Leave rows out that changed since, and undo the others.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be undone.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    rows: Annotated[int, typer.Option("--rows", min=0, metavar="N", help="Show so many of the rows.")] = _SHOWN,
    as_json: JsonOption = False,
) -> None:
    """Take back what runs did to the ERP, in one transaction; rows that changed since are refused and listed."""
    asks = not (dry_run or yes or as_json) and sys.stdin.isatty()
    if not (dry_run or yes or asks):
        raise typer.BadParameter("say --yes, or --dry-run to see what would be undone", param_hint="--yes")
    with opened_workspace() as (workspace, _project):
        from legacy_sync.sync.undo import undo_runs

        how: dict[str, Any] = {"skip_changed": skip_changed, "rows": rows}
        report = undo_runs(workspace, run_ids, dry_run=dry_run or asks, **how)
        if asks:
            _show(report, dry_run=True)
            if report.is_empty or (report.refused and not skip_changed):
                raise typer.Exit(ABORTED if report.refused else 0)
            typer.confirm("Undo this?", abort=True)
            report = undo_runs(workspace, run_ids, **how)
    if as_json:
        print_json({"dry_run": dry_run, **report.to_json()})
    else:
        _show(report, dry_run=dry_run)
    if report.refused and not report.written and not (dry_run and skip_changed):
        raise typer.Exit(ABORTED)


def _show(report: UndoReport, *, dry_run: bool) -> None:
    out = console()
    print_table(
        "runs to undo" if dry_run else "",
        ("run", "entity", "mode", "started at", "by"),
        [(str(r["run"]), r["entity"], r["mode"], r["started_at"][:19], r["started_by"]) for r in report.runs],
    )
    numbers = [(t, *(n.get(effect, 0) for effect in _EFFECTS)) for t, n in report.by_table.items()]
    print_table("rows" if numbers else "nothing is left to undo", ("table", *_EFFECTS.values()), numbers)
    shown = [line for row in report.rows for line in _lines(row)]
    print_table("some of them" if shown else "", ("table", "legacy key", "row", "column", "now", "as it was"), shown)
    if report.refused:
        problems = [(p["erp_table"], p["legacy_key"], p["erp_key"], p["detail"]) for p in report.problems[:_SHOWN]]
        title = f"{report.refused:,} rows changed since" + (", the first of them" if report.refused > _SHOWN else "")
        print_table(title, ("table", "legacy key", "row", "why"), problems)
    _show_end(report, dry_run=dry_run)
    for line in report.will if report.written or dry_run else ():
        out.print(f"the next sync: {line}", markup=False, soft_wrap=True)
    for line in report.again if report.written else ():
        out.print(f"4D's values again: {line}", markup=False, soft_wrap=True)


def _show_end(report: UndoReport, *, dry_run: bool) -> None:
    if report.written:
        runs = ", ".join(f"run {run_id} of {entity}" for entity, run_id in report.undo_runs.items())
        console().print(f"undone, by {runs}", markup=False, soft_wrap=True)
        return
    console().print("nothing was written", markup=False)
    ids = " ".join(str(run["run"]) for run in report.runs)
    if report.refused:
        print_next([f"name the later runs too, or `legacy-sync undo {ids} --skip-changed` to leave these rows out"])
    elif dry_run and not report.is_empty:
        print_next([f"`legacy-sync undo {ids}` does this"])


def _lines(row: dict[str, Any]) -> list[tuple[str, ...]]:
    """The values of a row; a row that goes or comes back is one line."""
    place = (row["erp_table"], row["legacy_key"], row["erp_key"])
    if row["effect"] != "set":
        return [(*place, "(the row)", "" if row["effect"] == "return" else "there", _EFFECTS[row["effect"]])]
    return [
        (*place, column, _short(now), _short(was))
        for column, now, was in zip(row["columns"], row["now"], row["restored"], strict=True)
    ]


def _short(value: str | None) -> str:
    if value is None:
        return "-"
    return value if len(value) <= _WIDTH else value[:_WIDTH] + "…"
