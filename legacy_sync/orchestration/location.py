"""What is a code location made of? The definitions of one version of the files, watch over edits, notifications."""

import dagster as dg
from dagster._core.definitions.definitions_load_context import DefinitionsLoadContext, DefinitionsLoadType

from legacy_sync.orchestration.build import build_definitions
from legacy_sync.orchestration.kept import Version, choose_version
from legacy_sync.orchestration.mappings_watch import build_mappings_watch
from legacy_sync.orchestration.notifications import build_notifications
from legacy_sync.settings import Settings

PLANNED = "legacy_sync/mappings"
_chosen: list[tuple[Settings, str, Version]] = []
"""at most one: a process stays with the version it has begun with"""


def build_location(settings: Settings) -> dg.Definitions:
    """Everything a process of Dagster loads; raises what is wrong with the files if no version was ever good.

    Dagster writes the version into the plan of every run, and gives it to the processes that carry the run out.
    """
    context = DefinitionsLoadContext.get()
    planned = _planned_version(context)
    if not _chosen or _chosen[0][:2] != (settings, planned):
        _chosen[:] = [(settings, planned, choose_version(settings, planned))]
    version = _chosen[0][2]
    context.add_to_pending_reconstruction_metadata(PLANNED, version.name)
    watch = dg.Definitions(sensors=[build_mappings_watch(settings, version), build_notifications(settings, version)])
    return dg.Definitions.merge(build_definitions(version.settings), watch)


def _planned_version(context: DefinitionsLoadContext) -> str:
    """The version a run was planned with; empty in a process that does not carry one out."""
    if context.load_type != DefinitionsLoadType.RECONSTRUCTION:
        return ""
    return str(context.reconstruction_metadata.get(PLANNED, ""))
