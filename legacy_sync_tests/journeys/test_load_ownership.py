"""What if a person deletes a row in the ERP, or the mapping takes a column in or lets one go?"""

from journey_setup import PARENTS, VARIANTS, Journey


def without(words: dict[str, object], *names: str) -> dict[str, object]:
    return {name: word for name, word in words.items() if name not in names}


def refield(journey: Journey, fields: dict[str, object], **words: object) -> None:
    journey.said[PARENTS]["fields"] = fields
    journey.remap(PARENTS, **words)


def test_row_deleted_in_the_erp_stays_deleted(journey: Journey):
    journey.family(1)
    journey.family(2)
    journey.run()
    journey.execute("delete from products_parentproduct where sku = '1'")
    for full in (False, True):
        report = journey.run(full=full)
        assert journey.skus() == ["2"]
        assert report.counts.parked == 0


def test_change_of_a_record_whose_row_was_deleted_waits_for_a_person(journey: Journey):
    key = journey.family(1)
    journey.run()
    journey.execute("delete from products_parentproduct")
    journey.edit(key, Bezeichnung="Hasi")
    journey.run()
    assert (journey.skus(), journey.parked()) == ([], {})
    assert journey.query("select sort, status, column_name from legacy_sync.conflict") == [
        {"sort": "gone_in_erp", "status": "open", "column_name": ""}
    ]


def test_children_of_a_deleted_row_wait_instead_of_failing(journey: Journey):
    child = journey.variant(2, journey.family(1), fk_ArtNr=None, alteNummer=None)
    journey.run(PARENTS)
    journey.execute("delete from products_parentproduct")
    journey.run_all()
    assert journey.parked() == {child: "reference_missing"}


def test_newly_mapped_column_is_filled_in_every_row(journey: Journey):
    fields = journey.said[PARENTS]["fields"]
    refield(journey, without(fields, "weight"), rules=[])
    for number in (1, 2, 3):
        journey.family(number, Gewicht=number)
    journey.run()
    journey.pass_days(30)
    refield(journey, fields)
    report = journey.run()
    assert [journey.row(str(n))["weight"] for n in (1, 2, 3)] == [1, 2, 3]
    assert report.columns_changed == {"weight": 3}
    assert journey.conflicts() == []


def test_newly_mapped_column_follows_the_adoption_policy(journey: Journey):
    fields = journey.said[PARENTS]["fields"]
    refield(journey, without(fields, "weight"), rules=[], adoption={"policy": "erp_wins"})
    key = journey.family(1, Gewicht=1)
    journey.run()
    journey.erp_edit("1", weight=50)
    refield(journey, fields)
    journey.run()
    assert journey.row("1")["weight"] == 50
    journey.edit(key, Gewicht=2)
    journey.run()
    assert journey.conflicts() == [("weight", "1", "2", "50", None)]


def test_column_no_longer_mapped_is_left_alone(journey: Journey):
    fields = journey.said[PARENTS]["fields"]
    key = journey.family(1, Gewicht=1)
    journey.run()
    refield(journey, without(fields, "weight"), rules=[])
    journey.edit(key, Gewicht=2, Bezeichnung="Hasi")
    journey.run()
    assert (journey.row("1")["weight"], journey.row("1")["name"]) == (1, "Hasi")


def test_other_order_of_the_same_columns_writes_nothing(journey: Journey):
    fields = journey.said[PARENTS]["fields"]
    for number in (1, 2, 3):
        journey.family(number, Gewicht=number)
    journey.run()
    journey.erp_edit("2", name="Häschen")
    places = journey.places(PARENTS)
    refield(journey, dict(reversed(fields.items())))
    journey.run()
    assert journey.places(PARENTS) == places
    assert journey.conflicts() == []


def test_changed_cast_rewrites_the_rows_it_concerns(journey: Journey):
    journey.family(1, Gewicht=12.5)
    journey.family(2, Gewicht=3)
    journey.run()
    journey.pass_days(30)
    journey.said[PARENTS]["fields"]["weight"]["cast"] = {"type": "integer", "rounding": "half_up"}
    journey.close()
    report = journey.run()
    assert journey.row("1")["weight"] == 13
    assert report.columns_changed == {"weight": 1}


def test_more_than_62_columns_keep_what_was_not_delivered(journey: Journey):
    for number in range(70):
        journey.execute(f"alter table products_parentproduct add column extra_{number} text")
    extras = {f"extra_{n}": {"from": "ArtGr" if n % 2 else "Gruppe"} for n in range(70)}
    refield(journey, journey.said[PARENTS]["fields"] | extras)
    key = journey.family(1, ArtGr="OST", Gruppe="Ostern")
    journey.family(2)
    journey.run()
    row = journey.store.get("Artikel_Familie", key)
    without_group = without(row, "Gruppe") | {"ArtGr": "WEI"}
    journey.store.tables["Artikel_Familie"].put(key, without_group)
    journey.run()
    assert {journey.row("1")[f"extra_{n}"] for n in range(0, 70, 2)} == {"Ostern"}
    assert {journey.row("1")[f"extra_{n}"] for n in range(1, 70, 2)} == {"WEI"}


def test_undelivered_columns_of_a_new_row_take_the_declared_values(journey: Journey):
    key = journey.family(1)
    journey.family(2, aktiv=None)
    row = without(journey.store.get("Artikel_Familie", key), "aktiv", "Neu", "Beschreibung")
    journey.store.tables["Artikel_Familie"].put(key, row)
    journey.run()
    assert (journey.row("1")["is_active"], journey.row("1")["is_new"], journey.row("1")["description"]) == (
        True,
        False,
        "",
    )
    assert journey.row("2")["is_active"] is False


def test_child_whose_reference_was_not_delivered_keeps_its_parent(journey: Journey):
    key = journey.variant(2, journey.family(1), fk_ArtNr=None, alteNummer=None, Farbe="rot")
    journey.variant(3, journey.family(4))
    journey.run_all()
    row = journey.store.get("Artikel_Variante", key) | {"Farbe": "blau"}
    journey.store.tables["Artikel_Variante"].put(key, without(row, "Familie_"))
    journey.run_all()
    assert (journey.row("2", VARIANTS)["color"], journey.row("2", VARIANTS)["parent_id"]) == (
        "blau",
        journey.row("1")["id"],
    )
    assert journey.parked() == {}


def test_whole_row_equals_what_the_mapping_promises(journey: Journey):
    journey.family(1, UID="AB" * 16, Bezeichnung="Hase", Release_date="25!5!2018", Gewicht=12.5, Haengend=True)
    journey.run()
    row = without(journey.row("1"), "id", "created_at", "updated_at")
    assert row.pop("release_date").isoformat() == "2018-05-25T00:00:00+00:00"
    assert row == {
        **dict.fromkeys(("category_id", "length_mm", "width_mm", "height_mm", "supplier_id")),
        **dict.fromkeys(("name_en", "short_description", "short_description_en", "description"), ""),
        **dict.fromkeys(("description_en", "keywords", "legacy_base_sku"), ""),
        "sku": "1",
        "legacy_id": "AB" * 16,
        "name": "Hase",
        "weight": 12,
        "is_active": True,
        "is_discontinued": False,
        "is_new": False,
        "is_one_sided": False,
        "is_hanging": True,
    }
