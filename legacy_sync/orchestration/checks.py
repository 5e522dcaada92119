"""Which checks does an ERP asset have, and what do they say after a run?

Checks inside the run cost no step of their own and never stop what comes after: a row that is parked is
waiting, not lost. Only `reconciliation` is a step, since it reads both sides.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import dagster as dg
from pydantic import Field

from legacy_sync.errors import RetryLater
from legacy_sync.ledger import conflicts, quarantine, runs
from legacy_sync.mapping.loader import Project
from legacy_sync.mapping.model import Mapping, NoPartitions
from legacy_sync.mapping.retry import Rerun
from legacy_sync.orchestration import partition_state
from legacy_sync.orchestration.failures import told_to_dagster
from legacy_sync.orchestration.layout import erp_key, pool_of
from legacy_sync.orchestration.metadata import SHOWN, table_of, to_metadata
from legacy_sync.orchestration.progress import logged_to_dagster
from legacy_sync.orchestration.resources import ErpDatabase, LegacyApi, opened
from legacy_sync.sync.differences import KINDS
from legacy_sync.sync.fetch import readers_of
from legacy_sync.sync.pipeline import Workspace
from legacy_sync.sync.reconcile import Compared, compared
from legacy_sync.sync.report import RunReport, link_rates

WARN = dg.AssetCheckSeverity.WARN
ERROR = dg.AssetCheckSeverity.ERROR
RECONCILIATION = "reconciliation"


@dataclass(frozen=True)
class Standing:
    """What the ledger says of an entity after a run: bound rows, rows that wait, conflicts a person must decide."""

    bound: int
    parked: int
    parked_rows: list[quarantine.ParkedEntry]
    conflicts: int
    conflict_rows: list[dict[str, Any]]
    changes_up_to: datetime | None


def read_standing(workspace: Workspace, mapping: Mapping) -> Standing:
    """The state of an entity in the ledger."""
    with workspace.erp() as connection:
        state = runs.list_entity_states(connection)[mapping.entity]
        return Standing(
            bound=state["bound"],
            parked=state["parked"],
            parked_rows=quarantine.list_entries(connection, entity=mapping.entity, limit=SHOWN),
            conflicts=state["conflicts"],
            conflict_rows=conflicts.list_conflicts(connection, entity=mapping.entity, limit=SHOWN),
            changes_up_to=state["changes_up_to"],
        )


def read_changes_up_to(workspace: Workspace, mapping: Mapping) -> list[datetime | None]:
    """Up to when each entity that reads the table has all its changes; None for one that does not know."""
    with workspace.erp() as connection:
        states = runs.list_entity_states(connection)
    return [states.get(m.entity, {}).get("changes_up_to") for m in readers_of(workspace, mapping)]


def specs_of(mapping: Mapping) -> list[dg.AssetCheckSpec]:
    """The checks that come with a load."""
    key = erp_key(mapping.entity)
    rules = {rule_check(rule.name): f"rows whose {rule.column} breaks the rule {rule.name}" for rule in mapping.rules}
    described = {
        **rules,
        "parked_rows": "rows that wait in the quarantine",
        "conflicts_open": "columns both sides changed, and rows one side deleted, for a person to decide",
    }
    if any(field.reference for field in mapping.fields.values()):
        described["link_rate"] = "share of the rows whose parent was found"
    specs = [dg.AssetCheckSpec(name, asset=key, description=text) for name, text in described.items()]
    return specs if isinstance(mapping.partitions, NoPartitions) else [*specs, partition_state.spec_of(mapping)]


def rule_check(rule: str) -> str:
    """The name of a rule's check; Dagster allows letters, digits and underscores."""
    return f"rule_{re.sub(r'[^A-Za-z0-9_]', '_', rule)}"


def results_of(mapping: Mapping, report: RunReport, standing: Standing) -> Iterator[dg.AssetCheckResult]:
    """One result for every check of `specs_of`, but for that of the partitions."""
    for result in _results(mapping, report, standing):
        yield result._replace(asset_key=erp_key(mapping.entity))


def _results(mapping: Mapping, report: RunReport, standing: Standing) -> Iterator[dg.AssetCheckResult]:
    for rule in mapping.rules:
        broken = report.rule_violations.get(rule.name, 0)
        numbers = {"rows_read": report.counts.read, "rows_broken": broken, "severity": rule.severity}
        yield dg.AssetCheckResult(
            check_name=rule_check(rule.name), passed=not broken, severity=WARN, metadata=to_metadata(numbers)
        )
    yield _parked(report, standing)
    yield _conflicts(standing)
    if any(field.reference for field in mapping.fields.values()):
        yield _links(report)


def _parked(report: RunReport, standing: Standing) -> dg.AssetCheckResult:
    names = ("number", "key", "reason", "column", "value", "message", "since")
    rows = [
        (e.id, e.legacy_key, e.reason, e.column_name, e.value, e.message, e.parked_at) for e in standing.parked_rows
    ]
    return dg.AssetCheckResult(
        check_name="parked_rows",
        passed=standing.parked == 0,
        severity=WARN,
        description=f"{standing.parked} rows wait; see `legacy-sync quarantine list`" if standing.parked else None,
        metadata=to_metadata(
            {
                "rows_waiting": standing.parked,
                "rows_parked": report.counts.parked,
                "parked_by_reason": report.parked_by_reason or None,
                "parked": table_of(names, rows) if rows else None,
            }
        ),
    )


def _conflicts(standing: Standing) -> dg.AssetCheckResult:
    names = ("number", "sort", "key", "column", "base", "legacy", "erp", "policy", "since", "to decide")
    rows = [
        (
            c["id"],
            c["sort"].replace("_", " "),
            c["legacy_key"],
            c["column_name"],
            c["base_value"],
            c["legacy_value"],
            c["erp_value"],
            c["policy"],
            c["detected_at"],
            f"legacy-sync conflicts resolve {c['id']} --keep legacy|erp",
        )
        for c in standing.conflict_rows
    ]
    return dg.AssetCheckResult(
        check_name="conflicts_open",
        passed=standing.conflicts == 0,
        severity=WARN,
        description=f"{standing.conflicts} to decide, by `legacy-sync conflicts resolve` or the job `resolve_conflicts`"
        if standing.conflicts
        else None,
        metadata=to_metadata(
            {"conflicts": standing.conflicts, "conflicts_open": table_of(names, rows) if rows else None}
        ),
    )


def _links(report: RunReport) -> dg.AssetCheckResult:
    rates = link_rates(report.links)
    dead = sorted(column for column, rate in rates.items() if rate == 0)
    return dg.AssetCheckResult(
        check_name="link_rate",
        passed=not dead,
        severity=ERROR,
        description=f"no row found its parent: {', '.join(dead)}" if dead else None,
        metadata=to_metadata(
            {**{f"link_rate_{column}": rate for column, rate in rates.items()}, "links": report.links or None}
        ),
    )


# --- both sides compared -------------------------------------------------------------------------


class Comparison(dg.Config):
    """How thoroughly both sides are compared."""

    values: bool = Field(default=False, description="compare all mapped values, too: fetches every row")


def build_reconciliation(project: Project, mapping: Mapping, rerun: Rerun) -> dg.AssetChecksDefinition:
    """The check that compares both sides; a step of its own, left out of scheduled runs."""

    @dg.asset_check(
        asset=erp_key(mapping.entity),
        name=RECONCILIATION,
        pool=pool_of(mapping.source),
        description=f"every record of {mapping.source.table} is in {mapping.target.table} or waits, and none is too"
        " many; with `values: true` in its config, all mapped values are the same",
    )
    def reconciliation(
        context: dg.AssetCheckExecutionContext, config: Comparison, legacy_api: LegacyApi, erp_database: ErpDatabase
    ) -> dg.AssetCheckResult:
        with logged_to_dagster(context), told_to_dagster(context, rerun):
            try:
                with (
                    opened(project, legacy_api, erp_database) as workspace,
                    compared(workspace, mapping, values=config.values) as found,
                ):
                    return _reconciled(found)
            except RetryLater as error:  # what was loaded is safe: a comparison that has to wait fails no run
                return dg.AssetCheckResult(passed=False, severity=WARN, description=f"not compared: {error}")

    return reconciliation


def _reconciled(found: Compared) -> dg.AssetCheckResult:
    result = found.result
    names = ("difference", "key", "ERP row", "column", "legacy", "erp", "why")
    listed = [kind for kind, word in KINDS.items() if word.weight != "fine"]
    rows = [
        (d.kind, d.legacy_key, d.erp_key, d.column, d.legacy_value, d.erp_value, d.why)
        for d in found.differences(listed, SHOWN)
    ]
    return dg.AssetCheckResult(
        passed=result.state == "agrees",
        severity=ERROR if result.state == "differs" else WARN,
        description=None if result.state == "agrees" else result.in_words(),
        metadata=to_metadata(
            {
                "rows_legacy": result.read,
                "rows_bound": result.bound,
                "rows_erp": result.erp_rows,
                "rows_compared": result.compared if result.values else None,
                **{f"rows_{kind}": result.rows.get(kind, 0) for kind in KINDS},
                "seconds": result.seconds,
                "sums": {s.column: {"legacy": s.legacy, "erp": s.erp} for s in result.sums} or None,
                "notes": result.notes or None,
                "differences": table_of(names, rows) if rows else None,
            }
        ),
    )
