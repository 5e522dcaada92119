"""Which partitions has a mapping, and which rows belong to which? Pure calendar and key arithmetic.

Partition keys are those of Dagster's time windows: the first day of the window, ISO. An unpartitioned
table has the one partition `ALL`. Key ranges are `k00`, `k01`, …, slices of a number `n00`, `n01`, …
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from legacy_sync.errors import EntityUnknown
from legacy_sync.mapping.model import KeyRangePartitions, Mapping, NumberRangePartitions, WindowPartitions

ALL = "all"
ALL_SLICES = "*"
"""Beside the slices of a number: holds no rows; to load it says that all slices are loaded up to its watermark."""
BY_STAMP = "stamp"
"""Holds no rows; to load it says that all partitions are loaded up to a place of the source's counter."""
DELETED = "deleted"
"""Tombstones: keys of deleted records with the place of the counter at which they were deleted."""
KEYS = "keys"
"""Lists of all keys of the table."""
WHOLE = "whole"
"""Only in the ledger: when all rows of the table were read last."""
NOTES = (ALL_SLICES, BY_STAMP)
BESIDE_ROWS = frozenset({*NOTES, DELETED, KEYS, WHOLE})
"""No partitions of rows, but kept beside them, in the landing and as watermarks."""


@dataclass(frozen=True)
class Window:
    """The half-open scope of one partition; None is open. `key_from`/`key_to` are hex prefixes.

    The number slice that is open below also takes the rows without a number.
    """

    partition: str
    cursor_from: date | None = None
    cursor_to: date | None = None
    key_from: str | None = None
    key_to: str | None = None
    number_from: int | None = None
    number_to: int | None = None


def today_of(mapping: Mapping, now: datetime) -> date:
    """The calendar day of `now` (aware) where the legacy server lives."""
    zone = mapping.partitions.timezone if isinstance(mapping.partitions, WindowPartitions) else "Europe/Berlin"
    return now.astimezone(ZoneInfo(zone)).date()


def list_windows(mapping: Mapping, today: date) -> list[Window]:
    """All partitions in order; of calendar windows the last is the open one that contains `today`."""
    match mapping.partitions:
        case WindowPartitions() as windows:
            return _calendar(windows, today)
        case KeyRangePartitions(buckets=buckets):
            return _key_ranges(buckets)
        case NumberRangePartitions(size=size, count=count):
            return _number_ranges(size, count)
        case _:
            return [Window(ALL)]


def select_windows(mapping: Mapping, keys: Sequence[str] | None, today: date) -> list[Window]:
    """The windows named by `keys`, in order (all if None); raises EntityUnknown for a key that is none."""
    windows = list_windows(mapping, today)
    if keys is None:
        return windows
    known = {w.partition for w in windows}
    for key in keys:
        if key not in known:
            raise EntityUnknown(
                f'"{key}" is no partition of {mapping.entity}',
                where=f"partitions of mapping {mapping.entity}",
                next_step=f"choose one from {windows[0].partition} to {windows[-1].partition}",
            )
    return [w for w in windows if w.partition in set(keys)]


def names_some(mapping: Mapping, keys: Collection[str] | None, today: date) -> bool:
    """Whether `keys` leaves a partition out; to name all is as good as to name none."""
    return keys is not None and not {w.partition for w in list_windows(mapping, today)} <= set(keys)


def list_loads(mapping: Mapping, keys: Sequence[str] | None, landed: Sequence[str], today: date) -> list[str]:
    """The partitions a load of `keys` (all if None) looks at, in order, of those that are `landed`.

    Notes come last and only after all partitions, since their watermark is the one of all of them.
    """
    named = [key for key in keys or () if key not in BESIDE_ROWS]
    if keys is not None and not set(keys) & set(NOTES) and names_some(mapping, named, today):
        return named
    if keys is None or isinstance(mapping.partitions, NumberRangePartitions):
        named = sorted(partition for partition in landed if partition not in BESIDE_ROWS)
    return [*named, *(note for note in NOTES if note in landed)]


def _calendar(partitions: WindowPartitions, today: date) -> list[Window]:
    starts = [_start_of(partitions.size, partitions.start)]
    while (following := _next_start(partitions.size, starts[-1])) <= today:
        starts.append(following)
    ends: list[date | None] = [*starts[1:], None]
    return [
        Window(start.isoformat(), None if n == 0 else start, end)
        for n, (start, end) in enumerate(zip(starts, ends, strict=True))
    ]


def _start_of(size: str, day: date) -> date:
    if size == "month":
        return day.replace(day=1)
    if size == "week":
        return day - timedelta(days=day.weekday())
    return day


def _next_start(size: str, start: date) -> date:
    if size == "month":
        return (start.replace(day=28) + timedelta(days=4)).replace(day=1)
    return start + timedelta(days=7 if size == "week" else 1)


def _key_ranges(buckets: int) -> list[Window]:
    step = 256 // buckets
    bounds = [f"{n * step:02X}" for n in range(buckets)]
    return [
        Window(
            f"k{n:02d}",
            key_from=bounds[n] if n else None,
            key_to=bounds[n + 1] if n + 1 < buckets else None,
        )
        for n in range(buckets)
    ]


def _number_ranges(size: int, count: int) -> list[Window]:
    width = max(2, len(str(count - 1)))
    return [
        Window(
            f"n{n:0{width}d}",
            number_from=n * size if n else None,
            number_to=(n + 1) * size if n + 1 < count else None,
        )
        for n in range(count)
    ]
