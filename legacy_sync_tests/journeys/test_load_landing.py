"""Do fetch and load stay true to each other: replays of old files, rows that change meanwhile, watermarks, locks?"""

import threading
from datetime import date, timedelta

import psycopg
import pytest
from journey_setup import MONTHS, PARENTS, VARIANTS, Journey

from legacy_sync.errors import EntityBusy, EntityUnknown, GuardTripped, LegacySyncError, SourceUnavailable
from legacy_sync.ledger import runs
from legacy_sync.sync.pipeline import fetch_table, load_entity
from legacy_sync.sync.windows import KEYS, WHOLE


def fetch(journey: Journey, entity: str = PARENTS, **how: object) -> None:
    fetch_table(journey.workspace, journey.workspace.project.get(entity), **how)


def load(journey: Journey, entity: str = PARENTS, partitions: list[str] | None = None, **how: object):
    return load_entity(journey.workspace, journey.workspace.project.get(entity), partitions, **how)


def marks(journey: Journey) -> dict[str, str | None]:
    """Of the partitions, without the times at which all rows or keys were read."""
    found = journey.query("select * from legacy_sync.watermark order by partition")
    return {r["partition"]: r["value"] for r in found if r["partition"] not in (KEYS, WHOLE)}


def today(journey: Journey, days: int = 0) -> date:
    return (journey.store.clock.local() + timedelta(days=days)).date()


def simple(day: date) -> str:
    return f"{day.day}!{day.month}!{day.year}"


# --- fetches and loads


def test_several_fetches_are_loaded_at_once_and_the_newest_copy_counts(journey: Journey):
    key = journey.family(1, Bezeichnung="eins")
    fetch(journey)
    for name in ("zwei", "drei"):
        journey.edit(key, Bezeichnung=name)
        fetch(journey)
    report = load(journey)
    assert journey.row("1")["name"] == "drei"
    assert (report.counts.read, report.counts.inserted) == (1, 1)  # a full fetch makes older ones needless
    assert load(journey).counts.read == 0


def test_old_file_loaded_after_a_newer_one_changes_nothing(journey: Journey):
    key = journey.family(1, Bezeichnung="alt")
    fetch(journey)
    journey.edit(key, Bezeichnung="neu")
    fetch(journey)
    load(journey)
    places = journey.places(PARENTS)
    old = journey.workspace.landing.fetches("Artikel_Familie", "all")[0]
    journey.execute("delete from legacy_sync.loaded_fetch where fetch_id = %s", old.fetch_id)
    load(journey)
    assert journey.places(PARENTS) == places


def test_old_file_does_not_undo_a_binding_a_conflict_or_a_parked_row(journey: Journey):
    keys = [journey.family(n, Bezeichnung="alt") for n in (1, 2)]
    fetch(journey)
    load(journey)
    journey.erp_edit("1", name="Person")
    journey.edit(keys[0], Bezeichnung="neu")
    journey.edit(keys[1], Bezeichnung="")
    fetch(journey)
    load(journey)
    before = journey.conflicts(), journey.parked(), journey.places(PARENTS)
    old = journey.workspace.landing.fetches("Artikel_Familie", "all")[0]
    journey.execute("delete from legacy_sync.loaded_fetch where fetch_id = %s", old.fetch_id)
    load(journey)
    assert (journey.conflicts(), journey.parked(), journey.places(PARENTS)) == before


def test_full_load_takes_the_newest_full_fetch_and_all_after_it(journey: Journey):
    keys = [journey.family(n) for n in (1, 2)]
    journey.run(full=True)
    journey.edit(keys[0], Bezeichnung="neu")
    journey.run()
    places = journey.places(PARENTS)
    report = load(journey, full=True)
    assert report.counts.read >= 3
    assert journey.places(PARENTS) == places


def test_row_changed_between_fetch_and_load_is_taken_by_the_next_run(journey: Journey):
    key = journey.family(1, Bezeichnung="alt")
    fetch(journey)
    journey.edit(key, Bezeichnung="neu")
    load(journey)
    assert journey.row("1")["name"] == "alt"
    journey.run()
    assert journey.row("1")["name"] == "neu"


def test_rows_that_change_while_they_are_read_are_neither_lost_nor_doubled(journey: Journey):
    journey.remap(PARENTS, source={"page_size": 5})
    keys = [journey.family(n) for n in range(1, 31)]

    def meddle(table: str, number: int) -> None:
        if table == "Artikel_Familie":
            journey.edit(keys[number * 3 % 30], Bezeichnung=f"geändert {number}")

    journey.server.on_data_request = meddle
    journey.run()
    journey.server.on_data_request = None
    assert len(journey.skus()) == 30
    journey.run()
    current = {str(row["Nummer"]): row["Bezeichnung"] for row in journey.store.rows("Artikel_Familie")}
    assert {sku: journey.row(sku)["name"] for sku in journey.skus()} == current


def test_failed_fetch_lands_nothing_and_the_next_one_does_everything(journey: Journey):
    journey.remap(PARENTS, source={"page_size": 5})
    for n in range(1, 31):
        journey.family(n)
    journey.server.faults.add("http_500", table="Artikel_Familie", after=3)
    with pytest.raises(SourceUnavailable):
        journey.run()
    assert journey.workspace.landing.fetches("Artikel_Familie", "all") == []
    journey.server.faults.clear()
    assert journey.run().counts.inserted == 30


def test_emptied_table_is_an_alarm_and_touches_nothing(journey: Journey):
    keys = [journey.family(n) for n in range(1, 4)]
    journey.run()
    places = journey.places(PARENTS)
    for key in keys:
        journey.store.delete("Artikel_Familie", key)
    with pytest.raises(GuardTripped, match="answered no rows"):
        journey.run(full=True)
    assert journey.places(PARENTS) == places


def test_row_deleted_in_4d_stays_in_the_erp(journey: Journey):
    key = journey.family(1)
    journey.family(2)
    journey.run()
    journey.store.delete("Artikel_Familie", key)
    journey.run(full=True)
    assert journey.skus() == ["1", "2"]


# --- watermarks


def test_watermark_is_the_newest_cursor_loaded(journey: Journey):
    journey.family(1, modified_date=simple(today(journey, -9)))
    journey.family(2, modified_date=simple(today(journey, -4)))
    journey.family(3, modified_date="0!0!0")
    report = journey.run()
    assert marks(journey) == {"all": today(journey, -4).isoformat()}
    assert report.watermark == today(journey, -4).isoformat()


def test_watermark_never_runs_ahead_of_the_servers_clock(journey: Journey):
    journey.family(1, modified_date=simple(today(journey, 400)))
    journey.run()
    assert marks(journey) == {"all": today(journey).isoformat()}
    journey.family(2)
    journey.run()
    assert journey.skus() == ["1", "2"]


def test_watermark_moves_only_with_the_rows(journey: Journey):
    journey.family(1, modified_date=simple(today(journey, -9)))
    journey.run()
    journey.family(2)
    fetch(journey)
    assert marks(journey) == {"all": today(journey, -9).isoformat()}
    for n in range(100, 130):
        journey.family(n, Bezeichnung="")
    with pytest.raises(GuardTripped):
        journey.run()
    assert marks(journey) == {"all": today(journey, -9).isoformat()}


def test_watermark_moves_back_only_with_all_rows(journey: Journey):
    keys = [journey.family(n) for n in (1, 2)]
    journey.run()
    journey.edit(keys[0], modified_date=simple(today(journey, -300)))
    journey.run()
    assert marks(journey) == {"all": today(journey).isoformat()}
    journey.edit(keys[1], modified_date=simple(today(journey, -200)))
    journey.run(full=True)
    assert marks(journey) == {"all": today(journey, -200).isoformat()}


def test_row_saved_later_on_the_day_of_the_watermark_is_found(journey: Journey):
    journey.family(1)
    journey.run()
    journey.family(2)
    report = journey.run()
    assert report.mode == "incremental"
    assert journey.skus() == ["1", "2"]


def test_unchanged_old_rows_are_not_read_again(journey: Journey):
    for n in range(1, 11):
        journey.family(n, modified_date=simple(today(journey, -100)))
    journey.family(11)
    journey.run()
    assert journey.run().counts.read == 1


def test_silent_change_without_a_date_is_found_by_a_full_run(journey: Journey):
    key = journey.family(1, modified_date=simple(today(journey, -100)))
    journey.family(2)
    journey.run()
    journey.edit(key, silent=True, Bezeichnung="neu")
    journey.run()
    assert journey.row("1")["name"] == "Familie 1"
    journey.run(full=True)
    assert journey.row("1")["name"] == "neu"


def test_strategy_fingerprint_finds_silent_changes(journey: Journey):
    journey.remap(PARENTS, change_detection={"strategy": "fingerprint"})
    key = journey.family(1, modified_date=simple(today(journey, -100)))
    journey.family(2)
    journey.run()
    journey.edit(key, silent=True, Bezeichnung="neu")
    assert journey.run().counts.updated == 1
    assert journey.row("1")["name"] == "neu"


# --- partitions


@pytest.fixture
def months(journey: Journey) -> Journey:
    """Four families: before all windows, without a date, in the window of the first, and of today."""
    start = today(journey).replace(day=1) - timedelta(days=70)
    journey.remap(PARENTS, partitions={**MONTHS, "start": start.isoformat()})
    journey.family(1, modified_date="5!3!2019")
    journey.family(2, modified_date="0!0!0")
    journey.family(3, modified_date=simple(start + timedelta(days=20)))
    journey.family(4)
    return journey


def test_every_row_is_in_exactly_one_window(months: Journey):
    report = months.run()
    assert months.skus() == ["1", "2", "3", "4"]
    assert sum(c.read for c in report.counts_by_partition.values()) == 4
    assert report.counts_by_partition[report.partitions[0]].inserted >= 2
    assert list(marks(months)) == sorted(report.partitions)


def test_row_that_moves_to_a_newer_window_is_updated_not_doubled(months: Journey):
    months.run()
    months.edit(f"{1:032X}", Bezeichnung="neu")
    months.run()
    assert months.row("1")["name"] == "neu"
    assert len(months.skus()) == 4


def test_old_window_loaded_again_changes_nothing(months: Journey):
    first = months.run().partitions[0]
    months.edit(f"{1:032X}", Bezeichnung="neu")
    months.run()
    places = months.places(PARENTS)
    months.run(partitions=[first])
    load(months, PARENTS, [first], full=True)
    assert months.places(PARENTS) == places


def test_named_windows_alone_are_fetched_and_loaded(months: Journey):
    windows = list(months.run().partitions)
    months.family(5)
    report = months.run(partitions=windows[:1], full=True)
    assert report.partitions == (windows[0],)
    assert "5" not in months.skus()


def test_incremental_run_reads_only_the_open_window(months: Journey):
    last = months.run().partitions[-1]
    report = months.run()
    assert report.fetch is not None
    assert last in report.partitions
    assert report.counts.read <= 2


def test_unknown_window_fails_loudly(months: Journey):
    with pytest.raises(EntityUnknown, match="no partition"):
        months.run(partitions=["1999-01-01"])


def test_key_ranges_divide_the_table(journey: Journey):
    journey.remap(PARENTS, partitions={"type": "key_range", "buckets": 4})
    for n in range(40):
        journey.family(n + 1, UID=f"{n * 6:02X}" + "0" * 30)
    report = journey.run()
    assert report.partitions == ("k00", "k01", "k02", "k03")
    assert sum(c.inserted for c in report.counts_by_partition.values()) == 40
    assert all(c.inserted for c in report.counts_by_partition.values())


# --- order, locks, dry runs


def test_children_are_loaded_after_their_parents_in_one_go(journey: Journey):
    journey.variant(2, f"{1:032X}")
    journey.family(1)
    reports = journey.run_all()
    assert list(reports) == [PARENTS, VARIANTS]
    assert reports[VARIANTS].counts.parked == 0


def test_two_loads_of_one_entity_exclude_each_other(journey: Journey):
    journey.family(1)
    journey.run()
    entity = journey.query("select id from legacy_sync.entity")[0]["id"]
    with psycopg.connect(journey.erp_url, autocommit=True) as other, runs.entity_lock(other, entity, PARENTS):
        with pytest.raises(EntityBusy, match="is being loaded by another run"):
            journey.run()
        journey.run(VARIANTS)
    assert journey.run().outcome == "succeeded"


def test_simultaneous_runs_end_well_or_are_told_to_wait(sample_journey: Journey):
    sample_journey.workspace  # noqa: B018 the mappings are written once
    outcomes: list[object] = []

    def run() -> None:
        try:
            outcomes.append(load(sample_journey).outcome)
        except LegacySyncError as error:
            outcomes.append(type(error))

    fetch(sample_journey)
    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(outcomes) <= {"succeeded", "succeeded_with_parked", EntityBusy}
    assert "succeeded_with_parked" in outcomes
    assert len(sample_journey.skus()) == 35


def test_dry_run_computes_everything_and_writes_nothing(sample_journey: Journey):
    plan = sample_journey.run(dry_run=True)
    assert sample_journey.skus() == []
    assert {t: rows for t, rows in sample_journey.places().items() if rows} == {}
    for table in ("run", "watermark", "loaded_fetch"):
        assert sample_journey.query(f"select from legacy_sync.{table}") == []
    done = sample_journey.run(PARENTS)
    assert plan.outcome == "planned"
    assert plan.counts.inserted == done.counts.inserted
    assert plan.parked_by_reason == done.parked_by_reason


def test_plan_of_everything_can_be_shown_before_the_first_run(sample_journey: Journey):
    plans = sample_journey.run_all(dry_run=True)
    assert [plan.outcome for plan in plans.values()] == ["planned", "planned"]
    assert plans[PARENTS].counts.inserted == 35


def test_dry_run_after_changes_tells_what_the_run_will_do(journey: Journey):
    keys = [journey.family(n) for n in range(1, 5)]
    journey.run()
    journey.edit(keys[0], Bezeichnung="neu", Gewicht=5)
    journey.erp_edit("2", name="Person")
    journey.edit(keys[1], Bezeichnung="neu")
    journey.edit(keys[2], Bezeichnung="")
    journey.family(5)
    places = journey.places()
    plan = journey.run(dry_run=True)
    assert journey.places() == places
    done = journey.run()
    assert (plan.counts.inserted, plan.counts.updated, plan.counts.conflicts, plan.counts.parked) == (1, 1, 1, 1)
    assert (done.counts.inserted, done.counts.updated, done.counts.conflicts, done.counts.parked) == (1, 1, 1, 1)
    assert plan.columns_changed == done.columns_changed


def test_run_is_in_the_ledger_with_its_counts(journey: Journey):
    journey.family(1)
    journey.family(2, Bezeichnung="")
    report = journey.run()
    (run,) = journey.query("select * from legacy_sync.run")
    assert (run["id"], run["outcome"], run["mode"]) == (report.run_id, "succeeded_with_parked", "incremental")
    assert (run["counts"]["inserted"], run["counts"]["parked"]) == (1, 1)
    assert run["finished_at"] >= run["started_at"]
    assert run["mapping_version"] == journey.workspace.project.get(PARENTS).version


def test_editing_person_waits_for_the_load_and_loses_nothing(journey: Journey):
    key = journey.family(1, Bezeichnung="Hase")
    journey.run()
    journey.edit(key, Gewicht=5)
    with psycopg.connect(journey.erp_url) as person:
        person.execute("update products_parentproduct set name = 'Person', updated_at = now()")
        thread = threading.Thread(target=journey.run)
        thread.start()
        while not journey.query("select 1 from pg_stat_activity where wait_event_type = 'Lock'"):
            continue
        person.commit()
        thread.join()
    assert (journey.row("1")["name"], journey.row("1")["weight"]) == ("Person", 5)
    journey.run(full=True)
    assert journey.row("1")["name"] == "Person"
