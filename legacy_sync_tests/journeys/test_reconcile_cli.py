"""What does `legacy-sync reconcile` say, write and leave as exit code?"""

import json

import psycopg
import pytest
from cli_setup import PARENTS, VARIANTS, Cli

from legacy_sync.demo.four_d_server import FourDServer


@pytest.fixture
def loaded(cli: Cli) -> Cli:
    cli("run")
    return cli


def test_parked_rows_only_wait(loaded: Cli) -> None:
    said = loaded("reconcile", PARENTS)
    assert said.code == 3
    assert "rows wait in the quarantine" in said.out
    assert "legacy-sync quarantine list" in said.out


def test_lost_rows_are_a_fault_and_a_repair_brings_them_back(loaded: Cli, erp: psycopg.Connection) -> None:
    erp.execute(f"delete from {VARIANTS}")
    erp.execute(f"delete from {PARENTS} where id in (select id from {PARENTS} order by id limit 7)")
    erp.commit()
    said = loaded("reconcile", PARENTS, "--limit", "2")
    assert said.code == 1
    assert "7 rows loaded, and the row was deleted in the ERP" in said.out
    assert "  and 5 more" in said.out
    assert f"`legacy-sync reconcile {PARENTS} --repair`" in said.out
    repaired = loaded("reconcile", PARENTS, "--values", "--repair")
    assert repaired.code == 3
    assert "repaired by run" in repaired.out
    assert "7 inserted" in repaired.out
    assert repaired.out.index("before the repair") < repaired.out.index("after the repair")
    assert "deleted in the ERP" not in repaired.out.split("after the repair")[1]


def test_json_is_complete_with_a_difference_on_each_line(loaded: Cli, erp: psycopg.Connection) -> None:
    erp.execute(f"update {PARENTS} set name = name || '!', is_active = not is_active")
    erp.commit()
    said = loaded("reconcile", PARENTS, "--values", "--json", "--limit", "1")
    (entity,) = said.json["entities"]
    edited = [d for d in entity["differences"] if d["kind"] == "edited"]
    assert len(edited) == entity["cells"]["edited"] == 2 * entity["rows"]["edited"]
    assert {d["column"] for d in edited} == {"name", "is_active"}
    lines = [line.rstrip(",]}") for line in said.out.splitlines() if line.startswith('{"kind": "edited"')]
    assert [json.loads(line + "}")["legacy_key"] for line in lines] == [d["legacy_key"] for d in edited]


def test_json_of_a_repair_has_both_looks_and_the_runs(loaded: Cli, erp: psycopg.Connection) -> None:
    erp.execute(f"delete from {VARIANTS}")
    erp.commit()
    said = loaded("reconcile", VARIANTS, "--repair", "--json")
    before, after = said.json["entities"][0], said.json["after"][0]
    (run,) = said.json["repaired"]
    assert before["rows"]["erp_row_deleted"] == run["counts"]["inserted"] > 0
    assert (before["state"], after["state"]) == ("differs", "waits")


def test_an_entity_that_fails_is_told_and_the_others_are_compared(loaded: Cli, erp: psycopg.Connection) -> None:
    erp.execute(f"alter table {VARIANTS} rename to elsewhere")
    erp.commit()
    for how in ((), ("--values",), ("--repair",)):
        said = loaded("reconcile", *how, "--json")
        assert said.code == 1
        assert {e["entity"]: e["state"] for e in said.json["entities"]} == {PARENTS: "waits", VARIANTS: "failed"}
        assert f'the ERP table "{VARIANTS}" does not exist' in said.err


def test_a_source_that_is_down_fails_the_entity_and_writes_nothing(loaded: Cli, four_d: FourDServer) -> None:
    four_d.faults.add("http_500", table="Artikel_Familie")
    said = loaded("reconcile", "--values", "--repair", "--json")
    assert said.code == 1
    states = {e["entity"]: e["state"] for e in said.json["entities"]}
    assert states == {PARENTS: "failed", VARIANTS: "waits"}


def test_accepting_a_shrink_needs_a_repair(loaded: Cli) -> None:
    said = loaded("reconcile", PARENTS, "--accept-shrink")
    assert said.code == 2
    assert "--repair" in said.err
