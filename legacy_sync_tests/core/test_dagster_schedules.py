"""When does a schedule tick, as the mapping says it?"""

from datetime import timedelta

import pytest

from legacy_sync.errors import MappingInvalid
from legacy_sync.mapping.model import Mapping, Schedule
from legacy_sync.orchestration.rhythm import to_cron

MAPPING = Mapping.model_validate(
    {
        "entity": "kunde",
        "source": {"table": "Kunden"},
        "target": {"table": "kunde"},
        "fields": {"name": {"from": "Name"}},
    }
)


@pytest.mark.parametrize(
    ("every", "cron"),
    [
        ("1m", "* * * * *"),
        ("5m", "*/5 * * * *"),
        ("300s", "*/5 * * * *"),
        ("30m", "*/30 * * * *"),
        ("1h", "0 * * * *"),
        ("60m", "0 * * * *"),
        ("6h", "0 */6 * * *"),
        ("24h", "0 0 * * *"),
        ("1d", "0 0 * * *"),
        ("1w", "0 0 * * 1"),
    ],
)
def test_interval_that_divides_the_clock_becomes_a_cron_line(every: str, cron: str):
    assert to_cron(MAPPING, Schedule(every=every)) == cron  # type: ignore[arg-type]


@pytest.mark.parametrize("every", ["30s", "7m", "90m", "5h", "2d", "0m", "90s"])
def test_interval_that_does_not_divide_the_clock_is_refused(every: str):
    with pytest.raises(
        MappingInvalid, match=r"does not fit the clock evenly[\s\S]*mapping kunde, schedule.every[\s\S]*15m"
    ):
        to_cron(MAPPING, Schedule(every=every))  # type: ignore[arg-type]


def test_cron_line_is_taken_as_it_is():
    assert to_cron(MAPPING, Schedule(cron="15 6 * * 1-5")) == "15 6 * * 1-5"
    assert Schedule(every=timedelta(hours=1)).cron is None
