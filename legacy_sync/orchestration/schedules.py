"""When do runs start by the clock? As the mappings say, one schedule per group and rhythm; all are stopped at first.

A tick asks for an incremental run: the partitions between the watermark minus the lookback and now.
"""

from datetime import timedelta

import dagster as dg

from legacy_sync.errors import MappingInvalid, Problem, RetryLater
from legacy_sync.mapping.model import Mapping
from legacy_sync.mapping.model import Schedule as Rhythm
from legacy_sync.orchestration.jobs import list_jobs
from legacy_sync.orchestration.layout import Cut, Layout
from legacy_sync.orchestration.requests import busy_assets, in_blocks, newest_partition, read_ledger, tags_of, wanted_of
from legacy_sync.orchestration.resources import ErpDatabase, LegacyApi, opened

_MINUTE, _HOUR, _DAY, _WEEK = (timedelta(minutes=1), timedelta(hours=1), timedelta(days=1), timedelta(weeks=1))


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
        keys = layout.keys_of(cut.mappings)
        busy = busy_assets(context.instance, whole_jobs(layout)) & set(keys)
        if busy:
            return dg.SkipReason(f"still running: {', '.join(sorted(k.to_user_string() for k in busy))}")
        try:
            blocks = _blocks(layout, cut, legacy_api, erp_database)
        except RetryLater as error:
            return dg.SkipReason(str(error))
        return [dg.RunRequest(asset_selection=keys, tags=tags_of(cut, block, f"schedule {name}")) for block in blocks]

    return tick


def whole_jobs(layout: Layout) -> dict[str, list[dg.AssetKey]]:
    """What each job runs when no selection is given."""
    return {job.name: layout.keys_of(job.cut.mappings) for job in list_jobs(layout)}


def _blocks(layout: Layout, cut: Cut, legacy_api: LegacyApi, erp_database: ErpDatabase) -> list[list[str]]:
    tables = [t for t in layout.tables if t.is_read_by(cut.mappings)]
    mapping = cut.partitioned
    with opened(layout.project, legacy_api, erp_database) as workspace:
        ledger = read_ledger(workspace, [m for t in tables for m in t.readers])
    if mapping is None:
        return [[newest_partition(cut.mappings[0])]]
    wanted = {p for t in tables if layout.are_cut_alike(t.mapping, mapping) for p in wanted_of(t, ledger).partitions}
    return in_blocks(mapping, wanted or {newest_partition(mapping)})
