"""Which assets, units and jobs do mappings give that share tables, or are cut differently?"""

from datetime import date

import dagster as dg
import pytest

from legacy_sync.errors import MappingInvalid
from legacy_sync.mapping.loader import Project
from legacy_sync.mapping.model import Mapping
from legacy_sync.orchestration.jobs import list_jobs
from legacy_sync.orchestration.layout import Layout, build_layout, erp_key
from legacy_sync.orchestration.requests import MOST_PARTITIONS, in_blocks

MONTHS = {"type": "window", "size": "month", "start": date(2026, 1, 1)}
DAYS = {"type": "window", "size": "day", "start": date(2026, 1, 1)}
NONE = {"type": "none"}


def mapping(entity: str, table: str, partitions: dict[str, object], group: str = "sales") -> Mapping:
    source = {"table": table, "cursor": "modified_date"}
    target = {"table": entity.split(".")[0]}
    fields = {"name": {"from": "Name"}}
    words = {"entity": entity, "group": group, "source": source, "target": target, "fields": fields}
    return Mapping.model_validate({**words, "partitions": partitions})


def layout(*mappings: Mapping) -> Layout:
    by_entity = {m.entity: m for m in mappings}
    return build_layout(Project(by_entity, {}, 3, "dev", {}, ""))


def test_mappings_that_read_a_table_alike_share_its_asset():
    made = layout(mapping("a", "Kunden", MONTHS), mapping("b.contact", "Kunden", MONTHS))
    (table,) = made.tables
    assert table.key == dg.AssetKey(["legacy", "Kunden"])
    assert [m.entity for m in table.readers] == ["a", "b.contact"]
    assert made.partitions_of(table.readers[0]) is made.partitions_of(table.readers[1])


def test_dot_of_an_entity_becomes_an_underscore():
    assert erp_key("sales_salesrecord.payments") == dg.AssetKey(["erp", "sales_salesrecord_payments"])


def test_table_that_is_cut_in_two_ways_has_two_assets():
    made = layout(mapping("a", "Kunden", MONTHS), mapping("b", "Kunden", NONE))
    assert [t.key.path[-1] for t in made.tables] == ["Kunden", "Kunden_whole"]


def test_entities_that_would_be_one_asset_are_refused():
    with pytest.raises(MappingInvalid, match=r'a\.b and a_b would both be the asset "erp/a_b"'):
        layout(mapping("a.b", "Kunden", MONTHS), mapping("a_b", "Artikel", MONTHS))


def test_group_with_one_way_of_partitioning_is_one_job():
    made = layout(mapping("a", "Kunden", MONTHS), mapping("b", "Orte", NONE), mapping("c", "Artikel", MONTHS, "stock"))
    assert [(j.name, [m.entity for m in j.unit.mappings]) for j in list_jobs(made)] == [
        ("sync_sales", ["a", "b"]),
        ("sync_stock", ["c"]),
        ("sync_all", ["a", "b", "c"]),
    ]


def test_group_with_several_ways_of_partitioning_is_a_job_for_each():
    later = {**MONTHS, "start": date(2026, 2, 1)}
    made = layout(mapping("a", "A", MONTHS), mapping("b", "B", NONE), mapping("c", "C", DAYS), mapping("d", "D", later))
    names = [j.name for j in list_jobs(made) if j.group]
    assert names == ["sync_sales_by_month", "sync_sales_whole", "sync_sales_by_day", "sync_sales_by_month_4"]


def test_partitions_are_asked_for_in_blocks_without_gaps():
    year = mapping("a", "A", MONTHS)
    assert in_blocks(year, ["2026-05-01", "2026-01-01", "2026-02-01"]) == [["2026-01-01", "2026-02-01"], ["2026-05-01"]]


def test_a_block_is_no_longer_than_a_run_should_be():
    days = mapping("a", "A", DAYS)
    wanted = [date.fromordinal(date(2026, 1, 1).toordinal() + n).isoformat() for n in range(MOST_PARTITIONS + 5)]
    assert [len(block) for block in in_blocks(days, wanted)] == [MOST_PARTITIONS, 5]
