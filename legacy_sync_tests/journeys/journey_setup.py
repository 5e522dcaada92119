"""What do the journeys share? An old database behind a real server, an ERP database, a landing, and the mappings."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, Literal

import orjson
import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from ruamel.yaml import YAML

from legacy_sync.demo.four_d_server import FourDServer, Store, TableDef
from legacy_sync.demo.sample_data import FAMILY_TABLE, VARIANT_TABLE
from legacy_sync.mapping.loader import load_project
from legacy_sync.settings import PROJECT_ROOT, read_settings
from legacy_sync.sync.pipeline import Workspace, open_workspace, run_entity
from legacy_sync.sync.report import RunReport

PARENTS = "products_parentproduct"
VARIANTS = "products_variantproduct"
SOURCES = {PARENTS: "Artikel_Familie", VARIANTS: "Artikel_Variante"}
MONTHS = {"type": "window", "size": "month", "start": date(2026, 1, 1), "timezone": "Europe/Berlin"}
LEDGER_TABLES = ("binding", "change", "conflict", "quarantine")


def empty_store(*tables: TableDef) -> Store:
    """A legacy database with tables and no rows; by default families and variants."""
    store = Store()
    for table in tables or (FAMILY_TABLE, VARIANT_TABLE):
        store.add_table(table)
    return store


@cache
def _one_partition_each() -> dict[str, dict[str, Any]]:
    """The mappings of the project, without calendar windows, schedules and intervals."""
    read = YAML(typ="safe")
    said = {entity: read.load(PROJECT_ROOT / "mappings" / f"{entity}.yaml") for entity in SOURCES}
    for words in said.values():
        del words["change_detection"]["full_every"], words["deletes"]["sweep"]
    return {entity: {**words, "partitions": {"type": "none"}, "schedule": None} for entity, words in said.items()}


def key_of(number: int) -> str:
    """A key as 4D makes them, in the order of the number."""
    return f"{number:032X}"


class Journey:
    """Both ends and everything between, as one person would have it on a desk."""

    def __init__(self, server: FourDServer, erp_url: str, folder: Path) -> None:
        self.server = server
        self.store = server.store
        self.erp_url = erp_url
        self.folder = folder
        self.landing_root = str(folder / "landing")
        self.overlay: dict[str, Any] = {
            "sources": {"four_d": {"timeout_seconds": 5, "retry": {"attempts": 2, "first_pause": "10ms"}}},
            "defaults": {"retry": {"first_pause": "20ms"}},
            "landing_keep": 50,
        }
        self.said = deepcopy(_one_partition_each())
        self.variables: dict[str, str] = {}
        self._workspace: Workspace | None = None

    # --- mappings and runs

    def remap(self, entity: str, **words: Any) -> None:
        """From now on the mapping says this; of words with words inside only the named ones change."""
        said = self.said[entity]
        for word, value in words.items():
            inside = isinstance(value, dict) and isinstance(said.get(word), dict) and word != "partitions"
            said[word] = {**said[word], **value} if inside else value
        self.close()

    @property
    def workspace(self) -> Workspace:
        """The workspace in force, opened when first asked for."""
        if self._workspace is None:
            self._write_mappings()
            settings = read_settings(self.environ)
            self._workspace = open_workspace(settings, load_project(settings))
        return self._workspace

    @property
    def environ(self) -> dict[str, str]:
        """The settings as environment variables, for another process too."""
        return {
            "LEGACY_SYNC_ENV": "journey",
            "LEGACY_SYNC_MAPPINGS": str(self.folder / "mappings"),
            "LEGACY_SYNC_LANDING": self.landing_root,
            "LEGACY_API_URL": self.server.url,
            "ERP_DATABASE_URL": self.erp_url,
            **self.variables,
        }

    def run(self, entity: str = PARENTS, partitions: Sequence[str] | None = None, **how: Any) -> RunReport:
        """Fetches and loads one entity."""
        return run_entity(self.workspace, self.workspace.project.get(entity), partitions, **how)

    def run_all(self, **how: Any) -> dict[str, RunReport]:
        """Fetches and loads everything, parents first."""
        return {m.entity: self.run(m.entity, **how) for m in self.workspace.project.ordered()}

    def pass_days(self, days: int, entity: str = PARENTS) -> None:
        """Days later the watermark is beyond everything there was: one more record is saved and loaded."""
        self.store.clock.advance(days=days)
        number = 900_000 + len(self.store.rows(SOURCES[entity]))
        self.family(number) if entity == PARENTS else self.variant(number, None, fk_ArtNr=None, alteNummer=None)
        self.run(entity)

    def close(self) -> None:
        """Gives the session at the server back; the next run opens what it needs."""
        if self._workspace:
            self._workspace.close()
        self._workspace = None

    def _write_mappings(self) -> None:
        folder = self.folder / "mappings"
        (folder / "environments").mkdir(parents=True, exist_ok=True)
        for name, said in {**self.said, "environments/journey": self.overlay}.items():
            words = {word: value for word, value in said.items() if value is not None}
            (folder / f"{name}.json").write_bytes(orjson.dumps(words))

    # --- the old database

    def family(self, number: int, **values: Any) -> str:
        """Somebody saves a new family; returns its key."""
        row = {"UID": key_of(number), "Nummer": number, "Bezeichnung": f"Familie {number}", "aktiv": True}
        return self.store.insert("Artikel_Familie", {**row, **values})

    def variant(self, number: int, parent: str | None, **values: Any) -> str:
        """Somebody saves a new variant of a family; returns its key."""
        row = {"UID": key_of(number), "Nummer": number, "Bezeichnung": f"Variante {number}", "Familie_": parent}
        defaults = {"alteNummer": f"{number}-BE", "fk_ArtNr": f"B{number}", "Aktiv": True}
        return self.store.insert("Artikel_Variante", {**row, **defaults, **values})

    def edit(self, key: str, entity: str = PARENTS, *, silent: bool = False, **values: Any) -> None:
        """Somebody saves changed values in 4D; `silent` as an import tool would, without a new modified_date."""
        self.store.update(SOURCES[entity], key, values, silent=silent)

    # --- the ERP database

    def query(self, text: str, *parameters: Any) -> list[dict[str, Any]]:
        """Rows of the ERP database."""
        with psycopg.connect(self.erp_url, autocommit=True, row_factory=dict_row) as connection:
            return connection.execute(text, parameters).fetchall()  # type: ignore[arg-type]

    def execute(self, text: str, *parameters: Any) -> None:
        """Somebody changes something in the ERP database."""
        with psycopg.connect(self.erp_url, autocommit=True) as connection:
            connection.execute(text, parameters)  # type: ignore[arg-type]

    def erp_edit(self, sku: str, entity: str = PARENTS, **values: Any) -> None:
        """A person saves a row in the ERP, as Django does: with a new updated_at."""
        columns = sql.SQL(", ").join(sql.SQL("{} = {}").format(sql.Identifier(c), sql.Placeholder(c)) for c in values)
        statement = sql.SQL("update {} set {}, updated_at = clock_timestamp() where sku = {}").format(
            sql.Identifier(entity), columns, sql.Placeholder("_sku")
        )
        with psycopg.connect(self.erp_url, autocommit=True) as connection:
            assert connection.execute(statement, {**values, "_sku": sku}).rowcount == 1

    def erp_insert(self, entity: str, **values: Any) -> int:
        """A row that came into the ERP by other means; returns its id."""
        return insert_erp_row(self.erp_url, entity, values)

    def row(self, sku: str, entity: str = PARENTS) -> dict[str, Any]:
        """The ERP row with that number; there must be exactly one."""
        statement = sql.SQL("select * from {} where sku = %s").format(sql.Identifier(entity))
        with psycopg.connect(self.erp_url, row_factory=dict_row) as connection:
            (row,) = connection.execute(statement, [sku]).fetchall()
        return row

    def skus(self, entity: str = PARENTS) -> list[str]:
        """The numbers of all ERP rows, sorted."""
        return [r["sku"] for r in self.query(f"select sku from {entity} order by sku")]

    def parked(self, status: str = "open") -> dict[str, str]:
        """Parked records and why: legacy key -> reason."""
        rows = self.query("select legacy_key, reason from legacy_sync.quarantine where status = %s order by id", status)
        return {r["legacy_key"]: r["reason"] for r in rows}

    def conflicts(self, status: str = "open") -> list[tuple[Any, ...]]:
        """Conflicts as (column, base, legacy, ERP, winner)."""
        rows = self.query(
            "select column_name, base_value, legacy_value, erp_value, winner from legacy_sync.conflict"
            " where status = %s order by id",
            status,
        )
        return [tuple(r.values()) for r in rows]

    def places(self, *tables: str) -> dict[str, list[tuple[Any, ...]]]:
        """Where every row lies and who wrote it last; any write of a row changes this."""
        found = {}
        for table in tables or (*SOURCES, *(f"legacy_sync.{t}" for t in LEDGER_TABLES)):
            rows = self.query(f"select xmin::text, ctid::text, t::text as row from {table} t order by ctid")
            found[table] = [tuple(r.values()) for r in rows]
        return found

    def writes(self) -> dict[str, tuple[int, int, int]]:
        """Rows inserted, updated and deleted in each ERP table since it was made, as PostgreSQL counted them."""
        while self.query(
            "select 1 from pg_stat_activity where application_name = 'legacy_sync' and datname = current_database()"
        ):
            continue  # a session tells its numbers when it ends
        rows = self.query(
            "select relname, n_tup_ins, n_tup_upd, n_tup_del from pg_stat_user_tables where schemaname = 'public'"
        )
        return {r.pop("relname"): tuple(r.values()) for r in rows}


def insert_erp_row(url: str, entity: str, values: Mapping[str, Any]) -> int:
    """Inserts a row as an older import would have; what it may not leave out gets something harmless."""
    with psycopg.connect(url, autocommit=True) as connection:
        needed = connection.execute(
            "select column_name, data_type from information_schema.columns where table_name = %s"
            " and is_nullable = 'NO' and is_identity = 'NO'",
            [entity],
        ).fetchall()
        full = {name: _harmless(kind) for name, kind in needed} | dict(values)
        statement = sql.SQL("insert into {} ({}) values ({}) returning id").format(
            sql.Identifier(entity),
            sql.SQL(", ").join(map(sql.Identifier, full)),
            sql.SQL(", ").join(map(sql.Placeholder, full)),
        )
        row = connection.execute(statement, full).fetchone()
        assert row is not None
        return int(row[0])


def _harmless(kind: str) -> str | Literal[False]:
    if kind == "boolean":
        return False
    return "2020-01-01T00:00:00Z" if kind.startswith("timestamp") else ""
