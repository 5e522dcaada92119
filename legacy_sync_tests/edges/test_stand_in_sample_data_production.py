"""Do molds, articles on them, orders and their positions belong together, with the usual exceptions?"""

from collections import Counter
from collections.abc import Callable

import pytest

from legacy_sync.demo.four_d_server import Store
from legacy_sync.demo.four_d_server.store import Row
from legacy_sync.demo.sample_data import (
    FAMILIES,
    MOLD_ARTICLES,
    MOLDS,
    ORDER_ITEMS,
    ORDERS,
    VARIANTS,
    build_store,
)


@pytest.fixture(scope="module")
def store() -> Store:
    return build_store(seed=1, families=400, variants=1075)


def _text(value: object) -> str:
    return str(value or "").strip()


def _bases(store: Store) -> set[object]:
    """Old base numbers of families that have a variant."""
    bases = {row["oldArtKalk"] for row in store.rows(FAMILIES)}
    return {row["fk_ArtNr"] for row in store.rows(VARIANTS)} & bases


def test_articles_on_molds_are_families_with_variants(store: Store) -> None:
    molds, bases = {_text(row["FormNr"]) for row in store.rows(MOLDS)}, _bases(store)
    rows = store.rows(MOLD_ARTICLES)
    wrong = [row for row in rows if row["Art_Nr"] not in bases or row["FormNr"] not in molds]
    assert 1 <= len(wrong) <= 0.02 * len(rows)
    assert max(Counter((row["Art_Nr"], row["FormNr"]) for row in rows).values()) == 1


def test_orders_name_their_mold_by_number_and_mostly_by_key(store: Store) -> None:
    numbers = {row["UID"]: _text(row["FormNr"]) for row in store.rows(MOLDS)}
    rows = store.rows(ORDERS)
    linked = [row for row in rows if row["linked_Form"]]
    assert 0.5 * len(rows) < len(linked) < 0.9 * len(rows)
    assert sum(numbers[str(row["linked_Form"])] != row["Form_Nr"] for row in linked) < 0.02 * len(rows)
    assert {row["Status"] for row in rows} > {"V", "E", "S", "D", "C"}


def test_positions_belong_to_orders_and_are_numbered(store: Store) -> None:
    orders = {str(row["WerkAufNr"]) for row in store.rows(ORDERS)}
    rows, bases = store.rows(ORDER_ITEMS), _bases(store)
    lost = [row for row in rows if str(row["W_Auftr_Nr"]) not in orders]
    places = Counter((str(row["W_Auftr_Nr"]), row["WAP_Nr"]) for row in rows if row not in lost)
    assert 1 <= len(lost) <= 0.01 * len(rows)
    assert max(places.values()) == 1
    assert 0 < sum(_text(row["Art_Nr"]) not in bases for row in rows) < 0.03 * len(rows)


@pytest.mark.parametrize(
    ("table", "found"),
    [
        (MOLDS, lambda row: row["FormNr"] != _text(row["FormNr"])),
        (MOLDS, lambda row: row["Sperre"] == "1"),
        (MOLDS, lambda row: row["Bemerkung"] is None),
        (MOLD_ARTICLES, lambda row: row["Gewichtung"] == 2.33333),
        (MOLD_ARTICLES, lambda row: row["Anzahl"] is None),
        (ORDERS, lambda row: isinstance(row["WerkAufNr"], str)),
        (ORDERS, lambda row: row["eingestellt"] == "31!2!2018"),
        (ORDERS, lambda row: row["Status"] == "X"),
        (ORDERS, lambda row: row["Form_Nr"] == "F9999"),
        (ORDER_ITEMS, lambda row: "," in str(row["St_Haben"])),
        (ORDER_ITEMS, lambda row: row["Anteil"] == 0.333333333),
        (ORDER_ITEMS, lambda row: row["Arbeitsgang"] == " E "),
        (ORDER_ITEMS, lambda row: row["Datum_begin"] == "2!5!24"),
    ],
)
def test_surprise_is_in_the_data(store: Store, table: str, found: Callable[[Row], bool]) -> None:
    rows = store.rows(table)
    assert 0 < sum(found(row) for row in rows) / len(rows) < 0.6
