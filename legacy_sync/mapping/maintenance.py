"""When is a source not to be asked? Windows by weekday and time, or by a cron line and a duration."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, model_validator

from legacy_sync.mapping.clock import cron_error, is_zone, last_tick
from legacy_sync.mapping.model import Duration
from legacy_sync.mapping.word import Word

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
LONGEST = timedelta(days=7)
_TIME = re.compile(r"^(?=24:00$|[01]?\d:|2[0-3]:)(\d{1,2}):([0-5]\d)$")


def _lower(value: object) -> object:
    words = value if isinstance(value, list | tuple) else [value]
    return [word.lower() if isinstance(word, str) else word for word in words]


def _time_of_day(value: object) -> object:
    """`22:00`; `24:00` is the midnight at the end of a day."""
    if isinstance(value, str) and (match := _TIME.match(value)):
        return time(int(match[1]) % 24, int(match[2]))
    if isinstance(value, time):
        return value
    raise ValueError(f'"{value}" is no time of day; write hours and minutes in quotes, such as "22:00"')


Days = Annotated[
    tuple[Weekday, ...],
    BeforeValidator(_lower, json_schema_input_type=Weekday | list[Weekday]),
    Field(min_length=1),
]
TimeOfDay = Annotated[
    time, BeforeValidator(_time_of_day, json_schema_input_type=Annotated[str, Field(pattern=_TIME.pattern)])
]


class Maintenance(Word):
    """A time in which nobody asks the source by itself: `from` and `to` on some weekdays, or `cron` and `for`."""

    description: str = Field(default="", description="what happens then, for people")
    days: Days = Field(default=WEEKDAYS, description="weekdays on which it begins; by default every day")
    from_: TimeOfDay | None = Field(default=None, alias="from", description='when it begins, such as "22:00"')
    to: TimeOfDay | None = Field(default=None, description="when it ends; not after `from`: on the next day")
    cron: str | None = Field(default=None, description="instead of weekdays: a cron line that says when it begins")
    for_: Duration | None = Field(default=None, alias="for", description="how long it lasts after `cron`")
    timezone: str = Field(default="Europe/Berlin", description="IANA zone of the times")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        by_time = (self.from_ is not None, self.to is not None)
        by_cron = (self.cron is not None, self.for_ is not None)
        if any(by_time) == any(by_cron) or not (all(by_time) or all(by_cron)):
            raise ValueError("needs either `from` and `to`, or `cron` and `for`")
        if self.cron is not None and "days" in self.model_fields_set:
            raise ValueError("`days` belongs to `from` and `to`; a cron line has weekdays of its own")
        if self.cron is not None and (reason := cron_error(self.cron)):
            raise ValueError(f'"{self.cron}" is no cron line: {reason}; write such as "0 1 * * 6"')
        if self.for_ is not None and not timedelta() < self.for_ <= LONGEST:
            raise ValueError("`for` is more than nothing and at most 7d")
        if not is_zone(self.timezone):
            raise ValueError(f'"{self.timezone}" is no time zone; write an IANA name such as "Europe/Berlin"')
        return self

    def end(self, now: datetime) -> datetime | None:
        """When the window that contains `now` (aware) ends, in the zone of the window; None outside."""
        zone = ZoneInfo(self.timezone)
        if self.cron is not None and self.for_ is not None:
            begun = last_tick(self.cron, self.timezone, now + timedelta(microseconds=1))
            end = begun.astimezone(UTC) + self.for_
            return end.astimezone(zone) if now < end else None
        today = now.astimezone(zone).date()
        ends = [self._end_of(day, zone) for day in (today - timedelta(days=1), today) if self._holds(day, zone, now)]
        return max(ends, default=None)

    def _holds(self, day: date, zone: ZoneInfo, now: datetime) -> bool:
        if WEEKDAYS[day.weekday()] not in self.days:
            return False
        begin = datetime.combine(day, self.from_ or time(0), zone)  # of an hour that comes twice the first
        return begin.astimezone(UTC) <= now.astimezone(UTC) < self._end_of(day, zone).astimezone(UTC)

    def _end_of(self, day: date, zone: ZoneInfo) -> datetime:
        begin, end = self.from_ or time(0), self.to or time(0)
        last = day if end > begin else day + timedelta(days=1)
        return datetime.combine(last, end.replace(fold=1), zone)  # of an hour that comes twice the second


def find_end(windows: Iterable[Maintenance], now: datetime) -> datetime | None:
    """When the source may be asked again; None if it may be now. Windows that follow each other are one."""
    windows = tuple(windows)
    end: datetime | None = None
    while following := [found for w in windows if (found := w.end(end or now)) is not None]:
        latest = max(following)
        if end is not None and latest - now > LONGEST:
            return latest  # windows without a gap never end
        end = latest
    return end
