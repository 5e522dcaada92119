"""Do shapes beyond one row to one row hold from run to run? Twins, created rows, texts of other tables, lists, keys."""

import pytest
from journey_setup import key_of
from shop_setup import DOCUMENTS, Shop

PLACES, BOXES, TYPES = "inventory_storagelocation", "inventory_box", "inventory_boxtype"
PLACE = {
    "Land_LKZ": "DE",
    "Ort_Gebaeude": "Lager",
    "Regal": 1,
    "Fach": 1,
    "Boden": 1,
    "Lagerort": "DE-Lager-R01-F01-B01",
}


def place(shop: Shop, number: int, **values: object) -> str:
    """A storage place; all are twins unless something is said."""
    return shop.save("Stamm_Lagerorte", number, **{"ID_Lagerort": number, **PLACE, **values})


def units(shop: Shop) -> dict[str, str]:
    return {r["legacy_id"]: r["unit"] for r in shop.query(f"select legacy_id, unit from {PLACES}")}


# --- twins ---------------------------------------------------------------------------------------


def test_twins_are_told_apart_in_the_order_of_their_numbers(shop: Shop):
    for number in (10, 9, 11):
        place(shop, number)
    shop.run(PLACES)
    assert units(shop) == {"9": "1", "10": "1_2", "11": "1_3"}
    rows = shop.query(f"select location_code, name from {PLACES} where legacy_id = '11'")
    assert [tuple(r.values()) for r in rows] == [("DE-Lager-R01-F01-B01_3", "DE-Lager-R1_3-F1-B1")]


def test_twin_that_comes_alone_keeps_its_number(shop: Shop):
    place(shop, 1)
    twin = place(shop, 2)
    shop.run(PLACES)
    shop.store.clock.advance(days=5)
    shop.change("Stamm_Lagerorte", twin, Abverkauf=True)
    report = shop.run(PLACES)
    assert units(shop) == {"1": "1", "2": "1_2"}
    assert (report.counts.updated, report.columns_changed) == (1, {"sale": 1})


def test_smaller_number_that_comes_later_takes_nobody_s_place(shop: Shop):
    place(shop, 5)
    shop.run(PLACES)
    place(shop, 3)
    shop.run(PLACES)
    assert units(shop) == {"5": "1", "3": "1_2"}


def test_twin_that_moves_away_gives_its_number_up(shop: Shop):
    place(shop, 1)
    twin = place(shop, 2)
    shop.run(PLACES)
    shop.change("Stamm_Lagerorte", twin, Regal=7)
    shop.run(PLACES)
    assert units(shop) == {"1": "1", "2": "7"}


# --- other keys ----------------------------------------------------------------------------------


def test_place_is_found_by_a_key_the_erp_does_not_store(shop: Shop):
    key = place(shop, 201)
    shop.save("Stamm_Lager_Schuetten", 1, ID=1, data_={"Stamm_Lagerort": key, "Schuettentype": "Korb"})
    shop.run(PLACES)
    report = shop.run(BOXES)
    rows = shop.query(f"select p.legacy_id from {BOXES} b join {PLACES} p on p.id = b.storage_location_id")
    assert [r["legacy_id"] for r in rows] == ["201"]
    assert report.links["storage_location_id"]["by key UUID"] == 1


# --- rows made for references --------------------------------------------------------------------


def test_box_of_a_missing_type_is_linked_anew_when_the_type_arrives(shop: Shop):
    shop.save("Stamm_Lager_Schuetten", 1, ID=1, data_={"Schuettentype": "Korb"})
    shop.run(BOXES)
    names = "select t.name from inventory_box b join inventory_boxtype t on t.id = b.box_type_id"
    assert [r["name"] for r in shop.query(names)] == ["Unknown"]
    shop.save("parameter", 1, id=1, scope="Schüttentypen", data_={"Schüttentypen": [{"id": 4, "Type": "Korb"}]})
    shop.run(TYPES)
    shop.run(BOXES)
    assert [r["name"] for r in shop.query(names)] == ["Korb"]


def test_many_documents_share_the_rows_made_for_them(shop: Shop):
    for number in range(1, 6):
        shop.document(number, Lief_Adr="Neu GmbH\rWeg 1\r12345 Ort", Versandart="Post", Zahlungsart_A="bar")
    report = shop.run(DOCUMENTS)
    tables = ("customer", "address", "paymentterms", "paymentmethod", "shippingmethod")
    assert [shop.query(f"select count(*) as n from sales_{t}")[0]["n"] for t in tables] == [1, 1, 1, 1, 1]
    assert report.counts.created == 5
    made = shop.query("select erp_table from legacy_sync.change where kind = 'create' order by 1")
    assert [m["erp_table"] for m in made] == sorted(f"sales_{t}" for t in tables)


def test_placeholder_is_taken_over_by_the_customer_it_stood_for(shop: Shop):
    shop.document(1, KundenNr=77, Lief_Adr="Neu GmbH\rWeg 1\r12345 Ort")
    shop.run(DOCUMENTS)
    key = shop.save("Kunden", 500, KundenNr="77", Kundengr="Retail")
    report = shop.run("sales_customer")
    rows = shop.query("select legacy_id, customer_number, customer_group from sales_customer")
    assert [tuple(r.values()) for r in rows] == [(key, "77", "Retail")]
    assert (report.counts.adopted, report.counts.inserted) == (1, 0)


def test_created_rows_are_gone_with_the_document_that_could_not_be_loaded(shop: Shop):
    shop.document(1, Versandart="Kutsche")
    shop.position(1, 1, Preis="viel")
    shop.run(DOCUMENTS)
    assert shop.query("select name from sales_shippingmethod") == []


# --- texts of other tables -----------------------------------------------------------------------


def name_of_customer(shop: Shop) -> str:
    (row,) = shop.query("select name from sales_customer")
    return str(row["name"])


def test_customer_gets_its_name_from_the_address_in_the_same_pass(shop: Shop):
    shop.save("Kunden", 1, KundenNr=7, AdrNr=4711)
    address = shop.save("Adressen", 2, AdrNr="4711", Name2=" Figuren GmbH ")
    shop.run("sales_customer")
    assert name_of_customer(shop) == "Customer 7"
    shop.run("sales_address")
    assert name_of_customer(shop) == "Figuren GmbH"
    shop.change("Adressen", address, Name2="", Vorname="Max", Name1="Muster")
    shop.run("sales_address")
    assert name_of_customer(shop) == "Max Muster"
    assert shop.run("sales_customer").counts.updated == 0


def test_name_edited_in_the_erp_does_not_follow_the_address(shop: Shop):
    shop.save("Kunden", 1, KundenNr=7, AdrNr=4711)
    address = shop.save("Adressen", 2, AdrNr=4711, Name2="Alt GmbH")
    shop.run("sales_customer")
    shop.run("sales_address")
    shop.execute("update sales_customer set name = 'Von Hand'")
    shop.change("Adressen", address, Name2="Neu GmbH")
    shop.run("sales_address")
    assert name_of_customer(shop) == "Von Hand"


def test_address_that_changes_its_number_takes_its_name_along(shop: Shop):
    shop.save("Kunden", 1, KundenNr=7, AdrNr=4711)
    shop.save("Kunden", 2, KundenNr=8, AdrNr=4712)
    address = shop.save("Adressen", 2, AdrNr=4711, Name2="Alt GmbH")
    shop.run("sales_customer")
    shop.run("sales_address")
    shop.change("Adressen", address, AdrNr=4712)
    shop.run("sales_address")
    rows = shop.query("select customer_number, name from sales_customer order by 1")
    assert [tuple(r.values()) for r in rows] == [("7", "Customer 7"), ("8", "Alt GmbH")]


# --- one record, many rows; many records, one row ------------------------------------------------


def types_of(shop: Shop) -> dict[str, int]:
    return {r["name"]: r["slot_count"] for r in shop.query(f"select name, slot_count from {TYPES}")}


def test_items_of_a_list_are_rows_that_change_and_go_one_by_one(shop: Shop):
    items = [{"id": n, "Type": f"Korb {n}", "Slots": 1} for n in range(1, 61)]
    record = shop.save("parameter", 1, id=1, scope="Schüttentypen", data_={"Schüttentypen": items})
    shop.save("parameter", 2, id=2, scope="Farben", data_={"Schüttentypen": "nichts"})
    report = shop.run(TYPES)
    assert (report.counts.inserted, report.counts.ignored, len(types_of(shop))) == (60, 1, 60)
    items[0]["Slots"] = 3
    shop.change("parameter", record, data_={"Schüttentypen": items})
    report = shop.run(TYPES)
    assert (report.counts.updated, report.counts.unchanged, types_of(shop)["Korb 1"]) == (1, 59, 3)


@pytest.mark.parametrize("blob", ["Not a list", {"x": 1}, 7], ids=["text", "object", "number"])
def test_list_that_is_none_is_parked_and_comes_in_once_it_is_one(shop: Shop, blob: object):
    record = shop.save("parameter", 1, id=1, scope="Schüttentypen", data_={"Schüttentypen": blob})
    shop.run(TYPES)
    assert list(shop.parked().values()) == ["not_a_list"]
    shop.change("parameter", record, data_={"Schüttentypen": [{"id": 3, "Type": "Korb"}]})
    shop.run(TYPES)
    assert list(types_of(shop)) == ["Korb"]


def test_families_of_one_group_make_one_category(shop: Shop):
    for number, group in enumerate(("OST", "WEI", "OST", " ", None, "OST")):
        shop.save("Artikel_Familie", number, Nummer=number + 1, Bezeichnung="A", ArtGr=group)
    shop.run("products_productcategory")
    rows = shop.query("select code, name from products_productcategory order by 1")
    assert [tuple(r.values()) for r in rows] == [("OST", "OST"), ("WEI", "WEI")]
    assert shop.parked() == {}


def test_records_of_one_key_in_one_fetch_are_parked_after_the_first(shop: Shop):
    shop.remap("business_employee", source={"key": "Pers_Nr"})
    for number, name in enumerate(("Doe", "Roe")):
        shop.save("Personal", number, Pers_Nr=7, Name=name)
    shop.run("business_employee")
    assert [r["last_name"] for r in shop.query("select last_name from business_employee")] == ["Doe"]
    assert shop.parked() == {"7": "duplicate_key"}


def test_mapping_may_refer_to_a_table_that_no_mapping_loads(shop: Shop):
    del shop.said["production_mold"]
    shop.execute(
        "insert into production_mold (legacy_uuid, legacy_form_nr, description, storage_location, is_active, notes,"
        " created_at, updated_at) values ('u', 'F1', '', '', true, '', now(), now())"
    )
    shop.family(1)
    shop.variant(2, key_of(1), fk_ArtNr="B1")
    shop.save("Form_Artikel", 1, FormNr="F1", Art_Nr="B1", Anzahl=2)
    shop.run_all()
    assert [r["products_per_mold"] for r in shop.query("select products_per_mold from production_moldproduct")] == [2]


# --- parents that come late ----------------------------------------------------------------------


def test_position_is_linked_when_its_article_arrives_without_being_read_again(shop: Shop):
    shop.document(1)
    shop.position(1, 1, ArtNr="100-BE")
    shop.run(DOCUMENTS)
    shop.store.clock.advance(days=5)
    shop.document(2)
    shop.run(DOCUMENTS)
    shop.family(1)
    shop.variant(2, key_of(1), alteNummer="100-BE")
    shop.run("products_parentproduct")
    shop.run("products_variantproduct")
    report = shop.run(DOCUMENTS)
    rows = shop.query("select v.sku from sales_salesrecorditem i join products_variantproduct v on v.id = i.product_id")
    assert [r["sku"] for r in rows] == ["2"]
    assert report.counts.updated == 0
    assert shop.run(DOCUMENTS, full=True).counts.updated == 0


def test_link_that_a_person_made_meanwhile_stays(shop: Shop):
    shop.document(1)
    shop.position(1, 1, ArtNr="100-BE")
    shop.run(DOCUMENTS)
    shop.family(1)
    for number, old in ((2, "100-BE"), (3, "7-BE")):
        shop.variant(number, key_of(1), alteNummer=old)
    shop.run("products_parentproduct")
    shop.run("products_variantproduct")
    shop.execute(
        "update sales_salesrecorditem set product_id = (select id from products_variantproduct where sku = '3')"
    )
    shop.run(DOCUMENTS)
    rows = shop.query("select v.sku from sales_salesrecorditem i join products_variantproduct v on v.id = i.product_id")
    assert [r["sku"] for r in rows] == ["3"]


def test_twin_of_an_article_takes_no_position_that_is_linked(shop: Shop):
    shop.family(1)
    shop.variant(2, key_of(1), alteNummer="100-BE")
    shop.run("products_parentproduct")
    shop.run("products_variantproduct")
    shop.document(1)
    shop.position(1, 1, ArtNr="100-BE")
    shop.run(DOCUMENTS)
    shop.variant(3, key_of(1), alteNummer="100-BE")
    shop.run("products_variantproduct")
    shop.position(1, 2, ArtNr="100-BE")
    assert shop.run(DOCUMENTS, full=True).counts.updated == 0
    rows = shop.query("select position, product_id is not null as linked from sales_salesrecorditem order by 1")
    assert [tuple(r.values()) for r in rows] == [(1, True), (2, False)]


def test_column_that_has_its_default_in_every_row_is_reported(shop: Shop):
    for number in range(1, 31):
        shop.save("Formen", number, FormNr=f"F{number}", Bezeichnung="Hase", Lagerort="")
    warnings = shop.run("production_mold").warnings
    assert warnings["storage_location: the default in every row"] == 30
    assert "description: the default in every row" not in warnings
