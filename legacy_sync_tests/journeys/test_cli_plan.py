"""Does `plan` say of each row what a run would do with it and why, and is that what the run then does?"""

from typing import Any

import pytest
from cli_setup import Cli
from journey_setup import PARENTS, VARIANTS, Journey


@pytest.fixture
def typed(bare_cli: Cli, journey: Journey) -> Cli:
    """The command, over both ends of the journey."""
    journey.remap(PARENTS, deletes={"policy": "delete", "max_share": 1}, adoption={"policy": "legacy_wins"})
    journey.workspace  # noqa: B018 writes the mappings
    bare_cli.environment = journey.environ
    return bare_cli


def something_of_everything(journey: Journey) -> dict[str, str]:
    """One family for each thing that may happen."""
    keys = {name: journey.family(n) for n, name in enumerate(("update", "delete", "conflict"), 1)}
    journey.run()
    keys["insert"] = journey.family(5)
    journey.erp_insert(PARENTS, sku="6", name="alt")
    keys["adopt"] = journey.family(6)
    keys["park"] = journey.family(7, Nummer=None)
    journey.edit(keys["update"], Bezeichnung="neu")
    journey.erp_edit("3", name="aus dem ERP")
    journey.edit(keys["conflict"], Bezeichnung="aus 4D")
    journey.store.delete("Artikel_Familie", keys["delete"])
    return keys


def by_action(document: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in document["entities"][0]["rows"]:
        found.setdefault(row["action"], []).append(row)
    return found


def test_every_row_is_there_with_its_values_and_the_reason(typed: Cli, journey: Journey):
    keys = something_of_everything(journey)
    before = journey.places()
    rows = by_action(typed("plan", PARENTS, "--full", "--json").json)
    assert journey.places() == before
    assert {action: [row["legacy_key"] for row in found] for action, found in rows.items()} == {
        action: [key] for action, key in keys.items()
    }
    (change,) = rows["update"][0]["values"]
    assert change == {"column": "name", "old": "Familie 1", "new": "neu", "why": "only 4D changed it"}
    assert rows["adopt"][0]["why"] == "the row is there already; adoption: legacy_wins"
    assert rows["delete"][0]["why"] == "the record is gone from 4D; deletes: delete"
    assert rows["conflict"][0]["why"] == 'both sides last agreed on "Familie 3"'
    assert rows["park"][0]["why"].startswith("required: ")
    assert {"column": "sku", "old": None, "new": "5", "why": "not known yet"} in rows["insert"][0]["values"]


def test_a_run_writes_what_the_plan_said(typed: Cli, journey: Journey):
    something_of_everything(journey)
    rows = by_action(typed("plan", PARENTS, "--full", "--json").json)
    counts = journey.run(full=True).counts
    planned = {action: len(found) for action, found in rows.items()}
    assert planned == {
        "insert": counts.inserted, "update": counts.updated, "adopt": counts.adopted, "delete": counts.deleted,
        "park": counts.parked, "conflict": counts.conflicts,
    }  # fmt: skip


def test_a_sample_of_every_action_can_be_read(typed: Cli, journey: Journey):
    keys = something_of_everything(journey)
    for number in range(20, 60):
        journey.family(number)
    said = typed("plan", PARENTS, "--full", "--rows", "8")
    update = f"  update   {keys['update']} (row {journey.row('1')['id']}): only 4D changed it"
    assert f'{update}\n           name: "Familie 1" → "neu"\n' in said.out
    assert "the record is gone from 4D; deletes: delete: it has id " in said.out
    assert "and more: `--rows all` shows every row" in said.out
    assert typed("plan", PARENTS, "--full", "--rows", "all").out.count("  insert ") == 41
    assert typed("plan", PARENTS, "--rows", "many").code == 2


def test_rows_of_other_tables_are_named_with_their_table(typed: Cli, journey: Journey):
    journey.variant(11, journey.family(1), fk_ArtNr="B1")
    rows = typed("plan", "--json").json["entities"]
    assert [entity["entity"] for entity in rows] == [PARENTS, VARIANTS]
    (filled,) = [row for row in rows[1]["rows"] if row["action"] == "backfill"]
    assert (filled["table"], filled["values"][0]["new"]) == (PARENTS, "B1")
