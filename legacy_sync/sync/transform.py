"""What would the rows of one landed batch look like in the ERP? Pure; columns in, columns out.

The result is a batch for the staging table: the mapped columns in the types of the ERP, the lookup values
of references, and bit masks of the cells that keep their ERP value. Rows that cannot be used are listed
beside it with the reason; they never stop the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from legacy_sync.erp.catalog import Column, ErpTable
from legacy_sync.erp.staging import KEY, MODIFIED, ROW, StagedColumn, keep_column, keep_columns, lookup_column
from legacy_sync.mapping.model import FieldMapping, Mapping, Rule, TimestampCast
from legacy_sync.mapping.preflight import default_cast
from legacy_sync.sources.base import ABSENT, is_json_text
from legacy_sync.sync.casts import apply_casts, run_chain, scalar_text, to_text
from legacy_sync.sync.cells import Cells, map_unique

KEY_SEPARATOR = "|"


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


class Transform:
    """A mapping bound to the ERP table it fills; `apply` converts batch after batch."""

    def __init__(self, mapping: Mapping, table: ErpTable) -> None:
        self.mapping = mapping
        self.table = table
        self.needs_modified = any(mapping.policy_of(c) == "newest_wins" for c in mapping.columns)

    @property
    def staged_columns(self) -> list[StagedColumn]:
        """The columns of the staging table, in COPY order."""
        columns = [StagedColumn(ROW, "bigint"), StagedColumn(KEY, "text")]
        if self.needs_modified:
            columns.append(StagedColumn(MODIFIED, "timestamptz"))
        columns += [StagedColumn(name, "bigint") for name in keep_columns(len(self.mapping.columns))]
        for name, rule in self.mapping.fields.items():
            columns.append(StagedColumn(name, _staging_type(self.table.columns[name]), rule.reference is None))
            columns += [StagedColumn(n, "text") for n, _ in self._lookups(name)]
        return columns

    def apply(self, batch: pa.RecordBatch, first_row: int) -> Transformed:
        """Converts one landed batch; `first_row` is the number of its first row in the staging table."""
        work = _Batch(batch)
        keys = self._keys(work)
        columns: dict[str, pa.Array] = {ROW: pa.array(range(first_row, first_row + work.rows), pa.int64()), KEY: keys}
        if self.needs_modified:
            columns[MODIFIED] = self._modified(work)
        keep: dict[str, pa.Array] = {}
        for name, rule in self.mapping.fields.items():
            self._convert(work, name, rule, columns, keep)
        keep = {name: mask for name, mask in keep.items() if mask is not None and pc.any(mask).as_py()}
        for condition in self.mapping.rules:
            work.check_rule(condition, columns[condition.column])
        columns |= self._masks(keep, work.rows)
        return self._finish(work, columns, frozenset(keep))

    def keys(self, batch: pa.RecordBatch) -> list[str]:
        """The legacy keys of a landed batch; records without one are left out."""
        return [key for key in self._joined_key(_Batch(batch)).to_pylist() if key]

    def _keys(self, work: _Batch) -> pa.Array:
        keys = self._joined_key(work)
        missing = pc.or_(pc.is_null(keys), pc.equal(pc.fill_null(keys, ""), ""))
        work.keys = keys
        work.park(missing, "no_key", "/".join(self.mapping.source.key), None, "the record has no key")
        return keys

    def _joined_key(self, work: _Batch) -> pa.Array:
        parts = [pc.utf8_trim_whitespace(to_text(work.attribute(name).values)) for name in self.mapping.source.key]
        return parts[0] if len(parts) == 1 else pc.binary_join_element_wise(*parts, KEY_SEPARATOR)

    def _modified(self, work: _Batch) -> pa.Array:
        cells = work.attribute(self.mapping.conflicts.legacy_modified)
        return run_chain(cells, (TimestampCast(),), _ANY_TIMESTAMP).values.cast(pa.timestamp("us", "UTC"))

    def _convert(
        self, work: _Batch, name: str, rule: FieldMapping, columns: dict[str, pa.Array], keep: dict[str, pa.Array]
    ) -> None:
        column = self.table.columns[name]
        if rule.reference:
            keep[name] = self._stage_lookups(work, name, columns)
            return
        cells, original = self._read(work, name, rule, column)
        work.collect_notes(name, cells.notes)
        refused = pc.is_valid(cells.refused) if cells.refused is not None else None
        kept = cells.absent
        if refused is not None and rule.if_invalid == "park":
            work.park_refused(cells, name, original)
        elif refused is not None:
            work.collect_notes(name, {"invalid value replaced": _count(refused)})
            kept = _either(kept, refused) if rule.if_invalid == "keep" else kept
        null = pc.is_null(cells.values)
        if rule.if_null == "keep":
            kept = _either(kept, null)
        values = _fill(cells.values, rule.default)
        if rule.required:
            blank = pc.or_(pc.is_null(values), pc.equal(pc.fill_null(to_text(values), ""), ""))
            work.park(blank, "required", name, original, "is required and missing")
        elif not column.nullable and not column.has_default:
            work.park(_without(pc.is_null(values), kept), "null", name, original, "may not be null in the ERP")
        columns[name] = values if kept is None else pc.if_else(kept, pa.scalar(None, values.type), values)
        if kept is not None:
            keep[name] = kept

    def _read(self, work: _Batch, name: str, rule: FieldMapping, column: Column) -> tuple[Cells, pa.Array | None]:
        """The cast values of one field and the texts they came from."""
        steps = rule.cast or (default_cast(column),)
        if rule.value is not None:
            return apply_casts(Cells(pa.array([rule.value] * work.rows)), steps, column), None
        if rule.first_of:
            cells = _first_filled([run_chain(work.spelled(p.from_), p.cast, column) for p in rule.first_of])
        else:
            cells = work.spelled(rule.from_)
        original = cells.values
        if work.rows and cells.absent is None and original.null_count == work.rows:
            work.empty.add(name)
        return apply_casts(cells, steps, column), original

    def _stage_lookups(self, work: _Batch, name: str, columns: dict[str, pa.Array]) -> pa.Array | None:
        absent: pa.Array | None = None
        for number, (staged, attribute) in enumerate(self._lookups(name)):
            cells = work.attribute(attribute)
            text = pc.utf8_trim_whitespace(to_text(cells.values))
            columns[staged] = pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)
            mask = cells.absent if cells.absent is not None else pa.array([False] * work.rows)
            absent = mask if number == 0 else pc.and_(absent, mask)
        return absent if absent is not None and pc.any(absent).as_py() else None

    def _lookups(self, name: str) -> list[tuple[str, str]]:
        reference = self.mapping.fields[name].reference
        matches = reference.match if reference else ()
        return [(lookup_column(name, n), m.from_) for n, m in enumerate(matches) if m.from_]

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


class _Batch:
    """One landed batch while it is being converted, with the rows that dropped out so far."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self.batch = batch
        self.rows = batch.num_rows
        self.keys: pa.Array = pa.nulls(self.rows, pa.string())
        self.parked: dict[int, ParkedRow] = {}
        self.notes: dict[str, int] = {}
        self.empty: set[str] = set()
        self.violations: dict[str, int] = {}

    def attribute(self, name: str) -> Cells:
        """One attribute as delivered; mixed columns become texts."""
        index = self.batch.schema.get_field_index(name)
        if index < 0:
            return Cells(pa.nulls(self.rows, pa.string()), absent=pa.repeat(pa.scalar(True), self.rows))
        cells = Cells(self.batch.column(index), absent=self._absent(name))
        if is_json_text(self.batch.schema.field(index)):
            return map_unique(cells, _plain_text, pa.string())
        return cells

    def spelled(self, names: Sequence[str]) -> Cells:
        """The attribute under the first of several spellings that the record carries."""
        cells = self.attribute(names[0])
        for name in names[1:]:
            if cells.absent is None or not pc.any(cells.absent).as_py():
                break
            other = self.attribute(name)
            values, others = cells.values, other.values
            if values.type != others.type:
                values, others = to_text(values), to_text(others)
            absent = pc.and_(cells.absent, other.absent) if other.absent is not None else None
            cells = Cells(pc.if_else(cells.absent, others, values), absent=absent)
        return cells

    def _absent(self, name: str) -> pa.Array | None:
        index = self.batch.schema.get_field_index(ABSENT)
        if index < 0 or self.batch.column(index).null_count == self.rows:
            return None
        encoded = pc.dictionary_encode(self.batch.column(index))
        hits = [name in (names or "").split("\n") for names in encoded.dictionary.to_pylist()]
        if not any(hits):
            return None
        return pc.fill_null(pa.array(hits, pa.bool_()).take(encoded.indices), False)

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

    def park_refused(self, cells: Cells, column: str, original: pa.Array | None) -> None:
        """Sets the rows aside whose value did not cast."""
        for number, refusal in enumerate(cells.refusals):
            self.park(pc.equal(cells.refused, number), refusal.reason, column, original, refusal.message)

    def check_rule(self, rule: Rule, values: pa.Array) -> None:
        """Counts and, if the rule says so, parks the rows whose value breaks it. Null never does."""
        broken = pc.fill_null(_breaks(rule, values), False)
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
        return key if key else f"(no key, row {position})"


def raw_row(batch: pa.RecordBatch, position: int) -> dict[str, Any]:
    """One record as the source delivered it, without the attributes it did not carry."""
    row = batch.slice(position, 1).to_pylist()[0]
    absent = set((row.pop(ABSENT, None) or "").split("\n"))
    for field_ in batch.schema:
        if is_json_text(field_) and row.get(field_.name) is not None:
            row[field_.name] = orjson.loads(row[field_.name])
    return {name: value for name, value in row.items() if name not in absent}


def _plain_text(text: str) -> str | None:
    return scalar_text(orjson.loads(text))


def _first_filled(parts: Iterable[Cells]) -> Cells:
    cells: Cells | None = None
    for part in parts:
        part = part.with_values(to_text(part.values))
        if cells is None:
            cells = part
            continue
        blank = pc.equal(pc.fill_null(pc.utf8_trim_whitespace(cells.values), ""), "")
        both = None if cells.absent is None or part.absent is None else pc.and_(cells.absent, part.absent)
        cells = Cells(pc.if_else(blank, part.values, cells.values), absent=both)
    assert cells is not None  # the model demands at least one part
    return cells


def _fill(values: pa.Array, default: Any) -> pa.Array:
    if default is None or values.null_count == 0:
        return values
    if pa.types.is_null(values.type):
        return pa.array([default] * len(values))
    if pa.types.is_string(values.type):
        return pc.fill_null(values, str(default))
    return pc.fill_null(values, pa.scalar(default).cast(values.type))


def _breaks(rule: Rule, values: pa.Array) -> pa.Array:
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
    return broken


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


_ANY_TIMESTAMP = Column("", "timestamptz", "timestamp with time zone", True, False, False, None, None, None)
