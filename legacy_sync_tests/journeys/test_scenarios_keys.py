"""Are records recognised by their keys, in whatever type, length or order these arrive?"""

from functools import partial
from typing import Any

import pytest
from journey_setup import PARENTS, VARIANTS, Journey, key_of
from scenarios_setup import WholeShop
from shop_setup import Shop

from legacy_sync.erp.catalog import find_table
from legacy_sync.errors import GuardTripped
from legacy_sync.mapping.preflight import find_warnings

ENVELOPE = ("__KEY", "__TIMESTAMP", "__STAMP", "UID")


def other_type(value: Any) -> Any:
    """A whole number as text and a text of digits as number, unless that would change it."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and value.isascii() and value.isdigit() and str(int(value)) == value:
        return int(value)
    return value


def deliver_in_other_types(shop: WholeShop, *tables: str) -> int:
    """4D sends every number as text and every text of digits as number; returns how many values that are."""
    changed = 0
    for table in tables or shop.store.tables:
        for row in shop.store.rows(table):
            values = {name: other_type(value) for name, value in row.items() if name not in ENVELOPE}
            changed += sum(values[name] is not row[name] for name in values)
            shop.respell(table, str(row["__KEY"]), values)
    return changed


@pytest.mark.parametrize("full", [False, True], ids=["incremental", "full"])
def test_second_run_over_all_entities_writes_no_row(whole_shop: WholeShop, full: bool):
    before = whole_shop.erp_places()
    reports = whole_shop.import_all(full=full)
    assert whole_shop.erp_places() == before
    for entity, report in reports.items():
        c = report.counts
        done = (c.inserted, c.updated, c.adopted, c.deleted, c.conflicts, c.created, c.derived, c.backfilled)
        assert done == (0,) * 8, entity


def test_numbers_as_text_and_texts_as_number_change_nothing(whole_shop: WholeShop):
    before = whole_shop.erp_places()
    assert deliver_in_other_types(whole_shop) > 10_000
    reports = whole_shop.import_all(full=True)
    changed = {entity: report.columns_changed for entity, report in reports.items() if report.columns_changed}
    assert changed == {}
    assert whole_shop.erp_places() == before


def test_parents_in_one_type_and_children_in_the_other_are_linked(whole_shop: WholeShop):
    deliver_in_other_types(whole_shop, "Belege", "Stamm_Lagerorte", "Stamm_Lager_Schuetten", "Formen", "Kunden")
    before = whole_shop.erp_places()
    whole_shop.execute("drop schema legacy_sync cascade")
    reports = whole_shop.import_all()
    assert {entity: report.counts.inserted for entity, report in reports.items() if report.counts.inserted} == {}
    after = whole_shop.erp_places()
    assert {table: len(rows) for table, rows in after.items()} == {table: len(rows) for table, rows in before.items()}


# --- one row per key, whatever the database allows -----------------------------------------------


def test_table_without_a_unique_constraint_gets_no_second_row_of_a_key(shop: Shop):
    shop.save("Stamm_Lager_Schuetten", 1, ID=626692, data_={})
    shop.run("inventory_box")
    shop.execute("drop schema legacy_sync cascade")
    shop.change("Stamm_Lager_Schuetten", key_of(1), ID="626692")
    report = shop.run("inventory_box")
    assert (report.counts.adopted, report.counts.inserted) == (1, 0)
    assert [r["code"] for r in shop.query("select code from inventory_box")] == ["SC626692"]


def test_two_records_with_one_number_make_one_row_and_the_second_waits(shop: Shop):
    for number in (1, 2):
        shop.save("Stamm_Lager_Schuetten", number, ID=626692, data_={})
    shop.run("inventory_box")
    assert [r["code"] for r in shop.query("select code from inventory_box")] == ["SC626692"]
    assert shop.parked() == {key_of(2): "duplicate"}


def test_two_rows_of_one_key_in_the_erp_are_not_guessed(shop: Shop):
    shop.save("Stamm_Lager_Schuetten", 1, ID=626692, data_={})
    shop.run("inventory_box")
    shop.execute("drop schema legacy_sync cascade")
    columns = "created_at, modified_at, legacy_id, is_synchronized, code, barcode, status, purpose, notes, box_type_id"
    shop.execute(f"insert into inventory_box ({columns}) select {columns} from inventory_box")
    shop.run("inventory_box")
    assert list(shop.parked()) == [key_of(1)]
    assert len(shop.query("select from inventory_box")) == 2


def test_every_natural_key_that_the_database_does_not_protect_is_said_by_the_check(whole_shop: WholeShop):
    with whole_shop.workspace.erp() as connection:
        warned = {
            mapping.entity
            for mapping in whole_shop.mappings
            for problem in find_warnings(mapping, partial(find_table, connection))
            if "does not keep" in problem.what
        }
        assert warned >= {"inventory_box"}
        for mapping in whole_shop.mappings:
            table = find_table(connection, mapping.target.table)
            assert table is not None
            unique = any(set(index.columns) <= set(mapping.target.natural_key) for index in table.uniques)
            assert unique is (mapping.entity not in warned), mapping.entity


LONG_KEY = "".join(key_of(n * 7919 + 13)[-8:] for n in range(1, 700))


@pytest.mark.parametrize("length", [101, 256, 2000])
def test_long_key_is_loaded_and_logged_whole(shop: Shop, length: int):
    key = LONG_KEY[:length]
    shop.remap("production_mold", source={"key": "Bemerkung"})
    shop.save("Formen", 1, FormNr="F1", Bemerkung=key)
    shop.save("Formen", 2, FormNr=None, Bemerkung=f"2{key[1:]}")
    shop.run("production_mold")
    assert [r["notes"] for r in shop.query("select notes from production_mold")] == [key]
    assert shop.parked() == {f"2{key[1:]}": "required"}
    assert [r["legacy_key"] for r in shop.query("select legacy_key from legacy_sync.binding")] == [key]


def test_key_too_long_for_any_index_does_not_cost_the_other_records(shop: Shop):
    shop.remap("production_mold", source={"key": "Bemerkung"})
    shop.save("Formen", 1, FormNr="F1", Bemerkung=LONG_KEY[:5000])
    shop.save("Formen", 2, FormNr="F2", Bemerkung="short")
    report = shop.run("production_mold")
    assert [r["legacy_form_nr"] for r in shop.query("select legacy_form_nr from production_mold")] == ["F2"]
    assert report.counts.parked == 1


# --- keys that are not what they should be -------------------------------------------------------


def swap(journey: Journey, entity: str) -> None:
    fields = journey.said[entity]["fields"]
    fields["sku"]["from"], fields["legacy_id"]["from"] = fields["legacy_id"]["from"], fields["sku"]["from"]
    journey.close()


@pytest.mark.parametrize("entity", [PARENTS, VARIANTS])
def test_swapped_key_columns_are_noticed_by_their_shape(journey: Journey, entity: str):
    for number in range(1, 31):
        parent = journey.family(11200 + number, UID=f"AB{number:030X}")
        journey.variant(503000 + number, parent, UID=f"CD{number:030X}")
    if entity == VARIANTS:
        journey.run(PARENTS)
    swap(journey, entity)
    with pytest.raises(GuardTripped, match="rows cannot be used"):
        journey.run(entity)
    assert journey.skus(entity) == []


def test_ids_are_given_by_the_database_alone(whole_shop: WholeShop):
    for table in whole_shop.erp_places():
        (row,) = whole_shop.query(
            f"select max(id)::text as highest, pg_get_serial_sequence('public.{table}', 'id') as sequence from {table}"
        )
        if row["sequence"]:  # the next row of a person gets a number of its own
            (after,) = whole_shop.query("select nextval(%s) as id", row["sequence"])
            assert after["id"] > int(row["highest"]), table
    assert [m.entity for m in whole_shop.mappings if "id" in m.fields] == []
