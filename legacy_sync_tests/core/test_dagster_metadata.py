"""Do the values of a run become metadata Dagster can store and plot?"""

from datetime import UTC, date, datetime
from decimal import Decimal

import dagster as dg
import numpy as np
import pytest
from dagster_shared.serdes import deserialize_value, serialize_value

from legacy_sync.orchestration.metadata import of_counts, table_of, to_metadata
from legacy_sync.sync.report import Counts, link_rates


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (np.int64(3), dg.IntMetadataValue),
        (np.float64(1.5), dg.FloatMetadataValue),
        (np.bool_(True), dg.BoolMetadataValue),
        (Decimal("1.25"), dg.FloatMetadataValue),
        (date(2026, 1, 2), dg.TextMetadataValue),
        (datetime(2026, 1, 2, tzinfo=UTC), dg.TimestampMetadataValue),
        ({"a": Decimal(1), "b": [date(2026, 1, 2)]}, dg.JsonMetadataValue),
        (("a", np.int64(1)), dg.JsonMetadataValue),
        ("text", dg.TextMetadataValue),
        (True, dg.BoolMetadataValue),
    ],
)
def test_value_of_any_library_can_be_stored(value: object, kind: type):
    metadata = to_metadata({"value": value})["value"]
    assert isinstance(metadata, kind)
    assert deserialize_value(serialize_value(metadata)) == metadata


def test_nothing_is_no_metadata():
    assert to_metadata({"value": None}) == {}


def test_every_count_has_its_number():
    values = {name: value.value for name, value in of_counts(Counts(read=7, parked=2, conflicts=1)).items()}
    assert values["rows_read"] == 7
    assert values["rows_parked"] == 2
    assert values["conflicts"] == 1
    assert {
        f"rows_{name}" for name in ("inserted", "updated", "unchanged", "adopted", "replayed", "kept")
    } <= values.keys()


def test_link_rate_counts_only_rows_that_name_a_parent():
    links = {
        "parent_id": {"rows": 10, "blank": 2, "linked": 6, "missing": 2},
        "empty_id": {"rows": 3, "blank": 3, "linked": 0},
    }
    assert link_rates(links) == {"parent_id": 0.75}


def test_table_takes_times_and_nothing():
    table = table_of(("key", "since"), [("a", datetime(2026, 1, 2, tzinfo=UTC)), ("b", None)])
    assert [record.data for record in table.records] == [
        {"key": "a", "since": "2026-01-02T00:00:00+00:00"},
        {"key": "b", "since": None},
    ]
