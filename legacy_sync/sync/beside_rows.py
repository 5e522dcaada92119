"""What is landed beside the rows of a table: tombstones, lists of all keys, and how far 4D's counter was read."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime

import pyarrow as pa

from legacy_sync.errors import MarkUnusable, SourceRefused
from legacy_sync.mapping.model import Mapping
from legacy_sync.sources.base import KEY, STAMP, CountsChanges
from legacy_sync.sources.landing import FULL, INCREMENTAL
from legacy_sync.sync.report import FetchSummary
from legacy_sync.sync.windows import BY_STAMP, DELETED, KEYS
from legacy_sync.sync.workspace import Workspace

logger = logging.getLogger(__name__)


def read_stamp(workspace: Workspace, mapping: Mapping) -> int:
    """Where the counter of the source stands; raises MarkUnusable where there is none."""
    source = workspace.source(mapping.source.server)
    if not isinstance(source, CountsChanges):
        raise MarkUnusable(
            f"the source {mapping.source.server} has no counter of all its changes",
            where=f"mapping {mapping.entity}, change_detection",
            next_step='choose another strategy, "timestamp" or "fingerprint"',
        )
    return source.read_stamp(mapping.source.table)


def land_tombstones(workspace: Workspace, mapping: Mapping, since: int, summary: FetchSummary) -> None:
    """Lands which records were deleted at or after the place `since` of the counter and are not there now, if any."""
    source, table = workspace.source(mapping.source.server), mapping.source.table
    assert isinstance(source, CountsChanges)  # its stamp was just read
    with workspace.landing_of(mapping).open_fetch(table, DELETED) as writer:
        try:
            told = [t for name, part in source.fetch_tombstones(since) if name == table for t in part]
        except SourceRefused as error:  # tracking may be on without the table of deleted records
            logger.warning("%s: deletes go unnoticed: %s", table, error)
            summary.notes += (f"deletes go unnoticed: {error.what}",)
            return
        tombstones = {t.key: t.stamp for t in told}
        gone = sorted(tombstones.keys() - source.find_living(table, list(tombstones))) if tombstones else []
        if gone:
            stamps = pa.array([tombstones[key] for key in gone], pa.int64())
            writer.write(pa.RecordBatch.from_arrays([pa.array(gone, pa.string()), stamps], [KEY, STAMP]))
            writer.commit(mode=INCREMENTAL, server_time=_time_of(summary), rows=len(gone), complete=False)


def land_keys(workspace: Workspace, mapping: Mapping, summary: FetchSummary, if_empty: Callable[[], None]) -> None:
    """Lands the list of all keys of the table; `if_empty` may refuse one without any, which then is not landed."""
    source, table = workspace.source(mapping.source.server), mapping.source.table
    rows = 0
    with workspace.landing_of(mapping).open_fetch(table, KEYS) as writer:
        for keys in source.fetch_keys(table):
            writer.write(pa.RecordBatch.from_arrays([pa.array(keys, pa.string())], [KEY]))
            rows += len(keys)
        if not rows:
            if_empty()
        writer.commit(mode=FULL, server_time=_time_of(summary), rows=rows, complete=True)
    summary.notes += (f"the list of all {rows:,} keys was read",)


def land_stamp(workspace: Workspace, mapping: Mapping, stamp: int, summary: FetchSummary) -> None:
    """Says, behind the rows of all partitions, up to where these are all changes; the newest such note says it all."""
    with workspace.landing_of(mapping).open_fetch(mapping.source.table, BY_STAMP) as writer:
        landed = writer.commit(
            mode=FULL,
            server_time=_time_of(summary),
            rows=0,
            complete=False,
            stamp=stamp,
            cost=summary.take_unsaid(),
            all_rows_because=summary.reason,
            changes_up_to=summary.changes_up_to,
        )
    summary.partitions += (BY_STAMP,)
    summary.files += (landed.fetch_id,)


def _time_of(summary: FetchSummary) -> datetime:
    return summary.server_time or datetime.now(UTC)
