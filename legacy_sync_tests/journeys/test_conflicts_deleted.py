"""What if one side deleted a row that people changed on the other? It waits, or follows a policy."""

from typing import Any

import pytest
from journey_setup import PARENTS, VARIANTS, Journey, key_of
from shop_setup import DOCUMENTS, POSITIONS, Shop
from shop_setup import shop as shop  # a fixture

from legacy_sync.errors import ChoiceUnusable
from legacy_sync.sync.resolve import Choice, Settled, choose, resolve

HARD = {"policy": "delete", "max_share": 0.9}
SOFT = {"policy": "set", "set": {"is_active": False}, "max_share": 0.9}
LEDGER = [
    f"legacy_sync.{t}" for t in ("binding", "change", "conflict", "conflict_cell", "conflict_record", "quarantine")
]


def settle(journey: Any, keep: Any, **how: Any) -> Settled:
    return resolve(journey.workspace, choose(journey.workspace, every=True), Choice(keep, "anna"), **how)


def rows(journey: Any, status: str | None = None) -> list[tuple[Any, ...]]:
    """Sort, status, winner and who decided."""
    found = journey.query("select sort, status, winner, decided_by from legacy_sync.conflict order by id")
    return [tuple(row.values()) for row in found if status in (None, row["status"])]


def cells(journey: Journey) -> list[tuple[Any, ...]]:
    found = journey.query(
        "select column_name, base_value, legacy_value, erp_value from legacy_sync.conflict_cell"
        " where conflict_id = (select max(id) from legacy_sync.conflict) order by 1"
    )
    return [tuple(row.values()) for row in found]


# --- gone in 4D, edited in the ERP -----------------------------------------------------------------


def gone_and_edited(journey: Journey, deletes: dict[str, Any]) -> str:
    journey.remap(PARENTS, deletes=deletes)
    key = journey.family(1, Bezeichnung="Hase")
    journey.family(2)
    journey.run()
    journey.erp_edit("1", name="Häschen")
    journey.store.delete("Artikel_Familie", key)
    journey.run(full=True)
    return key


@pytest.mark.parametrize("deletes", [HARD, SOFT | {"edited": "manual"}], ids=["delete", "set"])
def test_an_edited_row_whose_record_is_gone_waits_and_is_written_once(
    journey: Journey, deletes: dict[str, Any]
) -> None:
    gone_and_edited(journey, deletes)
    assert rows(journey) == [("gone_in_legacy", "open", None, None)]
    assert cells(journey) == [("name", "Hase", None, "Häschen")]
    assert journey.row("1")["is_active"] is True
    before = journey.places(PARENTS, *LEDGER)
    for full in (False, True):
        assert "kept because people edited" in next(iter(journey.run(full=full).warnings), "kept because people edited")
    assert journey.places(PARENTS, *LEDGER) == before


@pytest.mark.parametrize("deletes", [HARD, SOFT | {"edited": "manual"}], ids=["delete", "set"])
def test_the_delete_is_carried_out_when_the_legacy_system_is_to_win(journey: Journey, deletes: dict[str, Any]) -> None:
    gone_and_edited(journey, deletes)
    settled = settle(journey, "legacy")
    assert ([c["winner"] for c in settled.decided], settled.waiting) == (["legacy"], {})
    assert settled.reports[0].counts.deleted == 1
    if deletes["policy"] == "delete":
        assert journey.skus() == ["2"]
    else:
        assert (journey.row("1")["is_active"], journey.row("1")["name"]) == (False, "Häschen")
    assert rows(journey) == [("gone_in_legacy", "decided", "legacy", "anna")]
    before = journey.places(PARENTS, *LEDGER)
    journey.run(full=True)
    assert journey.places(PARENTS, *LEDGER) == before


@pytest.mark.parametrize("deletes", [HARD, SOFT | {"edited": "manual"}], ids=["delete", "set"])
def test_a_row_that_was_to_stay_stays_and_is_not_asked_for_again(journey: Journey, deletes: dict[str, Any]) -> None:
    key = gone_and_edited(journey, deletes)
    assert len(settle(journey, "erp").decided) == 1
    before = journey.places(PARENTS, *LEDGER)
    assert journey.run(full=True).warnings == {}
    assert journey.places(PARENTS, *LEDGER) == before
    journey.family(1, UID=key, Bezeichnung="Hase")  # the record comes back, and goes again
    journey.run()
    journey.store.delete("Artikel_Familie", key)
    journey.run(full=True)
    assert [row[1] for row in rows(journey)] == ["decided", "open"]


@pytest.mark.parametrize("policy", ["legacy_wins", "erp_wins"])
@pytest.mark.parametrize("deletes", [HARD, SOFT], ids=["delete", "set"])
def test_a_declared_policy_decides_and_says_so_once(journey: Journey, deletes: dict[str, Any], policy: str) -> None:
    gone_and_edited(journey, deletes | {"edited": policy})
    winner = policy.removesuffix("_wins")
    assert rows(journey) == [("gone_in_legacy", "decided", winner, f"policy {policy}")]
    if policy == "erp_wins":
        assert journey.row("1")["is_active"] is True
    elif deletes is HARD:
        assert journey.skus() == ["2"]
    else:
        assert journey.row("1")["is_active"] is False
    journey.run(full=True)
    assert len(rows(journey)) == 1


def test_without_a_word_a_soft_delete_marks_edited_rows_too(journey: Journey) -> None:
    gone_and_edited(journey, SOFT)
    assert (journey.row("1")["is_active"], journey.row("1")["name"]) == (False, "Häschen")
    assert rows(journey) == [("gone_in_legacy", "decided", "legacy", "policy legacy_wins")]


def test_a_row_edited_once_more_is_not_deleted_by_a_choice_from_before(journey: Journey) -> None:
    gone_and_edited(journey, HARD)
    journey.erp_edit("1", name="Häschen II")
    settled = settle(journey, "legacy")
    assert "not carried out, since there was a later change in the ERP" in next(iter(settled.waiting.values()))
    assert journey.row("1")["name"] == "Häschen II"
    assert len(settle(journey, "legacy").decided) == 1
    assert journey.skus() == ["2"]


def test_a_row_others_refer_to_is_deleted_as_soon_as_they_do_not(journey: Journey) -> None:
    key = journey.family(1, Bezeichnung="Hase")
    journey.family(2)
    child = journey.variant(5, key, fk_ArtNr=None, alteNummer=None)
    journey.remap(PARENTS, deletes=HARD)
    journey.run_all()
    journey.erp_edit("1", name="Häschen")
    journey.store.delete("Artikel_Familie", key)
    journey.run(full=True)
    settled = settle(journey, "legacy")
    assert "as soon as no other row of the ERP refers to this one" in next(iter(settled.waiting.values()))
    assert journey.skus() == ["1", "2"]
    journey.execute(f"delete from {VARIANTS} where legacy_id = %s", child)
    journey.run()
    assert journey.skus() == ["2"]
    assert rows(journey) == [("gone_in_legacy", "decided", "legacy", "anna")]


@pytest.mark.parametrize("how", ["returned", "reverted", "unmeant"])
def test_the_conflict_closes_itself(journey: Journey, how: str) -> None:
    key = gone_and_edited(journey, HARD)
    if how == "returned":
        journey.family(1, UID=key, Bezeichnung="Hase")
    elif how == "reverted":
        journey.erp_edit("1", name="Hase")
    else:
        journey.remap(PARENTS, deletes={"policy": "report"})
    journey.run()
    why = {
        "returned": "a later change in the legacy system",
        "reverted": "a later change in the ERP",
        "unmeant": "a change of the mapping",
    }[how]
    assert rows(journey) == [("gone_in_legacy", "settled", None, why)]
    assert journey.skus() == (["2"] if how == "reverted" else ["1", "2"])


def test_a_waiting_value_of_a_record_that_goes_becomes_a_question_of_the_row(journey: Journey) -> None:
    journey.remap(PARENTS, deletes=HARD)
    key = journey.family(1, Bezeichnung="Hase")
    journey.family(2)
    journey.run()
    journey.erp_edit("1", name="Häschen")
    journey.edit(key, Bezeichnung="Hasi")
    journey.run()
    journey.store.delete("Artikel_Familie", key)
    journey.run(full=True)
    assert rows(journey) == [
        ("value", "settled", None, "the record is gone from the legacy table"),
        ("gone_in_legacy", "open", None, None),
    ]


# --- deleted in the ERP, changed in 4D ------------------------------------------------------------


def deleted_and_changed(journey: Journey, **deletes: Any) -> str:
    journey.remap(PARENTS, deletes=deletes)
    key = journey.family(1, Bezeichnung="Hase")
    journey.family(2)
    journey.run()
    journey.execute("delete from products_parentproduct where sku = '1'")
    journey.edit(key, Bezeichnung="Hasi")
    journey.run()
    return key


def test_a_deleted_row_whose_record_changed_waits_and_is_written_once(journey: Journey) -> None:
    deleted_and_changed(journey)
    assert rows(journey) == [("gone_in_erp", "open", None, None)]
    assert cells(journey) == [("name", "Hase", "Hasi", None)]
    before = journey.places(PARENTS, *LEDGER)
    for full in (False, True):
        journey.run(full=full)
    assert journey.places(PARENTS, *LEDGER) == before


def test_the_row_is_inserted_again_when_the_legacy_system_is_to_win(journey: Journey) -> None:
    key = deleted_and_changed(journey)
    settled = settle(journey, "legacy")
    assert (len(settled.decided), settled.reports[0].counts.inserted) == (1, 1)
    assert journey.row("1")["name"] == "Hasi"
    before = journey.places(PARENTS, *LEDGER)
    journey.run(full=True)
    assert journey.places(PARENTS, *LEDGER) == before
    journey.edit(key, Bezeichnung="Hasi II")
    journey.run()
    assert journey.row("1")["name"] == "Hasi II"


def test_the_row_stays_deleted_until_its_record_changes_again(journey: Journey) -> None:
    key = deleted_and_changed(journey)
    assert len(settle(journey, "erp").decided) == 1
    before = journey.places(PARENTS, *LEDGER)
    for _ in range(2):
        journey.run(full=True)
    assert journey.places(PARENTS, *LEDGER) == before
    journey.edit(key, Bezeichnung="Hasi II")
    journey.run()
    assert (journey.skus(), rows(journey, "open")) == (["2"], [("gone_in_erp", "open", None, None)])
    assert cells(journey) == [("name", "Hasi", "Hasi II", None)]


def test_what_the_record_does_not_deliver_is_no_part_of_the_conflict(journey: Journey) -> None:
    price = {"Coll": [{"Art": "Laden", "Preis": 39.5, "VE": 1}]}
    key = journey.variant(2, journey.family(1), Preise=price)
    journey.run_all()
    journey.execute(f"delete from {VARIANTS}")
    journey.edit(key, VARIANTS, Preise=None, Bezeichnung="Hasi")
    journey.run_all()
    assert [cell[0] for cell in cells(journey)] == ["name"]
    assert len(settle(journey, "erp").decided) == 1
    journey.run(VARIANTS, full=True)
    assert (journey.skus(VARIANTS), rows(journey, "open")) == ([], [])


def test_a_record_that_changed_once_more_is_another_conflict(journey: Journey) -> None:
    key = deleted_and_changed(journey)
    journey.edit(key, Bezeichnung="Hasi II", Gewicht=5)
    journey.run()
    assert rows(journey) == [
        ("gone_in_erp", "settled", None, "a later change in the legacy system"),
        ("gone_in_erp", "open", None, None),
    ]
    assert cells(journey) == [("name", "Hase", "Hasi II", None), ("weight", None, "5", None)]
    assert len(settle(journey, "legacy").decided) == 1
    assert (journey.row("1")["name"], journey.row("1")["weight"]) == ("Hasi II", 5)


@pytest.mark.parametrize(("policy", "skus"), [("legacy_wins", ["1", "2"]), ("erp_wins", ["2"])])
def test_a_declared_policy_decides_about_deleted_rows(journey: Journey, policy: str, skus: list[str]) -> None:
    deleted_and_changed(journey, in_erp=policy)
    assert rows(journey) == [("gone_in_erp", "decided", policy.removesuffix("_wins"), f"policy {policy}")]
    journey.run(full=True)
    assert (journey.skus(), len(rows(journey))) == (skus, 1)


def test_a_record_that_returns_to_what_was_agreed_on_closes_the_conflict(journey: Journey) -> None:
    key = deleted_and_changed(journey)
    journey.edit(key, Bezeichnung="Hase")
    journey.run()
    assert rows(journey) == [("gone_in_erp", "settled", None, "a later change in the legacy system")]
    assert journey.skus() == ["2"]


def test_a_row_that_cannot_be_inserted_again_stays_a_conflict(journey: Journey) -> None:
    deleted_and_changed(journey)
    journey.execute("update products_parentproduct set sku = '1'")
    settled = settle(journey, "legacy")
    assert "refused, nothing was written" in next(iter(settled.waiting.values()))
    assert (rows(journey), journey.parked()) == ([("gone_in_erp", "open", None, None)], {})


def test_a_dry_run_of_a_decision_about_a_row_writes_nothing(journey: Journey) -> None:
    deleted_and_changed(journey)
    before = journey.places(PARENTS, *LEDGER)
    assert len(settle(journey, "legacy", dry_run=True).decided) == 1
    assert journey.places(PARENTS, *LEDGER) == before


def test_a_value_is_no_answer_for_a_row(journey: Journey) -> None:
    deleted_and_changed(journey)
    with pytest.raises(ChoiceUnusable, match="the conflict is about a whole row"):
        resolve(journey.workspace, choose(journey.workspace, every=True), Choice("value", "anna", "x"))


# --- documents ------------------------------------------------------------------------------------


def document_without_a_position(shop: Shop) -> str:
    """The ERP lost position 2 of a document, which changed in 4D together with position 1."""
    shop.document(1)
    one, two = shop.position(1, 1, Menge=1), shop.position(1, 2, Menge=1)
    shop.run(DOCUMENTS)
    shop.execute("delete from sales_salesrecorditem where position = 2")
    shop.change("Belege_Pos", one, Menge=5)
    shop.change("Belege_Pos", two, Menge=5)
    shop.run(DOCUMENTS)
    return one


def quantities(shop: Shop) -> list[tuple[int, int]]:
    found = shop.query("select position, quantity from sales_salesrecorditem order by 1")
    return [(row["position"], int(row["quantity"])) for row in found]


def test_a_document_waits_whole_while_a_deleted_position_is_undecided(shop: Shop) -> None:
    one = document_without_a_position(shop)
    assert quantities(shop) == [(1, 1)]
    assert shop.parked() == dict.fromkeys((key_of(1), one), "unit_incomplete")
    assert rows(shop) == [("gone_in_erp", "open", None, None)]
    shop.run(DOCUMENTS)
    assert quantities(shop) == [(1, 1)]


@pytest.mark.parametrize(("keep", "wanted"), [("legacy", [(1, 5), (2, 5)]), ("erp", [(1, 5)])])
def test_a_decision_brings_the_whole_document(shop: Shop, keep: str, wanted: list[tuple[int, int]]) -> None:
    document_without_a_position(shop)
    assert len(settle(shop, keep).decided) == 1
    assert (quantities(shop), shop.parked()) == (wanted, {})


def test_a_deleted_document_does_not_come_back_without_its_positions(shop: Shop) -> None:
    document = shop.document(1)
    shop.position(1, 1)
    shop.run(DOCUMENTS)
    shop.execute("delete from sales_salesrecorditem")
    shop.execute("delete from sales_salesrecord")
    shop.change("Belege", document, Netto=99)
    shop.run(DOCUMENTS)
    with pytest.raises(ChoiceUnusable, match="cannot come back without the rows that belong to it"):
        settle(shop, "legacy")
    assert len(settle(shop, "erp").decided) == 1
    assert shop.documents() == {}


def test_a_value_is_decided_inside_a_document(shop: Shop) -> None:
    shop.document(1)
    one = shop.position(1, 1, Menge=1)
    shop.run(DOCUMENTS)
    shop.remap(POSITIONS, conflicts={"policy": "manual"})
    shop.execute("update sales_salesrecorditem set quantity = 7")
    shop.change("Belege_Pos", one, Menge=5)
    shop.run(DOCUMENTS)
    assert [c[:4] for c in shop.conflicts() if c[0] == "quantity"] != []
    settled = settle(shop, "legacy")
    assert settled.waiting == {}
    assert quantities(shop) == [(1, 5)]


# --- from before ----------------------------------------------------------------------------------


def test_rows_parked_for_this_before_become_conflicts_that_can_be_decided(journey: Journey) -> None:
    deleted_and_changed(journey)
    journey.execute(_AS_IT_WAS_BEFORE)
    with journey.workspace.erp():
        pass
    assert (rows(journey), journey.parked()) == ([("gone_in_erp", "open", None, None)], {})
    assert len(settle(journey, "legacy").decided) == 1
    assert journey.row("1")["name"] == "Hasi"


_AS_IT_WAS_BEFORE = """
insert into legacy_sync.quarantine (entity_id, legacy_key, reason, value, message, row, fetched, partition,
  mapping_version, first_run, last_run)
select c.entity_id, c.legacy_key, 'erp_row_deleted', c.erp_key, 'the record changed', r.row, r.fetched, 'all', '', 1, 1
from legacy_sync.conflict c join legacy_sync.conflict_record r using (entity_id, legacy_key);
drop table legacy_sync.conflict_record, legacy_sync.conflict_cell;
delete from legacy_sync.conflict;
alter table legacy_sync.conflict drop sort, drop is_first, drop choice, drop chosen_value, drop chosen_by,
  drop chosen_at, drop comment, drop refusal, drop decided_by, drop follows;
drop index legacy_sync.conflict_by_record;
delete from legacy_sync.migration where left(name, 3) = '006'
"""
