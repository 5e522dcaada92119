"""What has to be fetched now? Chooses partitions and lower bounds from the watermarks; pure."""

from __future__ import annotations

from collections.abc import Mapping as Dict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from legacy_sync.mapping.model import Mapping, NumberRangePartitions, WindowPartitions
from legacy_sync.sync.windows import (
    ALL_SLICES,
    BESIDE_ROWS,
    BY_STAMP,
    Window,
    list_windows,
    names_some,
    select_windows,
)

Marks = Dict[str, str | None]
"""partition -> highest cursor loaded (ISO) or None; a partition that was never loaded is no key"""


@dataclass(frozen=True)
class FetchPlan:
    """One request stream: the windows it fills and where it begins; `full` windows are fetched whole.

    `across` all loaded partitions only changes are fetched: most get no row, and rows of partitions between
    them that were never loaded are left to the stream that fetches those whole. `mark` is the newest day up
    to which anything is loaded: a server whose clock shows an earlier one has gone back.
    """

    windows: tuple[Window, ...]
    cursor_from: date | None
    full: frozenset[str]
    across: bool = False
    stamp_from: int | None = None
    mark: date | None = None

    @property
    def cursor_to(self) -> date | None:
        """The end of the last window."""
        return self.windows[-1].cursor_to

    @property
    def is_whole(self) -> bool:
        """Whether all its windows are fetched whole."""
        return len(self.full) == len(self.windows)

    @property
    def number_from(self) -> int | None:
        """The first number of the first slice."""
        return self.windows[0].number_from

    @property
    def number_to(self) -> int | None:
        """The end of the last slice."""
        return self.windows[-1].number_to


def plan_fetches(
    mapping: Mapping, marks: Sequence[Marks], partitions: Sequence[str] | None, *, full: bool, today: date
) -> list[FetchPlan]:
    """The request streams for the named partitions, or for all that may have changes.

    `marks` has the watermarks of every mapping that reads the table; the one furthest behind counts.
    """
    if mapping.strategy == "global_stamp":
        return _plan_by_stamp(mapping, marks, partitions, full=full, today=today)
    if isinstance(mapping.partitions, NumberRangePartitions):
        return _plan_slices(mapping, marks, partitions, full=full, today=today)
    chosen = [
        plan
        for window in select_windows(mapping, partitions, today)
        if (plan := _plan_window(mapping, window, marks, full=full, named=partitions is not None))
    ]
    return _merge(chosen)


def stamp_mark(marks: Sequence[Marks]) -> int | None:
    """Up to which place of the source's counter everything is loaded; None if that is not known of all."""
    stamps = [mark.get(BY_STAMP) for mark in marks]
    return min(int(stamp or 0) for stamp in stamps) if stamps and all(stamps) else None


def as_mark(stamp: int) -> str:
    """A place of the counter as a watermark; compares as text like the number."""
    return f"{stamp:020d}"


def is_due(interval: timedelta | None, marks: Sequence[Marks], name: str, now: datetime) -> bool:
    """Whether what the watermark `name` remembers (a time, ISO) is as long ago as the interval, or never was."""
    if interval is None:
        return False
    times = [mark.get(name) for mark in marks]
    return not all(times) or now - min(datetime.fromisoformat(time) for time in times if time) >= interval


def covers_whole_table(mapping: Mapping, plans: Sequence[FetchPlan], today: date) -> bool:
    """Whether the streams together read every row of the table."""
    read = {partition for plan in plans for partition in plan.full}
    return read == {w.partition for w in list_windows(mapping, today)}


def _plan_window(
    mapping: Mapping, window: Window, marks: Sequence[Marks], *, full: bool, named: bool
) -> FetchPlan | None:
    whole = _whole_window(window)
    if full or mapping.strategy == "fingerprint" or any(window.partition not in m for m in marks):
        return whole
    low = _low_mark(mapping, window, marks)
    if low is None:
        return whole
    if window.cursor_to is not None and window.cursor_to <= low:
        return whole if named else None
    if window.cursor_from is not None and window.cursor_from >= low:
        return replace(whole, mark=low + mapping.lookback)
    return FetchPlan((window,), low, frozenset(), mark=low + mapping.lookback)


def _plan_by_stamp(
    mapping: Mapping, marks: Sequence[Marks], partitions: Sequence[str] | None, *, full: bool, today: date
) -> list[FetchPlan]:
    """Partitions never loaded are fetched whole, what the counter says of all others in one stream behind them.

    A partition that is named, and not all others too, is fetched whole.
    """
    windows = select_windows(mapping, partitions, today)
    stamp = None if full or names_some(mapping, partitions, today) else stamp_mark(marks)
    loaded = [w for w in windows if stamp is not None and all(w.partition in mark for mark in marks)]
    whole = _merge([_whole_window(w) for w in windows if w not in loaded])
    if not loaded:
        return whole
    return [*whole, FetchPlan(tuple(loaded), None, frozenset(), across=True, stamp_from=stamp)]


def _whole_window(window: Window) -> FetchPlan:
    return FetchPlan((window,), window.cursor_from, frozenset([window.partition]))


def _plan_slices(
    mapping: Mapping, marks: Sequence[Marks], partitions: Sequence[str] | None, *, full: bool, today: date
) -> list[FetchPlan]:
    """Slices of a number: those never loaded are fetched whole, the changes of all others in one stream behind them.

    A slice that is named, and not all others too, is fetched whole.
    """
    windows = select_windows(mapping, partitions, today)
    loaded = [w for w in windows if all(mark.get(w.partition) for mark in marks)]
    if full or mapping.strategy == "fingerprint" or names_some(mapping, partitions, today):
        loaded = []
    whole = [_whole_window(w) for w in windows if w not in loaded]
    if not loaded:
        return _merge(whole)
    low = min(_low_mark_of_slices(loaded, mark) for mark in marks) - mapping.lookback
    return [*_merge(whole), FetchPlan(tuple(loaded), low, frozenset(), across=True, mark=low + mapping.lookback)]


def _low_mark_of_slices(loaded: Sequence[Window], mark: Marks) -> date:
    """Up to where all slices are loaded: by the newest change stream, or by the one furthest behind."""
    own = min(filter(None, (mark[w.partition] for w in loaded)))
    return date.fromisoformat(max(own, mark.get(ALL_SLICES) or own))


def _low_mark(mapping: Mapping, window: Window, marks: Sequence[Marks]) -> date | None:
    """The oldest cursor that may still hide a change."""
    by_window = isinstance(mapping.partitions, WindowPartitions)
    lows = []
    for mark in marks:
        rows = [value for partition, value in mark.items() if partition not in BESIDE_ROWS]
        values = [v for v in (rows if by_window else [mark[window.partition]]) if v]
        if not values:
            return None
        lows.append(date.fromisoformat(max(values)) - mapping.lookback)
    return min(lows)


def _merge(plans: list[FetchPlan]) -> list[FetchPlan]:
    """Neighbouring windows become one stream."""
    merged: list[FetchPlan] = []
    for plan in plans:
        last = merged[-1] if merged else None
        if last and _follows(last, plan):
            mark = max(filter(None, (last.mark, plan.mark)), default=None)
            merged[-1] = replace(last, windows=last.windows + plan.windows, full=last.full | plan.full, mark=mark)
        else:
            merged.append(plan)
    return merged


def _follows(last: FetchPlan, plan: FetchPlan) -> bool:
    by_cursor = last.cursor_to is not None and last.cursor_to == plan.cursor_from
    key_to = last.windows[-1].key_to
    by_key = key_to is not None and key_to == plan.windows[0].key_from and last.is_whole and plan.is_whole
    return by_cursor or by_key or (last.number_to is not None and last.number_to == plan.number_from)
