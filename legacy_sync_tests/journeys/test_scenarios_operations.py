"""Does a run hold where several run, the ledger is broken, or what comes after the load fails?"""

import json
import secrets
import threading
from collections.abc import Iterator

import psycopg
import pytest
from journey_setup import PARENTS, VARIANTS, Journey
from scenarios_setup import Imported, WholeShop
from shop_setup import Shop

from legacy_sync.demo.postgres import EmbeddedPostgres
from legacy_sync.errors import LegacySyncError, SchemaDrift
from legacy_sync.mapping.loader import load_project
from legacy_sync.settings import read_settings
from legacy_sync.sync.pipeline import open_workspace, preflight, run_entity

# --- the ledger ----------------------------------------------------------------------------------


def test_two_concurrent_runs_have_numbers_and_logs_of_their_own(shop: Shop):
    for number in range(1, 61):
        shop.save("Personal", number, Pers_Nr=number, Vorname="Eva", Name="Muster")
        shop.save("Formen", number, FormNr=f"F{number}", Bezeichnung="Hase")
    workspace, together, reports = shop.workspace, threading.Barrier(2), {}

    def run(entity: str) -> None:
        together.wait()
        reports[entity] = run_entity(workspace, workspace.project.get(entity))

    threads = [threading.Thread(target=run, args=[e]) for e in ("business_employee", "production_mold")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    runs = shop.query(
        "select r.id, e.name, r.counts from legacy_sync.run r join legacy_sync.entity e on e.id = entity_id"
    )
    assert {r["name"]: (r["id"], r["counts"]["inserted"]) for r in runs} == {
        entity: (report.run_id, 60) for entity, report in reports.items()
    }
    assert len({r["id"] for r in runs}) == 2


@pytest.mark.parametrize("table", ["change", "binding", "quarantine", "run"])
def test_log_that_cannot_be_written_loses_no_row_and_fakes_no_load(journey: Journey, table: str):
    journey.family(1)
    journey.family(2, Bezeichnung="")
    journey.run()
    journey.edit(f"{1:032X}", Bezeichnung="Hase")
    journey.family(3)
    journey.family(4, Bezeichnung="")
    journey.execute(f"alter table legacy_sync.{table} rename to lost")
    with pytest.raises(LegacySyncError, match=table):
        journey.run()
    assert (journey.skus(), journey.row("1")["name"]) == (["1"], "Familie 1")
    journey.execute(f"alter table legacy_sync.lost rename to {table}")
    journey.run()
    assert (journey.skus(), journey.row("1")["name"]) == (["1", "3"], "Hase")


def test_failure_after_the_commit_does_not_repeat_the_load(journey: Journey):
    journey.family(1)
    journey.run()
    journey.edit(f"{1:032X}", Bezeichnung="Hase")
    journey.execute(
        "alter table legacy_sync.run rename column all_rows_because to lost"
    )  # written when all is committed
    with pytest.raises(LegacySyncError, match="all_rows_because"):
        journey.run()
    places = journey.places(PARENTS)
    assert journey.row("1")["name"] == "Hase"
    journey.execute("alter table legacy_sync.run rename column lost to all_rows_because")
    assert journey.run().counts.updated == 0
    assert journey.places(PARENTS) == places


# --- strange numbers -----------------------------------------------------------------------------


@pytest.fixture
def old_database(postgres: EmbeddedPostgres) -> Iterator[str]:
    """A database with molds whose numbers are none."""
    name = f"old_{secrets.token_hex(4)}"
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        connection.execute(f'create database "{name}"')
        with psycopg.connect(postgres.url(name), autocommit=True) as old:
            old.execute("create table molds (id text primary key, number text, weight float8, cost numeric)")
            old.execute("insert into molds values ('a', null, 'NaN', 'NaN'), ('b', null, '-Infinity', 'Infinity')")
            old.execute("insert into molds values ('c', 'F3', 1.5, 2)")
        yield postgres.url(name)
        connection.execute(f'drop database "{name}" with (force)')


def test_evidence_with_nan_and_infinity_is_stored(shop: Shop, old_database: str):
    shop.said = {"production_mold": {**shop.said["production_mold"], "partitions": {"type": "none"}}}
    fields = {name: {"from": "id"} for name in ("description", "storage_location", "notes", "legacy_uuid")}
    fields |= {"legacy_form_nr": {"from": "number", "required": True}, "is_active": {"value": True}}
    shop.said["production_mold"] |= {"source": {"server": "old", "table": "molds"}, "fields": fields}
    del shop.said["production_mold"]["change_detection"]
    sources = shop.folder / "mappings" / "sources"
    sources.mkdir(parents=True)
    (sources / "old.json").write_text(json.dumps({"type": "database", "url": "${OLD_DATABASE_URL:-}"}))
    _ = shop.workspace  # writes the mappings
    settings = read_settings({**shop.environ, "OLD_DATABASE_URL": old_database})
    workspace = open_workspace(settings, load_project(settings))
    run_entity(workspace, workspace.project.get("production_mold"))
    workspace.close()
    kept = {r["legacy_key"]: r["row"] for r in shop.query("select legacy_key, row from legacy_sync.quarantine")}
    assert {key: (str(row["weight"]), str(row["cost"])) for key, row in kept.items()} == {
        "a": ("nan", "NaN"),
        "b": ("-inf", "Infinity"),
    }
    assert [r["legacy_form_nr"] for r in shop.query("select legacy_form_nr from production_mold")] == ["F3"]


# --- sets, not rows ------------------------------------------------------------------------------


def test_rows_are_written_in_sets_and_not_one_by_one(journey: Journey):
    journey.execute("create table statements (kind text)")
    journey.execute(
        "create function note() returns trigger language plpgsql as"
        " $$ begin insert into statements values (tg_op); return null; end $$"
    )
    journey.execute(
        "create trigger t after insert or update on products_parentproduct for each statement execute function note()"
    )
    for number in range(1, 301):
        journey.family(number)
    journey.run()
    for number in range(1, 301):
        journey.edit(f"{number:032X}", Bezeichnung="neu")
    assert journey.run().counts.updated == 300
    assert len(journey.query("select from statements")) < 10


def test_lookups_ask_4d_for_nothing_more_than_the_tables_themselves(imported: Imported):
    pages = {name: -(-len(rows) // 1000) for name, rows in imported.records.items()}
    asked = {name: imported.requests[name] for name in pages}
    assert {name: (asked[name], pages[name]) for name in pages if asked[name] > pages[name] + 4} == {}


# --- long-lived processes ------------------------------------------------------------------------


def test_process_that_lives_long_sees_every_change(journey: Journey):
    key = journey.family(1, Bezeichnung="A")
    workspace = journey.workspace
    for name in "BCD":
        journey.run()
        journey.edit(key, Bezeichnung=name)
    journey.run()
    assert workspace is journey.workspace
    assert journey.row("1")["name"] == "D"


def test_process_that_lives_long_sees_a_changed_structure(journey: Journey):
    journey.family(1, Bezeichnung_ENG="Hare")
    preflight(journey.workspace, journey.workspace.project.ordered())
    journey.store.alter_table("Artikel_Familie", rename={"Bezeichnung_ENG": "Name_ENG"})
    journey.close()  # every run opens a workspace of its own
    with pytest.raises(SchemaDrift, match='no column "Bezeichnung_ENG"'):
        preflight(journey.workspace, journey.workspace.project.ordered())
    journey.store.alter_table("Artikel_Familie", rename={"Name_ENG": "Bezeichnung_ENG"})
    journey.close()
    preflight(journey.workspace, journey.workspace.project.ordered())


# --- bad rows ------------------------------------------------------------------------------------


def test_record_of_nothing_but_nulls_breaks_no_table(whole_shop: WholeShop):
    nulls = {}
    for name, table in whole_shop.store.tables.items():
        first = whole_shop.store.rows(name)[0]
        kept = {table.definition.key, "__KEY", "__TIMESTAMP", "__STAMP", "modified_date"}
        nulls[name] = {column: first[column] if column in kept else None for column in first}
        whole_shop.store.tables[name].put(str(first["__KEY"]), nulls[name])
    for entity, report in whole_shop.import_all(full=True, accept=True).items():
        assert report.outcome in ("succeeded", "succeeded_with_parked"), entity
        assert "refused_by_database" not in report.parked_by_reason, entity


def test_bad_employee_is_set_aside_and_the_others_are_loaded(shop: Shop):
    shop.save("Personal", 1, Pers_Nr=None, Vorname="Ida", Name="Ohne Nummer")
    shop.save("Personal", 2, Pers_Nr="2", Vorname=" ", Name=None, Jahres_Gehalt="viel", eMail="keine")
    shop.save("Personal", 3, Pers_Nr=" 3 ", Vorname="Eva", Name="Muster", Jahrs_Urlaub=-4)
    shop.save("Personal", 4, Pers_Nr=4, Vorname="Max", Name="Muster")
    shop.run("business_employee")
    rows = shop.query("select employee_number, first_name, last_name from business_employee order by 1")
    assert [tuple(r.values()) for r in rows] == [("2", "Unknown", "Unknown"), ("4", "Max", "Muster")]
    assert sorted(shop.parked().values()) == ["required", "rule"]


LONG = "Zinnfigur " * 60


def test_text_longer_than_its_column_is_cut_or_set_aside_and_never_met_by_the_database(whole_shop: WholeShop):
    keys = {}
    for name in whole_shop.store.tables:
        definition = whole_shop.store.tables[name].definition
        texts = {a.name: LONG for a in definition.attributes if a.type == "string" and a.name != "modified_name"}
        row = next(r for r in whole_shop.store.rows(name) if r.get("scope", "Schüttentypen") == "Schüttentypen")
        keys[name] = str(row["__KEY"])
        whole_shop.respell(name, keys[name], {k: v for k, v in texts.items() if isinstance(row[k], str)})
    for entity, report in whole_shop.import_all(full=True, accept=True).items():
        assert "refused_by_database" not in report.parked_by_reason, entity
    reasons = whole_shop.query("select distinct reason from legacy_sync.quarantine where status = 'open'")
    assert "too_long" in {r["reason"] for r in reasons}


def test_variant_without_numbers_of_its_parent_is_loaded_and_nothing_is_derived(journey: Journey):
    parent = journey.family(7, Nummer="X7")
    journey.variant(8, parent, fk_ArtNr=None, alteNummer=None, ArtikelArt=None)
    journey.run_all()
    row = journey.row("8", VARIANTS)
    assert (row["sku"], row["legacy_base_sku"], row["variant_code"]) == ("8", "", "")
