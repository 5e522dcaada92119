"""When does the sensor start runs, and when does it leave the old server and the ERP alone?"""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from dagster import DagsterRunStatus
from dagster._core.test_utils import create_run_for_test
from dagster_setup import (
    FAMILIES,
    FAMILIES_TABLE,
    FAMILY_PAIR,
    RANGE_END,
    RANGE_START,
    VARIANT_PAIR,
    VARIANTS_ROWS,
    Desk,
    open_desk,
    resources,
)
from journey_setup import PARENTS, SOURCES, VARIANTS

from legacy_sync.ledger import troubles
from legacy_sync.sync.windows import list_windows, today_of


@pytest.fixture
def desk(erp_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    with open_desk(erp_url, tmp_path, monkeypatch) as desk:
        yield desk


@pytest.fixture
def loaded(desk: Desk) -> Desk:
    """Everything that was there is loaded, and the sensor knows."""
    desk.journey.family(1)
    (request,) = desk.tick().run_requests
    assert desk.answer(request).success
    assert desk.tick().run_requests == []
    return desk


def open_window(desk: Desk) -> str:
    mapping = desk.journey.workspace.project.get(PARENTS)
    return list_windows(mapping, today_of(mapping, desk.journey.store.clock.now()))[-1].partition


def remembered(desk: Desk, table: str = "Artikel_Familie") -> dict[str, Any]:
    return dict(json.loads(desk.cursor or "{}")["tables"][table])


def later(desk: Desk, table: str = "Artikel_Familie", **values: float) -> None:
    """The sensor's memory, as it would be after a while."""
    memory = json.loads(desk.cursor or "{}")
    for name, value in values.items():
        memory["tables"][table][name] = value
    desk.cursor = json.dumps(memory)


def asked(desk: Desk) -> list[set[dg.AssetKey]]:
    """What the runs of a tick would materialise."""
    return [set(request.asset_selection) for request in desk.tick().run_requests]


def data_requests(desk: Desk) -> int:
    return sum(seen.resource in SOURCES.values() for seen in desk.journey.server.log)


def fail(desk: Desk, request: dg.RunRequest) -> None:
    create_run_for_test(desk.instance, status=DagsterRunStatus.FAILURE, tags=dict(request.tags))


def test_what_was_never_loaded_is_asked_for_in_one_run(desk: Desk):
    desk.journey.family(1)
    (request,) = desk.tick().run_requests
    assert set(request.asset_selection) == {*FAMILY_PAIR, *VARIANT_PAIR}
    assert (request.tags[RANGE_START], request.tags[RANGE_END]) == ("2026-01-01", open_window(desk))


def test_a_tick_without_changes_costs_one_request_per_table(loaded: Desk):
    before = data_requests(loaded)
    result = loaded.tick()
    assert (result.run_requests, result.skip_message) == ([], "no changes")
    assert data_requests(loaded) == before + 2


def test_only_the_changed_table_is_asked_for_and_only_its_open_window(loaded: Desk):
    loaded.journey.family(2)
    (request,) = loaded.tick().run_requests
    assert set(request.asset_selection) == set(FAMILY_PAIR)
    assert (request.tags[RANGE_START], request.tags[RANGE_END]) == (open_window(loaded),) * 2
    assert {key.name for key in request.asset_check_keys} & {"parked_rows", "reconciliation"} == {"parked_rows"}


def lag(desk: Desk, entity: str) -> timedelta:
    """How far the entity may be behind, as people are told of it."""
    with desk.journey.workspace.erp() as connection:
        return datetime.now(UTC) - troubles.list_reach(connection)[entity]


def test_quiet_table_does_not_fall_behind(loaded: Desk):
    loaded.journey.query("update legacy_sync.run set changes_up_to = changes_up_to - interval '3 days' returning id")
    loaded.journey.query("update legacy_sync.entity set quiet_at = quiet_at - interval '2 days' returning id")
    assert lag(loaded, PARENTS) > timedelta(days=1)
    loaded.journey.family(2)
    loaded.tick()
    assert lag(loaded, PARENTS) > timedelta(days=1)  # the change waits
    assert lag(loaded, VARIANTS) < timedelta(minutes=5)  # nothing does


def test_looks_at_a_quiet_table_write_the_ledger_once_in_a_while(loaded: Desk):
    loaded.tick()
    before = loaded.journey.query("select xmin::text, quiet_at from legacy_sync.entity order by id")
    loaded.tick()
    assert loaded.journey.query("select xmin::text, quiet_at from legacy_sync.entity order by id") == before
    assert all(row["quiet_at"] for row in before)


def test_no_second_run_while_the_first_is_under_way(loaded: Desk):
    loaded.journey.family(2)
    (request,) = loaded.tick().run_requests
    assert loaded.tick().run_requests == []
    create_run_for_test(loaded.instance, status=DagsterRunStatus.STARTED, tags=dict(request.tags))
    loaded.journey.family(3)
    assert loaded.tick().run_requests == []


def test_change_during_a_run_is_seen_after_it(loaded: Desk):
    loaded.journey.family(2)
    (request,) = loaded.tick().run_requests
    loaded.answer(request)
    loaded.journey.family(3)
    (again,) = loaded.tick().run_requests
    assert again.run_key != request.run_key
    loaded.answer(again)
    assert loaded.journey.skus() == ["1", "2", "3"]
    assert loaded.tick().run_requests == []


def test_run_of_somebody_else_is_waited_for(loaded: Desk):
    loaded.journey.family(2)
    create_run_for_test(
        loaded.instance, status=DagsterRunStatus.STARTED, asset_selection=frozenset({FAMILIES}), job_name="__ASSET_JOB"
    )
    result = loaded.tick()
    assert result.run_requests == []
    assert result.skip_message == f"still running: erp/{PARENTS}"


def test_failed_run_is_tried_again_after_a_pause_under_a_new_key(loaded: Desk):
    loaded.journey.family(2)
    (request,) = loaded.tick().run_requests
    fail(loaded, request)
    assert "1 runs failed" in loaded.tick().skip_message
    later(loaded, not_before=0)
    (again,) = loaded.tick().run_requests
    assert again.run_key != request.run_key
    assert again.asset_selection == request.asset_selection


def test_after_five_failures_only_a_new_change_starts_a_run_at_once(loaded: Desk):
    loaded.journey.family(2)
    for _ in range(5):
        (request,) = loaded.tick().run_requests
        fail(loaded, request)
        loaded.tick()
        later(loaded, not_before=0)
    assert loaded.tick().run_requests == []
    loaded.journey.family(3)
    assert len(loaded.tick().run_requests) == 1


def test_after_five_failures_the_same_change_is_tried_again_hours_later(loaded: Desk):
    loaded.journey.family(2)
    keys = set()
    for _ in range(5):
        (request,) = loaded.tick().run_requests
        keys.add(request.run_key)
        fail(loaded, request)
        loaded.tick()
        later(loaded, not_before=0)
    assert loaded.tick().run_requests == []
    later(loaded, asked_at=time.time() - 6 * 3600)
    (again,) = loaded.tick().run_requests
    assert len({*keys, again.run_key}) == 6


def test_memory_that_was_lost_repeats_no_run_key(loaded: Desk):
    loaded.journey.family(2)
    (request,) = loaded.tick().run_requests
    loaded.cursor = None
    (again,) = loaded.tick().run_requests
    assert again.run_key != request.run_key


def test_pause_after_failures_grows(loaded: Desk):
    loaded.journey.family(2)
    pauses = []
    for _ in range(3):
        (request,) = loaded.tick().run_requests
        fail(loaded, request)
        loaded.tick()
        pauses.append(remembered(loaded)["not_before"] - remembered(loaded)["probed_at"])
        later(loaded, not_before=0)
    assert [round(pause) for pause in pauses] == [30, 60, 120]


def test_request_that_was_lost_is_made_again(loaded: Desk):
    loaded.journey.family(2)
    loaded.tick()
    later(loaded, asked_at=0)
    loaded.tick()
    later(loaded, not_before=0)
    assert len(loaded.tick().run_requests) == 1


def skip_pause(desk: Desk, sensor: str = "legacy_changes") -> None:
    """The sensor's memory, as it would be after the pause between two looks at a source that is away."""
    memory = json.loads(desk.cursors[sensor] or "{}")
    memory["outage"]["not_before"] = 0
    desk.cursors[sensor] = json.dumps(memory)


def test_server_that_is_away_is_left_alone_for_a_while(loaded: Desk):
    loaded.journey.server.stop()
    first = loaded.tick().skip_message
    assert first.startswith("the 4D server did not answer")
    assert "  where: " in first
    assert "  next:  " in first
    assert loaded.tick().skip_message.split("\n  again:")[0] == first.split("\n  again:")[0]
    assert json.loads(loaded.cursor or "{}")["outage"]["failures"] == 1  # the second tick asked nobody
    loaded.journey.server.start()


def test_outage_is_told_once_and_so_is_its_end(loaded: Desk):
    loaded.journey.server.stop()
    for _ in range(4):
        loaded.tick()
        skip_pause(loaded)
    assert len(loaded.told) == 1
    assert loaded.told[0].startswith("four_d is away: the 4D server did not answer")
    loaded.journey.server.start()
    loaded.journey.family(2)
    assert len(loaded.tick().run_requests) == 1
    assert [text.split(" after ")[0] for text in loaded.told[1:]] == ["four_d is back"]
    loaded.tick()
    assert len(loaded.told) == 2


def test_one_failed_look_alarms_nobody(loaded: Desk):
    loaded.journey.server.stop()
    loaded.tick()
    skip_pause(loaded)
    loaded.journey.server.start()
    assert "four_d is back after" in loaded.tick().skip_message
    assert [text for text in loaded.told if "is away" in text] == []


def test_pause_between_looks_at_a_server_that_is_away_grows_to_five_minutes(loaded: Desk):
    loaded.journey.server.stop()
    pauses = []
    for _ in range(6):
        loaded.tick()
        outage = json.loads(loaded.cursor or "{}")["outage"]
        pauses.append(round(outage["not_before"] - time.time()))
        skip_pause(loaded)
    assert [abs(pause - wanted) <= 6 for pause, wanted in zip(pauses, [30, 60, 120, 240, 300, 300], strict=True)] == [
        True
    ] * 6
    loaded.journey.server.start()


def test_table_that_is_refused_does_not_stop_the_others(loaded: Desk):
    loaded.journey.remap(VARIANTS, source={"table": "Artikel_Weg"})
    loaded.journey.family(2)
    assert set(FAMILY_PAIR) in asked(loaded)


def test_table_that_is_refused_is_told_once_and_left_alone_for_a_while(loaded: Desk):
    loaded.journey.remap(VARIANTS, source={"table": "Artikel_Weg"})
    for _ in range(4):
        loaded.tick()
        later(loaded, "Artikel_Weg", probed_at=0)
        memory = json.loads(loaded.cursor or "{}")
        memory["tables"]["Artikel_Weg"]["refusal"]["not_before"] = 0
        loaded.cursor = json.dumps(memory)
    (text,) = loaded.told
    assert text.startswith('Artikel_Weg cannot be looked at: the 4D server shows no table "Artikel_Weg"')
    assert "  next:  correct the name" in text


def test_second_change_of_a_row_on_one_day_is_found_a_quarter_of_an_hour_later(loaded: Desk):
    key = loaded.journey.family(2)
    loaded.answer(loaded.tick().run_requests[0])
    loaded.journey.edit(key, Bezeichnung="again")
    assert loaded.tick().run_requests == []
    later(loaded, done_at=remembered(loaded)["done_at"] - 901)
    (request,) = loaded.tick().run_requests
    loaded.answer(request)
    assert loaded.journey.row("2")["name"] == "again"


def test_waiting_child_runs_with_its_parent(loaded: Desk):
    family = "A" * 32
    loaded.journey.variant(7, family)
    loaded.answer(loaded.tick().run_requests[0])
    assert loaded.tick().run_requests == []
    loaded.journey.family(5, UID=family)
    (request,) = loaded.tick().run_requests
    assert set(request.asset_selection) == {*FAMILY_PAIR, VARIANTS_ROWS}
    loaded.answer(request)
    assert loaded.journey.skus(VARIANTS) == ["7"]


def test_waiting_child_runs_once_after_its_parent_was_loaded_by_hand(loaded: Desk):
    loaded.journey.variant(7, "A" * 32)
    loaded.answer(loaded.tick().run_requests[0])
    loaded.journey.family(5, UID="A" * 32)
    loaded.run(FAMILY_PAIR, open_window(loaded))
    requests = [loaded.tick().run_requests]
    keys = {key for request in requests[0] for key in request.asset_selection}
    assert VARIANTS_ROWS in keys
    loaded.answer(requests[0][0])
    assert loaded.journey.skus(VARIANTS) == ["7"]


def test_child_with_other_partitions_runs_after_its_parent(loaded: Desk):
    loaded.journey.remap(VARIANTS, partitions={"type": "none"})
    loaded.journey.variant(7, "A" * 32)
    for request in loaded.tick().run_requests:
        loaded.answer(request)
    loaded.journey.family(5, UID="A" * 32)
    for _ in range(3):
        for request in loaded.tick().run_requests:
            loaded.answer(request)
    assert loaded.journey.skus(VARIANTS) == ["7"]
    assert loaded.tick().run_requests == []


def test_cursor_that_cannot_be_read_is_forgotten(loaded: Desk):
    loaded.cursor = "something else"
    assert len(loaded.tick().run_requests) == 1


def test_sensor_and_schedules_are_stopped_at_first(desk: Desk):
    desk.journey.remap(PARENTS, schedule={"every": "5m"})
    sensor = desk.definitions.resolve_sensor_def("legacy_changes")
    schedule = desk.definitions.resolve_schedule_def("sync_products")
    assert (sensor.default_status, sensor.minimum_interval_seconds) == (dg.DefaultSensorStatus.STOPPED, 30)
    assert (schedule.default_status, schedule.cron_schedule) == (dg.DefaultScheduleStatus.STOPPED, "*/5 * * * *")
    assert schedule.execution_timezone == "Europe/Berlin"


def test_schedule_asks_for_the_open_window_of_its_entities(loaded: Desk):
    loaded.journey.remap(PARENTS, schedule={"every": "5m"})
    with dg.instance_for_test() as instance:
        (request,) = schedule_tick(loaded, instance).run_requests
    assert set(request.asset_selection) == set(FAMILY_PAIR)
    assert (request.tags[RANGE_START], request.tags[RANGE_END]) == (open_window(loaded),) * 2


def test_schedule_waits_for_a_run_under_way(loaded: Desk):
    loaded.journey.remap(PARENTS, schedule={"every": "5m"})
    with dg.instance_for_test() as instance:
        create_run_for_test(instance, status=DagsterRunStatus.STARTED, asset_selection=frozenset({FAMILIES_TABLE}))
        assert schedule_tick(loaded, instance).skip_message == "still running: legacy/Artikel_Familie"


def test_schedule_starts_only_what_is_due_and_what_missed_its_time(loaded: Desk):
    loaded.journey.remap(PARENTS, schedule={"every": "1m"})
    now = datetime.now(UTC).replace(minute=7, second=0, microsecond=0) + timedelta(hours=1)
    other = (now + timedelta(hours=12)).astimezone(ZoneInfo("Europe/Berlin"))
    loaded.journey.remap(VARIANTS, schedule={"cron": f"0 {other.hour} * * *"})
    with dg.instance_for_test() as instance:
        (noon,) = schedule_tick(loaded, instance, now).run_requests
        loaded.journey.execute("update legacy_sync.run set started_at = started_at - interval '3 days'")
        (late,) = schedule_tick(loaded, instance, now).run_requests
    assert set(noon.asset_selection) == set(FAMILY_PAIR)
    assert set(late.asset_selection) == {*FAMILY_PAIR, *VARIANT_PAIR}


def schedule_tick(desk: Desk, instance: dg.DagsterInstance, at: datetime | None = None) -> Any:
    soon = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    with dg.build_schedule_context(
        instance=instance, resources=resources(), scheduled_execution_time=at or soon
    ) as context:
        return desk.definitions.resolve_schedule_def("sync_products").evaluate_tick(context)
