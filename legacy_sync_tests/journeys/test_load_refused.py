"""What happens to rows that only the database can refuse, and to loads that park too much?"""

import pytest
from journey_setup import PARENTS, VARIANTS, Journey

from legacy_sync.errors import GuardTripped


def test_refused_rows_are_isolated_and_the_others_loaded(journey: Journey):
    journey.execute("alter table products_parentproduct add check (weight is distinct from 13)")
    bad = {journey.family(n, Gewicht=13) for n in (3, 17, 18, 40)}
    for n in set(range(1, 41)) - {3, 17, 18, 40}:
        journey.family(n, Gewicht=n)
    report = journey.run()
    assert journey.parked() == dict.fromkeys(bad | {f"{13:032X}"}, "refused_by_database")
    assert report.counts.inserted == 35
    assert report.outcome == "succeeded_with_parked"


def test_refused_update_leaves_the_row_and_its_base(journey: Journey):
    journey.execute("alter table products_parentproduct add check (weight is distinct from 13)")
    keys = [journey.family(n, Gewicht=n) for n in range(1, 8)]
    journey.run()
    for key in keys:
        journey.edit(key, Bezeichnung="neu", Gewicht=13 if key == keys[3] else 5)
    report = journey.run()
    assert (report.counts.updated, report.counts.parked) == (6, 1)
    assert (journey.row("4")["name"], journey.row("4")["weight"]) == ("Familie 4", 4)
    assert len(journey.query("select from legacy_sync.change")) == 6
    journey.edit(keys[3], Gewicht=14)
    journey.run()
    assert (journey.row("4")["name"], journey.row("4")["weight"]) == ("neu", 14)
    assert journey.parked() == {}


def test_refused_adoption_leaves_no_binding(journey: Journey):
    journey.execute("alter table products_parentproduct add check (weight is distinct from 13)")
    journey.erp_insert(PARENTS, sku="1", name="Old name")
    key = journey.family(1, Gewicht=13)
    journey.run()
    assert journey.row("1")["name"] == "Old name"
    assert journey.parked() == {key: "refused_by_database"}
    assert journey.query("select from legacy_sync.binding") == []


def test_trigger_that_raises_parks_its_row(journey: Journey):
    journey.execute(
        "create function refuse() returns trigger language plpgsql as"
        " $$ begin if new.name = 'Igel' then raise exception 'no hedgehogs'; end if; return new; end $$"
    )
    journey.execute("create trigger t before insert on products_parentproduct for each row execute function refuse()")
    journey.family(1)
    key = journey.family(2, Bezeichnung="Igel")
    journey.run()
    (entry,) = journey.query("select legacy_key, message from legacy_sync.quarantine")
    assert entry == {"legacy_key": key, "message": "no hedgehogs"}
    assert journey.skus() == ["1"]


def test_deferred_constraint_is_checked_inside_the_load(journey: Journey):
    journey.execute(
        "create function refuse() returns trigger language plpgsql as"
        " $$ begin if new.name = 'Igel' then raise exception 'no hedgehogs'; end if; return null; end $$"
    )
    journey.execute(
        "create constraint trigger t after insert or update on products_parentproduct deferrable initially deferred"
        " for each row execute function refuse()"
    )
    journey.family(1)
    key = journey.family(2, Bezeichnung="Igel")
    journey.run()
    assert journey.parked() == {key: "refused_by_database"}
    assert journey.skus() == ["1"]


def test_refused_row_is_tried_again_after_the_mapping_changed(journey: Journey):
    journey.execute("alter table products_parentproduct add check (weight < 100)")
    journey.family(1, Gewicht=200)
    journey.run()
    fields = journey.said[PARENTS]["fields"]
    journey.remap(PARENTS, fields={k: v for k, v in fields.items() if k != "weight"} | {"weight": {"value": 5}})
    journey.run()
    assert journey.row("1")["weight"] == 5
    assert journey.parked() == {}


def test_too_many_parked_rows_abort_with_nothing_written(journey: Journey):
    for n in range(1, 26):
        journey.family(n)
    journey.run()
    places = journey.places()
    for n in range(26, 80):
        journey.family(n, Bezeichnung="" if n > 28 else "gut")
    with pytest.raises(GuardTripped, match="51 of"):
        journey.run()
    assert journey.places() == places
    assert [r["outcome"] for r in journey.query("select outcome from legacy_sync.run order by id")] == [
        "succeeded",
        "failed",
    ]


def test_aborted_load_is_loaded_whole_after_the_repair(journey: Journey):
    keys = [journey.family(n, Bezeichnung="") for n in range(1, 31)]
    with pytest.raises(GuardTripped):
        journey.run()
    for key in keys:
        journey.edit(key, Bezeichnung="gut")
    report = journey.run()
    assert (report.counts.inserted, report.counts.parked) == (30, 0)
    assert journey.parked() == {}


def test_few_parked_rows_never_abort(journey: Journey):
    for n in range(1, 11):
        journey.family(n, Bezeichnung="")
    assert journey.run().counts.parked == 10


def test_raised_share_lets_the_load_pass(journey: Journey):
    for n in range(1, 31):
        journey.family(n, Bezeichnung="")
    journey.remap(PARENTS, max_parked_share=1.0)
    assert journey.run().counts.parked == 30


def test_all_orphans_without_parents_abort(journey: Journey):
    for n in range(1, 31):
        journey.variant(n, "F" * 32)
    with pytest.raises(GuardTripped, match="reference_missing"):
        journey.run(VARIANTS)
    assert journey.skus(VARIANTS) == []
    assert journey.parked() == {}
