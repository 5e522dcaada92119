"""What must a source be able to do? The contract between the sync and any place legacy rows live in.

Arrow shape of a batch, for every source: one column per attribute, named as the source spells it.
Scalars keep their natural Arrow type (int64, float64, bool, string). A column in which kinds mix, or
that holds objects or lists, is a string column of JSON texts and its field carries the metadata
`JSON_TEXT`. SQL null and JSON null are null. The column `ABSENT`, when it is there, names (joined by
newlines) the attributes a record did not carry at all while others did; it is null for complete records.
The column `BROKEN`, when it is there, says of a row that could not be read where it stands and why ("a.csv,
line 7: 3 columns instead of 2"); its other attributes are null, and it is parked. It is null for sound rows.
A table that has a key gives it as the attribute `KEY`, too: as text, several parts joined by `KEY_SEPARATOR`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Protocol, runtime_checkable

import pyarrow as pa

from legacy_sync.mapping.source_files import SourceSpec
from legacy_sync.mapping.source_words import SourceWords
from legacy_sync.settings import Settings

ABSENT = "__absent"
BROKEN = "__broken"
KEY = "__KEY"
ENVELOPE = (KEY, "__STAMP", "__TIMESTAMP")
"""What every 4D record has, though the catalog does not list it."""
KEY_SEPARATOR = "|"
JSON_TEXT: dict[bytes, bytes] = {b"legacy_sync.json": b"1"}


def is_json_text(field_: pa.Field) -> bool:
    """Whether the column holds JSON texts rather than plain values."""
    return bool(field_.metadata) and JSON_TEXT.items() <= field_.metadata.items()


@dataclass(frozen=True)
class Attribute:
    """One column of a legacy table; `type` is the source's own word for it (4D: string, long, date, …)."""

    name: str
    type: str
    stored: bool = True


@dataclass(frozen=True)
class TableInfo:
    """What the source's catalog says of one table; `key` is its primary key, empty if it has none."""

    name: str
    attributes: tuple[Attribute, ...]
    key: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The attribute names, in catalog order."""
        return tuple(a.name for a in self.attributes)


@dataclass(frozen=True)
class Scope:
    """Which rows of a table to fetch. Bounds are half-open: from is inside, to is outside.

    With `cursor_to` but no `cursor_from`, rows without a cursor (null, 0!0!0) belong to the scope; with
    `cursor_from` they do if `with_blank_cursor` says so.
    Key bounds compare the table's primary key as text. Number bounds are whole numbers; the servers spell
    such an attribute as a number or as a text with digits. Rows without a number belong to a scope without
    `number_from`. With `stamp_from` only rows belong to it that were saved at or after that place of the
    source's counter (`CountsChanges`). `attributes` are all that is needed of each row (empty: everything); a
    source may bring more, and leaves out names it does not know.
    """

    table: str
    cursor: str | None = None
    cursor_from: date | None = None
    cursor_to: date | None = None
    key_from: str | None = None
    key_to: str | None = None
    number_attribute: str | None = None
    number_from: int | None = None
    number_to: int | None = None
    page_size: int = 1000
    with_blank_cursor: bool = False
    stamp_from: int | None = None
    attributes: tuple[str, ...] = ()

    @property
    def is_whole_table(self) -> bool:
        """Whether no bound restricts it."""
        numbers = (self.number_from, self.number_to, self.stamp_from)
        return not (self.cursor_from or self.cursor_to or self.key_from or self.key_to or numbers.count(None) < 3)


@dataclass(frozen=True)
class Tombstone:
    """A record that was deleted: its key, and where the source's counter of changes stood."""

    key: str
    stamp: int


@dataclass(frozen=True)
class FetchReport:
    """What a finished fetch can vouch for.

    `complete` claims that `rows` were all rows of the scope when the fetch began; `server_time` is the
    source's own clock before the first row was read.
    """

    rows: int
    requests: int
    bytes: int
    seconds: float
    complete: bool
    server_time: datetime
    notes: tuple[str, ...] = field(default_factory=tuple)


class Fetch(Protocol):
    """A running fetch: iterate once over its batches, then read `report`; `total` grows known early."""

    @property
    def total(self) -> int | None:
        """Rows the source announced, as soon as it has; else None."""

    @property
    def report(self) -> FetchReport:
        """What was fetched; only after the iteration ended."""

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """The batches; raises SourceUnavailable, SourceUntrustworthy, SourceRefused."""


@dataclass(frozen=True)
class Probe:
    """A cheap look at a table: how many rows lie at or after the asked cursor, and the newest of them."""

    count: int
    newest: date | None
    server_time: datetime


class Source(Protocol):
    """A place legacy rows live in. Every method may raise RetryLater or AbortRun errors."""

    name: str

    def describe(self) -> dict[str, TableInfo]:
        """All tables the source shows, by name."""

    def probe(self, table: str, cursor: str | None, since: date | None) -> Probe:
        """One small request: rows with `cursor >= since` (all rows where either is None)."""

    def fetch(self, scope: Scope) -> Fetch:
        """Begin to read the rows of a scope; nothing is requested before the first batch is asked for."""

    def fetch_keys(self, table: str) -> Iterator[tuple[str, ...]]:
        """The primary keys of all rows, as text, in batches."""

    def close(self) -> None:
        """Give connections and sessions back."""


STAMP = "__GlobalStamp"
"""The attribute with the place of the counter at which a row was saved last."""


@runtime_checkable
class CountsChanges(Protocol):
    """A source that numbers all its changes: each save and each delete takes the next place of one counter.

    A stamp that was read before a fetch is the mark for the next one: rows and tombstones from it on are new.
    Such a source takes `Scope.stamp_from`, and the rows of tracked tables carry `STAMP`.
    """

    def read_stamp(self, table: str) -> int:
        """Where the counter stands, by one small request; raises MarkUnusable if the table is not tracked."""

    def count_stamped(self, table: str, stamp: int) -> int:
        """One small request: how many rows of the table were saved at or after a place of the counter."""

    def fetch_tombstones(self, stamp: int) -> Iterator[tuple[str, tuple[Tombstone, ...]]]:
        """Table by table what was deleted at or after a place of the counter, in batches.

        That is a hint: a key may be in use again, and a counter that went back makes old places look new.
        """

    def find_living(self, table: str, keys: Sequence[str]) -> set[str]:
        """Those of the keys that the table has now."""


@dataclass(frozen=True)
class SourceKind:
    """A way to reach legacy rows; a package brings one by an entry point of the group `legacy_sync.sources`.

    `words` is the model of its options. `open` gives the source, not yet connected, and raises SettingsInvalid
    for options that cannot be used.
    """

    words: type[SourceWords]
    open: Callable[[SourceSpec, Settings], Source]
