"""How do people decide in Dagster? Jobs whose config in the launchpad says what: of conflicts, and of parked rows.

They run the same code as `legacy-sync conflicts resolve` and `legacy-sync quarantine`, and show what became of it. A
decision is not tried again by itself: whoever made it sees what happened.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any

import dagster as dg
from pydantic import Field

from legacy_sync.errors import LegacySyncError
from legacy_sync.ledger.quarantine import ParkedEntry
from legacy_sync.mapping.loader import Project
from legacy_sync.orchestration.assets import user_of
from legacy_sync.orchestration.failures import as_failure
from legacy_sync.orchestration.metadata import SHOWN, table_of, to_metadata
from legacy_sync.orchestration.progress import logged_to_dagster
from legacy_sync.orchestration.resources import ErpDatabase, LegacyApi, opened
from legacy_sync.sync.parked import choose_parked, discard_parked, replay_parked
from legacy_sync.sync.pipeline import load_unit
from legacy_sync.sync.resolve import Choice, Settled, choose, resolve

CONFLICTS_JOB = "resolve_conflicts"
QUARANTINE_JOB = "quarantine_rows"
_IDS = "numbers, as the tables of the assets and the command line show them"


class Keep(Enum):
    """What counts in a conflict."""

    legacy = "legacy"
    erp = "erp"
    value = "value"


class Act(Enum):
    """What happens to parked rows."""

    replay = "replay"
    discard = "discard"


class ConflictConfig(dg.Config):
    """Which conflicts, and what counts in them."""

    keep: Keep = Field(description="legacy or erp: what that side has; value: what stands in `value`")
    value: str | None = Field(default=None, description="with keep: value. Empty: none, or in texts the empty one")
    ids: list[int] = Field(default=[], description=_IDS)
    entity: str | None = Field(default=None, description="instead of numbers: all open ones of this entity")
    column: str | None = Field(default=None, description="instead of numbers: all open ones of this column")
    every: bool = Field(default=False, description="instead of numbers: all open ones")
    comment: str | None = Field(default=None, description="why; kept with the conflict")
    dry_run: bool = Field(default=False, description="show what would be decided, and write nothing")


class QuarantineConfig(dg.Config):
    """Which parked rows, and what happens to them."""

    act: Act = Field(description="replay: try them again now; discard: close them for good, with a comment")
    ids: list[int] = Field(default=[], description=_IDS)
    entity: str | None = Field(default=None, description="replay, instead of numbers: all open ones of this entity")
    every: bool = Field(default=False, description="replay, instead of numbers: all open ones")
    comment: str = Field(default="", description="discard: why these rows are not wanted; kept with them")


def build_decisions(project: Project) -> list[dg.JobDefinition]:
    """The jobs `resolve_conflicts` and `quarantine_rows`."""
    return [_conflicts_job(project), _quarantine_job(project)]


@contextmanager
def _told(context: dg.OpExecutionContext) -> Iterator[None]:
    with logged_to_dagster(context):
        try:
            yield
        except LegacySyncError as error:
            raise as_failure(error) from None


# --- conflicts -----------------------------------------------------------------------------------


def _conflicts_job(project: Project) -> dg.JobDefinition:
    @dg.op(name="decide", pool="erp", description="What counts in the conflicts that are named.")
    def decide(
        context: dg.OpExecutionContext, config: ConflictConfig, legacy_api: LegacyApi, erp_database: ErpDatabase
    ) -> None:
        with _told(context), opened(project, legacy_api, erp_database) as workspace:
            choice = Choice(config.keep.value, user_of(context), config.value, config.comment)
            chosen = choose(
                workspace, ids=config.ids, entity=config.entity, column=config.column, every=config.every
            )  # fmt: skip
            settled = resolve(workspace, chosen, choice, dry_run=config.dry_run, dagster_run_id=context.run.run_id)
            _show_settled(context, settled)

    @dg.job(
        name=CONFLICTS_JOB,
        description="Decide conflicts; the launchpad says which and what counts. Like `legacy-sync conflicts resolve`.",
        executor_def=dg.in_process_executor,
    )
    def resolve_conflicts() -> None:
        decide()

    return resolve_conflicts


def _show_settled(context: dg.OpExecutionContext, settled: Settled) -> None:
    names = ("number", "entity", "key", "column", "base", "legacy", "erp", "winner", "decided by")
    columns = ("id", "entity", "legacy_key", "column_name", "base_value", "legacy_value", "erp_value", "winner",
               "decided_by")  # fmt: skip
    decided = [tuple(conflict[c] for c in columns) for conflict in settled.decided[:SHOWN]]
    waiting = list(settled.waiting.items())[:SHOWN]
    shown = to_metadata(
        {
            "conflicts_decided": len(settled.decided),
            "conflicts_waiting": len(settled.waiting),
            "decided": table_of(names, decided) if decided else None,
            "waiting": table_of(("number", "why"), waiting) if waiting else None,
        }
    )
    context.add_output_metadata(shown)
    context.log.info(f"{len(settled.decided):,} conflicts decided")
    for number, why in waiting:
        context.log.warning(f"conflict {number}: {why}")
    if settled.waiting and not settled.decided:
        raise dg.Failure("none of the conflicts was decided", metadata=shown, allow_retries=False)


# --- parked rows ---------------------------------------------------------------------------------


def _quarantine_job(project: Project) -> dg.JobDefinition:
    @dg.op(name="settle", pool="erp", description="Another try of parked rows, or their end.")
    def settle(
        context: dg.OpExecutionContext, config: QuarantineConfig, legacy_api: LegacyApi, erp_database: ErpDatabase
    ) -> None:
        with _told(context), opened(project, legacy_api, erp_database) as workspace:
            entries = choose_parked(workspace, ids=config.ids, entity=config.entity, every=config.every)
            if config.act is Act.discard:
                now = discard_parked(workspace, entries, by=user_of(context), comment=config.comment)
            else:
                run_id = context.run.run_id
                _, now = replay_parked(
                    workspace, entries, lambda unit: load_unit(workspace, unit, dagster_run_id=run_id)
                )
            _show_parked(context, now)

    @dg.job(
        name=QUARANTINE_JOB,
        description="Try parked rows again, or discard them; the launchpad says which. Like `legacy-sync quarantine`.",
        executor_def=dg.in_process_executor,
    )
    def quarantine_rows() -> None:
        settle()

    return quarantine_rows


def _show_parked(context: dg.OpExecutionContext, entries: list[ParkedEntry]) -> None:
    by_state: dict[str, Any] = {}
    for entry in entries:
        by_state[entry.status] = by_state.get(entry.status, 0) + 1
    names = ("number", "entity", "key", "status", "reason", "column", "value", "message")
    rows = [(e.id, e.entity, e.legacy_key, e.status, e.reason, e.column_name, e.value, e.message)
            for e in entries[:SHOWN]]  # fmt: skip
    context.add_output_metadata(
        to_metadata(
            {
                "rows": len(entries),
                **{f"rows_{state}": count for state, count in by_state.items()},
                "parked": table_of(names, rows) if rows else None,
            }
        )
    )
    if still := by_state.get("open"):
        context.log.warning(f"{still:,} of {len(entries):,} rows are parked still")
