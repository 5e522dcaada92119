"""One record's way, top to bottom: fetch from the source into the landing, load from the landing into the ERP.

The starters (Dagster, the CLI) call `fetch_table`, `load_unit` or both as `run_unit`. Nothing here depends on a
table, a type or a policy; where it would, the mapping language is missing a word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Mapping as Dict
from dataclasses import replace
from functools import partial
from tempfile import TemporaryDirectory

from legacy_sync.mapping.model import Mapping
from legacy_sync.sources.landing import Landing, fetched_at
from legacy_sync.sync.choosing import apply_choices
from legacy_sync.sync.chunks import Batches
from legacy_sync.sync.fetch import FetchWork, Stream, fetch_table, land, leave_mark, plan_work, say_fetched, take_mark
from legacy_sync.sync.load import Loader
from legacy_sync.sync.loading import OnCommit, find_slices, finish, load_slices, loading, replay
from legacy_sync.sync.prefetch import prefetch
from legacy_sync.sync.report import Counts, FetchSummary, Progress, RunReport
from legacy_sync.sync.windows import BY_STAMP
from legacy_sync.sync.workspace import Workspace, open_workspace, preflight, require_table

__all__ = [
    "Workspace",
    "fetch_table",
    "load_entity",
    "load_unit",
    "open_workspace",
    "plan_entities",
    "preflight",
    "require_table",
    "run_entity",
    "run_unit",
]

OnPlanned = Callable[[Loader], None]
Fetched = dict[tuple[str, str, str | None], FetchSummary]
"""What was fetched in this run already, by feed: mappings that read one table fetch it once."""


def load_unit(
    workspace: Workspace,
    mappings: Sequence[Mapping],
    partitions: Sequence[str] | None = None,
    *,
    full: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
    on_commit: OnCommit = lambda _entity, _partition, _counts: None,
    dagster_run_id: str | None = None,
    accept: bool = False,
    accepted_by: str | None = None,
    summaries: Dict[str, FetchSummary] | None = None,
) -> dict[str, RunReport]:
    """Brings what is landed and not yet loaded into the ERP, a transaction per partition; returns a report per entity.

    `mappings` are one entity, or all of a unit with parents first. `full` takes everything since the newest full
    fetch again; `dry_run` computes all decisions and writes nothing; `accept` lets a change pass that the guards
    would stop, `accepted_by` says who wants that. `on_commit` hears of each partition as soon as it is safe. Raises
    AbortRun or RetryLater errors; partitions committed before stay. `summaries` are the fetches of this process, by
    entity: what they cost without landing anything counts too.
    """
    with loading(
        workspace,
        mappings,
        full=full,
        dry_run=dry_run,
        dagster_run_id=dagster_run_id,
        accept=accept,
        accepted_by=accepted_by,
    ) as loaders:
        apply_choices(loaders)
        slices = [find_slices(loader, partitions, full=full) for loader in loaders]
        load_slices(loaders, slices, progress, on_commit)
        for loader, own in zip(loaders, slices, strict=True):
            if summaries:
                _take_rest(loader.report, summaries[loader.mapping.entity])
            finish(workspace, loader, own)
        return {loader.mapping.entity: loader.report for loader in loaders}


def load_entity(
    workspace: Workspace,
    mapping: Mapping,
    partitions: Sequence[str] | None = None,
    *,
    full: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
    on_commit: Callable[[str, Counts], None] = lambda _partition, _counts: None,
    dagster_run_id: str | None = None,
    accept: bool = False,
) -> RunReport:
    """`load_unit` of the one entity, or of the unit it belongs to; returns the report of the entity."""

    def on_commit_of_unit(entity: str, partition: str, counts: Counts) -> None:
        if entity == mapping.entity:
            on_commit(partition, counts)

    reports = load_unit(
        workspace,
        workspace.project.unit_of(mapping),
        partitions,
        full=full,
        dry_run=dry_run,
        progress=progress,
        on_commit=on_commit_of_unit,
        dagster_run_id=dagster_run_id,
        accept=accept,
    )
    return reports[mapping.entity]


def run_unit(
    workspace: Workspace,
    mappings: Sequence[Mapping],
    partitions: Sequence[str] | None = None,
    *,
    full: bool = False,
    progress: Progress | None = None,
    accept: bool = False,
    fetched: Fetched | None = None,
) -> dict[str, RunReport]:
    """Fetches and loads one entity, or all of a unit with parents first; returns a report per entity.

    Documents are fetched before their positions, so that no document is seen without them. `accept` lets a change
    pass that the guards would stop. `fetched` has what this run fetched before, and gets what is fetched now.
    """
    fetched = {} if fetched is None else fetched
    if len(mappings) == 1 and mappings[0].source.feed not in fetched:
        work = plan_work(workspace, mappings[0], partitions, full=full, accept=accept)
        if work.only_partition is not None and work.is_first:
            return _run_first(workspace, work, work.only_partition, full=full, progress=progress, fetched=fetched)
    for mapping in mappings:
        if mapping.source.feed not in fetched:
            work = plan_work(workspace, mapping, partitions, full=full, accept=accept)
            fetched[mapping.source.feed] = land(workspace, work, progress)
    summaries = {m.entity: fetched[m.source.feed] for m in mappings}
    named = [p for summary in summaries.values() for p in summary.partitions] if partitions is not None else None
    chosen = list(dict.fromkeys(named)) if named is not None else None
    reports = load_unit(workspace, mappings, chosen, progress=progress, accept=accept, summaries=summaries)
    return {entity: _with_fetch(report, summaries[entity]) for entity, report in reports.items()}


def run_entity(
    workspace: Workspace,
    mapping: Mapping,
    partitions: Sequence[str] | None = None,
    *,
    full: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
    accept: bool = False,
) -> RunReport:
    """`run_unit` of the one entity, or of the unit it belongs to; returns the report of the entity."""
    if dry_run:
        return next(plan_entities(workspace, [mapping], partitions, full=full, progress=progress))
    unit = workspace.project.unit_of(mapping)
    return run_unit(workspace, unit, partitions, full=full, progress=progress, accept=accept)[mapping.entity]


def plan_entities(
    workspace: Workspace,
    mappings: Sequence[Mapping],
    partitions: Sequence[str] | None = None,
    *,
    full: bool = False,
    progress: Progress | None = None,
    on_planned: OnPlanned = lambda _loader: None,
) -> Iterator[RunReport]:
    """What a run of these mappings, in this order, would do; nothing is written to the ERP or the ledger.

    `on_planned` hears of each entity while its plan is still in the ledger, where `ledger/planned.py` reads it.

    Rows are fetched into a landing of their own, which is thrown away. All plans share one transaction, so
    that children see the parents that would have been written; it is rolled back when the last report was taken.
    """
    with (
        TemporaryDirectory(prefix="legacy_sync_plan_") as folder,
        workspace.erp() as connection,
        connection.transaction(force_rollback=True),
    ):
        workspace = replace(workspace, landing=Landing(folder))
        done: set[str] = set()
        for mapping in mappings:
            unit = workspace.project.unit_of(mapping)
            if mapping.entity in done:
                continue
            done |= {m.entity for m in unit}
            fetched = {m.entity: fetch_table(workspace, m, partitions, full=full, progress=progress) for m in unit}
            with loading(workspace, unit, full=full, dry_run=True, within=connection) as loaders:
                apply_choices(loaders)
                chosen = [fetched[loader.mapping.entity].partitions if partitions else None for loader in loaders]
                slices = [find_slices(x, c, full=False) for x, c in zip(loaders, chosen, strict=True)]
                load_slices(loaders, slices, progress, _nothing)
                for loader, own in zip(loaders, slices, strict=True):
                    finish(workspace, loader, own)
                    on_planned(loader)
            yield from (_with_fetch(loader.report, fetched[loader.mapping.entity]) for loader in loaders)


def _nothing(_entity: str, _partition: str, _counts: Counts) -> None:
    """Nobody waits for the commits of a plan."""


def _run_first(
    workspace: Workspace,
    work: FetchWork,
    partition: str,
    *,
    full: bool,
    progress: Progress | None,
    fetched: Fetched,
) -> dict[str, RunReport]:
    """The first import of an entity with one partition: rows go into an open transaction while they are fetched.

    It commits when the fetch has proved complete, or not at all.
    """
    entity = work.mapping.entity
    summary = work.begin()
    stamp = take_mark(workspace, work, summary)
    with loading(workspace, [work.mapping], full=full, dry_run=False, accept=work.accept) as (loader,):
        with Stream(workspace, work, work.plans[0], summary, progress, stamp) as stream:
            rows = Batches(fetched_at(stream.fetch_ids[0]), partial(prefetch, stream.batches()))
            slice_ = loader.load_stream(partition, rows, stream.commit)
            replay(loader)
        notes = []
        if stamp is not None:
            leave_mark(workspace, work, summary, stamp)
            notes = find_slices(loader, [BY_STAMP], full=False)
            load_slices([loader], [notes], None, _nothing)
        say_fetched(summary)
        _take_rest(loader.report, summary)
        finish(workspace, loader, [slice_, *notes])
    fetched[work.mapping.source.feed] = summary
    return {entity: _with_fetch(loader.report, summary)}


def _take_rest(report: RunReport, fetched: FetchSummary) -> None:
    """What a fetch of this process cost beyond what it landed, such as a look at a counter that stands still."""
    report.taken.add(0, fetched.take_unsaid(), fetched.reason, fetched.changes_up_to)


def _with_fetch(report: RunReport, fetched: FetchSummary) -> RunReport:
    report.fetch = fetched
    report.mode = fetched.mode
    report.seconds = {"fetch": fetched.seconds, **report.seconds}
    return report
