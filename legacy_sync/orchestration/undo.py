"""How is a run taken back in Dagster? The job `undo_runs`, with the numbers of the runs in its launchpad config."""

import dagster as dg
from pydantic import Field

from legacy_sync.mapping.loader import Project
from legacy_sync.orchestration.resources import ErpDatabase, LegacyApi, opened
from legacy_sync.sync.undo import UndoReport, undo_runs

NAME = "undo_runs"
_SHOWN = 50


class UndoConfig(dg.Config):
    """Which runs, and how."""

    ids: list[int] = Field(description="numbers of runs in the ledger (`run` in the metadata of the ERP assets)")
    skip_changed: bool = Field(default=False, description="leave out rows that changed since, and undo the others")
    dry_run: bool = Field(default=True, description="only say what would be undone; false: do it")


def build_undo(project: Project) -> dg.JobDefinition:
    """The job `undo_runs`."""

    @dg.op(name="undo", description="Takes runs back in one transaction; rows that changed since stop it.")
    def undo(
        context: dg.OpExecutionContext, config: UndoConfig, legacy_api: LegacyApi, erp_database: ErpDatabase
    ) -> None:
        with opened(project, legacy_api, erp_database) as workspace:
            report = undo_runs(
                workspace,
                config.ids,
                skip_changed=config.skip_changed,
                dry_run=config.dry_run,
                rows=_SHOWN,
                dagster_run_id=context.run_id,
            )
        metadata = _metadata(report)
        context.add_output_metadata(metadata)
        if report.refused and not report.written and not (config.dry_run and config.skip_changed):
            text = f"{report.refused:,} rows changed since: nothing was written. First: {report.problems[0]['detail']}"
            raise dg.Failure(text, metadata=metadata, allow_retries=False)

    @dg.job(
        name=NAME,
        description="Takes back what runs did to the ERP. Begins as a dry run: set `dry_run: false` to do it.",
        executor_def=dg.in_process_executor,
    )
    def job() -> None:
        undo()

    return job


def _metadata(report: UndoReport) -> dict[str, dg.MetadataValue]:
    said = ["nothing was written"] if not report.written else []
    numbers = {
        "restored": report.restored,
        "removed": report.removed,
        "came_back": report.returned,
        "left": report.left,
        "changed_since": report.refused,
    }
    return {
        **{name: dg.MetadataValue.int(number) for name, number in numbers.items()},
        "undo_runs": dg.MetadataValue.json(report.undo_runs),
        "rows": dg.MetadataValue.json(report.rows),
        "rows_changed_since": dg.MetadataValue.json(report.problems[:_SHOWN]),
        "next": dg.MetadataValue.md("\n".join(f"- {line}" for line in [*said, *report.will, *report.again])),
    }
