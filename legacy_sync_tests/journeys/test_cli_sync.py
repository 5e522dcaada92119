"""Do `plan`, `run` and `status` do and say what they promise?"""

import os
import signal
import subprocess
import sys
import threading
import time
from typing import LiteralString

import psycopg
import pytest
from cli_setup import PARENTS, VARIANTS, Cli

from legacy_sync.demo.four_d_server import FourDServer


def count(erp: psycopg.Connection, table: str) -> int:
    row = erp.execute(f"select count(*) from {table}").fetchone()
    erp.rollback()
    return int(row[0]) if row else 0


def test_a_plan_writes_nothing(cli: Cli, erp: psycopg.Connection) -> None:
    said = cli("plan", "--json")
    assert said.code == 0
    assert said.json["entities"][0]["counts"]["inserted"] > 0
    assert said.json["entities"][1]["counts"]["inserted"] > 80
    assert count(erp, PARENTS) == count(erp, "legacy_sync.run") == 0


def test_a_plan_of_changes_counts_them_by_column(cli: Cli, four_d: FourDServer, erp: psycopg.Connection) -> None:
    cli("run")
    key = erp.execute("select legacy_id from products_parentproduct order by id limit 1").fetchone()
    assert key is not None
    four_d.store.update("Artikel_Familie", key[0], {"Bezeichnung_ENG": "Something new"})
    said = cli("plan", PARENTS)
    assert "updates by column" in said.out
    assert "name_en" in said.out


def test_run_loads_and_says_that_rows_are_parked(cli: Cli, erp: psycopg.Connection) -> None:
    said = cli("run")
    assert said.code == 3
    assert "quarantine list" in said.out
    assert count(erp, PARENTS) > 30
    assert count(erp, VARIANTS) > 80
    again = cli("run", "--full", "--json")
    assert [entity["counts"]["inserted"] for entity in again.json["entities"]] == [0, 0]
    assert [entity["counts"]["updated"] for entity in again.json["entities"]] == [0, 0]


def test_run_says_why_it_read_all_rows_and_what_is_gone(cli: Cli, four_d: FourDServer, erp: psycopg.Connection) -> None:
    cli("run", PARENTS)
    four_d.store.delete("Artikel_Familie", four_d.store.rows("Artikel_Familie")[0]["UID"])
    erp.execute("update legacy_sync.watermark set value = '2999-01-01' where value like '____-__-__'")
    erp.commit()
    said = cli("run", PARENTS)
    assert f"{PARENTS}: all rows were read: the clock of the server shows" in " ".join(said.out.split())
    assert f"{PARENTS}: records that are gone from the legacy table: 1" in said.out


def test_an_entity_that_parks_nothing_is_done(cli: Cli, erp: psycopg.Connection) -> None:
    assert cli("run", PARENTS, "--partition", "2025-03-01").code == 0
    runs = erp.execute("select partitions from legacy_sync.run").fetchall()
    assert runs == [(["2025-03-01"],)]


def test_since_takes_the_partitions_from_that_day(cli: Cli) -> None:
    said = cli("run", PARENTS, "--since", "2025-01-15", "--json")
    partitions = said.json["entities"][0]["partitions"]
    assert partitions[:3] == ["2025-01-01", "2025-02-01", "2025-03-01"]


def test_an_unknown_partition_stops_before_anything_ran(cli: Cli, erp: psycopg.Connection) -> None:
    said = cli("run", "--partition", "2025-03-02")
    assert said.code == 2
    assert '"2025-03-02" is no partition' in said.err
    assert count(erp, PARENTS) == 0


def test_a_failed_parent_stops_its_children_and_says_so(cli: Cli, four_d: FourDServer) -> None:
    four_d.store.alter_table("Artikel_Familie", drop=["Gewicht"])
    said = cli("run", "--json")
    assert said.code == 1
    parent, child = said.json["entities"]
    assert parent["error"]["kind"] == "SchemaDrift"
    assert (child["outcome"], child["waits_for"]) == ("skipped", PARENTS)
    assert "was skipped" in cli("run").out


def test_a_failed_child_does_not_stop_its_parent(cli: Cli, four_d: FourDServer) -> None:
    four_d.store.alter_table("Artikel_Variante", drop=["Farbe"])
    said = cli("run", "--json")
    assert said.code == 1
    parent, child = said.json["entities"]
    assert parent["counts"]["inserted"] > 30
    assert child["outcome"] == "failed"


def test_status_works_before_the_first_run_and_after_it(cli: Cli) -> None:
    first = cli("status", "--json").json["entities"]
    assert [(e["entity"], e["outcome"]) for e in first] == [(PARENTS, "never run"), (VARIANTS, "never run")]
    assert cli("status").code == 0
    cli("run", PARENTS)
    state = cli("status", "--json").json["entities"][0]
    assert state["outcome"] == "succeeded_with_parked"
    assert state["bound"] == state["counts"]["inserted"]
    assert 0 <= state["last_success_age_seconds"] < 60
    assert "quarantine list" in cli("status").out


def test_log_lines_do_not_disturb_the_json(cli: Cli) -> None:
    said = cli.run("run", PARENTS, "--json")
    assert said.json["entities"][0]["entity"] == PARENTS
    assert "rows fetched" in said.err


def test_run_waits_neither_for_dagster_nor_for_pandas_to_load(cli: Cli) -> None:
    program = (
        "import sys; from typer.testing import CliRunner; from legacy_sync.cli import app;"
        "print(CliRunner().invoke(app, ['run']).exit_code, {'dagster', 'pandas'} & set(sys.modules))"
    )
    environment = {**os.environ, **cli.environment}
    result = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert result.stdout.strip() == "3 set()"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing_half_written(
    cli: Cli, four_d: FourDServer, erp: psycopg.Connection, number: signal.Signals
) -> None:
    four_d.faults.add("slow", seconds=30, table="Artikel_Familie")
    process = cli.start("run")
    assert process.stderr is not None
    assert "opened a session" in process.stderr.readline()
    began = time.monotonic()
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert time.monotonic() - began < 15
    assert process.returncode == 130
    assert "interrupted: nothing half-written stays" in err
    assert "Traceback" not in err
    assert count(erp, PARENTS) == 0


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_an_interrupted_run_ends_its_statement(cli: Cli, erp: psycopg.Connection, jobs: str) -> None:
    erp.execute(
        "create function wait() returns trigger language plpgsql as $$ begin perform pg_sleep(90); return new; end $$"
    )
    erp.execute("create trigger wait before insert on products_parentproduct for each row execute function wait()")
    erp.commit()
    process = cli.start("run", "--jobs", jobs)
    busy = "select count(*) from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'"
    wait_for(erp, busy, 1)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    wait_for(erp, busy, 0)
    assert time.monotonic() - began < 15
    assert (process.returncode, "Traceback" in err) == (130, False)
    assert count(erp, PARENTS) == 0


def wait_for(erp: psycopg.Connection, query: LiteralString, number: int) -> None:
    end = time.monotonic() + 60
    while erp.execute(query).fetchone() != (number,):
        assert time.monotonic() < end
        erp.rollback()
        threading.Event().wait(0.05)
    erp.rollback()
