"""What do codes, flags and e-mail addresses mean that people typed?"""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc

from legacy_sync.erp.catalog import Column
from legacy_sync.mapping.model import BooleanCast, EmailCast, MapCast
from legacy_sync.sync.casts.basics import count, scalar_text, to_text
from legacy_sync.sync.cells import Cells, Refusal, map_unique

_EMAIL = re.compile(r"^[^@\s]+@[^@\s.]+(\.[^@\s.]+)+$")


def cast_map(cells: Cells, step: MapCast, _column: Column) -> Cells:
    known = {code.strip().casefold(): None if v is None else scalar_text(v) for code, v in step.values.items()}

    def translate(text: str) -> str | Refusal | None:
        code = text.strip().casefold()
        if code in known:
            return known[code]
        if step.others == "keep":
            return text.strip()
        return None if step.others == "null" else Refusal("unknown_code", "is no known code")

    texts = to_text(cells.values)
    out = map_unique(cells.with_values(texts), translate, pa.string())
    if step.others != "null":
        return out
    unknown = pc.invert(pc.is_in(pc.utf8_lower(pc.utf8_trim_whitespace(texts)), value_set=pa.array([*known, ""])))
    return out.note("unknown code left out", count(pc.and_(pc.is_valid(texts), unknown)))


def cast_boolean(cells: Cells, step: BooleanCast, _column: Column) -> Cells:
    out = _to_boolean(cells, step)
    return out.with_values(pc.invert(out.values)) if step.negate else out


def _to_boolean(cells: Cells, step: BooleanCast) -> Cells:
    if pa.types.is_boolean(cells.values.type):
        return cells

    def convert(text: str) -> bool | Refusal:
        word = text.strip().lower()
        if word in step.true:
            return True
        if word in step.false or step.otherwise == "false":
            return False
        return Refusal("not_boolean", "is neither true nor false")

    return map_unique(cells.with_values(to_text(cells.values)), convert, pa.bool_())


def cast_email(cells: Cells, step: EmailCast, _column: Column) -> Cells:
    def convert(text: str) -> str | Refusal | None:
        address = text.strip().lower()
        if step.repair:
            address = _repaired(address)
        if not address:
            return None
        return address if _EMAIL.match(address) else Refusal("not_an_email", "is no e-mail address")

    return map_unique(cells.with_values(to_text(cells.values)), convert, pa.string())


def _repaired(address: str) -> str:
    address = "".join(address.split())
    if "@" not in address:
        address = address.replace("_", "@", 1)
    name, at, domain = address.partition("@")
    return name + at + (domain if "." in domain else domain.replace("-", ".", 1))
