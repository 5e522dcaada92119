"""How does one click bring everything, although a run of Dagster has one way of cutting?

`sync_everything` starts a run for each wave of assets, parents first, and waits for it. The runs are those the jobs
`sync_all…` would make, each with its own events. What builds on an entity that failed is left out; the rest goes on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import dagster as dg
from pydantic import Field

from legacy_sync.mapping.model import Mapping
from legacy_sync.orchestration.assets import step_name
from legacy_sync.orchestration.jobs import list_jobs
from legacy_sync.orchestration.layout import Cut, Layout
from legacy_sync.orchestration.partitions import list_partitions, newest_partition
from legacy_sync.orchestration.requests import (
    in_blocks,
    read_ledger,
    tags_of,
    wanted_of,
)
from legacy_sync.orchestration.resources import ErpDatabase, LegacyApi, opened
from legacy_sync.orchestration.waves import list_waves

NAME = "sync_everything"


class EverythingConfig(dg.Config):
    """How much to fetch."""

    full: bool = Field(default=False, description="fetch all rows of all tables, not only those that changed")


@dataclass
class Progress:
    """What became of the waves so far."""

    runs: list[str] = field(default_factory=list)
    failed: set[str] = field(default_factory=set)
    left_out: set[str] = field(default_factory=set)


def build_everything(layout: Layout, find_job: Callable[[str], dg.JobDefinition]) -> dg.JobDefinition:
    """The job `sync_everything`; `find_job` gives the other jobs by name, asked only when it runs."""

    @dg.op(name="waves", description="A run for each wave, parents first.")
    def waves(
        context: dg.OpExecutionContext, config: EverythingConfig, legacy_api: LegacyApi, erp_database: ErpDatabase
    ) -> None:
        progress = Progress()
        for wave in list_waves(layout):
            part = _without_failed(layout, wave, progress)
            for block in _blocks(layout, part, legacy_api, erp_database, full=config.full) if part.mappings else ():
                _run(context, layout, find_job, part, block, progress, full=config.full)
        _tell(context, progress)

    @dg.job(
        name=NAME,
        description="Everything that changed, parents first, whatever partitions it has; starts the runs it needs.",
        tags={"legacy_sync/started_by": NAME},
        executor_def=dg.in_process_executor,
    )
    def sync_everything() -> None:
        waves()

    return sync_everything


def _without_failed(layout: Layout, wave: Cut, progress: Progress) -> Cut:
    """The wave without what builds on an entity that failed."""
    gone = progress.failed | progress.left_out
    kept: list[Mapping] = []
    for mapping in wave.mappings:
        unit = layout.with_units([mapping])
        before = {name for m in unit for name in layout.dependencies[m.entity]}
        if before & gone:
            progress.left_out |= {m.entity for m in unit}
            gone = progress.failed | progress.left_out
        else:
            kept.append(mapping)
    return layout.part_of(wave, kept)


def _blocks(
    layout: Layout, wave: Cut, legacy_api: LegacyApi, erp_database: ErpDatabase, *, full: bool
) -> list[list[str]]:
    """The partitions of each run: all, or those that may have changes; one run without any for whole tables."""
    mapping = wave.partitioned
    if mapping is None:
        return [[]]
    if full:
        return in_blocks(mapping, list_partitions(mapping))
    alike = [t for t in layout.tables if t.is_read_by(wave.mappings) and layout.are_cut_alike(t.mapping, mapping)]
    with opened(layout.project, legacy_api, erp_database) as workspace:
        ledger = read_ledger(workspace, [m for t in alike for m in t.readers])
    wanted = {p for t in alike for p in wanted_of(t, ledger).partitions}
    return in_blocks(mapping, wanted or {newest_partition(mapping)})


def _run(
    context: dg.OpExecutionContext,
    layout: Layout,
    find_job: Callable[[str], dg.JobDefinition],
    wave: Cut,
    block: Sequence[str],
    progress: Progress,
    *,
    full: bool,
) -> None:
    name = next(job.name for job in list_jobs(layout) if job.group is None and job.cut.label == wave.label)
    tables = dict.fromkeys(layout.table_of(mapping).key for mapping in wave.mappings)
    result = find_job(name).execute_in_process(
        instance=context.instance,
        asset_selection=layout.keys_of(wave.mappings),
        run_config={"ops": {key.to_python_identifier(): {"config": {"full": full}} for key in tables}},
        tags=tags_of(wave, block, f"{NAME} {context.run_id}"),
        raise_on_error=False,
    )
    done = {event.step_key for event in result.all_events if event.is_step_success}
    broken = {event.step_key for event in result.all_events if event.is_step_failure}
    missing = [m for m in wave.mappings if step_name(m) not in done]
    failed = sorted(m.entity for m in missing if broken & {step_name(m), _table_step(layout, m)})
    progress.runs.append(result.run_id)
    progress.failed |= set(failed)
    progress.left_out |= {m.entity for m in missing} - set(failed)
    context.log.info(
        f"{name}: run {result.run_id} over {len(wave.mappings)} entities"
        + (f", of which failed: {', '.join(failed)}" if failed else "")
    )


def _table_step(layout: Layout, mapping: Mapping) -> str:
    return layout.table_of(mapping).key.to_python_identifier()


def _tell(context: dg.OpExecutionContext, progress: Progress) -> None:
    """Links to the runs; the job fails if an entity did."""
    runs = {f"run_{n + 1}": dg.MetadataValue.dagster_run(run) for n, run in enumerate(progress.runs)}
    context.add_output_metadata(runs)
    if progress.failed:
        texts = [f"failed: {', '.join(sorted(progress.failed))}"]
        if progress.left_out:
            texts.append(f"not run, since they build on these: {', '.join(sorted(progress.left_out))}")
        raise dg.Failure("; ".join(texts), metadata=runs, allow_retries=False)
