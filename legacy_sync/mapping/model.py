"""What can a mapping say? One frozen model per word of the mapping language.

A mapping brings rows of one legacy table into one ERP table. Unknown keys are refused. The loader
(`loader.py`) turns files into these models and reports every problem with file and line.
"""

from __future__ import annotations

import hashlib
import re
from datetime import date, timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Policy = Literal["legacy_wins", "erp_wins", "newest_wins", "manual"]
_DURATION = re.compile(r"^\s*(\d+)\s*(s|m|h|d|w)\s*$")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def _duration(value: object) -> object:
    if isinstance(value, str) and (match := _DURATION.match(value)):
        return timedelta(**{_UNITS[match[2]]: int(match[1])})
    if isinstance(value, timedelta):
        return value
    raise ValueError(f'"{value}" is no duration; write a number and a unit s, m, h, d or w, such as 5m or 1d')


def _as_list(value: object) -> object:
    return value if isinstance(value, list | tuple) or value is None else [value]


def _scalar(value: object) -> object:
    """One error for a list or a mapping, not one per type it could have been."""
    if isinstance(value, list | tuple | dict):
        kind = "mapping" if isinstance(value, dict) else "list"
        raise ValueError(f"a {kind} cannot stand here; write a single value")
    return value


def _as_words(value: object) -> object:
    """A word or a list of words; YAML's numbers and booleans are words here too."""
    items = value if isinstance(value, list | tuple) else [value]
    return [str(item).lower() if isinstance(item, bool | int) else item for item in items]


def _no_as_false(value: object) -> object:
    """`otherwise: false` without quotes."""
    return "false" if value is False else value


def _as_typed(value: object) -> object:
    """`cast: date` is short for `cast: {type: date}`; a list is a chain."""
    steps = value if isinstance(value, list | tuple) else [value]
    return [{"type": step} if isinstance(step, str) else step for step in steps]


Duration = Annotated[
    timedelta,
    BeforeValidator(_duration, json_schema_input_type=Annotated[str, Field(pattern=_DURATION.pattern)]),
]
Scalar = Annotated[str | int | float | bool | None, BeforeValidator(_scalar)]
Values = dict[str, Scalar]
"""Values by column."""
Words = Annotated[tuple[str, ...], BeforeValidator(_as_words, json_schema_input_type=str | list[str | int | bool])]
Names = Annotated[tuple[str, ...], BeforeValidator(_as_list, json_schema_input_type=str | list[str])]


class Word(BaseModel):
    """Base of every word: frozen, and no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


# --- casts -------------------------------------------------------------------------------------


class TextCast(Word):
    """Any scalar as text: numbers without a trailing `.0`, booleans as `true`/`false`."""

    type: Literal["text"] = "text"
    strip: bool = Field(default=True, description="remove blanks at both ends")
    case: Literal["keep", "upper", "lower"] = "keep"
    empty_is_null: bool = Field(default=False, description="a blank text is null")
    language: str | None = Field(
        default=None, description="for a JSON object per language: which entry to take, such as DE"
    )


class IntegerCast(Word):
    """A whole number from a number or a text with digits."""

    type: Literal["integer"] = "integer"
    rounding: Literal["exact", "truncate", "half_up"] = Field(
        default="exact", description="exact: a fraction is invalid"
    )


class DecimalCast(Word):
    """A decimal number, rounded to the scale of the ERP column; the decimal sign is a point."""

    type: Literal["decimal"] = "decimal"
    rounding: Literal["half_up", "truncate"] = "half_up"


class BooleanCast(Word):
    """True or false from booleans, 0/1 and words, in any case; other texts are false or invalid."""

    type: Literal["boolean"] = "boolean"
    true: Words = ("true", "1", "yes", "y", "t")
    false: Words = ("false", "0", "no", "n", "f", "nein", "")
    otherwise: Annotated[
        Literal["invalid", "false"],
        BeforeValidator(_no_as_false, json_schema_input_type=Literal["invalid", "false", False]),
    ] = "invalid"


class DateCast(Word):
    """A calendar day from any 4D spelling (d!m!yyyy, ISO, d.m.yyyy, yyyymmdd); 0!0!0 is null.

    For a column with time zone the day becomes midnight in `timezone`.
    """

    type: Literal["date"] = "date"
    timezone: str = Field(default="UTC", description="IANA zone whose midnight a timestamp column gets")
    pivot: int = Field(default=50, description="two-digit years below this are 20xx, others 19xx")


class TimestampCast(Word):
    """An instant from ISO text such as 2025-03-06T04:13:17.687Z; without an offset it is in `timezone`."""

    type: Literal["timestamp"] = "timestamp"
    timezone: str = "UTC"


class SplitLastCast(Word):
    """The part of a text before or after its last separator; no split at the very start or end."""

    type: Literal["split_last"] = "split_last"
    separator: str = "-"
    part: Literal["before", "after"]


class JsonPickCast(Word):
    """One value out of JSON (object or JSON text): in `list`, the last item whose `where` fits, its `value`."""

    type: Literal["json_pick"] = "json_pick"
    list: str | None = Field(default=None, description="key of the list; without it the JSON itself is the object")
    where: dict[str, str] = Field(
        default_factory=dict, description="item keys and the texts they must have, in any case"
    )
    value: str = Field(description="key of the value to take")


Cast = Annotated[
    TextCast | IntegerCast | DecimalCast | BooleanCast | DateCast | TimestampCast | SplitLastCast | JsonPickCast,
    Field(discriminator="type"),
]
Casts = Annotated[tuple[Cast, ...], BeforeValidator(_as_typed)]


# --- fields ------------------------------------------------------------------------------------


class Part(Word):
    """One alternative of `first_of`."""

    from_: Names = Field(alias="from", min_length=1)
    cast: Casts = ()


class Match(Word):
    """One way to find the referenced row: a legacy value, or a column of this row, equals a column there."""

    column: str = Field(description="column of the referenced table")
    from_: str | None = Field(default=None, alias="from", description="legacy attribute that holds the value")
    from_column: str | None = Field(default=None, description="mapped column of this row that holds the value")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.from_ is None) == (self.from_column is None):
            raise ValueError("needs exactly one of `from` and `from_column`")
        return self


class Reference(Word):
    """A foreign key, found by values the legacy rows carry; alternatives are tried in order."""

    to: str = Field(description="referenced ERP table")
    match: tuple[Match, ...] = Field(min_length=1)
    if_missing: Literal["park", "null", "reject"] = Field(
        "park", description="park: wait for the parent; null: load without; reject: refuse for good"
    )


class FieldMapping(Word):
    """Where one ERP column gets its value from, and what happens when it gets none.

    An attribute that the record does not carry at all leaves the column as it is; a new row then
    takes `on_insert` of the target, or `default`.
    """

    from_: Names = Field(
        default=(), alias="from", description="legacy attribute; of several spellings the first delivered"
    )
    first_of: tuple[Part, ...] = Field(default=(), description="alternatives; the first that is not blank")
    value: Scalar = Field(default=None, description="a constant")
    reference: Reference | None = None
    cast: Casts = Field(
        default=(), description="conversion, or a chain of them; by default the one that fits the column"
    )
    required: bool = Field(default=False, description="null or blank parks the row")
    default: Scalar = Field(default=None, description="value for null")
    if_null: Literal["default", "keep"] = Field(default="default", description="keep: leave the ERP value as it is")
    if_invalid: Literal["park", "default", "keep"] = Field(
        default="park", description="what a value that does not cast does"
    )
    conflict: Policy | None = Field(default=None, description="overrides the policy of the mapping for this column")

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        origins = [bool(self.from_), bool(self.first_of), self.value is not None, self.reference is not None]
        if sum(origins) != 1:
            raise ValueError("needs exactly one of `from`, `first_of`, `value` and `reference`")
        return self

    @property
    def attributes(self) -> tuple[str, ...]:
        """Every legacy attribute this field may read."""
        parts = [name for part in self.first_of for name in part.from_]
        matches = [m.from_ for m in self.reference.match if m.from_] if self.reference else []
        return tuple(dict.fromkeys([*self.from_, *parts, *matches]))


class Rule(Word):
    """A condition every row must meet, checked after the casts."""

    name: str
    column: str
    matches: str | None = Field(default=None, description="regular expression (RE2) for the whole value")
    one_of: Words | None = None
    min: float | None = None
    max: float | None = None
    severity: Literal["park", "warn"] = "park"

    @model_validator(mode="after")
    def _has_condition(self) -> Self:
        if self.matches is None and self.one_of is None and self.min is None and self.max is None:
            raise ValueError("needs a condition: `matches`, `one_of`, `min` or `max`")
        return self


# --- both ends ---------------------------------------------------------------------------------


class FourDSource(Word):
    """A table of the 4D REST server."""

    type: Literal["four_d"] = "four_d"
    table: str
    key: Names = Field(default=("__KEY",), description="attributes that name a record for ever")
    cursor: str | None = Field(default=None, description="attribute that orders changes, such as modified_date")
    page_size: int = Field(default=1000, ge=1, le=100_000, description="rows per HTTP request")


class Target(Word):
    """The ERP table, and which of its columns are not ours."""

    table: str
    natural_key: Names = Field(
        default=(), description="columns that recognise a row imported by other means (adoption)"
    )
    owned_by_erp: Names = Field(default=(), description="columns of ERP users; never in an UPDATE")
    on_insert: Values = Field(
        default_factory=dict, description="values of a new row for columns that are not mapped or not delivered"
    )
    created_at: str | None = Field(default=None, description="column that gets the time of the insert")
    updated_at: str | None = Field(default=None, description="column that gets the time of each write")


class NoPartitions(Word):
    """The whole table is one partition."""

    type: Literal["none"] = "none"


class WindowPartitions(Word):
    """Calendar windows on the cursor; the first is open to the past and takes rows without a cursor."""

    type: Literal["window"] = "window"
    size: Literal["day", "week", "month"] = "month"
    start: date
    timezone: str = "Europe/Berlin"


class KeyRangePartitions(Word):
    """Equal slices of a key made of hex digits (UUIDs)."""

    type: Literal["key_range"] = "key_range"
    buckets: Literal[4, 8, 16, 32, 64] = 16


Partitions = Annotated[NoPartitions | WindowPartitions | KeyRangePartitions, Field(discriminator="type")]


class ChangeDetection(Word):
    """How an incremental run knows what to fetch."""

    strategy: Literal["timestamp", "fingerprint"] = Field(
        description="timestamp: rows whose cursor is not before the watermark minus lookback; fingerprint: all rows"
    )
    lookback: Duration = timedelta(days=1)


class Conflicts(Word):
    """Who wins when both sides changed the same column since they last agreed."""

    policy: Policy = Field(
        default="manual",
        description="newest_wins waits for a person, like manual, where the ERP has no time of the edit",
    )
    legacy_modified: str = Field(default="__TIMESTAMP", description="attribute compared by newest_wins")


class Adoption(Word):
    """What to do with differences when a row is found in the ERP for the first time."""

    policy: Literal["legacy_wins", "erp_wins", "manual"] = "legacy_wins"


class Deletes(Word):
    """What happens to rows that a complete fetch no longer contains."""

    policy: Literal["ignore", "report", "set"] = "ignore"
    set: Values = Field(default_factory=dict, description="columns of a soft delete")
    max_share: float = Field(
        default=0.02, gt=0, le=1, description="more than this share (at least one row) stops the run"
    )


class Backfill(Word):
    """A blank column of the referenced row that takes the value of this row."""

    column: str = Field(description="mapped column of this row")
    through: str = Field(description="reference column of this row")
    into: str = Field(description="column of the referenced row, written only while it is blank")


class Schedule(Word):
    """When runs start: a cron line in a time zone, or an interval."""

    cron: str | None = None
    every: Duration | None = None
    timezone: str = "Europe/Berlin"

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.cron is None) == (self.every is None):
            raise ValueError("needs exactly one of `cron` and `every`")
        return self


_WITHOUT_MEANING: Any = {
    "description": True,
    "group": True,
    "schedule": True,
    "depends_on": True,
    "max_parked_share": True,
    "source": {"page_size"},
}


class Mapping(Word):
    """One ERP table and where its rows come from."""

    entity: str = Field(description="name of the entity; the file carries it too")
    description: str = ""
    group: str = Field(default="default", description="group in the Dagster UI")
    source: FourDSource
    target: Target
    partitions: Partitions = Field(default_factory=NoPartitions)
    change_detection: ChangeDetection | None = Field(
        None, description="by default timestamp when the source has a cursor, else fingerprint"
    )
    fields: dict[str, FieldMapping] = Field(min_length=1)
    rules: tuple[Rule, ...] = ()
    backfill: tuple[Backfill, ...] = ()
    conflicts: Conflicts = Field(default_factory=Conflicts)
    adoption: Adoption = Field(default_factory=Adoption)
    deletes: Deletes = Field(default_factory=Deletes)
    depends_on: Names = Field(
        default=(), description="entities that must be loaded before, besides the referenced ones"
    )
    schedule: Schedule | None = None
    max_parked_share: float = Field(
        default=0.5, ge=0, le=1, description="a load that parks more is aborted, nothing written"
    )

    @property
    def version(self) -> str:
        """A short hash of everything that decides what is written; changes when the meaning changes."""
        meaning = self.model_dump_json(exclude=_WITHOUT_MEANING)
        return hashlib.blake2b(meaning.encode(), digest_size=8).hexdigest()

    @property
    def columns(self) -> tuple[str, ...]:
        """The mapped ERP columns, in file order."""
        return tuple(self.fields)

    @property
    def strategy(self) -> Literal["timestamp", "fingerprint"]:
        """The change detection in force."""
        if self.change_detection:
            return self.change_detection.strategy
        return "timestamp" if self.source.cursor else "fingerprint"

    @property
    def lookback(self) -> timedelta:
        """How far before the watermark an incremental run reads again."""
        return self.change_detection.lookback if self.change_detection else timedelta(days=1)

    @property
    def referenced_tables(self) -> tuple[str, ...]:
        """ERP tables this one points to, without itself."""
        tables = [f.reference.to for f in self.fields.values() if f.reference]
        return tuple(dict.fromkeys(t for t in tables if t != self.target.table))

    def policy_of(self, column: str) -> Policy:
        """The conflict policy of one column."""
        return self.fields[column].conflict or self.conflicts.policy


class Overlay(Word):
    """What one environment says differently (`environments/<name>.yaml`)."""

    description: str = ""
    sources: dict[str, Values] = Field(default_factory=dict, description="options of a kind of source, by kind")
    landing_keep: int = Field(default=3, ge=1, description="full fetches of each partition the landing keeps")
    defaults: dict[str, Any] = Field(default_factory=dict, description="said for all mappings; a mapping wins")
    entities: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="said for one mapping, by entity; wins over the mapping file"
    )


AnyJson = dict[str, Any]
