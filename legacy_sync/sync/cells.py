"""What is one column of a batch while it is being converted?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc


@dataclass(frozen=True)
class Refusal:
    """Why a value cannot be used: a code for machines and the end of a sentence about the value ("is no date")."""

    reason: str
    message: str


@dataclass
class Cells:
    """The values of one column; every mask has one entry per row, or is None for "nowhere".

    `refused` holds an index into `refusals` for values that cannot be used (their value is null), else null.
    `absent` is true where the record did not carry the attribute.
    `notes` counts harmless changes of a value, by a sentence for people.
    """

    values: pa.Array
    refused: pa.Array | None = None
    refusals: list[Refusal] = field(default_factory=list)
    absent: pa.Array | None = None
    notes: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.values)

    def with_values(self, values: pa.Array) -> Cells:
        """The same masks around other values."""
        return Cells(values, self.refused, self.refusals, self.absent, self.notes)

    def refuse(self, where: pa.Array, refusal: Refusal) -> Cells:
        """Values become null and refused where the mask is true; an earlier refusal stays."""
        where = pc.fill_null(where, False)
        if not pc.any(where).as_py():
            return self
        number = len(self.refusals)
        before = self.refused if self.refused is not None else pa.nulls(len(self), pa.int32())
        refused = pc.if_else(pc.and_(where, pc.is_null(before)), pa.scalar(number, pa.int32()), before)
        return Cells(
            pc.if_else(where, pa.scalar(None, self.values.type), self.values),
            refused,
            [*self.refusals, refusal],
            self.absent,
            self.notes,
        )

    def note(self, text: str, rows: int) -> Cells:
        """Remember a harmless change of `rows` values."""
        if not rows:
            return self
        return Cells(
            self.values, self.refused, self.refusals, self.absent, {**self.notes, text: self.notes.get(text, 0) + rows}
        )


def map_unique(cells: Cells, convert: Callable[[Any], Any], type_: pa.DataType) -> Cells:
    """Converts each distinct value once. `convert` gets plain Python values, never None, and may return a Refusal."""
    encoded = pc.dictionary_encode(cells.values)
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    results = [convert(value) for value in encoded.dictionary.to_pylist()]
    kept = pa.array([None if isinstance(r, Refusal) else r for r in results], type_)
    out = cells.with_values(kept.take(encoded.indices))
    by_refusal: dict[Refusal, list[int]] = {}
    for code, result in enumerate(results):
        if isinstance(result, Refusal):
            by_refusal.setdefault(result, []).append(code)
    for refusal, codes in by_refusal.items():
        out = out.refuse(pc.is_in(encoded.indices, value_set=pa.array(codes, encoded.indices.type)), refusal)
    return out
