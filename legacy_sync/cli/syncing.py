"""Bring changes over: what would happen (`plan`), and do it (`run`)."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from datetime import date, datetime
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any

import typer

from legacy_sync.cli.planned import Planned
from legacy_sync.cli.shell import (
    EntitiesArgument,
    JsonOption,
    console,
    incomplete_links,
    opened_workspace,
    print_json,
    print_next,
    print_table,
    show_error,
)

if TYPE_CHECKING:
    from legacy_sync.cli.entities import Result
    from legacy_sync.mapping.model import Mapping
    from legacy_sync.sync.report import RunReport
    from legacy_sync.sync.turns import Unit

_COUNTS = ("read", "inserted", "updated", "unchanged", "adopted", "kept", "parked", "conflicts")
_SAMPLE = 10
_JOBS = 2

FullOption = Annotated[bool, typer.Option("--full", help="Fetch everything again, not only what may have changed.")]
PartitionOption = Annotated[
    list[str] | None, typer.Option("--partition", metavar="P", help="Only this partition; may be repeated.")
]
RowsOption = Annotated[
    str | None, typer.Option("--rows", metavar="N", help="Show so many rows of each entity, or `all`; with --json all.")
]


# --- plan and run --------------------------------------------------------------------------------


def plan(
    entities: EntitiesArgument = None, full: FullOption = False, partition: PartitionOption = None,
    rows: RowsOption = None, as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Show what a run would do, row by row and through the same code; nothing is written to the ERP."""
    _sync(entities, full=full, partitions=partition, since=None, dry_run=True, skip_preflight=False, rows=rows,
          as_json=as_json)  # fmt: skip


def run(
    entities: EntitiesArgument = None,
    full: FullOption = False,
    partition: PartitionOption = None,
    since: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Only the partitions from that day to now.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="The same as `plan`.")] = False,
    skip_preflight: Annotated[
        bool, typer.Option("--skip-preflight", help="Do not compare the mappings with both catalogs first.")
    ] = False,
    accept_shrink: Annotated[
        bool, typer.Option("--accept-shrink", help="This once, believe a change that the guards would stop.")
    ] = False,
    jobs: Annotated[
        int, typer.Option("--jobs", min=1, max=16, help="How many run at the same time; 1: one after the other.")
    ] = _JOBS,
    as_json: JsonOption = False,
) -> None:
    """Fetch changes from 4D and load them into the ERP, parents first, what is independent side by side."""
    if since and partition:
        raise typer.BadParameter("--since and --partition exclude each other", param_hint="--since")
    day = since.date() if since else None
    _sync(entities, full=full, partitions=partition, since=day, dry_run=dry_run, skip_preflight=skip_preflight,
          as_json=as_json, accept=accept_shrink, jobs=jobs)  # fmt: skip


def _sync(
    entities: list[str] | None,
    *,
    full: bool,
    partitions: list[str] | None,
    since: date | None,
    dry_run: bool,
    skip_preflight: bool,
    as_json: bool,
    accept: bool = False,
    jobs: int = 1,
    rows: str | None = None,
) -> None:
    with opened_workspace() as (workspace, project), Planned(rows, as_json=as_json) as planned:
        from legacy_sync.cli.entities import choose_partitions, code_of, find_drifted, plan_each, run_each
        from legacy_sync.cli.progress import Bars
        from legacy_sync.sync.pipeline import Fetched, plan_entities, run_unit
        from legacy_sync.sync.turns import units_of

        units = units_of(project, project.ordered(entities or None))
        mappings = [mapping for unit in units for mapping in unit]
        chosen = choose_partitions(mappings, partitions, since)
        drifted = {} if skip_preflight else find_drifted(workspace, mappings, accept=accept, remember=not dry_run)
        fetched: Fetched = {}
        with Bars(len(units)) as bars:

            def work(unit: Unit) -> dict[str, RunReport]:
                keys = chosen[unit[0].entity]
                with bars.of(unit) as progress:
                    return run_unit(workspace, unit, keys, full=full, progress=progress, accept=accept, fetched=fetched)

            def look(several: Sequence[Mapping]) -> Generator[RunReport, None, None]:
                for keys, group in groupby(several, key=lambda mapping: chosen[mapping.entity]):
                    yield from plan_entities(workspace, list(group), keys, full=full, progress=bars.show("plan"),
                                             on_planned=planned.note)  # fmt: skip

            if dry_run:
                results = plan_each(project, mappings, look, drifted)
            else:
                results = run_each(project, mappings, work, drifted, jobs=jobs, stop=bars.stop)
        _show_results(results, dry_run=dry_run, as_json=as_json, planned=planned)
        raise typer.Exit(code_of(results))


def _show_results(results: Sequence[Result], *, dry_run: bool, as_json: bool, planned: Planned) -> None:
    for result in results:
        if result.error:
            console(stderr=True).print(f"{result.entity} failed:", markup=False)
            show_error(result.error)
    if as_json and dry_run:
        planned.print_json([(result.entity, result.to_json()) for result in results])
        return
    if as_json:
        print_json({"dry_run": dry_run, "entities": [result.to_json() for result in results]})
        return
    if dry_run:
        for result in results:
            if result.report:
                _show_details(result.report)
                planned.show(result.entity)
    title = "plan: nothing was written" if dry_run else ""
    print_table(title, ("entity", *_COUNTS, "seconds", "outcome"), [_row_of(result) for result in results])
    _show_links([result.report for result in results if result.report])
    for result in results:
        for remark in result.report.remarks if result.report else ():
            console().print(f"{result.entity}: {remark}", markup=False, soft_wrap=True)
        if result.waits_for:
            text = f"{result.entity} was skipped, because it builds on {result.waits_for}, which failed"
            console().print(text, markup=False, soft_wrap=True)
    print_next(_next_steps(results, dry_run))


def _row_of(result: Result) -> tuple[Any, ...]:
    if not result.report:
        return (result.entity, *(None for _ in _COUNTS), None, result.outcome)
    counts = [getattr(result.report.counts, name) for name in _COUNTS]
    return (result.entity, *counts, float(sum(result.report.seconds.values())), result.outcome)


def _show_links(reports: Sequence[RunReport]) -> None:
    """References of which not every row found its parent; none at all is a fault of the mapping or of the order."""
    from legacy_sync.sync.report import link_rates

    rows = []
    for report in reports:
        for column, share in incomplete_links(link_rates(report.links)).items():
            numbers = report.links[column]
            named = numbers["rows"] - numbers.get("blank", 0)
            rows.append((report.entity, column, share, named, numbers.get("missing", 0), numbers.get("ambiguous", 0)))
    columns = ("entity", "reference", "found", "rows with a parent", "missing", "ambiguous")
    print_table("references that did not find every parent" if rows else "", columns, rows)
    for entity, column, *_ in (row for row in rows if row[2] == "0.0 %"):
        text = f"{entity}: no row found its {column}: check how the mapping finds it, and that its parents are loaded"
        console().print(text, markup=False, style="red", soft_wrap=True)


def _show_details(report: RunReport) -> None:
    """What a plan shows beyond the counts."""
    if report.columns_changed:
        rows = sorted(report.columns_changed.items(), key=lambda item: -item[1])
        print_table(f"{report.entity}: updates by column", ("column", "rows"), rows)
    if report.parked_by_reason:
        print_table(
            f"{report.entity}: rows that would be parked", ("reason", "rows"), list(report.parked_by_reason.items())
        )
        sample = [(p.legacy_key, p.reason, p.column, p.value, p.message) for p in report.parked_sample[:_SAMPLE]]
        print_table("", ("legacy key", "reason", "column", "value", "message"), sample)
    notes = {**report.warnings, **{f"rule {name}": rows for name, rows in report.rule_violations.items() if rows}}
    if notes:
        print_table(f"{report.entity}: notes", ("note", "rows"), list(notes.items()))
    waiting = sum(report.parked_by_reason.get(reason, 0) for reason in ("reference_missing", "reference_ambiguous"))
    if waiting:
        text = f"{waiting:,} rows of {report.entity} refer to rows that are neither in the ERP nor in this plan"
        console().print(text, markup=False, soft_wrap=True)


def _next_steps(results: Sequence[Result], dry_run: bool) -> list[str]:
    reports = [result.report for result in results if result.report]
    names = " ".join(result.entity for result in results)
    lines = []
    if any(result.error for result in results):
        bad = " ".join(result.entity for result in results if not result.report)
        lines.append(f"remove the cause above, then `legacy-sync run {bad}`")
    if dry_run:
        return lines or [f"`legacy-sync run {names}` does this"]
    if any(report.counts.parked for report in reports):
        lines.append("`legacy-sync quarantine list` shows the parked rows")
    if any(report.counts.conflicts for report in reports):
        lines.append("`legacy-sync conflicts list` shows what both sides changed")
    return lines or ["`legacy-sync status` shows every entity, `legacy-sync reconcile` compares both sides"]
