"""When has a source changes to fetch? One sensor for each source: small looks per tick, runs only for what changed.

A source that is away, or in maintenance, is left alone for a while and holds up no other.
"""

import time
from dataclasses import replace
from datetime import UTC, datetime

import dagster as dg

from legacy_sync.errors import AbortRun, ErpUnavailable, RetryLater
from legacy_sync.ledger.runs import note_quiet
from legacy_sync.mapping.loader import Project
from legacy_sync.mapping.source_words import FOUR_D
from legacy_sync.orchestration.asking import renewal_name, requests_of
from legacy_sync.orchestration.layout import Layout
from legacy_sync.orchestration.looks import Tick, look_at, name_of
from legacy_sync.orchestration.pauses import in_maintenance
from legacy_sync.orchestration.requests import Ledger, busy_assets, loading_assets, read_ledger
from legacy_sync.orchestration.resources import ErpDatabase, LegacyApi, opened
from legacy_sync.orchestration.schedules import whole_jobs
from legacy_sync.orchestration.watch import read_memory, settle
from legacy_sync.sync.noting import note_source

NAME = "legacy_changes"
_TICK_SECONDS = 20.0


def build_sensors(layout: Layout, *, minimum_seconds: int = 30) -> list[dg.SensorDefinition]:
    """`legacy_changes` for 4D and `<source>_changes` for each other source that is watched; all stopped at first."""
    return [_build(layout, source, minimum_seconds) for source in layout.watched_sources]


def sensor_name(source: str) -> str:
    """The name of the sensor of a source."""
    return NAME if source == FOUR_D else f"{source.replace('-', '_')}_changes"


def _build(layout: Layout, source: str, minimum_seconds: int) -> dg.SensorDefinition:
    keys = layout.keys_of(layout.project.mappings.values())

    @dg.sensor(
        name=sensor_name(source),
        asset_selection=dg.AssetSelection.assets(*keys),
        minimum_interval_seconds=minimum_seconds,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description=f"Looks for changes in the tables of {source} and starts runs for what changed.",
    )
    def changes(
        context: dg.SensorEvaluationContext, legacy_api: LegacyApi, erp_database: ErpDatabase
    ) -> dg.SensorResult:
        memory, now = read_memory(context.cursor), time.time()
        waits = in_maintenance(layout, source, datetime.fromtimestamp(now, UTC))
        if waits is None and memory.outage.waits(now):
            waits = memory.outage.in_words(now)
        if waits is not None:
            return dg.SensorResult(skip_reason=waits, cursor=memory.to_cursor())
        try:
            with opened(_quick(layout.project), legacy_api, erp_database) as workspace:
                ledger = read_ledger(workspace, layout.project.mappings.values())
                busy = busy_assets(context.instance, whole_jobs(layout)) | loading_assets(layout, ledger.loading)
                loaded_at = _loaded_at(layout, ledger)
                settle(memory, context.instance, loaded_at, now)
                tick = Tick(layout, source, workspace, ledger, memory, now, busy, loaded_at)
                _look(tick)
                if tick.has_answer:
                    note_source(workspace, source, None)
                if tick.quiet:
                    with workspace.erp() as connection:
                        note_quiet(connection, tick.quiet, datetime.fromtimestamp(now, UTC))
                requests = requests_of(tick, f"sensor {sensor_name(source)}")
        except RetryLater as error:
            if alarm := memory.outage.fail(error, now):
                context.log.error(f"{source} is away: {alarm}")
            if not isinstance(error, ErpUnavailable):
                with opened(layout.project, legacy_api, erp_database) as workspace:
                    note_source(workspace, source, error)
            return dg.SensorResult(skip_reason=memory.outage.in_words(now), cursor=memory.to_cursor())
        return _result(context, tick, requests)

    return changes


def _result(context: dg.SensorEvaluationContext, tick: Tick, requests: list[dg.RunRequest]) -> dg.SensorResult:
    if text := tick.memory.outage.end(tick.now):
        context.log.warning(f"{tick.source} is {text}")
        tick.notes.insert(0, f"{tick.source} is {text}")
    for text in tick.told:
        context.log.error(text)
    reason = None if requests else "; ".join(dict.fromkeys(tick.notes)) or "no changes"
    return dg.SensorResult(run_requests=requests, skip_reason=reason, cursor=tick.memory.to_cursor())


def _look(tick: Tick) -> None:
    for table in tick.tables:
        if time.time() - tick.now > _TICK_SECONDS:
            tick.notes.append("not all tables were looked at; the others come first in the next tick")
            break
        try:
            look_at(tick, table)
        except AbortRun as error:  # one table that is refused does not stop the others
            tick.refuse(table, error)
        except RetryLater as error:
            if not tick.has_answer:
                raise
            tick.refuse(table, error)  # the source was there a moment ago; the others come first in the next tick
            break


def _loaded_at(layout: Layout, ledger: Ledger) -> dict[str, datetime | None]:
    """For each table when the last of its entities was loaded well, and for each entity; None if one never was."""
    found: dict[str, datetime | None] = {}
    for table in layout.tables:
        times = [ledger.loaded_at(m) for m in table.readers]
        found[name_of(table)] = min(times) if all(times) else None  # type: ignore[type-var]
    return {**found, **{renewal_name(m.entity): ledger.loaded_at(m) for m in layout.project.mappings.values()}}


def _quick(project: Project) -> Project:
    """The same project with sources that give up soon: a tick waits for nobody, what is away now is looked at next."""
    return replace(project, sources={name: spec.hurried for name, spec in project.sources.items()})
