"""Has a table changes to fetch? As its mapping detects them: by a cursor, by the source's counter, or by the clock.

4D's cursor is a calendar day: a second change of the same row on the same day shows nowhere. So a table
whose newest change is of today is fetched again after a quarter of an hour, and a last time after midnight.
"""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import TypeVar

import dagster as dg

from legacy_sync.errors import AbortRun, LegacySyncError, SourceRefused
from legacy_sync.mapping.model import Mapping, NoPartitions
from legacy_sync.orchestration.layout import Layout, Table
from legacy_sync.orchestration.partitions import list_partitions, newest_partition
from legacy_sync.orchestration.requests import Ledger, Wanted, wanted_of
from legacy_sync.orchestration.watch import Memory, TableState
from legacy_sync.sources.base import CountsChanges, Probe
from legacy_sync.sync.pipeline import Workspace
from legacy_sync.sync.scopes import is_due, stamp_mark
from legacy_sync.sync.windows import KEYS, WHOLE, today_of

Answer = TypeVar("Answer")

_LOOK_AGAIN_SECONDS = 900.0
_LOOK_AGAIN_WITHOUT_CURSOR_SECONDS = 3600.0


@dataclass(frozen=True)
class Change:
    """Something to run for: a table to fetch and load or, where nothing is to be fetched, landed rows to load anew.

    `seen` is what was seen when that was noticed, `then` what the next looks have to differ from. `whole`: all
    partitions in one run, because only then is everything looked for.
    """

    name: str
    mappings: tuple[Mapping, ...]
    partitions: tuple[str, ...]
    seen: str
    then: str
    since: date | None = None
    fetches: bool = True
    whole: bool = False
    is_due: bool = False

    @property
    def mapping(self) -> Mapping:
        """Any of them: partitions are the same for all."""
        return self.mappings[0]

    def keys(self, layout: Layout) -> list[dg.AssetKey]:
        """The assets to materialise."""
        return layout.keys_of(self.mappings) if self.fetches else layout.erp_keys_of(self.mappings)


@dataclass
class Tick:
    """One evaluation of the sensor of a source: what it knows, and what it found."""

    layout: Layout
    source: str
    workspace: Workspace
    ledger: Ledger
    memory: Memory
    now: float
    busy: set[dg.AssetKey]
    loaded_at: dict[str, datetime | None]
    changes: list[Change] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    """what a person should hear of, once"""
    has_answer: bool = False
    """the source has answered in this tick"""
    quiet: list[str] = field(default_factory=list)
    """entities that have all there is"""

    @property
    def tables(self) -> list[Table]:
        """The tables of the source, the one that was not looked at for longest first."""
        mine = [table for table in self.layout.tables if table.mapping.source.server == self.source]
        return sorted(mine, key=lambda table: self.memory.of(name_of(table)).probed_at)

    @cached_property
    def tombstones(self) -> dict[str, int]:
        """By table the highest place of the counter at which a record was deleted; asked once for all tables."""
        tables = [t for t in self.tables if t.mapping.strategy == "global_stamp" and _takes_deletes(t)]
        froms = [stamp for t in tables if (stamp := looked_from(self, t)) is not None]
        source = self.workspace.source(self.source)
        found: dict[str, int] = {}
        if not froms or not isinstance(source, CountsChanges):
            return found
        try:
            for name, deleted in source.fetch_tombstones(min(froms)):
                found[name] = max([found.get(name, 0), *(t.stamp for t in deleted)])
        except SourceRefused as error:  # tracking may be on without the table of deleted records
            self.notes.append(f"deletes go unnoticed: {error.what}")
        return found

    @cached_property
    def counter(self) -> int | None:
        """Where the counter of the source stands, by one request; None if no table is loaded by it or can tell."""
        source = self.workspace.source(self.source)
        for table in self.tables:
            if isinstance(source, CountsChanges) and _loaded_stamp(self, table) is not None:
                refusal = self.memory.of(name_of(table)).refusal
                if refusal.waits(self.now):
                    continue
                try:
                    return self.answered(source.read_stamp(table.mapping.source.table))
                except AbortRun as error:
                    self.refuse(table, error)
        return None

    def probe(self, mapping: Mapping, cursor: str | None, since: date | None) -> Probe:
        """One small request."""
        return self.answered(self.workspace.source(self.source).probe(mapping.source.table, cursor, since))

    def answered(self, answer: Answer) -> Answer:
        """Remembers that the source is there."""
        self.has_answer = True
        return answer

    def refuse(self, table: Table, error: LegacySyncError) -> None:
        """A table that cannot be looked at is left alone for a while, and stops no other."""
        text = self.memory.of(name_of(table)).refusal.fail(error, self.now)
        self.notes.append(f"{name_of(table)}: {error}")
        if text:
            self.told.append(f"{name_of(table)} cannot be looked at: {text}")


def look_at(tick: Tick, table: Table) -> None:
    """Adds what there is to run for the table; asks the source at most once if there is nothing."""
    state, mapping, name = tick.memory.of(name_of(table)), table.mapping, name_of(table)
    state.probed_at = tick.now
    if state.batch:
        tick.notes.append(f"{name}: a run is under way")
    elif state.refusal.waits(tick.now):
        tick.notes.append(f"{name}: {state.refusal.in_words(tick.now)}")
    elif tick.now < state.not_before:
        tick.notes.append(_failed(name, state))
    else:
        wanted = wanted_of(table, tick.ledger)
        look = {"timestamp": _by_cursor, "global_stamp": _by_counter, "fingerprint": _by_clock}[mapping.strategy]
        seen, probe = look(tick, table, wanted)
        _tell_end(tick, table)
        due = "" if wanted.has_new else _due(table, tick, state)
        if seen is None and not due:
            if _would_show(tick, table):
                tick.quiet += [reader.entity for reader in table.readers]
            return
        seen = seen or f"due: {due}"
        if not state.may_try(seen, tick.now):
            tick.notes.append(_failed(name, state))
            return
        tick.changes.append(_change(tick, table, wanted, seen, probe, is_due=bool(due)))


def _would_show(tick: Tick, table: Table) -> bool:
    """Whether a change of the table would have been seen by this look."""
    by_counter = _loaded_stamp(tick, table) is not None and tick.counter is not None
    return table.mapping.strategy == "timestamp" or by_counter


def _tell_end(tick: Tick, table: Table) -> None:
    if text := tick.memory.of(name_of(table)).refusal.end(tick.now):
        tick.told.append(f"{name_of(table)}: {text}")


def _failed(name: str, state: TableState) -> str:
    return f"{name}: {state.failures} runs failed; next try later or after the next change"


def _change(tick: Tick, table: Table, wanted: Wanted, seen: str, probe: Probe | None, *, is_due: bool) -> Change:
    state, mapping = tick.memory.of(name_of(table)), table.mapping
    since, then = _since(state, wanted), seen
    if probe is not None:
        following = _following(mapping, probe, since)
        if following != since:  # from here on the next looks count; seen before the run, so nothing slips through
            again = tick.probe(mapping, mapping.source.cursor, following)
            then, since = _seen(again), following
        else:
            then = _seen(probe)
    is_cut = not isinstance(mapping.partitions, NoPartitions)
    whole = is_cut and (is_due or mapping.strategy == "global_stamp")
    partitions = list_partitions(mapping) if whole else wanted.partitions or (newest_partition(mapping),)
    return Change(name_of(table), table.readers, tuple(partitions), seen, then, since=since, whole=whole, is_due=is_due)


# --- by a cursor ---------------------------------------------------------------------------------


def _by_cursor(tick: Tick, table: Table, wanted: Wanted) -> tuple[str | None, Probe]:
    """One request: has the table changed since the last successful run was asked for?"""
    state, mapping = tick.memory.of(name_of(table)), table.mapping
    probe = tick.probe(mapping, mapping.source.cursor, _since(state, wanted))
    seen = _seen(probe)
    is_same = seen == state.done_seen and not wanted.has_new and not _looks_again(mapping, probe, state, tick.now)
    return (None if is_same else seen), probe


def _since(state: TableState, wanted: Wanted) -> date | None:
    return state.since if state.done_seen is not None else wanted.since


def _looks_again(mapping: Mapping, probe: Probe, state: TableState, now: float) -> bool:
    """Whether there may be changes that cannot be seen from outside, and it is time to fetch them."""
    done_on = today_of(mapping, datetime.fromtimestamp(state.done_at, UTC))
    was_open = probe.newest is not None and probe.newest >= done_on
    return was_open and now - state.done_at >= _LOOK_AGAIN_SECONDS


def _following(mapping: Mapping, probe: Probe, since: date | None) -> date | None:
    """From where on to look once this change is loaded: the watermark it leads to, minus the lookback."""
    if probe.newest is None:
        return since
    mark = min(probe.newest, today_of(mapping, probe.server_time))
    return mark - max(mapping.lookback, timedelta(days=1))


def _seen(probe: Probe) -> str:
    return f"{probe.count} {probe.newest}"


# --- by the counter of the source ----------------------------------------------------------------


def _by_counter(tick: Tick, table: Table, wanted: Wanted) -> tuple[str | None, None]:
    """No request while the counter stands where it stood; else one for the table, and one for all deletes."""
    loaded = _loaded_stamp(tick, table)
    if wanted.has_new:
        return "never loaded", None
    if loaded is None:  # the counter could not be used: every run reads all rows
        return _by_clock(tick, table, wanted)
    counter, state = tick.counter, tick.memory.of(name_of(table))
    if counter is None or counter == loaded:
        return None, None
    if counter < loaded:
        return f"counter set back to {counter} from {loaded}", None
    since = looked_from(tick, table)
    if since is None:
        return None, None
    source = tick.workspace.source(tick.source)
    assert isinstance(source, CountsChanges)  # it told its counter
    saved = source.count_stamped(table.mapping.source.table, since)
    deleted = tick.tombstones.get(table.mapping.source.table, -1) if _takes_deletes(table) else -1
    if not saved and deleted < since:
        state.looked_stamp = counter
        return None, None
    state.looked_stamp = None
    return f"{saved} saved since {since}, deleted up to {max(deleted, 0)}", None


def looked_from(tick: Tick, table: Table) -> int | None:
    """From which place of the counter on changes of the table are looked for; None if there can be none."""
    loaded, state = _loaded_stamp(tick, table), tick.memory.of(name_of(table))
    if loaded is None or tick.counter is None:
        return None
    looked = state.looked_stamp or 0
    since = looked if loaded < looked <= tick.counter else loaded
    return since if since < tick.counter else None


def _loaded_stamp(tick: Tick, table: Table) -> int | None:
    if table.mapping.strategy != "global_stamp":
        return None
    return stamp_mark([tick.ledger.marks[m.entity] for m in table.readers])


def _takes_deletes(table: Table) -> bool:
    return any(m.deletes.policy != "ignore" for m in table.readers)


# --- by the clock --------------------------------------------------------------------------------


def _by_clock(tick: Tick, table: Table, wanted: Wanted) -> tuple[str | None, None]:
    """No request, unless it is time: what its schedule does not start and no interval is said for runs every hour."""
    loaded = tick.loaded_at[name_of(table)]
    has_rhythm = any(m.schedule or m.full_every for m in table.readers)
    if not wanted.has_new and loaded is not None:
        age = tick.now - loaded.timestamp()
        if has_rhythm or age < _LOOK_AGAIN_WITHOUT_CURSOR_SECONDS:
            return None, None
    probe = tick.probe(table.mapping, None, None)  # no run is asked of a server that is away
    return f"{probe.count} rows, loaded {loaded and loaded.isoformat()}", None


def _due(table: Table, tick: Tick, state: TableState) -> str:
    """What is due by an interval of the mapping: all rows, or the list of all keys; once, even if its mark stays."""
    now = datetime.fromtimestamp(tick.now, UTC)
    for mapping in table.readers:
        marks = [tick.ledger.marks[m.entity] for m in table.readers]
        for interval, mark, what in ((mapping.full_every, WHOLE, "all rows"), (_sweep(mapping), KEYS, "all keys")):
            if interval and is_due(interval, marks, mark, now) and tick.now - state.due_at >= interval.total_seconds():
                return f"{what}, every {interval}"
    return ""


def _sweep(mapping: Mapping) -> timedelta | None:
    return mapping.deletes.sweep


def name_of(table: Table) -> str:
    """The table in the memory and in messages."""
    return table.key.path[-1]
