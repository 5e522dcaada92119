"""When do runs start by the clock? As the mappings say, one schedule per group and rhythm; all are stopped at first.

A tick asks for an incremental run: the partitions between the watermark minus the lookback and now.
"""

from datetime import UTC, datetime

import dagster as dg

from legacy_sync.errors import RetryLater
from legacy_sync.mapping.model import Mapping
from legacy_sync.orchestration.jobs import list_jobs
from legacy_sync.orchestration.layout import Cut, Layout
from legacy_sync.orchestration.pauses import in_maintenance, waits_for
from legacy_sync.orchestration.requests import (
    Ledger,
    busy_assets,
    in_blocks,
    list_partitions,
    loading_assets,
    newest_partition,
    read_ledger,
    tags_of,
    wanted_of,
)
from legacy_sync.orchestration.resources import ErpDatabase, LegacyApi, opened
from legacy_sync.orchestration.rhythm import to_cron


def build_schedules(layout: Layout) -> list[dg.ScheduleDefinition]:
    """A schedule for every job of a group and every rhythm of its mappings."""
    schedules: list[dg.ScheduleDefinition] = []
    for job in list_jobs(layout):
        rhythms = _rhythms(job.cut) if job.group else {}
        for number, ((cron, zone), mappings) in enumerate(rhythms.items()):
            cut = layout.part_of(job.cut, mappings)
            name = job.name if number == 0 else f"{job.name}_{number + 1}"
            schedules.append(_build(layout, name, job.name, cut, cron, zone))
    return schedules


def _rhythms(cut: Cut) -> dict[tuple[str, str], list[Mapping]]:
    rhythms: dict[tuple[str, str], list[Mapping]] = {}
    for mapping in cut.mappings:
        if mapping.schedule:
            line = (to_cron(mapping, mapping.schedule), mapping.schedule.timezone)
            rhythms.setdefault(line, []).append(mapping)
    return rhythms


def _build(layout: Layout, name: str, job: str, cut: Cut, cron: str, zone: str) -> dg.ScheduleDefinition:
    @dg.schedule(
        name=name,
        job_name=job,
        cron_schedule=cron,
        execution_timezone=zone,
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description=f"Incremental sync of {', '.join(m.entity for m in cut.mappings)}.",
    )
    def tick(
        context: dg.ScheduleEvaluationContext, legacy_api: LegacyApi, erp_database: ErpDatabase
    ) -> list[dg.RunRequest] | dg.SkipReason:
        try:
            with opened(layout.project, legacy_api, erp_database) as workspace:
                ledger = read_ledger(workspace, layout.project.mappings.values())
        except RetryLater as error:
            return dg.SkipReason(str(error))
        now = context.scheduled_execution_time.astimezone(UTC)
        waiting = _waiting(layout, ledger, cut, now, busy_assets(context.instance, whole_jobs(layout)))
        ready = [m for m in cut.mappings if m.entity not in waiting]
        reasons = "; ".join(dict.fromkeys(waiting.values()))
        if not ready:
            return dg.SkipReason(reasons)
        if waiting:
            context.log.info(f"left out: {reasons}")
        return _requests(layout, ledger, layout.part_of(cut, ready), f"schedule {name}")

    return tick


def _waiting(layout: Layout, ledger: Ledger, cut: Cut, now: datetime, busy: set[dg.AssetKey]) -> dict[str, str]:
    """The entities of a cut that cannot run now, and why; what is loaded together waits together."""
    busy = busy | loading_assets(layout, ledger.loading)
    waiting: dict[str, str] = {}
    for mapping in cut.mappings:
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
        dg.RunRequest(asset_selection=layout.keys_of(part.mappings), tags=tags_of(part, block, started_by))
        for part in (layout.part_of(cut, mappings) for mappings in parts if mappings)
        for block in _blocks(layout, ledger, part, is_whole=part.mappings[0].entity in apart)
    ]


def _blocks(layout: Layout, ledger: Ledger, cut: Cut, *, is_whole: bool) -> list[list[str]]:
    mapping = cut.partitioned
    if mapping is None:
        return [[newest_partition(cut.mappings[0])]]
    if is_whole:
        return [list_partitions(mapping)]
    tables = [t for t in layout.tables if t.is_read_by(cut.mappings) and layout.are_cut_alike(t.mapping, mapping)]
    wanted = {p for t in tables for p in wanted_of(t, ledger).partitions}
    return in_blocks(mapping, wanted or {newest_partition(mapping)})


def whole_jobs(layout: Layout) -> dict[str, list[dg.AssetKey]]:
    """What each job runs when no selection is given."""
    return {job.name: layout.keys_of(job.cut.mappings) for job in list_jobs(layout)}
