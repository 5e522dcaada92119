"""When does a schedule tick, as the mapping says it?"""

from datetime import datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from dagster._utils.schedules import schedule_execution_time_iterator

from legacy_sync.errors import MappingInvalid
from legacy_sync.mapping.clock import last_tick
from legacy_sync.mapping.loader import Project
from legacy_sync.mapping.model import KeyRangePartitions, Mapping, Schedule
from legacy_sync.mapping.notify_words import Notifications
from legacy_sync.orchestration.layout import Layout, build_layout
from legacy_sync.orchestration.rhythm import to_cron
from legacy_sync.orchestration.schedules import build_schedules, is_due, list_timetables

BERLIN = ZoneInfo("Europe/Berlin")
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


@pytest.mark.parametrize(
    ("at", "last_start", "expected"),
    [
        ((3, 2, 0), None, True),
        ((3, 2, 5), None, False),
        ((3, 2, 5), (3, 2, 0), False),
        ((3, 2, 5), (3, 1, 59), True),
        ((3, 23, 0), (2, 2, 0), True),
    ],
)
def test_mapping_is_due_at_its_time_and_after_a_time_it_missed(
    at: tuple[int, int, int], last_start: tuple[int, int, int] | None, expected: bool
):
    mapping = MAPPING.model_copy(update={"schedule": Schedule(cron="0 2 * * *")})
    assert is_due(mapping, in_berlin(*at), in_berlin(*last_start) if last_start else None) is expected


def test_mapping_without_schedule_is_never_due():
    assert not is_due(MAPPING, in_berlin(3, 2, 0), in_berlin(1, 2, 0))


def test_names_of_schedules_stay_whatever_is_edited_beside_them():
    a = with_words("a", schedule=Schedule(every="5m"))
    names = [
        named(a),
        named(with_words("a", schedule=Schedule(cron="1 2 3 * *"))),
        named(a, with_words("b", schedule=Schedule(every="1h"))),
        named(with_words("0", schedule=Schedule(every="1h")), a),
        named(a, with_words("b", partitions=KeyRangePartitions(type="key_range", buckets=4))),
    ]
    assert names == [["sync_sales"]] * len(names)


def test_rhythm_in_another_zone_has_a_schedule_named_after_it():
    far = with_words("b", schedule=Schedule(every="1h", timezone="America/New_York"))
    near = with_words("a", schedule=Schedule(every="5m"))
    assert named(near, far) == ["sync_sales_in_america_new_york", "sync_sales"]


def test_cron_lines_of_a_group_are_one_schedule():
    a, b = (with_words(name, schedule=Schedule(every=every)) for name, every in (("a", "5m"), ("b", "1h")))
    c = with_words("c", schedule=Schedule(every="5m"))
    (timetable,) = list_timetables(layout_of(a, b, c))
    assert timetable.crons == ["*/5 * * * *", "0 * * * *"]


def in_berlin(day: int, hour: int, minute: int) -> datetime:
    return datetime(2026, 11, day, hour, minute, tzinfo=ZoneInfo("Europe/Berlin"))


def with_words(entity: str, **words: object) -> Mapping:
    own = {"entity": entity, "group": "sales", "source": MAPPING.source.model_copy(update={"table": entity})}
    return MAPPING.model_copy(update={**own, **words})


def layout_of(*mappings: Mapping) -> Layout:
    return build_layout(Project({m.entity: m for m in mappings}, {}, 3, Notifications(), "dev", {}, ""))


def named(*mappings: Mapping) -> list[str]:
    return [schedule.name for schedule in build_schedules(layout_of(*mappings))]


def ticks(cron: str, first: str, count: int) -> list[str]:
    """The first ticks Dagster's daemon makes of a schedule in Berlin, on Berlin's clock."""
    start = datetime.fromisoformat(first).replace(tzinfo=BERLIN)
    found = schedule_execution_time_iterator(start.timestamp(), cron, "Europe/Berlin", ascending=True)
    return [f"{moment:%m-%d %H:%M %Z}" for moment in islice(found, count)]


@pytest.mark.parametrize(
    ("first", "wanted"),
    [
        ("2026-03-28 12:00", ["03-29 03:00 CEST", "03-30 02:30 CEST"]),  # 02:30 does not exist: an hour later
        ("2026-10-24 12:00", ["10-25 02:30 CET", "10-26 02:30 CET"]),  # 02:30 comes twice: one run
    ],
)
def test_nightly_schedule_runs_once_in_the_nights_in_which_the_clock_changes(first: str, wanted: list[str]):
    assert ticks("30 2 * * *", first, 2) == wanted


def test_interval_of_an_hour_has_23_and_25_ticks_on_the_days_of_the_change():
    hourly = to_cron(MAPPING, Schedule(every=timedelta(hours=1)))
    spring = [t for t in ticks(hourly, "2026-03-29 00:00", 30) if t.startswith("03-29")]
    autumn = [t for t in ticks(hourly, "2026-10-25 00:00", 30) if t.startswith("10-25")]
    assert (len(spring), len(autumn)) == (23, 25)
    assert len(set(spring)) == 23
    assert len(set(autumn)) == 25


@pytest.mark.parametrize(
    ("before", "tick"),
    [
        ("2026-03-29 12:00", "03-29 03:00 CEST"),
        ("2026-10-25 12:00", "10-25 02:30 CEST"),
        ("2026-11-28 02:30", "11-27 02:30 CET"),  # the tick itself is not before itself
    ],
)
def test_last_tick_of_a_rhythm_is_known_across_the_changes_of_the_clock(before: str, tick: str):
    moment = datetime.fromisoformat(before).replace(tzinfo=BERLIN)
    assert f"{last_tick('30 2 * * *', 'Europe/Berlin', moment):%m-%d %H:%M %Z}" == tick
