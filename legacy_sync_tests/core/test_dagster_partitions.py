"""Does Dagster cut the tables exactly as the sync does?"""

from datetime import UTC, date, datetime, timedelta

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from legacy_sync.mapping.model import (
    KeyRangePartitions,
    Mapping,
    NoPartitions,
    NumberRangePartitions,
    Partitions,
    WindowPartitions,
)
from legacy_sync.orchestration.partitions import build_dependency, build_partitions
from legacy_sync.sync.windows import list_windows, today_of


def mapping_with(partitions: Partitions) -> Mapping:
    source = {"table": "Kunden", "cursor": "modified_date"}
    fields = {"name": {"from": "Name"}}
    words = {"entity": "kunde", "source": source, "target": {"table": "kunde"}, "fields": fields}
    return Mapping.model_validate({**words, "partitions": partitions})


def keys_at(mapping: Mapping, now: datetime) -> tuple[list[str], list[str]]:
    definition = build_partitions(mapping)
    assert definition is not None
    return list(definition.get_partition_keys(current_time=now)), [
        w.partition for w in list_windows(mapping, today_of(mapping, now))
    ]


@given(
    st.sampled_from(["day", "week", "month"]),
    st.dates(date(2019, 1, 1), date(2022, 12, 31)),
    st.integers(0, 500 * 24 * 60),
    st.sampled_from(["Europe/Berlin", "UTC", "America/New_York"]),
)
def test_windows_have_the_same_keys_at_any_time(size: str, start: date, minutes: int, zone: str):
    mapping = mapping_with(WindowPartitions(size=size, start=start, timezone=zone))  # type: ignore[arg-type]
    now = datetime(start.year, start.month, start.day, 12, tzinfo=UTC) + timedelta(days=1, minutes=minutes)
    dagster, ours = keys_at(mapping, now)
    assert dagster == ours


@pytest.mark.parametrize(
    "moment",
    [
        "2026-03-29T00:59",
        "2026-03-29T01:01",
        "2026-10-25T00:59",
        "2026-10-31T22:59",
        "2026-10-31T23:01",
        "2026-12-31T23:30",
    ],
)
def test_open_window_begins_at_midnight_where_the_legacy_server_is(moment: str):
    mapping = mapping_with(WindowPartitions(size="day", start=date(2026, 1, 1)))
    dagster, ours = keys_at(mapping, datetime.fromisoformat(moment).replace(tzinfo=UTC))
    assert dagster[-1] == ours[-1]


def test_key_ranges_have_the_same_keys():
    dagster, ours = keys_at(mapping_with(KeyRangePartitions(buckets=16)), datetime(2026, 1, 1, tzinfo=UTC))
    assert dagster == ours


def test_slices_of_a_number_have_the_same_keys():
    mapping = mapping_with(NumberRangePartitions(attribute="AbsNr", size=5000, count=24))
    dagster, ours = keys_at(mapping, datetime(2026, 1, 1, tzinfo=UTC))
    assert dagster == ours
    assert (dagster[0], dagster[-1]) == ("n00", "n23")


def test_unpartitioned_table_has_no_partitions():
    assert build_partitions(mapping_with(NoPartitions())) is None


def test_parent_with_other_partitions_is_followed_by_its_newest():
    months = build_partitions(mapping_with(WindowPartitions(size="month", start=date(2026, 1, 1))))
    ranges = build_partitions(mapping_with(KeyRangePartitions(buckets=4)))
    parent = dg.AssetKey(["erp", "parent"])
    assert build_dependency(parent, months, months).partition_mapping is None
    assert build_dependency(parent, None, months).partition_mapping is None
    assert isinstance(build_dependency(parent, months, ranges).partition_mapping, dg.LastPartitionMapping)
    assert isinstance(build_dependency(parent, months, None).partition_mapping, dg.LastPartitionMapping)
