"""Do the systems beside 4D come in like 4D does: whole, once, and each without the others?"""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cli_setup import Cli
from psycopg import connect
from psycopg.rows import dict_row

from legacy_sync.demo.four_d_server import FourDServer
from legacy_sync.demo.web_services import Beside, OtherSystems
from legacy_sync.errors import SourceUnavailable
from legacy_sync.mapping.loader import load_project
from legacy_sync.settings import read_settings
from legacy_sync.sync.pipeline import Workspace, open_workspace, run_entity
from legacy_sync.sync.report import RunReport

VARIANTS = ("products_parentproduct", "products_variantproduct")
OTHERS = (
    "currency_currency",
    "currency_exchangerate",
    "currency_historicalexchangerate",
    "business_supplier",
    "products_productimage",
    "core_tag",
    "inventory_inventorymovement",
)
WRITTEN = ("inserted", "updated", "adopted", "deleted", "conflicts", "backfilled")


class House:
    """4D with sample rows, all other systems beside it, and an empty ERP."""

    def __init__(self, systems: OtherSystems, environ: dict[str, str]) -> None:
        self.systems = systems
        self.environ = environ
        self._workspace: Workspace | None = None

    @property
    def workspace(self) -> Workspace:
        if self._workspace is None:
            settings = read_settings(self.environ)
            self._workspace = open_workspace(settings, load_project(settings))
        return self._workspace

    def run(self, *entities: str, **how: Any) -> dict[str, RunReport]:
        project = self.workspace.project
        return {name: run_entity(self.workspace, project.get(name), **how) for name in entities}

    def query(self, text: str, *values: Any) -> list[dict[str, Any]]:
        with connect(self.environ["ERP_DATABASE_URL"], autocommit=True, row_factory=dict_row) as connection:
            cursor = connection.execute(text, values)  # type: ignore[call-overload]
            return cursor.fetchall() if cursor.description else []

    def close(self) -> None:
        if self._workspace:
            self._workspace.close()
        self._workspace = None


@pytest.fixture
def house(four_d: FourDServer, erp_url: str, tmp_path: Path) -> Iterator[House]:
    beside = Beside(four_d.store, tmp_path / "others", 1, datetime.now(UTC).date())
    with beside.started() as systems:
        environ = {
            "LEGACY_API_URL": four_d.url,
            "ERP_DATABASE_URL": erp_url,
            "LEGACY_SYNC_LANDING": str(tmp_path / "landing"),
            **systems.variables,
        }
        house = House(systems, environ)
        yield house
        house.close()


def written(report: RunReport) -> int:
    return sum(getattr(report.counts, name) for name in WRITTEN)


def test_every_system_comes_in_whole_and_a_second_time_writes_nothing(house: House):
    first = house.run(*VARIANTS, *OTHERS)
    counts = {
        name: (report.counts.read, report.counts.inserted, report.counts.parked) for name, report in first.items()
    }
    assert counts["currency_currency"] == (30, 30, 0)
    assert counts["currency_exchangerate"] == (29, 29, 0)
    assert counts["core_tag"] == (21, 20, 1)
    creditors = [row["type"] for row in house.systems.bookkeeping.creditors]
    read, inserted, parked = counts["business_supplier"]
    assert (read, inserted + parked) == (len(creditors), creditors.count("creditor"))
    images = house.systems.images.files
    assert counts["products_productimage"][:2] == (len(images), len(images))
    again = house.run(*OTHERS, full=True)
    assert {name: written(report) for name, report in again.items()} == dict.fromkeys(OTHERS, 0)
    assert all(again[name].counts.read == first[name].counts.read for name in OTHERS)


def test_no_working_day_of_the_rates_is_missing(house: House):
    house.run("currency_currency", "currency_historicalexchangerate")
    days = {row["date"] for row in house.query("select distinct date from currency_historicalexchangerate")}
    first, today = datetime(2025, 4, 1, tzinfo=UTC).date(), datetime.now(UTC).date()
    all_days = {first + timedelta(days=n) for n in range((today - first).days + 1)}
    assert days == {day for day in all_days if day.weekday() < 5}


def test_only_the_last_week_of_the_rates_is_read_again(house: House):
    house.run("currency_currency", "currency_historicalexchangerate")
    (again,) = house.run("currency_historicalexchangerate").values()
    assert 0 < again.counts.read <= 29 * 8
    assert written(again) == 0


def test_receipts_pay_the_invoices_that_4d_has_brought(house: House):
    documents = ["products_productcategory", *VARIANTS, "sales_customer", "sales_address", "sales_salesrecord"]
    house.run(*documents)
    unpaid = "select count(*) as n from sales_salesrecord where payment_status = 'PENDING' and record_type = 'INVOICE'"
    before = house.query(unpaid)[0]["n"]
    (report,) = house.run("sales_salesrecord.payments").values()
    assert report.counts.inserted == 0
    assert set(report.parked_by_reason) == {"no_erp_row"}
    assert house.query(unpaid)[0]["n"] < before
    paid = house.query("select count(amount_paid_external) as n from sales_salesrecord where record_type = 'INVOICE'")
    assert paid[0]["n"] == report.counts.adopted > 300
    other = house.query("select 1 from sales_salesrecord where record_type <> 'INVOICE' and amount_paid_external <> 0")
    assert other == []
    (again,) = house.run("sales_salesrecord.payments").values()
    assert written(again) == 0


def test_a_picture_is_linked_as_soon_as_its_variant_is_there(house: House):
    house.systems.images.files[0]["articles"] = [{"number": "700003", "front": True}]
    house.run("products_productimage")
    assert house.query("select product_id from products_productimage where external_id = '1'") == [{"product_id": None}]
    house.run(*VARIANTS, "products_productimage")
    linked = house.query(
        "select v.sku from products_productimage i join products_variantproduct v on v.id = i.product_id"
        " where i.external_id = '1'"
    )
    assert linked == [{"sku": "700003"}]


def test_a_line_nobody_can_read_waits_under_its_place_and_the_others_come_in(house: House):
    house.run("core_tag")
    parked = house.query("select legacy_key, reason, message from legacy_sync.quarantine where status = 'open'")
    assert [(row["legacy_key"], row["reason"]) for row in parked] == [("Schlagworte.txt, line 22", "unreadable")]
    assert '"Neuheiten\\tFrühjahr\\t2025"' in parked[0]["message"]
    (tag,) = house.query("select name, slug, description from core_tag where name = 'Märchen'")
    assert tag["description"] == "Figuren aus Grimms Märchen"


def test_a_file_that_is_still_written_waits_and_changes_nothing(house: House):
    house.run("core_tag")
    before = house.query("select * from core_tag order by id")
    export = house.systems.drop_folder / "Schlagworte_neu.txt"
    export.write_bytes("Name\tBeschreibung\rNeu\tnoch nicht f".encode("mac_roman"))
    with pytest.raises(SourceUnavailable, match=r"Schlagworte_neu\.txt is left for later"):
        house.run("core_tag")
    assert house.query("select * from core_tag order by id") == before
    os.utime(export, (time.time() - 100, time.time() - 100))
    export.write_bytes("Name\tBeschreibung\rNeu\tfertig\r".encode("mac_roman"))
    os.utime(export, (time.time() - 100, time.time() - 100))
    house.run("core_tag")
    assert house.query("select description from core_tag where name = 'Neu'") == [{"description": "fertig"}]
    assert len(house.query("select 1 from core_tag")) == len(before) + 1, "tags are never deleted"


def test_a_database_is_read_on_from_the_newest_row(house: House):
    house.run(*VARIANTS, "inventory_inventorymovement")
    number = house.query("select count(*) as n from inventory_inventorymovement")[0]["n"]
    with closing(sqlite3.connect(house.systems.warehouse)) as connection:
        connection.execute(
            "insert into stock_movement values (90001, '700003', 4, 'Z', 'LS1', null, ?)",
            [datetime.now(UTC).isoformat(sep=" ")],
        )
        connection.commit()
    (second,) = house.run("inventory_inventorymovement").values()
    assert second.counts.inserted == 1
    assert second.counts.read < number
    (row,) = house.query("select * from inventory_inventorymovement where legacy_id = '90001'")
    assert (row["quantity"], row["movement_type"], row["notes"]) == (4, "RECEIPT", "")


def test_each_source_has_a_landing_of_its_own(house: House):
    house.run("currency_currency", "core_tag", "business_supplier")
    root = Path(house.environ["LEGACY_SYNC_LANDING"])
    assert {folder.name.rsplit("-", 1)[0] for folder in root.iterdir()} == {"frankfurter", "drop_folder", "bookkeeping"}
    elsewhere = {**house.environ, "DROP_FOLDER": str(house.systems.drop_folder) + "/"}
    other = open_workspace(read_settings(elsewhere), load_project(read_settings(elsewhere)))
    mapping = other.project.get("core_tag")
    assert other.landing_of(mapping).partitions("tags") == []
    assert house.workspace.landing_of(mapping).partitions("tags") == ["all"]


def test_a_system_that_is_away_stops_only_its_own_entities(house: House, bare_cli: Cli):
    bare_cli.environment = {**house.environ, "DROP_FOLDER": "/nowhere", "IMAGE_CMS_PASSWORD": "wrong"}
    said = bare_cli("run", "currency_currency", "core_tag", "products_productimage", "business_supplier", "--json")
    assert said.code == 1
    outcomes = {entity["entity"]: entity["outcome"] for entity in said.json["entities"]}
    assert outcomes == {
        "business_supplier": "succeeded_with_parked",
        "core_tag": "failed",
        "currency_currency": "succeeded",
        "products_productimage": "failed",
    }
    assert "set the environment variable DROP_FOLDER" in said.err
    assert "check IMAGE_CMS_USER, IMAGE_CMS_PASSWORD" in said.err
    assert "wrong" not in said.err


def test_a_check_goes_on_with_the_other_systems(house: House, bare_cli: Cli):
    bare_cli.environment = {**house.environ, "DROP_FOLDER": "", "WAREHOUSE_DATABASE_URL": "sqlite:////nowhere.db"}
    said = bare_cli("check", "--json")
    assert said.code != 0
    messages = [problem["what"] for problem in said.json["unreachable"]]
    assert messages == ["the source drop_folder has no folder", 'there is no file "/nowhere.db"']
    found = {entity["entity"]: entity["problems"] for entity in said.json["entities"]}
    assert found["currency_currency"] == found["business_supplier"] == []


def test_a_system_nobody_has_set_up_says_which_variable_is_missing(house: House, bare_cli: Cli):
    bare_cli.environment = {**house.environ, "WAREHOUSE_DATABASE_URL": "", "BOOKKEEPING_API_KEY": ""}
    said = bare_cli("run", "inventory_inventorymovement", "business_supplier", "currency_currency", "--json")
    assert said.code == 2, "all that failed has to be corrected in the configuration"
    assert "set the environment variable WAREHOUSE_DATABASE_URL (mappings/sources/warehouse.yaml, url)" in said.err
    assert "set the environment variable BOOKKEEPING_API_KEY" in said.err
    assert house.query("select count(*) as n from currency_currency") == [{"n": 30}]


def test_a_record_gone_from_a_service_that_counts_is_reported(house: House):
    house.run("products_productimage")
    del house.systems.images.files[5]
    (report,) = house.run("products_productimage", full=True).values()
    assert sum(rows for text, rows in report.warnings.items() if "gone" in text) == 1
    assert len(house.query("select 1 from products_productimage")) == report.counts.read + 1


def test_a_list_without_a_count_claims_nothing_of_records_it_does_not_have(house: House):
    house.run("business_supplier")
    house.systems.bookkeeping.creditors += [
        {**house.systems.bookkeeping.creditors[0], "postingaccount_number": 80000 + n} for n in range(400)
    ]
    house.run("business_supplier", full=True)
    del house.systems.bookkeeping.creditors[5]
    (report,) = house.run("business_supplier", full=True).values()
    assert not [text for text in report.warnings if "gone" in text]
