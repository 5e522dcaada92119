"""What did a run do? The numbers and samples every starter (CLI, Dagster) shows."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

from legacy_sync.sources.cost import NOTHING, Cost

Outcome = Literal["succeeded", "succeeded_with_parked", "failed", "planned"]


@dataclass(frozen=True)
class ParkedSample:
    """One parked row, as shown in tables."""

    legacy_key: str
    reason: str
    column: str | None
    value: str | None
    message: str


@dataclass
class Counts:
    """Rows by what happened to them; every number comes from the database."""

    read: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    adopted: int = 0
    deleted: int = 0
    conflicts: int = 0
    parked: int = 0
    retried: int = 0
    """parked rows of earlier runs that were tried again; they count in the other numbers too"""
    replayed: int = 0
    """parked rows that could be loaded now"""
    backfilled: int = 0
    """blank columns of parents filled from children"""
    kept: int = 0
    """rows whose ERP edits were kept"""
    ignored: int = 0
    """records of the legacy table that the mapping does not mean"""
    created: int = 0
    """rows made in other tables for references that found none"""
    derived: int = 0
    """rows of other tables with a value that follows from the loaded ones"""
    relinked: int = 0
    """rows loaded earlier without a parent that is there now"""

    @property
    def changed(self) -> int:
        """Rows of the ERP table that are not as they were."""
        return self.inserted + self.updated + self.deleted + self.adopted

    def add(self, other: Counts) -> None:
        """Sum up slices."""
        for name, value in asdict(other).items():
            setattr(self, name, getattr(self, name) + value)


@dataclass
class FetchSummary:
    """What a fetch landed, over all partitions it touched."""

    table: str
    partitions: tuple[str, ...] = ()
    rows: int = 0
    requests: int = 0
    bytes: int = 0
    seconds: float = 0.0
    mode: str = "incremental"
    server_time: datetime | None = None
    files: tuple[str, ...] = ()
    reason: str = ""
    """why all rows were read although only changes were asked for"""
    notes: tuple[str, ...] = ()
    began_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    has_all_changes: bool = False
    """whether everything that may have changed was looked at"""
    said: Cost = NOTHING
    """the part of what was spent that landed fetches say"""

    @property
    def changes_up_to(self) -> datetime | None:
        """Up to when it has all changes of the table; None if it did not look at all of them."""
        return self.began_at if self.has_all_changes else None

    def take_unsaid(self) -> Cost:
        """What was spent and said by no landed fetch yet; whoever takes it says it."""
        spent = Cost(self.requests, self.bytes, self.seconds)
        unsaid, self.said = spent - self.said, spent
        return unsaid


@dataclass
class TakenIn:
    """The fetches a load took in: their rows, what they had cost, and up to when they have all changes.

    A fetch that several mappings read costs the one that takes it in first; its rows count for each.
    """

    rows: int = 0
    cost: Cost = NOTHING
    all_rows_because: str = ""
    changes_up_to: datetime | None = None

    def add(self, rows: int, cost: Cost, all_rows_because: str, changes_up_to: datetime | None) -> None:
        """One more."""
        self.rows += rows
        self.cost += cost
        self.all_rows_because = all_rows_because or self.all_rows_because
        self.changes_up_to = max(filter(None, (self.changes_up_to, changes_up_to)), default=None)


@dataclass
class RunReport:
    """What a load did, over all slices (partitions) it committed."""

    entity: str
    mode: str = "incremental"
    run_id: int | None = None
    outcome: Outcome = "succeeded"
    partitions: tuple[str, ...] = ()
    counts: Counts = field(default_factory=Counts)
    counts_by_partition: dict[str, Counts] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    """seconds per stage: fetch, transform, stage, plan, apply"""
    links: dict[str, dict[str, int]] = field(default_factory=dict)
    """reference column -> {rows, linked, blank, missing, ambiguous, …}"""
    parked_by_reason: dict[str, int] = field(default_factory=dict)
    rule_violations: dict[str, int] = field(default_factory=dict)
    """rule name -> rows that broke it"""
    warnings: dict[str, int] = field(default_factory=dict)
    """such as rounded decimals or invalid values replaced: text -> rows"""
    gone: list[str] = field(default_factory=list)
    """those of the warnings that are about records which are gone"""
    parked_sample: list[ParkedSample] = field(default_factory=list)
    watermark: str | None = None
    fetch: FetchSummary | None = None
    taken: TakenIn = field(default_factory=TakenIn)
    accepted: bool = False
    """a person let changes pass that the guards would have stopped"""
    commits: int = 0
    """transactions of the load that were committed"""
    repeated: dict[str, int] = field(default_factory=dict)
    """why parts of the load were loaded again, and how often"""
    columns_changed: dict[str, int] = field(default_factory=dict)
    """ERP column -> rows in which it was updated"""

    @property
    def remarks(self) -> list[str]:
        """What a person should hear of a run besides its numbers: another way than asked for, records that are gone."""
        said = [f"all rows were read: {self.fetch.reason}"] if self.fetch and self.fetch.reason else []
        said += self.fetch.notes if self.fetch else ()
        said += [f"a part of the load was tried again ({times} times): {why}" for why, times in self.repeated.items()]
        return said + [f"{text}: {rows:,}" for text, rows in self.warnings.items() if text in self.gone]

    def warn_gone(self, text: str, rows: int) -> None:
        """A warning about records that are gone."""
        self.warnings[text] = rows
        self.gone.append(text)

    def to_json(self) -> dict[str, Any]:
        """Plain types only, for `--json` and metadata."""
        return {name: _plain(value) for name, value in asdict(self).items()}


def link_rates(links: dict[str, dict[str, int]]) -> dict[str, float]:
    """Reference column → share of the rows that name a parent and found it; without such rows it has none."""
    named = {column: numbers["rows"] - numbers.get("blank", 0) for column, numbers in links.items()}
    return {column: links[column]["linked"] / rows for column, rows in named.items() if rows > 0}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value.isoformat() if isinstance(value, datetime) else value


class Progress(Protocol):
    """Told now and then how far a stage is; `total` is None while unknown."""

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """Show it."""
