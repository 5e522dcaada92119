"""What does Dagster hear of a failure? Retry what may pass, fail the rest with the same text as everywhere."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import dagster as dg

from legacy_sync.errors import LegacySyncError, RetryLater


@dataclass(frozen=True)
class Retries:
    """How often and after how long a step is tried again; the pauses double and vary by a quarter."""

    attempts: int = 3
    first_pause_seconds: float = 10.0

    def pause(self, number: int) -> float:
        """Seconds before try `number` + 1 (0 is the first repetition)."""
        return self.first_pause_seconds * float(2**number) * random.uniform(0.75, 1.25)


@contextmanager
def told_to_dagster(
    context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext, retries: Retries
) -> Iterator[None]:
    """Our errors become RetryRequested or Failure; anything else, a cancellation too, passes as it is."""
    number = context.op_execution_context.retry_number
    try:
        yield
    except RetryLater as error:
        if number < retries.attempts:
            pause = retries.pause(number)
            context.log.warning(f"{error}\n  again: in {pause:.0f} s, try {number + 2} of {retries.attempts + 1}")
            raise dg.RetryRequested(max_retries=retries.attempts, seconds_to_wait=pause) from error
        raise as_failure(error) from None
    except LegacySyncError as error:
        raise as_failure(error) from None


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
