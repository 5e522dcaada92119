"""What does Dagster load? Everything a project gives, put together; nothing is contacted."""

import dagster as dg

from legacy_sync.mapping.retry import Rerun
from legacy_sync.orchestration.assets import build_assets
from legacy_sync.orchestration.checks import build_reconciliation
from legacy_sync.orchestration.deciding import build_decisions
from legacy_sync.orchestration.everything import build_everything
from legacy_sync.orchestration.executors import executor
from legacy_sync.orchestration.jobs import build_jobs
from legacy_sync.orchestration.layout import build_layout
from legacy_sync.orchestration.projects import read_project
from legacy_sync.orchestration.resources import ErpDatabase, LegacyApi
from legacy_sync.orchestration.schedules import build_schedules
from legacy_sync.orchestration.sensors import build_sensors
from legacy_sync.orchestration.undo import build_undo
from legacy_sync.settings import Settings


def build_definitions(settings: Settings, rerun: Rerun | None = None) -> dg.Definitions:
    """The definitions of all mappings; raises MappingInvalid with every problem of every file."""
    layout = build_layout(read_project(settings))
    mappings = layout.project.ordered()
    definitions = dg.Definitions(
        assets=build_assets(layout, settings, rerun),
        asset_checks=[build_reconciliation(layout.project, m, rerun or m.rerun) for m in mappings],
        jobs=[
            *build_jobs(layout),
            build_everything(layout, lambda name: definitions.resolve_job_def(name)),
            build_undo(layout.project),
            *build_decisions(layout.project),
        ],
        schedules=build_schedules(layout),
        sensors=build_sensors(layout),
        resources={"legacy_api": LegacyApi(), "erp_database": ErpDatabase()},
        executor=executor,
    )
    return definitions
