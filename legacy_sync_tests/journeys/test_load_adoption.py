"""What happens at first contact with rows that are in the ERP already?"""

import pytest
from journey_setup import PARENTS, VARIANTS, Journey

LISTS = {"Coll": [{"Art": "Laden", "Preis": 39.5, "VE": 1}]}


@pytest.mark.parametrize("number", [803721, "803721", " 803721 "])
def test_row_with_the_same_number_is_taken_over(journey: Journey, number: object):
    row_id = journey.erp_insert(VARIANTS, sku="803721", name="Old name", is_featured=True, retail_price="1.00")
    parent = journey.family(1)
    journey.variant(2, parent, Nummer=number, Bezeichnung="Osterhase bemalt", Preise=LISTS)
    report = journey.run_all()[VARIANTS]
    row = journey.row("803721", VARIANTS)
    assert (row["id"], row["name"], str(row["retail_price"])) == (row_id, "Osterhase bemalt", "39.50")
    assert row["is_featured"]
    assert (report.counts.adopted, report.counts.inserted, report.counts.updated) == (1, 0, 0)


def test_adoption_writes_its_before_and_after_images(journey: Journey):
    journey.erp_insert(PARENTS, sku="1", name="Old name")
    journey.family(1, Bezeichnung="Hase")
    journey.run()
    (change,) = journey.query("select * from legacy_sync.change")
    assert change["kind"] == "adopt"
    assert ("name", "Old name", "Hase") in zip(change["columns"], change["before"], change["after"], strict=True)


def test_row_that_equals_the_legacy_record_is_adopted_without_a_write(journey: Journey):
    key = journey.family(1, Bezeichnung="Hase")
    journey.run()
    journey.execute("drop schema legacy_sync cascade")
    places = journey.places(PARENTS)
    report = journey.run()
    assert report.counts.adopted == 1
    assert journey.places(PARENTS) == places
    journey.edit(key, Bezeichnung="Hasi")
    journey.run()
    assert journey.row("1")["name"] == "Hasi"


def test_lost_ledger_adopts_everything_again(sample_journey: Journey):
    sample_journey.run_all()
    places = sample_journey.places(PARENTS, VARIANTS)
    sample_journey.execute("drop schema legacy_sync cascade")
    reports = sample_journey.run_all()
    assert sample_journey.places(PARENTS, VARIANTS) == places
    assert [r.counts.inserted for r in reports.values()] == [0, 0]


@pytest.mark.parametrize(
    ("policy", "name"), [("legacy_wins", "Hase"), ("erp_wins", "Old name"), ("manual", "Old name")]
)
def test_policy_decides_about_differences(journey: Journey, policy: str, name: str):
    journey.remap(PARENTS, adoption={"policy": policy})
    journey.erp_insert(PARENTS, sku="1", name="Old name", legacy_id="0" * 31 + "1", is_active=True)
    journey.family(1, Bezeichnung="Hase")
    for _ in range(3):
        journey.run(full=True)
    assert journey.row("1")["name"] == name
    waiting = {c[0]: c[3] for c in journey.conflicts()}
    unset = {"description": None, "description_en": None}
    assert waiting == ({"name": "Old name", **unset} if policy == "manual" else {})


def test_manual_adoption_waits_until_the_sides_agree(journey: Journey):
    journey.remap(PARENTS, adoption={"policy": "manual"})
    old = {"sku": "1", "name": "Old name", "legacy_id": "0" * 31 + "1", "is_active": True}
    journey.erp_insert(PARENTS, **old, description="", description_en="")
    key = journey.family(1, Bezeichnung="Hase")
    journey.run()
    journey.erp_edit("1", name="Hase")
    journey.run()
    assert journey.conflicts() == []
    journey.edit(key, Bezeichnung="Hasi")
    journey.run()
    assert journey.row("1")["name"] == "Hasi"


def test_kept_erp_values_survive_until_legacy_changes_them(journey: Journey):
    journey.remap(PARENTS, adoption={"policy": "erp_wins"}, conflicts={"policy": "legacy_wins"})
    journey.erp_insert(PARENTS, sku="1", name="Old name", name_en="Old")
    key = journey.family(1, Bezeichnung="Hase", Bezeichnung_ENG="Bunny")
    journey.run()
    journey.edit(key, Bezeichnung="Hasi")
    journey.run()
    assert (journey.row("1")["name"], journey.row("1")["name_en"]) == ("Hasi", "Old")


def test_several_candidates_are_parked_and_none_is_touched(journey: Journey):
    journey.remap(PARENTS, target={"natural_key": ["name"]})
    for sku in ("8", "9"):
        journey.erp_insert(PARENTS, sku=sku, name="Hase")
    journey.family(1, Bezeichnung="Hase")
    places = journey.places(PARENTS)
    report = journey.run()
    assert journey.places(PARENTS) == places
    assert report.parked_by_reason == {"adoption_ambiguous": 1}


def test_parked_candidate_is_adopted_once_a_person_has_decided(journey: Journey):
    journey.remap(PARENTS, target={"natural_key": ["name"]})
    for sku in ("8", "9"):
        journey.erp_insert(PARENTS, sku=sku, name="Hase")
    journey.family(1, Bezeichnung="Hase")
    journey.run()
    journey.erp_edit("9", name="Igel")
    report = journey.run(full=True)
    assert journey.parked() == {}
    assert report.counts.adopted == 1
    assert journey.skus() == ["1", "9"]


def test_row_bound_to_another_record_is_not_adopted(journey: Journey):
    journey.family(1, Nummer=10, Bezeichnung="Hase")
    journey.run()
    other = journey.family(2, Nummer=10, Bezeichnung="Igel")
    journey.run()
    assert journey.row("10")["name"] == "Hase"
    assert journey.parked() == {other: "duplicate"}


def test_two_records_of_one_number_adopt_one_row(journey: Journey):
    journey.erp_insert(PARENTS, sku="10", name="Old name")
    journey.family(1, Nummer=10, Bezeichnung="Hase")
    other = journey.family(2, Nummer=10, Bezeichnung="Igel")
    report = journey.run()
    assert journey.row("10")["name"] == "Hase"
    assert journey.parked() == {other: "duplicate"}
    assert (report.counts.adopted, report.counts.parked) == (1, 1)


def test_row_without_a_natural_key_in_the_mapping_is_parked_not_doubled(journey: Journey):
    journey.remap(PARENTS, target={"natural_key": []})
    journey.erp_insert(PARENTS, sku="1", name="Old name")
    key = journey.family(1)
    journey.run()
    assert journey.parked() == {key: "duplicate"}
    assert journey.row("1")["name"] == "Old name"


def test_adoption_leaves_undelivered_columns_as_they_are(journey: Journey):
    journey.erp_insert(PARENTS, sku="1", name="Alt", description_en="user translation", keywords="ostern, hase")
    target = journey.store.tables["Artikel_Familie"]
    key = journey.family(1)
    row = journey.store.get("Artikel_Familie", key)
    journey.family(2)
    target.put(key, {name: value for name, value in row.items() if name != "Beschreibung_ENG"})
    journey.run()
    assert journey.row("1")["description_en"] == "user translation"
    assert journey.row("1")["keywords"] == "ostern, hase"
    journey.run(full=True)
    assert journey.row("1")["description_en"] == "user translation"
