"""How do a few records of any other system become a run? Stand-ins that answer them, and the project's mappings."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest
from desk_setup import Desk, Row
from examples_setup import Facts, parked_by_reason, plain, shown, wanted_rows
from ruamel.yaml import YAML

from legacy_sync.demo.web_services import Bookkeeping, ImageCms, WebServices
from legacy_sync.demo.web_services import bookkeeping as books
from legacy_sync.demo.web_services.server import Reply, Request
from legacy_sync.mapping.loader import load_project
from legacy_sync.settings import PROJECT_ROOT, read_settings
from legacy_sync.sync.pipeline import open_workspace, run_entity
from legacy_sync.sync.report import RunReport

SERVICE_ENTITIES = {
    "currencies": "currency_currency",
    "latest": "currency_exchangerate",
    "creditors": "business_supplier",
    "files": "products_productimage",
    "outbound_receipts": "sales_salesrecord.payments",
}
_TABLES = (
    "currency_exchangerate",
    "currency_historicalexchangerate",
    "currency_calculatedexchangerate",
    "currency_currency",
    "business_supplier",
    "products_productimage",
    "core_tag",
    "inventory_inventorymovement",
)
_OVERLAY = {"defaults": {"max_parked_share": 1}}


class Answers:
    """A rates service that answers what it is given, by path."""

    def __init__(self) -> None:
        self.by_path: dict[str, Any] = {}

    def answer(self, request: Request, base: str) -> Reply:
        """The answer of the path."""
        return Reply(self.by_path[request.path])


class ServiceDesk(Desk):
    """Puts records into the stand-in of the system they belong to, runs, and empties the ERP again."""

    def __init__(self, erp_url: str, connection: psycopg.Connection, folder: Path, shared_folder: Path) -> None:
        super().__init__(erp_url, connection, folder, shared_folder)
        self.rates = Answers()
        self.books = Bookkeeping([], [])
        self.images = ImageCms([])
        self.server = WebServices({"rates": self.rates, "books": self.books, "images": self.images})

    def put(self, table: str, records: list[Row]) -> None:
        """From now on the system has these records."""
        if table == "currencies":
            self.rates.by_path["currencies"] = {code: name for record in records for code, name in record.items()}
        elif table == "latest":
            first = records[0]
            rates = {record["target"]: record["rate"] for record in records}
            self.rates.by_path["latest"] = {"base": first["base"], "date": first["date"], "rates": rates}
        elif table == "files":
            self.images.files = records
        elif table == "creditors":
            self.books.creditors = records
        else:
            self.books.receipts = records

    def load(self, table: str, records: list[Row]) -> RunReport:
        """Puts records into a system and runs the mapping of their table."""
        self.put(table, records)
        with self.workspace() as workspace:
            return run_entity(workspace, workspace.project.get(SERVICE_ENTITIES[table]))

    @contextmanager
    def workspace(self) -> Iterator[Any]:
        """The project's mappings and sources, pointed to the stand-ins."""
        settings = read_settings(self.environ)
        workspace = open_workspace(settings, load_project(settings))
        try:
            yield workspace
        finally:
            workspace.close()

    @property
    def environ(self) -> dict[str, str]:
        """The variables that point the sources to the stand-ins."""
        return {
            "LEGACY_SYNC_ENV": "examples",
            "LEGACY_SYNC_MAPPINGS": str(_mappings(self.shared_folder)),
            "LEGACY_SYNC_LANDING": str(self.folder / "landing"),
            "ERP_DATABASE_URL": self.erp_url,
            "FRANKFURTER_URL": self.server.url("rates"),
            "BOOKKEEPING_URL": f"{self.server.url('books')}/api/v1",
            "BOOKKEEPING_USER": books.USER,
            "BOOKKEEPING_PASSWORD": books.PASSWORD,
            "BOOKKEEPING_API_KEY": books.API_KEY,
            "BOOKKEEPING_PAUSE_SECONDS": "0",
            "IMAGE_CMS_URL": f"{self.server.url('images')}/api",
            "IMAGE_CMS_USER": books.USER,
            "IMAGE_CMS_PASSWORD": books.PASSWORD,
        }

    def bound(self, entity: str) -> list[Row]:
        """The ERP rows that records of an entity belong to, by their keys."""
        table = entity.split(".")[0]
        rows = self._query(
            f"select e.* from {table} e join legacy_sync.binding b on b.erp_key = e.id::text"
            " join legacy_sync.entity n on n.id = b.entity_id and n.name = %s order by b.legacy_key",
            entity,
        )
        return [self._with_references(table, row) for row in rows]

    def clear(self) -> None:
        """Leaves the database as it was found."""
        self.connection.execute("".join(f"delete from {table};" for table in _TABLES))  # type: ignore[call-overload]
        super().clear()


@cache
def _mappings(shared_folder: Path) -> Path:
    """The mappings of the other systems as the project has them, without schedules, and their sources."""
    folder = shared_folder / "service_mappings"
    (folder / "environments").mkdir(parents=True)
    (folder / "environments" / "examples.json").write_bytes(orjson.dumps(_OVERLAY))
    (folder / "sources").symlink_to(PROJECT_ROOT / "mappings" / "sources")
    for entity in SERVICE_ENTITIES.values():
        words: Row = YAML(typ="safe").load(PROJECT_ROOT / "mappings" / f"{entity}.yaml")
        kept = {word: value for word, value in words.items() if word not in ("schedule", "depends_on")}
        (folder / f"{entity}.json").write_bytes(orjson.dumps(kept))
    return folder


@pytest.fixture
def services(
    examples_erp: tuple[str, psycopg.Connection], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServiceDesk]:
    """All other systems without rows, and an empty ERP."""
    desk = ServiceDesk(*examples_erp, tmp_path, tmp_path_factory.getbasetemp())
    with desk.server:
        yield desk
    desk.clear()


def play(desk: ServiceDesk, example: Facts) -> tuple[Facts, Facts]:
    """Runs an example; returns what came of it and what had to, in one form."""
    desk.give(dict(row) for row in example.get("given", []))
    runs = example.get("runs") or [example["records"] if "records" in example else [example["record"]]]
    for records in runs:
        report = desk.load(example["table"], records)
    wanted = wanted_rows(example)
    rows = desk.bound(SERVICE_ENTITIES[example["table"]])
    counts = example.get("counts", {})
    others = example.get("after", [])
    found = {
        "rows": [shown(row, want) for row, want in zip_longest(rows, wanted, fillvalue={})],
        "parked": dict(report.parked_by_reason),
        "counts": {name: getattr(report.counts, name) for name in counts},
        "after": [[shown(row, other["expect"]) for row in desk.rows(other["table"])] for other in others],
    }
    after = [[plain(other["expect"])] for other in others]
    return found, {"rows": plain(wanted), "parked": parked_by_reason(example), "counts": counts, "after": after}
