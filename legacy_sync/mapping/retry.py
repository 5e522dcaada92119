"""How often, and after which pauses, is something tried again that may pass?"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, NoReturn

import tenacity
from pydantic import BeforeValidator, Field

from legacy_sync.errors import LegacySyncError
from legacy_sync.mapping.word import Word

_PAUSE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h)\s*$")
_UNITS = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours"}


def _pause(value: object) -> object:
    if isinstance(value, str) and (match := _PAUSE.match(value)):
        return timedelta(**{_UNITS[match[2]]: float(match[1])})
    if isinstance(value, timedelta):
        return value
    raise ValueError(f'"{value}" is no pause; write a number and a unit ms, s, m or h, such as 500ms or 10m')


Pause = Annotated[
    timedelta, BeforeValidator(_pause, json_schema_input_type=Annotated[str, Field(pattern=_PAUSE.pattern)])
]


class Retry(Word):
    """How often something is tried that may pass: pauses double, and vary so that not all come back at once."""

    attempts: int = Field(default=5, ge=1, description="how often in all; 1: never again")
    first_pause: Pause = Field(default=timedelta(seconds=1), description="before the second try; doubles each time")
    longest_pause: Pause = Field(default=timedelta(seconds=30), description="no pause is longer")
    deadline: Pause = Field(default=timedelta(minutes=10), description="no try begins later than this after the first")
    jitter: float = Field(default=0.25, ge=0, le=1, description="share by which a pause may be longer, by chance")

    def pause(self, tried: int) -> float:
        """Seconds until the next try, after so many."""
        doubled = self.first_pause.total_seconds() * 2.0 ** min(tried - 1, 60)
        return min(doubled, self.longest_pause.total_seconds()) * (1 + random.uniform(0, self.jitter))

    def trying(
        self,
        may_pass: Callable[[BaseException], bool],
        *,
        told: Callable[[tenacity.RetryCallState], None],
        wait: Callable[[tenacity.RetryCallState], float] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> tenacity.Retrying:
        """Calls a function until it succeeds or fails for good; the last failure says how often it was tried.

        `told` hears of each failure before the pause; `wait` may ask for longer pauses.
        """
        return tenacity.Retrying(
            retry=tenacity.retry_if_exception(may_pass),
            stop=tenacity.stop_after_attempt(self.attempts) | tenacity.stop_before_delay(self.deadline),
            wait=wait or (lambda state: self.pause(state.attempt_number)),
            sleep=sleep,
            before_sleep=told,
            retry_error_callback=give_up,
        )


class Rerun(Retry):
    """How often a step that failed is started again in Dagster, where the failure may pass."""

    attempts: int = Field(default=4, ge=1, description="how often in all; 1: never again")
    first_pause: Pause = Field(default=timedelta(seconds=10), description="before the second try; doubles each time")
    longest_pause: Pause = Field(default=timedelta(minutes=5), description="no pause is longer")
    deadline: Pause = Field(default=timedelta(hours=1), description="no try begins later than this after the first")


def give_up(state: tenacity.RetryCallState) -> NoReturn:
    """Raises the last failure, with how often it was tried."""
    error = state.outcome.exception() if state.outcome else None
    assert error is not None  # tenacity gives up on failures only
    if isinstance(error, LegacySyncError):
        raise error.tried(state.attempt_number, state.seconds_since_start or 0.0)
    raise error
