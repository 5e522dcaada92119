"""Which cron line is the rhythm of a mapping?"""

from datetime import timedelta

from legacy_sync.errors import MappingInvalid, Problem
from legacy_sync.mapping.model import Mapping
from legacy_sync.mapping.model import Schedule as Rhythm

_MINUTE, _HOUR, _DAY, _WEEK = (timedelta(minutes=1), timedelta(hours=1), timedelta(days=1), timedelta(weeks=1))


def to_cron(mapping: Mapping, rhythm: Rhythm) -> str:
    """The cron line of a rhythm; raises MappingInvalid for an interval the clock cannot be divided into."""
    if rhythm.cron:
        return rhythm.cron
    every = rhythm.every or timedelta()
    if every == _WEEK:
        return "0 0 * * 1"
    if every == _DAY:
        return "0 0 * * *"
    if every >= _HOUR and every % _HOUR == timedelta() and _DAY % every == timedelta():
        return f"0 */{every // _HOUR} * * *" if every > _HOUR else "0 * * * *"
    if _MINUTE <= every < _HOUR and every % _MINUTE == timedelta() and _HOUR % every == timedelta():
        return f"*/{every // _MINUTE} * * * *" if every > _MINUTE else "* * * * *"
    raise MappingInvalid(
        [
            Problem(
                f"an interval of {every} does not fit the clock evenly",
                f"mapping {mapping.entity}, schedule.every",
                "choose minutes that divide an hour (1m, 5m, 15m, 30m), hours that divide a day (1h, 2h, 6h), 1d or 1w,"
                " or write a `cron` line",
            )
        ]
    )
