"""How does Dagster spell the partitions of a mapping? The keys are those of `sync/windows.py`."""

from datetime import UTC, date, datetime

import dagster as dg

from legacy_sync.mapping.model import (
    KeyRangePartitions,
    Mapping,
    NumberRangePartitions,
    Partitions,
    WindowPartitions,
)
from legacy_sync.sync.windows import list_windows, today_of

_MONDAY = 1
_ANY_DAY = date(2000, 1, 1)  # slices of a key or a number do not depend on the calendar


def build_partitions(mapping: Mapping) -> dg.PartitionsDefinition | None:
    """The partitions of the assets of a mapping; None if the table is one piece.

    Windows include the open one (`end_offset=1`), since it is the one that changes.
    """
    match mapping.partitions:
        case WindowPartitions() as windows:
            return _windows(windows, list_windows(mapping, windows.start)[0].partition)
        case KeyRangePartitions() | NumberRangePartitions():
            return dg.StaticPartitionsDefinition([w.partition for w in list_windows(mapping, _ANY_DAY)])
        case _:
            return None


def list_partitions(mapping: Mapping) -> list[str]:
    """All partitions there are today, in order."""
    return [window.partition for window in list_windows(mapping, today_of(mapping, datetime.now(UTC)))]


def newest_partition(mapping: Mapping) -> str:
    """The open window, the last slice, or the one partition of an unpartitioned table."""
    return list_partitions(mapping)[-1]


def label_partitions(partitions: Partitions) -> str:
    """A word for names of jobs: by_month, by_week, by_day, by_key, by_number or whole."""
    match partitions:
        case WindowPartitions(size=size):
            return f"by_{size}"
        case KeyRangePartitions():
            return "by_key"
        case NumberRangePartitions():
            return "by_number"
        case _:
            return "whole"


def build_dependency(
    parent: dg.AssetKey, upstream: dg.PartitionsDefinition | None, downstream: dg.PartitionsDefinition | None
) -> dg.AssetDep:
    """A dependency that neither stops a range nor asks for partitions the parent does not have.

    With the same partitions each follows its own; a parent that is cut differently is followed by its
    newest partition, because rows refer to parents of any age.
    """
    if upstream is None or upstream == downstream:
        return dg.AssetDep(parent)
    return dg.AssetDep(parent, partition_mapping=dg.LastPartitionMapping())


def _windows(windows: WindowPartitions, first: str) -> dg.PartitionsDefinition:
    match windows.size:
        case "month":
            return dg.MonthlyPartitionsDefinition(first, timezone=windows.timezone, end_offset=1)
        case "week":
            return dg.WeeklyPartitionsDefinition(first, timezone=windows.timezone, end_offset=1, day_offset=_MONDAY)
        case "day":
            return dg.DailyPartitionsDefinition(first, timezone=windows.timezone, end_offset=1)
