"""How does a legacy text become the text of an ERP column? Trimmed, cut, split, replaced, or made into a name."""

from __future__ import annotations

import re
import unicodedata
from hashlib import blake2b

import pyarrow as pa
import pyarrow.compute as pc

from legacy_sync.erp.catalog import Column
from legacy_sync.mapping.model import HashCast, ReplaceCast, SlugCast, SplitLastCast, TextCast
from legacy_sync.sync.casts.basics import count, loads, to_text
from legacy_sync.sync.cells import Cells, Refusal, map_unique


def cast_text(cells: Cells, step: TextCast, column: Column) -> Cells:
    values = to_text(cells.values)
    cells = cells.with_values(values)
    if step.language and pc.any(pc.starts_with(pc.utf8_ltrim_whitespace(values), "{")).as_py():
        cells = map_unique(cells, lambda text: _in_language(text, str(step.language)), pa.string())
    if step.strip:
        cells = cells.with_values(pc.utf8_trim_whitespace(cells.values))
    if step.empty_is_null:
        blank = pc.equal(pc.utf8_trim_whitespace(cells.values), "")
        cells = cells.with_values(pc.if_else(blank, pa.scalar(None, pa.string()), cells.values))
    if step.case != "keep":
        change = pc.utf8_upper if step.case == "upper" else pc.utf8_lower
        cells = cells.with_values(change(cells.values))
    return _cut(cells, column) if step.cut else cells


def _cut(cells: Cells, column: Column) -> Cells:
    if column.max_length is None:
        return cells
    too_long = count(pc.greater(pc.utf8_length(cells.values), column.max_length))
    cut = pc.utf8_rtrim_whitespace(pc.utf8_slice_codeunits(cells.values, 0, column.max_length))
    return cells.with_values(cut).note(f"cut to {column.max_length} characters", too_long) if too_long else cells


def _in_language(text: str, language: str) -> str | Refusal | None:
    found = loads(text) if text.lstrip().startswith("{") else text
    if not isinstance(found, dict):
        return text
    entry = next((v for k, v in found.items() if k.lower() == language.lower()), None)
    if entry is None or isinstance(entry, str):
        return entry
    return Refusal("not_text", f"has no text for {language}")


def cast_split_last(cells: Cells, step: SplitLastCast, _column: Column) -> Cells:
    def split(text: str) -> str:
        head, found, tail = text.strip().rpartition(step.separator)
        if not (found and head and tail):
            return text.strip() if step.part == "before" else ""
        return head if step.part == "before" else tail

    return map_unique(cells.with_values(to_text(cells.values)), split, pa.string())


def cast_replace(cells: Cells, step: ReplaceCast, _column: Column) -> Cells:
    return cells.with_values(pc.replace_substring_regex(to_text(cells.values), step.pattern, step.by))


def cast_slug(cells: Cells, _step: SlugCast, column: Column) -> Cells:
    def convert(text: str) -> str:
        plain = unicodedata.normalize("NFKD", text.replace("ß", "ss")).encode("ascii", "ignore").decode().lower()
        slug = re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain)).strip("-_")
        return slug[: column.max_length].rstrip("-_")

    return map_unique(cells.with_values(to_text(cells.values)), convert, pa.string())


def cast_hash(cells: Cells, step: HashCast, _column: Column) -> Cells:
    def convert(text: str) -> str:
        return blake2b(text.encode(), digest_size=32).hexdigest()[: step.digits]

    return map_unique(cells.with_values(to_text(cells.values)), convert, pa.string())
