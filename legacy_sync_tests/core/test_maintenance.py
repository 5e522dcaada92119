"""When is a source in maintenance, right across the changes of the clock?"""

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from legacy_sync.mapping.maintenance import Maintenance, find_end

BERLIN = ZoneInfo("Europe/Berlin")
WEEKEND_NIGHTS = {"days": ["sat", "sun"], "from": "22:00", "to": "02:00"}
NIGHTLY = {"from": "01:30", "to": "03:30"}
BY_CRON = {"cron": "0 2 * * *", "for": "90m"}


def end(words: dict[str, Any] | list[dict[str, Any]], moment: str, fold: int = 0) -> str | None:
    """The end of the window at a moment of Berlin's clock, on the same clock."""
    windows = [Maintenance.model_validate(w) for w in (words if isinstance(words, list) else [words])]
    found = find_end(windows, datetime.fromisoformat(moment).replace(tzinfo=BERLIN, fold=fold))
    return f"{found:%Y-%m-%d %H:%M %Z}" if found else None


@pytest.mark.parametrize(
    ("moment", "until"),
    [
        ("2026-11-28 21:59", None),
        ("2026-11-28 22:00", "2026-11-29 02:00 CET"),  # Saturday
        ("2026-11-29 01:59", "2026-11-29 02:00 CET"),
        ("2026-11-29 02:00", None),
        ("2026-11-30 01:00", "2026-11-30 02:00 CET"),  # what began on Sunday
        ("2026-11-28 01:00", None),  # Friday's night
    ],
)
def test_window_over_midnight_belongs_to_the_weekday_on_which_it_begins(moment: str, until: str | None):
    assert end(WEEKEND_NIGHTS, moment) == until


@pytest.mark.parametrize(
    ("words", "moment", "fold", "until"),
    [
        (NIGHTLY, "2026-03-29 01:45", 0, "2026-03-29 03:30 CEST"),  # 02:00 to 03:00 does not exist
        (NIGHTLY, "2026-03-29 03:29", 0, "2026-03-29 03:30 CEST"),
        (NIGHTLY, "2026-03-29 03:30", 0, None),
        (NIGHTLY, "2026-10-25 02:15", 0, "2026-10-25 03:30 CET"),  # 02:00 to 03:00 comes twice
        (NIGHTLY, "2026-10-25 02:15", 1, "2026-10-25 03:30 CET"),
        ({"from": "22:00", "to": "02:30"}, "2026-10-25 02:15", 1, "2026-10-25 02:30 CET"),
        ({"from": "22:00", "to": "02:30"}, "2026-10-25 02:45", 1, None),
        (BY_CRON, "2026-03-29 03:15", 0, "2026-03-29 04:30 CEST"),
        (BY_CRON, "2026-10-25 02:15", 0, "2026-10-25 02:30 CET"),
        (BY_CRON, "2026-10-25 02:45", 1, None),
        (BY_CRON, "2026-11-25 02:00", 0, "2026-11-25 03:30 CET"),
        (BY_CRON, "2026-11-25 03:30", 0, None),
    ],
)
def test_window_is_right_in_the_nights_in_which_the_clock_changes(
    words: dict[str, Any], moment: str, fold: int, until: str | None
):
    assert end(words, moment, fold) == until


def test_windows_that_follow_each_other_are_one():
    assert end([NIGHTLY, {"from": "03:30", "to": "05:00"}], "2026-11-28 02:00") == "2026-11-28 05:00 CET"


def test_windows_without_a_gap_do_not_hang():
    assert end({"from": "00:00", "to": "24:00"}, "2026-11-28 02:00") is not None


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ({"from": "22:00"}, "needs either `from` and `to`, or `cron` and `for`"),
        ({"from": "22:00", "to": "23:00", "cron": "0 1 * * *", "for": "1h"}, "needs either"),
        ({"cron": "0 25 * * *", "for": "1h"}, "is no cron line"),
        ({"cron": "0 1 * * *", "for": "9d"}, "at most 7d"),
        ({"cron": "0 1 * * *", "for": "1h", "days": "sat"}, "`days` belongs to `from` and `to`"),
        ({"from": "25:00", "to": "23:00"}, "is no time of day"),
        ({"from": "22:00", "to": "23:00", "timezone": "Mars/Base"}, "is no time zone"),
    ],
)
def test_window_that_means_nothing_is_refused(words: dict[str, Any], text: str):
    with pytest.raises(ValidationError, match=text):
        Maintenance.model_validate(words)
