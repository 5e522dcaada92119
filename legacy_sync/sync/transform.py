"""What would the rows of one landed batch look like in the ERP? Pure; columns in, columns out.

The result is a batch for the staging table: the mapped columns in the types of the ERP, the lookup values
of references, and bit masks of the cells that keep their ERP value. Rows that cannot be used are listed
beside it with the reason; they never stop the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from legacy_sync.erp.catalog import Column, ErpTable
from legacy_sync.erp.related import Related
from legacy_sync.erp.staging import (
    KEY,
    MODIFIED,
    ROW,
    UNIT,
    StagedColumn,
    create_column,
    keep_column,
    keep_columns,
    lookup_column,
    other_key_column,
)
from legacy_sync.mapping.model import DecimalCast, FieldMapping, Found, Mapping, Reference, Rule, TimestampCast
from legacy_sync.mapping.preflight import default_cast
from legacy_sync.sources.base import BROKEN
from legacy_sync.sync.casts import apply_casts, run_chain, to_text
from legacy_sync.sync.casts.column import KNOWN_TYPES
from legacy_sync.sync.cells import Cells
from legacy_sync.sync.shaping import shape
from legacy_sync.sync.values import ANY_TEXT, Records, filled_with, raw_row, with_affixes

KEY_SEPARATOR = "|"
LONGEST_KEY = 2500
"""bytes; more does not fit into an index of PostgreSQL"""


@dataclass(frozen=True)
class ParkedRow:
    """One row that cannot be used; `position` counts from the first row of its batch."""

    position: int
    legacy_key: str
    reason: str
    column: str | None
    value: str | None
    message: str


@dataclass
class Transformed:
    """The usable rows of a batch, the others, and what was noticed on the way."""

    staged: pa.RecordBatch
    parked: list[ParkedRow] = field(default_factory=list)
    notes: dict[str, int] = field(default_factory=dict)
    violations: dict[str, int] = field(default_factory=dict)
    kept: frozenset[str] = frozenset()
    """columns of which at least one cell keeps its ERP value"""
    empty: frozenset[str] = frozenset()
    """columns whose attribute was delivered and is null in every row"""


@dataclass(frozen=True)
class _Lookup:
    """A staged value that a reference is found by, or that a created row gets; `column` is the one it must fit."""

    name: str
    found: Found
    column: Column
    is_single: bool
    """alone a blank text means nothing, together with others it is a value"""


class Transform:
    """A mapping bound to the ERP table it fills and to those it refers to; `apply` converts batch after batch."""

    def __init__(self, mapping: Mapping, table: ErpTable, related: Related | None = None) -> None:
        self.mapping = mapping
        self.table = table
        self.related = related or Related({table.name: table})
        self.needs_modified = any(mapping.policy_of(c) == "newest_wins" for c in mapping.columns)
        self.filled: set[str] = set()
        """columns that had another value than their default in any row so far"""
        self.lookups = {name: list(self._lookups(name, r)) for name, r in _references(mapping)}

    @property
    def staged_columns(self) -> list[StagedColumn]:
        """The columns of the staging table, in COPY order."""
        columns = [StagedColumn(ROW, "bigint"), StagedColumn(KEY, "text")]
        if self.needs_modified:
            columns.append(StagedColumn(MODIFIED, "timestamptz"))
        if self.mapping.unit:
            columns.append(StagedColumn(UNIT, "text"))
        columns += [StagedColumn(other_key_column(n), "text") for n in range(len(self.mapping.source.other_keys))]
        columns += [StagedColumn(name, "bigint") for name in keep_columns(len(self.mapping.columns))]
        for name, rule in self.mapping.fields.items():
            column = self.table.columns[name]
            becomes = None if column.type in KNOWN_TYPES or rule.reference else column.full_type
            type_ = "text" if becomes else _staging_type(column)
            columns.append(StagedColumn(name, type_, rule.reference is None, becomes))
            columns += [StagedColumn(x.name, _staging_type(x.column)) for x in self.lookups.get(name, ())]
        return columns

    def apply(self, batch: pa.RecordBatch, first_row: int) -> Transformed:
        """Converts one landed batch; `first_row` is the number of its first row in the staging table."""
        work = _Batch(batch)
        keys = self._keys(work)
        columns: dict[str, pa.Array] = {ROW: pa.array(range(first_row, first_row + work.rows), pa.int64()), KEY: keys}
        columns |= self._side_columns(work)
        keep: dict[str, pa.Array] = {}
        for name, rule in self.mapping.fields.items():
            if rule.reference:
                keep[name] = self._stage_lookups(work, name, columns)
            else:
                self._convert(work, name, rule, columns, keep)
        keep = {name: mask for name, mask in keep.items() if mask is not None and pc.any(mask).as_py()}
        for condition in self.mapping.rules:
            work.check_rule(condition, columns[condition.column])
        columns |= self._masks(keep, work.rows)
        return self._finish(work, columns, frozenset(keep))

    @property
    def unfilled(self) -> list[str]:
        """Columns with an attribute of their own that had nothing but their default in all rows so far."""
        own = [name for name, rule in self.mapping.fields.items() if rule.attributes and not rule.reference]
        late = {name for name, rule in self.mapping.fields.items() if rule.compose or rule.erp_rule}
        return [name for name in own if name not in self.filled | late]

    def keys(self, batch: pa.RecordBatch) -> list[str]:
        """The legacy keys of a landed batch; records without one are left out."""
        return self.keys_of(shape(self.mapping.source, batch).batch)

    def keys_of(self, batch: pa.RecordBatch) -> list[str]:
        """The same for records that were chosen already."""
        return [key for key in self.key_column(batch).to_pylist() if key]

    def key_column(self, batch: pa.RecordBatch) -> pa.Array:
        """The legacy key of each of these records, as text; null or blank for those without one."""
        return self._joined_key(_Batch(batch))

    def _keys(self, work: _Batch) -> pa.Array:
        keys = self._joined_key(work)
        missing = pc.or_(pc.is_null(keys), pc.equal(pc.fill_null(keys, ""), ""))
        work.keys = keys
        work.park_unreadable()
        work.park(missing, "no_key", "/".join(self.mapping.source.key), None, "the record has no key")
        too_long = pc.greater(pc.binary_length(keys), LONGEST_KEY)
        work.park(
            too_long, "key_too_long", "/".join(self.mapping.source.key), keys, f"is longer than {LONGEST_KEY} bytes"
        )
        return keys

    def _joined_key(self, work: _Batch) -> pa.Array:
        cast = self.mapping.source.key_cast
        parts = []
        for name in self.mapping.source.key:
            cells = run_chain(Cells(work.text(name)), cast, ANY_TEXT)
            parts.append(pc.utf8_trim_whitespace(to_text(cells.values)))
        return parts[0] if len(parts) == 1 else pc.binary_join_element_wise(*parts, KEY_SEPARATOR)

    def _side_columns(self, work: _Batch) -> dict[str, pa.Array]:
        """What is staged beside the mapped columns."""
        columns: dict[str, pa.Array] = {}
        if self.needs_modified:
            columns[MODIFIED] = self._modified(work)
        if self.mapping.unit:
            columns[UNIT] = pc.utf8_trim_whitespace(work.text(self.mapping.unit.key))
        for n, name in enumerate(self.mapping.source.other_keys):
            columns[other_key_column(n)] = _null_if_blank(work.text(name))
        return columns

    def _modified(self, work: _Batch) -> pa.Array:
        cells = work.attribute(self.mapping.conflicts.legacy_modified)
        return run_chain(cells, (TimestampCast(),), _ANY_TIMESTAMP).values.cast(pa.timestamp("us", "UTC"))

    def _convert(
        self, work: _Batch, name: str, rule: FieldMapping, columns: dict[str, pa.Array], keep: dict[str, pa.Array]
    ) -> None:
        column = self.table.columns[name]
        is_late = bool(rule.compose or rule.erp_rule)  # its value is known only in the database
        if not rule.origins:
            columns[name] = pa.nulls(work.rows, pa.string())
            return
        cells, original = self._read(work, name, rule, column)
        work.collect_notes(name, cells.notes)
        refused = pc.is_valid(cells.refused) if cells.refused is not None else None
        kept = None if is_late else cells.absent
        if refused is not None and rule.if_invalid == "park":
            work.park_refused(cells, name, original)
        elif refused is not None:
            work.collect_notes(name, {"invalid value replaced": _count(refused)})
            kept = _either(kept, refused) if rule.if_invalid == "keep" else kept
        if is_late:
            columns[name] = cells.values
            return
        null = pc.is_null(cells.values)
        if rule.if_null == "keep":
            kept = _either(kept, null)
        values = filled_with(cells.values, rule.default)
        if rule.required:
            blank = pc.or_(pc.is_null(values), pc.equal(pc.fill_null(to_text(values), ""), ""))
            blank = _without(blank, cells.absent)  # of what was not delivered an existing row has a value
            work.park(blank, "required", name, original, "is required and missing")
        elif not column.nullable and not column.has_default:
            work.park(_without(pc.is_null(values), kept), "null", name, original, "may not be null in the ERP")
        if name not in self.filled and _has_other(values, rule.default):
            self.filled.add(name)
        columns[name] = values if kept is None else pc.if_else(kept, pa.scalar(None, values.type), values)
        if kept is not None:
            keep[name] = kept

    def _read(self, work: _Batch, name: str, rule: FieldMapping, column: Column) -> tuple[Cells, pa.Array | None]:
        """The cast values of one field and the texts they came from."""
        steps = rule.cast or (default_cast(column),)
        cells = work.origin(rule, column)
        original = None if rule.value is not None else cells.values
        if (
            work.rows
            and cells.absent is None
            and (rule.from_ or rule.first_of)
            and cells.values.null_count == work.rows
        ):
            work.empty.add(name)
        if rule.prefix or rule.suffix:
            return apply_casts(with_affixes(run_chain(cells, steps, column), rule), (), column), original
        return apply_casts(cells, steps, column), original

    def _stage_lookups(self, work: _Batch, name: str, columns: dict[str, pa.Array]) -> pa.Array | None:
        """Stages what the reference is found by; returns where nothing of that was delivered."""
        absent: pa.Array | None = pa.repeat(pa.scalar(True), work.rows)
        is_said = False
        for lookup in self.lookups[name]:
            cells = apply_casts(work.value(lookup.found, lookup.column), (), lookup.column)
            if cells.refused is not None:
                work.collect_notes(name, {"value cannot be looked up": _count(pc.is_valid(cells.refused))})
            values = cells.values
            if lookup.is_single and pa.types.is_string(values.type):
                values = _null_if_blank(values)
            columns[lookup.name] = values
            if lookup.found.attributes and absent is not None:
                is_said = True
                absent = None if cells.absent is None else pc.and_(absent, cells.absent)
        return absent if is_said and absent is not None and pc.any(absent).as_py() else None

    def _lookups(self, name: str, reference: Reference) -> Iterator[_Lookup]:
        for n, match in enumerate(reference.match):
            for i, (path, found) in enumerate(match.values.items()):
                if not found.from_column:
                    column = ANY_TEXT if match.key or match.compare != "equal" else self._column(reference.to, path)
                    yield _Lookup(lookup_column(name, n, i), found, column, is_single=not match.columns)
        for i, (path, found) in enumerate(reference.create.values.items() if reference.create else ()):
            if not found.from_column:
                yield _Lookup(create_column(name, i), found, self._column(reference.to, path), is_single=False)

    def _column(self, table: str, path: str) -> Column:
        return self.related.column(table, path) or ANY_TEXT

    def _masks(self, keep: dict[str, pa.Array], rows: int) -> dict[str, pa.Array]:
        masks: dict[str, pa.Array] = {}
        for number, name in enumerate(self.mapping.columns):
            mask_name, bit = keep_column(number)
            mask = masks.get(mask_name)
            if mask is None:
                mask = pa.repeat(pa.scalar(0, pa.int64()), rows)
            if name in keep:
                mask = pc.add(mask, pc.if_else(keep[name], pa.scalar(bit, pa.int64()), pa.scalar(0, pa.int64())))
            masks[mask_name] = mask
        return masks

    def _finish(self, work: _Batch, columns: dict[str, pa.Array], kept: frozenset[str]) -> Transformed:
        names = [c.name for c in self.staged_columns if c.copied]
        staged = pa.RecordBatch.from_arrays([columns[n] for n in names], names)
        if work.parked:
            good = [position not in work.parked for position in range(work.rows)]
            staged = staged.filter(pa.array(good))
        empty = frozenset(work.empty)
        return Transformed(staged, list(work.parked.values()), work.notes, work.violations, kept, empty)


class _Batch(Records):
    """One landed batch while it is being converted, with the rows that dropped out so far."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        super().__init__(batch)
        self.keys: pa.Array = pa.nulls(self.rows, pa.string())
        self.parked: dict[int, ParkedRow] = {}
        self.notes: dict[str, int] = {}
        self.empty: set[str] = set()
        self.violations: dict[str, int] = {}

    def park(self, where: pa.Array, reason: str, column: str, original: pa.Array | None, sentence: str) -> None:
        """Sets rows aside; the first reason found for a row is the one that counts."""
        if not pc.any(where).as_py():
            return
        for position in pc.indices_nonzero(pc.fill_null(where, False)).to_pylist():
            if position not in self.parked:
                value = None if original is None else _as_value(original[position])
                self.parked[position] = ParkedRow(
                    position, self._key_of(position), reason, column, value, _message(column, value, sentence)
                )

    def park_unreadable(self) -> None:
        """Sets the rows aside that the source itself could not read; their place is what they are known by."""
        if BROKEN not in self.batch.schema.names:
            return
        for position, said in enumerate(self.text(BROKEN).to_pylist()):
            if said is not None:
                key = self.keys[position].as_py() or said.split(": ", 1)[0]
                self.parked[position] = ParkedRow(position, key, "unreadable", None, None, said)

    def park_refused(self, cells: Cells, column: str, original: pa.Array | None) -> None:
        """Sets the rows aside whose value did not cast."""
        for number, refusal in enumerate(cells.refusals):
            self.park(pc.equal(cells.refused, number), refusal.reason, column, original, refusal.message)

    def check_rule(self, rule: Rule, values: pa.Array) -> None:
        """Counts and, if the rule says so, parks the rows whose value breaks it. Null never does."""
        broken = pc.fill_null(_breaks(rule, values, self.text(rule.equals) if rule.equals else None), False)
        self.violations[rule.name] = _count(broken)
        if rule.severity == "park":
            self.park(broken, "rule", rule.column, to_text(values), f'breaks the rule "{rule.name}"')

    def collect_notes(self, column: str, notes: dict[str, int]) -> None:
        """Adds up what was noticed about a column."""
        for text, rows in notes.items():
            key = f"{column}: {text}"
            self.notes[key] = self.notes.get(key, 0) + rows

    def _key_of(self, position: int) -> str:
        key = self.keys[position].as_py()
        is_usable = key and len(key.encode()) <= LONGEST_KEY
        return key if is_usable else nameless(raw_row(self.batch, position))


def _breaks(rule: Rule, values: pa.Array, other: pa.Array | None) -> pa.Array:
    broken = pa.array([False] * len(values))
    if rule.matches is not None:
        fits = pc.match_substring_regex(to_text(values), f"^(?:{rule.matches})$")
        broken = pc.or_(broken, pc.fill_null(pc.invert(fits), False))
    if rule.one_of is not None:
        known = pc.or_(pc.is_null(values), pc.is_in(to_text(values), value_set=pa.array(rule.one_of)))
        broken = pc.or_(broken, pc.invert(known))
    if rule.min is not None:
        broken = pc.or_(broken, pc.fill_null(pc.less(values.cast(pa.float64()), rule.min), False))
    if rule.max is not None:
        broken = pc.or_(broken, pc.fill_null(pc.greater(values.cast(pa.float64()), rule.max), False))
    if other is not None:
        broken = pc.or_(broken, pc.fill_null(_differs(values, other, rule.tolerance), False))
    return broken


def _differs(values: pa.Array, other: pa.Array, tolerance: float) -> pa.Array:
    """Where two columns of numbers are further apart than allowed; what is no number differs from nothing."""
    expected = run_chain(Cells(other), (DecimalCast(decimal_comma=True),), _ANY_NUMBER).values.cast(pa.float64())
    return pc.greater(pc.abs(pc.subtract(to_text(values).cast(pa.float64()), expected)), tolerance + 1e-9)


def nameless(record: dict[str, Any]) -> str:
    """A name for a record without key: the same record always has the same."""
    content = orjson.dumps(record, option=orjson.OPT_SORT_KEYS, default=str)
    return f"(no key, {blake2b(content, digest_size=6).hexdigest()})"


def _references(mapping: Mapping) -> Iterator[tuple[str, Reference]]:
    for name, rule in mapping.fields.items():
        if rule.reference:
            yield name, rule.reference


def _has_other(values: pa.Array, default: object) -> bool:
    """Whether any value is neither null nor blank nor the default."""
    texts = pc.fill_null(to_text(values), "")
    usual = pa.array(
        ["", "" if default is None else str(default).lower() if isinstance(default, bool) else str(default)]
    )
    return not pc.all(pc.is_in(texts, value_set=usual), min_count=0).as_py()


def _null_if_blank(texts: pa.Array) -> pa.Array:
    trimmed = pc.utf8_trim_whitespace(texts)
    return pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, pa.string()), trimmed)


def _message(column: str, value: str | None, sentence: str) -> str:
    if value is None:
        return f"{column} {sentence}"
    shown = value if len(value) <= 60 else value[:60] + "…"
    return f'{column} "{shown}" {sentence}'


def _as_value(scalar: pa.Scalar) -> str | None:
    value = scalar.as_py()
    if value is None:
        return None
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text.replace("\x00", "\\0")


def _either(one: pa.Array | None, other: pa.Array) -> pa.Array:
    return other if one is None else pc.or_(one, other)


def _without(mask: pa.Array, removed: pa.Array | None) -> pa.Array:
    return mask if removed is None else pc.and_(mask, pc.invert(removed))


def _count(mask: pa.Array) -> int:
    return int(pc.sum(mask).as_py() or 0)


def _staging_type(column: Column) -> str:
    return "text" if column.type in ("varchar", "bpchar") else column.full_type


_ANY_NUMBER = Column("", "numeric", "numeric", True, False, False, None, None, None)
_ANY_TIMESTAMP = Column("", "timestamptz", "timestamp with time zone", True, False, False, None, None, None)
