"""What value does each record of a batch have for one part of a mapping? Pure; a column at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from legacy_sync.erp.catalog import Column
from legacy_sync.mapping.model import Compute, Part
from legacy_sync.pyerp import RULES
from legacy_sync.sources.base import ABSENT, is_json_text
from legacy_sync.sync.casts import run_chain, scalar_text, to_text
from legacy_sync.sync.cells import Cells, map_unique

ANY_TEXT = Column("", "text", "text", True, False, False, None, None, None)


class Records:
    """One landed batch, read by attribute; `rows` is their number."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self.batch = batch
        self.rows = batch.num_rows

    def value(self, part: Part, column: Column) -> Cells:
        """What a part says, with its casts, affixes and default, not yet fitted to the column."""
        cells = with_affixes(run_chain(self.origin(part, column), part.cast, column), part)
        if part.default is None:
            return cells
        filled = filled_with(cells.values, part.default)
        return Cells(filled, cells.refused, cells.refusals, None, cells.notes)

    def origin(self, part: Part, column: Column) -> Cells:
        """What a part says before its own casts."""
        if part.value is not None:
            return Cells(pa.array([part.value] * self.rows))
        if part.from_:
            return self.spelled(part.from_)
        if part.compute:
            return self._computed(part.compute, column)
        if part.first_of:
            return _first_filled(self.value(p, column) for p in part.first_of)
        return _joined([(self.value(p, ANY_TEXT), p.value is not None) for p in part.join], part.separator)

    def attribute(self, name: str) -> Cells:
        """One attribute as delivered; mixed columns become texts."""
        index = self.batch.schema.get_field_index(name)
        if index < 0:
            return Cells(pa.nulls(self.rows, pa.string()), absent=pa.repeat(pa.scalar(True), self.rows))
        cells = Cells(self.batch.column(index), absent=self._absent(name))
        if is_json_text(self.batch.schema.field(index)):
            return map_unique(cells, _plain_text, pa.string())
        return cells

    def text(self, name: str) -> pa.Array:
        """One attribute as text."""
        return to_text(self.attribute(name).values)

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

    def _computed(self, compute: Compute, column: Column) -> Cells:
        rule = RULES[compute.rule]
        missing = Cells(pa.nulls(self.rows, pa.string()), absent=pa.repeat(pa.scalar(True), self.rows))
        inputs = {
            name: self.value(compute.inputs[name], ANY_TEXT) if name in compute.inputs else missing
            for name in rule.inputs
        }
        return rule.function(inputs, {**rule.options, **compute.options})

    def _absent(self, name: str) -> pa.Array | None:
        index = self.batch.schema.get_field_index(ABSENT)
        if index < 0 or self.batch.column(index).null_count == self.rows:
            return None
        encoded = pc.dictionary_encode(self.batch.column(index))
        hits = [name in (names or "").split("\n") for names in encoded.dictionary.to_pylist()]
        if not any(hits):
            return None
        return pc.fill_null(pa.array(hits, pa.bool_()).take(encoded.indices), False)


def raw_row(batch: pa.RecordBatch, position: int) -> dict[str, Any]:
    """One record as the source delivered it, without the attributes it did not carry."""
    row = batch.slice(position, 1).to_pylist()[0]
    absent = set((row.pop(ABSENT, None) or "").split("\n"))
    for field_ in batch.schema:
        if is_json_text(field_) and row.get(field_.name) is not None:
            row[field_.name] = orjson.loads(row[field_.name])
    return {name: value for name, value in row.items() if name not in absent}


def with_affixes(cells: Cells, part: Part) -> Cells:
    """Prefix and suffix around texts that are not blank."""
    if not (part.prefix or part.suffix):
        return cells
    texts = to_text(cells.values)
    wrapped = pc.binary_join_element_wise(part.prefix, texts, part.suffix, "")
    return cells.with_values(pc.if_else(_is_blank(texts), texts, wrapped))


def filled_with(values: pa.Array, default: Any) -> pa.Array:
    """The values, with a default for null."""
    if default is None or values.null_count == 0:
        return values
    if pa.types.is_null(values.type):
        return pa.array([default] * len(values))
    if pa.types.is_string(values.type):
        return pc.fill_null(values, _as_text(default))
    return pc.fill_null(values, pa.scalar(default).cast(values.type))


def _as_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _plain_text(text: str) -> str | None:
    return scalar_text(orjson.loads(text))


def _is_blank(texts: pa.Array) -> pa.Array:
    return pc.equal(pc.fill_null(pc.utf8_trim_whitespace(texts), ""), "")


def _first_filled(parts: Iterable[Cells]) -> Cells:
    """The first value that is not blank; where there is none, the reason why one could not be read."""
    texts = [part.with_values(to_text(part.values)) for part in parts]
    values = texts[0].values
    for part in texts[1:]:
        values = pc.if_else(_is_blank(values), part.values, values)
    out = Cells(values)
    for part in texts:
        for number, refusal in enumerate(part.refusals):
            out = out.refuse(pc.and_(_is_blank(values), pc.fill_null(pc.equal(part.refused, number), False)), refusal)
    return Cells(out.values, out.refused, out.refusals, _all_absent(texts))


def _joined(parts: list[tuple[Cells, bool]], separator: str) -> Cells:
    """Texts side by side; blank ones are left out, and nothing but constants (True) is nothing."""
    texts = [pc.utf8_trim_whitespace(to_text(cells.values)) for cells, _ in parts]
    pieces = [pc.if_else(_is_blank(text), pa.scalar(None, pa.string()), text) for text in texts]
    said = pc.coalesce(*(piece for piece, (_, is_constant) in zip(pieces, parts, strict=True) if not is_constant))
    pieces[0] = pc.if_else(pc.is_null(pc.coalesce(*pieces)), "", pieces[0])  # Arrow drops rows in which all are null
    joined = pc.binary_join_element_wise(*pieces, separator, null_handling="skip")
    values = pc.if_else(pc.is_null(said), pa.scalar(None, pa.string()), joined)
    return Cells(values, absent=_all_absent([cells for cells, is_constant in parts if not is_constant]))


def _all_absent(parts: Sequence[Cells]) -> pa.Array | None:
    """Where no part was delivered at all."""
    absent = parts[0].absent
    for part in parts[1:]:
        absent = None if absent is None or part.absent is None else pc.and_(absent, part.absent)
    return absent
