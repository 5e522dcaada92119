"""What does it cost to keep up, and how far behind is the ERP?"""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from journey_setup import MONTHS, PARENTS, Journey

from legacy_sync.sync.pipeline import fetch_table, load_entity

TABLE = "Artikel_Familie"


def last_run(journey: Journey, entity: str = PARENTS) -> dict[str, Any]:
    return journey.query(
        "select r.* from legacy_sync.run r join legacy_sync.entity e on e.id = r.entity_id"
        " where e.name = %s order by r.id desc limit 1",
        entity,
    )[0]


def fetch(journey: Journey, partitions: list[str] | None = None, **how: Any) -> Any:
    return fetch_table(journey.workspace, journey.workspace.project.get(PARENTS), partitions, **how)


def load(journey: Journey, partitions: list[str] | None = None, **how: Any) -> Any:
    return load_entity(journey.workspace, journey.workspace.project.get(PARENTS), partitions, **how)


def test_run_says_what_the_server_was_asked(journey: Journey):
    for n in range(1, 6):
        journey.family(n)
    journey.remap(PARENTS, source={"page_size": 2})
    journey.workspace.source("four_d").describe()
    journey.server.counters.reset()
    journey.run()
    run = last_run(journey)
    assert run["fetch_requests"] == journey.server.counters.requests[TABLE]
    assert (run["rows_fetched"], run["counts"]["inserted"]) == (5, 5)
    assert run["fetch_bytes"] > 500
    assert run["fetch_seconds"] > 0
    assert run["report"]["seconds"].keys() == {"transform", "stage", "plan", "apply"}


def test_load_in_another_process_counts_what_the_fetches_cost(journey: Journey):
    journey.family(1)
    journey.run()
    journey.family(2)
    first = fetch(journey)
    journey.family(3)
    second = fetch(journey)
    load(journey)
    run = last_run(journey)
    assert run["fetch_requests"] == first.requests + second.requests
    assert run["fetch_bytes"] == first.bytes + second.bytes
    assert run["fetch_seconds"] == pytest.approx(first.seconds + second.seconds)
    assert run["changes_up_to"] == second.began_at


def test_fetch_counts_once_however_often_it_is_loaded(journey: Journey):
    journey.family(1)
    journey.run()
    load(journey, full=True)
    run = last_run(journey)
    assert run["counts"]["read"] == 1
    assert (run["rows_fetched"], run["fetch_requests"], run["fetch_bytes"]) == (0, 0, 0)


def test_parts_of_a_fetch_over_many_months_are_the_whole(journey: Journey):
    journey.remap(PARENTS, partitions=MONTHS)
    for month in (1, 2, 3):
        journey.store.clock.set(datetime(2026, month, 10, tzinfo=UTC))
        for n in range(month):
            journey.family(10 * month + n)
    summary = fetch(journey)
    landing = journey.workspace.landing
    landed = [f for p in summary.partitions for f in landing.fetches(TABLE, p)]
    assert len(landed) > 2
    assert sum(f.cost.requests for f in landed) == summary.requests
    assert sum(f.cost.bytes for f in landed) == summary.bytes
    assert [f.partition for f in landed if f.changes_up_to] == [summary.partitions[-1]]


def test_manifest_of_an_older_program_is_read(journey: Journey):
    journey.family(1)
    fetch(journey)
    for file in Path(journey.landing_root).rglob("*.json"):
        said = json.loads(file.read_text())
        for name in ("requests", "bytes", "seconds", "all_rows_because", "changes_up_to"):
            del said[name]
        file.write_text(json.dumps(said))
    assert load(journey).counts.inserted == 1
    run = last_run(journey)
    assert (run["rows_fetched"], run["fetch_requests"], run["changes_up_to"]) == (1, 0, None)


def test_run_keeps_why_all_rows_were_read(journey: Journey):
    journey.remap(PARENTS, change_detection={"strategy": "global_stamp"})
    journey.family(1)
    fetch(journey)
    load(journey)
    assert "does not track" in last_run(journey)["all_rows_because"]


def test_look_at_a_counter_that_stands_still_is_counted_and_moves_the_lag(journey: Journey):
    journey.store.enable_tracking(TABLE)
    journey.remap(PARENTS, change_detection={"strategy": "global_stamp"})
    journey.family(1)
    journey.run()
    before = last_run(journey)
    report = journey.run()
    after = last_run(journey)
    assert (report.counts.read, after["fetch_requests"], after["rows_fetched"]) == (0, 1, 0)
    assert after["changes_up_to"] > before["changes_up_to"]


def test_run_of_one_old_month_does_not_say_that_all_changes_are_there(journey: Journey):
    journey.remap(PARENTS, partitions=MONTHS)
    journey.family(1)
    journey.run()
    assert last_run(journey)["changes_up_to"] is not None
    journey.run(partitions=["2026-01-01"])
    assert last_run(journey)["changes_up_to"] is None
