"""What does a person read when a load is stopped before it does damage?"""

from __future__ import annotations

from collections.abc import Mapping as Dict
from datetime import date, datetime

from legacy_sync.errors import GuardTripped, MarkUnusable
from legacy_sync.mapping.model import Mapping
from legacy_sync.sync.report import Counts, ParkedSample


def column_emptied(mapping: Mapping, column: str, rows: int, changed: int) -> GuardTripped:
    """An attribute that had values is null in every row read."""
    attributes = " and ".join(mapping.fields[column].attributes)
    return GuardTripped(
        f"{attributes} is null in all {rows:,} rows read, which would empty {column} in {changed:,} rows of the ERP",
        where=f"load of {mapping.entity}; nothing was written",
        next_step=f"give the API user the right to read {attributes} of {mapping.source.table} in 4D;"
        " if the values are really gone, run once with --accept-shrink",
    )


def stamp_went_back(mapping: Mapping, stamp: int, mark: int) -> MarkUnusable:
    """4D's counter of changes stands behind what is loaded."""
    return MarkUnusable(
        f"the counter of changes stands at {stamp:,}, but everything up to {mark:,} was loaded: it was set back",
        where=f"fetch of {mapping.source.table}; nothing was landed",
        next_step=f"read all rows once: `legacy-sync run {mapping.entity} --full`",
    )


def clock_went_back(mapping: Mapping, now: datetime, mark: date) -> MarkUnusable:
    """The server's clock shows a day before the one up to which everything is loaded."""
    return MarkUnusable(
        f"the clock of the server shows {now:%Y-%m-%d %H:%M} UTC, but changes up to {mark} are loaded: it was set back",
        where=f"fetch of {mapping.source.table}; nothing was landed",
        next_step=f"set the server's clock right, then read all rows once: `legacy-sync run {mapping.entity} --full`",
    )


def too_many_missing(
    mapping: Mapping, missing: int, bound: int, sample: list[str], how: str = "--full "
) -> GuardTripped:
    """More known records are gone than the mapping believes possible; `how` the evidence is seen again."""
    return GuardTripped(
        f"{missing:,} of {bound:,} known records are gone from the legacy table, for example {', '.join(sample)}",
        where=f"load of {mapping.entity}; its rows were loaded, none was marked as deleted",
        next_step=f"look at the table {mapping.source.table} in 4D; if this is right, run once with"
        f" {how}--accept-shrink, or raise deletes.max_share (now {mapping.deletes.max_share}) in the mapping",
    )


def collapsed(mapping: Mapping, rows: int, bound: int) -> GuardTripped:
    """The whole table has much fewer rows than were taken in."""
    return GuardTripped(
        f'legacy table "{mapping.source.table}" answered {rows:,} rows, but {bound:,} were loaded before',
        where=f"fetch of {mapping.source.table}; nothing was landed",
        next_step="look at the table in 4D and at the rights of the API user, then run again;"
        " if so many records are really gone, run once with --full --accept-shrink",
    )


def too_many_parked(mapping: Mapping, counts: Counts, waiting: Dict[str, ParkedSample]) -> GuardTripped:
    """More rows cannot be used than the mapping allows."""
    reasons = sorted({p.reason for p in waiting.values()})
    example = next(iter(waiting.values())).message
    return GuardTripped(
        f"{counts.parked} of {counts.read} rows cannot be used ({', '.join(reasons)}), for example {example}",
        where=f"load of {mapping.entity}; nothing was written",
        next_step=f"look at the mapping and at the legacy table {mapping.source.table};"
        f" if this is right, run once with --accept-shrink, or raise max_parked_share"
        f" (now {mapping.max_parked_share}) in the mapping",
    )
