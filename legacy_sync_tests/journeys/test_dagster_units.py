"""Are documents and their lines one step in Dagster, cut by their number, loaded together and shown apart?"""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.errors import DagsterInvalidSubsetError
from dagster_setup import RANGE_END, RANGE_START, Desk, checks, materializations, resources
from numbers_setup import HEADS, LINES, SLICES, Documents, documents_store

from legacy_sync.demo.four_d_server import FourDServer

HEADS_TABLE, LINES_TABLE = dg.AssetKey(["legacy", "Belege"]), dg.AssetKey(["legacy", "Belege_Pos"])
HEADS_ROWS, LINES_ROWS = dg.AssetKey(["erp", HEADS]), dg.AssetKey(["erp", LINES])
ALL = (HEADS_TABLE, LINES_TABLE, HEADS_ROWS, LINES_ROWS)
STEP = "erp__papers"


@pytest.fixture
def desk(erp_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """Eight documents with a line each, two to a slice."""
    with FourDServer(documents_store()) as server, dg.DagsterInstance.ephemeral() as instance:
        documents = Documents(server, erp_url, tmp_path)
        for entity in (HEADS, LINES):
            documents.remap(entity, unit={"name": "papers", "key": "AbsNr"})
        for name, value in documents.environ.items():
            monkeypatch.setenv(name, value)
        documents.store.clock.advance(days=-30)
        for number in (7, 50, 107, 150, 207, 250, 307, 350):
            documents.head(number)
            documents.line(number, 1)
        documents.store.clock.advance(days=30)
        yield Desk(documents, instance)
        documents.close()


@pytest.fixture
def loaded(desk: Desk) -> Desk:
    """All of it is loaded, and the sensor knows."""
    (request,) = desk.tick().run_requests
    assert desk.answer(request).success
    assert desk.tick().run_requests == []
    return desk


def requests(result: dg.ExecuteInProcessResult, table: dg.AssetKey) -> int:
    """How often the old server was asked for rows of a table in a run over a range."""
    return next(int(m["whole_run"]["requests"]) for _, m in materializations(result, table) if "whole_run" in m)


def documents_of(desk: Desk) -> Documents:
    assert isinstance(desk.journey, Documents)
    return desk.journey


def test_backfill_is_one_run_that_turns_every_slice_of_all_assets_green(desk: Desk):
    result = desk.run(ALL, SLICES[0], SLICES[-1])
    assert result.success
    for key in ALL:
        assert desk.instance.get_materialized_partitions(key) == set(SLICES)
    for key in (HEADS_ROWS, LINES_ROWS):
        events = [e.event_specific_data for e in result.all_node_events if e.is_step_materialization]
        own = [e.materialization for e in events if e.materialization.asset_key == key]  # type: ignore[union-attr]
        inserted = [(m.partition, m.metadata["rows_inserted"].value) for m in own if "rows_inserted" in m.metadata]
        assert sorted(inserted) == [(slice_, 2) for slice_ in SLICES]
        assert [m.partition for m in own if "committed" in m.metadata] == SLICES
    assert requests(result, HEADS_TABLE) == 1


def test_both_members_have_their_own_checks(desk: Desk):
    documents_of(desk).remap(
        LINES, rules=[{"name": "known", "column": "name", "one_of": ["Pos 1"], "severity": "warn"}]
    )
    documents_of(desk).line(350, 2)
    result = desk.run(ALL, SLICES[0], SLICES[-1])
    assert checks(result, HEADS_ROWS)["parked_rows"].passed
    assert not checks(result, LINES_ROWS)["rule_known"].passed


def test_one_member_alone_cannot_be_selected(desk: Desk):
    with pytest.raises(DagsterInvalidSubsetError):
        desk.run([HEADS_ROWS], SLICES[0])


def test_one_slice_is_fetched_whole_and_loaded_for_both(desk: Desk):
    assert desk.run(ALL, "n02").success
    assert documents_of(desk).numbers() == ["207", "250"]
    assert desk.instance.get_materialized_partitions(LINES_ROWS) == {"n02"}
    assert documents_of(desk).query(f"select count(*) as n from {LINES}")[0]["n"] == 2


def test_change_of_one_document_asks_for_the_whole_unit_and_reads_only_changes(loaded: Desk):
    documents = documents_of(loaded)
    documents.store.clock.advance(days=3)
    documents.head(220)
    (request,) = loaded.tick().run_requests
    assert set(request.asset_selection) == set(ALL)
    assert (request.tags[RANGE_START], request.tags[RANGE_END]) == (SLICES[0], SLICES[-1])
    places = documents.places(LINES)
    result = loaded.answer(request)
    assert result.success
    assert requests(result, HEADS_TABLE) == 1
    read = {p: m["rows_read"] for p, m in materializations(result, HEADS_TABLE) if "rows_read" in m}
    assert read == {"n00": 0, "n01": 0, "n02": 1, "n03": 0}
    assert "220" in documents.numbers()
    assert documents.places(LINES) == places
    assert loaded.tick().run_requests == []


def test_schedule_and_job_take_the_whole_unit(loaded: Desk):
    loaded.journey.remap(LINES, schedule={"every": "15m"})
    job = loaded.definitions.resolve_job_def("sync_documents")
    assert set(job.asset_layer.executable_asset_keys) == set(ALL)
    schedule = loaded.definitions.resolve_schedule_def("sync_documents")
    with (
        dg.instance_for_test() as instance,
        dg.build_schedule_context(
            instance=instance,
            resources=resources(),
            scheduled_execution_time=datetime(2026, 11, 2, 9, 15, tzinfo=UTC),
        ) as context,
    ):
        (request,) = schedule.evaluate_tick(context).run_requests
    assert set(request.asset_selection) == set(ALL)


def test_mapping_of_one_member_that_no_longer_fits_stops_both(desk: Desk):
    desk.journey.execute(f"alter table {LINES} rename column name to title")
    result = desk.run(ALL, SLICES[0], SLICES[-1])
    (event,) = result.get_step_failure_events()
    assert event.step_key == STEP
    assert 'no column "name"' in event.step_failure_data.user_failure_data.description
    assert documents_of(desk).numbers() == []


def test_slices_committed_before_a_failure_stay_green_for_both(desk: Desk):
    for number in range(130, 150):
        documents_of(desk).head(None, uid=number, Text=None)
        documents_of(desk).change("Belege", f"{number:032X}", AbsNr=number)
    result = desk.run(ALL, SLICES[0], SLICES[-1])
    assert not result.success
    for key in (HEADS_ROWS, LINES_ROWS):
        assert desk.instance.get_materialized_partitions(key) == {"n00"}
    assert documents_of(desk).numbers() == ["7", "50"]
