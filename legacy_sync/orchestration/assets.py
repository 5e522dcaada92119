"""Which assets does a mapping become, and what happens when they are materialised?

`legacy/<Table>` lands what 4D says; `erp/<entity>` loads what is landed, all entities of a unit in one step.
Both take one partition, a range or, for unpartitioned tables, none. The work is done by `sync/pipeline.py`; here
it is only named and shown.
"""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import dagster as dg
from pydantic import Field

from legacy_sync.erp.catalog import ErpTable
from legacy_sync.errors import SessionLimitReached, SourceUnavailable
from legacy_sync.ledger import runs
from legacy_sync.mapping.model import Mapping as EntityMapping
from legacy_sync.mapping.model import NoPartitions, Source
from legacy_sync.mapping.retry import Rerun
from legacy_sync.mapping.source_words import FOUR_D
from legacy_sync.orchestration import metadata as shown
from legacy_sync.orchestration import partition_state
from legacy_sync.orchestration.checks import read_changes_up_to, read_standing, results_of, specs_of
from legacy_sync.orchestration.failures import told_to_dagster
from legacy_sync.orchestration.layout import Layout, Table, erp_key, pool_of
from legacy_sync.orchestration.partitions import build_dependency
from legacy_sync.orchestration.progress import logged_to_dagster
from legacy_sync.orchestration.resources import ErpDatabase, LegacyApi, opened
from legacy_sync.settings import Settings
from legacy_sync.sync.pipeline import Workspace, fetch_table, load_unit, preflight, require_table
from legacy_sync.sync.report import Counts, FetchSummary, RunReport
from legacy_sync.sync.windows import ALL, BESIDE_ROWS

logger = logging.getLogger(__name__)

OWNERS = ("team:erp",)
USER_TAGS = ("legacy_sync/user", "dagster/user", "user")
"""Run tags that say who started a run; the first one there counts."""
_ACCEPT = "this once, believe a change that the guards would stop; the ledger keeps who said so"


class FetchConfig(dg.Config):
    """What to fetch."""

    full: bool = Field(default=False, description="fetch all rows of the partitions, not only those that changed")
    accept_shrink: bool = Field(default=False, description=_ACCEPT)


class LoadConfig(dg.Config):
    """What to load."""

    full: bool = Field(default=False, description="take everything since the newest full fetch again")
    accept_shrink: bool = Field(default=False, description=_ACCEPT)


def build_assets(layout: Layout, settings: Settings, rerun: Rerun | None = None) -> list[dg.AssetsDefinition]:
    """The pairs of all mappings; `rerun` in place of what they say."""
    with warnings.catch_warnings():  # backfill_policy is marked beta; its behaviour here is tested
        warnings.simplefilter("ignore", dg.BetaWarning)
        legacy = [_build_legacy(layout, table, settings, rerun or table.mapping.rerun) for table in layout.tables]
        return legacy + [_build_erp(layout, members, settings, rerun or members[0].rerun) for members in layout.units]


def _policy() -> dg.BackfillPolicy:
    """A range is one run, loaded in slices that commit one by one.

    Tables without partitions say so too: the command line refuses a range if one of the assets does not.
    """
    return dg.BackfillPolicy.single_run()


# --- legacy --------------------------------------------------------------------------------------


def _build_legacy(layout: Layout, table: Table, settings: Settings, rerun: Rerun) -> dg.AssetsDefinition:
    mapping, source = table.mapping, table.mapping.source
    definition = layout.partitions_of(mapping)
    readers = ", ".join(m.entity for m in table.readers)

    @dg.asset(
        key=table.key,
        description=f"Rows of the {_name_of(source)} as it sent them, kept in the landing. Read by {readers}.",
        kinds={"4d", "api"} if source.server == FOUR_D else {layout.project.sources[source.server].kind},
        tags={"legacy_sync/table": _tag(source.table)},
        metadata=shown.describe_legacy(table.readers, settings),
        group_name=mapping.group,
        owners=OWNERS,
        pool=pool_of(source),
        partitions_def=definition,
        backfill_policy=_policy(),
    )
    def legacy(
        context: dg.AssetExecutionContext, config: FetchConfig, legacy_api: LegacyApi, erp_database: ErpDatabase
    ) -> dg.MaterializeResult[None]:
        keys = partitions_of_run(context, mapping)
        with (
            logged_to_dagster(context),
            told_to_dagster(context, rerun),
            opened(layout.project, legacy_api, erp_database) as workspace,
        ):
            summary = fetch_table(workspace, mapping, keys, full=config.full, accept=config.accept_shrink)
            if config.accept_shrink:
                context.add_output_metadata({"accepted_by": user_of(context)})
            return _fetched(context, workspace, mapping, keys, summary)

    return legacy


def _fetched(
    context: dg.AssetExecutionContext,
    workspace: Workspace,
    mapping: EntityMapping,
    keys: Sequence[str] | None,
    summary: FetchSummary,
) -> dg.MaterializeResult[None]:
    landing = workspace.landing_of(mapping)
    for key in keys or ():
        rows: dict[str, Any] = {"rows_read": 0, "mode": summary.mode}
        if key in summary.partitions:
            newest = landing.fetches(summary.table, key)[-1]
            rows = {"rows_read": newest.rows, "mode": newest.mode}
            if newest.mode == "full":
                rows["dagster/partition_row_count"] = newest.rows
        context.add_asset_metadata(shown.to_metadata(rows), partition_key=key)
    of_fetch = {**shown.of_fetch(summary), **shown.of_lag(read_changes_up_to(workspace, mapping))}
    if keys and len(keys) > 1:
        return dg.MaterializeResult(metadata=_as_one_value(of_fetch))
    is_all = summary.mode == "full" and {*summary.partitions} - BESIDE_ROWS == {ALL}
    count = {"dagster/row_count": summary.rows} if is_all else {}
    return dg.MaterializeResult(metadata={**of_fetch, **shown.to_metadata(count)})


# --- erp -----------------------------------------------------------------------------------------


def _build_erp(
    layout: Layout, members: Sequence[EntityMapping], settings: Settings, rerun: Rerun
) -> dg.AssetsDefinition:
    """One entity, or all of a unit: those are loaded in one step, always together."""
    first = members[0]
    definition = layout.partitions_of(first)

    @dg.multi_asset(
        name=step_name(first),
        specs=[_spec_of(layout, mapping, settings) for mapping in members],
        check_specs=[spec for mapping in members for spec in specs_of(mapping)],
        pool="erp",
        partitions_def=definition,
        backfill_policy=_policy(),
    )
    def erp(
        context: dg.AssetExecutionContext, config: LoadConfig, legacy_api: LegacyApi, erp_database: ErpDatabase
    ) -> Iterator[dg.MaterializeResult]:  # type: ignore[type-arg]  # Dagster knows it beside checks only without argument
        keys = partitions_of_run(context, first)
        with (
            logged_to_dagster(context),
            told_to_dagster(context, rerun),
            opened(layout.project, legacy_api, erp_database) as workspace,
        ):
            for mapping in members:
                _check_before_writing(workspace, mapping, accept=config.accept_shrink)
                _warn_if_nothing_is_landed(workspace, layout.table_of(mapping), keys)
            reports = load_unit(
                workspace,
                members,
                keys,
                full=config.full,
                on_commit=_Committed(context, keys),
                dagster_run_id=context.run.run_id,
                accept=config.accept_shrink,
                accepted_by=user_of(context),
            )
            for mapping in members:
                yield _loaded(context, layout, workspace, mapping, keys, reports[mapping.entity])

    return erp


def step_name(mapping: EntityMapping) -> str:
    """The name of the step, by which run config finds it: that of the asset, or of the unit."""
    return erp_key(mapping.unit.name if mapping.unit else mapping.entity).to_python_identifier()


def _spec_of(layout: Layout, mapping: EntityMapping, settings: Settings) -> dg.AssetSpec:
    table, mine = layout.table_of(mapping), layout.partitions_of(mapping)
    parents = [layout.project.get(name) for name in layout.dependencies[mapping.entity]]
    deps = [build_dependency(erp_key(p.entity), layout.partitions_of(p), mine) for p in parents]
    parent_keys = {p.target.table: erp_key(p.entity) for p in reversed(parents)}
    about = f"{mapping.description.rstrip('.')}. " if mapping.description else ""
    return dg.AssetSpec(
        erp_key(mapping.entity),
        deps=[dg.AssetDep(table.key), *deps],
        description=f"{about}From the {_name_of(mapping.source)} into pyERP's {mapping.target.table}.",
        kinds={"postgres", "django"},
        tags={"legacy_sync/entity": _tag(mapping.entity), "legacy_sync/table": _tag(mapping.source.table)},
        metadata=shown.describe_erp(mapping, table.key, parent_keys, settings),
        code_version=mapping.version,
        group_name=mapping.group,
        owners=OWNERS,
        partitions_def=mine,
    )


def _check_before_writing(workspace: Workspace, mapping: EntityMapping, *, accept: bool) -> None:
    """Preflight of the one mapping. What is landed can be loaded while the legacy server is away."""
    try:
        preflight(workspace, [mapping], accept=accept)
    except (SourceUnavailable, SessionLimitReached) as error:
        logger.warning("erp/%s: loading without a look at the 4D catalog: %s", mapping.entity, error.what)
        with workspace.erp() as connection:
            require_table(connection, mapping)


def _warn_if_nothing_is_landed(workspace: Workspace, table: Table, keys: Sequence[str] | None) -> None:
    """An ERP asset loads what is landed; asked for alone before the first fetch it has nothing to do."""
    landed = set(workspace.landing_of(table.mapping).partitions(table.mapping.source.table))
    if not landed.intersection(keys or landed):
        logger.warning("nothing is landed for these partitions: materialise %s too", table.key.to_user_string())


class _Committed:
    """Turns a partition green as soon as it is safe, so that it stays so if a later one fails.

    Dagster adds the event with the numbers of the partition when the step ends; this one has them as one
    text, so that no plot shows them twice. With a single partition both moments are the same.
    """

    def __init__(self, context: dg.AssetExecutionContext, keys: Sequence[str] | None) -> None:
        self.context = context
        self.keys = keys if keys and len(keys) > 1 else ()

    def __call__(self, entity: str, partition: str, counts: Counts) -> None:
        """Hear of a commit."""
        if partition in self.keys:
            numbers = ", ".join(f"{rows:,} {name}" for name, rows in asdict(counts).items() if rows or name == "read")
            event = dg.AssetMaterialization(erp_key(entity), partition=partition, metadata={"committed": numbers})
            self.context.log_event(event)


def _loaded(
    context: dg.AssetExecutionContext,
    layout: Layout,
    workspace: Workspace,
    mapping: EntityMapping,
    keys: Sequence[str] | None,
    report: RunReport,
) -> dg.MaterializeResult[None]:
    standing = read_standing(workspace, mapping)
    with workspace.erp() as connection:
        table = require_table(connection, mapping)
    checks = list(results_of(mapping, report, standing))
    if keys is not None:
        states = partition_state.read_states(workspace, context.instance, layout, mapping, keys)
        checks.append(partition_state.result_of(mapping, states))
    whole = {**shown.of_load(report, standing.bound), **shown.of_lag([standing.changes_up_to])}
    asset = erp_key(mapping.entity)
    for key in keys or ():
        context.add_asset_metadata(_size_of(workspace, mapping, key), asset_key=asset, partition_key=key)
    if keys and len(keys) > 1:
        for key in keys:
            counts = report.counts_by_partition.get(key, Counts())
            context.add_asset_metadata(shown.of_counts(counts), asset_key=asset, partition_key=key)
        table_shown = whole.pop("parked", None)
        metadata = _as_one_value({**shown.of_counts(report.counts), **whole})
        once = _only_once(mapping, table, table_shown)
        context.add_asset_metadata(once, asset_key=asset, partition_key=keys[-1])
        return dg.MaterializeResult(asset_key=asset, metadata=metadata, check_results=checks)
    schema = {"dagster/column_schema": shown.schema_of(mapping, table)}
    shown_once = {**shown.of_counts(report.counts), **whole, **schema}
    return dg.MaterializeResult(asset_key=asset, metadata=shown_once, check_results=checks)


def _size_of(workspace: Workspace, mapping: EntityMapping, partition: str) -> dict[str, dg.MetadataValue[Any]]:
    """How many rows a partition has in 4D; known only when the newest fetch read all of it."""
    landed = workspace.landing_of(mapping).fetches(mapping.source.table, partition)
    is_known = bool(landed) and landed[-1].mode == "full"
    return shown.to_metadata({"dagster/partition_row_count": landed[-1].rows if is_known else None})


def _only_once(
    mapping: EntityMapping, table: ErpTable, parked: dg.MetadataValue[Any] | None
) -> dict[str, dg.MetadataValue[Any]]:
    """What would be the same in every partition of a range; the newest one carries it."""
    schema = {"dagster/column_schema": shown.schema_of(mapping, table)}
    return {**schema, "parked": parked} if parked else schema


# --- both ----------------------------------------------------------------------------------------


def partitions_of_run(context: dg.AssetExecutionContext, mapping: EntityMapping) -> list[str] | None:
    """The partition or the range that was asked for; None for a table that has none."""
    if isinstance(mapping.partitions, NoPartitions):
        return None
    return list(context.partition_keys)


def user_of(context: dg.AssetExecutionContext | dg.OpExecutionContext) -> str:
    """Who started the run, as far as its tags say; Dagster without a login knows only the user of its process."""
    named = next((context.run.tags[tag] for tag in USER_TAGS if context.run.tags.get(tag)), None)
    return named or f"{runs.who()} (Dagster, without a tag {USER_TAGS[0]})"


def _as_one_value(values: Mapping[str, dg.MetadataValue[Any]]) -> dict[str, dg.MetadataValue[Any]]:
    """Numbers of a whole run as one JSON value; a sum over partitions would count them many times."""
    return shown.to_metadata({"whole_run": {name: _json_value(value) for name, value in values.items()}})


def _json_value(value: dg.MetadataValue[Any]) -> Any:
    if isinstance(value, dg.TimestampMetadataValue):
        return datetime.fromtimestamp(value.value, UTC).isoformat()
    return value.value


def _name_of(source: Source) -> str:
    """What people call the table."""
    return f"4D table {source.table}" if source.server == FOUR_D else f"table {source.table} of {source.server}"


def _tag(name: str) -> str:
    """Tag values take letters, digits, `_`, `-` and `.`, at most 63."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "_-.") else "_" for c in name)[:63]
