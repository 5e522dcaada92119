"""How do numbers and texts of people become numbers?"""

from __future__ import annotations

import re
from decimal import Context, Decimal

import pyarrow as pa
import pyarrow.compute as pc

from legacy_sync.erp.catalog import Column
from legacy_sync.mapping.model import DecimalCast, IntegerCast, NumberSpelling
from legacy_sync.sync.casts.basics import INTEGER_BITS, all_match, count, refuse, to_text
from legacy_sync.sync.cells import Cells, Refusal, map_unique

_NUMBER = r"^\s*[+-]?(\d{1,30}(\.\d{0,30})?|\.\d{1,30})([eE][+-]?\d{1,2})?\s*$"
_IS_NUMBER = re.compile(_NUMBER, re.ASCII)
_INSIDE = re.compile(r"[+-]?\d[\d.,]*")
_WIDE = Context(prec=200)  # enough for every text that _NUMBER lets through
_ANY_NUMBER = Column("", "numeric", "numeric", True, False, False, None, None, None)


def _respelled(cells: Cells, step: NumberSpelling) -> Cells:
    """Texts of people as texts that `_NUMBER` knows; texts without a number become null where `clean` says so."""
    texts = to_text(cells.values)
    if not (step.decimal_comma or step.clean) or all_match(texts, _NUMBER):
        return cells.with_values(texts)

    def convert(text: str) -> str | None:
        if step.clean and not _IS_NUMBER.match(text):
            found = _INSIDE.search(text)
            if not found:
                return None
            text = found[0].rstrip(".,")
        return _with_point(text) if step.decimal_comma else text

    out = map_unique(cells.with_values(texts), convert, pa.string())
    changed = pc.fill_null(pc.not_equal(out.values, texts), False)
    lost = pc.and_(pc.is_null(out.values), pc.not_equal(pc.fill_null(pc.utf8_trim_whitespace(texts), ""), ""))
    return out.note("number read out of a text", count(changed)).note("no number in the text", count(lost))


def _with_point(text: str) -> str:
    comma, point = text.rfind(","), text.rfind(".")
    if comma < 0:
        return text
    if comma > point:
        return text.replace(".", "").replace(",", ".") if text.count(",") == 1 else text.replace(",", "")
    return text.replace(",", "")


def _without_zero(cells: Cells, *, positive: bool) -> Cells:
    """Numbers that mean "no value" as null."""
    size = cells.values.cast(pa.float64(), safe=False) if not pa.types.is_boolean(cells.values.type) else None
    if size is None:
        return cells
    none = pc.less_equal(size, 0.0) if positive else pc.equal(size, 0.0)
    return cells.with_values(pc.if_else(pc.fill_null(none, False), pa.scalar(None, cells.values.type), cells.values))


def cast_integer(cells: Cells, step: IntegerCast, column: Column) -> Cells:
    out = _to_integer(cells, step, column)
    return _without_zero(out, positive=False) if step.zero_is_null else out


def _to_integer(cells: Cells, step: IntegerCast, column: Column) -> Cells:
    if pa.types.is_integer(cells.values.type):
        return cells
    if pa.types.is_boolean(cells.values.type):
        return cells.with_values(cells.values.cast(pa.int64()))
    cells = _respelled(cells, step)
    texts = cells.values
    if all_match(texts, r"^-?\d{1,18}$"):
        return cells.with_values(texts.cast(pa.int64()))

    def convert(text: str) -> int | Refusal | None:
        number = _number(text)
        if number is None:
            return None if not text.strip() else Refusal("not_a_number", "is no number")
        whole = number.to_integral_value("ROUND_HALF_UP" if step.rounding == "half_up" else "ROUND_DOWN", _WIDE)
        if step.rounding == "exact" and whole != number:
            return Refusal("not_whole", "is no whole number")
        limit = 2 ** INTEGER_BITS.get(column.type, 63)
        return (
            int(whole) if -limit <= whole < limit else Refusal("out_of_range", f"does not fit into {column.full_type}")
        )

    out = map_unique(cells, convert, pa.int64())
    fractions = 0 if step.rounding == "exact" else count(pc.match_substring_regex(texts, r"^\s*[+-]?\d*\.\d*[1-9]"))
    return out.note("fraction dropped", fractions)


def cast_decimal(cells: Cells, step: DecimalCast, column: Column) -> Cells:
    if step.factor != 1:
        cells = _times(_to_decimal(cells, step.model_copy(update={"factor": 1}), _ANY_NUMBER), step.factor)
    out = _to_decimal(cells, step, column)
    return _without_zero(out, positive=step.positive) if step.positive or step.zero_is_null else out


def _times(cells: Cells, factor: float) -> Cells:
    by = Decimal(str(factor))
    return map_unique(cells.with_values(to_text(cells.values)), lambda t: format(Decimal(t) * by, "f"), pa.string())


def _to_decimal(cells: Cells, step: DecimalCast, column: Column) -> Cells:
    if pa.types.is_integer(cells.values.type):
        return cells
    cells = _respelled(cells, step)
    texts = cells.values
    blank = pc.equal(pc.utf8_trim_whitespace(texts), "")
    if pc.any(blank).as_py():
        texts = pc.if_else(blank, pa.scalar(None, pa.string()), texts)
    cells = cells.with_values(texts)
    if not all_match(texts, _NUMBER):
        cells = refuse(cells, pc.invert(pc.match_substring_regex(texts, _NUMBER)), "not_a_number", "is no number")
    cells = cells.with_values(pc.utf8_trim_whitespace(cells.values))
    if column.scale is None:
        return cells
    excess = count(pc.match_substring_regex(cells.values, rf"\.\d{{{column.scale}}}\d*[1-9]"))
    if excess and step.rounding == "truncate":
        unit = Decimal(1).scaleb(-column.scale)
        cells = map_unique(cells, lambda t: str(Decimal(t).quantize(unit, "ROUND_DOWN", _WIDE)), pa.string())
    return cells.note(f"rounded to {column.scale} places", excess)


def _number(text: str) -> Decimal | None:
    return Decimal(text.strip()) if _IS_NUMBER.match(text) else None
