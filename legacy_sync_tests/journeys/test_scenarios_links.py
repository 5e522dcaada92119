"""Does every record find the rows it means, and is it said when it does not?"""

import pytest
from journey_setup import PARENTS, VARIANTS
from scenarios_setup import Imported, WholeShop
from shop_setup import Shop

from legacy_sync.sync.report import link_rates

ENOUGH = 0.9


def test_more_than_nine_of_ten_rows_find_what_they_mean_in_every_mapping(imported: Imported):
    rates = {
        (entity, column): rate
        for entity, report in imported.reports.items()
        for column, rate in link_rates(report.links).items()
    }
    poor = {f"{entity}.{column}: {rate:.1%}" for (entity, column), rate in rates.items() if rate <= ENOUGH}
    said = {
        (entity, column)
        for entity, words in imported.shop.said.items()
        for column, field in words["fields"].items()
        if "reference" in field
    }
    assert poor == set()
    assert said - rates.keys() == set()
    assert len(said) > 15


def test_links_are_what_the_rows_in_the_erp_have(imported: Imported, whole_shop: WholeShop):
    for entity, report in imported.reports.items():
        rows = whole_shop.rows_of(entity).values()
        for column, numbers in report.links.items():
            linked = sum(row[column] is not None for row in rows)
            later = report.counts.parked + report.counts.replayed  # parked for something else, or tried again
            assert abs(numbers["linked"] - linked) <= later, (entity, column)
            assert linked > 0, (entity, column)


def test_number_of_several_variants_links_none_is_counted_and_keeps_the_row(shop: Shop):
    parent = shop.family(1)
    for number in (11, 12):
        shop.variant(number, parent, alteNummer="501506-BE")
    shop.document(5)
    shop.position(5, 1, ArtNr="501506-BE")
    for entity in (PARENTS, VARIANTS):
        shop.run(entity)
    report = shop.run("sales_salesrecorditem")
    (row,) = shop.query("select product_id, legacy_sku from sales_salesrecorditem")
    assert row == {"product_id": None, "legacy_sku": "501506-BE"}
    assert report.links["product_id"]["ambiguous"] == 1
    assert link_rates(report.links)["product_id"] == 0


def test_stock_that_names_the_wrong_kind_of_number_shows_in_the_link_rate(shop: Shop):
    parent = shop.family(1)
    shop.variant(11, parent, refOld=16939)
    shop.save("Stamm_Lagerorte", 1, ID_Lagerort=1, UUID="P1", Ort_Gebaeude="Lager")
    shop.save("Artikel_Lagerorte", 1, UUID="S1", ID_Artikel_Stamm=16939, UUID_Stamm_Lagerorte="P1", Bestand=5)
    wrong = {"product_id": shop.said["inventory_productstorage"]["fields"]["product_id"]}
    right = wrong["product_id"]["reference"]["match"][0]
    wrong["product_id"]["reference"]["match"] = [{**right, "column": "legacy_id"}]
    for entity in (PARENTS, VARIANTS, "inventory_storagelocation"):
        shop.run(entity)
    report = shop.run("inventory_productstorage")
    assert link_rates(report.links)["product_id"] == 0
    wrong["product_id"]["reference"]["match"] = [right]
    shop.close()
    assert link_rates(shop.run("inventory_productstorage", full=True).links)["product_id"] == 1


def test_boxes_without_a_known_type_share_one_row_that_the_load_makes(shop: Shop):
    for number in range(1, 301):
        shop.save("Stamm_Lager_Schuetten", number, ID=number, data_={"Schuettentype": f"Verschollen {number % 7}"})
    report = shop.run("inventory_box")
    assert shop.query("select name, slot_count from inventory_boxtype") == [{"name": "Unknown", "slot_count": 1}]
    assert (report.counts.inserted, report.counts.created, report.counts.parked) == (300, 1, 0)


@pytest.mark.parametrize("stock", [None, "", "NaN", float("inf"), "unbekannt", "k.A.", " "])
def test_stock_without_a_number_is_nothing_and_texts_are_counted(shop: Shop, stock: object):
    shop.variant(11, shop.family(1), refOld=16939)
    shop.save("Stamm_Lagerorte", 1, ID_Lagerort=1, UUID="P1", Ort_Gebaeude="Lager")
    shop.save("Artikel_Lagerorte", 1, UUID="S1", ID_Artikel_Stamm=16939, UUID_Stamm_Lagerorte="P1", Bestand=stock)
    for entity in (PARENTS, VARIANTS, "inventory_storagelocation"):
        shop.run(entity)
    report = shop.run("inventory_productstorage")
    assert [r["quantity"] for r in shop.query("select quantity from inventory_productstorage")] == [0]
    is_text = isinstance(stock, str) and bool(stock.strip())
    assert report.warnings == ({"quantity: no number in the text": 1} if is_text else {})


def test_records_without_a_key_are_reported_and_do_no_harm(shop: Shop):
    for number in (1, 2):
        shop.save("Stamm_Lagerorte", number, ID_Lagerort=None, Ort_Gebaeude="Lager")
    shop.save("Stamm_Lagerorte", 3, ID_Lagerort=0, Ort_Gebaeude="Lager")
    report = shop.run("inventory_storagelocation")
    assert report.parked_by_reason == {"required": 2}
    assert [r["legacy_id"] for r in shop.query("select legacy_id from inventory_storagelocation")] == ["0"]
