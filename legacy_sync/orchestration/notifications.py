"""Who looks while nobody does? The sensor `notifications`, by the same code as `legacy-sync notify`."""

from datetime import UTC, datetime

import dagster as dg
import psycopg

from legacy_sync.errors import MappingInvalid
from legacy_sync.mapping.loader import Project, load_project
from legacy_sync.notify.look import Desk, look
from legacy_sync.notify.situation import Seen, of_files
from legacy_sync.orchestration.kept import Version, name_of, read_files
from legacy_sync.orchestration.layout import build_layout
from legacy_sync.orchestration.projects import read_project
from legacy_sync.orchestration.resources import ErpDatabase, LegacyApi, opened
from legacy_sync.orchestration.standstill import NAME, Standstill
from legacy_sync.settings import Settings

EVERY_SECONDS = 60


def build_notifications(settings: Settings, in_force: Version) -> dg.SensorDefinition:
    """The sensor, running at first; without a channel it does nothing."""

    @dg.sensor(
        name=NAME,
        minimum_interval_seconds=EVERY_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells people of failed runs, sources that are away, rows and conflicts that wait, and their end.",
    )
    def notifications(
        context: dg.SensorEvaluationContext, legacy_api: LegacyApi, erp_database: ErpDatabase
    ) -> dg.SkipReason:
        now = datetime.now(UTC)
        layout = build_layout(read_project(in_force.settings))
        desk = desk_of(settings, layout.project)
        if not desk.channels:
            return dg.SkipReason("no channel is set: see LEGACY_SYNC_NOTIFY in docs/notifications.md")
        broken = _broken_edit(settings, in_force)

        def find_others(connection: psycopg.Connection) -> Seen:
            found = Standstill(context.instance, layout, desk.rules.dagster, now)
            return found.find(connection, from_daemon=True) + of_files(broken, now)

        with opened(layout.project, legacy_api, erp_database) as workspace:
            report = look(desk, workspace.erp, find_others, now)
        if report.problems:
            raise report.problems[0]
        return dg.SkipReason(report.in_words())

    return notifications


def desk_of(settings: Settings, project: Project) -> Desk:
    """What a look works with, by the mappings in force."""
    return Desk(settings, project.notifications, project.mappings, project.sources)


def _broken_edit(settings: Settings, in_force: Version) -> MappingInvalid | None:
    """Why the files as they are now cannot be used; None if they can, or nothing was edited."""
    try:
        if name_of(read_files(settings)) != in_force.name:
            load_project(settings)
    except MappingInvalid as error:
        return error
    except FileNotFoundError:  # an editor renames what it saves
        return None
    return None
