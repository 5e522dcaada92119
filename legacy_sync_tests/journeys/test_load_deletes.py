"""What happens to ERP rows whose record is gone from the legacy table?"""

import pytest
from journey_setup import PARENTS, Journey

from legacy_sync.errors import GuardTripped

SAME = {"legacy_id": "0" * 31 + "1", "description": "", "description_en": ""}
"""what the record of family 1 says, too"""
SOFT = {"policy": "set", "set": {"is_active": False, "is_discontinued": True}, "max_share": 0.5}


def three_families(journey: Journey, **deletes: object) -> list[str]:
    journey.remap(PARENTS, deletes=deletes)
    keys = [journey.family(n) for n in (1, 2, 3)]
    journey.run()
    return keys


def test_reported_deletes_change_nothing_in_the_erp(journey: Journey):
    keys = three_families(journey, policy="report", max_share=0.5)
    journey.store.delete("Artikel_Familie", keys[0])
    before = journey.places(PARENTS)
    report = journey.run(full=True)
    assert report.warnings["records that are gone from the legacy table"] == 1
    assert journey.places(PARENTS) == before
    assert journey.run(full=True).warnings == {}


def test_soft_delete_sets_the_declared_columns_and_keeps_the_rest(journey: Journey):
    keys = three_families(journey, **SOFT)
    journey.store.delete("Artikel_Familie", keys[1])
    assert journey.run(full=True).counts.deleted == 1
    row = journey.row("2")
    assert (row["is_active"], row["is_discontinued"], row["name"]) == (False, True, "Familie 2")
    change = journey.query("select kind, columns, before, after from legacy_sync.change")
    assert change == [
        {
            "kind": "delete",
            "columns": ["is_active", "is_discontinued"],
            "before": ["true", "false"],
            "after": ["false", "true"],
        }
    ]


def test_record_that_comes_back_brings_its_values_again(journey: Journey):
    keys = three_families(journey, **SOFT)
    journey.store.delete("Artikel_Familie", keys[0])
    journey.run(full=True)
    journey.family(1, Bezeichnung="wieder da")
    journey.run()
    row = journey.row("1")
    assert (row["is_active"], row["name"]) == (True, "wieder da")
    assert journey.query("select 1 from legacy_sync.binding where missing_since is not null") == []


def test_second_full_run_marks_nothing_again(journey: Journey):
    keys = three_families(journey, **SOFT)
    journey.store.delete("Artikel_Familie", keys[0])
    journey.run(full=True)
    before = journey.places(PARENTS)
    assert journey.run(full=True).counts.deleted == 0
    assert journey.places(PARENTS) == before


def test_incremental_run_is_no_evidence_of_a_delete(journey: Journey):
    keys = three_families(journey, **SOFT)
    journey.store.clock.advance(days=30)
    journey.family(4)
    journey.run()
    journey.store.delete("Artikel_Familie", keys[0])
    assert journey.run().counts.deleted == 0
    assert journey.row("1")["is_active"] is True


def test_too_many_missing_records_stop_the_run_and_mark_nothing(journey: Journey):
    keys = three_families(journey, **{**SOFT, "max_share": 0.1})
    for key in keys[:2]:
        journey.store.delete("Artikel_Familie", key)
    with pytest.raises(GuardTripped, match="2 of 3 known records are gone"):
        journey.run(full=True)
    assert journey.row("1")["is_active"] is True
    assert journey.query("select 1 from legacy_sync.change") == []


def test_empty_answer_for_a_table_that_had_rows_stops_the_run(journey: Journey):
    keys = three_families(journey, **SOFT)
    for key in keys:
        journey.store.delete("Artikel_Familie", key)
    with pytest.raises(GuardTripped, match="answered no rows, but 3 were loaded before"):
        journey.run(full=True)
    assert journey.row("1")["is_active"] is True


def test_record_saved_anew_under_another_key_takes_over_the_row(journey: Journey):
    keys = three_families(journey, policy="report", max_share=0.5)
    row_id = journey.row("1")["id"]
    journey.store.delete("Artikel_Familie", keys[0])
    anew = journey.family(1, UID="F" * 32, Bezeichnung="neu angelegt")
    assert journey.run().parked_by_reason == {"duplicate": 1}  # nothing says yet that the old one is gone
    assert journey.run(full=True).counts.adopted == 1
    row = journey.row("1")
    assert (row["id"], row["name"], row["legacy_id"]) == (row_id, "neu angelegt", anew)
    assert journey.parked() == {}


def test_emptied_table_is_an_alarm_in_an_incremental_run_too(journey: Journey):
    for key in three_families(journey, **SOFT):
        journey.store.delete("Artikel_Familie", key)
    with pytest.raises(GuardTripped, match="answered no rows, but 3 were loaded before"):
        journey.run()


def test_row_of_a_table_that_nobody_refers_to_is_deleted(journey: Journey):
    journey.execute(
        "do $$ declare k record; begin for k in select conrelid::regclass as place, conname from pg_constraint"
        " where confrelid = 'products_parentproduct'::regclass loop"
        " execute 'alter table ' || k.place || ' drop constraint ' || quote_ident(k.conname); end loop; end $$"
    )
    keys = three_families(journey, policy="delete", max_share=0.5)
    journey.store.delete("Artikel_Familie", keys[0])
    assert journey.run(full=True).counts.deleted == 1
    assert journey.skus() == ["2", "3"]


def test_edited_row_that_another_record_took_over_waits_for_nobody(journey: Journey):
    keys = three_families(journey, policy="delete", max_share=0.5)
    journey.erp_edit("1", name="Häschen")
    journey.store.delete("Artikel_Familie", keys[0])
    anew = journey.family(1, UID="F" * 32, Bezeichnung="Häschen")
    journey.run(full=True)
    assert journey.row("1")["legacy_id"] == anew
    assert journey.query("select sort from legacy_sync.conflict where status = 'open'") == []


def test_adopted_row_on_which_nobody_agreed_is_not_deleted_with_its_record(journey: Journey):
    row_id = journey.erp_insert(PARENTS, sku="1", name="Familie 1", is_active=True, weight=None, **SAME)
    journey.remap(PARENTS, adoption={"policy": "manual"}, deletes={"policy": "delete", "max_share": 0.5})
    keys = [journey.family(n, Gewicht=10) for n in (1, 2, 3)]
    journey.run()
    assert [c[:4] for c in journey.conflicts()] == [("weight", None, "10", None)]
    journey.store.delete("Artikel_Familie", keys[0])
    journey.run(full=True)
    assert journey.row("1")["id"] == row_id
