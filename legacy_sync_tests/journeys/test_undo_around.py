"""Is what a run did in other tables taken back with it: rows made for references, texts, derived values, late links?"""

import os
import subprocess
import sys
import time
from typing import Any

import psycopg
import pytest
from journey_setup import PARENTS, VARIANTS, Journey, key_of
from shop_setup import DOCUMENTS, POSITIONS, Shop
from test_undo import undo

from legacy_sync.errors import EntityBusy

ROWS = int(os.environ.get("UNDO_ROWS", "1000"))


def run_of(shop: Journey, entity: str) -> int:
    """The number of the newest run of an entity."""
    (row,) = shop.query(
        "select max(r.id) as id from legacy_sync.run r join legacy_sync.entity e on e.id = r.entity_id"
        " where e.name = %s",
        entity,
    )
    return int(row["id"])


def run_unit(shop: Shop, *, full: bool = False) -> list[int]:
    shop.run(DOCUMENTS, full=full)
    return [run_of(shop, DOCUMENTS), run_of(shop, POSITIONS)]


def sales(shop: Shop) -> list[list[dict[str, Any]]]:
    """Everything a document brings; without the times of saves."""
    tables = (DOCUMENTS, POSITIONS, "sales_customer", "sales_address", "sales_paymentterms", "sales_shippingmethod")
    return [shop.query(f"select to_jsonb(t) - 'modified_at' - 'updated_at' as row from {t} t order by id")
            for t in tables]  # fmt: skip


def test_documents_go_with_their_positions_and_all_that_was_made_for_them(shop: Shop):
    empty = sales(shop)
    shop.document(1, Lief_Adr="Neu GmbH\rWeg 1\r12345 Ort", Versandart="Post")
    shop.position(1, 1)
    document, positions = run_unit(shop)
    assert [p["problem"] for p in undo(shop, document).problems] == ["referred"] * 1
    report = undo(shop, document, positions)
    assert (report.written, report.by_table[DOCUMENTS], report.by_table["sales_customer"]) == (
        True, {"remove": 1}, {"remove": 1},
    )  # fmt: skip
    assert sales(shop) == empty
    for full in (False, True):
        run_unit(shop, full=full)
        assert (sales(shop), shop.parked()) == (empty, {})
    undo(shop, *report.undo_runs.values())
    assert shop.documents() == {"1": [1]}


def test_row_made_for_a_reference_stays_if_the_record_stays_that_names_it(shop: Shop):
    document = shop.document(1, Versandart="Post")
    run_unit(shop)
    before = shop.query("select shipping_method_id from sales_salesrecord")
    shop.change("Belege", document, Versandart="Bahn")
    report = undo(shop, *run_unit(shop))
    assert report.by_table["sales_shippingmethod"] == {"leave": 1}
    for full in (False, True):
        run_unit(shop, full=full)
        assert shop.query("select shipping_method_id from sales_salesrecord") == before
    assert len(shop.query("select 1 from sales_shippingmethod")) == 2


def test_document_that_came_back_is_found_by_its_positions_again(shop: Shop):
    shop.remap(DOCUMENTS, deletes={"policy": "delete", "max_share": 1}, source={"other_keys": ["AbsNr"]})
    document = shop.document(1)
    shop.document(2)
    run_unit(shop)
    keys = "select name, value from legacy_sync.other_key order by 2"
    before = shop.query(keys)
    shop.store.delete("Belege", document)
    runs = run_unit(shop, full=True)
    assert list(shop.documents()) == ["2"]
    undo(shop, *runs)
    assert (sorted(shop.documents()), shop.query(keys)) == (["1", "2"], before)


def test_made_row_that_got_its_own_record_since_is_refused(shop: Shop):
    shop.document(1, KundenNr=77, Lief_Adr="Neu GmbH\rWeg 1\r12345 Ort")
    runs = run_unit(shop)
    shop.save("Kunden", 500, KundenNr="77")
    shop.run("sales_customer")
    assert {p["problem"] for p in undo(shop, *runs).problems} == {"later_run"}


def test_state_of_delivery_goes_back_with_the_positions(shop: Shop):
    shop.document(1)
    position = shop.position(1, 1, Menge=2)
    run_unit(shop)
    before = sales(shop)
    shop.change("Belege_Pos", position, Pick_Menge=2)
    runs = run_unit(shop)
    assert sales(shop) != before
    undo(shop, *runs)
    assert sales(shop) == before
    for full in (False, True):
        run_unit(shop, full=full)
        assert sales(shop) == before


def test_name_of_a_customer_goes_back_with_the_address(shop: Shop):
    shop.save("Kunden", 1, KundenNr=7, AdrNr=4711)
    address = shop.save("Adressen", 2, AdrNr=4711, Name2="Alt GmbH")
    shop.run("sales_customer")
    shop.run("sales_address")
    shop.change("Adressen", address, Name2="Irrtum GmbH")
    shop.run("sales_address")
    undo(shop, run_of(shop, "sales_address"))
    for full in (False, True):
        shop.run("sales_address", full=full)
        shop.run("sales_customer", full=full)
        (row,) = shop.query("select c.name, a.company_name from sales_customer c, sales_address a")
        assert row == {"name": "Alt GmbH", "company_name": "Alt GmbH"}


def test_link_to_a_parent_that_came_late_is_taken_back(shop: Shop):
    shop.document(1)
    shop.position(1, 1, ArtNr="100-BE")
    run_unit(shop)
    shop.family(1)
    shop.variant(2, key_of(1), alteNummer="100-BE")
    shop.run(PARENTS)
    shop.run(VARIANTS)
    runs = run_unit(shop)
    linked = "select product_id is not null as linked from sales_salesrecorditem"
    assert shop.query(linked) == [{"linked": True}]
    undo(shop, *runs)
    for full in (False, True):
        assert shop.query(linked) == [{"linked": False}]
        run_unit(shop, full=full)
    assert shop.query(linked) == [{"linked": False}]


def test_blank_column_of_a_parent_is_blank_again_until_its_child_says_something_else(journey: Journey):
    variant = journey.variant(11, journey.family(1), fk_ArtNr=None)
    journey.run()
    journey.run(VARIANTS)
    journey.execute(f"update {PARENTS} set legacy_base_sku = ''")
    journey.edit(variant, VARIANTS, fk_ArtNr="B1")
    journey.run(VARIANTS)
    assert journey.row("1")["legacy_base_sku"] == "B1"
    first = undo(journey, run_of(journey, VARIANTS))
    for full in (False, True):
        journey.run(VARIANTS, full=full)
        assert journey.row("1")["legacy_base_sku"] == ""
    again = undo(journey, *first.undo_runs.values())
    assert journey.row("1")["legacy_base_sku"] == "B1"
    undo(journey, *again.undo_runs.values())
    journey.edit(variant, VARIANTS, fk_ArtNr="B2")
    journey.run(VARIANTS)
    assert journey.row("1")["legacy_base_sku"] == "B2"


# --- as a whole, at once, and fast ---------------------------------------------------------------


def test_entity_that_is_being_loaded_cannot_be_undone_meanwhile(journey: Journey):
    journey.family(1)
    run = journey.run().run_id
    with psycopg.connect(journey.erp_url) as other:
        other.execute("select pg_advisory_lock(1279611219, id) from legacy_sync.entity where name = %s", [PARENTS])
        with pytest.raises(EntityBusy):
            undo(journey, run)
    assert journey.skus() == ["1"]


def test_undo_that_is_killed_in_the_middle_leaves_everything_as_it_was(journey: Journey):
    key = journey.family(1)
    journey.run()
    journey.edit(key, Bezeichnung="Irrtum")
    run = journey.run().run_id
    before = journey.places()
    with psycopg.connect(journey.erp_url) as person:
        person.execute(f"select 1 from {PARENTS} for update")
        code = "import sys; from legacy_sync.cli import app; app()"
        command = [sys.executable, "-c", code, "undo", str(run), "--yes"]
        process = subprocess.Popen(command, cwd=journey.folder, env={**os.environ, **journey.environ})
        _wait_for(
            journey,
            "select 1 from pg_stat_activity where application_name = 'legacy_sync' and wait_event_type = 'Lock'",
        )
        process.kill()
        process.wait()
    _wait_for(
        journey, "select 1 where not exists (select from pg_stat_activity where application_name = 'legacy_sync')"
    )
    assert journey.places() == before
    assert undo(journey, run).restored == 1


def _wait_for(journey: Journey, question: str) -> None:
    until = time.monotonic() + 60
    while not journey.query(question):
        assert time.monotonic() < until
        time.sleep(0.05)  # another process decides when


def test_many_rows_are_undone_in_seconds(journey: Journey):
    for number in range(1, ROWS + 1):
        journey.family(number)
    inserted = journey.run().run_id
    for key in [row["UID"] for row in journey.store.rows("Artikel_Familie")]:
        journey.edit(key, Bezeichnung="Irrtum", aktiv=False)
    updated = journey.run().run_id
    report = undo(journey, updated)
    assert (report.restored, journey.query(f"select 1 from {PARENTS} where name = 'Irrtum'")) == (ROWS, [])
    again = undo(journey, inserted, updated, *report.undo_runs.values())
    assert (again.removed, journey.skus()) == (ROWS, [])
    assert max(report.seconds, again.seconds) < 3 + ROWS / 1000
