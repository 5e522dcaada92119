"""What does Dagster hear of a failure? Retry what may pass, fail the rest with the same text as everywhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from legacy_sync.errors import LegacySyncError, RetryLater
from legacy_sync.mapping.retry import Rerun

Context = dg.AssetExecutionContext | dg.AssetCheckExecutionContext


@contextmanager
def told_to_dagster(context: Context, rerun: Rerun) -> Iterator[None]:
    """Our errors become RetryRequested or Failure; anything else, a cancellation too, passes as it is."""
    tried = context.op_execution_context.retry_number + 1
    try:
        yield
    except RetryLater as error:
        pause, spent = rerun.pause(tried), _seconds_since_first_start(context)
        if tried < rerun.attempts and spent + pause <= rerun.deadline.total_seconds():
            context.log.warning(f"{error}\n  again: in {pause:.0f} s, try {tried + 1} of {rerun.attempts}")
            raise dg.RetryRequested(max_retries=rerun.attempts - 1, seconds_to_wait=pause) from error
        raise as_failure(error.tried(tried, spent, "the step was ")) from None
    except LegacySyncError as error:
        raise as_failure(error) from None


def _seconds_since_first_start(context: Context) -> float:
    step = str(context.op_execution_context.op_handle)
    for stats in context.instance.get_run_step_stats(context.run.run_id, [step]):
        if stats.start_time is not None:
            return max(0.0, time.time() - float(stats.start_time))
    return 0.0


def as_failure(error: LegacySyncError) -> dg.Failure:
    """The error as a failed step that is not tried again."""
    return dg.Failure(
        description=str(error),
        metadata={
            "kind": type(error).__name__,
            "what": error.what,
            "where": error.where,
            "next": error.next_step,
        },
        allow_retries=False,
    )
