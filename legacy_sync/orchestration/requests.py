"""What does an automatic run ask for? Partitions that may have changes, both assets of each entity, few runs.

Used by the schedules and by the sensor.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg
from dagster import DagsterRunStatus

from legacy_sync.ledger import quarantine, runs
from legacy_sync.mapping.model import Mapping
from legacy_sync.orchestration.checks import specs_of
from legacy_sync.orchestration.jobs import CUT_TAG
from legacy_sync.orchestration.layout import Cut, Layout, Table, erp_key
from legacy_sync.orchestration.partitions import list_partitions
from legacy_sync.sync.pipeline import Workspace
from legacy_sync.sync.scopes import Marks, plan_fetches
from legacy_sync.sync.windows import BESIDE_ROWS, today_of

MOST_PARTITIONS = 100
STARTED_BY_TAG = "legacy_sync/started_by"
_UNFINISHED = (
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.MANAGED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
)
_RANGE_START = "dagster/asset_partition_range_start"
_RANGE_END = "dagster/asset_partition_range_end"


@dataclass(frozen=True)
class Ledger:
    """What the ledger knows at one moment: watermarks, last runs, entities whose rows wait for a parent, and loads."""

    marks: dict[str, Marks]
    states: dict[str, dict[str, Any]]
    waiting: frozenset[str]
    loading: frozenset[str]
    """entities that some process is loading now, Dagster's or not"""
    stale: frozenset[str]

    def state_of(self, entity: str) -> dict[str, Any]:
        """The last run of an entity; empty if it never ran."""
        return self.states.get(entity) or {}

    def loaded_at(self, mapping: Mapping) -> datetime | None:
        """When its last good run ended."""
        return self.state_of(mapping.entity).get("last_success_at")

    def is_stale(self, mapping: Mapping) -> bool:
        """Whether a partition was loaded last when the mapping said something else."""
        return mapping.entity in self.stale


def read_ledger(workspace: Workspace, mappings: Iterable[Mapping]) -> Ledger:
    """Everything a decision needs, over one connection."""
    with workspace.erp() as connection:
        marks: dict[str, Marks] = {}
        stale = set()
        for mapping in mappings:
            entity_id = runs.get_entity_id(connection, mapping.entity)
            loaded = runs.read_loaded(connection, entity_id)
            marks[mapping.entity] = {p: w.value for p, w in loaded.items()}
            if any(w.is_stale(mapping.version) for p, w in loaded.items() if p not in BESIDE_ROWS):
                stale.add(mapping.entity)
        open_rows = quarantine.count_open(connection)
        waiting = {row["entity"] for row in open_rows if row["reason"] in quarantine.DEPENDS_ON_ERP}
        states, loading = runs.list_entity_states(connection), runs.list_loading(connection)
        return Ledger(marks, states, frozenset(waiting), frozenset(loading), frozenset(stale))


@dataclass(frozen=True)
class Wanted:
    """Which partitions of a table an incremental run fetches, from which cursor on, and whether any is new."""

    partitions: tuple[str, ...]
    since: date | None
    has_new: bool


def wanted_of(table: Table, ledger: Ledger) -> Wanted:
    """The partitions between watermark minus lookback and now, and those that were never loaded."""
    marks = [ledger.marks[m.entity] for m in table.readers]
    plans = plan_fetches(table.mapping, marks, None, full=False, today=_today(table.mapping))
    partitions = tuple(w.partition for plan in plans for w in plan.windows)
    has_new = any(p not in m for m in marks for p in partitions)
    return Wanted(partitions, plans[-1].cursor_from if plans else None, has_new)


def in_blocks(mapping: Mapping, partitions: Iterable[str]) -> list[list[str]]:
    """Partitions as runs without gaps, each small enough for one Dagster run, oldest first."""
    wanted = set(partitions)
    blocks: list[list[str]] = [[]]
    for partition in list_partitions(mapping):
        if partition not in wanted or len(blocks[-1]) == MOST_PARTITIONS:
            blocks.append([])
        if partition in wanted:
            blocks[-1].append(partition)
    return [block for block in blocks if block]


def tags_of(cut: Cut, block: Sequence[str], started_by: str) -> dict[str, str]:
    """Run tags: the partitions, and names to find and to limit runs by."""
    tags = {CUT_TAG: cut.label, STARTED_BY_TAG: started_by}
    if cut.partitioned is None:
        return tags
    return {**tags, _RANGE_START: block[0], _RANGE_END: block[-1]}


def checks_of(layout: Layout, keys: Iterable[dg.AssetKey]) -> list[dg.AssetCheckKey]:
    """The checks that come with a load of these assets; not the reconciliation."""
    chosen = set(keys)
    mappings = [m for m in layout.project.mappings.values() if erp_key(m.entity) in chosen]
    return [spec.key for m in mappings for spec in specs_of(m)]


def busy_assets(instance: dg.DagsterInstance, jobs: dict[str, list[dg.AssetKey]]) -> set[dg.AssetKey]:
    """Assets of runs that are queued or running, however they were started; `jobs` says what whole jobs run."""
    unfinished = instance.get_runs(dg.RunsFilter(statuses=list(_UNFINISHED)), limit=500)
    return {key for run in unfinished for key in run.asset_selection or jobs.get(run.job_name) or ()}


def loading_assets(layout: Layout, entities: Iterable[str]) -> set[dg.AssetKey]:
    """The ERP assets of entities that some process is loading, however it was started."""
    return {erp_key(entity) for entity in entities if entity in layout.project.mappings}


def _today(mapping: Mapping) -> date:
    return today_of(mapping, datetime.now(UTC))
