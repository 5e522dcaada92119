"""How long is an end away, when is it asked again, and who has been told? Lives in the cursor of a sensor.

A single look may fail for any reason; from the second on it is an outage. It is told once, and its end once.
"""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from legacy_sync.errors import LegacySyncError

_FIRST_PAUSE_SECONDS = 30.0
_LONGEST_PAUSE_SECONDS = 300.0
_TOLD_AFTER_LOOKS = 2


@dataclass
class Outage:
    """What failed last, since when and how often; `failures` is 0 while all is well. Times are seconds since 1970."""

    failures: int = 0
    since: float = 0.0
    not_before: float = 0.0
    was_told: bool = False
    what: str = ""
    where: str = ""
    next_step: str = ""

    def waits(self, now: float) -> bool:
        """Whether it is too early for the next look."""
        return now < self.not_before

    def fail(self, error: LegacySyncError, now: float) -> str | None:
        """A look failed: the next one waits, longer each time. Returns what to tell, once in an outage."""
        self.since = self.since if self.failures else now
        self.failures += 1
        self.not_before = now + min(_FIRST_PAUSE_SECONDS * 2.0 ** min(self.failures - 1, 16), _LONGEST_PAUSE_SECONDS)
        self.what, self.where, self.next_step = error.what, error.where, error.next_step
        if self.was_told or self.failures < _TOLD_AFTER_LOOKS:
            return None
        self.was_told = True
        return self.in_words(now)

    def end(self, now: float) -> str | None:
        """A look went well. Returns what to tell if it was not so before."""
        if not self.failures:
            return None
        text = f"back after {_lasted(now - self.since)} and {self.failures} failed looks: {self.where}"
        vars(self).update(asdict(Outage()))
        return text

    def in_words(self, now: float) -> str:
        """What, where and what to do, and when the next look is."""
        again = f"in {self.not_before - now:.0f} s" if self.waits(now) else "with the next tick"
        since = datetime.fromtimestamp(self.since, UTC)
        looks = f"{self.failures} failed looks since {since:%Y-%m-%d %H:%M:%S} UTC, the next is {again}"
        return f"{self.what}\n  where: {self.where}\n  next:  {self.next_step}\n  again: {looks}"


def read_outage(data: dict[str, Any]) -> Outage:
    """An outage out of a cursor."""
    return Outage(**data)


def _lasted(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes else f"{seconds:.0f} s"
