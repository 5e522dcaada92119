"""Does everything that lies somewhere lead to its place, box, slot and article, except where it must not?"""

from collections import Counter
from collections.abc import Callable

import orjson
import pytest

from legacy_sync.demo.four_d_server import Store
from legacy_sync.demo.four_d_server.store import Row
from legacy_sync.demo.sample_data import (
    BOX_STOCK,
    BOXES,
    PARAMETERS,
    PLACES,
    SLOTS,
    STOCK,
    VARIANTS,
    build_store,
)

FIVE_PARTS = ("Land_LKZ", "Ort_Gebaeude", "Regal", "Fach", "Boden")
TYPES = "Schüttentypen"


@pytest.fixture(scope="module")
def store() -> Store:
    return build_store(seed=1)


def _whole(value: object) -> int:
    return int(str(value or 0))


def _loaded(value: object) -> Row:
    """What `data_` says, as object or text; nothing if it is broken."""
    try:
        found = orjson.loads(value) if isinstance(value, str) else value
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _box_of(slot: Row) -> int:
    return _whole(slot["ID_Lager_Schuetten_Slots"]) or _whole(slot["viele_zu_eins"])


def _loadable_stock(store: Store) -> set[object]:
    articles = {str(row["refOld"]) for row in store.rows(VARIANTS)} - {"0"}
    places = {row["UUID"] for row in store.rows(PLACES) if row["ID_Lagerort"]}
    rows = store.rows(STOCK)
    return {r["UUID"] for r in rows if str(r["ID_Artikel_Stamm"]) in articles and r["UUID_Stamm_Lagerorte"] in places}


def test_some_places_have_a_twin_and_one_has_no_number(store: Store) -> None:
    rows = store.rows(PLACES)
    twins = Counter(tuple(str(row[part]) for part in FIVE_PARTS) for row in rows)
    assert sum(count == 2 for count in twins.values()) == 9
    assert max(twins.values()) == 2
    assert sum(row["ID_Lagerort"] is None for row in rows) == 1
    assert len({str(row["ID_Lagerort"]) for row in rows}) == len(rows)


def test_one_parameter_row_holds_the_box_types(store: Store) -> None:
    (types,) = (_loaded(row["data_"])[TYPES] for row in store.rows(PARAMETERS) if row["scope"] == TYPES)
    names = [each["Type"] for each in types]
    assert len(names) == len(set(names)) == 46
    assert "" in names
    assert {"Hersteller", "Box_Länge", "Box_Gewicht", "Trenner_Gewicht", "Slots"} < set(types[0])


def test_about_three_hundred_boxes_are_of_an_unknown_type(store: Store) -> None:
    (types,) = (_loaded(row["data_"])[TYPES] for row in store.rows(PARAMETERS) if row["scope"] == TYPES)
    known = {each["Type"] for each in types} - {""}
    said = [_loaded(row["data_"]).get("Schuettentype") for row in store.rows(BOXES)]
    assert 290 <= sum(name not in known for name in said) <= 330


def test_boxes_stand_at_places(store: Store) -> None:
    codes = {row["UUID"]: row["Lagerort"] for row in store.rows(PLACES)}
    data = [_loaded(row["data_"]) for row in store.rows(BOXES)]
    right = sum(codes.get(said.get("Stamm_Lagerort")) == said.get("Lagerort") for said in data)
    only_code = sum("Stamm_Lagerort" not in said and said.get("Lagerort") in codes.values() for said in data)
    assert right > 0.95 * len(data)
    assert 50 < only_code < 100


def test_slots_lead_to_boxes_by_one_attribute_or_the_other(store: Store) -> None:
    boxes = {_whole(row["ID"]) for row in store.rows(BOXES)}
    slots = store.rows(SLOTS)
    assert sum(_box_of(slot) not in boxes for slot in slots) == 18
    assert sum(not slot["ID_Lager_Schuetten_Slots"] for slot in slots) > 100
    codes = Counter((_box_of(s), code) for s in slots if (code := _loaded(s["data_"]).get("Slot_Code")))
    assert 9 <= sum(count > 1 for (box, _), count in codes.items() if box in boxes) <= 10


def test_stock_that_leads_nowhere_stays_below_four_percent(store: Store) -> None:
    rows, loadable = store.rows(STOCK), _loadable_stock(store)
    pairs = Counter((str(r["ID_Artikel_Stamm"]), r["UUID_Stamm_Lagerorte"]) for r in rows if r["UUID"] in loadable)
    doubles = sum(count - 1 for count in pairs.values())
    assert doubles == 6
    assert len(rows) - len(loadable) + doubles == 116


def test_most_stock_is_nothing(store: Store) -> None:
    counts = Counter(row["Bestand"] for row in store.rows(STOCK))
    assert counts[None] + counts[0] > 0.97 * counts.total()
    assert counts["abc"] > 0 < counts[""]
    assert 20 < sum(counts[number] for number in (50, 4, 120, 1, 12)) < 40


def test_what_is_in_a_box_is_in_a_slot_of_it(store: Store) -> None:
    boxes = {_whole(slot["ID"]): _box_of(slot) for slot in store.rows(SLOTS)}
    loadable, rows = _loadable_stock(store), store.rows(BOX_STOCK)
    wrong = 0
    for row in rows:
        slot = _loaded(row["Relation_95_zurueck"]).get("ID_Lager_Schuetten_Slots")
        box = _whole(row["ID_Stamm_Lager_Schuetten"])
        wrong += row["UUID_Artikel_Lagerorte"] not in loadable or (slot is not None and boxes.get(slot) != box)
    assert 5 <= wrong <= 14


@pytest.mark.parametrize(
    ("table", "found"),
    [
        (PLACES, lambda row: isinstance(row["Regal"], str)),
        (PLACES, lambda row: row["Regal"] is None and str(row["Lagerort"]).startswith("Raum")),
        (BOXES, lambda row: isinstance(row["data_"], str)),
        (BOXES, lambda row: row["data_"] and not _loaded(row["data_"])),
        (BOXES, lambda row: row["Druckdatum"] == "31!2!18"),
        (BOXES, lambda row: len(str(row["Druckdatum"])) == 8),
        (BOXES, lambda row: _loaded(row["data_"]).get("Schuettenzweck", "") is None),
        (SLOTS, lambda row: isinstance(row["data_"], str)),
        (SLOTS, lambda row: isinstance(row["ID_Lager_Schuetten_Slots"], str)),
        (STOCK, lambda row: isinstance(row["ID_Artikel_Stamm"], str)),
        (STOCK, lambda row: row["Reserved"] == "Y"),
        (STOCK, lambda row: row["UUID_Lager_Schuetten"]),
        (BOX_STOCK, lambda row: row["Menge"] is None),
        (BOX_STOCK, lambda row: row["Ablaufdatum"] == "31.02.2024"),
        (BOX_STOCK, lambda row: row["Relation_95_zurueck"] == "invalid json"),
        (BOX_STOCK, lambda row: row["Relation_95_zurueck"] is None),
        (BOX_STOCK, lambda row: isinstance(row["Relation_95_zurueck"], str)),
    ],
)
def test_surprise_is_in_the_data(store: Store, table: str, found: Callable[[Row], object]) -> None:
    rows = store.rows(table)
    share = sum(bool(found(row)) for row in rows) / len(rows)
    assert 0 < share < (0.9 if table == BOXES else 0.3)
