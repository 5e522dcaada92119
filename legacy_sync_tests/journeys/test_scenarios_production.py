"""Do molds, orders and changed tables come through when single rows or the mapping itself go wrong?"""

from shop_setup import Shop


def test_mold_that_the_database_refuses_does_not_poison_the_others(shop: Shop):
    shop.execute("alter table production_mold add check (legacy_form_nr <> 'F7')")
    keys = {n: shop.save("Formen", n, FormNr=f"F{n}", Bezeichnung="Hase") for n in range(1, 31)}
    report = shop.run("production_mold")
    assert (report.counts.inserted, shop.parked()) == (29, {keys[7]: "refused_by_database"})
    shop.execute("alter table production_mold drop constraint production_mold_legacy_form_nr_check")
    shop.change("Formen", keys[7], Bezeichnung="Igel")
    shop.run("production_mold")
    assert shop.parked() == {}
    assert len(shop.query("select from production_mold")) == 30


def test_order_keeps_the_quantity_that_4d_sends_in_any_spelling(shop: Shop):
    for number, quantity in enumerate([120, "120", "120,0", " 120 Stk", 120.9], start=1):
        shop.save("Werksauftraege", number, WerkAufNr=number, Stückzahl=quantity, Form_Nr="F1", Prio=number)
    shop.run("production_productionorder")
    rows = shop.query("select quantity, form_number, priority from production_productionorder order by priority")
    assert [tuple(r.values()) for r in rows] == [(120, "F1", n) for n in range(1, 6)]


def test_table_that_was_split_is_loaded_again_from_what_is_landed(shop: Shop):
    for number in (1, 2, 3):
        shop.save("Formen", number, FormNr=f"F{number}", Bezeichnung="Hase", Lagerort="Regal 3")
    fields = shop.said["production_mold"]["fields"]
    place = fields.pop("storage_location")
    shop.said["production_mold"]["target"]["on_insert"] = {"storage_location": ""}
    shop.run("production_mold")
    shop.server.stop()
    fields["storage_location"] = place
    shop.close()
    shop.server.start()
    shop.store.clock.advance(days=30)
    report = shop.run("production_mold")
    rows = shop.query("select distinct storage_location from production_mold")
    assert [r["storage_location"] for r in rows] == ["Regal 3"]
    assert report.columns_changed == {"storage_location": 3}


def test_rows_that_move_to_a_new_table_come_whole_beside_the_old_ones(shop: Shop):
    for number in (1, 2, 3):
        shop.save("Formen", number, FormNr=f"F{number}", Bezeichnung=f"Hase {number}", modified_date="1!1!2020")
    shop.run("production_mold")
    said = shop.said["production_mold"]
    fields = {"code": {"from": "FormNr", "required": True}, "name": {"from": "Bezeichnung", "required": True}}
    target = {"table": "products_productcategory", "natural_key": ["code"], "on_insert": {"description": ""}}
    shop.said["products_productcategory"] = {**said, "fields": fields, "target": target}
    shop.close()
    shop.run("products_productcategory")
    assert len(shop.query("select from products_productcategory")) == 3
    assert len(shop.query("select from production_mold")) == 3
