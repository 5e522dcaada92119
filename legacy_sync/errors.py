"""Which failures can reach a caller, and what should the caller do next?

Every public exception of the project. The families say what happens next::

    LegacySyncError                what, where, next_step
    ├── AbortRun                   stop this run; nothing half-written stays
    │   ├── SettingsInvalid        environment variable missing or unusable
    │   ├── MappingInvalid         a mapping file says something impossible (carries all problems)
    │   ├── EntityUnknown          a name on the command line or in a run config is no entity
    │   ├── ChoiceUnusable         a person's choice cannot be carried out as it was given
    │   ├── SchemaDrift            a catalog no longer fits the mapping
    │   ├── SourceRefused          the legacy server refuses for good (login, unknown table, bad filter)
    │   ├── SourceUntrustworthy    an answer that contradicts the request (filter ignored, counts disagree)
    │   ├── MarkUnusable           the source's counter or clock went back behind what is loaded
    │   ├── GuardTripped           the change is too large or too empty to be believed
    │   ├── LandingUnusable        the folder for fetched rows cannot be read or written
    │   ├── LedgerUnusable         the ledger cannot be created, is newer than this program, or was altered
    │   ├── UndoRefused            a run cannot be undone: its images are gone, or it was undone already
    │   └── ErpRefused             the ERP database refuses for good (rights, missing table)
    ├── RetryLater                 the same call may succeed later
    │   ├── SourceUnavailable      no answer, 5xx, timeout, broken transfer
    │   ├── SessionLimitReached    HTTP 402: no licence free
    │   ├── EntityBusy             another run holds this entity
    │   └── ErpUnavailable         connection lost, deadlock, lock timeout
    └── ParkRow                    one row is set aside, the rest goes on (lookups of one row)
        └── RowNotFound            no parked row, run or record with that number or key
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self


class LegacySyncError(Exception):
    """A failure with its fact, its place and the next act of the person who reads it."""

    def __init__(self, what: str, *, where: str, next_step: str) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.next_step = next_step

    def tried(self, times: int, seconds: float, what: str = "") -> Self:
        """The same failure, which says how often it was tried; once needs no word."""
        if times > 1:
            self.what = f"{self.what} ({what}tried {times} times in {seconds:.{0 if seconds >= 10 else 1}f} s)"
        return self

    def __str__(self) -> str:
        return f"{self.what}\n  where: {self.where}\n  next:  {self.next_step}"

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.what, self.where, self.next_step))


def _rebuild(kind: type[LegacySyncError], what: str, where: str, next_step: str) -> LegacySyncError:
    return kind(what, where=where, next_step=next_step)


class AbortRun(LegacySyncError):
    """The run stops; nothing half-written stays behind."""


class SettingsInvalid(AbortRun):
    """An environment variable is missing or cannot be used."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong in one place of a mapping file or a catalog."""

    what: str
    where: str
    next_step: str

    def __str__(self) -> str:
        return f"{self.what}\n  where: {self.where}\n  next:  {self.next_step}"


class MappingInvalid(AbortRun):
    """One or more mapping files cannot be used; `problems` has every one of them."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        first = self.problems[0]
        more = f" (and {len(self.problems) - 1} more)" if len(self.problems) > 1 else ""
        super().__init__(first.what + more, where=first.where, next_step=first.next_step)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)

    def __reduce__(self) -> tuple[object, ...]:
        return (MappingInvalid, (self.problems,))


class EntityUnknown(AbortRun):
    """A name that is no entity of the loaded mappings."""


class ChoiceUnusable(AbortRun):
    """A choice for conflicts or parked rows that cannot be carried out as it was given; nothing was written."""


class SchemaDrift(AbortRun):
    """A live catalog no longer fits the mapping."""


class SourceRefused(AbortRun):
    """The source refuses for good: login, unknown table, filter it cannot parse."""


class SourceUntrustworthy(AbortRun):
    """The source answered something that contradicts the request; its rows must not be used."""


class MarkUnusable(AbortRun):
    """What is loaded says no longer from where on to fetch: only a fetch of all rows helps."""


class GuardTripped(AbortRun):
    """The change is too large or too empty to be believed; a person has to confirm it."""


class LandingUnusable(AbortRun):
    """The landing cannot be read or written: wrong place, rights, full disk, damaged file."""


class LedgerUnusable(AbortRun):
    """The ledger schema cannot be created or belongs to another program version."""


class UndoRefused(AbortRun):
    """A run cannot be undone: what it changed is not kept any more, or it was undone already."""


class ErpRefused(AbortRun):
    """The ERP database refuses for good: rights, missing table or column."""


class RetryLater(LegacySyncError):
    """The same call may succeed later."""


class SourceUnavailable(RetryLater):
    """No answer, a server error, a timeout or a broken transfer, after all attempts."""


class SessionLimitReached(RetryLater):
    """The legacy server has no licence free (HTTP 402)."""


class EntityBusy(RetryLater):
    """Another run holds this entity."""


class ErpUnavailable(RetryLater):
    """The connection to the ERP database was lost, or a lock was not granted in time."""


class ParkRow(LegacySyncError):
    """One row is set aside; the rest goes on."""


class RowNotFound(ParkRow):
    """No parked row, run or record with that number or key."""
