"""What does a tick cost and start where 4D counts its changes, and what is due without any change?"""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster import DagsterRunStatus
from dagster._core.test_utils import create_run_for_test
from dagster_setup import FAMILY_PAIR, RANGE_END, RANGE_START, VARIANT_PAIR, Desk, open_desk
from journey_setup import MONTHS, PARENTS, SOURCES, VARIANTS

from legacy_sync.ledger import runs
from legacy_sync.orchestration.partitions import list_partitions

TABLES = (*SOURCES.values(), "__DeletedRecords")
WHOLE_TABLE = {"type": "none"}


@pytest.fixture
def desk(erp_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    with open_desk(erp_url, tmp_path, monkeypatch) as desk:
        for entity in (PARENTS, VARIANTS):
            desk.journey.remap(entity, partitions=WHOLE_TABLE)
        yield desk


@pytest.fixture
def tracked(desk: Desk) -> Desk:
    """Both tables are tracked and loaded by 4D's counter, and the sensor knows."""
    for entity in (PARENTS, VARIANTS):
        desk.journey.store.enable_tracking(SOURCES[entity])
        desk.journey.remap(entity, change_detection={"strategy": "global_stamp"}, deletes={"policy": "report"})
    desk.journey.family(1)
    (request,) = desk.tick().run_requests
    assert desk.answer(request).success
    assert desk.tick().run_requests == []
    return desk


def asked(desk: Desk) -> tuple[list[set[dg.AssetKey]], Counter[str]]:
    """What a tick would materialise, and how often it asked for each table of the server."""
    before = len(desk.journey.server.log)
    found = [set(request.asset_selection) for request in desk.tick().run_requests]
    seen = [entry.resource for entry in list(desk.journey.server.log)[before:]]
    return found, Counter(name for name in seen if name in TABLES)


def test_a_tick_without_changes_asks_for_the_counter_once(tracked: Desk):
    found, requests = asked(tracked)
    assert found == []
    assert sum(requests.values()) == 1


def test_a_change_is_looked_for_once_in_each_table_and_once_among_the_deleted(tracked: Desk):
    tracked.journey.family(2)
    found, requests = asked(tracked)
    assert found == [set(FAMILY_PAIR)]
    assert sum(requests.values()) == 4  # the counter, one for each table, the deleted records
    assert requests["__DeletedRecords"] == 1


def test_a_table_that_did_not_change_is_not_asked_again_until_the_counter_moves(tracked: Desk):
    tracked.journey.family(2)
    (request,) = tracked.tick().run_requests
    assert tracked.answer(request).success
    asked(tracked)
    found, requests = asked(tracked)
    assert (found, sum(requests.values())) == ([], 1)


def test_second_change_of_a_row_on_one_day_is_seen_at_once(tracked: Desk):
    key = tracked.journey.family(2)
    tracked.answer(tracked.tick().run_requests[0])
    tracked.journey.edit(key, Bezeichnung="again")
    (request,) = tracked.tick().run_requests
    tracked.answer(request)
    assert tracked.journey.row("2")["name"] == "again"
    assert tracked.tick().run_requests == []


def test_a_deleted_record_starts_a_run_of_its_table(tracked: Desk):
    key = tracked.journey.family(2)
    tracked.answer(tracked.tick().run_requests[0])
    tracked.journey.remap(PARENTS, deletes={"max_share": 1})
    for request in tracked.tick().run_requests:  # the mapping changed
        tracked.answer(request)
    tracked.journey.store.delete("Artikel_Familie", key)
    (request,) = tracked.tick().run_requests
    assert set(request.asset_selection) == set(FAMILY_PAIR)
    assert tracked.answer(request).success
    assert tracked.journey.query("select 1 from legacy_sync.binding where missing_since is not null") != []
    assert tracked.tick().run_requests == []


def test_counter_that_was_set_back_reads_all_rows_once(tracked: Desk):
    tracked.journey.store.set_global_stamp(1)
    (request,) = [r for r in tracked.tick().run_requests if set(FAMILY_PAIR) <= set(r.asset_selection)]
    assert tracked.answer(request).success
    assert tracked.tick().run_requests == []


def test_failed_run_by_the_counter_is_asked_again_after_a_pause_under_a_new_key(tracked: Desk):
    tracked.journey.family(2)
    (request,) = tracked.tick().run_requests
    create_run_for_test(tracked.instance, status=DagsterRunStatus.FAILURE, tags=dict(request.tags))
    assert tracked.tick().run_requests == []
    remember(tracked, not_before=0)
    (again,) = tracked.tick().run_requests
    assert (set(again.asset_selection), again.run_key == request.run_key) == (set(FAMILY_PAIR), False)


def test_windows_by_the_counter_are_asked_for_in_one_run_apart_from_those_by_a_cursor(desk: Desk):
    desk.journey.store.enable_tracking("Artikel_Familie")
    desk.journey.remap(PARENTS, partitions=MONTHS, change_detection={"strategy": "global_stamp"})
    desk.journey.remap(VARIANTS, partitions=MONTHS)
    desk.journey.family(1)
    desk.journey.variant(6, None)
    for request in desk.tick().run_requests:
        assert desk.answer(request).success
    assert desk.tick().run_requests == []
    desk.journey.family(2)
    desk.journey.variant(7, None)
    by_counter, by_cursor = desk.tick().run_requests
    partitions = list_partitions(desk.journey.workspace.project.get(PARENTS))
    assert set(by_counter.asset_selection) == set(FAMILY_PAIR)
    assert (by_counter.tags[RANGE_START], by_counter.tags[RANGE_END]) == (partitions[0], partitions[-1])
    assert set(by_cursor.asset_selection) == set(VARIANT_PAIR)
    assert (by_cursor.tags[RANGE_START], by_cursor.tags[RANGE_END]) == (partitions[-1],) * 2
    before = len(desk.journey.server.log)
    assert desk.answer(by_counter).success
    filters = [str(entry) for entry in list(desk.journey.server.log)[before:] if entry.resource == "Artikel_Familie"]
    assert any("__GlobalStamp" in text for text in filters)
    assert desk.journey.skus() == ["1", "2"]


# --- due without a change ------------------------------------------------------------------------


def remember(desk: Desk, **values: Any) -> None:
    memory = json.loads(desk.cursor or "{}")
    memory["tables"]["Artikel_Familie"].update(values)
    desk.cursor = json.dumps(memory)


def age_mark(desk: Desk, mark: str, age: timedelta) -> None:
    """The ledger, as it would be had the last such run been that long ago."""
    at = (datetime.now(UTC) - age).isoformat(timespec="microseconds")
    desk.journey.execute("update legacy_sync.watermark set value = %s where partition = %s", at, mark)


def load_with(desk: Desk, **words: Any) -> Desk:
    desk.journey.remap(PARENTS, **words)
    desk.journey.family(1)
    for request in desk.tick().run_requests:
        assert desk.answer(request).success
    assert desk.tick().run_requests == []
    return desk


def mark_of(desk: Desk, mark: str) -> datetime:
    """When the ledger says such a run was last."""
    with desk.journey.workspace.erp() as connection:
        entity = runs.get_entity_id(connection, PARENTS)
        return datetime.fromisoformat(runs.read_watermarks(connection, entity)[mark].value or "")


@pytest.mark.parametrize(
    ("words", "mark"),
    [
        ({"change_detection": {"full_every": "7d"}}, "whole"),
        ({"deletes": {"policy": "report", "sweep": "1d"}}, "keys"),
    ],
)
def test_what_is_due_is_asked_for_once_without_a_change(desk: Desk, words: dict[str, Any], mark: str):
    load_with(desk, partitions=MONTHS, **words)
    age_mark(desk, mark, timedelta(days=8))
    (request,) = desk.tick().run_requests
    partitions = list_partitions(desk.journey.workspace.project.get(PARENTS))
    assert set(request.asset_selection) == set(FAMILY_PAIR)
    assert (request.tags[RANGE_START], request.tags[RANGE_END]) == (partitions[0], partitions[-1])
    assert desk.tick().run_requests == []
    assert desk.answer(request).success
    assert datetime.now(UTC) - mark_of(desk, mark) < timedelta(minutes=5)
    assert desk.tick().run_requests == []


def test_due_run_that_failed_is_asked_again_after_a_pause(desk: Desk):
    load_with(desk, change_detection={"full_every": "7d"})
    age_mark(desk, "whole", timedelta(days=8))
    (request,) = desk.tick().run_requests
    create_run_for_test(desk.instance, status=DagsterRunStatus.FAILURE, tags=dict(request.tags))
    assert "1 runs failed" in desk.tick().skip_message
    remember(desk, not_before=0)
    (again,) = desk.tick().run_requests
    assert again.run_key != request.run_key


def test_due_run_whose_mark_stays_is_not_asked_for_every_tick(desk: Desk):
    load_with(desk, change_detection={"full_every": "7d"})
    age_mark(desk, "whole", timedelta(days=8))
    (request,) = desk.tick().run_requests
    assert desk.answer(request).success
    age_mark(desk, "whole", timedelta(days=8))
    assert desk.tick().run_requests == []


def test_table_by_fingerprint_costs_no_request_and_is_asked_for_by_its_interval(desk: Desk):
    load_with(desk, source={"cursor": None}, change_detection={"strategy": "fingerprint", "full_every": "2h"})
    desk.journey.family(2)
    found, requests = asked(desk)
    assert (found, requests["Artikel_Familie"]) == ([], 0)
    age_mark(desk, "whole", timedelta(hours=3))
    found, _ = asked(desk)
    assert found == [set(FAMILY_PAIR)]


def test_table_by_fingerprint_without_any_interval_is_read_every_hour(desk: Desk):
    load_with(desk, source={"cursor": None}, change_detection={"strategy": "fingerprint"})
    assert asked(desk) == ([], Counter({"Artikel_Variante": 1}))
    desk.journey.execute("update legacy_sync.run set finished_at = finished_at - interval '61 minutes'")
    assert [set(FAMILY_PAIR)] == asked(desk)[0]


# --- who is loading, and what the mapping says ---------------------------------------------------


def test_entity_that_another_process_loads_is_left_alone(desk: Desk):
    load_with(desk)
    desk.journey.family(2)
    with desk.journey.workspace.erp() as connection:
        entity = runs.get_entity_id(connection, PARENTS)
        with runs.entity_lock(connection, entity, PARENTS):
            assert desk.tick().skip_message == f"still running: erp/{PARENTS}"
    assert len(desk.tick().run_requests) == 1


def test_changed_mapping_loads_what_is_landed_again_and_tries_waiting_rows(desk: Desk):
    load_with(desk)
    desk.journey.variant(7, "A" * 32)  # a family that nobody knows
    desk.answer(desk.tick().run_requests[0])
    assert desk.journey.skus(VARIANTS) == []
    fields = desk.journey.said[VARIANTS]["fields"]
    reference = {**fields["parent_id"]["reference"], "if_missing": "null"}
    desk.journey.remap(VARIANTS, fields={"parent_id": {**fields["parent_id"], "reference": reference}})
    before = sum(entry.resource == "Artikel_Variante" for entry in desk.journey.server.log)
    (request,) = desk.tick().run_requests
    assert set(request.asset_selection) == {VARIANT_PAIR[1]}
    assert desk.answer(request).success
    assert desk.journey.skus(VARIANTS) == ["7"]
    assert desk.tick().run_requests == []
    after = sum(entry.resource == "Artikel_Variante" for entry in desk.journey.server.log)
    assert after - before <= 3  # two looks and the comparison of both sides: no row was fetched again
