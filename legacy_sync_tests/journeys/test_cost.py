"""What does it cost to keep up, and how far behind is the ERP?"""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cli_setup import PARENTS, VARIANTS, Cli
from journey_setup import MONTHS, Journey

from legacy_sync.sync.pipeline import fetch_table, load_entity

TABLE = "Artikel_Familie"
COPY = "core_tag"


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


# --- shared tables


def test_fetch_that_two_entities_read_costs_the_first(journey: Journey, bare_cli: Cli):
    journey.said[COPY] = {
        "source": journey.said[PARENTS]["source"],
        "target": {"table": COPY, "natural_key": ["name"], "on_insert": {"description": ""}},
        "partitions": {"type": "none"},
        "fields": {"name": {"from": "alteNummer", "required": True}},
    }
    journey.family(1)
    assert fetch(journey).requests == 1
    load(journey)
    load_entity(journey.workspace, journey.workspace.project.get(COPY))
    costs = {name: last_run(journey, name) for name in (PARENTS, COPY)}
    assert [(r["rows_fetched"], r["fetch_requests"]) for r in costs.values()] == [(1, 1), (1, 0)]
    bare_cli.environment = journey.environ
    assert f"{COPY} and {PARENTS} share their fetches" in bare_cli("status", "--cost").out


# --- the command


def test_status_shows_lag_and_cost(cli: Cli):
    cli("run", PARENTS)
    cli("run", PARENTS)
    said = cli("status", "--cost")
    assert said.code == 0
    assert "cost, last 24 hours" in said.out
    assert "share changed" in said.out
    state, never_run = cli("status", "--json").json["entities"]
    assert 0 < state["lag_seconds"] < 60
    assert state["changes_up_to"] is not None
    day, last = state["cost"]["last_24_hours"], state["cost"]["last_run"]
    assert (day["runs"], last["runs"], last["rows_changed"]) == (2, 1, 0)
    assert day["rows_changed"] == state["bound"]
    assert day["requests"] > last["requests"] >= 1
    assert day["bytes"] > last["bytes"] > 0
    assert last["seconds"].keys() == {"fetch", "transform", "stage", "plan", "apply"}
    assert (never_run["lag_seconds"], never_run["cost"]) == (None, {"last_24_hours": None, "last_run": None})


def test_runs_of_an_older_program_have_no_cost(cli: Cli, erp: psycopg.Connection):
    cli("run", PARENTS)
    erp.execute(
        "update legacy_sync.run set rows_fetched = null, fetch_requests = null, fetch_bytes = null,"
        " fetch_seconds = null, changes_up_to = null, finished_at = finished_at - interval '2 days'"
    )
    erp.commit()
    state = cli("status", PARENTS, "--json").json["entities"][0]
    assert (state["lag_seconds"], state["cost"]["last_24_hours"]) == (None, None)
    assert (state["cost"]["last_run"]["requests"], state["cost"]["last_run"]["share_changed"]) == (None, None)
    assert cli("status", PARENTS, "--cost").code == 0


def test_live_status_counts_what_waits_since_the_last_run(journey: Journey, bare_cli: Cli):
    journey.store.enable_tracking(TABLE)
    journey.remap(PARENTS, change_detection={"strategy": "global_stamp"})
    journey.family(1)
    journey.run()
    bare_cli.environment = journey.environ
    assert waiting(bare_cli)["rows"] == 0
    journey.family(2)
    journey.family(3)
    journey.workspace.source("four_d").describe()
    journey.server.counters.reset()
    waits = waiting(bare_cli)
    assert (waits["rows"], waits["how"]) == (2, "rows saved since")
    assert journey.server.counters.requests[TABLE] == 1
    assert datetime.fromisoformat(waits["since"]) == last_run(journey)["changes_up_to"]
    assert "rows saved since" in bare_cli("status", "--live").out


def test_live_status_by_date_says_that_it_counts_days(journey: Journey, bare_cli: Cli):
    journey.family(1)
    journey.run()
    journey.store.clock.advance(days=1)
    journey.family(2)
    bare_cli.environment = journey.environ
    waits = waiting(bare_cli)
    assert waits["rows"] == 2
    assert waits["how"].startswith("at most: rows with a date from ")


def test_live_status_of_what_was_never_loaded_or_is_compared(journey: Journey, bare_cli: Cli):
    journey.family(1)
    bare_cli.environment = journey.environ
    _ = journey.workspace
    waits = waiting(bare_cli)
    assert (waits["rows"], waits["since"], "none was loaded" in waits["how"]) == (1, None, True)
    journey.remap(PARENTS, change_detection={"strategy": "fingerprint"})
    journey.run()
    waits = waiting(bare_cli)
    assert (waits["rows"], "compares all 1 rows" in waits["how"]) == (None, True)


def test_source_that_is_away_hides_no_other(journey: Journey, bare_cli: Cli):
    folder = journey.folder / "drop"
    folder.mkdir()
    (folder / "tags.csv").write_text("Name\nrot\n")
    table = {"files": "*.csv", "format": "csv", "key": ["Name"]}
    (journey.folder / "mappings" / "sources").mkdir(parents=True)
    journey.said["sources/drop"] = {
        "type": "files", "folder": str(folder), "settle_seconds": 0, "tables": {"tags": table},
    }  # fmt: skip
    journey.said[COPY] = {
        "source": {"server": "drop", "table": "tags"},
        "target": {"table": COPY, "natural_key": ["name"], "on_insert": {"description": ""}},
        "change_detection": {"strategy": "fingerprint"},
        "fields": {"name": {"from": "Name", "required": True}},
    }
    _ = journey.workspace
    journey.server.stop()
    bare_cli.environment = journey.environ
    said = bare_cli("status", "--live", "--json")
    assert said.code == 0
    waits = {e["entity"]: e["waiting"] for e in said.json["entities"]}
    assert waits[COPY]["rows"] == 1
    assert "did not answer" in waits[PARENTS]["problem"]
    assert waits[VARIANTS]["problem"] == waits[PARENTS]["problem"]
    assert "cannot be asked" in bare_cli("status", "--live").out


def waiting(cli: Cli) -> dict[str, Any]:
    found: dict[str, Any] = cli("status", PARENTS, "--live", "--json").json["entities"][0]["waiting"]
    return found
