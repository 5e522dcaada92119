"""What is a rule? A pure function from named columns to one column, with what it asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from legacy_sync.erp.catalog import Column
from legacy_sync.mapping.model import DecimalCast
from legacy_sync.sync.casts import run_chain, to_text
from legacy_sync.sync.cells import Cells, Refusal, map_unique

Inputs = Mapping[str, Cells]
Options = Mapping[str, Any]

_NUMBER = Column("", "numeric", "numeric", True, False, False, None, None, None)
_PLACES = 6
_TOO_LARGE = 1e18
DECIMAL = pa.decimal256(26, _PLACES)


@dataclass(frozen=True)
class Rule:
    """`function` gets one Cells per name in `inputs`, all of the same length, and every option."""

    function: Callable[[Inputs, Options], Cells]
    inputs: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    """options and what they are when a mapping does not say"""


def numbers(cells: Cells, *, clean: bool = False) -> Cells:
    """Numbers in any spelling as decimals with six places; a text without a number is refused, or null if `clean`."""
    read = run_chain(cells, (DecimalCast(decimal_comma=True, clean=clean),), _NUMBER)
    texts = to_text(read.values)
    too_large = pc.greater_equal(pc.abs(texts.cast(pa.float64())), _TOO_LARGE)
    read = read.with_values(texts).refuse(too_large, Refusal("out_of_range", "is too large to reckon with"))
    texts = read.values
    too_fine = pc.match_substring_regex(texts, rf"\.\d{{{_PLACES + 1},}}|[eE]")
    if pc.any(too_fine).as_py():
        texts = map_unique(Cells(texts), _rounded, pa.string()).values
    return read.with_values(texts.cast(DECIMAL))


def zero_for_null(cells: Cells) -> Cells:
    """The same numbers, with 0 where there is none."""
    return cells.with_values(pc.fill_null(cells.values, pa.scalar(0).cast(cells.values.type)))


def combined(values: pa.Array, *inputs: Cells) -> Cells:
    """A result that is refused where an input is, and absent where all inputs are."""
    out = Cells(values)
    for cells in inputs:
        for number, refusal in enumerate(cells.refusals):
            out = out.refuse(pc.equal(cells.refused, number), refusal)
    absent = None if any(c.absent is None for c in inputs) else inputs[0].absent
    for cells in inputs[1:] if absent is not None else ():
        absent = pc.and_(absent, cells.absent)
    return Cells(out.values, out.refused, out.refusals, absent, out.notes)


def row_by_row(inputs: Inputs, names: tuple[str, ...], make: Callable[..., Any], type_: pa.DataType) -> Cells:
    """A result made from the texts of each row; for small tables."""
    columns = [to_text(inputs[name].values).to_pylist() for name in names]
    values = [make(*row) for row in zip(*columns, strict=True)]
    return combined(pa.array(values, type_), *(inputs[name] for name in names))


def _rounded(text: str) -> str:
    return format(round(Decimal(text), _PLACES), "f")
