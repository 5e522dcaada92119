"""How do parked rows come back, or go for good? Which ones are meant, another try of them, or the end of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import psycopg

from legacy_sync.errors import ChoiceUnusable
from legacy_sync.ledger.quarantine import ParkedEntry, discard, get_entry, list_entries, mark_for_replay
from legacy_sync.sync.pipeline import load_unit
from legacy_sync.sync.report import RunReport
from legacy_sync.sync.turns import Unit, units_of
from legacy_sync.sync.workspace import Workspace

Load = Callable[[Unit], dict[str, RunReport]]
_ALL = 10_000_000


def choose_parked(
    workspace: Workspace, *, ids: Sequence[int] = (), entity: str | None = None, every: bool = False
) -> list[ParkedEntry]:
    """The parked rows that are meant: by number, of one entity, or all.

    Raises ChoiceUnusable if nothing or two things are named or a named row is closed, RowNotFound for unknown numbers.
    """
    if bool(ids) + bool(entity) + every != 1:
        raise ChoiceUnusable(
            "it is not clear which rows are meant",
            where="quarantine",
            next_step="name either their numbers, or an entity, or all",
        )
    name = workspace.project.get(entity).entity if entity else None
    with workspace.erp() as connection:
        if not ids:
            return list_entries(connection, entity=name, limit=_ALL)
        return [_get_open(connection, number) for number in dict.fromkeys(ids)]


def _get_open(connection: psycopg.Connection, number: int) -> ParkedEntry:
    entry = get_entry(connection, number)
    if entry.status != "open":
        raise ChoiceUnusable(
            f"parked row {number} is {entry.status} already",
            where="quarantine",
            next_step="nothing, it waits no longer; see `legacy-sync quarantine list` for those that do",
        )
    return entry


def units_with(workspace: Workspace, entries: Sequence[ParkedEntry]) -> list[Unit]:
    """What has to be loaded to try these rows again, parents first; rows no mapping loads any more are left out."""
    project = workspace.project
    names = {entry.entity for entry in entries}
    return list(units_of(project, project.ordered([name for name in names if name in project.mappings])))


def replay_parked(
    workspace: Workspace, entries: Sequence[ParkedEntry], load: Load | None = None
) -> tuple[list[RunReport], list[ParkedEntry]]:
    """Loads the entities of these rows, parents first; returns the reports and the rows as they are now.

    `load` loads one unit; without it that happens without a word.
    """
    with workspace.erp() as connection:
        mark_for_replay(connection, [entry.id for entry in entries])
    reports: list[RunReport] = []
    for unit in units_with(workspace, entries):
        reports += (load(unit) if load else load_unit(workspace, unit)).values()
    with workspace.erp() as connection:
        return reports, [get_entry(connection, entry.id) for entry in entries]


def discard_parked(workspace: Workspace, entries: Sequence[ParkedEntry], *, by: str, comment: str) -> list[ParkedEntry]:
    """Closes these rows for good, and returns them as they are now. Raises ChoiceUnusable without a reason."""
    if not comment.strip():
        raise ChoiceUnusable(
            "rows are not discarded without a reason",
            where="quarantine",
            next_step="say in the comment why they are not wanted, so that others understand it later",
        )
    with workspace.erp() as connection:
        discard(connection, [entry.id for entry in entries], by=by, comment=comment.strip())
        return [get_entry(connection, entry.id) for entry in entries]
