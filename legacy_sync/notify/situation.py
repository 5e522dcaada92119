"""What is a situation? Something that is not as it should be now; by its name it is known again."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from legacy_sync.errors import LedgerUnusable, LegacySyncError, MappingInvalid
from legacy_sync.mapping.notify_words import Kind

Name = tuple[Kind, str]


@dataclass(frozen=True)
class Situation:
    """Something that is not as it should be.

    `about` names it within its kind: an entity, a source. `headline` is the essence in a few words, `size` grows when
    it gets worse. `what`, `where` and `next_step` are those of our errors; `run` is a run in Dagster.
    """

    kind: Kind
    about: str
    headline: str
    since: datetime
    what: str
    where: str
    next_step: str
    size: int = 1
    run: str | None = None

    @property
    def name(self) -> Name:
        """By this it is known again."""
        return self.kind, self.about


@dataclass(frozen=True)
class Seen:
    """All situations of the kinds that were looked at; of other kinds nothing is known."""

    situations: tuple[Situation, ...] = ()
    kinds: frozenset[Kind] = field(default_factory=frozenset)

    def __add__(self, other: Seen) -> Seen:
        """Both together."""
        return Seen(self.situations + other.situations, self.kinds | other.kinds)


def parts_of(message: str) -> tuple[str, str, str]:
    """What, where and next step out of the text of an error of ours; of another text the first line and two blanks."""
    lines = message.strip().splitlines() or ["it ended without a word"]
    where = next((line.removeprefix("  where: ") for line in lines if line.startswith("  where: ")), "")
    next_step = next((line.removeprefix("  next:  ") for line in lines if line.startswith("  next:  ")), "")
    return lines[0], where, next_step


def of_files(error: LegacySyncError | None, now: datetime) -> Seen:
    """Whether the mapping files can be used; if not, nothing of the edit is in force."""
    kinds = frozenset[Kind]({"mappings"})
    if error is None:
        return Seen(kinds=kinds)
    problems = error.problems if isinstance(error, MappingInvalid) else ()
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    first = problems[0] if problems else error
    headline, next_step = "an edit of the mappings is broken", f"{first.next_step}; `legacy-sync check` shows all"
    return Seen((Situation("mappings", "files", headline, now, first.what + more, first.where, next_step),), kinds)


def of_erp_away(error: LegacySyncError, since: datetime) -> Situation:
    """The ERP database, and with it the ledger, cannot be reached, or the ledger in it cannot be used."""
    is_there = isinstance(error, LedgerUnusable)
    headline = "the ledger cannot be used" if is_there else "the ERP database cannot be reached"
    return Situation("sources", "ERP database", headline, since, error.what, error.where, error.next_step)
