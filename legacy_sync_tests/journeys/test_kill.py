"""What is left when a run is killed, and does the next one end where an undisturbed one would have?"""

import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from journey_setup import MONTHS, PARENTS, SOURCES, VARIANTS, Journey

from legacy_sync.demo.four_d_server import FourDServer
from legacy_sync.demo.sample_data import build_store
from legacy_sync.errors import ErpUnavailable
from legacy_sync.sync.pipeline import fetch_table, load_entity
from legacy_sync.sync.windows import KEYS, WHOLE

pytestmark = pytest.mark.slow
ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "8"))
RUNNER = Path(__file__).with_name("run_to_be_killed.py")
TODAY = datetime.now(UTC).date()
WINDOWS = {**MONTHS, "start": (TODAY - timedelta(days=300)).isoformat()}


@pytest.fixture(scope="module")
def server() -> Iterator[FourDServer]:
    """One old database for all rounds; nobody works on it."""
    with FourDServer(build_store(seed=1, families=60, variants=160, today=TODAY)) as server:
        yield server


@pytest.fixture
def windowed(server: FourDServer, erp_url: str, tmp_path: Path) -> Iterator[Journey]:
    """A journey in calendar months and small pages, so that a run has many steps."""
    journey = Journey(server, erp_url, tmp_path)
    for entity in SOURCES:
        journey.remap(entity, partitions=WINDOWS, source={"page_size": 20})
    journey.workspace  # noqa: B018 writes the mappings for the other process
    yield journey
    journey.close()


def outcome_of(journey: Journey) -> dict[str, list[dict[str, Any]]]:
    """All that a run decides, without numbers and times the databases give."""
    without = "'id' - 'created_at' - 'updated_at' - 'parent_id'"
    return {
        "parents": journey.query(f"select to_jsonb(t) - {without} as row from products_parentproduct t order by sku"),
        "variants": journey.query(
            f"select to_jsonb(t) - {without} as row, p.sku as parent"
            " from products_variantproduct t left join products_parentproduct p on p.id = t.parent_id order by t.sku"
        ),
        "bindings": journey.query(
            "select entity_id, legacy_key, origin, missing_since from legacy_sync.binding order by 1, 2"
        ),
        "parked": journey.query(
            "select entity_id, legacy_key, status, reason, column_name from legacy_sync.quarantine"
            " where status <> 'loaded' order by 1, 2"
        ),
        "marks": journey.query(
            "select entity_id, partition, value from legacy_sync.watermark where not partition = any(%s) order by 1, 2",
            [KEYS, WHOLE],  # times of their own
        ),
    }


@pytest.fixture(scope="module")
def undisturbed(
    server: FourDServer, postgres: Any, erp_template: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[dict[str, Any]]]:
    """What one run from the beginning to the end leaves."""
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        connection.execute(f'create database undisturbed template "{erp_template}"')
    journey = Journey(server, postgres.url("undisturbed"), tmp_path_factory.mktemp("undisturbed"))
    for entity in SOURCES:
        journey.remap(entity, partitions=WINDOWS, source={"page_size": 20})
    journey.run_all()
    journey.close()
    return outcome_of(journey)


def assert_partitions_are_whole(journey: Journey) -> None:
    """A partition with a watermark has every one of its records bound or parked, one without has none."""
    if not journey.query("select 1 where to_regclass('legacy_sync.watermark') is not null"):
        return
    landing = journey.workspace.landing
    for entity, table in SOURCES.items():
        known = {
            r["legacy_key"]
            for r in journey.query(
                "select legacy_key from legacy_sync.binding join legacy_sync.entity e on e.id = entity_id"
                " where name = %s"
                " union select legacy_key from legacy_sync.quarantine join legacy_sync.entity e on e.id = entity_id"
                " where name = %s",
                entity,
                entity,
            )
        }
        marked = journey.query(
            "select partition from legacy_sync.watermark join legacy_sync.entity e on e.id = entity_id where name = %s",
            entity,
        )
        for partition in landing.partitions(table):
            keys = {
                key
                for fetch in landing.fetches(table, partition)
                for batch in landing.read(fetch)
                for key in batch.column("__KEY").to_pylist()
            }
            assert keys <= known if {"partition": partition} in marked else not keys & known, partition


def run_until(journey: Journey, steps: int, seconds: float, *how: str) -> int | None:
    """Starts a run in another process and kills it `seconds` after its step; returns the steps if it ended before."""
    journey.server.sessions.expire_all()  # a killed run keeps its licence until 4D forgets it
    process = subprocess.Popen(
        [sys.executable, str(RUNNER), *how], env=os.environ | journey.environ, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process:
        for number in range(steps):
            if not process.stdout.readline():
                return number
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
    return None


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_run_after_a_kill_ends_like_an_undisturbed_one(windowed: Journey, undisturbed: dict[str, Any], seed: int):
    dice = random.Random(seed)
    run_until(windowed, 1 + 6 * (seed % 8) + dice.randrange(6), dice.random() * 0.03)
    assert_partitions_are_whole(windowed)
    windowed.run_all()
    assert outcome_of(windowed) == undisturbed
    outcomes = [r["outcome"] for r in windowed.query("select outcome from legacy_sync.run")]
    assert "running" not in outcomes


@pytest.mark.parametrize("steps", [4, 9, 14])
def test_first_import_of_one_partition_is_whole_or_not_there(
    server: FourDServer, erp_url: str, tmp_path: Path, steps: int
):
    journey = Journey(server, erp_url, tmp_path)
    for entity in SOURCES:
        journey.remap(entity, source={"page_size": 10})
    journey.workspace  # noqa: B018 writes the mappings for the other process
    run_until(journey, steps, 0.005, "together")
    assert_partitions_are_whole(journey)
    journey.run_all()
    found = outcome_of(journey)
    journey.execute("delete from products_variantproduct")
    journey.execute("delete from products_parentproduct")
    journey.execute("drop schema legacy_sync cascade")
    journey.landing_root += "-elsewhere"
    journey.close()
    journey.run_all()
    assert outcome_of(journey) == found
    journey.close()


def test_several_kills_in_a_row_do_no_harm(windowed: Journey, undisturbed: dict[str, Any]):
    for steps in (5, 25):
        run_until(windowed, steps, 0.01)
        assert_partitions_are_whole(windowed)
    windowed.run_all()
    assert outcome_of(windowed) == undisturbed


def test_killed_load_resumes_at_the_first_partition_that_did_not_commit(windowed: Journey, undisturbed: dict[str, Any]):
    fetch_table(windowed.workspace, windowed.workspace.project.get(PARENTS))
    committed: list[str] = []

    def stop_after_three(partition: str, _counts: object) -> None:
        committed.append(partition)
        if len(committed) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_entity(windowed.workspace, windowed.workspace.project.get(PARENTS), on_commit=stop_after_three)
    report = load_entity(windowed.workspace, windowed.workspace.project.get(PARENTS))
    assert set(report.partitions).isdisjoint(committed)
    windowed.run(VARIANTS)
    assert outcome_of(windowed) == undisturbed


def cut(url: str) -> None:
    """The database ends every session of a load, as a restart or an administrator would."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where application_name = 'legacy_sync' and datname = current_database()"
        )


@pytest.mark.parametrize("moment", ["while copying", "between partitions"])
@pytest.mark.parametrize("attempts", [1, 5])
def test_lost_database_session_is_opened_again_or_told(
    windowed: Journey, undisturbed: dict[str, Any], moment: str, attempts: int
):
    windowed.remap(PARENTS, retry={"attempts": attempts})
    seen: list[object] = []

    def cut_once(*what: object) -> None:
        seen.append(what)
        if len(seen) == 4:
            cut(windowed.erp_url)

    told: dict[str, Callable[..., None]] = {"progress" if moment == "while copying" else "on_commit": cut_once}
    mapping = windowed.workspace.project.get(PARENTS)
    fetch_table(windowed.workspace, mapping)
    if attempts == 1:
        with pytest.raises(ErpUnavailable, match="connection to the ERP database was lost"):
            load_entity(windowed.workspace, mapping, **told)
    else:
        report = load_entity(windowed.workspace, mapping, **told)
        assert [("was lost" in why, times) for why, times in report.repeated.items()] == [(True, 1)]
    assert_partitions_are_whole(windowed)
    (run,) = windowed.query("select outcome, message, counts from legacy_sync.run")
    assert (run["outcome"] == "failed") == (attempts == 1)
    assert run["counts"]["inserted"] == len(windowed.query("select from legacy_sync.binding"))
    windowed.run_all()
    assert outcome_of(windowed) == undisturbed


def test_killed_fetch_leaves_nothing_visible(windowed: Journey):
    run_until(windowed, 3, 0)
    assert windowed.workspace.landing.partitions("Artikel_Familie") == []
    windowed.run(PARENTS)
    assert len(windowed.workspace.landing.partitions("Artikel_Familie")) > 8
