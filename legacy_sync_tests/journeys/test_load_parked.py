"""What becomes of rows that were set aside, and of children that came before their parents?"""

import pytest
from journey_setup import PARENTS, VARIANTS, Journey

from legacy_sync.ledger import quarantine
from legacy_sync.sync.pipeline import load_entity


def entries(journey: Journey) -> list[dict[str, object]]:
    return journey.query("select * from legacy_sync.quarantine order by id")


def test_unusable_row_is_parked_with_everything_one_needs(journey: Journey):
    key = journey.family(1, Bezeichnung="  ", Gewicht=7)
    report = journey.run()
    (entry,) = entries(journey)
    assert (entry["legacy_key"], entry["status"], entry["reason"], entry["column_name"]) == (
        key,
        "open",
        "required",
        "name",
    )
    assert entry["row"]["Gewicht"] == 7
    assert entry["first_run"] == entry["last_run"] == report.run_id
    assert report.outcome == "succeeded_with_parked"
    assert [(p.legacy_key, p.reason) for p in report.parked_sample] == [(key, "required")]


def test_row_repaired_in_4d_is_loaded_and_its_entry_closed(journey: Journey):
    key = journey.family(1, Bezeichnung="")
    journey.run()
    journey.edit(key, Bezeichnung="Hase")
    report = journey.run()
    assert journey.row("1")["name"] == "Hase"
    (entry,) = entries(journey)
    assert (entry["status"], entry["closed_by"]) == ("loaded", f"run {report.run_id}")
    assert (report.counts.inserted, report.counts.parked, report.counts.replayed) == (1, 0, 1)


def test_loaded_row_that_becomes_unusable_keeps_its_last_good_values(journey: Journey):
    key = journey.family(1, Bezeichnung="Hase")
    journey.run()
    journey.edit(key, Bezeichnung="", Gewicht=99)
    journey.run()
    assert (journey.row("1")["name"], journey.row("1")["weight"]) == ("Hase", None)
    assert journey.parked() == {key: "required"}
    journey.edit(key, Bezeichnung="Hasi")
    journey.run()
    assert (journey.row("1")["name"], journey.row("1")["weight"]) == ("Hasi", 99)
    assert journey.parked() == {}


def test_row_parked_for_another_reason_keeps_one_entry_with_the_newest(journey: Journey):
    key = journey.family(1, Bezeichnung="")
    journey.run()
    journey.edit(key, Bezeichnung="Hase", Nummer="?!")
    journey.run()
    assert [(e["reason"], e["column_name"]) for e in entries(journey)] == [("rule", "sku")]


def test_row_parked_again_after_it_was_loaded_is_a_new_entry(journey: Journey):
    key = journey.family(1, Bezeichnung="")
    journey.run()
    journey.edit(key, Bezeichnung="Hase")
    journey.run()
    journey.edit(key, Bezeichnung=None)
    journey.run()
    assert [e["status"] for e in entries(journey)] == ["loaded", "open"]


def test_orphan_is_loaded_by_the_next_run_after_its_parent_arrived(journey: Journey):
    parent = f"{1:032X}"
    child = journey.variant(2, parent)
    journey.family(3)
    journey.run_all()
    assert journey.parked() == {child: "reference_missing"}
    journey.pass_days(30)
    journey.family(1)
    report = journey.run_all()[VARIANTS]
    assert journey.row("2", VARIANTS)["parent_id"] == journey.row("1")["id"]
    assert journey.parked() == {}
    assert (report.counts.inserted, report.counts.replayed) == (1, 1)


def test_orphan_of_a_parked_parent_follows_the_parent(journey: Journey):
    parent = journey.family(1, Bezeichnung="")
    child = journey.variant(2, parent)
    journey.run_all()
    assert journey.parked() == {parent: "required", child: "reference_missing"}
    journey.pass_days(30, VARIANTS)
    journey.edit(parent, Bezeichnung="Hase")
    journey.run_all()
    assert journey.row("2", VARIANTS)["parent_id"] == journey.row("1")["id"]
    assert child not in journey.parked()


def test_orphan_is_loaded_although_no_row_of_its_table_changed(journey: Journey):
    journey.variant(2, f"{1:032X}")
    journey.run_all()
    journey.family(1)
    journey.run(PARENTS)
    mapping = journey.workspace.project.get(VARIANTS)
    report = load_entity(journey.workspace, mapping)
    assert (report.counts.read, report.counts.inserted) == (0, 1)


def test_orphan_edited_while_it_waits_is_loaded_with_its_newest_values(journey: Journey):
    child = journey.variant(2, f"{1:032X}", Farbe="rot")
    journey.run_all()
    journey.edit(child, VARIANTS, Farbe="blau")
    journey.family(1)
    journey.run_all()
    assert journey.row("2", VARIANTS)["color"] == "blau"
    assert len(entries(journey)) == 1


def test_replay_never_undoes_a_newer_copy(journey: Journey):
    child = journey.variant(2, f"{1:032X}", Farbe="rot")
    journey.run_all()
    parent = journey.family(3)
    journey.edit(child, VARIANTS, Farbe="blau", Familie_=parent)
    journey.run_all()
    journey.family(1)
    journey.run_all()
    row = journey.row("2", VARIANTS)
    assert (row["color"], row["parent_id"]) == ("blau", journey.row("3")["id"])


def test_bound_child_moved_to_a_missing_parent_waits_and_keeps_the_old_one(journey: Journey):
    old = journey.family(1)
    child = journey.variant(2, old, fk_ArtNr=None, alteNummer=None)
    journey.run_all()
    journey.edit(child, VARIANTS, Familie_=f"{3:032X}", Farbe="rot")
    journey.run_all()
    assert journey.row("2", VARIANTS)["parent_id"] == journey.row("1")["id"]
    assert journey.parked() == {child: "reference_missing"}
    journey.family(3)
    journey.run_all()
    row = journey.row("2", VARIANTS)
    assert (row["parent_id"], row["color"]) == (journey.row("3")["id"], "rot")


def test_parent_is_found_by_base_number_when_the_record_names_none(journey: Journey):
    journey.erp_insert(PARENTS, sku="P", name="Old import", legacy_base_sku="11400")
    journey.variant(2, None, fk_ArtNr="", alteNummer="11400-BE")
    journey.variant(3, None, fk_ArtNr=11400, alteNummer=None)
    report = journey.run_all()[VARIANTS]
    assert {r["parent_id"] for r in journey.query("select parent_id from products_variantproduct")} == {
        journey.row("P")["id"]
    }
    assert report.links["parent_id"]["by legacy_base_sku"] == 2
    assert journey.parked("watching") == {}


def test_child_linked_by_base_number_moves_when_its_own_family_arrives(journey: Journey):
    journey.erp_insert(PARENTS, sku="P", name="Old import", legacy_base_sku="11400")
    child = journey.variant(2, f"{1:032X}", fk_ArtNr="11400")
    journey.run_all()
    assert journey.row("2", VARIANTS)["parent_id"] == journey.row("P")["id"]
    assert journey.parked("watching") == {child: "second_choice"}
    assert journey.parked() == {}
    journey.pass_days(30)
    journey.family(1)
    journey.run_all()
    assert journey.row("2", VARIANTS)["parent_id"] == journey.row("1")["id"]
    assert journey.parked("watching") == {}


def test_parent_chosen_by_a_person_is_not_moved_by_the_watch(journey: Journey):
    journey.erp_insert(PARENTS, sku="P", name="Old import", legacy_base_sku="11400")
    other = journey.erp_insert(PARENTS, sku="Q", name="Chosen by a person")
    journey.variant(2, f"{1:032X}", fk_ArtNr="11400")
    journey.run_all()
    journey.erp_edit("2", VARIANTS, parent_id=other)
    for _ in range(2):
        journey.run_all(full=True)
        assert journey.row("2", VARIANTS)["parent_id"] == other


def test_several_parents_of_one_base_number_are_not_guessed(journey: Journey):
    for sku in ("P", "Q"):
        journey.erp_insert(PARENTS, sku=sku, name=sku, legacy_base_sku="11400")
    child = journey.variant(2, f"{1:032X}", fk_ArtNr="11400")
    journey.run_all()
    assert journey.parked() == {child: "reference_ambiguous"}
    assert "2 rows of products_parentproduct" in str(entries(journey)[0]["message"])
    journey.erp_edit("Q", legacy_base_sku="")
    journey.run_all()
    assert journey.row("2", VARIANTS)["parent_id"] == journey.row("P")["id"]


def test_own_family_counts_before_an_ambiguous_base_number(journey: Journey):
    for sku in ("P", "Q"):
        journey.erp_insert(PARENTS, sku=sku, name=sku, legacy_base_sku="11400")
    journey.variant(2, journey.family(1), fk_ArtNr="11400")
    journey.run_all()
    assert journey.row("2", VARIANTS)["parent_id"] == journey.row("1")["id"]


def test_record_that_names_no_parent_at_all_waits(journey: Journey):
    child = journey.variant(2, None, fk_ArtNr="", alteNummer="")
    journey.run_all()
    assert journey.parked() == {child: "reference_missing"}
    assert "names no row of products_parentproduct" in str(entries(journey)[0]["message"])


def test_first_variant_fills_the_blank_base_number_of_its_parent(journey: Journey):
    parent = journey.family(1)
    journey.variant(2, parent, fk_ArtNr="11400")
    journey.variant(3, parent, fk_ArtNr="11500")
    journey.run_all()
    assert journey.row("1")["legacy_base_sku"] == "11400"
    journey.erp_edit("1", legacy_base_sku="99")
    journey.run_all(full=True)
    assert journey.row("1")["legacy_base_sku"] == "99"


def test_filled_base_number_links_the_variants_that_waited_for_it_in_the_same_run(journey: Journey):
    parent = journey.family(1)
    journey.variant(2, None, fk_ArtNr="11400")
    journey.variant(3, parent, fk_ArtNr="11400")
    journey.run_all()
    assert journey.skus(VARIANTS) == ["2", "3"]
    assert journey.parked() == {}


def test_back_filled_column_is_in_the_history(journey: Journey):
    journey.variant(2, journey.family(1), fk_ArtNr="11400")
    journey.run_all()
    (change,) = journey.query("select * from legacy_sync.change where kind = 'backfill'")
    assert (change["erp_table"], change["columns"], change["after"]) == (PARENTS, ["legacy_base_sku"], ["11400"])


@pytest.mark.parametrize("if_missing", ["null", "reject"])
def test_missing_parent_has_the_declared_answer(journey: Journey, if_missing: str):
    fields = journey.said[VARIANTS]["fields"]
    reference = {**fields["parent_id"]["reference"], "if_missing": if_missing}
    journey.remap(VARIANTS, fields={"parent_id": {"reference": reference}})
    key = journey.variant(2, f"{1:032X}")
    journey.run_all()
    assert journey.skus(VARIANTS) == (["2"] if if_missing == "null" else [])
    assert journey.parked() == ({} if if_missing == "null" else {key: "reference_rejected"})


def test_child_loaded_without_its_parent_is_linked_when_it_arrives(journey: Journey):
    fields = journey.said[VARIANTS]["fields"]
    reference = {**fields["parent_id"]["reference"], "if_missing": "null"}
    journey.remap(VARIANTS, fields={"parent_id": {"reference": reference}})
    journey.variant(2, f"{1:032X}")
    journey.run_all()
    journey.family(1)
    journey.run_all(full=True)
    assert journey.row("2", VARIANTS)["parent_id"] == journey.row("1")["id"]


def test_discarded_row_stays_away_until_it_changes(journey: Journey):
    key = journey.family(1, Bezeichnung="")
    journey.run()
    with journey.workspace.erp() as connection:
        quarantine.discard(connection, [entry["id"] for entry in entries(journey)], by="Anna", comment="test data")
    journey.run(full=True)
    assert journey.parked() == {}
    journey.edit(key, Bezeichnung="", Gewicht=5)
    journey.run()
    assert journey.parked() == {key: "required"}


def test_row_marked_for_replay_goes_the_normal_way(journey: Journey):
    journey.execute("alter table products_parentproduct add constraint c check (weight < 100)")
    key = journey.family(1, Gewicht=200)
    journey.run()
    journey.pass_days(30)
    assert journey.parked() == {key: "refused_by_database"}
    journey.execute("alter table products_parentproduct drop constraint c")
    with journey.workspace.erp() as connection:
        quarantine.mark_for_replay(connection, [entry["id"] for entry in entries(journey)])
    journey.run()
    assert journey.row("1")["weight"] == 200
    assert journey.parked() == {}


def test_record_without_a_key_is_parked_under_its_place(journey: Journey):
    table = journey.store.tables["Artikel_Familie"]
    key = journey.family(1)
    row = journey.store.get("Artikel_Familie", key)
    table.put(key, {**row, "__KEY": ""})
    report = journey.run()
    assert report.parked_by_reason == {"no_key": 1}
    assert journey.skus() == []
