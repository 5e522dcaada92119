"""Which partitions of an entity were never loaded, failed last, or are older than the mapping?

Dagster colours partitions by its own events; what was loaded from the command line, and what a changed mapping made
stale, only the ledger knows. The check joins both, so that a gap shows beside the asset.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import dagster as dg

from legacy_sync.ledger import runs
from legacy_sync.mapping.model import Mapping
from legacy_sync.orchestration.layout import Layout, erp_key
from legacy_sync.orchestration.metadata import SHOWN, table_of, to_metadata
from legacy_sync.orchestration.partitions import list_partitions
from legacy_sync.sync.pipeline import Workspace

CHECK = "partitions"
NEVER, FAILED, STALE, LOADED = "never loaded", "failed", "stale", "loaded"
_NEXT = "materialise them, or `legacy-sync run {entity} --partition …`"


@dataclass(frozen=True)
class PartitionState:
    """One partition: how it stands, when it was loaded last and up to which cursor."""

    partition: str
    state: str
    loaded_at: datetime | None = None
    watermark: str | None = None


def spec_of(mapping: Mapping) -> dg.AssetCheckSpec:
    """The check; comes with a load of a table that has partitions."""
    text = "partitions that were never loaded, failed last, or were loaded by an older mapping"
    return dg.AssetCheckSpec(CHECK, asset=erp_key(mapping.entity), description=text)


def read_states(
    workspace: Workspace, instance: dg.DagsterInstance, layout: Layout, mapping: Mapping, just_loaded: Sequence[str]
) -> list[PartitionState]:
    """Every partition there is today, in order; of those `just_loaded` Dagster knows the end only later."""
    definition, partitions = layout.partitions_of(mapping), list_partitions(mapping)
    assert definition is not None  # the check belongs to tables with partitions
    others = [name for name in partitions if name not in set(just_loaded)]
    shown = instance.get_status_by_partition(erp_key(mapping.entity), others, definition) or {}
    failed = {name for name, status in shown.items() if status is not None and status.value == "FAILED"}
    with workspace.erp() as connection:
        loaded = runs.read_loaded(connection, runs.get_entity_id(connection, mapping.entity))
    return [_state_of(mapping, name, loaded.get(name), has_failed=name in failed) for name in partitions]


def _state_of(mapping: Mapping, name: str, loaded: runs.LoadedPartition | None, *, has_failed: bool) -> PartitionState:
    if loaded is None:
        return PartitionState(name, FAILED if has_failed else NEVER)
    state = STALE if loaded.is_stale(mapping.version) else LOADED
    return PartitionState(name, FAILED if has_failed else state, loaded.loaded_at, loaded.value)


def result_of(mapping: Mapping, states: Sequence[PartitionState]) -> dg.AssetCheckResult:
    """Passes when every partition is loaded as the mapping says it now."""
    counts = {state: sum(s.state == state for s in states) for state in (NEVER, FAILED, STALE, LOADED)}
    bad = [s for s in states if s.state != LOADED]
    found = ", ".join(f"{counts[state]} {state}" for state in (NEVER, FAILED, STALE) if counts[state])
    rows = [(s.partition, s.state, s.loaded_at, s.watermark) for s in (bad or states)[-SHOWN:]]
    numbers = {f"partitions_{state.replace(' ', '_')}": count for state, count in counts.items()}
    shown = {**numbers, "partitions": table_of(("partition", "state", "loaded_at", "watermark"), rows)}
    return dg.AssetCheckResult(
        check_name=CHECK,
        asset_key=erp_key(mapping.entity),
        passed=not bad,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{found}; {_NEXT.format(entity=mapping.entity)}" if bad else None,
        metadata=to_metadata(shown),
    )
