"""Which assets, units and jobs do mappings give that share tables, or are cut differently?"""

from datetime import date

import dagster as dg
import pytest

from legacy_sync.errors import MappingInvalid
from legacy_sync.mapping.loader import Project
from legacy_sync.mapping.model import Mapping
from legacy_sync.mapping.notify_words import Notifications
from legacy_sync.orchestration.assets import build_assets
from legacy_sync.orchestration.jobs import list_jobs
from legacy_sync.orchestration.layout import Layout, build_layout, erp_key
from legacy_sync.orchestration.requests import MOST_PARTITIONS, in_blocks
from legacy_sync.settings import read_settings

MONTHS = {"type": "window", "size": "month", "start": date(2026, 1, 1)}
DAYS = {"type": "window", "size": "day", "start": date(2026, 1, 1)}
NONE = {"type": "none"}
NUMBERS = {"type": "number_range", "attribute": "AbsNr", "size": 100, "count": 3}


def mapping(entity: str, table: str, partitions: dict[str, object], group: str = "sales", **more: object) -> Mapping:
    source = {"table": table, "cursor": "modified_date"}
    target = {"table": entity.split(".")[0]}
    fields = {"name": {"from": "Name"}}
    words = {"entity": entity, "group": group, "source": source, "target": target, "fields": fields}
    return Mapping.model_validate({**words, "partitions": partitions, **more})


def paper(entity: str, table: str, **more: object) -> Mapping:
    """A mapping of the unit of documents."""
    return mapping(entity, table, NUMBERS, unit={"name": "papers", "key": "AbsNr"}, **more)


def layout(*mappings: Mapping) -> Layout:
    by_entity = {m.entity: m for m in mappings}
    return build_layout(Project(by_entity, {}, 3, Notifications(), "dev", {}, ""))


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
    assert [(j.name, [m.entity for m in j.cut.mappings]) for j in list_jobs(made)] == [
        ("sync_sales", ["a", "b"]),
        ("sync_stock", ["c"]),
        ("sync_all", ["a", "b", "c"]),
    ]


def jobs_of(made: Layout, group: str | None = "sales") -> dict[str, list[str]]:
    return {j.name: [m.entity for m in j.cut.mappings] for j in list_jobs(made) if j.group == group}


def test_group_with_several_ways_of_partitioning_is_a_job_for_each():
    later = {**MONTHS, "start": date(2026, 2, 1)}
    made = layout(
        mapping("a", "A", MONTHS), mapping("c", "C", DAYS), mapping("d", "D", later), mapping("n", "N", NUMBERS)
    )
    assert jobs_of(made) == {
        "sync_sales_by_month": ["a"],
        "sync_sales_by_day": ["c"],
        "sync_sales_by_month_3": ["d"],
        "sync_sales_by_number": ["n"],
    }


def test_unpartitioned_entities_go_with_the_most_others_in_the_order_of_all():
    made = layout(
        mapping("a", "A", MONTHS),
        mapping("b", "B", NONE),
        mapping("c", "C", NUMBERS),
        mapping("d", "D", NUMBERS, depends_on=["b"]),
    )
    assert jobs_of(made, None) == {"sync_all_by_month": ["a"], "sync_all_by_number": ["b", "c", "d"]}


def test_slices_of_the_same_names_share_a_job_whatever_their_attribute():
    made = layout(mapping("a", "A", NUMBERS), mapping("b", "B", {**NUMBERS, "attribute": "Nr"}))
    assert jobs_of(made) == {"sync_sales": ["a", "b"]}
    a, b = made.project.mappings.values()
    assert made.are_cut_alike(a, b)


def test_jobs_come_parents_first():
    made = layout(mapping("a", "A", NUMBERS, depends_on=["z"]), mapping("z", "Z", MONTHS))
    assert list(jobs_of(made, None)) == ["sync_all_by_month", "sync_all_by_number"]


def test_unit_is_one_step_with_both_assets_and_its_tables_stay_apart():
    made = layout(paper("b", "Pos", depends_on=["a"]), paper("a", "Belege"), mapping("c", "C", MONTHS))
    assert [[m.entity for m in unit] for unit in made.units] == [["a", "b"], ["c"]]
    built = build_assets(made, read_settings({}))
    steps = {d.op.name: {k.to_user_string() for k in d.keys} for d in built}
    assert steps["erp__papers"] == {"erp/a", "erp/b"}
    assert {"legacy__Belege", "legacy__Pos", "erp__c"} < steps.keys()
    (unit,) = [d for d in built if d.op.name == "erp__papers"]
    assert not unit.can_subset
    assert unit.partitions_def is made.partitions_of(made.project.get("a"))
    assert unit.backfill_policy == dg.BackfillPolicy.single_run()
    assert {(k.asset_key.path[-1], k.name) for k in unit.check_keys} >= {("a", "parked_rows"), ("b", "parked_rows")}


def test_selection_of_one_member_takes_the_whole_unit():
    made = layout(paper("a", "Belege"), paper("b", "Pos", group="other"), mapping("c", "C", MONTHS))
    b = made.project.get("b")
    assert [k.to_user_string() for k in made.keys_of([b])] == ["legacy/Belege", "erp/a", "legacy/Pos", "erp/b"]
    assert [k.to_user_string() for k in made.erp_keys_of([b])] == ["erp/a", "erp/b"]
    (job,) = [job for job in list_jobs(made) if job.group == "other"]
    assert made.part_of(job.cut, [b]).mappings == tuple(made.project.unit_of(b))


def test_partitions_are_asked_for_in_blocks_without_gaps():
    year = mapping("a", "A", MONTHS)
    assert in_blocks(year, ["2026-05-01", "2026-01-01", "2026-02-01"]) == [["2026-01-01", "2026-02-01"], ["2026-05-01"]]


def test_a_block_is_no_longer_than_a_run_should_be():
    days = mapping("a", "A", DAYS)
    wanted = [date.fromordinal(date(2026, 1, 1).toordinal() + n).isoformat() for n in range(MOST_PARTITIONS + 5)]
    assert [len(block) for block in in_blocks(days, wanted)] == [MOST_PARTITIONS, 5]
