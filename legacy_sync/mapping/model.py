"""What can a mapping say? One frozen model per word of the mapping language.

A mapping brings rows of one legacy table into one ERP table. Unknown keys are refused. The loader
(`loader.py`) turns files into these models and reports every problem with file and line.
"""

from __future__ import annotations

import hashlib
import re
from datetime import date, timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from legacy_sync.mapping.retry import Pause, Rerun, Retry
from legacy_sync.mapping.word import Word

ANYTHING = "*"
"""in `where`: any value that is not blank"""

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


def _as_word_keys(value: object) -> object:
    """YAML's numbers and booleans are words as keys, too."""
    if not isinstance(value, dict):
        return value
    return {str(key).lower() if isinstance(key, bool | int) else key: item for key, item in value.items()}


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


# --- casts -------------------------------------------------------------------------------------


class TextCast(Word):
    """Any scalar as text: numbers without a trailing `.0`, booleans as `true`/`false`."""

    type: Literal["text"] = "text"
    strip: bool = Field(default=True, description="remove blanks at both ends")
    case: Literal["keep", "upper", "lower"] = Field(default="keep", description="capital or small letters")
    empty_is_null: bool = Field(default=False, description="a blank text is null")
    cut: bool = Field(default=False, description="a text too long for the ERP column is cut off, counted as a warning")
    language: str | None = Field(
        default=None, description="for a JSON object per language: which entry to take, such as DE"
    )


class NumberSpelling(Word):
    """How people wrote numbers into texts; shared by the casts to integer and decimal."""

    decimal_comma: bool = Field(
        default=False,
        description='"5,90" is 5.90 and "1.234,50" is 1234.50: of two signs the last one is the decimal sign',
    )
    clean: bool = Field(
        default=False,
        description='letters and blanks around a number are dropped ("12 Stk" is 12); without any digit: null',
    )
    zero_is_null: bool = Field(default=False, description="0 means that there is no value")


class IntegerCast(NumberSpelling):
    """A whole number from a number or a text with digits."""

    type: Literal["integer"] = "integer"
    rounding: Literal["exact", "truncate", "half_up"] = Field(
        default="exact", description="exact: a fraction is invalid"
    )


class DecimalCast(NumberSpelling):
    """A decimal number, rounded to the scale of the ERP column; the decimal sign is a point."""

    type: Literal["decimal"] = "decimal"
    rounding: Literal["half_up", "truncate"] = Field(
        default="half_up", description="what becomes of places that the ERP column does not hold"
    )
    factor: float = Field(default=1, gt=0, description="multiplied by this, such as 0.1 for millimetres in centimetres")
    positive: bool = Field(default=False, description="zero and less mean that there is no value")


class BooleanCast(Word):
    """True or false from booleans, 0/1 and words, in any case; other texts are false or invalid."""

    type: Literal["boolean"] = "boolean"
    true: Words = Field(default=("true", "1", "yes", "y", "t"), description="words that mean true")
    false: Words = Field(
        default=("false", "0", "no", "n", "f", "nein", ""), description='words that mean false; "" is a blank text'
    )
    otherwise: Annotated[
        Literal["invalid", "false"],
        BeforeValidator(_no_as_false, json_schema_input_type=Literal["invalid", "false", False]),
    ] = Field(default="invalid", description="what all other words mean")
    negate: bool = Field(default=False, description="true becomes false and false true")


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
    timezone: str = Field(default="UTC", description="IANA zone of a text without an offset")


class SplitLastCast(Word):
    """The part of a text before or after its last separator; no split at the very start or end."""

    type: Literal["split_last"] = "split_last"
    separator: str = Field(default="-", description="where the text is split, at its last one")
    part: Literal["before", "after"] = Field(description="which part to take")


class JsonPickCast(Word):
    """One value out of JSON (object or JSON text): in `list`, the last item whose `where` fits, its `value`."""

    type: Literal["json_pick"] = "json_pick"
    list: str | None = Field(default=None, description="key of the list; without it the JSON itself is the object")
    where: dict[str, str] = Field(
        default_factory=dict, description="item keys and the texts they must have, in any case"
    )
    value: str = Field(description="key of the value to take")


class MapCast(Word):
    """One code for another, such as R for INVOICE; case and blanks around the code do not count."""

    type: Literal["map"] = "map"
    values: Annotated[dict[str, Scalar], BeforeValidator(_as_word_keys)] = Field(
        min_length=1, description="ERP value (or null) by legacy code"
    )
    others: Literal["invalid", "null", "keep"] = Field(
        default="invalid", description="codes that are not listed: invalid, null (then `default`), or as they are"
    )


class ReplaceCast(Word):
    """A text with every match of a regular expression (RE2) replaced."""

    type: Literal["replace"] = "replace"
    pattern: str = Field(description="regular expression (RE2)")
    by: str = Field(default="", description="the new text; \\1 is the first group of the pattern")


class EmailCast(Word):
    """An e-mail address in lower case: one @, a name before it and a dot in the domain; anything else is invalid."""

    type: Literal["email"] = "email"
    repair: bool = Field(
        default=False,
        description="mends blanks, a first _ where the @ is missing, a first hyphen in a domain without dot",
    )


class SlugCast(Word):
    """A text as it may stand in an address: lower case letters, digits and hyphens, cut to the column."""

    type: Literal["slug"] = "slug"


class HashCast(Word):
    """A short fingerprint of a text: the same text always gives the same hexadecimal digits."""

    type: Literal["hash"] = "hash"
    digits: int = Field(default=20, ge=8, le=64, description="how many hexadecimal digits")


Cast = Annotated[
    TextCast
    | IntegerCast
    | DecimalCast
    | BooleanCast
    | DateCast
    | TimestampCast
    | SplitLastCast
    | JsonPickCast
    | MapCast
    | ReplaceCast
    | EmailCast
    | SlugCast
    | HashCast,
    Field(discriminator="type"),
]
Casts = Annotated[tuple[Cast, ...], BeforeValidator(_as_typed)]


# --- fields ------------------------------------------------------------------------------------


class Compute(Word):
    """A value by one of pyERP's own rules (`legacy_sync/pyerp/`), from one or several legacy values."""

    rule: str = Field(description="name of the rule")
    inputs: dict[str, Part] = Field(default_factory=dict, description="what the rule asks for, by its names")
    options: Values = Field(default_factory=dict, description="constants of the rule, such as a tax rate")


class Part(Word):
    """One value of a record: an attribute, alternatives, several joined, or what a rule makes of them."""

    from_: Names = Field(
        default=(), alias="from", description="legacy attribute; of several spellings the first delivered"
    )
    first_of: tuple[Part, ...] = Field(default=(), description="alternatives; the first that is not blank")
    join: tuple[Part, ...] = Field(default=(), description="several values as one text; blank ones are left out")
    separator: str = Field(default="", description="stands between joined values")
    compute: Compute | None = Field(default=None, description="a rule of pyERP")
    value: Scalar = Field(default=None, description="a constant")
    cast: Casts = Field(
        default=(), description="conversion, or a chain of them; by default the one that fits the column"
    )
    prefix: str = Field(default="", description="stands before a value that is not blank")
    suffix: str = Field(default="", description="stands behind a value that is not blank")
    default: Scalar = Field(default=None, description="value for null")
    optional: bool = Field(default=False, description="the attribute need not exist in the legacy table")

    @property
    def origins(self) -> list[str]:
        """The words that say where the value comes from."""
        words = {
            "from": bool(self.from_),
            "first_of": bool(self.first_of),
            "join": bool(self.join),
            "compute": self.compute is not None,
            "value": self.value is not None,
        }
        return [word for word, is_said in words.items() if is_said]

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if len(self.origins) != 1:
            raise ValueError("needs exactly one of `from`, `first_of`, `join`, `compute` and `value`")
        return self

    @property
    def parts(self) -> tuple[Part, ...]:
        """The values this one is made of."""
        inputs = tuple(self.compute.inputs.values()) if self.compute else ()
        return (*self.first_of, *self.join, *inputs)

    @property
    def attributes(self) -> tuple[str, ...]:
        """Every legacy attribute this value may read."""
        inner = [name for part in self.parts for name in part.attributes]
        return tuple(dict.fromkeys([*self.from_, *inner]))


class Found(Part):
    """A value that is looked for in another table: of the record, or of a column of this row."""

    from_column: str | None = Field(default=None, description="mapped column of this row that holds the value")

    @property
    def origins(self) -> list[str]:
        """The words that say where the value comes from."""
        return [*super().origins, *(["from_column"] if self.from_column else [])]

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if len(self.origins) != 1:
            raise ValueError("needs exactly one of `from`, `from_column`, `first_of`, `join`, `compute` and `value`")
        return self


class Match(Found):
    """One way to find the referenced row: a value, or several, equal columns there."""

    column: str | None = Field(
        default=None, description="column of the referenced table; `box_id.code` goes on through its reference"
    )
    key: str | None = Field(
        default=None,
        description="instead of a column: an attribute of `other_keys` in the mapping that loads the table",
    )
    columns: dict[str, Found] = Field(default_factory=dict, description="several columns that must all be equal")
    compare: Literal["equal", "prefix", "any_of"] = Field(
        default="equal",
        description="prefix: the longest column value the text begins with; any_of: the first of several lines",
    )
    pick: str | None = Field(
        default=None, description="column to order by: of several rows the first is meant, instead of none"
    )

    @property
    def values(self) -> dict[str, Found]:
        """What is looked for, by column of the referenced table; a single `key` stands under its own name."""
        return self.columns or {self.column or f"key {self.key}": self}

    @property
    def attributes(self) -> tuple[str, ...]:
        """Every legacy attribute this match reads."""
        found = self.columns.values() if self.columns else ()
        return tuple(dict.fromkeys([*super().attributes, *(name for part in found for name in part.attributes)]))

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if sum(map(bool, (self.column, self.key, self.columns))) != 1:
            raise ValueError("needs exactly one of `column`, `key` and `columns`")
        if self.columns and self.origins:
            raise ValueError("`columns` have their own values; move this one below its column")
        if not self.columns and len(self.origins) != 1:
            raise ValueError("needs exactly one of `from`, `from_column`, `first_of`, `join`, `compute` and `value`")
        return self


class Create(Word):
    """A row made for the records that find none, inside the same transaction."""

    by: Names = Field(min_length=1, description="columns that tell such rows apart; a row that has them is used")
    values: dict[str, Found] = Field(min_length=1, description="columns of the new row")
    created_at: str | None = Field(default=None, description="column that gets the time of the insert")
    updated_at: str | None = Field(default=None, description="column that gets the time of the insert, too")
    stands_in: bool = Field(
        default=False, description="only until the row that was meant arrives; the record is then linked anew"
    )


class Reference(Word):
    """A foreign key, found by values the legacy rows carry; alternatives are tried in order."""

    to: str = Field(description="referenced ERP table")
    match: tuple[Match, ...] = Field(min_length=1, description="how the row is found; alternatives in order")
    if_missing: Literal["park", "null", "reject", "create"] = Field(
        "park",
        description="park: wait for the parent; null: load without; reject: refuse for good; create: see `create`",
    )
    if_blank: Literal["park", "null"] | None = Field(
        None, description="the record names no row at all; by default null with `if_missing: null`, else park"
    )
    if_ambiguous: Literal["park", "null"] = Field("park", description="several rows fit: wait, or load without")
    create: Create | None = Field(default=None, description="the row that is made with `if_missing: create`")

    @model_validator(mode="after")
    def _create_fits(self) -> Self:
        if (self.if_missing == "create") != (self.create is not None):
            raise ValueError("`create` and `if_missing: create` belong together")
        return self

    @property
    def parks_blank(self) -> bool:
        """Whether a record that names no row waits."""
        return self.if_blank == "park" if self.if_blank else self.if_missing != "null"

    @property
    def attributes(self) -> tuple[str, ...]:
        """Every legacy attribute a reference reads."""
        created = self.create.values.values() if self.create else ()
        return tuple(dict.fromkeys(name for part in (*self.match, *created) for name in part.attributes))


class ComposePart(Word):
    """One piece of a composed text: a constant, a column of this row, or one of a related row."""

    text: str | None = Field(default=None, description="a constant")
    column: str | None = Field(default=None, description="column of this row, or of the row `through` or `to` names")
    through: str | None = Field(default=None, description="reference column of this row")
    to: str | None = Field(default=None, description="another ERP table; exactly one of its rows must fit `where`")
    where: dict[str, str] = Field(default_factory=dict, description="column of that table: column of this row")
    prefix: str = Field(default="", description="stands before a value that is not blank")
    suffix: str = Field(default="", description="stands behind a value that is not blank")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.text is None) == (self.column is None):
            raise ValueError("needs exactly one of `text` and `column`")
        if self.through and self.to:
            raise ValueError("`through` and `to` exclude each other")
        if bool(self.to) != bool(self.where):
            raise ValueError("`to` and `where` belong together")
        return self


class Composition(Word):
    """A text made of columns, after references and suffixes are known; blank pieces are left out."""

    parts: tuple[ComposePart, ...] = Field(min_length=1, description="the pieces, from left to right")
    separator: str = Field(default="", description="stands between pieces")


class FieldMapping(Part):
    """Where one ERP column gets its value from, and what happens when it gets none.

    An attribute that the record does not carry at all leaves the column as it is; a new row then
    takes `on_insert` of the target, or `default`.
    """

    reference: Reference | None = Field(default=None, description="the column is a foreign key, found by values")
    compose: tuple[Composition, ...] = Field(
        default=(), description="texts made of other columns, tried while the value is blank"
    )
    erp_rule: str | None = Field(
        default=None, description="a rule of pyERP that also looks at the ERP row (`legacy_sync/pyerp/`)"
    )
    required: bool = Field(default=False, description="null or blank parks the row")
    if_null: Literal["default", "keep"] = Field(default="default", description="keep: leave the ERP value as it is")
    if_invalid: Literal["park", "default", "keep"] = Field(
        default="park", description="what a value that does not cast does"
    )
    conflict: Policy | None = Field(default=None, description="overrides the policy of the mapping for this column")

    @property
    def origins(self) -> list[str]:
        """The words that say where the value comes from."""
        return [*super().origins, *(["reference"] if self.reference else [])]

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if len(self.origins) > 1 or not (self.origins or self.compose or self.erp_rule):
            raise ValueError("needs exactly one of `from`, `first_of`, `join`, `compute`, `value` and `reference`")
        return self

    @property
    def attributes(self) -> tuple[str, ...]:
        """Every legacy attribute this field may read."""
        referenced = self.reference.attributes if self.reference else ()
        return tuple(dict.fromkeys([*super().attributes, *referenced]))


class Rule(Word):
    """A condition every row must meet, checked after the casts."""

    name: str = Field(description="what reports call it")
    column: str = Field(description="mapped column")
    matches: str | None = Field(default=None, description="regular expression (RE2) for the whole value")
    one_of: Words | None = Field(default=None, description="the values that are allowed")
    min: float | None = Field(default=None, description="the least number")
    max: float | None = Field(default=None, description="the greatest number")
    equals: str | None = Field(default=None, description="legacy attribute with the same number, but for `tolerance`")
    tolerance: float = Field(default=0.01, ge=0, description="how far the number of `equals` may be off")
    severity: Literal["park", "warn"] = Field(default="park", description="warn: load the row and count it")

    @model_validator(mode="after")
    def _has_condition(self) -> Self:
        if all(word is None for word in (self.matches, self.one_of, self.min, self.max, self.equals)):
            raise ValueError("needs a condition: `matches`, `one_of`, `min`, `max` or `equals`")
        return self


# --- both ends ---------------------------------------------------------------------------------


class Explode(Word):
    """One record becomes many: each item of a list inside a JSON attribute is a record of its own.

    The item's values stand beside those of the record; where both have a name, the item's counts.
    """

    attribute: str = Field(description="attribute with the JSON (object, list or JSON text)")
    list: str | None = Field(default=None, description="key of the list; without it the JSON itself is the list")


class Source(Word):
    """A table of the 4D REST server, or of a source described in `mappings/sources/`."""

    server: str = Field(default="four_d", description="name of the source; four_d needs no file of its own")
    table: str = Field(description="legacy table")
    key: Names = Field(default=("__KEY",), description="attributes that name a record for ever")
    key_cast: Casts = Field(default=(), description="conversion of the key, for keys that people typed")
    other_keys: Names = Field(
        default=(), description="further attributes that name a record; references of other mappings may use them"
    )
    duplicates: Literal["park", "last_wins", "first_wins"] = Field(
        default="park", description="several records with one key in one fetch: wait, or which one counts"
    )
    where: dict[str, Words] = Field(
        default_factory=dict,
        description='only records with these values are meant; "" fits what is blank, "*" what is not',
    )
    explode: Explode | None = Field(default=None, description="each item of a list is a record of its own")
    cursor: str | None = Field(default=None, description="attribute that orders changes, such as modified_date")
    page_size: int = Field(default=1000, ge=1, le=100_000, description="rows per HTTP request")

    @property
    def feed(self) -> tuple[str, str, str | None]:
        """What two mappings must have in common to share the fetched rows."""
        return (self.server, self.table, self.cursor)

    @property
    def attributes(self) -> tuple[str, ...]:
        """Every legacy attribute that says which records are meant, what names them and when they changed."""
        listed = (self.explode.attribute,) if self.explode else ()
        cursor = (self.cursor,) if self.cursor else ()
        return tuple(dict.fromkeys([*self.key, *self.other_keys, *self.where, *listed, *cursor]))


class Target(Word):
    """The ERP table, and which of its columns are not ours."""

    table: str = Field(description="ERP table")
    natural_key: Names = Field(
        default=(), description="columns that recognise a row imported by other means (adoption)"
    )
    owned_by_erp: Names = Field(default=(), description="columns of ERP users; never in an UPDATE")
    on_insert: Values = Field(
        default_factory=dict, description="values of a new row for columns that are not mapped or not delivered"
    )
    created_at: str | None = Field(default=None, description="column that gets the time of the insert")
    updated_at: str | None = Field(default=None, description="column that gets the time of each write")
    rows: Literal["all", "existing"] = Field(
        default="all", description="existing: rows are found by the natural key and updated, never inserted"
    )


class NoPartitions(Word):
    """The whole table is one partition."""

    type: Literal["none"] = "none"


class WindowPartitions(Word):
    """Calendar windows on the cursor; the first is open to the past and takes rows without a cursor."""

    type: Literal["window"] = "window"
    size: Literal["day", "week", "month"] = Field(default="month", description="length of a window")
    start: date = Field(description="first day of the first window, which also takes everything older")
    timezone: str = Field(default="Europe/Berlin", description="IANA zone in which days begin")


class KeyRangePartitions(Word):
    """Equal slices of a key made of hex digits (UUIDs)."""

    type: Literal["key_range"] = "key_range"
    buckets: Literal[4, 8, 16, 32, 64] = Field(default=16, description="how many slices")


class NumberRangePartitions(Word):
    """Slices of a whole number, such as a document's; the first and the last are open.

    Tables that belong together (a unit) are cut by the number they share.
    """

    type: Literal["number_range"] = "number_range"
    attribute: str = Field(description="attribute that holds the number")
    size: int = Field(default=5000, ge=1, description="numbers per slice")
    count: int = Field(default=24, ge=2, le=100, description="how many slices; the last one has no end")


Partitions = Annotated[
    NoPartitions | WindowPartitions | KeyRangePartitions | NumberRangePartitions, Field(discriminator="type")
]


Strategy = Literal["timestamp", "global_stamp", "fingerprint"]


class ChangeDetection(Word):
    """How an incremental run knows what to fetch."""

    strategy: Strategy = Field(
        description="timestamp: rows whose cursor is not before the watermark minus lookback; global_stamp: what 4D's"
        " counter of all changes says (data change tracking must be on for the table); fingerprint: all rows"
    )
    lookback: Duration = Field(
        default=timedelta(days=1), description="how far before the watermark is read again; one day or more for days"
    )
    full_every: Duration | None = Field(
        default=None, description="all rows are read again this long after the last time, whatever the strategy"
    )
    fallback: Literal["full", "stop"] = Field(
        default="full",
        description="when the watermark cannot be used (4D's counter or clock went back, tracking is off):"
        " read all rows, or stop and say so",
    )


class Conflicts(Word):
    """Who wins when both sides changed the same column since they last agreed."""

    policy: Policy = Field(
        default="manual",
        description="newest_wins waits for a person, like manual, where the ERP has no time of the edit",
    )
    legacy_modified: str = Field(default="__TIMESTAMP", description="attribute compared by newest_wins")


class Adoption(Word):
    """What to do with differences when a row is found in the ERP for the first time."""

    policy: Literal["legacy_wins", "erp_wins", "manual"] = Field(
        default="legacy_wins", description="whose values count; manual: the ERP's, and the differences are listed"
    )


class Deletes(Word):
    """What happens to rows whose record is gone: deleted in 4D, or no longer one that `where` means."""

    policy: Literal["ignore", "report", "set", "delete"] = Field(
        default="ignore",
        description="report: count them; set: write the columns of `set`; delete: remove the ERP row, unless"
        " other rows refer to it",
    )
    edited: Literal["legacy_wins", "erp_wins", "manual"] | None = Field(
        default=None,
        description="rows that people edited in the ERP since. legacy_wins: the policy all the same (as without a word"
        " with `set`); erp_wins: they stay; manual: they stay and wait as conflicts (as without a word with `delete`)",
    )
    in_erp: Literal["legacy_wins", "erp_wins", "manual"] = Field(
        default="manual",
        description="the reverse, rows that were deleted in the ERP and whose record changes. legacy_wins: they are"
        " inserted again; erp_wins: they stay deleted; manual: the same, and they wait as conflicts",
    )
    sweep: Duration | None = Field(
        default=None, description="the list of all keys is read and compared this long after the last time"
    )
    set: Values = Field(default_factory=dict, description="columns of a soft delete")
    max_share: float = Field(
        default=0.02, gt=0, le=1, description="more than this share (at least one row) stops the run"
    )

    @property
    def policy_of_edited(self) -> Literal["legacy_wins", "erp_wins", "manual"]:
        """Who wins where the record is gone and people edited the row."""
        return self.edited or ("legacy_wins" if self.policy == "set" else "manual")


class Backfill(Word):
    """A blank column of the referenced row that takes the value of this row."""

    column: str = Field(description="mapped column of this row")
    through: str = Field(description="reference column of this row")
    into: str = Field(description="column of the referenced row, written only while it is blank")


class Suffix(Word):
    """Rows that the ERP could not tell apart get _2, _3 … in the order of `order`; a number once given stays."""

    within: Names = Field(min_length=1, description="columns that must be unique together")
    on: Names = Field(min_length=1, description="text columns that get the suffix")
    order: str = Field(description="column that says who comes first")
    separator: str = Field(default="_", description="stands before the number")


class Derive(Word):
    """A column of the referenced row that follows from its children, by one of pyERP's own rules."""

    rule: str = Field(description="name of the rule (`legacy_sync/pyerp/`)")
    through: str = Field(description="reference column of this row")
    into: str = Field(description="column of the referenced row")


class Unit(Word):
    """Rows that appear and change together: all rows of one `key`, in all mappings that name this unit."""

    name: str = Field(description="the same in every mapping of the unit")
    key: str = Field(description="attribute that all rows of one document share, in every mapping of the unit")


class Schedule(Word):
    """When runs start: a cron line in a time zone, or an interval."""

    cron: str | None = Field(default=None, description="minute, hour, day, month and weekday, such as 0 2 * * *")
    every: Duration | None = Field(default=None, description="one minute or more")
    timezone: str = Field(default="Europe/Berlin", description="IANA zone of the cron line")
    only_after: Names = Field(
        default=(),
        description="entities whose last run must have succeeded since their own schedule's last tick (without a"
        " schedule: since the last tick of this one); else this tick is left out and says why",
    )

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.cron is None) == (self.every is None):
            raise ValueError("needs exactly one of `cron` and `every`")
        return self


_WITHOUT_MEANING: Any = {
    "description": True,
    "enabled": True,
    "group": True,
    "schedule": True,
    "depends_on": True,
    "max_parked_share": True,
    "retry": True,
    "rerun": True,
    "source": {"page_size"},
}


class Mapping(Word):
    """One ERP table and where its rows come from."""

    entity: str = Field(description="name of the entity; the file carries it too")
    description: str = Field(default="", description="for people; shown in Dagster")
    enabled: bool = Field(default=True, description="false: as if the file were not there")
    group: str = Field(default="default", description="group in the Dagster UI")
    source: Source = Field(description="where the records come from")
    target: Target = Field(description="where the rows go")
    partitions: Partitions = Field(
        default_factory=NoPartitions, description="how the table is cut into pieces; by default not at all"
    )
    change_detection: ChangeDetection | None = Field(
        None, description="by default timestamp when the source has a cursor, else fingerprint"
    )
    fields: dict[str, FieldMapping] = Field(min_length=1, description="the columns")
    rules: tuple[Rule, ...] = Field(default=(), description="conditions that every row must meet")
    backfill: tuple[Backfill, ...] = Field(default=(), description="blank columns of parents")
    suffixes: tuple[Suffix, ...] = Field(default=(), description="numbers for rows that the ERP could not tell apart")
    derive: tuple[Derive, ...] = Field(default=(), description="columns of parents that follow from their children")
    unit: Unit | None = Field(default=None, description="what is loaded together with other mappings")
    conflicts: Conflicts = Field(default_factory=Conflicts, description="both sides changed a column")
    adoption: Adoption = Field(default_factory=Adoption, description="a row is in the ERP already")
    deletes: Deletes = Field(default_factory=Deletes, description="a row is gone from the legacy table")
    depends_on: Names = Field(
        default=(), description="entities that must be loaded before, besides the referenced ones"
    )
    schedule: Schedule | None = Field(default=None, description="when runs start, besides those of the change sensor")
    max_parked_share: float = Field(
        default=0.5, ge=0, le=1, description="a load that parks more is aborted, nothing written"
    )
    retry: Retry = Field(
        default_factory=Retry,
        description="a part of a load that met a deadlock, a lock or a lost connection is loaded again as a whole",
    )
    rerun: Rerun = Field(default_factory=Rerun, description="a failed step is started again in Dagster")

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
    def attributes(self) -> tuple[str, ...]:
        """Every legacy attribute the mapping may read."""
        own = [name for field in self.fields.values() for name in field.attributes]
        own += [rule.equals for rule in self.rules if rule.equals]
        own += [self.unit.key] if self.unit else []
        own += [self.partitions.attribute] if isinstance(self.partitions, NumberRangePartitions) else []
        return tuple(dict.fromkeys([*self.source.attributes, *own, self.conflicts.legacy_modified]))

    @property
    def strategy(self) -> Strategy:
        """The change detection in force."""
        if self.change_detection:
            return self.change_detection.strategy
        return "timestamp" if self.source.cursor else "fingerprint"

    @property
    def lookback(self) -> timedelta:
        """How far before the watermark an incremental run reads again."""
        return self.change_detection.lookback if self.change_detection else timedelta(days=1)

    @property
    def full_every(self) -> timedelta | None:
        """How long after a fetch of all rows the next one is due; None for never."""
        return self.change_detection.full_every if self.change_detection else None

    @property
    def may_fall_back(self) -> bool:
        """Whether all rows are read when the watermark cannot be used."""
        return self.change_detection is None or self.change_detection.fallback == "full"

    @property
    def referenced_tables(self) -> tuple[str, ...]:
        """ERP tables this one points to, without itself."""
        tables = [f.reference.to for f in self.fields.values() if f.reference]
        return tuple(dict.fromkeys(t for t in tables if t != self.target.table))

    @property
    def composed(self) -> dict[str, set[str]]:
        """Columns with text of other tables, and which tables; references are followed by their column."""
        found: dict[str, set[str]] = {}
        for name, field in self.fields.items():
            for part in (part for composition in field.compose for part in composition.parts):
                through = self.fields[part.through].reference if part.through in self.fields else None
                table = part.to or (through.to if through else None)
                if table:
                    found.setdefault(name, set()).add(table)
        return found

    def policy_of(self, column: str) -> Policy:
        """The conflict policy of one column."""
        return self.fields[column].conflict or self.conflicts.policy


class Erp(Word):
    """How patient we are with the ERP database, and how little a load may stand in the way of people."""

    lock_timeout: Pause = Field(
        default=timedelta(seconds=5),
        description="a load that waits longer for a row of somebody else lets all its own rows go and tries again",
    )
    statement_timeout: Pause = Field(
        default=timedelta(hours=1), description="no single statement may take longer; a load has some dozens"
    )


class Overlay(Word):
    """What one environment says differently (`environments/<name>.yaml`)."""

    description: str = Field(default="", description="for people")
    sources: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="options of a source, by its name; they win over its own file"
    )
    erp: Erp = Field(default_factory=Erp, description="the ERP database")
    landing_keep: int = Field(default=3, ge=1, description="full fetches of each partition the landing keeps")
    changes_keep_days: int = Field(
        default=400, ge=1, description="how long the ledger keeps what each run changed; older runs cannot be undone"
    )
    defaults: dict[str, Any] = Field(default_factory=dict, description="said for all mappings; a mapping wins")
    entities: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="said for one mapping, by entity; wins over the mapping file"
    )


AnyJson = dict[str, Any]
