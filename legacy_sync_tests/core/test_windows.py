"""Are the partitions of a mapping whole, without gaps and overlaps?"""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from legacy_sync.errors import EntityUnknown
from legacy_sync.mapping.model import Mapping
from legacy_sync.sync.windows import ALL, Window, list_windows, select_windows, today_of


def mapping(**partitions: object) -> Mapping:
    return Mapping.model_validate(
        {
            "entity": "t",
            "source": {"table": "T", "cursor": "modified_date"},
            "target": {"table": "t"},
            "fields": {"a": {"from": "A"}},
            "partitions": partitions or {"type": "none"},
        }
    )


def windowed(size: str, start: str) -> Mapping:
    return mapping(type="window", size=size, start=start)


def test_table_without_partitions_is_one():
    assert list_windows(mapping(), date(2025, 3, 6)) == [Window(ALL)]


def test_months_are_open_at_both_ends():
    assert list_windows(windowed("month", "2024-12-15"), date(2025, 2, 1)) == [
        Window("2024-12-01", None, date(2025, 1, 1)),
        Window("2025-01-01", date(2025, 1, 1), date(2025, 2, 1)),
        Window("2025-02-01", date(2025, 2, 1), None),
    ]


def test_weeks_begin_on_mondays():
    windows = list_windows(windowed("week", "2025-03-05"), date(2025, 3, 16))
    assert [w.partition for w in windows] == ["2025-03-03", "2025-03-10"]


def test_days_of_a_leap_year():
    windows = list_windows(windowed("day", "2024-02-28"), date(2024, 3, 1))
    assert [w.partition for w in windows] == ["2024-02-28", "2024-02-29", "2024-03-01"]


def test_start_in_the_future_is_one_open_window():
    assert list_windows(windowed("month", "2030-01-01"), date(2025, 1, 1)) == [Window("2030-01-01", None, None)]


@given(
    st.sampled_from(["day", "week", "month"]),
    st.dates(date(2015, 1, 1), date(2025, 1, 1)),
    st.integers(0, 800),
)
def test_windows_have_no_gap_and_contain_today(size: str, start: date, days: int):
    today = start + timedelta(days=days)
    windows = list_windows(windowed(size, start.isoformat()), today)
    assert windows[0].cursor_from is None
    assert windows[-1].cursor_to is None
    assert all(a.cursor_to == b.cursor_from for a, b in pairwise(windows))
    assert date.fromisoformat(windows[-1].partition) <= today
    assert len({w.partition for w in windows}) == len(windows)


@given(st.sampled_from([4, 8, 16, 32, 64]), st.binary(min_size=16, max_size=16))
def test_every_key_is_in_exactly_one_range(buckets: int, key: bytes):
    text = key.hex().upper()
    windows = list_windows(mapping(type="key_range", buckets=buckets), date(2025, 1, 1))
    hits = [w for w in windows if (w.key_from or "") <= text and (w.key_to is None or text < w.key_to)]
    assert len(windows) == buckets
    assert len(hits) == 1


def test_named_windows_come_in_calendar_order():
    chosen = select_windows(windowed("month", "2025-01-01"), ["2025-03-01", "2025-01-01"], date(2025, 3, 6))
    assert [w.partition for w in chosen] == ["2025-01-01", "2025-03-01"]


@pytest.mark.parametrize("key", ["2025-01-02", "2024-12-01", "2025-04-01", "", "all"])
def test_unknown_window_is_refused(key: str):
    with pytest.raises(EntityUnknown, match="is no partition of t"):
        select_windows(windowed("month", "2025-01-01"), [key], date(2025, 3, 6))


def test_today_is_the_day_where_the_server_stands():
    late = datetime(2025, 3, 6, 23, 30, tzinfo=UTC)
    assert today_of(windowed("month", "2025-01-01"), late) == date(2025, 3, 7)
    there = mapping(type="window", size="month", start="2025-01-01", timezone="America/New_York")
    assert today_of(there, late) == date(2025, 3, 6)
