"""Does a run that is cancelled in the UI end within seconds, wherever it is, and leave nothing half-written?

The web server is a real one and hears what the UI sends. The run is in the middle of a long statement, waits for the
row that a person has locked, or waits for a slow 4D.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import dagster as dg
import psycopg
import pytest
from dagster_graphql import DagsterGraphQLClient
from dagster_setup import FAMILIES, FAMILIES_TABLE, Desk, open_desk
from journey_setup import PARENTS
from test_dagster_launch import DIRECT, MODULE, client_of, dagster, free_port, instance_of, running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
SECONDS = 10.0
"""a cancelled run ends within these, on a busy machine"""
SLOW = """
create function take_long() returns trigger language plpgsql as $$ begin perform pg_sleep(60); return new; end $$;
create trigger take_long before insert on products_parentproduct for each row execute function take_long()
"""
OURS = "from pg_stat_activity where application_name = 'legacy_sync' and datname = current_database()"


@pytest.fixture
def desk(erp_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """A desk with one table, one piece, and Dagster's instance in a folder."""
    home = tmp_path / "dagster"
    home.mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    with open_desk(erp_url, tmp_path, monkeypatch) as desk:
        desk.journey.remap(PARENTS, partitions={"type": "none"})
        desk.journey.overlay["sources"]["four_d"]["timeout_seconds"] = 60
        _ = desk.definitions  # writes the mappings
        yield desk


def wait_until(holds: Callable[[], object], seconds: float) -> float:
    """Waits until something holds; returns how long that took."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < seconds, f"not within {seconds} s"
        threading.Event().wait(0.05)
    return time.monotonic() - began


def in_a_statement(desk: Desk, event: str) -> Callable[[], object]:
    return lambda: desk.journey.query(f"select 1 {OURS} and state = 'active' and wait_event_type = %s", event)


def nobody_there(desk: Desk) -> bool:
    return not desk.journey.query(f"select 1 {OURS}")


@contextmanager
def slow_statement(desk: Desk) -> Iterator[Callable[[], object]]:
    desk.journey.execute(SLOW)
    yield in_a_statement(desk, "Timeout")
    desk.journey.execute("drop function take_long cascade")


@contextmanager
def locked_row(desk: Desk) -> Iterator[Callable[[], object]]:
    desk.journey.edit(f"{1:032X}", Bezeichnung="Hasi")
    with psycopg.connect(desk.journey.erp_url) as person:
        person.execute("select 1 from products_parentproduct for update")
        yield in_a_statement(desk, "Lock")


@contextmanager
def slow_4d(desk: Desk) -> Iterator[Callable[[], object]]:
    asked, answered = threading.Event(), threading.Event()

    def hold(_table: str, _number: int) -> None:
        asked.set()
        answered.wait(60)

    desk.journey.server.on_data_request = hold
    yield asked.is_set
    desk.journey.server.on_data_request = None
    answered.set()


def cancelled(
    desk: Desk, client: DagsterGraphQLClient, instance: dg.DagsterInstance, is_busy: Callable[[], object]
) -> tuple[float, float]:
    """Launches, cancels when it is busy; returns after how many seconds the run and its database session had ended."""
    run_id = client.submit_job_execution(
        "__ASSET_JOB",
        repository_location_name="legacy_sync.definitions",
        repository_name="__repository__",
        asset_selection=[FAMILIES_TABLE, FAMILIES],
    )
    wait_until(is_busy, 60)
    began = time.monotonic()
    client.terminate_run(run_id)
    wait_until(lambda: instance.get_run_by_id(run_id).is_finished, 60)
    ended = time.monotonic() - began
    wait_until(lambda: nobody_there(desk), 60)
    assert instance.get_run_by_id(run_id).status == dg.DagsterRunStatus.CANCELED
    return ended, time.monotonic() - began


@pytest.mark.filterwarnings("ignore:Using variable_values:DeprecationWarning")  # Dagster's client, not ours
def test_run_cancelled_in_the_ui_ends_within_seconds_wherever_it_is(desk: Desk):
    journey = desk.journey
    journey.family(1, Bezeichnung="Hase")
    with ExitStack() as stack:
        instance = stack.enter_context(instance_of(desk, DIRECT))
        port = free_port()
        command = dagster("dagster-webserver", *MODULE, "-h", "127.0.0.1", "-p", str(port))
        client = client_of(stack.enter_context(running(desk, command)), port)
        took = {}
        with slow_statement(desk) as is_busy:
            took["a long statement"] = cancelled(desk, client, instance, is_busy)
        assert journey.skus() == []
        journey.run()
        with locked_row(desk) as is_busy:
            took["a locked row"] = cancelled(desk, client, instance, is_busy)
        before = journey.places()
        with slow_4d(desk) as is_busy:
            took["a slow 4D"] = cancelled(desk, client, instance, is_busy)
        assert journey.places() == before
        assert journey.row("1")["name"] == "Hase"
    assert max(max(seconds) for seconds in took.values()) < SECONDS, took
    outcomes = journey.query("select outcome from legacy_sync.run order by id")
    assert [r["outcome"] for r in outcomes] == ["failed", "succeeded", "failed"]  # the slow 4D: before any load
    assert journey.run().outcome == "succeeded"
    assert journey.row("1")["name"] == "Hasi"
