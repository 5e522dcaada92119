"""Can a person find out why a row was set aside, and bring it back or send it away?"""

from typing import Any

import psycopg
import pytest
from cli_setup import PARENTS, VARIANTS, Cli

from legacy_sync.demo.four_d_server import FourDServer


@pytest.fixture
def loaded(cli: Cli) -> Cli:
    """The command after a first run."""
    assert cli("run").code == 3
    return cli


def entries(cli: Cli, *arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = cli("quarantine", "list", *arguments, "--json").json["entries"]
    return found


def test_the_list_can_be_narrowed(loaded: Cli) -> None:
    assert {e["entity"] for e in entries(loaded)} == {PARENTS, VARIANTS}
    assert {e["entity"] for e in entries(loaded, "--entity", PARENTS)} == {PARENTS}
    assert {e["reason"] for e in entries(loaded, "--reason", "required")} == {"required"}
    assert entries(loaded, "--status", "discarded") == []
    assert "open rows" in loaded("quarantine", "list").out


def test_show_has_the_record_and_the_next_step(loaded: Cli) -> None:
    entry = entries(loaded, "--reason", "required")[0]
    said = loaded("quarantine", "show", str(entry["id"]))
    assert entry["legacy_key"] in said.out
    assert '"Bezeichnung"' in said.out
    assert "next: fill the value in 4D" in said.out
    assert loaded("quarantine", "show", str(entry["id"]), "--json").json["row"]["__KEY"] == entry["legacy_key"]


def test_an_unknown_number_is_bad_usage(loaded: Cli) -> None:
    said = loaded("quarantine", "show", "987654")
    assert said.code == 2
    assert "there is no parked row 987654" in said.err


def test_replay_tries_again_and_tells_what_is_left(loaded: Cli) -> None:
    said = loaded("quarantine", "replay", "--all", "--json")
    assert said.code == 3
    assert said.json["tried"] == said.json["still_parked"] == len(entries(loaded))


def test_replay_loads_what_has_become_loadable(loaded: Cli, erp: psycopg.Connection) -> None:
    entry = next(e for e in entries(loaded, "--entity", PARENTS) if e["reason"] == "duplicate")
    erp.execute("update products_parentproduct set sku = sku || '-alt' where sku = %s", [entry["value"]])
    erp.commit()
    said = loaded("quarantine", "replay", str(entry["id"]))
    assert said.code == 0
    assert "1 rows tried: 1 loaded, 0 still parked" in said.out
    closed = loaded("quarantine", "replay", str(entry["id"]))
    assert closed.code == 2
    assert "is loaded already" in closed.err


def test_a_discarded_row_is_kept_with_the_reason(loaded: Cli) -> None:
    entry = entries(loaded)[0]
    assert loaded("quarantine", "discard", str(entry["id"]), "--comment", "test row of 1998").code == 0
    gone = entries(loaded, "--status", "discarded")
    assert [(e["id"], e["comment"]) for e in gone] == [(entry["id"], "test row of 1998")]
    assert gone[0]["closed_by"]


def test_conflicts_show_all_three_values(loaded: Cli, four_d: FourDServer, erp: psycopg.Connection) -> None:
    row = erp.execute("select legacy_id, name_en from products_parentproduct order by id limit 1").fetchone()
    assert row is not None
    erp.execute("update products_parentproduct set name_en = 'by the ERP' where legacy_id = %s", [row[0]])
    erp.commit()
    four_d.store.update("Artikel_Familie", row[0], {"Bezeichnung_ENG": "by 4D"})
    assert "conflicts list" in loaded("run", PARENTS).out
    conflict = loaded("conflicts", "list", "--json").json["conflicts"][0]
    assert [conflict[f"{side}_value"] for side in ("base", "legacy", "erp")] == [row[1], "by 4D", "by the ERP"]
    assert "by the ERP" in loaded("conflicts", "list", "--entity", PARENTS).out
