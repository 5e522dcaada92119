"""What happens to rows that would break a unique index?"""

from journey_setup import PARENTS, VARIANTS, Journey


def test_later_of_two_equal_numbers_in_one_batch_is_parked(journey: Journey):
    journey.family(1, Nummer=10, Bezeichnung="Hase")
    second = journey.family(2, Nummer="10", Bezeichnung="Igel")
    third = journey.family(3, Nummer=11)
    report = journey.run()
    assert journey.parked() == {second: "duplicate"}
    assert journey.row("10")["name"] == "Hase"
    assert third
    assert report.counts.inserted == 2


def test_number_of_another_erp_row_is_parked_with_both_named(journey: Journey):
    row_id = journey.erp_insert(VARIANTS, sku="999", name="Other", legacy_id="A1B2" * 8)
    parent = journey.family(1)
    key = journey.variant(2, parent, UID="A1B2" * 8)
    journey.run_all()
    (entry,) = journey.query("select * from legacy_sync.quarantine")
    assert (entry["legacy_key"], entry["reason"], entry["column_name"]) == (key, "duplicate", "legacy_id")
    assert f"row {row_id} of the ERP" in entry["message"]
    assert journey.row("999", VARIANTS)["name"] == "Other"
    assert journey.skus(VARIANTS) == ["999"]


def test_update_onto_the_number_of_another_row_is_parked_and_the_row_stays(journey: Journey):
    journey.family(1)
    second = journey.family(2, Bezeichnung="Igel")
    journey.run()
    journey.edit(second, Nummer=1, Bezeichnung="Igel II")
    report = journey.run()
    assert journey.parked() == {second: "duplicate"}
    assert journey.row("2")["name"] == "Igel"
    assert report.counts.updated == 0


def test_parked_duplicate_is_loaded_when_the_other_row_goes_away(journey: Journey):
    first = journey.family(1, Nummer=10)
    second = journey.family(2, Nummer=10, Bezeichnung="Igel")
    journey.run()
    journey.edit(first, Nummer=11)
    journey.run()
    journey.run()
    assert journey.row("10")["legacy_id"] == second
    assert journey.parked() == {}


def test_parked_duplicate_is_loaded_long_after_when_the_other_row_goes_away(journey: Journey):
    first = journey.family(1, Nummer=10)
    second = journey.family(2, Nummer=10, Bezeichnung="Igel")
    journey.run()
    journey.pass_days(30)
    journey.edit(first, Nummer=11)
    journey.run()
    journey.run()
    assert journey.row("10")["legacy_id"] == second
    assert journey.parked() == {}


def test_freed_number_may_be_used_by_a_new_record_of_the_same_batch(journey: Journey):
    first = journey.family(1, Nummer=10)
    journey.run()
    journey.edit(first, Nummer=11)
    second = journey.family(2, Nummer=10)
    journey.run()
    assert (journey.row("11")["legacy_id"], journey.row("10")["legacy_id"]) == (first, second)
    assert journey.parked() == {}


def test_numbers_moving_up_by_one_are_all_written(journey: Journey):
    keys = [journey.family(n) for n in range(1, 6)]
    journey.run()
    for number, key in enumerate(keys, start=2):
        journey.edit(key, Nummer=number)
    journey.run()
    assert journey.skus() == ["2", "3", "4", "5", "6"]
    assert journey.parked() == {}


def test_two_records_that_swap_their_numbers_are_written(journey: Journey):
    first, second = journey.family(1), journey.family(2)
    journey.run()
    journey.edit(first, Nummer=2)
    journey.edit(second, Nummer=1)
    journey.run()
    assert (journey.row("1")["legacy_id"], journey.row("2")["legacy_id"]) == (second, first)
    assert journey.parked() == {}


def test_swap_goes_on_beside_other_changes(journey: Journey):
    keys = [journey.family(n) for n in range(1, 8)]
    journey.run()
    journey.edit(keys[0], Nummer=2)
    journey.edit(keys[1], Nummer=1)
    for key in keys[2:]:
        journey.edit(key, Bezeichnung="geändert")
    journey.run()
    assert {journey.row(str(n))["name"] for n in range(3, 8)} == {"geändert"}


def test_partial_unique_index_counts_only_rows_it_covers(journey: Journey):
    journey.execute("create unique index on products_variantproduct (legacy_sku) where is_active")
    parent = journey.family(1)
    journey.variant(2, parent, alteNummer="11400-BE", Aktiv=True)
    journey.variant(3, parent, alteNummer="11400-BE", Aktiv=False)
    clashing = journey.variant(4, parent, alteNummer="11400-BE", Aktiv=True)
    journey.run_all()
    assert journey.skus(VARIANTS) == ["2", "3"]
    assert journey.parked() == {clashing: "duplicate"}


def test_row_that_enters_a_partial_index_by_an_update_is_checked(journey: Journey):
    journey.execute("create unique index on products_variantproduct (legacy_sku) where is_active")
    parent = journey.family(1)
    journey.variant(2, parent, alteNummer="11400-BE", Aktiv=True)
    sleeping = journey.variant(3, parent, alteNummer="11400-BE", Aktiv=False, Farbe="rot")
    journey.run_all()
    journey.edit(sleeping, VARIANTS, Aktiv=True, Farbe="blau")
    other = journey.variant(4, parent)
    journey.run_all()
    assert list(journey.parked()) == [sleeping]
    assert journey.row("3", VARIANTS)["color"] == "rot"
    assert journey.row("4", VARIANTS)["legacy_id"] == other


def test_unique_index_over_two_columns(journey: Journey):
    journey.execute("create unique index on products_variantproduct (parent_id, variant_code)")
    one, two = journey.family(1), journey.family(2)
    journey.variant(3, one, ArtikelArt="BE")
    clashing = journey.variant(4, one, ArtikelArt="BE")
    journey.variant(5, two, ArtikelArt="BE")
    journey.run_all()
    assert journey.skus(VARIANTS) == ["3", "5"]
    assert journey.parked() == {clashing: "duplicate"}


def test_nulls_do_not_clash_unless_the_index_says_so(journey: Journey):
    journey.execute("create unique index on products_variantproduct (color)")
    parent = journey.family(1)
    journey.variant(2, parent)
    journey.variant(3, parent)
    journey.run_all()
    assert journey.skus(VARIANTS) == ["2", "3"]


def test_index_under_which_nulls_clash_parks_the_second(journey: Journey):
    journey.execute("create unique index on products_variantproduct (color) nulls not distinct")
    parent = journey.family(1)
    journey.variant(2, parent)
    second = journey.variant(3, parent)
    journey.run_all()
    assert journey.skus(VARIANTS) == ["2"]
    assert list(journey.parked()) == [second]


def test_index_over_an_expression_is_refused_by_the_database_and_isolated(journey: Journey):
    journey.execute("create unique index on products_parentproduct (lower(name))")
    journey.family(1, Bezeichnung="Hase")
    second = journey.family(2, Bezeichnung="HASE")
    journey.family(3)
    journey.run()
    assert journey.skus() == ["1", "3"]
    assert journey.parked() == {second: "refused_by_database"}


def test_deferrable_unique_constraint_is_checked_too(journey: Journey):
    journey.execute("alter table products_parentproduct add unique (name) deferrable initially deferred")
    journey.family(1, Bezeichnung="Hase")
    second = journey.family(2, Bezeichnung="Hase")
    journey.run()
    assert journey.skus() == ["1"]
    assert list(journey.parked()) == [second]


def test_every_record_of_a_doubled_key_but_the_newest_is_left_out(journey: Journey):
    journey.remap(PARENTS, source={"key": ["Nummer"]})
    journey.family(1, Nummer=10, Bezeichnung="Hase")
    journey.family(2, Nummer=10, Bezeichnung="Igel")
    report = journey.run()
    assert len(journey.skus()) == 1
    assert report.counts.read == 2
    journey.run(full=True)
    assert len(journey.skus()) == 1
