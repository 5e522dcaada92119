"""What do the tests of the 4D client share? A small stand-in server and a client that does not wait long."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pyarrow as pa

from legacy_sync.demo.four_d_server import AttributeDef, FourDServer, Store, TableDef
from legacy_sync.mapping.retry import Retry
from legacy_sync.sources.base import Scope
from legacy_sync.sources.four_d.client import ClientOptions, SimpleAPIClient
from legacy_sync.sources.four_d.session import Credentials
from legacy_sync.sources.four_d.source import FourDFetch, FourDSource

QUICK = ClientOptions(
    retry=Retry(attempts=3, first_pause=timedelta(milliseconds=1), longest_pause=timedelta(milliseconds=2)),
    timeout_seconds=5,
    session_pause_seconds=0.01,
    session_wait_seconds=0.5,
)

KUNDEN = TableDef(
    "Kunden",
    (
        AttributeDef("UID", "uuid", indexed=True),
        AttributeDef("Name"),
        AttributeDef("Straße"),
        AttributeDef("Kreditlimit", "number"),
        AttributeDef("Liefersperre", "bool"),
        AttributeDef("modified_date", "date"),
        AttributeDef("modified_time", "duration"),
        AttributeDef("data_", "object"),
        AttributeDef("Gruppe", "", kind="relatedEntity", target="Gruppen", foreign_key="GruppeID", inverse="kunden"),
        AttributeDef("GruppeID", "long"),
    ),
)
WÄHRUNGEN = TableDef(
    "Währungen", (AttributeDef("Nummer", "long"), AttributeDef("Kürzel"), AttributeDef("Kurs", "float")), key="Nummer"
)
PROTOKOLL = TableDef("Protokoll", (AttributeDef("Zeile"), AttributeDef("Nr", "long", kind="calculated")), key="Nr")
LEER = TableDef("Leer", (AttributeDef("ID", "long"), AttributeDef("Text")), key="ID")


def uid(number: int) -> str:
    """A key as 4D makes them, in the order of the number."""
    return f"{number:032X}"


def kunde(number: int, day: str | None = "5!3!2025") -> dict[str, object]:
    """A row of Kunden."""
    return {
        "UID": uid(number),
        "Name": f"Müller {number}",
        "Straße": "Weg 1",
        "Kreditlimit": 1000 + number / 4,
        "Liefersperre": number % 2 == 0,
        "modified_date": day,
        "modified_time": 34200000,
        "data_": {"Nr": number},
        "GruppeID": 12,
    }


def build_store(kunden: int = 25) -> Store:
    """A database with `kunden` customers and three little tables, one of them empty, one without a stored key."""
    store = Store()
    for table in (KUNDEN, WÄHRUNGEN, PROTOKOLL, LEER):
        store.add_table(table)
    store.load("Kunden", [kunde(number) for number in range(1, kunden + 1)])
    store.load("Währungen", [{"Nummer": n, "Kürzel": f"W{n}", "Kurs": n / 8} for n in (2, 10, 100, 9)])
    store.load("Protokoll", [{"Nr": n, "Zeile": f"Zeile {n}"} for n in range(1, 26)])
    return store


def source_of(server: FourDServer, user: str = "", password: str = "", **options: Any) -> FourDSource:
    """A source that asks this server and loses no time."""
    quick = ClientOptions(**{**vars(QUICK), **options})
    return FourDSource(SimpleAPIClient(server.url, Credentials(user, password) if user else None, quick))


def read_all(source: FourDSource, table: str = "Kunden", **scope: object) -> tuple[list[dict[str, object]], FourDFetch]:
    """All rows of a scope and the finished fetch."""
    fetch = source.fetch(Scope(table, **{"page_size": 10, **scope}))
    rows = [row for batch in fetch for row in batch.to_pylist()]
    return rows, fetch


def keys_of(rows: list[Mapping[str, object]] | list[dict[str, object]]) -> list[object]:
    """Their keys, in the order they came."""
    return [row["__KEY"] for row in rows]


def batch_dict(batch: pa.RecordBatch) -> dict[str, list[object]]:
    """The columns of a batch by name."""
    return dict(batch.to_pydict())
