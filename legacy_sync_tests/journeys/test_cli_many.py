"""How does the command line deal with many entities: units, several at a time, links, parents that nobody maps?"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import orjson
import psycopg
import pytest
from cli_setup import PARENTS, VARIANTS, Cli
from numbers_setup import HEADS, LINES, SLICES, Documents, documents_store
from ruamel.yaml import YAML

from legacy_sync.demo.four_d_server import FourDServer
from legacy_sync.orchestration.build import build_definitions
from legacy_sync.settings import read_settings

Remap = Callable[..., None]


@pytest.fixture
def remap(cli: Cli) -> Remap:
    """`remap(entity, words)` lets a mapping of the command say something else from now on."""
    folder = Path(cli.environment["LEGACY_SYNC_MAPPINGS"])

    def change(entity: str, change: Callable[[dict[str, Any]], None]) -> None:
        file = folder / f"{entity}.yaml"
        said = YAML(typ="safe").load(file)
        change(said)
        file.unlink()
        said["partitions"].update(start=str(said["partitions"]["start"]))
        (folder / f"{entity}.json").write_bytes(orjson.dumps(said))

    return change


@pytest.fixture
def documents(bare_cli: Cli, erp_url: str, tmp_path: Path) -> Iterator[tuple[Cli, Documents]]:
    """The command with documents and their lines as one unit, two to a slice."""
    with FourDServer(documents_store()) as server:
        documents = Documents(server, erp_url, tmp_path)
        for entity in (HEADS, LINES):
            documents.remap(entity, unit={"name": "papers", "key": "AbsNr"})
        for number in (7, 50, 107, 150, 207, 250, 307, 350):
            documents.head(number)
            documents.line(number, 1)
        documents.workspace  # noqa: B018 writes the mappings
        bare_cli.environment = documents.environ
        yield bare_cli, documents
        documents.close()


# --- units


def test_run_of_one_member_runs_the_whole_unit(documents: tuple[Cli, Documents]) -> None:
    cli, journey = documents
    said = cli("run", LINES, "--json")
    assert said.code == 0
    assert [(e["entity"], e["counts"]["inserted"]) for e in said.json["entities"]] == [(HEADS, 8), (LINES, 8)]
    assert [e["partitions"] for e in said.json["entities"]] == [SLICES, SLICES]
    assert len(journey.numbers()) == 8


def test_plan_and_slice_of_a_unit(documents: tuple[Cli, Documents]) -> None:
    cli, journey = documents
    plan = cli("plan", HEADS, "--partition", "n02", "--json").json["entities"]
    assert [(e["entity"], e["outcome"], e["counts"]["inserted"]) for e in plan] == [
        (HEADS, "planned", 2),
        (LINES, "planned", 2),
    ]
    assert cli("run", "--partition", "n02").code == 0
    assert journey.numbers() == ["207", "250"]


def test_failure_of_a_unit_is_said_of_both_members(documents: tuple[Cli, Documents]) -> None:
    cli, journey = documents
    journey.server.faults.add("http_500", table="Belege_Pos")
    said = cli("run", "--json")
    assert said.code == 1
    assert [e["error"]["kind"] for e in said.json["entities"]] == ["SourceUnavailable", "SourceUnavailable"]
    assert journey.numbers() == []


def test_status_names_the_unit(documents: tuple[Cli, Documents]) -> None:
    cli, _ = documents
    states = cli("status", "--json").json["entities"]
    assert [(s["entity"], s["unit"], s["after"]) for s in states] == [(HEADS, "papers", []), (LINES, "papers", [HEADS])]


# --- several at a time


@pytest.mark.parametrize("jobs", ["1", "3"])
def test_any_number_of_jobs_brings_the_same(cli: Cli, erp: psycopg.Connection, jobs: str) -> None:
    assert cli("run", "--jobs", jobs).code == 3
    rows = erp.execute("select (select count(*) from products_parentproduct), count(*) from products_variantproduct")
    assert rows.fetchone() == (35, 90)


def test_number_of_jobs_must_make_sense(cli: Cli) -> None:
    assert cli("run", "--jobs", "0").code == 2


def test_skipped_entity_is_told_with_its_reason(cli: Cli, four_d: FourDServer) -> None:
    four_d.faults.add("http_500", table="Artikel_Familie")
    said = cli("run", "--jobs", "2")
    assert said.code == 1
    assert f"{VARIANTS} was skipped, because it builds on {PARENTS}, which failed" in said.out


# --- links


def test_incomplete_links_are_shown_by_run_and_status(cli: Cli) -> None:
    said = cli("run")
    assert "references that did not find every parent" in said.out
    state = cli("status", VARIANTS, "--json").json["entities"][0]
    assert 0 < state["link_rates"]["parent_id"] < 1
    assert state["links"]["parent_id"]["rows"] > 80
    assert re.search(r"parent_id \d\d\.\d %", cli("status").out)


def test_link_that_finds_nothing_is_told_in_so_many_words(cli: Cli, remap: Remap) -> None:
    remap(VARIANTS, lambda said: said.update(max_parked_share=1))
    said = cli("run", VARIANTS)
    assert f"{VARIANTS}: no row found its parent_id" in said.out
    assert cli("status", VARIANTS, "--json").json["entities"][0]["link_rates"] == {"parent_id": 0.0}


def test_full_links_need_no_word(cli: Cli, remap: Remap) -> None:
    remap(VARIANTS, lambda said: said["fields"].pop("parent_id") and said.pop("backfill"))
    assert "references" not in cli("run").out
    assert "%" not in cli("status").out


# --- a parent that nobody maps


def by_category(said: dict[str, Any]) -> None:
    """Families refer to product categories, which nothing loads."""
    said["target"]["owned_by_erp"].remove("category_id")
    match = [{"column": "code", "from": "Bezeichnung"}]
    said["fields"]["category_id"] = {"reference": {"to": "products_productcategory", "match": match}}
    said["fields"]["category_id"]["reference"]["if_missing"] = "null"


def test_reference_to_a_table_that_only_the_erp_fills_works(
    cli: Cli, remap: Remap, erp: psycopg.Connection, four_d: FourDServer
) -> None:
    remap(PARENTS, by_category)
    name = next(row["Bezeichnung"] for row in four_d.store.rows("Artikel_Familie") if row["Bezeichnung"])
    erp.execute("insert into products_productcategory (code, name, description) values (%s, 'x', '')", [name])
    erp.commit()
    assert cli("check").code == 0
    assert cli("plan").code == 0
    assert cli("run", PARENTS, "--json").json["entities"][0]["links"]["category_id"]["linked"] >= 1
    linked = erp.execute("select count(*) from products_parentproduct where category_id is not null").fetchone()
    assert linked is not None
    assert linked[0] >= 1


def test_reference_to_a_table_that_the_erp_does_not_have_is_found_before_anything_runs(
    cli: Cli, remap: Remap, erp: psycopg.Connection
) -> None:
    remap(PARENTS, by_category)
    erp.execute("drop table products_productcategory cascade")
    erp.commit()
    said = cli("check")
    assert said.code == 1
    assert 'the ERP has no table "products_productcategory"' in said.err
    assert cli("run", PARENTS).code == 1


def test_asset_of_a_mapping_with_such_a_parent_waits_for_nobody(cli: Cli, remap: Remap) -> None:
    remap(PARENTS, by_category)
    definitions = build_definitions(read_settings(cli.environment))
    specs = {s.key: s for s in definitions.resolve_all_asset_specs()}
    families = specs[dg.AssetKey(["erp", PARENTS])]
    assert [d.asset_key.path[-1] for d in families.deps] == ["Artikel_Familie"]
    lineage = families.metadata["dagster/column_lineage"].value.deps_by_column["category_id"]
    assert [(d.asset_key.path[-1], d.column_name) for d in lineage] == [("Artikel_Familie", "Bezeichnung")]


# --- comparing both sides


def test_entities_with_other_keys_are_compared_too(documents: tuple[Cli, Documents]) -> None:
    cli, _ = documents
    cli("run")
    for how in ((), ("--values",)):
        said = cli("reconcile", *how, "--json")
        assert said.code == 0
        assert {e["entity"]: e["state"] for e in said.json["entities"]} == {HEADS: "agrees", LINES: "agrees"}
