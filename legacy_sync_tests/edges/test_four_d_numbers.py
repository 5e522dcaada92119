"""Does the 4D source fetch slices of a whole number, whichever way a table is paged?"""

from collections.abc import Iterator
from datetime import date
from itertools import pairwise

import pytest
from four_d_setup import read_all, source_of, uid

from legacy_sync.demo.four_d_server import AttributeDef, FourDServer, Store, TableDef
from legacy_sync.errors import SourceRefused, SourceUntrustworthy

HEADS = TableDef(
    "Belege",
    (AttributeDef("UID", "uuid"), AttributeDef("AbsNr", "long"), AttributeDef("Art"), AttributeDef("Datum", "date")),
)
LINES = TableDef(
    "Belege_Pos",
    (AttributeDef("AbsNr", "long"), AttributeDef("PosNr", "long"), AttributeDef("Nr", kind="calculated")),
    key="Nr",
)


@pytest.fixture
def server() -> Iterator[FourDServer]:
    """30 documents with the numbers 0, 100, …, 2900 and one without; three lines each."""
    store = Store()
    for table in (HEADS, LINES):
        store.add_table(table)
    heads = [{"UID": uid(n), "AbsNr": n * 100, "Art": "R", "Datum": f"{n + 1}!3!2025"} for n in range(30)]
    store.load("Belege", [*heads, {"UID": uid(77), "AbsNr": None, "Art": "R", "Datum": "1!3!2025"}])
    store.load(
        "Belege_Pos",
        [{"Nr": f"{n}_{p}", "AbsNr": n * 100, "PosNr": p} for n in range(30) for p in (1, 2, 3)],
    )
    with FourDServer(store) as running:
        yield running


def numbers(server: FourDServer, table: str = "Belege", **scope: object) -> list[object]:
    rows, fetch = read_all(source_of(server), table, number_attribute="AbsNr", **scope)
    assert fetch.report.complete
    return [row["AbsNr"] for row in rows]


@pytest.mark.parametrize(("table", "each"), [("Belege", 1), ("Belege_Pos", 3)])
def test_a_slice_brings_its_rows_and_no_others(server: FourDServer, table: str, each: int):
    found = numbers(server, table, number_from=500, number_to=1500)
    assert sorted(found) == sorted(list(range(500, 1500, 100)) * each)
    assert set(numbers(server, table, number_from=2800)) == {2800, 2900}


def test_rows_without_a_number_come_with_the_first_slice(server: FourDServer):
    assert numbers(server, number_to=200) == [0, 100, None]


def test_slices_together_bring_everything_once(server: FourDServer):
    bounds = [None, 700, 1400, 2100, None]
    parts = [numbers(server, number_from=low, number_to=high) for low, high in pairwise(bounds)]
    assert sorted(str(number) for part in parts for number in part) == sorted(map(str, numbers(server)))


def test_a_slice_and_a_cursor_restrict_together(server: FourDServer):
    assert numbers(server, cursor="Datum", cursor_from=date(2025, 3, 11), number_to=1200) == [1000, 1100]


@pytest.mark.parametrize("table", ["Belege", "Belege_Pos"])
def test_an_ignored_filter_is_an_error(server: FourDServer, table: str):
    server.faults.add("ignore_filter", table=table)
    with pytest.raises(SourceUntrustworthy, match="filter ignored: a row has AbsNr"):
        numbers(server, table, number_from=500, number_to=1500)


def test_an_attribute_that_is_no_number_is_refused_before_anything_is_asked(server: FourDServer):
    with pytest.raises(SourceRefused, match='the attribute "Art" of "Belege" is no number but string'):
        read_all(source_of(server), "Belege", number_attribute="Art", number_from=5)
    with pytest.raises(SourceRefused, match='no attribute "AbsNummer" to select by') as refused:
        read_all(source_of(server), "Belege", number_attribute="AbsNummer", number_from=5)
    assert "close: AbsNr" in refused.value.next_step
