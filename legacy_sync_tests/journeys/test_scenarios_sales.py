"""Do documents keep what 4D says of money, and is everything made for them part of their load?"""

import os
import subprocess
import sys

import psycopg
import pytest
from scenarios_setup import Imported, WholeShop
from shop_setup import DOCUMENTS, Shop

ADDRESS = "Neu GmbH\rWeg 1\r12345 Ort"
SIDES = ("customer", "address", "paymentterms", "paymentmethod", "shippingmethod")


def sides(shop: Shop) -> list[int]:
    return [shop.query(f"select count(*) as n from sales_{side}")[0]["n"] for side in SIDES]


# --- rows made for documents ---------------------------------------------------------------------


def test_plan_makes_no_rows_for_documents(shop: Shop):
    shop.document(1, Lief_Adr=ADDRESS, Versandart="Kutsche", Zahlungsart_A="bar")
    plan = shop.run(DOCUMENTS, dry_run=True)
    assert (plan.counts.inserted, plan.counts.created, sides(shop)) == (1, 5, [0] * 5)
    shop.run(DOCUMENTS)
    assert sides(shop) == [1] * 5


def test_rows_made_for_documents_are_rolled_back_when_the_load_fails(shop: Shop):
    shop.run(DOCUMENTS)
    shop.document(1, Lief_Adr=ADDRESS, Versandart="Kutsche", Zahlungsart_A="bar")
    shop.execute(
        "create function refuse() returns trigger language plpgsql as $$ begin raise exception 'disk full'; end $$"
    )
    shop.execute("create trigger t before update on legacy_sync.watermark for each row execute function refuse()")
    shop.execute("create trigger u before insert on legacy_sync.watermark for each row execute function refuse()")
    with pytest.raises(Exception, match="disk full"):
        shop.run(DOCUMENTS)
    assert sides(shop) == [0] * 5
    assert shop.documents() == {}


def test_keys_of_addresses_are_the_same_in_every_process(shop: Shop):
    shop.document(1, KundenNr=77, Lief_Adr=ADDRESS, Rech_Adr="Neu GmbH\rWeg 2\r12345 Ort")
    found = []
    for seed in ("1", "2"):
        run_in_a_process_of_its_own(shop, DOCUMENTS, PYTHONHASHSEED=seed)
        found.append([r["legacy_id"] for r in shop.query("select legacy_id from sales_address order by 1")])
        shop.execute("drop schema legacy_sync cascade")
        shop.execute("truncate sales_salesrecord, sales_address cascade")
    assert found[0] == found[1]
    assert [key.split("_")[0] for key in found[0]] == ["billing", "shipping"]


def run_in_a_process_of_its_own(shop: Shop, entity: str, **variables: str) -> None:
    _ = shop.workspace  # writes the mappings
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("LEGACY_", "ERP_"))}
    command = [sys.executable, "-c", "from legacy_sync.cli import app; app()", "run", entity, "--full"]
    done = subprocess.run(
        command, env={**ours, **shop.environ, **variables}, cwd=shop.folder, capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 3), done.stderr


def test_primary_address_that_a_person_chose_stays_the_only_one(shop: Shop):
    shop.save("Kunden", 1, KundenNr=77, AdrNr=4711)
    shop.save("Adressen", 2, AdrNr=4711, Name2="Figuren GmbH", Strasse="Alt 1", Ort="Ort")
    shop.run("sales_customer")
    shop.run("sales_address")
    shop.execute("update sales_address set is_primary = true")
    shop.document(1, Lief_Adr="Figuren GmbH\rNeu 2\r12345 Ort", Rech_Adr="Figuren GmbH\rNeu 3\r12345 Ort")
    report = shop.run(DOCUMENTS)
    rows = shop.query("select street, is_primary from sales_address order by street")
    assert [tuple(r.values()) for r in rows] == [("Alt 1", True), ("Neu 2", False), ("Neu 3", False)]
    assert report.counts.parked == 0


def test_partial_index_of_primary_addresses_is_there_and_holds(whole_shop: WholeShop):
    (row,) = whole_shop.query("select customer_id from sales_address group by 1 having count(*) > 1 limit 1")
    with pytest.raises(psycopg.errors.UniqueViolation):
        whole_shop.execute("update sales_address set is_primary = true where customer_id = %s", row["customer_id"])


def test_codes_of_long_shipping_methods_are_cut_the_same_way_every_time(shop: Shop):
    names = ["Spedition Müller & Söhne Nord", "Spedition Müller & Söhne Süd"]
    for number, name in enumerate([*names, *names], start=1):
        shop.document(number, Versandart=name)
    report = shop.run(DOCUMENTS)
    rows = shop.query("select name, code from sales_shippingmethod order by name")
    assert [r["name"] for r in rows] == names
    assert all(0 < len(r["code"]) <= 20 for r in rows)
    assert (report.counts.inserted, report.counts.parked) == (4, 0)


# --- money ---------------------------------------------------------------------------------------


def test_amounts_keep_the_currency_in_which_they_were_written(shop: Shop):
    written = {1: "DM", 2: "EUR", 3: "öS", 4: "", 5: "CHF", 6: "Taler", 7: " dm "}
    for number, currency in written.items():
        shop.document(number, Währung=currency, Endbetrag=100)
    shop.run(DOCUMENTS)
    rows = shop.query("select legacy_id, currency, total_amount::int as amount from sales_salesrecord order by 1")
    found = {r["legacy_id"]: (r["currency"], r["amount"]) for r in rows}
    codes = {"1": "DEM", "2": "EUR", "3": "ATS", "4": "EUR", "5": "CHF", "7": "DEM"}
    assert found == {number: (code, 100) for number, code in codes.items()}
    assert len(shop.parked()) == 1


def test_amount_of_a_position_that_differs_from_4d_is_counted(shop: Shop):
    shop.document(1)
    for number, amount in enumerate([5.0, 5.01, 5.5, None], start=1):
        shop.position(1, number, Menge=2, Preis=2.5, Pos_Betrag=amount)
    shop.run("sales_salesrecorditem")
    (run,) = shop.query(
        "select report from legacy_sync.run r join legacy_sync.entity e on e.id = r.entity_id"
        " where e.name = 'sales_salesrecorditem'"
    )
    assert run["report"]["rule_violations"] == {"amount-as-in-4d": 1}
    assert shop.documents() == {"1": [1, 2, 3, 4]}


def test_documents_and_positions_have_statistics_of_their_own(imported: Imported, whole_shop: WholeShop):
    documents, positions = imported.reports[DOCUMENTS], imported.reports["sales_salesrecorditem"]
    for report, table in ((documents, DOCUMENTS), (positions, "sales_salesrecorditem")):
        (row,) = whole_shop.query(f"select count(*) as n from {table}")
        assert report.counts.inserted == row["n"]
        assert sum(counts.inserted for counts in report.counts_by_partition.values()) == row["n"]
    assert positions.counts.inserted > 2 * documents.counts.inserted
