"""How does a legacy value become a value of an ERP column? Pure, a column at a time.

Every cast takes the Cells of one column and gives Cells back. A value that cannot be converted becomes
null and refused, with the end of a sentence about it ("is no number"); nothing raises for a value. The
spellings of 4D (dates as d!m!yyyy, 0!0!0, numbers as texts) are handled here and nowhere else.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Context, Decimal
from functools import lru_cache
from hashlib import blake2b
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from legacy_sync.erp.catalog import Column
from legacy_sync.mapping.model import (
    BooleanCast,
    Cast,
    DateCast,
    DecimalCast,
    EmailCast,
    HashCast,
    IntegerCast,
    JsonPickCast,
    MapCast,
    NumberSpelling,
    ReplaceCast,
    SlugCast,
    SplitLastCast,
    TextCast,
    TimestampCast,
)
from legacy_sync.sync.cells import Cells, Refusal, map_unique

_NUMBER = r"^\s*[+-]?(\d{1,30}(\.\d{0,30})?|\.\d{1,30})([eE][+-]?\d{1,2})?\s*$"
_IS_NUMBER = re.compile(_NUMBER, re.ASCII)
_EMAIL = re.compile(r"^[^@\s]+@[^@\s.]+(\.[^@\s.]+)+$")
_INSIDE = re.compile(r"[+-]?\d[\d.,]*")
_WIDE = Context(prec=200)  # enough for every text that _NUMBER lets through
_INTEGER_BITS = {"int2": 15, "int4": 31, "int8": 63}
_DATE_PATTERNS = (
    re.compile(r"^!*(?P<d>\d{1,2})[!.](?P<m>\d{1,2})[!.](?P<y>\d{1,4})(?:[ T].*)?$"),
    re.compile(r"^!*(?P<y>\d{4})-(?P<m>\d{1,2})-(?P<d>\d{1,2})(?:!*|[ T].*)$"),
    re.compile(r"^(?P<y>\d{4})(?P<m>\d{2})(?P<d>\d{2})$"),
)


def apply_casts(cells: Cells, steps: tuple[Cast, ...], column: Column) -> Cells:
    """Runs a chain of casts, then makes sure that the result fits the ERP column."""
    cells = run_chain(cells, steps, column)
    last = _EXPECTED.get(column.type)
    if last and pa.types.is_string(cells.values.type) and not (steps and steps[-1].type == last.type):
        cells = _CASTS[last.type](cells, last, column)  # texts that the database would have to read are read here
    return _fit(cells, column)


def run_chain(cells: Cells, steps: tuple[Cast, ...], column: Column) -> Cells:
    """Runs the casts alone; the result need not fit the column yet."""
    for step in steps:
        cells = _CASTS[step.type](cells, step, column)
    return cells


# --- text --------------------------------------------------------------------------------------


def to_text(array: pa.Array) -> pa.Array:
    """Any scalar as text: 30.0 is "30", true is "true", large numbers have no exponent."""
    if pa.types.is_string(array.type):
        return array
    if pa.types.is_large_string(array.type) or pa.types.is_null(array.type):
        return array.cast(pa.string())
    text = pc.cast(array, pa.string())
    if pa.types.is_floating(array.type) and pc.any(pc.match_substring(text, "e")).as_py():
        return map_unique(Cells(text), lambda t: format(Decimal(t), "f") if "e" in t else t, pa.string()).values
    return text


def _cast_text(cells: Cells, step: TextCast, column: Column) -> Cells:
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
    too_long = _count(pc.greater(pc.utf8_length(cells.values), column.max_length))
    cut = pc.utf8_rtrim_whitespace(pc.utf8_slice_codeunits(cells.values, 0, column.max_length))
    return cells.with_values(cut).note(f"cut to {column.max_length} characters", too_long) if too_long else cells


def _in_language(text: str, language: str) -> str | Refusal | None:
    found = _loads(text) if text.lstrip().startswith("{") else text
    if not isinstance(found, dict):
        return text
    entry = next((v for k, v in found.items() if k.lower() == language.lower()), None)
    if entry is None or isinstance(entry, str):
        return entry
    return Refusal("not_text", f"has no text for {language}")


def _cast_split_last(cells: Cells, step: SplitLastCast, _column: Column) -> Cells:
    def split(text: str) -> str:
        head, found, tail = text.strip().rpartition(step.separator)
        if not (found and head and tail):
            return text.strip() if step.part == "before" else ""
        return head if step.part == "before" else tail

    return map_unique(cells.with_values(to_text(cells.values)), split, pa.string())


def _cast_json_pick(cells: Cells, step: JsonPickCast, _column: Column) -> Cells:
    def pick(text: str) -> str | Refusal | None:
        found = _loads(text)
        if found is None and text.strip() not in ("null", ""):
            return Refusal("not_json", "is no JSON")
        items = found.get(step.list) if isinstance(found, dict) and step.list else [found]
        chosen = [
            item
            for item in (items if isinstance(items, list) else [])
            if isinstance(item, dict) and _item_fits(item, step.where)
        ]
        return scalar_text(chosen[-1].get(step.value)) if chosen else None

    return map_unique(cells.with_values(to_text(cells.values)), pick, pa.string())


def _item_fits(item: dict[str, Any], where: dict[str, str]) -> bool:
    return all(str(item.get(key, "")).strip().casefold() == wanted.casefold() for key, wanted in where.items())


def scalar_text(value: Any) -> str | None:
    """A JSON value as the text people would write: 1.0 is "1", an object stays JSON."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        return format(Decimal(value), "f")
    return orjson.dumps(value).decode()


def _loads(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _cast_map(cells: Cells, step: MapCast, _column: Column) -> Cells:
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
    return out.note("unknown code left out", _count(pc.and_(pc.is_valid(texts), unknown)))


def _cast_replace(cells: Cells, step: ReplaceCast, _column: Column) -> Cells:
    return cells.with_values(pc.replace_substring_regex(to_text(cells.values), step.pattern, step.by))


def _cast_email(cells: Cells, step: EmailCast, _column: Column) -> Cells:
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


def _cast_slug(cells: Cells, _step: SlugCast, column: Column) -> Cells:
    def convert(text: str) -> str:
        plain = unicodedata.normalize("NFKD", text.replace("ß", "ss")).encode("ascii", "ignore").decode().lower()
        slug = re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain)).strip("-_")
        return slug[: column.max_length].rstrip("-_")

    return map_unique(cells.with_values(to_text(cells.values)), convert, pa.string())


def _cast_hash(cells: Cells, step: HashCast, _column: Column) -> Cells:
    def convert(text: str) -> str:
        return blake2b(text.encode(), digest_size=32).hexdigest()[: step.digits]

    return map_unique(cells.with_values(to_text(cells.values)), convert, pa.string())


# --- numbers -----------------------------------------------------------------------------------


def _respelled(cells: Cells, step: NumberSpelling) -> Cells:
    """Texts of people as texts that `_NUMBER` knows; texts without a number become null where `clean` says so."""
    texts = to_text(cells.values)
    if not (step.decimal_comma or step.clean) or _all_match(texts, _NUMBER):
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
    return out.note("number read out of a text", _count(changed)).note("no number in the text", _count(lost))


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


def _cast_integer(cells: Cells, step: IntegerCast, column: Column) -> Cells:
    out = _to_integer(cells, step, column)
    return _without_zero(out, positive=False) if step.zero_is_null else out


def _to_integer(cells: Cells, step: IntegerCast, column: Column) -> Cells:
    if pa.types.is_integer(cells.values.type):
        return cells
    if pa.types.is_boolean(cells.values.type):
        return cells.with_values(cells.values.cast(pa.int64()))
    cells = _respelled(cells, step)
    texts = cells.values
    if _all_match(texts, r"^-?\d{1,18}$"):
        return cells.with_values(texts.cast(pa.int64()))

    def convert(text: str) -> int | Refusal | None:
        number = _number(text)
        if number is None:
            return None if not text.strip() else Refusal("not_a_number", "is no number")
        whole = number.to_integral_value("ROUND_HALF_UP" if step.rounding == "half_up" else "ROUND_DOWN", _WIDE)
        if step.rounding == "exact" and whole != number:
            return Refusal("not_whole", "is no whole number")
        limit = 2 ** _INTEGER_BITS.get(column.type, 63)
        return (
            int(whole) if -limit <= whole < limit else Refusal("out_of_range", f"does not fit into {column.full_type}")
        )

    out = map_unique(cells, convert, pa.int64())
    fractions = 0 if step.rounding == "exact" else _count(pc.match_substring_regex(texts, r"^\s*[+-]?\d*\.\d*[1-9]"))
    return out.note("fraction dropped", fractions)


def _cast_decimal(cells: Cells, step: DecimalCast, column: Column) -> Cells:
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
    if not _all_match(texts, _NUMBER):
        cells = _refuse(cells, pc.invert(pc.match_substring_regex(texts, _NUMBER)), "not_a_number", "is no number")
    cells = cells.with_values(pc.utf8_trim_whitespace(cells.values))
    if column.scale is None:
        return cells
    excess = _count(pc.match_substring_regex(cells.values, rf"\.\d{{{column.scale}}}\d*[1-9]"))
    if excess and step.rounding == "truncate":
        unit = Decimal(1).scaleb(-column.scale)
        cells = map_unique(cells, lambda t: str(Decimal(t).quantize(unit, "ROUND_DOWN", _WIDE)), pa.string())
    return cells.note(f"rounded to {column.scale} places", excess)


def _number(text: str) -> Decimal | None:
    return Decimal(text.strip()) if _IS_NUMBER.match(text) else None


def _cast_boolean(cells: Cells, step: BooleanCast, _column: Column) -> Cells:
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


# --- days and instants -------------------------------------------------------------------------


@lru_cache(maxsize=1 << 16)  # a table has many rows and few days
def parse_date(text: str, pivot: int = 50) -> date | Refusal | None:
    """A day in any 4D spelling; None for an empty one (0!0!0, blank, !!0000-00-00!!)."""
    text = text.strip()
    found = next((m for p in _DATE_PATTERNS if (m := p.match(text))), None)
    if found is None:
        return None if not text else Refusal("not_a_date", "is no date")
    day, month, year = int(found["d"]), int(found["m"]), int(found["y"])
    if day == month == year == 0:
        return None
    if len(found["y"]) <= 2:
        year += 2000 if year < pivot else 1900
    try:
        return date(year, month, day)
    except ValueError:
        return Refusal("impossible_date", "is no day of the calendar")


def cast_dates(cells: Cells, pivot: int = 50) -> Cells:
    """Texts in any 4D spelling as date32."""
    return map_unique(cells.with_values(to_text(cells.values)), lambda text: parse_date(text, pivot), pa.date32())


def _cast_date(cells: Cells, step: DateCast, column: Column) -> Cells:
    days = cast_dates(cells, step.pivot)
    if not column.type.startswith("timestamp"):
        return days
    zone = ZoneInfo(step.timezone)
    return map_unique(days, lambda day: _in_utc(datetime.combine(day, time(), zone)), pa.timestamp("us", "UTC"))


def _cast_timestamp(cells: Cells, step: TimestampCast, _column: Column) -> Cells:
    if pa.types.is_timestamp(cells.values.type):
        return cells
    texts = pc.utf8_trim(to_text(cells.values), ' "')
    if _all_match(texts, r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z$"):
        try:
            return cells.with_values(texts.cast(pa.timestamp("us", "UTC")))
        except pa.ArrowInvalid:
            pass  # 31 February or 25 o'clock: found one by one below
    zone = ZoneInfo(step.timezone)

    def convert(text: str) -> datetime | Refusal | None:
        try:
            instant = datetime.fromisoformat(text)
        except ValueError:
            day = parse_date(text) if ":" not in text else Refusal("not_a_timestamp", "is no timestamp")
            if day is None or isinstance(day, Refusal):
                return day if day is None else Refusal("not_a_timestamp", "is no timestamp")
            instant = datetime.combine(day, time())
        return _in_utc(instant if instant.tzinfo else instant.replace(tzinfo=zone))

    return map_unique(cells.with_values(texts), convert, pa.timestamp("us", "UTC"))


def _in_utc(instant: datetime) -> datetime | Refusal:
    try:
        return instant.astimezone(UTC)
    except OverflowError:
        return Refusal("out_of_range", "lies outside the calendar")


# --- the column ----------------------------------------------------------------------------------


def _fit(cells: Cells, column: Column) -> Cells:
    values = cells.values
    if column.type in ("varchar", "bpchar", "text", "citext"):
        return _fit_text(cells.with_values(to_text(values)), column)
    if column.type in _INTEGER_BITS and pa.types.is_integer(values.type) and column.type != "int8":
        limit = 2 ** _INTEGER_BITS[column.type]
        outside = pc.or_(pc.less(values, -limit), pc.greater_equal(values, limit))
        return _refuse(cells, outside, "out_of_range", f"does not fit into {column.full_type}")
    if column.type == "numeric" and column.precision is not None:
        limit = 10.0 ** (column.precision - int(column.scale or 0))
        size = pc.abs(values.cast(pa.float64(), safe=False))
        half = 0.5 * 10.0 ** -int(column.scale or 0)
        return _refuse(
            cells, pc.greater_equal(size, limit - half), "out_of_range", f"does not fit into {column.full_type}"
        )
    if column.type == "uuid":
        texts = to_text(values)
        fits = pc.match_substring_regex(texts, r"^\s*\{?[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}\}?\s*$")
        return _refuse(cells.with_values(texts), pc.invert(fits), "not_a_uuid", "is no UUID")
    if column.type in ("json", "jsonb"):
        return map_unique(cells.with_values(to_text(values)), _as_json, pa.string())
    return cells


def _fit_text(cells: Cells, column: Column) -> Cells:
    cells = _refuse(cells, pc.match_substring(cells.values, "\x00"), "nul_byte", "contains a NUL byte")
    if column.max_length is None:
        return cells
    too_long = pc.greater(pc.utf8_length(cells.values), column.max_length)
    return _refuse(cells, too_long, "too_long", f"is longer than {column.max_length} characters")


def _as_json(text: str) -> str | Refusal:
    return text if _loads(text) is not None or text.strip() == "null" else Refusal("not_json", "is no JSON")


def _refuse(cells: Cells, where: pa.Array, reason: str, sentence: str) -> Cells:
    return cells.refuse(where, Refusal(reason, sentence))


def _all_match(texts: pa.Array, pattern: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(texts, pattern), min_count=0).as_py())


def _count(mask: pa.Array) -> int:
    return int(pc.sum(mask).as_py() or 0)


_CASTS: dict[str, Callable[[Cells, Any, Column], Cells]] = {
    "text": _cast_text,
    "integer": _cast_integer,
    "decimal": _cast_decimal,
    "boolean": _cast_boolean,
    "date": _cast_date,
    "timestamp": _cast_timestamp,
    "split_last": _cast_split_last,
    "json_pick": _cast_json_pick,
    "map": _cast_map,
    "replace": _cast_replace,
    "email": _cast_email,
    "slug": _cast_slug,
    "hash": _cast_hash,
}
_ANY_NUMBER = Column("", "numeric", "numeric", True, False, False, None, None, None)
_EXPECTED: dict[str, Cast] = {
    **dict.fromkeys(_INTEGER_BITS, IntegerCast()),
    **dict.fromkeys(("numeric", "float4", "float8"), DecimalCast()),
    "bool": BooleanCast(),
    "date": DateCast(),
    **dict.fromkeys(("timestamp", "timestamptz"), TimestampCast()),
}
