"""Does any secret ever get where somebody could read it? Everything is run, also in all the ways that fail."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import dagster as dg
import orjson
import psycopg
import pytest
from cli_setup import Cli, Said
from psycopg import sql
from ruamel.yaml import YAML
from secrets_setup import found_in_files, found_in_ledger, found_in_text, watched_processes

from legacy_sync.demo.four_d_server import FourDServer, Store
from legacy_sync.demo.web_services.server import Reply, Request, WebServices
from legacy_sync.mapping.retry import Rerun
from legacy_sync.orchestration.build import build_definitions
from legacy_sync.settings import PROJECT_ROOT, read_settings

SECRETS = {
    "4D": "pw4d-Zebra77",
    "ERP": "pwerp-Zebra78",
    "service": "pwsvc-Zebra79",
    "key": "key-Zebra80",
    "wrong": "wrong-Zebra81",
    "database": "pwdb-Zebra82",
}
FAMILIES, SUPPLIERS, MOVEMENTS = "products_parentproduct", "business_supplier", "inventory_inventorymovement"


class EchoingBooks:
    """A bookkeeping that repeats in every answer who asked, as services do in their errors."""

    def __init__(self) -> None:
        self.status = 200
        self.seen: list[tuple[str, ...]] = []

    def answer(self, request: Request, base: str) -> Reply:
        """An error with the login in it, or no suppliers."""
        said = (*(request.login or ()), str(request.body.get("api_key")))
        self.seen.append(said)
        if self.status != 200:
            return Reply({"success": False, "message": f"refused: {said}", "error": f"for {said}"}, self.status)
        return Reply({"success": True, "message": "", "rows": 0, "data": []})


@dataclass
class Desk:
    """The command, both ends, and what it printed so far."""

    cli: Cli
    four_d: FourDServer
    books: EchoingBooks
    erp_url: str
    said: list[Said]

    def type(self, *arguments: str, **variables: str) -> Said:
        self.said.append(self.cli(*arguments, **variables))
        return self.said[-1]


@pytest.fixture
def desk(bare_cli: Cli, erp_url: str, store: Store, tmp_path: Path) -> Iterator[Desk]:
    """4D with a login, an ERP user with a password, a service with two secrets, a database with one in its URL."""
    role, parts, books = "zebra", urlsplit(erp_url), EchoingBooks()
    mappings = _mappings(tmp_path / "mappings")
    with (
        FourDServer(store, login="force", users={"sync": SECRETS["4D"]}) as server,
        WebServices({"books": books}) as services,
        psycopg.connect(erp_url, autocommit=True) as owner,
    ):
        create = sql.SQL("create role {} superuser login password {}")
        owner.execute(create.format(sql.Identifier(role), sql.Literal(SECRETS["ERP"])))
        bare_cli.environment = {
            "LEGACY_API_URL": server.url,
            "LEGACY_API_USER": "sync",
            "LEGACY_API_PASSWORD": SECRETS["4D"],
            "ERP_DATABASE_URL": f"postgresql://{role}:{SECRETS['ERP']}@{parts.hostname}:{parts.port}{parts.path}",
            "LEGACY_SYNC_LANDING": str(tmp_path / "landing"),
            "LEGACY_SYNC_MAPPINGS": str(mappings),
            "DAGSTER_HOME": str(tmp_path / "dagster"),
            "BOOKKEEPING_URL": f"{services.url('books')}/api/v1",
            "BOOKKEEPING_USER": "books",
            "BOOKKEEPING_PASSWORD": SECRETS["service"],
            "BOOKKEEPING_API_KEY": SECRETS["key"],
            "BOOKKEEPING_PAUSE_SECONDS": "0",
            "WAREHOUSE_DATABASE_URL": f"postgresql://{role}:{SECRETS['database']}@{parts.hostname}:{parts.port}/none",
        }
        yield Desk(bare_cli, server, books, erp_url, [])
        owner.execute("drop owned by zebra; drop role zebra")


def _mappings(folder: Path) -> Path:
    for name in ("sources", "environments"):
        (folder / name).mkdir(parents=True)
    for entity in (FAMILIES, SUPPLIERS, MOVEMENTS):
        words = YAML(typ="safe").load(PROJECT_ROOT / "mappings" / f"{entity}.yaml")
        words |= {"partitions": {"type": "none"}, "depends_on": []}
        (folder / f"{entity}.json").write_bytes(orjson.dumps(words, default=str))
    for source in ("bookkeeping", "warehouse"):
        words = YAML(typ="safe").load((PROJECT_ROOT / "mappings" / "sources" / f"{source}.yaml").read_text())
        patience = {"retry": {"attempts": 2, "first_pause": "10ms"}} if source == "bookkeeping" else {}
        (folder / "sources" / f"{source}.json").write_bytes(orjson.dumps({**words, **patience}))
    overlay = {"sources": {"four_d": {"retry": {"attempts": 2, "first_pause": "10ms"}}}}
    (folder / "environments" / "dev.json").write_bytes(orjson.dumps(overlay))
    return folder


def test_no_secret_is_printed_logged_stored_or_shown_in_the_process_list(desk: Desk, tmp_path: Path) -> None:
    environment = desk.cli.environment
    with watched_processes(SECRETS) as in_process_list:
        assert desk.cli.run("--verbose", "run", FAMILIES).code in (0, 3)
    _type_everything(desk)
    _fail_in_every_way(desk)
    output = "\n".join(said.out + said.err for said in desk.said)
    assert "authentication failed" in output  # else it was not tried
    assert "lets this user read no table" in output
    assert "refused: " in output
    assert found_in_text(output, SECRETS) == set()
    assert in_process_list == set()
    assert found_in_ledger(desk.erp_url, SECRETS) == set()
    assert found_in_files(tmp_path, SECRETS) == {}
    assert (SECRETS["service"], SECRETS["key"]) == desk.books.seen[0][1:]
    assert environment["LEGACY_API_PASSWORD"] == SECRETS["4D"]


def _type_everything(desk: Desk) -> None:
    for arguments in (
        ("check",),
        ("check", "--json"),
        ("plan", FAMILIES),
        ("--verbose", "run", FAMILIES, SUPPLIERS, "--json"),
        ("status", "--cost", "--live"),
        ("status", "--json"),
        ("reconcile", FAMILIES, "--values", "--json"),
        ("quarantine", "list", "--json"),
        ("conflicts", "list"),
        ("grants",),
    ):
        desk.type(*arguments)


def _fail_in_every_way(desk: Desk) -> None:
    environment = desk.cli.environment
    wrong = environment["ERP_DATABASE_URL"].replace(SECRETS["ERP"], SECRETS["wrong"])
    for json in ((), ("--json",)):
        assert desk.type("check", *json, ERP_DATABASE_URL=wrong).code == 1
        desk.type("check", *json, ERP_DATABASE_URL=wrong.replace("postgresql://", "postgresql:/"))
        desk.type("check", *json, ERP_DATABASE_URL=wrong.replace("@", "@@", 1))
        desk.type("check", *json, ERP_DATABASE_URL=f"{desk.erp_url}?password={SECRETS['wrong']}&sslmode=nonsense")
        desk.type("check", *json, BOOKKEEPING_URL=f"http://books:{SECRETS['wrong']}@127.0.0.1:1/")
        desk.type("check", *json, WAREHOUSE_DATABASE_URL=f"postgresql:/x:{SECRETS['wrong']}@h")
        assert desk.type("run", MOVEMENTS, *json).code == 1
        for status in (401, 403, 404, 500):
            desk.books.status = status
            assert desk.type("--verbose", "run", SUPPLIERS, *json).code == 1
        desk.four_d.sessions.expire_all()
        desk.type("run", FAMILIES, *json, LEGACY_API_PASSWORD=SECRETS["wrong"], LEGACY_API_USER="nobody")
        broken = environment["LEGACY_API_URL"].replace("http://", f"http://sync:{SECRETS['wrong']}@")
        desk.type("run", FAMILIES, *json, LEGACY_API_URL=broken, LEGACY_API_USER="")


def test_no_secret_is_in_what_dagster_keeps(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in desk.cli.environment.items():
        monkeypatch.setenv(name, value)
    desk.books.status = 403
    home = tmp_path / "dagster"
    home.mkdir()
    with dg.DagsterInstance.local_temp(str(home)) as instance:
        made = build_definitions(read_settings(), Rerun(attempts=1))
        for entity, table in ((FAMILIES, "Artikel_Familie"), (SUPPLIERS, "creditors"), (MOVEMENTS, "stock_movement")):
            keys = [dg.AssetKey(["legacy", table]), dg.AssetKey(["erp", entity])]
            result = made.resolve_implicit_global_asset_job_def().execute_in_process(
                instance=instance, asset_selection=keys, raise_on_error=False
            )
            assert result.success == (entity == FAMILIES)
        url = desk.cli.environment["ERP_DATABASE_URL"]
        monkeypatch.setenv("ERP_DATABASE_URL", url.replace(SECRETS["ERP"], SECRETS["wrong"]))
        keys = [dg.AssetKey(["legacy", "Artikel_Familie"]), dg.AssetKey(["erp", FAMILIES])]
        job = made.resolve_implicit_global_asset_job_def()
        assert not job.execute_in_process(instance=instance, asset_selection=keys, raise_on_error=False).success
    assert found_in_ledger(desk.erp_url, SECRETS) == set()
    kept = list(home.rglob("*.db"))
    assert kept
    assert found_in_files(tmp_path, SECRETS) == {}


def test_a_redirect_gets_no_login(desk: Desk) -> None:
    other = EchoingBooks()
    with WebServices({"evil": other}) as elsewhere:
        desk.books.answer = lambda *_: Reply("", 307, headers={"Location": f"{elsewhere.url('evil')}/x"})  # type: ignore[method-assign]
        assert desk.type("run", SUPPLIERS).code == 1
    assert other.seen == []
