"""Can everything be done with the rights that `legacy-sync grants` prints, and nothing beside it?"""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from cli_setup import Cli
from journey_setup import PARENTS, VARIANTS, Journey
from psycopg import errors as pg
from rights_setup import limited_user, run_grants

from legacy_sync.demo.four_d_server import FourDServer
from legacy_sync.demo.web_services import Beside
from legacy_sync.erp.database import connect
from legacy_sync.erp.grants import list_grants
from legacy_sync.erp.rights import find_missing_rights
from legacy_sync.errors import ErpRefused, LedgerUnusable, SettingsInvalid
from legacy_sync.mapping.loader import load_project
from legacy_sync.settings import read_settings
from legacy_sync.sync.pipeline import preflight, run_unit
from legacy_sync.sync.reconcile import compared
from legacy_sync.sync.repair import repair_unit
from legacy_sync.sync.report import RunReport
from legacy_sync.sync.undo import undo_runs
from legacy_sync.sync.workspace import Workspace, open_workspace

PAYMENTS = "sales_salesrecord.payments"  # writes into rows of another mapping, and makes none


@pytest.fixture
def everything(four_d: FourDServer, erp_url: str, tmp_path: Path) -> Iterator[Workspace]:
    """All mappings of the project, and a database user who has the printed rights."""
    with Beside(four_d.store, tmp_path / "others", 1, datetime.now(UTC).date()).started() as systems:
        said = {"LEGACY_API_URL": four_d.url, "LEGACY_SYNC_LANDING": str(tmp_path / "landing"), **systems.variables}
        project = load_project(read_settings(said))
        with limited_user(erp_url, project.mappings.values()) as url:
            settings = read_settings({**said, "ERP_DATABASE_URL": url})
            with closing(open_workspace(settings, project)) as workspace:
                yield workspace


def load_all(workspace: Workspace) -> dict[str, RunReport]:
    reports: dict[str, RunReport] = {}
    for mapping in workspace.project.ordered():
        if mapping.entity not in reports:
            reports |= run_unit(workspace, workspace.project.unit_of(mapping))
    return reports


def test_everything_runs_with_the_printed_rights_and_nothing_else_can_be_done(
    everything: Workspace, four_d: FourDServer, erp_url: str
) -> None:
    preflight(everything, everything.project.ordered())
    first = load_all(everything)
    assert [name for name, r in first.items() if not r.counts.inserted] == [PAYMENTS]
    four_d.store.clock.advance(days=1)
    row = four_d.store.rows("Artikel_Familie")[0]
    four_d.store.update("Artikel_Familie", row["UID"], {"Bezeichnung": "umbenannt"})
    assert load_all(everything)[PARENTS].counts.updated == 1
    with psycopg.connect(erp_url, autocommit=True) as owner:
        owner.execute("create table payroll (id int, salary int)")
        owner.execute("update products_parentproduct set name = name || '!' where sku <> %s", [str(row["Nummer"])])
        owner.execute("delete from core_tag where id = (select min(id) from core_tag)")
    for entity in ("core_tag", PARENTS):
        with compared(everything, everything.project.get(entity), values=True) as found:
            assert list(found.differences())
    repair_unit(everything, [everything.project.get("core_tag")])
    refuses_all_else(everything.settings.require_erp_url())


def refuses_all_else(url: str) -> None:
    with connect(url) as connection:
        for statement in (
            "select * from payroll",
            "create table mine (id int)",
            "create schema mine",
            "alter table products_parentproduct add column mine int",
            "delete from products_parentproduct",
            "truncate products_parentproduct",
            "select created_at from products_parentproduct",
            "update products_parentproduct set id = 1",
            "update sales_salesrecord set id = 1",
        ):
            with pytest.raises(pg.InsufficientPrivilege):
                connection.execute(statement)  # type: ignore[call-overload]


def test_rows_are_deleted_only_where_a_mapping_wants_it(journey: Journey) -> None:
    journey.remap(PARENTS, deletes={"policy": "delete", "max_share": 1}, change_detection={"strategy": "fingerprint"})
    mappings = journey.workspace.project.mappings
    with limited_user(journey.erp_url, mappings.values()) as url, psycopg.connect(url, autocommit=True) as limited:
        journey.erp_url, owner = url, journey.erp_url
        key = journey.family(1)
        journey.family(2)
        journey.close()
        journey.run()
        journey.store.delete("Artikel_Familie", key)
        journey.run(full=True)
        with pytest.raises(pg.InsufficientPrivilege):
            limited.execute("delete from products_variantproduct")
        journey.close()
        journey.erp_url = owner
    assert journey.skus() == ["2"]


@pytest.mark.parametrize("may_undo", [False, True])
def test_runs_are_taken_back_only_with_the_rights_for_it(journey: Journey, may_undo: bool) -> None:
    mappings = journey.workspace.project.mappings
    with limited_user(journey.erp_url, mappings.values(), undo=may_undo) as url:
        journey.erp_url, owner = url, journey.erp_url
        journey.close()
        key = journey.family(1)
        journey.run()
        journey.edit(key, Bezeichnung="Irrtum")
        journey.family(2)
        run_id = journey.run().run_id or 0
        if may_undo:
            report = undo_runs(journey.workspace, [run_id])
            assert (report.restored, report.removed) == (1, 1)
        else:
            with pytest.raises(ErpRefused, match="permission denied"):
                undo_runs(journey.workspace, [run_id])
        journey.close()
        journey.erp_url = owner
    assert journey.skus() == (["1"] if may_undo else ["1", "2"])


def test_missing_rights_are_told_before_anything_is_written(journey: Journey) -> None:
    journey.family(1)
    project = journey.workspace.project
    with limited_user(journey.erp_url, project.mappings.values()) as url:
        role = url.split("//")[1].split(":")[0]
        journey.execute(f'revoke update (name) on products_parentproduct from "{role}"')
        journey.execute(f'revoke all on sequence products_variantproduct_id_seq from "{role}"')
        journey.erp_url, owner = url, journey.erp_url
        journey.close()
        with pytest.raises(ErpRefused, match=r"lacks the right to update the ERP table .*of name") as refusal:
            preflight(journey.workspace, project.ordered())
        assert f'grant update ("name") on "public"."products_parentproduct" to "{role}"' in str(refusal.value)
        assert f'grant usage on sequence "public"."products_variantproduct_id_seq" to "{role}"' in str(refusal.value)
        journey.close()
        journey.erp_url = owner
    assert journey.skus() == []


def test_statements_that_are_run_again_take_away_what_is_no_longer_needed(journey: Journey) -> None:
    mappings = journey.workspace.project.mappings
    with limited_user(journey.erp_url, mappings.values()) as url, psycopg.connect(journey.erp_url) as owner:
        role = url.split("//")[1].split(":")[0]
        run_grants(owner, [mappings[PARENTS]], role)
        owner.commit()
        with connect(url) as connection:
            assert find_missing_rights(connection, mappings[PARENTS]) == []
            assert find_missing_rights(connection, mappings[VARIANTS])


def test_a_ledger_of_another_user_is_handed_over(journey: Journey) -> None:
    journey.family(1)
    journey.run()
    with limited_user(journey.erp_url, journey.workspace.project.mappings.values()) as url:
        journey.erp_url, owner = url, journey.erp_url
        journey.close()
        journey.family(2)
        journey.run()
        journey.close()
        journey.erp_url = owner
        assert journey.skus() == ["1", "2"]
        journey.execute("alter schema legacy_sync owner to pyerp")
        journey.erp_url = url
        with pytest.raises(LedgerUnusable, match="rights are missing"):
            journey.run()
        journey.close()
        journey.erp_url = owner


@pytest.mark.parametrize("role", ["public", "PUBLIC", "none", "", "pg_monitor", "x" * 64])
def test_rights_are_never_given_to_everybody(erp: psycopg.Connection, role: str) -> None:
    with pytest.raises(SettingsInvalid, match="cannot be the name"):
        list_grants(erp, [], role)


def test_printed_statements_can_be_run_as_they_are(cli: Cli) -> None:
    role = 'x"; drop table core_tag; --'
    said = cli("grants", "--role", role)
    assert said.code == 0, said.err
    with psycopg.connect(cli.environment["ERP_DATABASE_URL"], autocommit=True) as owner:
        owner.execute(said.out)  # type: ignore[call-overload]
        granted = owner.execute("select from information_schema.column_privileges where grantee = %s", [role])
        assert granted.rowcount > 20
        owner.execute('''drop owned by "x""; drop table core_tag; --"; drop role "x""; drop table core_tag; --"''')
    assert cli("grants", "--json").json["statements"][0].startswith("create role")


def test_check_names_the_right_that_is_missing(cli: Cli) -> None:
    erp_url = cli.environment["ERP_DATABASE_URL"]
    mappings = load_project(read_settings(cli.environment)).mappings
    with limited_user(erp_url, mappings.values()) as url:
        role = url.split("//")[1].split(":")[0]
        assert cli("check", ERP_DATABASE_URL=url).code == 0
        with psycopg.connect(erp_url, autocommit=True) as owner:
            owner.execute(f'revoke insert (sku) on products_parentproduct from "{role}"')  # type: ignore[arg-type]
        said = cli("check", ERP_DATABASE_URL=url)
    assert said.code == 1
    assert 'lacks the right to insert into the ERP table "products_parentproduct" of sku' in said.err
    assert f'grant insert ("sku") on "public"."products_parentproduct" to "{role}"' in said.err
