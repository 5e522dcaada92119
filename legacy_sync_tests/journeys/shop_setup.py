"""What does a shop look like whose whole 4D is synchronised? All 4D tables, empty, and the mappings of the project."""

from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from journey_setup import Journey, empty_store, key_of
from ruamel.yaml import YAML

from legacy_sync.demo.four_d_server import FourDServer
from legacy_sync.demo.sample_data import ALL_TABLES
from legacy_sync.settings import PROJECT_ROOT

DOCUMENTS, POSITIONS = "sales_salesrecord", "sales_salesrecorditem"


@cache
def four_d_mappings() -> dict[str, dict[str, Any]]:
    """The project's mappings of 4D tables, without schedules and key lists; calendar windows are one partition."""
    read = YAML(typ="safe")
    said = {file.stem: read.load(file) for file in sorted((PROJECT_ROOT / "mappings").glob("*.yaml"))}
    return {
        entity: {
            **words,
            "schedule": None,
            "partitions": _uncut(words.get("partitions", {"type": "none"})),
            "deletes": {**words["deletes"], "sweep": None},
        }
        for entity, words in said.items()
        if words["source"].get("server", "four_d") == "four_d"
    }


def _uncut(partitions: dict[str, Any]) -> dict[str, Any]:
    return {"type": "none"} if partitions["type"] == "window" else partitions


class Shop(Journey):
    """A journey with words for documents, customers and places."""

    def __init__(self, server: FourDServer, erp_url: str, folder: Path) -> None:
        super().__init__(server, erp_url, folder)
        self.said = deepcopy(four_d_mappings())
        self.overlay["defaults"] = {"max_parked_share": 1}

    def save(self, table: str, number: int, **values: Any) -> str:
        """Somebody saves a record of a table; its key is made of the number."""
        definition = next(t for t in ALL_TABLES if t.name == table)
        return self.store.insert(table, {definition.key: key_of(number), **values})

    def change(self, table: str, key: str, **values: Any) -> None:
        """Somebody saves changed values of a record."""
        self.store.update(table, key, values)

    def document(self, number: int, **values: Any) -> str:
        """An invoice without positions."""
        said = {"AbsNr": number, "PapierNr": number, "Papierart": "R", "Datum": "1!3!2024", "KundenNr": 77}
        return self.save("Belege", number, **{**said, "NettoTage": 30, "Netto": 10, "Endbetrag": 11.9, **values})

    def position(self, document: int, number: int, **values: Any) -> str:
        """One position of a document."""
        said = {"AbsNr": document, "PosNr": number, "ArtNr": "X", "Bezeichnung": "Figur", "Menge": 1, "Preis": 2.5}
        return self.save("Belege_Pos", document * 100 + number, **{**said, **values})

    def documents(self) -> dict[str, list[int]]:
        """The documents in the ERP by number, and the numbers of their positions."""
        rows = self.query(
            "select r.record_number, array_remove(array_agg(i.position order by i.position), null) as positions"
            " from sales_salesrecord r left join sales_salesrecorditem i on i.sales_record_id = r.id group by 1"
        )
        return {row["record_number"]: row["positions"] for row in rows}


@pytest.fixture
def shop(erp_url: str, tmp_path: Path) -> Iterator[Shop]:
    """Both ends without rows."""
    with FourDServer(empty_store(*ALL_TABLES)) as server:
        shop = Shop(server, erp_url, tmp_path)
        yield shop
        shop.close()
