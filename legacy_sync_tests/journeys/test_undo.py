"""Is what a run did to one table taken back, whatever it was, and left alone by the runs that follow?"""

from typing import Any

import pytest
from journey_setup import PARENTS, VARIANTS, Journey

from legacy_sync.errors import RowNotFound, UndoRefused
from legacy_sync.sync.reconcile import compared
from legacy_sync.sync.repair import repair_unit
from legacy_sync.sync.undo import UndoReport, undo_runs

SOFT = {"policy": "set", "set": {"is_active": False, "is_discontinued": True}, "max_share": 1}
HARD = {"policy": "delete", "max_share": 1}


def undo(journey: Journey, *run_ids: int | None, **how: Any) -> UndoReport:
    return undo_runs(journey.workspace, [run_id for run_id in run_ids if run_id], **how)


def rows_of(journey: Journey, table: str = PARENTS) -> list[dict[str, Any]]:
    """All rows without the time of their last save."""
    rows = journey.query(f"select * from {table} order by id")
    return [{name: value for name, value in row.items() if name != "updated_at"} for row in rows]


def stays(journey: Journey, *entities: str) -> None:
    """Neither a run nor a full one changes anything, nor parks a row."""
    before = [rows_of(journey, entity) for entity in entities or [PARENTS]]
    for full in (False, True):
        for entity in entities or [PARENTS]:
            report = journey.run(entity, full=full)
            assert (report.counts.changed, report.counts.parked, report.counts.conflicts) == (0, 0, 0)
    assert [rows_of(journey, entity) for entity in entities or [PARENTS]] == before


def test_updates_are_set_back_and_stay_until_4d_changes_again(journey: Journey):
    key = journey.family(1)
    journey.run()
    before = rows_of(journey)
    journey.edit(key, Bezeichnung="Irrtum")
    report = undo(journey, journey.run().run_id)
    assert (report.restored, report.refused, report.written) == (1, 0, True)
    assert rows_of(journey) == before
    stays(journey)
    journey.edit(key, Bezeichnung="richtig")
    assert (journey.run().counts.updated, journey.row("1")["name"]) == (1, "richtig")
    assert journey.query("select 1 from legacy_sync.conflict") == []


def test_inserts_are_removed_and_stay_away(journey: Journey):
    key = journey.family(1)
    report = undo(journey, journey.run().run_id)
    assert (report.removed, journey.skus()) == (1, [])
    stays(journey)
    journey.edit(key, Bezeichnung="neu")
    assert (journey.run().counts.inserted, journey.skus()) == (0, [])


def test_removed_rows_come_again_on_purpose(journey: Journey):
    journey.family(1)
    undo(journey, journey.run().run_id)
    mapping = journey.workspace.project.get(PARENTS)
    with compared(journey.workspace, mapping) as found:
        assert list(found.result.rows) == ["erp_row_deleted"]
    repair_unit(journey.workspace, [mapping])
    assert journey.skus() == ["1"]


def test_soft_deletes_are_set_back_and_stay(journey: Journey):
    journey.remap(PARENTS, deletes=SOFT)
    keys = [journey.family(n) for n in (1, 2)]
    journey.run()
    before = rows_of(journey)
    journey.store.delete("Artikel_Familie", keys[0])
    undo(journey, journey.run(full=True).run_id)
    assert rows_of(journey) == before
    stays(journey)
    journey.remap(PARENTS, deletes={**HARD, "set": {}})  # even if such rows are removed from now on
    stays(journey)


def test_deleted_rows_come_back_with_their_key_and_stay(journey: Journey):
    journey.remap(PARENTS, deletes=HARD)
    keys = [journey.family(n) for n in (1, 2)]
    journey.run()
    journey.execute(f"update {PARENTS} set keywords = 'of a person'")
    before = journey.query(f"select * from {PARENTS} order by id")
    journey.store.delete("Artikel_Familie", keys[0])
    run = journey.run(full=True)
    assert (run.counts.deleted, journey.skus()) == (1, ["2"])
    assert undo(journey, run.run_id).returned == 1
    assert journey.query(f"select * from {PARENTS} order by id") == before
    stays(journey)


def test_row_that_was_kept_goes_when_its_record_returns_and_goes_again(journey: Journey):
    journey.remap(PARENTS, deletes=HARD)
    keys = [journey.family(n) for n in (1, 2)]
    journey.run()
    journey.store.delete("Artikel_Familie", keys[0])
    undo(journey, journey.run(full=True).run_id)
    journey.family(1, Bezeichnung="wieder da")
    journey.run()
    assert journey.row("1")["name"] == "wieder da"
    journey.store.delete("Artikel_Familie", keys[0])
    assert (journey.run(full=True).counts.deleted, journey.skus()) == (1, ["2"])


def test_adoptions_give_back_the_values_the_row_had(journey: Journey):
    journey.remap(PARENTS, adoption={"policy": "legacy_wins"})
    journey.erp_insert(PARENTS, sku="1", name="von früher")
    before = rows_of(journey)
    key = journey.family(1)
    run = journey.run()
    assert (run.counts.adopted, journey.row("1")["name"]) == (1, "Familie 1")
    undo(journey, run.run_id)
    assert rows_of(journey) == before
    stays(journey)
    journey.edit(key, Bezeichnung="anders")
    journey.run()
    assert journey.row("1")["name"] == "anders"


def test_edit_that_4d_overwrote_by_its_policy_comes_back(journey: Journey):
    journey.remap(PARENTS, conflicts={"policy": "legacy_wins"})
    key = journey.family(1)
    journey.run()
    journey.erp_edit("1", name="von einer Person")
    journey.edit(key, Bezeichnung="aus 4D")
    undo(journey, journey.run().run_id)
    assert journey.row("1")["name"] == "von einer Person"
    stays(journey)


def test_numbers_that_changed_hands_go_back(journey: Journey):
    keys = [journey.family(n) for n in (1, 2, 3)]
    journey.run()
    before = rows_of(journey)
    for key, number in zip(keys, (2, 3, 1), strict=True):
        journey.edit(key, Nummer=number)
    undo(journey, journey.run().run_id)
    assert rows_of(journey) == before


def test_number_of_an_inserted_row_goes_back_to_the_row_it_was_taken_from(journey: Journey):
    key = journey.family(1)
    journey.run()
    before = rows_of(journey)
    journey.edit(key, Nummer=2)
    journey.family(7, Nummer=1)
    run = journey.run()
    assert journey.skus() == ["1", "2"]
    undo(journey, run.run_id)
    assert rows_of(journey) == before


# --- rows that changed since ---------------------------------------------------------------------


def three_changed(journey: Journey) -> int | None:
    keys = [journey.family(n) for n in (1, 2, 3)]
    journey.run()
    for key in keys:
        journey.edit(key, Bezeichnung="Irrtum")
    return journey.run().run_id


def names(journey: Journey) -> list[str]:
    return [row["name"] for row in journey.query(f"select name from {PARENTS} order by length(sku), sku")]


def test_one_edited_row_stops_the_whole_undo_and_is_named(journey: Journey):
    run = three_changed(journey)
    journey.erp_edit("2", name="besser")
    before = journey.places()
    report = undo(journey, run)
    (problem,) = report.problems
    assert (report.written, report.refused, problem["problem"], problem["legacy_key"][-1]) == (False, 1, "edited", "2")
    assert problem["detail"] == 'name is "besser" in the ERP, not "Irrtum"'
    assert journey.places() == before
    assert journey.query("select 1 from legacy_sync.run where mode = 'undo'") == []


def test_edited_rows_can_be_left_out(journey: Journey):
    run = three_changed(journey)
    journey.erp_edit("2", name="besser")
    report = undo(journey, run, skip_changed=True)
    assert (report.restored, report.refused, names(journey)) == (2, 1, ["Familie 1", "besser", "Familie 3"])


def test_other_columns_may_change_since(journey: Journey):
    run = three_changed(journey)
    journey.erp_edit("2", is_active=False)
    assert (undo(journey, run).restored, journey.row("2")["is_active"]) == (3, False)


def test_row_that_a_later_run_wrote_is_refused_though_its_value_is_the_same(journey: Journey):
    run = three_changed(journey)
    later = []
    for name in ("noch einer", "Irrtum"):
        journey.edit(journey.store.rows("Artikel_Familie")[0]["UID"], Bezeichnung=name)
        later.append(journey.run().run_id)
    (problem,) = undo(journey, run).problems
    assert (problem["problem"], problem["detail"]) == ("later_run", f"runs {later[0]}, {later[1]} wrote it since")
    assert undo(journey, run, *later).restored == 3
    assert names(journey) == ["Familie 1", "Familie 2", "Familie 3"]


def test_row_deleted_in_the_erp_since_is_refused(journey: Journey):
    run = three_changed(journey)
    journey.execute(f"delete from {PARENTS} where sku = '2'")
    assert [p["problem"] for p in undo(journey, run).problems] == ["row_deleted"]


def test_inserted_row_that_a_person_saved_since_is_refused(journey: Journey):
    journey.family(1)
    journey.family(2)
    run = journey.run().run_id
    journey.erp_edit("1", name="gepflegt")
    journey.erp_edit("2", keywords="in a column that is not mapped")
    assert {p["problem"] for p in undo(journey, run).problems} == {"edited", "saved_since"}
    assert journey.skus() == ["1", "2"]


def test_inserted_row_that_others_refer_to_is_refused_unless_they_go_too(journey: Journey):
    parent = journey.family(1)
    family = journey.run().run_id
    journey.variant(11, parent)
    variant = journey.run(VARIANTS).run_id
    (problem,) = undo(journey, family).problems
    assert problem["problem"] == "referred"
    assert problem["detail"] == "1 rows of products_variantproduct refer to it by parent_id"
    report = undo(journey, family, skip_changed=True)
    assert (report.written, report.refused) == (False, 1)
    assert undo(journey, variant, family).removed == 2
    assert (journey.skus(), journey.skus(VARIANTS)) == ([], [])
    stays(journey, PARENTS, VARIANTS)


def test_value_that_may_not_be_there_twice_is_refused_alone(journey: Journey):
    keys = [journey.family(n) for n in (1, 2, 3)]
    journey.run()
    for key in keys:
        journey.edit(key, Nummer=int(key[-1]) + 10)
    run = journey.run().run_id
    journey.erp_insert(PARENTS, sku="2", name="inzwischen angelegt")
    (problem,) = undo(journey, run).problems
    assert (problem["problem"], "(2)" in problem["detail"]) == ("refused_by_database", True)
    assert journey.skus() == ["11", "12", "13", "2"]
    assert undo(journey, run, skip_changed=True).restored == 2
    assert journey.skus() == ["1", "12", "2", "3"]


def test_reference_to_a_row_that_is_gone_is_refused(journey: Journey):
    one, two = journey.family(1), journey.family(2)
    variant = journey.variant(11, one)
    journey.run_all()
    journey.edit(variant, VARIANTS, Familie_=two)
    run = journey.run(VARIANTS).run_id
    journey.execute(f"delete from {PARENTS} where sku = '1'")
    assert [p["problem"] for p in undo(journey, run).problems] == ["parent_gone"]


def test_rows_that_the_database_holds_fast_are_refused_one_by_one(journey: Journey):
    for number in (1, 2, 3):
        journey.family(number)
    run = journey.run().run_id
    journey.execute(f"create table shelf (family_id bigint not null references {PARENTS})")  # checked at once
    journey.execute(f"insert into shelf select id from {PARENTS} where sku = '2'")
    (problem,) = undo(journey, run).problems
    assert (problem["problem"], "shelf" in problem["detail"]) == ("refused_by_database", True)
    assert (undo(journey, run, skip_changed=True).removed, journey.skus()) == (2, ["2"])


def test_what_is_only_wrong_together_is_refused_in_one_sentence(journey: Journey):
    run = three_changed(journey)
    journey.execute("create table names (a text not null, unique (a) deferrable initially deferred)")
    journey.execute(
        "create function note() returns trigger language plpgsql as"
        " 'begin insert into names values (''x''); return new; end';"
        f" create trigger note after update on {PARENTS} for each row execute function note()"
    )
    before = journey.places()
    with pytest.raises(UndoRefused, match="the ERP database refuses the undo: duplicate key value"):
        undo(journey, run)
    assert journey.places() == before


# --- an undo is a run ----------------------------------------------------------------------------


def test_undo_of_an_undo_brings_everything_again(journey: Journey):
    journey.remap(PARENTS, deletes=HARD)
    keys = [journey.family(n) for n in (1, 2)]
    journey.run()
    journey.edit(keys[1], Bezeichnung="zwei")
    journey.family(3)
    journey.store.delete("Artikel_Familie", keys[0])
    run = journey.run(full=True)
    after = journey.query(f"select id, sku, name from {PARENTS} order by id")
    first = undo(journey, run.run_id)
    assert names(journey) == ["Familie 1", "Familie 2"]
    second = undo(journey, *first.undo_runs.values())
    assert journey.query(f"select id, sku, name from {PARENTS} order by id") == after
    assert (second.restored, second.removed, second.returned) == (1, 1, 1)
    assert journey.query("select 1 from legacy_sync.binding where erp_base is not null") == []
    stays(journey)
    undo(journey, *second.undo_runs.values())
    assert names(journey) == ["Familie 1", "Familie 2"]
    stays(journey)


def test_running_it_twice_writes_nothing_the_second_time(journey: Journey):
    run = three_changed(journey)
    first = undo(journey, run)
    before = journey.places()
    with pytest.raises(UndoRefused, match=f"run {run} was undone already, by run {first.undo_runs[PARENTS]}"):
        undo(journey, run)
    assert journey.places() == before


def test_what_was_left_out_can_be_undone_later(journey: Journey):
    run = three_changed(journey)
    journey.erp_edit("2", name="besser")
    undo(journey, run, skip_changed=True)
    journey.erp_edit("2", name="Irrtum")
    assert undo(journey, run, skip_changed=True).restored == 1
    assert names(journey) == ["Familie 1", "Familie 2", "Familie 3"]


def test_dry_run_says_the_same_and_writes_nothing(journey: Journey):
    run = three_changed(journey)
    before = journey.places()
    report = undo(journey, run, dry_run=True)
    assert (report.restored, report.written, report.undo_runs) == (3, False, {})
    assert {(*row["now"], *row["restored"]) for row in report.rows} == {("Irrtum", f"Familie {n}") for n in (1, 2, 3)}
    assert journey.places() == before


def test_ledger_has_the_undo_with_its_numbers_and_watermarks_stay(journey: Journey):
    run = three_changed(journey)
    marks = journey.query("select * from legacy_sync.watermark")
    undo(journey, run)
    (row,) = journey.query("select mode, undoes, outcome, counts from legacy_sync.run order by id desc limit 1")
    assert (row["mode"], row["undoes"], row["outcome"], row["counts"]["updated"]) == ("undo", [run], "succeeded", 3)
    assert journey.query("select * from legacy_sync.watermark") == marks


def test_unknown_run_is_named(journey: Journey):
    journey.run()
    with pytest.raises(RowNotFound, match="there is no run 4711"):
        undo(journey, 4711)


def test_run_whose_images_are_not_kept_any_more_says_so(journey: Journey):
    run = three_changed(journey)
    journey.overlay["changes_keep_days"] = 30
    journey.close()
    journey.execute("update legacy_sync.run set finished_at = finished_at - interval '31 days' where id = %s", run)
    journey.run()
    assert journey.query("select 1 from legacy_sync.change") == []
    with pytest.raises(UndoRefused, match=f"run {run} cannot be undone: what it changed is not kept since"):
        undo(journey, run)


def test_images_that_are_young_or_still_needed_are_kept(journey: Journey):
    journey.remap(PARENTS, deletes=SOFT)
    journey.overlay["changes_keep_days"] = 30
    keys = [journey.family(n) for n in (1, 2)]
    journey.run()
    journey.edit(keys[1], Bezeichnung="jung")
    young = journey.run().run_id
    journey.store.delete("Artikel_Familie", keys[0])
    gone = journey.run(full=True).run_id
    journey.execute("update legacy_sync.run set finished_at = finished_at - interval '31 days' where id = %s", gone)
    journey.run()
    assert {row["run_id"] for row in journey.query("select run_id from legacy_sync.change")} == {young, gone}
