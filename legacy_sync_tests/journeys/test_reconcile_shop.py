"""Do both sides agree in every entity of the project after its first import, whatever its source and its shape?"""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from scenarios_setup import WholeShop

from legacy_sync.demo.four_d_server import FourDServer
from legacy_sync.demo.web_services import Beside
from legacy_sync.mapping.loader import load_project
from legacy_sync.settings import read_settings
from legacy_sync.sync.differences import Difference, Reconciliation
from legacy_sync.sync.pipeline import run_unit
from legacy_sync.sync.reconcile import compared
from legacy_sync.sync.repair import repair_unit
from legacy_sync.sync.workspace import Workspace, open_workspace

BESIDE = (
    "currency_currency",
    "currency_exchangerate",
    "currency_historicalexchangerate",
    "business_supplier",
    "products_productimage",
    "core_tag",
    "inventory_inventorymovement",
)
DOCUMENTS, PAYMENTS = "sales_salesrecord", "sales_salesrecord.payments"


def look(workspace: Workspace, entity: str, *, values: bool = True) -> tuple[Reconciliation, list[Difference]]:
    with compared(workspace, workspace.project.get(entity), values=values) as found:
        return found.result, list(found.differences())


@pytest.fixture
def beside(four_d: FourDServer, erp_url: str, tmp_path: Path) -> Iterator[Workspace]:
    """4D and all other systems with sample rows, and an ERP that took in what the tests look at."""
    systems_folder = Beside(four_d.store, tmp_path / "others", 1, datetime.now(UTC).date())
    with systems_folder.started() as systems:
        settings = read_settings(
            {
                "LEGACY_API_URL": four_d.url,
                "ERP_DATABASE_URL": erp_url,
                "LEGACY_SYNC_LANDING": str(tmp_path / "landing"),
                **systems.variables,
            }
        )
        with closing(open_workspace(settings, load_project(settings))) as workspace:
            yield workspace


def load(workspace: Workspace, *entities: str) -> None:
    done: set[str] = set()
    for mapping in workspace.project.ordered(list(entities)):
        unit = workspace.project.unit_of(mapping)
        if mapping.entity not in done:
            run_unit(workspace, unit)
            done |= {m.entity for m in unit}


@pytest.mark.parametrize("values", [False, True])
def test_every_table_of_4d_agrees_after_the_first_import(whole_shop: WholeShop, values: bool):
    found = {m.entity: look(whole_shop.workspace, m.entity, values=values)[0] for m in whole_shop.mappings}
    assert {name: r.rows for name, r in found.items() if not r.rows.keys() <= {"parked", "waits_for_parent"}} == {}
    assert found["inventory_boxtype"].keys > 0  # items of a list, of chosen records
    assert found["products_productcategory"].read > found["products_productcategory"].keys > 0
    if values:
        assert all(r.compared == r.bound > 0 and r.buckets_differing == 0 for r in found.values())


def test_every_other_source_agrees_and_what_is_deleted_there_comes_back(beside: Workspace):
    load(beside, "products_parentproduct", "products_variantproduct", *BESIDE)
    for entity in BESIDE:
        for values in (False, True):
            result, _ = look(beside, entity, values=values)
            assert result.rows.keys() <= {"parked", "waits_for_parent"}, (entity, result.rows)
            assert result.bound > 0
    with beside.erp() as connection:
        connection.execute("delete from core_tag where id = (select min(id) from core_tag)")
        connection.execute("update inventory_inventorymovement set quantity = quantity + 1 where id = 1")
    assert look(beside, "core_tag")[0].rows["erp_row_deleted"] == 1
    edited = [d for d in look(beside, "inventory_inventorymovement")[1] if d.kind == "edited"]
    assert [(d.column, d.erp_key) for d in edited] == [("quantity", "1")]
    repair_unit(beside, [beside.project.get("core_tag")])
    assert look(beside, "core_tag")[0].state == "waits"  # a line that cannot be read


def test_values_of_a_second_writer_are_nobodys_edit(beside: Workspace):
    load(beside, "sales_customer", "sales_address", DOCUMENTS, PAYMENTS)
    result, found = look(beside, DOCUMENTS)
    written = [d for d in found if d.kind == "other_writer"]
    assert written
    assert {d.why for d in written} == {f"written by {PAYMENTS}"}
    assert result.rows.keys() <= {"parked", "waits_for_parent", "other_writer"}
    for values in (False, True):
        receipts, _ = look(beside, PAYMENTS, values=values)
        assert (receipts.rows.keys(), receipts.bound > 0) == ({"waits_for_parent"}, True)
    with beside.erp() as connection:
        erp_key = written[0].erp_key
        connection.execute("update sales_salesrecord set payment_date = '1999-09-09' where id::text = %s", [erp_key])
    assert {d.kind for d in look(beside, DOCUMENTS)[1] if d.erp_key == erp_key and d.column == "payment_date"} == {
        "edited"
    }
