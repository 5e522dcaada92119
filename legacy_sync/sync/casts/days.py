"""Which day or instant does a legacy value mean? The spellings of 4D (d!m!yyyy, 0!0!0) are read here."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time
from functools import lru_cache
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

from legacy_sync.erp.catalog import Column
from legacy_sync.mapping.model import DateCast, TimestampCast
from legacy_sync.sync.casts.basics import all_match, to_text
from legacy_sync.sync.cells import Cells, Refusal, map_unique

_DATE_PATTERNS = (
    re.compile(r"^!*(?P<d>\d{1,2})[!.](?P<m>\d{1,2})[!.](?P<y>\d{1,4})(?:[ T].*)?$"),
    re.compile(r"^!*(?P<y>\d{4})-(?P<m>\d{1,2})-(?P<d>\d{1,2})(?:!*|[ T].*)$"),
    re.compile(r"^(?P<y>\d{4})(?P<m>\d{2})(?P<d>\d{2})$"),
)


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


def cast_date(cells: Cells, step: DateCast, column: Column) -> Cells:
    days = cast_dates(cells, step.pivot)
    if not column.type.startswith("timestamp"):
        return days
    zone = ZoneInfo(step.timezone)
    return map_unique(days, lambda day: _in_utc(datetime.combine(day, time(), zone)), pa.timestamp("us", "UTC"))


def cast_timestamp(cells: Cells, step: TimestampCast, _column: Column) -> Cells:
    if pa.types.is_timestamp(cells.values.type):
        return cells
    texts = pc.utf8_trim(to_text(cells.values), ' "')
    if all_match(texts, r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z$"):
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
