"""Does a document appear and change as a whole, or wait as a whole, whatever one of its rows looks like?"""

import pytest
from shop_setup import DOCUMENTS, POSITIONS, Shop

from legacy_sync.errors import LegacySyncError
from legacy_sync.ledger import quarantine


def test_documents_come_with_their_positions(shop: Shop):
    shop.document(1)
    shop.position(1, 1)
    shop.position(1, 2)
    shop.document(2)
    report = shop.run(DOCUMENTS)
    assert shop.documents() == {"1": [1, 2], "2": []}
    assert (report.counts.inserted, report.counts.parked) == (2, 0)


def test_running_a_member_runs_the_whole_unit(shop: Shop):
    shop.document(1)
    shop.position(1, 1)
    assert shop.run(POSITIONS).counts.inserted == 1
    assert shop.documents() == {"1": [1]}


def test_document_with_a_bad_position_waits_as_a_whole_and_others_do_not(shop: Shop):
    whole = shop.document(1), shop.position(1, 1), shop.position(1, 2, Preis="viel")
    shop.document(2)
    shop.position(2, 1)
    shop.run(DOCUMENTS)
    assert shop.documents() == {"2": [1]}
    assert shop.parked() == dict(zip(whole, ("unit_incomplete", "unit_incomplete", "not_a_number"), strict=True))


def test_document_with_a_nul_byte_in_a_position_waits_as_a_whole_and_others_do_not(shop: Shop):
    whole = shop.document(1), shop.position(1, 1, Bezeichnung="Ha\x00se \\u0000")
    shop.document(2)
    for _ in range(2):
        shop.run(DOCUMENTS)
        assert shop.documents() == {"2": []}
        assert shop.parked() == dict(zip(whole, ("unit_incomplete", "nul_byte"), strict=True))


def test_repaired_position_brings_the_whole_document(shop: Shop):
    shop.document(1)
    shop.position(1, 1)
    bad = shop.position(1, 2, Preis="viel")
    shop.run(DOCUMENTS)
    shop.change("Belege_Pos", bad, Preis=3)
    report = shop.run(DOCUMENTS)
    assert (shop.documents(), shop.parked()) == ({"1": [1, 2]}, {})
    assert report.counts.replayed == 1


def test_repaired_document_brings_its_positions(shop: Shop):
    document = shop.document(1, Datum="0!0!0")
    shop.position(1, 1)
    shop.run(DOCUMENTS)
    assert shop.documents() == {}
    shop.change("Belege", document, Datum="2!3!2024")
    shop.run(DOCUMENTS)
    assert (shop.documents(), shop.parked()) == ({"1": [1]}, {})


def test_changed_document_with_a_bad_position_keeps_its_last_good_state(shop: Shop):
    document = shop.document(1, Netto=10)
    position = shop.position(1, 1)
    shop.run(DOCUMENTS)
    shop.change("Belege", document, Netto=20)
    shop.change("Belege_Pos", position, Menge="drei")
    shop.run(DOCUMENTS)
    (row,) = shop.query("select subtotal, quantity from sales_salesrecord r join sales_salesrecorditem i on true")
    assert (row["subtotal"], row["quantity"]) == (10, 1)
    shop.change("Belege_Pos", position, Menge=3)
    shop.run(DOCUMENTS)
    (row,) = shop.query("select subtotal, quantity from sales_salesrecord r join sales_salesrecorditem i on true")
    assert (row["subtotal"], row["quantity"]) == (20, 3)


def test_document_comes_without_a_position_that_a_person_discarded(shop: Shop):
    shop.document(1)
    shop.position(1, 1)
    bad = shop.position(1, 2, Preis="viel")
    shop.run(DOCUMENTS)
    with shop.workspace.erp() as connection:
        entry = next(e.id for e in quarantine.list_entries(connection) if e.legacy_key == bad)
        quarantine.discard(connection, [entry], by="test", comment="typed by mistake")
    shop.run(DOCUMENTS)
    assert (shop.documents(), shop.parked()) == ({"1": [1]}, {})


def test_incomplete_document_that_nobody_touches_writes_nothing_again(shop: Shop):
    shop.document(1)
    shop.position(1, 1, Preis="viel")
    shop.run(DOCUMENTS)
    before = shop.places("sales_salesrecord", "sales_customer", "sales_address", "legacy_sync.quarantine")
    shop.run(DOCUMENTS)
    assert shop.places(*before) == before


def test_nothing_of_a_slice_is_there_when_the_positions_cannot_be_fetched(shop: Shop):
    shop.document(1)
    shop.position(1, 1)
    shop.server.faults.add("http_500", table="Belege_Pos", times=100)
    with pytest.raises(LegacySyncError):
        shop.run(DOCUMENTS)
    assert shop.documents() == {}
    shop.server.faults.clear()
    shop.run(DOCUMENTS)
    assert shop.documents() == {"1": [1]}


def test_position_that_moves_to_another_document_leaves_the_first(shop: Shop):
    shop.document(1)
    shop.document(2)
    position = shop.position(1, 1)
    shop.run(DOCUMENTS)
    shop.change("Belege_Pos", position, AbsNr=2)
    shop.run(DOCUMENTS)
    assert shop.documents() == {"1": [], "2": [1]}


def test_state_of_delivery_follows_the_positions(shop: Shop):
    shop.document(1)
    one, two = shop.position(1, 1, Menge=2), shop.position(1, 2, Menge=1)
    states = []
    for position, picked in ((one, 0), (one, 1), (one, 2), (two, 1)):
        shop.change("Belege_Pos", position, Pick_Menge=picked)
        shop.run(DOCUMENTS)
        states += [row["delivery_status"] for row in shop.query("select delivery_status from sales_salesrecord")]
    assert states == ["PENDING", "PARTIALLY_DELIVERED", "PARTIALLY_DELIVERED", "FULLY_DELIVERED"]
