"""How do both sides become the same again? By a full fetch and a load like any other."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from legacy_sync.erp import compare
from legacy_sync.erp.database import translated
from legacy_sync.ledger import runs
from legacy_sync.mapping.model import Mapping
from legacy_sync.sync.bound import bind
from legacy_sync.sync.differences import Reconciliation
from legacy_sync.sync.pipeline import run_unit
from legacy_sync.sync.report import Progress, RunReport
from legacy_sync.sync.workspace import Workspace

logger = logging.getLogger(__name__)

BROUGHT_BACK = "rows that were deleted in the ERP, to be made anew"


def needs_repair(mapping: Mapping, found: Reconciliation, repaired: Sequence[Mapping]) -> bool:
    """Whether a full fetch and load settles anything: what differs, or rows that wait for one of a repaired entity."""
    tables = {m.target.table for m in repaired}
    parents = tables & {*mapping.referenced_tables, mapping.target.table}
    return found.is_repairable or bool("waits_for_parent" in found.rows and parents)


def repair_unit(
    workspace: Workspace, mappings: Sequence[Mapping], *, accept: bool = False, progress: Progress | None = None
) -> dict[str, RunReport]:
    """Fetches all rows of an entity, or of a whole unit, and loads them; returns a report per entity.

    What people changed in the ERP stays as the policies say, except that rows deleted there come back. `accept` lets
    a change pass that the guards would stop. Raises the errors of a run; what was committed before stays.
    """
    forgotten = {mapping.entity: _forget_deleted(workspace, mapping) for mapping in mappings}
    reports = run_unit(workspace, mappings, full=True, progress=progress, accept=accept)
    for entity, rows in forgotten.items():
        if rows:
            reports[entity].warnings[BROUGHT_BACK] = rows
    return reports


def _forget_deleted(workspace: Workspace, mapping: Mapping) -> int:
    where = f"repair of {mapping.entity}"
    with workspace.erp() as connection, translated(where):
        bound = bind(connection, mapping, workspace.project.mappings.values())
        with runs.entity_lock(connection, bound.entity_id, mapping.entity), connection.transaction():
            rows = compare.forget_deleted(connection, bound.shape(connection))
    if rows:
        logger.info("erp/%s: %s rows were deleted in the ERP and are made anew", mapping.entity, f"{rows:,}")
    return rows
