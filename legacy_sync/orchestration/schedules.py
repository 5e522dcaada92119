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
from cronsim import CronSim

from legacy_sync.errors import MappingInvalid, Problem, RetryLater
from legacy_sync.mapping.model import Mapping
from legacy_sync.mapping.model import Schedule as Rhythm
from legacy_sync.orchestration.jobs import list_jobs
from legacy_sync.orchestration.layout import Cut, Layout
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

_MINUTE, _HOUR, _DAY, _WEEK = (timedelta(minutes=1), timedelta(hours=1), timedelta(days=1), timedelta(weeks=1))
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


def to_cron(mapping: Mapping, rhythm: Rhythm) -> str:
    """The cron line of a rhythm; raises MappingInvalid for an interval the clock cannot be divided into."""
    if rhythm.cron:
        return rhythm.cron
    every = rhythm.every or timedelta()
    if every == _WEEK:
        return "0 0 * * 1"
    if every == _DAY:
        return "0 0 * * *"
    if every >= _HOUR and every % _HOUR == timedelta() and _DAY % every == timedelta():
        return f"0 */{every // _HOUR} * * *" if every > _HOUR else "0 * * * *"
    if _MINUTE <= every < _HOUR and every % _MINUTE == timedelta() and _HOUR % every == timedelta():
        return f"*/{every // _MINUTE} * * * *" if every > _MINUTE else "* * * * *"
    raise MappingInvalid(
        [
            Problem(
                f"an interval of {every} does not fit the clock evenly",
                f"mapping {mapping.entity}, schedule.every",
                "choose minutes that divide an hour (1m, 5m, 15m, 30m), hours that divide a day (1h, 2h, 6h), 1d or 1w,"
                " or write a `cron` line",
            )
        ]
    )


def is_due(mapping: Mapping, at: datetime, last_start: datetime | None) -> bool:
    """Whether the rhythm says so at this tick, or said so since the last run began and the tick was missed."""
    if mapping.schedule is None:
        return False
    local = at.astimezone(ZoneInfo(mapping.schedule.timezone))
    said = next(CronSim(to_cron(mapping, mapping.schedule), local + timedelta(seconds=1), reverse=True))
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
        ledger = read_ledger(workspace, [m for t in layout.tables for m in t.readers])
    at = context.scheduled_execution_time
    due = [m for m in timetable.mappings if is_due(m, at, _last_start(layout, m, ledger))]
    busy = busy_assets(context.instance, whole_jobs(layout))
    requests: list[dg.RunRequest] = []
    notes: list[str] = []
    for cut in _cuts(layout, timetable.group, due):
        keys = layout.keys_of(cut.mappings)
        if held := busy & set(keys):
            notes.append(f"still running: {', '.join(sorted(k.to_user_string() for k in held))}")
            continue
        for block in _blocks(layout, cut, ledger):
            tags = tags_of(cut, block, f"schedule {timetable.name}")
            requests.append(dg.RunRequest(asset_selection=keys, asset_check_keys=checks_of(layout, keys), tags=tags))
    return requests, notes


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


def _blocks(layout: Layout, cut: Cut, ledger: Ledger) -> list[list[str]]:
    mapping = cut.partitioned
    if mapping is None:
        return [[newest_partition(cut.mappings[0])]]
    tables = [t for t in layout.tables if t.is_read_by(cut.mappings)]
    wanted = {p for t in tables if layout.are_cut_alike(t.mapping, mapping) for p in wanted_of(t, ledger).partitions}
    return in_blocks(mapping, wanted or {newest_partition(mapping)})
