"""What is a code location made of? The definitions of one version of the mapping files, and the watch over edits."""

import dagster as dg
from dagster._core.definitions.definitions_load_context import DefinitionsLoadContext, DefinitionsLoadType

from legacy_sync.orchestration.build import build_definitions
from legacy_sync.orchestration.kept import Version, choose_version
from legacy_sync.orchestration.mappings_watch import build_mappings_watch
from legacy_sync.settings import Settings

_PLANNED = "legacy_sync/mappings"
_chosen: list[tuple[Settings, str, Version]] = []
"""at most one: a process stays with the version it has begun with"""


def build_location(settings: Settings) -> dg.Definitions:
    """Everything a process of Dagster loads; raises what is wrong with the files if no version was ever good.

    Dagster writes the version into the plan of every run, and gives it to the processes that carry the run out.
    """
    planned = _planned_version()
    if not _chosen or _chosen[0][:2] != (settings, planned):
        _chosen[:] = [(settings, planned, choose_version(settings, planned))]
    version = _chosen[0][2]
    return dg.Definitions.merge(
        build_definitions(version.settings),
        dg.Definitions(
            sensors=[build_mappings_watch(settings, version)],
            metadata={_PLANNED: dg.MetadataValue.code_location_reconstruction(version.name), **_shown(version)},
        ),
    )


def _planned_version() -> str:
    """The version a run was planned with; empty in a process that does not carry one out."""
    context = DefinitionsLoadContext.get()
    if context.load_type != DefinitionsLoadType.RECONSTRUCTION:
        return ""
    return str(context.reconstruction_metadata.get(_PLANNED, ""))


def _shown(version: Version) -> dict[str, str]:
    """What the UI says of the location."""
    said = {"mappings since": f"{version.since:%Y-%m-%d %H:%M} UTC", "mappings version": version.name}
    return said | ({"mappings not used": version.problem} if version.problem else {})
