"""How do changes and deletes come over by 4D's counter of all changes, and what when it cannot be used?"""

import pytest
from journey_setup import PARENTS, VARIANTS, Journey, key_of

from legacy_sync.errors import GuardTripped, MarkUnusable
from legacy_sync.sync.report import RunReport
from legacy_sync.sync.windows import BY_STAMP, KEYS, WHOLE

TABLE = "Artikel_Familie"
SOFT = {"policy": "set", "set": {"is_active": False, "is_discontinued": True}, "max_share": 0.5}
HARD = {"policy": "delete", "set": {}, "max_share": 0.5}
STAMP = {"strategy": "global_stamp"}
KEY_RANGES = {"type": "key_range", "buckets": 4}


@pytest.fixture
def counted(journey: Journey) -> Journey:
    """Five families of a tracked table, loaded, with soft deletes."""
    journey.store.enable_tracking(TABLE)
    journey.remap(PARENTS, change_detection=STAMP, deletes=SOFT)
    for n in range(1, 6):
        journey.family(n)
    journey.run()
    return journey


def requests_of(journey: Journey, entity: str = PARENTS, **how: object) -> tuple[dict[str, int], RunReport]:
    """What the server was asked during a run, by table."""
    journey.workspace.source("four_d").describe()
    journey.server.counters.reset()
    report = journey.run(entity, **how)
    return dict(journey.server.counters.requests), report


def marks(journey: Journey) -> dict[str, str | None]:
    return {r["partition"]: r["value"] for r in journey.query("select * from legacy_sync.watermark")}


# --- changes


def test_run_without_changes_asks_once_and_writes_nothing(counted: Journey):
    before = counted.places()
    requests, report = requests_of(counted)
    assert requests == {TABLE: 1}
    assert (report.counts.read, report.partitions, report.mode) == (0, (), "incremental")
    assert counted.places() == before


def test_only_changed_rows_are_read(counted: Journey):
    counted.edit(key_of(3), Bezeichnung="neu", silent=True)  # no date says so
    report = counted.run()
    assert (report.counts.read, report.counts.updated) == (1, 1)
    assert counted.row("3")["name"] == "neu"
    assert counted.run().counts.read == 0


def test_mark_is_the_counter_before_the_first_row_was_read(counted: Journey):
    counted.remap(PARENTS, source={"page_size": 1})
    for n in (1, 2):
        counted.edit(key_of(n), Bezeichnung="neu")

    def meddle(table: str, _number: int) -> None:
        if table == TABLE:
            counted.edit(key_of(5), Bezeichnung="mittendrin")

    counted.server.on_data_request = meddle
    counted.run()
    counted.server.on_data_request = None
    counted.run()
    assert counted.row("5")["name"] == "mittendrin"


def test_changes_go_to_the_partitions_of_their_keys(journey: Journey):
    journey.store.enable_tracking(TABLE)
    journey.remap(PARENTS, change_detection=STAMP, partitions=KEY_RANGES)
    keys = [f"{n}{'0' * 31}" for n in ("1", "5", "9", "D")]
    for n, key in enumerate(keys, 11):
        journey.family(n, UID=key)
    first = journey.run()
    assert (first.counts.read, set(first.partitions)) == (4, {"k00", "k01", "k02", "k03", BY_STAMP})
    journey.edit(keys[0], Bezeichnung="neu")
    journey.edit(keys[3], Bezeichnung="neu")
    requests, report = requests_of(journey)
    assert set(report.partitions) == {"k00", "k03", BY_STAMP}
    assert (report.counts.read, report.counts.updated) == (2, 2)
    assert requests[TABLE] <= 4


def test_named_partition_is_read_whole_and_moves_no_counter(counted: Journey):
    counted.remap(PARENTS, partitions=KEY_RANGES)
    counted.run()
    before = marks(counted)[BY_STAMP]
    counted.edit(key_of(2), Bezeichnung="neu")
    report = counted.run(partitions=["k00"])
    assert (report.counts.read, report.counts.updated) == (5, 1)
    assert marks(counted)[BY_STAMP] == before
    assert counted.run().counts.read == 1


def test_two_mappings_of_one_table_share_the_counter(journey: Journey):
    for table in (TABLE, "Artikel_Variante"):
        journey.store.enable_tracking(table)
    for entity in (PARENTS, VARIANTS):
        journey.remap(entity, change_detection=STAMP)
    family = journey.family(1)
    journey.variant(1, family)
    journey.run_all()
    journey.edit(family, Bezeichnung="neu")
    requests, _ = requests_of(journey, VARIANTS)
    assert requests["Artikel_Variante"] <= 2  # the counter moved for another table
    assert journey.run().counts.updated == 1


# --- deletes


def test_deleted_record_is_found_without_reading_the_table(counted: Journey):
    counted.store.delete(TABLE, key_of(2))
    requests, report = requests_of(counted)
    assert report.counts.deleted == 1
    assert (counted.row("2")["is_active"], counted.row("2")["name"]) == (False, "Familie 2")
    assert sum(requests.values()) <= 6
    assert counted.run().counts.deleted == 0


def test_record_made_anew_under_its_key_is_no_delete(counted: Journey):
    counted.store.delete(TABLE, key_of(2))
    counted.family(2, Bezeichnung="wieder da")
    report = counted.run()
    assert report.counts.deleted == 0
    assert (counted.row("2")["name"], counted.row("2")["is_active"]) == ("wieder da", True)


def test_record_that_comes_back_is_alive_again(counted: Journey):
    counted.store.delete(TABLE, key_of(2))
    counted.run()
    counted.family(2, Bezeichnung="wieder da")
    counted.run()
    row = counted.row("2")
    assert (row["name"], row["is_active"], row["is_discontinued"]) == ("wieder da", True, False)


def test_tombstone_of_an_earlier_life_deletes_nothing(counted: Journey):
    counted.store.delete(TABLE, key_of(2))
    counted.family(2, Bezeichnung="zweites Leben")
    counted.run()
    counted.store.set_global_stamp(2)  # the old tombstone looks like news from now on
    counted.run()
    counted.edit(key_of(3), Bezeichnung="neu")
    counted.run()
    assert counted.row("2")["is_active"] is True


def test_deleted_record_that_waits_in_quarantine_leaves_it(counted: Journey):
    key = counted.family(9, Bezeichnung="")
    counted.run()
    assert counted.parked() == {key: "required"}
    counted.store.delete(TABLE, key)
    counted.run()
    assert counted.parked() == {}


def test_deletes_that_4d_does_not_show_are_told(counted: Journey):
    counted.edit(key_of(1), Bezeichnung="neu")
    counted.server.faults.add("http_500", table="__DeletedRecords")
    del counted.store.tables["__DeletedRecords"]
    counted.server.faults.clear()
    report = counted.run()
    assert report.fetch is not None
    assert [note for note in report.fetch.notes if note.startswith("deletes go unnoticed")]
    assert counted.row("1")["name"] == "neu"


def test_row_is_removed_with_its_record(counted: Journey):
    counted.remap(PARENTS, deletes=HARD)
    counted.store.delete(TABLE, key_of(2))
    assert counted.run().counts.deleted == 1
    assert counted.skus() == ["1", "3", "4", "5"]
    change = counted.query("select kind, before from legacy_sync.change where kind = 'delete'")
    assert len(change) == 1
    assert "Familie 2" in change[0]["before"]  # so that it can be brought back


def test_row_that_people_edited_is_not_removed(counted: Journey):
    counted.remap(PARENTS, deletes=HARD)
    counted.erp_edit("2", name="gepflegt")
    counted.store.delete(TABLE, key_of(2))
    report = counted.run()
    assert report.counts.deleted == 0
    assert report.warnings["gone from the legacy table, kept because people edited the row in the ERP"] == 1
    assert counted.row("2")["name"] == "gepflegt"


def test_row_that_others_refer_to_goes_when_they_are_gone(counted: Journey):
    counted.remap(PARENTS, deletes=HARD)
    counted.remap(VARIANTS, deletes=HARD | {"max_share": 1.0})
    variant = counted.variant(1, key_of(2))
    counted.run(VARIANTS)
    counted.store.delete(TABLE, key_of(2))
    report = counted.run()
    assert report.warnings["gone from the legacy table, kept while other ERP rows refer to them"] == 1
    assert counted.row("2")["name"] == "Familie 2"
    counted.variant(2, key_of(3))
    counted.store.delete("Artikel_Variante", variant)
    counted.run(VARIANTS, full=True)
    assert counted.run().counts.deleted == 1
    assert "2" not in counted.skus()


def test_too_many_tombstones_stop_the_run(counted: Journey):
    counted.remap(PARENTS, deletes=SOFT | {"max_share": 0.2})
    for n in (1, 2):
        counted.store.delete(TABLE, key_of(n))
    with pytest.raises(GuardTripped, match="2 of 5 known records are gone"):
        counted.run()
    assert counted.row("1")["is_active"] is True
    assert counted.run(accept=True).counts.deleted == 2


# --- when the counter cannot be used


def test_counter_that_went_back_leads_to_a_fetch_of_all_rows(counted: Journey):
    counted.edit(key_of(1), Bezeichnung="neu")
    counted.store.set_global_stamp(2)
    report = counted.run()
    assert report.fetch is not None
    assert report.fetch.mode == "full"
    assert "set back" in report.fetch.reason
    assert counted.row("1")["name"] == "neu"
    assert counted.run().fetch.mode == "incremental"  # type: ignore[union-attr]


def test_counter_that_went_back_stops_the_run_if_the_mapping_says_so(counted: Journey):
    counted.remap(PARENTS, change_detection=STAMP | {"fallback": "stop"})
    counted.store.set_global_stamp(2)
    with pytest.raises(MarkUnusable, match="set back") as error:
        counted.run()
    assert "--full" in str(error.value)
    assert counted.run(full=True).counts.read == 5
    assert counted.run().counts.read == 0


def test_table_that_is_not_tracked_is_read_whole_and_says_so(journey: Journey):
    journey.remap(PARENTS, change_detection=STAMP)
    journey.family(1)
    for _ in range(2):
        report = journey.run()
        assert report.fetch is not None
        assert "does not track" in report.fetch.reason
        assert report.counts.read == 1
    journey.remap(PARENTS, change_detection=STAMP | {"fallback": "stop"})
    with pytest.raises(MarkUnusable, match="does not track the changes"):
        journey.run()


def test_tracking_switched_on_later_is_used_from_the_next_full_fetch_on(journey: Journey):
    journey.remap(PARENTS, change_detection=STAMP)
    journey.family(1)
    journey.run()
    journey.store.enable_tracking(TABLE)
    journey.workspace.close()
    journey.close()
    assert journey.run().counts.read == 1
    assert journey.run().counts.read == 0


def test_clock_that_went_back_leads_to_a_fetch_of_all_rows(journey: Journey):
    key = journey.family(1)
    journey.run()
    journey.store.clock.advance(days=-9)
    journey.edit(key, Bezeichnung="neu")
    report = journey.run()
    assert report.fetch is not None
    assert (report.fetch.mode, "clock" in report.fetch.reason) == ("full", True)
    assert journey.row("1")["name"] == "neu"
    journey.edit(key, Bezeichnung="noch neuer")
    assert journey.run().fetch.mode == "incremental"  # type: ignore[union-attr]
    assert journey.row("1")["name"] == "noch neuer"


# --- by their own intervals


def test_all_rows_are_read_again_when_that_is_due(journey: Journey):
    journey.remap(PARENTS, change_detection={"strategy": "timestamp", "full_every": "7d"})
    key = journey.family(1)
    journey.run()
    journey.pass_days(3)
    journey.edit(key, Bezeichnung="neu", silent=True)
    assert journey.run().fetch.reason == ""  # type: ignore[union-attr]
    assert journey.row("1")["name"] == "Familie 1"
    journey.execute(
        "update legacy_sync.watermark set value = '2026-01-01T00:00:00.000000+00:00' where partition = %s", WHOLE
    )
    report = journey.run()
    assert report.fetch is not None
    assert (report.fetch.mode, report.fetch.reason) == ("full", "all rows are read again every 7 days, 0:00:00")
    assert journey.row("1")["name"] == "neu"


def test_list_of_keys_is_read_when_that_is_due(journey: Journey):
    journey.remap(PARENTS, deletes=SOFT | {"sweep": "1d"})
    keys = [journey.family(n) for n in range(1, 6)]
    journey.run()
    journey.pass_days(9)
    journey.store.delete(TABLE, keys[1])
    assert journey.run().counts.deleted == 0  # the first run read all keys, less than a day ago
    journey.execute(
        "update legacy_sync.watermark set value = '2026-01-01T00:00:00.000000+00:00' where partition = %s", KEYS
    )
    report = journey.run()
    assert report.counts.deleted == 1
    assert report.fetch is not None
    assert report.fetch.notes == ("the list of all 5 keys was read",)
    assert journey.row("2")["is_active"] is False
    assert journey.run().fetch.notes == ()  # type: ignore[union-attr]


def test_all_rows_are_not_read_in_every_run_because_the_source_vouched_for_none(journey: Journey):
    journey.remap(
        PARENTS, source={"page_size": 5}, change_detection={"strategy": "timestamp", "full_every": "7d"}, deletes=SOFT
    )
    keys = [journey.family(n) for n in range(1, 31)]
    journey.run()
    journey.execute("delete from legacy_sync.watermark where partition = %s", WHOLE)
    journey.store.delete(TABLE, keys[5])
    seen: list[str] = []

    def meddle(table: str, _number: int) -> None:
        seen.append(table)
        if len(seen) == 3:  # one less ahead, one more behind: who reads pages sees neither
            journey.store.delete(TABLE, keys[29])
            journey.family(99, UID="0" * 32)

    journey.server.on_data_request = meddle
    unsure = journey.run()
    journey.server.on_data_request = None
    assert (unsure.fetch.mode, unsure.counts.deleted) == ("full", 0)  # type: ignore[union-attr]
    assert journey.row("6")["is_active"] is True
    assert journey.run().fetch.mode == "incremental"  # type: ignore[union-attr]
    assert journey.run(full=True).counts.deleted == 2


def test_empty_list_of_keys_is_an_alarm(journey: Journey):
    journey.remap(PARENTS, deletes=SOFT | {"sweep": "0s"})
    keys = [journey.family(n) for n in range(1, 6)]
    journey.run()
    for key in keys:
        journey.store.delete(TABLE, key)
    with pytest.raises(GuardTripped, match="answered no rows, but 5 were loaded before"):
        journey.run()
    assert journey.workspace.landing.fetches(TABLE, KEYS) == []
    assert journey.row("1")["is_active"] is True


def test_record_the_mapping_no_longer_means_is_gone(journey: Journey):
    journey.remap(PARENTS, source={"where": {"Gruppe": "A"}}, deletes=SOFT)
    keys = [journey.family(n, Gruppe="A") for n in range(1, 6)]
    journey.run()
    journey.edit(keys[0], Gruppe="B")
    assert journey.run().counts.deleted == 1
    assert journey.row("1")["is_active"] is False
    journey.edit(keys[0], Gruppe="A")
    journey.run()
    assert journey.row("1")["is_active"] is True
