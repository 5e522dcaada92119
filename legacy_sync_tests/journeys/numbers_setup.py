"""What do the journeys with numbered documents share? Two small tables, heads and lines, cut by the same number."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from journey_setup import Journey, empty_store, key_of

from legacy_sync.demo.four_d_server import AttributeDef, FourDServer, Store, TableDef
from legacy_sync.sync.report import RunReport
from legacy_sync.sync.windows import KEYS, WHOLE

HEADS = "products_productcategory"
LINES = "products_unifiedproduct"
TABLES = {HEADS: "Belege", LINES: "Belege_Pos"}
SLICES = ["n00", "n01", "n02", "n03"]

_HEADS_TABLE = TableDef(
    "Belege",
    (
        AttributeDef("UID", "uuid"),
        AttributeDef("AbsNr", "long"),
        AttributeDef("Text"),
        AttributeDef("modified_date", "date"),
    ),
)
_LINES_TABLE = TableDef(  # without one stored key, as the real one: read as an entity set
    "Belege_Pos",
    (
        AttributeDef("AbsNr", "long"),
        AttributeDef("PosNr", "long"),
        AttributeDef("Text"),
        AttributeDef("modified_date", "date"),
        AttributeDef("Nr", kind="calculated"),
    ),
    key="Nr",
)
_BY_NUMBER = {"type": "number_range", "attribute": "AbsNr", "size": 100, "count": 4}
_FIRST_VALUES = {"description": "", "legacy_base_sku": "", "price": 0, "is_active": True}
MAPPINGS: dict[str, dict[str, Any]] = {
    HEADS: {
        "group": "documents",
        "source": {"table": "Belege", "cursor": "modified_date"},
        "target": {"table": HEADS, "on_insert": {"description": ""}},
        "partitions": _BY_NUMBER,
        "fields": {"code": {"from": "AbsNr", "required": True}, "name": {"from": "Text", "required": True}},
        "deletes": {"policy": "report"},
    },
    LINES: {
        "group": "documents",
        "source": {"table": "Belege_Pos", "key": ["AbsNr", "PosNr"], "cursor": "modified_date"},
        "target": {
            "table": LINES,
            "on_insert": {**_FIRST_VALUES, "is_variant": False, "is_parent": False},
            "created_at": "created_at",
            "updated_at": "updated_at",
        },
        "partitions": _BY_NUMBER,
        "fields": {"sku": {"from": "__KEY", "required": True}, "name": {"from": "Text", "required": True}},
        "depends_on": [HEADS],
    },
}


class Documents(Journey):
    """A journey whose only entities are documents and their lines, 100 numbers to a slice, four slices."""

    def __init__(self, server: FourDServer, erp_url: str, folder: Path) -> None:
        super().__init__(server, erp_url, folder)
        self.said = {entity: dict(words) for entity, words in MAPPINGS.items()}

    def run(self, entity: str = HEADS, partitions: Sequence[str] | None = None, **how: Any) -> RunReport:
        """Fetches and loads one entity."""
        return super().run(entity, partitions, **how)

    def head(self, number: int | None, uid: int | None = None, **values: Any) -> str:
        """Somebody saves a new document; returns its key."""
        key = key_of(uid if uid is not None else 1_000_000 + (number or 0))
        row = {"UID": key, "AbsNr": number, "Text": f"Beleg {number}", **values}
        return self.store.insert("Belege", row)

    def line(self, number: int, place: int, **values: Any) -> str:
        """Somebody saves a new line of a document; returns its key."""
        row = {"Nr": f"{number}_{place}", "AbsNr": number, "PosNr": place, "Text": f"Pos {place}", **values}
        return self.store.insert("Belege_Pos", row)

    def change(self, table: str, key: str, **values: Any) -> None:
        """Somebody saves changed values."""
        self.store.update(table, key, values)

    def numbers(self) -> list[str]:
        """The numbers of all documents in the ERP."""
        return [r["code"] for r in self.query(f"select code from {HEADS} order by length(code), code")]

    def marks(self, entity: str = HEADS) -> dict[str, str | None]:
        """Watermarks by partition, without the times at which all rows or keys were read."""
        rows = self.query(
            "select partition, value from legacy_sync.watermark join legacy_sync.entity e on e.id = entity_id"
            " where e.name = %s order by partition",
            entity,
        )
        return {r["partition"]: r["value"] for r in rows if r["partition"] not in (KEYS, WHOLE)}

    def written(self) -> dict[str, list[tuple[Any, ...]]]:
        """Where every row of the ERP and of its bindings lies; any write changes this."""
        return self.places(*TABLES, "legacy_sync.binding", "legacy_sync.change")

    def requests(self, table: str) -> int:
        """Requests for rows of a table so far."""
        return sum(seen.resource == table for seen in self.server.log)


def documents_store() -> Store:
    """A legacy database with both tables and no rows."""
    return empty_store(_HEADS_TABLE, _LINES_TABLE)
