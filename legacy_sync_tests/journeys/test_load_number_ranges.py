"""Do tables that are cut by a number bring every row once, cheaply when little changed, and safely when killed?"""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from journey_setup import Journey
from numbers_setup import HEADS, LINES, SLICES, TABLES, Documents, documents_store

from legacy_sync.demo.four_d_server import FourDServer
from legacy_sync.errors import GuardTripped
from legacy_sync.sync.pipeline import fetch_table, load_entity
from legacy_sync.sync.windows import ALL_SLICES

RUNNER = Path(__file__).with_name("run_to_be_killed.py")


@pytest.fixture
def documents(erp_url: str, tmp_path: Path) -> Iterator[Documents]:
    """Twelve documents with two lines each, three to a slice, all saved a month ago; nothing is loaded."""
    with FourDServer(documents_store()) as server:
        documents = Documents(server, erp_url, tmp_path)
        documents.store.clock.advance(days=-30)
        for slice_ in range(4):
            for number in (7, 50, 99):
                documents.head(slice_ * 100 + number)
                for place in (1, 2):
                    documents.line(slice_ * 100 + number, place)
        documents.store.clock.advance(days=30)
        yield documents
        documents.close()


def today(documents: Documents, days: int = 0) -> str:
    return (documents.store.clock.now() + timedelta(days=days)).date().isoformat()


def fetch(documents: Documents, entity: str = HEADS, **how: object) -> None:
    fetch_table(documents.workspace, documents.workspace.project.get(entity), **how)


def load(documents: Documents, partitions: list[str] | None = None, entity: str = HEADS, **how: object):
    return load_entity(documents.workspace, documents.workspace.project.get(entity), partitions, **how)


# --- the first import


def test_first_import_is_one_pass_that_commits_slice_by_slice(documents: Documents):
    committed: list[str] = []
    fetch(documents)
    report = load(documents, on_commit=lambda partition, _: committed.append(partition))
    assert committed == SLICES
    assert [c.inserted for c in report.counts_by_partition.values()] == [3, 3, 3, 3]
    assert documents.requests("Belege") == 1
    assert documents.marks() == dict.fromkeys(SLICES, today(documents))


def test_lines_are_in_the_slice_of_their_document(documents: Documents):
    report = documents.run_all()[LINES]
    assert [c.inserted for c in report.counts_by_partition.values()] == [6, 6, 6, 6]
    assert documents.requests("Belege_Pos") == 2  # the entity set is built and given back


def test_row_without_a_number_is_in_the_first_slice(documents: Documents):
    documents.remap(HEADS, fields={"code": {"from": "UID"}})
    documents.head(None)
    assert documents.run().counts_by_partition["n00"].inserted == 4


def test_numbers_outside_of_all_slices_are_in_the_open_ones(documents: Documents):
    documents.head(-5)
    documents.head(1_000_000)
    counts = documents.run().counts_by_partition
    assert [counts[s].inserted for s in SLICES] == [4, 3, 3, 4]


def test_slice_without_rows_is_loaded_too(documents: Documents):
    for row in documents.store.rows("Belege"):
        if 100 <= int(str(row["AbsNr"])) < 200:
            documents.store.delete("Belege", str(row["UID"]))
    documents.run()
    assert documents.marks()["n01"] == today(documents)
    assert documents.run().mode == "incremental"


# --- later runs


def test_second_run_writes_nothing_and_asks_once_or_twice_per_table(documents: Documents):
    documents.head(120)
    documents.line(120, 1)
    documents.run_all()
    places = documents.written()
    before = {table: documents.requests(table) for table in TABLES.values()}
    reports = documents.run_all()
    assert {r.mode for r in reports.values()} == {"incremental"}
    assert documents.written() == places
    assert {t: documents.requests(t) - n for t, n in before.items()} == {"Belege": 1, "Belege_Pos": 2}
    assert [r.counts.read for r in reports.values()] == [1, 1]


def test_change_of_an_old_document_is_loaded_from_its_slice_alone(documents: Documents):
    documents.run()
    documents.store.clock.advance(days=3)
    documents.change("Belege", documents.head(360, Text="neu"), Text="noch neuer")
    documents.change("Belege", str(documents.store.rows("Belege")[0]["UID"]), Text="geändert")
    report = documents.run()
    assert report.partitions == ("n00", "n03", ALL_SLICES)
    assert (report.counts.inserted, report.counts.updated, report.counts.read) == (1, 1, 2)
    assert documents.marks()[ALL_SLICES] == today(documents)
    assert documents.marks()["n01"] == today(documents, -3)


def test_next_run_reads_from_the_mark_of_all_slices(documents: Documents):
    documents.run()
    read = []
    for number in (360, 361, None, None):
        documents.store.clock.advance(days=5)
        if number:
            documents.head(number)
        read.append(documents.run().counts.read)
    assert read == [1, 2, 1, 0]  # those of the day of the mark once more
    assert len(documents.numbers()) == 14


def test_nothing_new_moves_the_mark_of_all_slices_alone(documents: Documents):
    documents.run()
    documents.store.clock.advance(days=9)
    assert documents.run().partitions == (ALL_SLICES,)
    assert documents.marks() == {**dict.fromkeys(SLICES, today(documents, -9)), ALL_SLICES: today(documents)}


def test_document_with_a_new_number_moves_to_another_slice_and_is_not_doubled(documents: Documents):
    key = documents.head(12)
    documents.run()
    documents.change("Belege", key, AbsNr=312)
    report = documents.run()
    assert report.counts.updated == 1
    assert report.counts_by_partition["n03"].read == 1
    assert "312" in documents.numbers()
    assert "12" not in documents.numbers()
    documents.run(full=True)
    assert len(documents.numbers()) == 13


def test_one_slice_by_name_is_fetched_whole(documents: Documents):
    documents.run()
    keys = {int(str(row["AbsNr"])): str(row["UID"]) for row in documents.store.rows("Belege")}
    for number in (107, 207):
        documents.store.update("Belege", keys[number], {"Text": "still"}, silent=True)
    report = documents.run(HEADS, ["n01"])
    assert (report.partitions, report.counts.read, report.counts.updated) == (("n01",), 3, 1)
    assert ALL_SLICES not in documents.marks()
    assert documents.run(full=True).counts.updated == 1


def test_all_slices_named_are_a_run_for_changes(documents: Documents):
    documents.run()
    documents.head(220)
    report = documents.run(HEADS, SLICES)
    assert (report.mode, report.partitions) == ("incremental", ("n02", ALL_SLICES))


def test_plan_of_changes_writes_nothing(documents: Documents):
    documents.run()
    documents.head(220)
    places = documents.written()
    plan = documents.run(dry_run=True)
    assert (plan.outcome, plan.counts.inserted) == ("planned", 1)
    assert documents.written() == places
    assert documents.run().counts.inserted == 1


def test_only_a_run_over_all_slices_sees_that_a_record_is_gone(documents: Documents):
    documents.run()
    documents.store.delete("Belege", str(documents.store.rows("Belege")[5]["UID"]))
    gone = "records that are gone from the legacy table"
    assert gone not in documents.run().warnings
    assert gone not in documents.run(HEADS, ["n01"], full=True).warnings
    assert documents.run(full=True).warnings == {gone: 1}
    assert len(documents.numbers()) == 12


# --- marks move with the rows, whatever happens


def test_fetched_changes_move_no_mark_before_they_are_loaded(documents: Documents):
    documents.run()
    documents.store.clock.advance(days=3)
    documents.head(220)
    fetch(documents)
    assert ALL_SLICES not in documents.marks()
    load(documents, ["n02"])
    assert ALL_SLICES not in documents.marks()
    load(documents)
    assert documents.marks()[ALL_SLICES] == today(documents)


def test_slice_that_fails_keeps_the_mark_of_all(documents: Documents):
    documents.run()
    documents.store.clock.advance(days=3)
    documents.head(20)
    for uid in range(30):
        documents.head(None, uid=uid + 1)
        documents.change("Belege", f"{uid + 1:032X}", AbsNr=None, Text=None)
    with pytest.raises(GuardTripped):
        documents.run()
    assert ALL_SLICES not in documents.marks()
    assert "20" not in documents.numbers()
    documents.remap(HEADS, max_parked_share=1)
    documents.run()
    assert "20" in documents.numbers()
    assert documents.marks()[ALL_SLICES] == today(documents)


def test_stopped_load_resumes_at_the_first_slice_that_did_not_commit(documents: Documents):
    fetch(documents)
    committed: list[str] = []

    def stop_after_two(partition: str, _counts: object) -> None:
        committed.append(partition)
        if len(committed) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load(documents, on_commit=stop_after_two)
    assert len(documents.numbers()) == 6
    assert load(documents).partitions == ("n02", "n03")
    assert len(documents.numbers()) == 12


def test_run_after_a_stopped_backfill_fetches_what_is_missing_and_the_changes_of_the_rest(documents: Documents):
    documents.run(HEADS, ["n00"])
    documents.run(HEADS, ["n02"])
    documents.store.clock.advance(days=2)
    for number in (20, 120, 220):
        documents.head(number)
    before = documents.requests("Belege")
    report = documents.run()
    assert report.partitions == (*SLICES, ALL_SLICES)
    assert [c.read for c in report.counts_by_partition.values()] == [1, 4, 1, 3, 0]
    assert documents.requests("Belege") - before == 3
    assert len(documents.numbers()) == 15


@pytest.mark.slow
@pytest.mark.parametrize("steps", [2, 4, 6, 8])
def test_killed_backfill_is_ended_by_the_next_run(documents: Documents, steps: int):
    documents.workspace  # noqa: B018 writes the mappings for the other process
    kill_after(documents, steps)
    assert_loaded_slices_are_whole(documents)
    documents.server.sessions.expire_all()  # a killed run keeps its licence until 4D forgets it
    documents.run_all()
    assert len(documents.numbers()) == 12
    assert documents.query(f"select count(*) as n from {LINES}")[0]["n"] == 24
    places = documents.written()
    documents.run_all()
    assert documents.written() == places


def kill_after(journey: Journey, steps: int) -> None:
    """Starts a run in another process and kills it when it has told so many steps."""
    process = subprocess.Popen(
        [sys.executable, str(RUNNER)], env=os.environ | journey.environ, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process:
        for _ in range(steps):
            process.stdout.readline()
        process.kill()


def assert_loaded_slices_are_whole(documents: Documents) -> None:
    """A slice with a watermark has all of its documents, one without has none."""
    if not documents.query("select 1 where to_regclass('legacy_sync.watermark') is not null"):
        return
    there = {int(number) for number in documents.numbers()}
    for place, slice_ in enumerate(SLICES):
        mine = {place * 100 + number for number in (7, 50, 99)}
        assert mine <= there if slice_ in documents.marks() else not mine & there
