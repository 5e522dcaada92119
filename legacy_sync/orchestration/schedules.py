"""When do runs start by the clock? As the mappings say, one schedule per group; all are stopped at first.

A schedule ticks whenever the rhythm of any of its mappings says so and asks for an incremental run of those that are
due: the partitions between the watermark minus the lookback and now. Its name hangs on the group alone, since Dagster
keeps by the name whether it is switched on: whoever edits a rhythm, a partition or the list of mappings never switches
one off.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg

from legacy_sync.errors import RetryLater
from legacy_sync.mapping.clock import last_tick
from legacy_sync.mapping.model import Mapping
from legacy_sync.mapping.model import Schedule as Rhythm
from legacy_sync.orchestration.jobs import list_jobs
from legacy_sync.orchestration.layout import Cut, Layout
from legacy_sync.orchestration.partitions import list_partitions, newest_partition
from legacy_sync.orchestration.pauses import in_maintenance, waits_for
from legacy_sync.orchestration.requests import (
    Ledger,
    busy_assets,
    checks_of,
    in_blocks,
    loading_assets,
    read_ledger,
    tags_of,
    wanted_of,
)
from legacy_sync.orchestration.resources import ErpDatabase, LegacyApi, opened
from legacy_sync.orchestration.rhythm import to_cron

_USUAL_ZONE = Rhythm.model_fields["timezone"].default
_ASSET_JOB = "__ASSET_JOB"  # Dagster's own job over all assets: the only one that takes every way of partitioning


@dataclass(frozen=True)
class Timetable:
    """The mappings of a group whose rhythm is said in one time zone: what one schedule starts."""

    name: str
    group: str
    zone: str
    mappings: tuple[Mapping, ...]

    @property
    def crons(self) -> list[str]:
        """Every cron line once."""
        return list(dict.fromkeys(to_cron(m, m.schedule) for m in self.mappings if m.schedule))


def list_timetables(layout: Layout) -> list[Timetable]:
    """`sync_<group>`; with `_in_<zone>` behind it for rhythms in another time zone than the usual one."""
    members: dict[tuple[str, str], list[Mapping]] = {}
    for mapping in layout.project.ordered():
        if mapping.schedule:
            members.setdefault((mapping.group, mapping.schedule.timezone), []).append(mapping)
    return [
        Timetable(f"sync_{group}{_suffix(zone)}", group, zone, tuple(mappings))
        for (group, zone), mappings in sorted(members.items())
    ]


def build_schedules(layout: Layout) -> list[dg.ScheduleDefinition]:
    """A schedule for every timetable."""
    return [_build(layout, timetable) for timetable in list_timetables(layout)]


def is_due(mapping: Mapping, at: datetime, last_start: datetime | None) -> bool:
    """Whether the rhythm says so at this tick, or said so since the last run began and the tick was missed."""
    if mapping.schedule is None:
        return False
    local = at.astimezone(ZoneInfo(mapping.schedule.timezone))
    said = last_tick(to_cron(mapping, mapping.schedule), mapping.schedule.timezone, local + timedelta(seconds=1))
    return said >= local.replace(second=0, microsecond=0) or (last_start is not None and said > last_start)


def whole_jobs(layout: Layout) -> dict[str, list[dg.AssetKey]]:
    """What each job runs when no selection is given."""
    return {job.name: layout.keys_of(job.cut.mappings) for job in list_jobs(layout)}


def _suffix(zone: str) -> str:
    return "" if zone == _USUAL_ZONE else "_in_" + "".join(c if c.isalnum() else "_" for c in zone.lower())


def _build(layout: Layout, timetable: Timetable) -> dg.ScheduleDefinition:
    crons = timetable.crons

    @dg.schedule(
        name=timetable.name,
        job_name=_ASSET_JOB,
        cron_schedule=crons if len(crons) > 1 else crons[0],
        execution_timezone=timetable.zone,
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description=f"Incremental sync, each in its own rhythm: {_say_rhythms(timetable)}.",
    )
    def tick(
        context: dg.ScheduleEvaluationContext, legacy_api: LegacyApi, erp_database: ErpDatabase
    ) -> list[dg.RunRequest] | dg.SkipReason:
        try:
            requests, notes = _ask(layout, timetable, context, legacy_api, erp_database)
        except RetryLater as error:
            return dg.SkipReason(str(error))
        if requests and notes:
            context.log.info(f"left out: {'; '.join(notes)}")
        return requests or dg.SkipReason("; ".join(notes) or "nothing is due")

    return tick


def _say_rhythms(timetable: Timetable) -> str:
    return ", ".join(f"{m.entity} ({to_cron(m, m.schedule)})" for m in timetable.mappings if m.schedule)


def _ask(
    layout: Layout,
    timetable: Timetable,
    context: dg.ScheduleEvaluationContext,
    legacy_api: LegacyApi,
    erp_database: ErpDatabase,
) -> tuple[list[dg.RunRequest], list[str]]:
    """The runs of one tick, and why others have to wait."""
    with opened(layout.project, legacy_api, erp_database) as workspace:
        ledger = read_ledger(workspace, layout.project.mappings.values())
    at = context.scheduled_execution_time
    due = [m for m in timetable.mappings if is_due(m, at, _last_start(layout, m, ledger))]
    waiting = _waiting(layout, ledger, due, at.astimezone(UTC), busy_assets(context.instance, whole_jobs(layout)))
    ready = [m for m in due if m.entity not in waiting]
    requests = [
        request
        for cut in _cuts(layout, timetable.group, ready)
        for request in _requests(layout, ledger, cut, f"schedule {timetable.name}")
    ]
    return requests, list(dict.fromkeys(waiting.values()))


def _waiting(
    layout: Layout, ledger: Ledger, due: Iterable[Mapping], now: datetime, busy: set[dg.AssetKey]
) -> dict[str, str]:
    """Those that cannot run now, and why; what is loaded together waits together."""
    busy = busy | loading_assets(layout, ledger.loading)
    waiting: dict[str, str] = {}
    for mapping in due:
        under_way = busy.intersection(layout.keys_of([mapping]))
        reason = (
            in_maintenance(layout, mapping.source.server, now)
            or waits_for(layout, ledger, mapping, now)
            or (f"still running: {', '.join(sorted(k.to_user_string() for k in under_way))}" if under_way else None)
        )
        if reason:
            waiting.update({m.entity: reason for m in layout.with_units([mapping])})
    return waiting


def _requests(layout: Layout, ledger: Ledger, cut: Cut, started_by: str) -> list[dg.RunRequest]:
    """A run per block; what 4D's counter tells of all partitions is asked for in one, apart from the others."""
    by_counter = [m for m in cut.mappings if m.strategy == "global_stamp" and layout.partitions_of(m) is not None]
    apart = {m.entity for m in layout.with_units(by_counter)}
    parts = [[m for m in cut.mappings if (m.entity in apart) is is_apart] for is_apart in (True, False)]
    return [
        dg.RunRequest(
            asset_selection=(keys := layout.keys_of(part.mappings)),
            asset_check_keys=checks_of(layout, keys),
            tags=tags_of(part, block, started_by),
        )
        for part in (layout.part_of(cut, mappings) for mappings in parts if mappings)
        for block in _blocks(layout, ledger, part, is_whole=part.mappings[0].entity in apart)
    ]


def _last_start(layout: Layout, mapping: Mapping, ledger: Ledger) -> datetime | None:
    """When the last run of what is loaded together began; None before all of it had one."""
    states: list[dict[str, Any]] = [ledger.states.get(m.entity, {}) for m in layout.with_units([mapping])]
    starts = [state.get("started_at") for state in states]
    return min((start.astimezone(UTC) for start in starts if start), default=None) if all(starts) else None


def _cuts(layout: Layout, group: str, due: Iterable[Mapping]) -> list[Cut]:
    """What is due, by the ways of partitioning of the group: each is a run of its own."""
    wanted = {m.entity for m in due}
    parts = [(cut, [m for m in cut.mappings if m.entity in wanted]) for cut in layout.cuts(group)]
    return [layout.part_of(cut, members) for cut, members in parts if members]


def _blocks(layout: Layout, ledger: Ledger, cut: Cut, *, is_whole: bool) -> list[list[str]]:
    mapping = cut.partitioned
    if mapping is None:
        return [[newest_partition(cut.mappings[0])]]
    if is_whole:
        return [list_partitions(mapping)]
    tables = [t for t in layout.tables if t.is_read_by(cut.mappings) and layout.are_cut_alike(t.mapping, mapping)]
    wanted = {p for t in tables for p in wanted_of(t, ledger).partitions}
    return in_blocks(mapping, wanted or {newest_partition(mapping)})
