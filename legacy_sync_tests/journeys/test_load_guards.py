"""Which answers of the legacy server are too strange to be believed?"""

import pytest
from journey_setup import PARENTS, VARIANTS, Journey

from legacy_sync.errors import GuardTripped
from legacy_sync.ledger import runs


def families(journey: Journey, count: int = 20) -> list[str]:
    keys = [journey.family(n, Bezeichnung_ENG=f"Family {n}") for n in range(1, count + 1)]
    journey.run()
    return keys


def test_attribute_that_becomes_null_in_every_row_stops_the_run(journey: Journey):
    families(journey)
    before = journey.places(PARENTS)
    journey.store.tables["Artikel_Familie"].unreadable = frozenset({"Bezeichnung_ENG"})
    with pytest.raises(GuardTripped, match="Bezeichnung_ENG is null in all 20 rows read") as refusal:
        journey.run(full=True)
    assert "right to read Bezeichnung_ENG" in refusal.value.next_step
    assert journey.places(PARENTS) == before


def test_flag_that_becomes_null_in_every_row_stops_the_run(journey: Journey):
    families(journey)
    journey.store.tables["Artikel_Familie"].unreadable = frozenset({"aktiv"})
    with pytest.raises(GuardTripped, match="would empty is_active in 20 rows"):
        journey.run(full=True)
    assert journey.row("1")["is_active"] is True


def test_right_given_back_lets_the_next_run_pass(journey: Journey):
    families(journey)
    table = journey.store.tables["Artikel_Familie"]
    table.unreadable = frozenset({"aktiv"})
    with pytest.raises(GuardTripped):
        journey.run(full=True)
    table.unreadable = frozenset()
    assert journey.run(full=True).counts.unchanged == 20


def test_attribute_that_was_always_null_is_no_alarm(journey: Journey):
    for number in range(1, 21):
        journey.family(number)
    journey.run()
    assert journey.run(full=True).counts.unchanged == 20


def test_few_rows_that_lose_a_value_are_an_ordinary_change(journey: Journey):
    keys = families(journey)
    journey.store.clock.advance(days=3)
    for key in keys[:3]:
        journey.edit(key, Bezeichnung_ENG=None)
    assert journey.run().counts.updated == 3


def test_record_without_a_cursor_arrives_with_an_ordinary_run(journey: Journey):
    families(journey, 3)
    journey.store.clock.advance(days=30)
    for number, blank in ((50, None), (51, "0!0!0")):
        key = journey.family(number)
        journey.store.tables["Artikel_Familie"]  # the application stamps a record at its first change only
        journey.edit(key, silent=True, modified_date=blank)
    journey.run()
    assert {"50", "51"} <= set(journey.skus())


def test_blank_old_number_is_stored_as_null(journey: Journey):
    parent = journey.family(1)
    journey.variant(2, parent, alteNummer="  ", fk_ArtNr="B2", ArtikelArt="BE")
    journey.run_all()
    assert journey.row("2", VARIANTS)["legacy_sku"] is None


def test_person_can_accept_what_a_guard_stopped_and_the_ledger_says_so(journey: Journey):
    families(journey)
    journey.store.tables["Artikel_Familie"].unreadable = frozenset({"Bezeichnung_ENG"})
    assert journey.run(full=True, accept=True).counts.updated == 20
    (run,) = journey.query(
        "select started_by, report->>'accepted' as accepted from legacy_sync.run order by id desc limit 1"
    )
    assert run["accepted"] == "true"
    assert "@" in run["started_by"]


def test_few_rows_that_all_lose_the_same_attribute_are_doubted(journey: Journey):
    keys = families(journey)
    journey.store.clock.advance(days=3)
    for key in keys[:4]:
        journey.edit(key, Bezeichnung="anders")
    journey.store.tables["Artikel_Familie"].unreadable = frozenset({"Bezeichnung_ENG"})
    with pytest.raises(GuardTripped, match="null in all"):
        journey.run()


def test_newest_wins_waits_where_the_erp_did_not_note_the_time_of_the_edit(journey: Journey):
    journey.remap(PARENTS, conflicts={"policy": "newest_wins"})
    key = journey.family(1, Bezeichnung_ENG="one")
    journey.run()
    journey.execute("update products_parentproduct set name_en = 'by a person' where sku = '1'")
    journey.edit(key, Bezeichnung_ENG="by 4D")
    journey.run()
    assert journey.row("1")["name_en"] == "by a person"
    assert journey.conflicts() == [("name_en", "one", "by 4D", "by a person", None)]


def test_ledger_keeps_who_let_a_change_pass_and_when(journey: Journey):
    journey.family(1)
    journey.run()
    journey.run(accept=True)
    rows = journey.query("select accepted_by, started_at from legacy_sync.run order by id")
    assert rows[0]["accepted_by"] is None
    assert rows[1]["accepted_by"] == runs.who()
    assert rows[1]["started_at"] > rows[0]["started_at"]


def test_first_import_that_parks_too_much_can_be_accepted(journey: Journey):
    journey.remap(PARENTS, max_parked_share=0.1)
    for number in range(1, 41):
        journey.family(number, Nummer=None if number % 2 else number)
    with pytest.raises(GuardTripped, match="rows cannot be used"):
        journey.run()
    assert journey.run(accept=True).counts.inserted == 20
