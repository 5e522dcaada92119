"""What do cron lines and time zones say? Pure calendar, right across the changes of the clock."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError


def cron_error(line: str) -> str | None:
    """Why a text is no cron line that ever comes true; None if it is one."""
    parts = line.split()
    if len(parts) != 5:
        return f"it has {len(parts)} parts, not 5"
    try:
        next(CronSim(line, datetime(2024, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        return str(error).lower()
    except StopIteration:
        return "it never comes true"
    return None


def is_zone(name: str) -> bool:
    """Whether it is an IANA time zone."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def last_tick(line: str, zone: str, before: datetime) -> datetime:
    """The last moment a cron line came true before `before` (aware)."""
    return next(CronSim(line, before.astimezone(ZoneInfo(zone)), reverse=True))
