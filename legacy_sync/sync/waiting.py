"""How many changes wait in a source, and since when? One small request per table; nothing is fetched."""

from __future__ import annotations

import logging
from collections.abc import Mapping as Dict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from legacy_sync.errors import AbortRun, LegacySyncError, RetryLater
from legacy_sync.mapping.model import Mapping, WindowPartitions
from legacy_sync.sources.base import CountsChanges
from legacy_sync.sync.fetch import read_marks, readers_of
from legacy_sync.sync.scopes import Marks, stamp_mark
from legacy_sync.sync.windows import ALL_SLICES, BESIDE_ROWS
from legacy_sync.sync.workspace import Workspace

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Waiting:
    """What waits in a table. `rows` is None where only a run can tell; deleted records are never in it."""

    rows: int | None = None
    since: datetime | None = None
    """when the oldest of them may have been saved; None if nothing waits or nothing was ever loaded"""
    how: str = ""
    """what the number means"""
    problem: str | None = None
    """why the source could not be asked"""


def find_waiting(
    workspace: Workspace, mappings: Sequence[Mapping], states: Dict[str, Dict[str, Any]]
) -> dict[str, Waiting]:
    """What waits, by entity. A source that does not answer is asked once and stops no other.

    `states` is what the ledger knows of each entity. Entities that read one table have one answer, that of the
    one furthest behind.
    """
    found: dict[tuple[str, str, str | None], Waiting] = {}
    away: dict[str, str] = {}
    for mapping in mappings:
        server, feed = mapping.source.server, mapping.source.feed
        if feed in found:
            continue
        readers = readers_of(workspace, mapping)
        if server in away:
            found[feed] = Waiting(problem=away[server])
            continue
        try:
            rows, how = _count(workspace, mapping, read_marks(workspace, readers))
        except (AbortRun, RetryLater) as error:
            found[feed] = Waiting(problem=_note(server, error))
            if isinstance(error, RetryLater):
                away[server] = error.what
            continue
        upto = [states.get(m.entity, {}).get("changes_up_to") for m in readers]
        since = min(filter(None, upto)) if rows and all(upto) else None
        found[feed] = Waiting(rows, since, how)
    return {m.entity: found[m.source.feed] for m in mappings}


def _count(workspace: Workspace, mapping: Mapping, marks: Sequence[Marks]) -> tuple[int | None, str]:
    """How many rows wait, and what that number means."""
    source, table = workspace.source(mapping.source.server), mapping.source.table
    if not all(marks):
        return source.probe(table, None, None).count, "all rows, since none was loaded yet"
    stamp = stamp_mark(marks) if mapping.strategy == "global_stamp" else None
    if stamp is not None and isinstance(source, CountsChanges):
        return source.count_stamped(table, stamp), "rows saved since"
    days = [_newest_day(mapping, mark) for mark in marks]
    if mapping.strategy != "timestamp" or not all(days):
        rows = source.probe(table, None, None).count
        return None, f"only a run can tell: it compares all {rows:,} rows"
    since = min(filter(None, days))
    rows = source.probe(table, mapping.source.cursor, since).count
    return rows, f"at most: rows with a date from {since} on, loaded or not"


def _newest_day(mapping: Mapping, mark: Marks) -> date | None:
    """Up to which day everything is loaded: of calendar windows the newest one tells, else the one furthest behind."""
    own = [value for partition, value in mark.items() if partition not in BESIDE_ROWS and value]
    if not own:
        return None
    if isinstance(mapping.partitions, WindowPartitions):
        return date.fromisoformat(max(own))
    return date.fromisoformat(max(min(own), mark.get(ALL_SLICES) or ""))


def _note(server: str, error: LegacySyncError) -> str:
    logger.warning("the source %s cannot say what waits: %s", server, error)
    return error.what
