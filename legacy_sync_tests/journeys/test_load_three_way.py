"""Who wins when the old system, the ERP or both changed a value since they last agreed?"""

import pytest
from journey_setup import PARENTS, VARIANTS, Journey


@pytest.fixture
def loaded(journey: Journey) -> Journey:
    """One family in both systems."""
    journey.family(1, Bezeichnung="Hase", Bezeichnung_ENG="Bunny", Gewicht=10, UID="A" * 32)
    journey.run()
    return journey


KEY = "A" * 32


def both_change_the_name(journey: Journey) -> None:
    journey.erp_edit("1", name="Häschen")
    journey.edit(KEY, Bezeichnung="Hasi")


def test_only_legacy_changed_is_taken(loaded: Journey):
    loaded.edit(KEY, Bezeichnung="Hasi")
    report = loaded.run()
    assert loaded.row("1")["name"] == "Hasi"
    assert (report.counts.updated, report.counts.conflicts) == (1, 0)


@pytest.mark.parametrize("full", [False, True], ids=["incremental", "full"])
def test_only_erp_changed_is_kept_for_good(loaded: Journey, full: bool):
    loaded.erp_edit("1", name="Häschen", weight=11, description_en=None)
    before = loaded.row("1")
    for _ in range(3):
        report = loaded.run(full=full)
        assert loaded.row("1") == before
        assert (report.counts.updated, report.counts.conflicts) == (0, 0)
    assert loaded.conflicts() == loaded.conflicts("decided") == []


def test_rows_whose_erp_edits_were_kept_are_counted(loaded: Journey):
    loaded.erp_edit("1", name="Häschen")
    assert loaded.run(full=True).counts.kept == 1


def test_both_changed_different_columns_are_merged(loaded: Journey):
    loaded.erp_edit("1", name_en="Little bunny")
    loaded.edit(KEY, Bezeichnung="Hasi")
    loaded.run()
    assert (loaded.row("1")["name"], loaded.row("1")["name_en"]) == ("Hasi", "Little bunny")
    assert loaded.conflicts() == []


def test_kept_edit_survives_later_legacy_changes_of_other_columns(loaded: Journey):
    loaded.erp_edit("1", name_en="Little bunny")
    for weight in (11, 12, 13):
        loaded.edit(KEY, Gewicht=weight)
        loaded.run()
    assert (loaded.row("1")["name_en"], loaded.row("1")["weight"]) == ("Little bunny", 13)


def test_both_made_the_same_change_is_no_conflict(loaded: Journey):
    loaded.erp_edit("1", name="Hasi")
    loaded.edit(KEY, Bezeichnung="Hasi")
    report = loaded.run()
    assert (report.counts.updated, report.counts.conflicts) == (0, 0)
    loaded.edit(KEY, Bezeichnung="Hasi II")
    loaded.run()
    assert loaded.row("1")["name"] == "Hasi II"


def test_manual_parks_the_field_and_the_rest_of_the_row_goes_on(loaded: Journey):
    both_change_the_name(loaded)
    loaded.edit(KEY, Gewicht=20)
    report = loaded.run()
    assert (loaded.row("1")["name"], loaded.row("1")["weight"]) == ("Häschen", 20)
    assert loaded.conflicts() == [("name", "Hase", "Hasi", "Häschen", None)]
    assert (report.counts.conflicts, report.counts.updated) == (1, 1)


@pytest.mark.parametrize("full", [False, True], ids=["incremental", "full"])
def test_waiting_conflict_stays_one_conflict_with_its_base(loaded: Journey, full: bool):
    both_change_the_name(loaded)
    for _ in range(3):
        loaded.run(full=full)
    assert loaded.conflicts() == [("name", "Hase", "Hasi", "Häschen", None)]
    assert loaded.row("1")["name"] == "Häschen"


def test_waiting_conflict_follows_both_sides(loaded: Journey):
    both_change_the_name(loaded)
    loaded.run()
    loaded.edit(KEY, Bezeichnung="Hasi II")
    loaded.erp_edit("1", name="Häschen II")
    report = loaded.run()
    assert loaded.conflicts() == [("name", "Hase", "Hasi II", "Häschen II", None)]
    assert loaded.row("1")["name"] == "Häschen II"
    assert report.counts.updated == 0


@pytest.mark.parametrize("agreeing", ["erp", "legacy", "legacy_back"])
def test_conflict_closes_itself_when_the_sides_agree(loaded: Journey, agreeing: str):
    both_change_the_name(loaded)
    loaded.run()
    if agreeing == "erp":
        loaded.erp_edit("1", name="Hasi")
    else:
        loaded.edit(KEY, Bezeichnung="Häschen" if agreeing == "legacy" else "Hase")
    loaded.run()
    assert loaded.conflicts() == []
    assert [c[0] for c in loaded.conflicts("settled")] == ["name"]
    assert loaded.row("1")["name"] == ("Hasi" if agreeing == "erp" else "Häschen")


def test_conflict_closes_itself_when_the_erp_returns_to_the_base(loaded: Journey):
    both_change_the_name(loaded)
    loaded.run()
    loaded.erp_edit("1", name="Hase")
    loaded.run()
    assert loaded.row("1")["name"] == "Hasi"
    assert loaded.conflicts() == []


def test_after_a_settled_conflict_changes_flow_again(loaded: Journey):
    both_change_the_name(loaded)
    loaded.run()
    loaded.erp_edit("1", name="Hasi")
    loaded.run()
    loaded.edit(KEY, Bezeichnung="Hasi II")
    loaded.run()
    assert loaded.row("1")["name"] == "Hasi II"
    assert loaded.conflicts() == []


def test_legacy_wins_takes_the_value_and_says_so(loaded: Journey):
    loaded.remap(PARENTS, conflicts={"policy": "legacy_wins"})
    both_change_the_name(loaded)
    loaded.run()
    assert loaded.row("1")["name"] == "Hasi"
    assert loaded.conflicts("decided") == [("name", "Hase", "Hasi", "Häschen", "legacy")]
    loaded.erp_edit("1", name="Häschen II")
    loaded.run(full=True)
    assert loaded.row("1")["name"] == "Häschen II"


def test_erp_wins_keeps_the_value_and_says_so_once(loaded: Journey):
    loaded.remap(PARENTS, conflicts={"policy": "erp_wins"})
    both_change_the_name(loaded)
    for _ in range(3):
        loaded.run(full=True)
    assert loaded.row("1")["name"] == "Häschen"
    assert loaded.conflicts("decided") == [("name", "Hase", "Hasi", "Häschen", "erp")]


def test_after_erp_won_a_new_legacy_change_is_a_new_conflict(loaded: Journey):
    loaded.remap(PARENTS, conflicts={"policy": "erp_wins"})
    both_change_the_name(loaded)
    loaded.run()
    loaded.edit(KEY, Bezeichnung="Hasi II")
    loaded.run()
    assert loaded.row("1")["name"] == "Häschen"
    assert [c[1:4] for c in loaded.conflicts("decided")] == [
        ("Hase", "Hasi", "Häschen"),
        ("Hasi", "Hasi II", "Häschen"),
    ]


def test_newest_wins_when_legacy_is_newer(loaded: Journey):
    loaded.remap(PARENTS, conflicts={"policy": "newest_wins"})
    loaded.erp_edit("1", name="Häschen")
    loaded.store.clock.advance(minutes=1)
    loaded.edit(KEY, Bezeichnung="Hasi")
    loaded.run()
    assert loaded.row("1")["name"] == "Hasi"
    assert loaded.conflicts("decided") == [("name", "Hase", "Hasi", "Häschen", "legacy")]


def test_newest_wins_knows_the_time_of_an_edit_that_earlier_runs_left_alone(loaded: Journey):
    loaded.remap(PARENTS, conflicts={"policy": "newest_wins"}, fields=manual_weight(loaded))
    loaded.erp_edit("1", name="Häschen", weight=12)
    loaded.edit(KEY, Gewicht=13)
    loaded.run()  # the weight waits for a person, nothing is written
    loaded.store.clock.advance(minutes=1)
    loaded.edit(KEY, Bezeichnung="Hasi")
    loaded.run()
    assert loaded.row("1")["name"] == "Hasi"


def manual_weight(journey: Journey) -> dict[str, object]:
    return {"weight": {**journey.said[PARENTS]["fields"]["weight"], "conflict": "manual"}}


def test_waiting_conflict_is_not_written_again(loaded: Journey):
    both_change_the_name(loaded)
    loaded.run()
    places = loaded.places()
    loaded.run(full=True)
    assert loaded.places() == places


def test_newest_wins_when_the_erp_is_newer(loaded: Journey):
    loaded.remap(PARENTS, conflicts={"policy": "newest_wins"})
    loaded.edit(KEY, Bezeichnung="Hasi")
    loaded.erp_edit("1", name="Häschen")
    loaded.execute("update products_parentproduct set updated_at = now() + interval '1 minute'")
    for _ in range(2):
        loaded.run()
    assert loaded.row("1")["name"] == "Häschen"
    assert loaded.conflicts("decided") == [("name", "Hase", "Hasi", "Häschen", "erp")]


def test_one_row_may_have_a_waiting_and_a_decided_conflict(loaded: Journey):
    loaded.remap(PARENTS, conflicts={"policy": "manual"})
    loaded.erp_edit("1", name="Häschen")
    loaded.execute("update products_parentproduct set sku = '1a'")
    loaded.edit(KEY, Bezeichnung="Hasi", Nummer=2)
    loaded.run()
    assert loaded.row("2")["name"] == "Häschen"
    assert [c[0] for c in loaded.conflicts()] == ["name"]
    assert loaded.conflicts("decided") == [("sku", "1", "2", "1a", "legacy")]


def test_null_against_a_value_is_a_difference_like_any_other(loaded: Journey):
    loaded.erp_edit("1", weight=None)
    loaded.edit(KEY, Gewicht=20)
    loaded.run()
    assert loaded.conflicts() == [("weight", "10", "20", None, None)]
    loaded.edit(KEY, Gewicht=None)
    loaded.run()
    assert loaded.conflicts() == []


def test_value_emptied_in_legacy_is_emptied_in_the_erp(loaded: Journey):
    loaded.edit(KEY, Gewicht=None, Bezeichnung_ENG=None)
    loaded.run()
    assert (loaded.row("1")["weight"], loaded.row("1")["name_en"]) == (None, "")


def test_columns_of_erp_users_are_never_touched(loaded: Journey):
    users = {"keywords": "ostern, hase", "is_discontinued": True, "length_mm": 30, "category_id": 7}
    loaded.erp_edit("1", **users)
    loaded.edit(KEY, Bezeichnung="Hasi", Masse_Tiefe=99)
    loaded.run(full=True)
    row = loaded.row("1")
    assert row["name"] == "Hasi"
    assert {name: row[name] for name in users} == users


def test_price_missing_in_legacy_leaves_the_erp_price(journey: Journey):
    parent = journey.family(1)
    key = journey.variant(2, parent, Preise={"Coll": [{"Art": "Laden", "Preis": 39.5, "VE": 1}]})
    journey.run_all()
    journey.edit(key, VARIANTS, Preise=None, Farbe="rot")
    journey.run_all()
    row = journey.row("2", VARIANTS)
    assert (str(row["retail_price"]), row["retail_unit"], row["color"]) == ("39.50", 1, "rot")


def test_price_that_comes_back_unchanged_does_not_undo_an_erp_edit(journey: Journey):
    price = {"Coll": [{"Art": "Laden", "Preis": 39.5, "VE": 1}]}
    key = journey.variant(2, journey.family(1), Preise=price)
    journey.run_all()
    journey.edit(key, VARIANTS, Preise=None)
    journey.run_all()
    journey.erp_edit("2", VARIANTS, retail_price="45.00")
    journey.edit(key, VARIANTS, Preise=price)
    journey.run_all()
    assert str(journey.row("2", VARIANTS)["retail_price"]) == "45.00"


def test_changes_have_before_and_after_images(loaded: Journey):
    loaded.edit(KEY, Bezeichnung="Hasi", Gewicht=None)
    report = loaded.run()
    (change,) = loaded.query("select * from legacy_sync.change")
    images = dict(zip(change["columns"], zip(change["before"], change["after"], strict=True), strict=True))
    assert images == {"name": ("Hase", "Hasi"), "weight": ("10", None)}
    assert (change["run_id"], change["legacy_key"], change["kind"]) == (report.run_id, KEY, "update")
    assert change["erp_key"] == str(loaded.row("1")["id"])
