"""Are the partitions of a mapping whole, without gaps and overlaps?"""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from legacy_sync.errors import EntityUnknown
from legacy_sync.mapping.model import Mapping
from legacy_sync.sync.windows import (
    ALL,
    ALL_SLICES,
    Window,
    list_loads,
    list_windows,
    names_some,
    select_windows,
    today_of,
)


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


DAY = date(2025, 1, 1)


def numbered(size: int = 5000, count: int = 3) -> Mapping:
    return mapping(type="number_range", attribute="AbsNr", size=size, count=count)


def test_slices_of_a_number_are_open_at_both_ends():
    assert list_windows(numbered(), DAY) == [
        Window("n00", number_from=None, number_to=5000),
        Window("n01", number_from=5000, number_to=10000),
        Window("n02", number_from=10000, number_to=None),
    ]


@given(st.integers(1, 10**6), st.integers(2, 100), st.integers(-(10**9), 10**9))
def test_every_number_is_in_exactly_one_slice(size: int, count: int, number: int):
    windows = list_windows(numbered(size, count), DAY)
    hits = [
        w
        for w in windows
        if (w.number_from is None or w.number_from <= number) and (w.number_to is None or number < w.number_to)
    ]
    assert len(hits) == 1
    assert [w.partition for w in windows] == sorted({w.partition for w in windows})


def test_to_name_all_partitions_is_to_name_none():
    three = numbered()
    assert not names_some(three, None, DAY)
    assert not names_some(three, ["n02", "n00", "n01"], DAY)
    assert names_some(three, ["n00", "n01"], DAY)
    assert names_some(three, [], DAY)


def test_what_speaks_for_all_slices_is_loaded_last_and_never_without_them():
    landed = [ALL_SLICES, "n00", "n01", "n02"]
    last = ["n00", "n01", "n02", ALL_SLICES]
    assert list_loads(numbered(), None, landed, DAY) == last
    assert list_loads(numbered(), ["n01", "n00", "n02"], landed, DAY) == last
    assert list_loads(numbered(), ["n01", ALL_SLICES], landed, DAY) == last
    assert list_loads(numbered(), ["n01", "n00"], landed, DAY) == ["n01", "n00"]
    assert list_loads(numbered(), None, ["n00", "n01"], DAY) == ["n00", "n01"]


def test_other_partitions_are_loaded_as_named_or_landed():
    assert list_loads(mapping(), None, [ALL], DAY) == [ALL]
    assert list_loads(windowed("month", "2025-01-01"), ["2025-02-01"], ["2025-01-01"], DAY) == ["2025-02-01"]


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
