"""Can a person look at conflicts and decide them on the command line?"""

from typing import Any

import psycopg
import pytest
from cli_setup import PARENTS, Cli

from legacy_sync.demo.four_d_server import FourDServer


@pytest.fixture
def waiting(cli: Cli, four_d: FourDServer, erp: psycopg.Connection) -> Cli:
    """The command when the English names of two families were changed on both sides."""
    cli("run", PARENTS)
    rows = erp.execute("select legacy_id from products_parentproduct order by id limit 2").fetchall()
    for number, (key,) in enumerate(rows):
        erp.execute("update products_parentproduct set name_en = 'by the ERP' where legacy_id = %s", [key])
        four_d.store.update("Artikel_Familie", key, {"Bezeichnung_ENG": f"by 4D {number}"})
    erp.commit()
    cli("run", PARENTS)
    return cli


def conflicts(cli: Cli, *arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = cli("conflicts", "list", *arguments, "--json").json["conflicts"]
    return found


def names(erp: psycopg.Connection) -> list[str]:
    erp.rollback()
    rows = erp.execute("select name_en from products_parentproduct order by id limit 2").fetchall()
    return [str(name) for (name,) in rows]


def test_one_is_shown_with_its_record_and_what_to_do(waiting: Cli) -> None:
    conflict = conflicts(waiting)[0]
    said = waiting("conflicts", "show", str(conflict["id"]))
    for text in (conflict["legacy_key"], "by the ERP", "by 4D", '"Bezeichnung_ENG"', "--keep legacy"):
        assert text in said.out
    shown = waiting("conflicts", "show", str(conflict["id"]), "--json").json
    assert shown["record"]["Bezeichnung_ENG"] == conflict["legacy_value"]
    assert waiting("conflicts", "show", "987654").code == 2


def test_one_is_decided_by_number_and_the_others_by_a_filter(waiting: Cli, erp: psycopg.Connection) -> None:
    second, first = (str(c["id"]) for c in conflicts(waiting))
    dry = waiting("conflicts", "resolve", first, "--keep", "legacy", "--dry-run")
    assert (dry.code, names(erp)) == (0, ["by the ERP"] * 2)
    assert "1 would be decided: what the legacy system has counts" in dry.out
    said = waiting("conflicts", "resolve", first, "--keep", "legacy", "--comment", "4D is right")
    assert (said.code, names(erp)) == (0, ["by 4D 0", "by the ERP"])
    done = waiting("conflicts", "resolve", "--entity", PARENTS, "--column", "name_en", "--value", "by hand", "--json")
    assert [c["id"] for c in done.json["decided"]] == [int(second)]
    assert names(erp) == ["by 4D 0", "by hand"]
    assert conflicts(waiting) == []
    decided = conflicts(waiting, "--status", "decided")
    assert [(c["winner"], c["comment"]) for c in decided] == [("value", None), ("legacy", "4D is right")]
    assert all(c["decided_by"] for c in decided)
    again = waiting("conflicts", "resolve", first, "--keep", "erp")
    assert again.code == 2
    assert f"conflict {first} is decided already by" in again.err


def test_values_that_changed_since_are_not_decided(waiting: Cli, erp: psycopg.Connection) -> None:
    erp.execute("update products_parentproduct set name_en = 'once more' where name_en = 'by the ERP'")
    erp.commit()
    said = waiting("conflicts", "resolve", "--all", "--keep", "legacy")
    assert (said.code, names(erp)) == (3, ["once more"] * 2)
    assert "not carried out, since there was a later change in the ERP: conflict" in said.out


@pytest.mark.parametrize(
    "arguments", [["--all"], ["--all", "--keep", "both"], ["--all", "--keep", "erp", "--value", "x"], ["--keep", "erp"]]
)
def test_what_is_not_clear_is_bad_usage(waiting: Cli, arguments: list[str]) -> None:
    assert waiting("conflicts", "resolve", *arguments).code == 2
    assert len(conflicts(waiting)) == 2
