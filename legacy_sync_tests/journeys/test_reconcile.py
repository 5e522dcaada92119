"""Is every kind of difference between both sides named rightly, repaired by a load, and then gone?"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from journey_setup import PARENTS, VARIANTS, Journey

from legacy_sync.errors import EntityBusy, ErpRefused, GuardTripped, SourceRefused, SourceUntrustworthy
from legacy_sync.ledger import runs
from legacy_sync.sync.differences import Difference, Reconciliation
from legacy_sync.sync.reconcile import compared
from legacy_sync.sync.repair import repair_unit
from legacy_sync.sync.resolve import Choice, choose, resolve

LEDGER = ("run", "binding", "change", "conflict", "quarantine", "watermark", "loaded_fetch", "column_set")


def look(journey: Journey, entity: str = PARENTS, *, values: bool = True) -> tuple[Reconciliation, list[Difference]]:
    mapping = journey.workspace.project.get(entity)
    with compared(journey.workspace, mapping, values=values) as found:
        return found.result, list(found.differences())


def only(journey: Journey, entity: str = PARENTS, *, values: bool = True) -> Difference:
    """The only difference there is."""
    _, (difference,) = look(journey, entity, values=values)
    return difference


def repair(journey: Journey, entity: str = PARENTS) -> Reconciliation:
    repair_unit(journey.workspace, [journey.workspace.project.get(entity)])
    result, _ = look(journey, entity)
    return result


def three(journey: Journey) -> list[str]:
    keys = [journey.family(n) for n in (1, 2, 3)]
    journey.run()
    return keys


def long_ago(journey: Journey) -> list[str]:
    """Three families that lie far behind the watermark."""
    keys = three(journey)
    journey.pass_days(30)
    return keys


@contextmanager
def untouched(journey: Journey) -> Iterator[None]:
    tables = (PARENTS, *(f"legacy_sync.{table}" for table in LEDGER))
    before = journey.places(*tables)
    yield
    assert journey.places(*tables) == before


# --- nothing differs -----------------------------------------------------------------------------


@pytest.mark.parametrize("values", [False, True])
def test_both_sides_agree_after_a_run_and_nothing_is_written(journey: Journey, values: bool):
    three(journey)
    with untouched(journey):
        result, differences = look(journey, values=values)
    assert (result.state, differences, result.rows) == ("agrees", [], {})
    assert (result.read, result.keys, result.bound, result.erp_rows) == (3, 3, 3, 3)
    assert result.compared == (3 if values else 0)


def test_by_keys_only_what_names_a_record_is_asked_for(journey: Journey):
    three(journey)
    journey.server.log.clear()
    look(journey, values=False)
    asked = [seen.path for seen in journey.server.log if "Artikel_Familie/" in seen.path]
    assert asked
    assert all("Bezeichnung" not in path and "modified_date" in path for path in asked)


# --- only in the source --------------------------------------------------------------------------


def test_new_record_waits_for_the_next_run(journey: Journey):
    three(journey)
    key = journey.family(4)
    assert (only(journey).kind, only(journey, values=False).legacy_key) == ("new", key)
    journey.run()
    assert look(journey)[0].state == "agrees"


@pytest.mark.parametrize("values", [False, True])
def test_record_that_no_run_would_bring_is_a_fault_until_it_is_repaired(journey: Journey, values: bool):
    long_ago(journey)
    key = journey.family(9, modified_date="1!1!2020")
    journey.store.update("Artikel_Familie", key, {"modified_date": "1!1!2020"}, silent=True)
    assert only(journey, values=values) == Difference("not_loaded", key)
    journey.run()
    assert look(journey, values=values)[0].state == "differs"
    assert repair(journey).state == "agrees"
    assert "9" in journey.skus()


@pytest.mark.parametrize("values", [False, True])
def test_row_deleted_in_the_erp_is_named_and_comes_back(journey: Journey, values: bool):
    keys = three(journey)
    journey.execute(f"delete from {PARENTS} where sku = '2'")
    found = only(journey, values=values)
    assert (found.kind, found.legacy_key, found.weight) == ("erp_row_deleted", keys[1], "fault")
    journey.run(full=True)
    assert look(journey)[0].rows == {"erp_row_deleted": 1}
    assert repair(journey).state == "agrees"
    assert journey.skus() == ["1", "2", "3"]


def test_deleted_row_of_which_a_person_decided_that_it_stays_so_does_not_come_back(journey: Journey):
    keys = three(journey)
    journey.execute(f"delete from {PARENTS} where sku = '2'")
    journey.edit(keys[1], Bezeichnung="anders")
    journey.run()
    assert only(journey).kind == "conflict"
    waiting = choose(journey.workspace, every=True)
    resolve(journey.workspace, waiting, Choice("erp", "me", comment="not wanted any more"))
    found = only(journey)
    assert (found.kind, found.why) == (
        "discarded", "deleted in the ERP, and decided so by me: not wanted any more",
    )  # fmt: skip
    assert repair(journey).state == "agrees"
    assert journey.skus() == ["1", "3"]


def test_parked_rows_and_those_that_wait_for_a_parent_are_told_apart_with_the_reason(journey: Journey):
    bad = journey.family(1, Nummer=None)
    child = journey.variant(7, "F" * 32)
    journey.run_all()
    parked, waiting = only(journey), only(journey, VARIANTS, values=False)
    assert (parked.kind, parked.legacy_key, parked.column) == ("parked", bad, "sku")
    assert (waiting.kind, waiting.legacy_key, waiting.column) == ("waits_for_parent", child, "parent_id")
    assert str(waiting.why).startswith("reference_missing: ")
    assert look(journey)[0].state == "waits"


# --- only in the ERP -----------------------------------------------------------------------------


@pytest.mark.parametrize(("policy", "kind"), [("report", "gone"), ("ignore", "gone_settled")])
def test_record_gone_from_the_source_is_told_with_what_the_mapping_declares(journey: Journey, policy: str, kind: str):
    journey.remap(PARENTS, deletes={"policy": policy})
    keys = three(journey)
    journey.store.delete("Artikel_Familie", keys[0])
    found = only(journey, values=False)
    assert (found.kind, found.legacy_key, found.why) == (kind, keys[0], f"deletes: {policy}")
    result = repair(journey)
    assert (result.state, result.rows) == ("agrees", {"gone_settled": 1})


@pytest.mark.parametrize(
    ("deletes", "why", "rows"),
    [
        ({"policy": "set", "set": {"is_active": False}}, "deletes: set is_active: false", {"gone_settled": 1}),
        ({"policy": "delete"}, "deletes: delete", {}),
    ],
)
def test_soft_deleted_and_removed_rows_agree_afterwards(
    journey: Journey, deletes: dict[str, Any], why: str, rows: dict[str, int]
):
    journey.remap(PARENTS, deletes=deletes)
    keys = three(journey)
    journey.store.delete("Artikel_Familie", keys[2])
    assert (only(journey).kind, only(journey).why) == ("gone", why)
    assert repair(journey).rows == rows


def test_row_made_in_the_erp_is_reported_and_no_fault(journey: Journey):
    three(journey)
    number = journey.erp_insert(PARENTS, sku="X1", name="made by hand")
    found = only(journey)
    assert (found.kind, found.erp_key, found.why) == ("unbound", str(number), "sku X1")
    assert look(journey)[0].state == "agrees"


def test_nothing_is_called_gone_by_a_source_that_answers_too_little(journey: Journey):
    three(journey)
    journey.server.faults.add("short_page", table="Artikel_Familie", missing=2)
    with pytest.raises(SourceUntrustworthy, match="a page held 1 rows where 3 of 3 were due"):
        look(journey, values=False)


# --- values --------------------------------------------------------------------------------------


def test_value_changed_in_4d_and_not_yet_loaded_is_a_lag(journey: Journey):
    keys = three(journey)
    journey.edit(keys[0], Bezeichnung="neuer Name")
    found = only(journey)
    assert (found.kind, found.weight, found.column) == ("lag", "waits", "name")
    assert (found.legacy_value, found.erp_value) == ("neuer Name", "Familie 1")
    assert look(journey, values=False)[0].state == "agrees"
    journey.run()
    assert look(journey)[0].state == "agrees"


def test_value_that_no_run_would_bring_is_a_difference_until_it_is_repaired(journey: Journey):
    keys = long_ago(journey)
    journey.edit(keys[0], silent=True, Bezeichnung="heimlich")
    found = only(journey)
    assert (found.kind, found.legacy_key, found.column, found.why) == (
        "differs", keys[0], "name", 'it was "Familie 1" when it was loaded last',
    )  # fmt: skip
    journey.run()
    assert look(journey)[0].state == "differs"
    assert repair(journey).state == "agrees"
    assert journey.row("1")["name"] == "heimlich"


def test_value_changed_in_the_erp_stays_through_a_repair(journey: Journey):
    three(journey)
    journey.execute(f"update {PARENTS} set name = 'from SQL' where sku = '1'")
    journey.erp_edit("2", name="from a person")
    _, found = look(journey)
    assert [(d.kind, d.column, d.erp_value) for d in found] == [
        ("edited", "name", "from SQL"), ("edited", "name", "from a person"),
    ]  # fmt: skip
    assert str(found[0].why).startswith("changed in the ERP without a new updated_at, both sides last agreed on")
    assert str(found[1].why).startswith("edited in the ERP, saved there 20")
    result = repair(journey)
    assert (result.state, result.rows) == ("agrees", {"edited": 2})
    assert [journey.row(sku)["name"] for sku in "12"] == ["from SQL", "from a person"]


def test_value_that_even_the_ledger_has_wrong_is_a_difference(journey: Journey):
    keys = long_ago(journey)
    journey.execute(f"update {PARENTS} set name = 'wrong' where sku = '1'")
    journey.execute(
        "update legacy_sync.binding set base = array_replace(base, 'Familie 1', 'wrong') where legacy_key = %s", keys[0]
    )
    assert (only(journey).kind, only(journey).erp_value) == ("differs", "wrong")
    assert repair(journey).state == "agrees"
    assert journey.row("1")["name"] == "Familie 1"


def test_conflict_that_waits_is_named_with_its_number(journey: Journey):
    journey.remap(PARENTS, conflicts={"policy": "manual"})
    keys = three(journey)
    journey.erp_edit("1", name="from the ERP")
    journey.edit(keys[0], Bezeichnung="from 4D")
    assert str(only(journey).why).startswith("both sides changed it since")
    journey.run()
    found = only(journey)
    assert (found.kind, found.legacy_value, found.erp_value) == ("conflict", "from 4D", "from the ERP")
    assert found.why == "conflict 1 is open"
    assert look(journey)[0].state == "waits"


def test_both_sides_changed_alike_is_no_difference(journey: Journey):
    keys = three(journey)
    journey.erp_edit("1", name="same")
    journey.edit(keys[0], Bezeichnung="same")
    assert look(journey)[1] == []


def test_bound_record_that_cannot_be_used_any_more_is_named(journey: Journey):
    keys = three(journey)
    journey.edit(keys[0], Nummer=None)
    found = only(journey)
    assert (found.kind, found.legacy_key, found.column) == ("lag", keys[0], "sku")
    assert str(found.why).startswith("cannot be used: ")


def test_swapped_values_are_found_by_the_bucket(journey: Journey):
    keys = [journey.family(n) for n in range(1, 201)]
    journey.run()
    journey.pass_days(30)
    for one, other in zip(keys[::2], keys[1::2], strict=True):
        first, second = (journey.store.get("Artikel_Familie", key)["Bezeichnung"] for key in (one, other))
        journey.edit(one, silent=True, Bezeichnung=second)
        journey.edit(other, silent=True, Bezeichnung=first)
    result, found = look(journey)
    assert (result.rows, len(found), result.buckets_differing) == ({"differs": 200}, 200, result.buckets)


def test_only_buckets_that_differ_are_looked_at_closely_and_sums_are_told(journey: Journey):
    journey.remap(VARIANTS, fields={"retail_price": {"from": "Gewicht", "cast": "decimal"}})
    keys = [journey.variant(n, journey.family(n), Gewicht=n) for n in range(1, 101)]
    journey.run_all()
    assert look(journey, VARIANTS)[0].buckets_differing == 0
    journey.edit(keys[0], VARIANTS, Gewicht=51)
    result, _ = look(journey, VARIANTS)
    assert (result.compared, result.buckets_differing, result.cells) == (100, 1, {"lag": 1})
    assert [(s.column, s.legacy, s.erp) for s in result.sums if s.legacy != s.erp] == [("retail_price", 5100, 5050)]


def test_new_meaning_of_the_mapping_is_brought_by_the_next_run(journey: Journey):
    long_ago(journey)
    said = journey.said[PARENTS]["fields"]
    journey.remap(PARENTS, fields={**said, "name": {"from": "Bezeichnung", "prefix": "F: "}})
    result, _ = look(journey)
    assert result.rows == {"lag": 4}
    journey.run()
    assert look(journey)[0].state == "agrees"


# --- what stands in the way ----------------------------------------------------------------------


def test_repair_stops_at_the_guards_and_goes_on_when_a_person_accepts(journey: Journey):
    journey.remap(PARENTS, deletes={"policy": "report"})
    keys = three(journey)
    for key in keys[:2]:
        journey.store.delete("Artikel_Familie", key)
    assert look(journey)[0].rows == {"gone": 2}
    mapping = journey.workspace.project.get(PARENTS)
    with pytest.raises(GuardTripped):
        repair_unit(journey.workspace, [mapping])
    repair_unit(journey.workspace, [mapping], accept=True)
    assert look(journey)[0].state == "agrees"


def test_values_are_not_compared_while_the_entity_is_loaded(journey: Journey):
    three(journey)
    with journey.workspace.erp() as connection:
        entity_id = runs.get_entity_id(connection, PARENTS)
        with runs.entity_lock(connection, entity_id, PARENTS), pytest.raises(EntityBusy):
            look(journey)


def test_missing_tables_are_told(journey: Journey):
    three(journey)
    journey.execute(f"alter table {PARENTS} rename to elsewhere")
    with pytest.raises(ErpRefused, match="does not exist"):
        look(journey, values=False)
    journey.execute(f"alter table elsewhere rename to {PARENTS}")
    journey.remap(PARENTS, source={"table": "Artikel_Nirgends"})
    with pytest.raises(SourceRefused, match="Artikel_Nirgends"):
        look(journey)
