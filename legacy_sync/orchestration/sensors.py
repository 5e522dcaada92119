"""When has 4D changes to fetch? One small look at each table per tick; runs only for what changed.

4D's cursor is a calendar day: a second change of the same row on the same day shows nowhere. So a table
whose newest change is of today is fetched again after a quarter of an hour, and a last time after midnight.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta

import dagster as dg

from legacy_sync.errors import AbortRun, RetryLater
from legacy_sync.mapping.loader import Project
from legacy_sync.mapping.model import Mapping
from legacy_sync.mapping.source_words import FOUR_D
from legacy_sync.orchestration.layout import Cut, Layout, Table
from legacy_sync.orchestration.requests import (
    Ledger,
    busy_assets,
    checks_of,
    in_blocks,
    newest_partition,
    read_ledger,
    tags_of,
    wanted_of,
)
from legacy_sync.orchestration.resources import ErpDatabase, LegacyApi, opened
from legacy_sync.orchestration.schedules import whole_jobs
from legacy_sync.orchestration.watch import BATCH_TAG, Memory, name_batch, read_memory, settle
from legacy_sync.sources.base import Probe
from legacy_sync.sync.pipeline import Workspace
from legacy_sync.sync.windows import today_of

NAME = "legacy_changes"
_LOOK_AGAIN_SECONDS = 900.0
_LOOK_AGAIN_WITHOUT_CURSOR_SECONDS = 3600.0
_TICK_SECONDS = 20.0


@dataclass(frozen=True)
class Change:
    """A table that has to be fetched: which partitions, and what was seen when that was noticed."""

    table: Table
    partitions: tuple[str, ...]
    seen: str
    since: date | None


@dataclass
class Tick:
    """One evaluation: what it knows, and what it found."""

    layout: Layout
    workspace: Workspace
    ledger: Ledger
    memory: Memory
    now: float
    busy: set[dg.AssetKey]
    changes: list[Change] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def build_sensor(layout: Layout, *, minimum_seconds: int = 30) -> dg.SensorDefinition:
    """The sensor `legacy_changes`, stopped at first."""
    keys = layout.keys_of(layout.project.mappings.values())

    @dg.sensor(
        name=NAME,
        asset_selection=dg.AssetSelection.assets(*keys),
        minimum_interval_seconds=minimum_seconds,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Looks for changes in the 4D tables and starts runs for what changed.",
    )
    def legacy_changes(
        context: dg.SensorEvaluationContext, legacy_api: LegacyApi, erp_database: ErpDatabase
    ) -> dg.SensorResult:
        memory = read_memory(context.cursor)
        now = time.time()
        if now < memory.not_before:
            wait = f"the last look failed; the next is in {memory.not_before - now:.0f} s"
            return dg.SensorResult(skip_reason=wait, cursor=memory.to_cursor())
        try:
            with opened(_quick(layout.project), legacy_api, erp_database) as workspace:
                ledger = read_ledger(workspace, layout.project.mappings.values())
                busy = busy_assets(context.instance, whole_jobs(layout))
                settle(memory, context.instance, _loaded_at(layout, ledger), now)
                requests, notes = _look(Tick(layout, workspace, ledger, memory, now, busy))
        except RetryLater as error:
            memory.source_is_away(now)
            return dg.SensorResult(skip_reason=str(error), cursor=memory.to_cursor())
        memory.failures, memory.not_before = 0, 0.0
        reason = None if requests else "; ".join(notes) or "no changes"
        return dg.SensorResult(run_requests=requests, skip_reason=reason, cursor=memory.to_cursor())

    return legacy_changes


def _look(tick: Tick) -> tuple[list[dg.RunRequest], list[str]]:
    watched = [table for table in tick.layout.tables if _is_watched(table, tick.layout.project)]
    for table in sorted(watched, key=lambda t: tick.memory.of(_name(t)).probed_at):
        if time.time() - tick.now > _TICK_SECONDS:
            tick.notes.append("not all tables were looked at; the others come first in the next tick")
            break
        try:
            _look_at(tick, table)
        except AbortRun as error:  # one table that is refused does not stop the others
            tick.notes.append(str(error))
        except RetryLater as error:
            if table.mapping.source.server == FOUR_D:
                raise
            tick.notes.append(str(error))  # other systems that are away stop nobody else
    cuts = tick.layout.cuts()
    return [request for cut in cuts if (request := _request(tick, cut))], tick.notes


def _look_at(tick: Tick, table: Table) -> None:
    """One request: has the table changed since the last successful run was asked for?"""
    state = tick.memory.of(_name(table))
    state.probed_at = tick.now
    if state.batch:
        tick.notes.append(f"{_name(table)}: a run is under way")
        return
    wanted = wanted_of(table, tick.ledger)
    since = state.since if state.done_seen is not None else wanted.since
    mapping = table.mapping
    source = tick.workspace.source(mapping.source.server)
    probe = source.probe(mapping.source.table, mapping.source.cursor, since)
    seen = _seen(probe)
    if seen == state.done_seen and not wanted.has_new and not _looks_again(mapping, probe, state.done_at, tick.now):
        return
    if not state.may_try(seen, tick.now):
        tick.notes.append(f"{_name(table)}: {state.failures} runs failed; next try later or after the next change")
        return
    following = _following(mapping, probe, since)
    if following != since:  # from here on the next looks count; seen before the run, so that nothing slips through
        seen, since = _seen(source.probe(mapping.source.table, mapping.source.cursor, following)), following
    partitions = wanted.partitions or (newest_partition(mapping),)
    tick.changes.append(Change(table, partitions, seen, since))


def _looks_again(mapping: Mapping, probe: Probe, done_at: float, now: float) -> bool:
    """Whether there may be changes that cannot be seen from outside, and it is time to fetch them."""
    if mapping.source.cursor is None or mapping.strategy == "fingerprint":
        return now - done_at >= _LOOK_AGAIN_WITHOUT_CURSOR_SECONDS
    done_on = today_of(mapping, datetime.fromtimestamp(done_at, UTC))
    was_open = probe.newest is not None and probe.newest >= done_on
    return was_open and now - done_at >= _LOOK_AGAIN_SECONDS


def _following(mapping: Mapping, probe: Probe, since: date | None) -> date | None:
    """From where on to look once this change is loaded: the watermark it leads to, minus the lookback."""
    if probe.newest is None:
        return since
    mark = min(probe.newest, today_of(mapping, probe.server_time))
    return mark - max(mapping.lookback, timedelta(days=1))


def _seen(probe: Probe) -> str:
    return f"{probe.count} {probe.newest}"


# --- runs ----------------------------------------------------------------------------------------


def _request(tick: Tick, cut: Cut) -> dg.RunRequest | None:
    """One run for everything of a cut that changed, children with waiting rows included."""
    changes = [c for c in tick.changes if c.table.is_read_by(cut.mappings)]
    loaded = tick.layout.with_units(m for c in changes for m in c.table.readers)
    children = _children_to_replay(tick, cut, loaded)
    keys = [*dict.fromkeys([*tick.layout.keys_of(loaded), *tick.layout.erp_keys_of(children)])]
    if not keys:
        return None
    busy = tick.busy & set(keys)
    if busy:
        tick.notes.append(f"still running: {', '.join(sorted(k.to_user_string() for k in busy))}")
        return None
    mapping = cut.partitioned
    alike = [c for c in changes if mapping and tick.layout.are_cut_alike(c.table.mapping, mapping)]
    wanted = [p for c in alike for p in c.partitions]
    newest = newest_partition(mapping or cut.mappings[0])
    blocks = in_blocks(mapping, wanted or [newest]) if mapping else [[newest]]
    return _asked(tick, cut, changes, children, keys, blocks)


def _asked(
    tick: Tick,
    cut: Cut,
    changes: list[Change],
    children: list[Mapping],
    keys: list[dg.AssetKey],
    blocks: list[list[str]],
) -> dg.RunRequest:
    """The request for the oldest block; the content of the changes and the number of the try make its key."""
    content = [(_name(c.table), c.seen, c.since, tick.memory.of(_name(c.table)).attempt) for c in changes]
    replays = {m.entity: _newest_parent_run(tick, m) for m in children}
    batch = name_batch(cut.label, blocks[0], content, replays)
    for change in changes:
        state = tick.memory.of(_name(change.table))
        state.ask(batch, change.seen if len(blocks) == 1 else None, change.since, tick.now)
    tick.memory.replays.update(replays)
    attempts = "-".join(str(attempt + 1) for *_, attempt in content) or "replay"
    return dg.RunRequest(
        run_key=f"{cut.label}:{batch}#a{attempts}",
        asset_selection=keys,
        asset_check_keys=checks_of(tick.layout, keys),
        tags={**tags_of(cut, blocks[0], f"sensor {NAME}"), BATCH_TAG: batch},
    )


def _children_to_replay(tick: Tick, cut: Cut, loaded: Iterable[Mapping]) -> list[Mapping]:
    """Entities of the cut whose parked rows wait for a parent that is loaded now, or has been since."""
    changing = {m.entity for m in loaded}
    found = []
    for mapping in cut.mappings:
        if mapping.entity not in tick.ledger.waiting or mapping.entity in changing:
            continue
        in_this_run = changing & set(tick.layout.dependencies[mapping.entity])
        newest = _newest_parent_run(tick, mapping)
        has_new_parents = newest > max(_run_of(tick, mapping.entity), tick.memory.replays.get(mapping.entity, 0))
        if in_this_run or has_new_parents:
            found.append(mapping)
    return found


def _newest_parent_run(tick: Tick, mapping: Mapping) -> int:
    """The last run of a parent that brought or changed rows; 0 if there is none."""
    numbers = [0]
    for parent in tick.layout.dependencies[mapping.entity]:
        state = tick.ledger.states.get(parent) or {}
        counts = state.get("counts") or {}
        if any(counts.get(name) for name in ("inserted", "updated", "adopted")):
            numbers.append(_run_of(tick, parent))
    return max(numbers)


def _run_of(tick: Tick, entity: str) -> int:
    return (tick.ledger.states.get(entity) or {}).get("run_id") or 0


def _loaded_at(layout: Layout, ledger: Ledger) -> dict[str, datetime | None]:
    """For each table when the last of its entities was loaded well; None if one never was."""
    found: dict[str, datetime | None] = {}
    for table in layout.tables:
        times = [(ledger.states.get(m.entity) or {}).get("last_success_at") for m in table.readers]
        found[_name(table)] = min(times) if all(times) else None  # type: ignore[type-var]
    return found


def _name(table: Table) -> str:
    return table.key.path[-1]


def _quick(project: Project) -> Project:
    """The same project with sources that give up soon: a tick waits for nobody, what is away now is looked at next."""
    return replace(project, sources={name: spec.hurried for name, spec in project.sources.items()})


def _is_watched(table: Table, project: Project) -> bool:
    """Whether its source may be asked every tick; others are read when their schedule says so."""
    return project.sources[table.mapping.source.server].options.watch
