"""Does every recorded product come out of the whole way as recorded, or as docs/deviations.md says?"""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from journey_setup import PARENTS, VARIANTS, Journey, empty_store, insert_erp_row, key_of
from ruamel.yaml import YAML

from legacy_sync.demo.four_d_server import AttributeDef, FourDServer, TableDef
from legacy_sync.demo.sample_data import FAMILY_TABLE, VARIANT_TABLE
from legacy_sync.settings import PROJECT_ROOT

FACTS: dict[str, Any] = YAML(typ="safe").load(Path(__file__).with_name("examples_products.yaml"))
TABLES = {"Artikel_Familie": (FAMILY_TABLE, PARENTS), "Artikel_Variante": (VARIANT_TABLE, VARIANTS)}
MANDATORY = ("UID", "modified_date")


@pytest.fixture(scope="module")
def shared_erp_url(postgres: Any, erp_template: str) -> str:
    """One database for all examples; every example leaves it empty."""
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        connection.execute(f'create database examples template "{erp_template}"')
    return str(postgres.url("examples"))


@pytest.fixture
def desk(shared_erp_url: str, tmp_path: Path) -> Iterator["Desk"]:
    """A journey whose legacy tables have just the attributes of the records put in."""
    desk = Desk(shared_erp_url, tmp_path)
    yield desk
    desk.clear()


class Desk:
    """Puts records into a 4D of their own, runs, and empties the ERP again."""

    def __init__(self, erp_url: str, folder: Path) -> None:
        self.erp_url = erp_url
        self.folder = folder
        self.journey: Journey | None = None

    def run(self, table: str, records: list[dict[str, Any]]) -> Any:
        definition, entity = TABLES[table]
        names = dict.fromkeys([*MANDATORY, *(n for r in records for n in r if n != "__KEY")])
        attributes = tuple(definition.attribute(name) or AttributeDef(name) for name in names)
        store = empty_store(TableDef(table, attributes))
        for number, record in enumerate(records, start=1):
            store.insert(table, {"UID": record.get("__KEY", key_of(number)), **record})
        with FourDServer(store) as server:
            self.journey = Journey(server, self.erp_url, self.folder)
            report = self.journey.run(entity)
            self.journey.close()
        return report

    def rows(self, entity: str) -> dict[str, dict[str, Any]]:
        assert self.journey is not None
        return {row["sku"]: row for row in self.journey.query(f"select * from {entity}")}

    def clear(self) -> None:
        if self.journey:
            self.journey.execute("delete from products_variantproduct")
            self.journey.execute("delete from products_parentproduct")
            self.journey.execute("drop schema legacy_sync cascade")


def plain(value: Any) -> Any:
    """Values of the ERP and of the facts in one form; a day is its midnight UTC."""
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC).isoformat()
    return value


@pytest.mark.parametrize("example", FACTS["examples"], ids=lambda e: e["id"])
def test_record_comes_out_as_recorded(desk: Desk, example: dict[str, Any]):
    for given in example.get("given", ()):
        insert_erp_row(desk.erp_url, given["table"], {k: v for k, v in given.items() if k != "table"})
    report = desk.run(example["table"], [example["record"]])
    entity = TABLES[example["table"]][1]
    rows = desk.rows(entity)
    if "expect" in example:
        expected = example["expect"] | {c: ours for c, (ours, _) in example.get("instead", {}).items()}
        sku = str(expected.get("sku", example["record"]["Nummer"])).strip()
        row = rows[sku] | parent_of(desk, rows[sku])
        assert {c: plain(row[c]) for c in expected} == {c: plain(v) for c, v in expected.items()}
    assert report.parked_by_reason == ({example["parked"]: 1} if "parked" in example else {})
    counts = example.get("counts", {}) | {n: ours for n, (ours, _) in example.get("instead_counts", {}).items()}
    assert {n: getattr(report.counts, n) for n in counts} == counts
    for sku, columns in example.get("after", {}).items():
        row = (rows if sku in rows else desk.rows(PARENTS))[sku]
        assert {c: row[c] for c in columns} == columns


def parent_of(desk: Desk, row: dict[str, Any]) -> dict[str, Any]:
    """The parent by its number instead of its id."""
    if "parent_id" not in row:
        return {}
    return {"parent_id": next((p["sku"] for p in desk.rows(PARENTS).values() if p["id"] == row["parent_id"]), None)}


def test_old_numbers_are_split_at_the_last_hyphen(desk: Desk):
    insert_erp_row(desk.erp_url, PARENTS, {"sku": "P", "legacy_id": key_of(0)})
    records = [
        {"Nummer": n, "Bezeichnung": "A", "Familie_": key_of(0), "fk_ArtNr": "", "ArtikelArt": "", "alteNummer": old}
        for n, (old, _, _) in enumerate(FACTS["old_numbers"].values())
    ]
    desk.run("Artikel_Variante", records)
    rows = desk.rows(VARIANTS)
    found = {name: rows[str(n)] for n, name in enumerate(FACTS["old_numbers"])}
    assert {name: [row["legacy_base_sku"], row["variant_code"]] for name, row in found.items()} == {
        name: fact[1:] for name, fact in FACTS["old_numbers"].items()
    }


def test_days_keep_their_calendar_day_in_every_spelling(desk: Desk):
    records = [{"Nummer": n, "Bezeichnung": "A", "Release_date": f[0]} for n, f in enumerate(FACTS["days"].values())]
    desk.run("Artikel_Familie", records)
    rows = desk.rows(PARENTS)
    found = {name: plain(rows[str(n)]["release_date"]) for n, name in enumerate(FACTS["days"])}
    assert found == {name: plain(fact[2] if len(fact) > 2 else fact[1]) for name, fact in FACTS["days"].items()}


def test_flags_are_read_in_every_spelling(desk: Desk):
    records = [
        {"Nummer": n, "Bezeichnung": "A", "Einseitig": value} for n, (value, _) in enumerate(FACTS["flags"].values())
    ]
    desk.run("Artikel_Familie", records)
    rows = desk.rows(PARENTS)
    found = {name: rows[str(n)]["is_one_sided"] for n, name in enumerate(FACTS["flags"])}
    assert found == {name: flag for name, (_, flag) in FACTS["flags"].items()}


def test_deviations_are_the_ones_in_the_documentation():
    text = (PROJECT_ROOT / "docs" / "deviations.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^## (D-\d+)", text, re.MULTILINE))
    used = {
        number
        for e in FACTS["examples"]
        for part in ("instead", "instead_counts")
        for _, number in e.get(part, {}).values()
    }
    used |= {fact[3] for fact in FACTS["days"].values() if len(fact) > 3}
    assert documented == used
    for name in [e["id"] for e in FACTS["examples"] if "instead" in e]:
        assert name in text


def test_deviating_values_do_deviate():
    for example in FACTS["examples"]:
        for column, (ours, _) in example.get("instead", {}).items():
            assert plain(ours) != plain(example["expect"][column]), example["id"]


def test_ignored_recorded_keys_are_no_columns(desk: Desk):
    desk.run("Artikel_Familie", [])
    assert desk.journey is not None
    columns = desk.journey.query(
        "select column_name from information_schema.columns where table_name in (%s, %s)", PARENTS, VARIANTS
    )
    assert {c["column_name"] for c in columns}.isdisjoint(FACTS["without_column"])
    assert all(FACTS["without_column"].values())
