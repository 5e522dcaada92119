"""Does every shape a 4D answer can have arrive in Arrow as `sources/base.py` promises?"""

import json
from datetime import date

import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from legacy_sync.errors import SourceUntrustworthy
from legacy_sync.sources.base import ABSENT, Attribute, TableInfo, is_json_text
from legacy_sync.sources.four_d.answers import parse_json
from legacy_sync.sources.four_d.catalog import paging_key, read_catalog
from legacy_sync.sources.four_d.wire import decode_date, read_envelope, to_batch

KUNDEN = {
    "name": "Kunden",
    "attributes": [
        {"name": "UID", "kind": "storage", "type": "uuid", "identifying": True},
        {"name": "Straße", "kind": "storage", "type": "string"},
        {"name": "Umsatz", "kind": "storage", "type": "number"},
        {"name": "Menge", "kind": "storage", "type": "long"},
        {"name": "Gesperrt", "kind": "storage", "type": "bool"},
        {"name": "data_", "kind": "storage", "type": "object"},
        {"name": "Gruppe", "kind": "relatedEntity", "type": "Gruppen"},
        {"name": "Belege", "kind": "relatedEntities", "type": "BelegeSelection"},
        {"name": "Anzeige", "kind": "calculated", "type": "string", "readOnly": True},
    ],
    "key": [{"name": "UID"}],
}
INFO = read_catalog({"dataClasses": [KUNDEN]}, "here")["Kunden"]

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)
names = st.text("abcäöüß_", min_size=1, max_size=4)
columns = st.sampled_from([st.integers(), st.text(), st.booleans(), st.floats(allow_nan=False, width=32), values])


def column(batch: pa.RecordBatch, name: str) -> list[object]:
    """The values of a column, JSON texts decoded."""
    found = batch.column(name).to_pylist()
    if not is_json_text(batch.schema.field(name)):
        return found
    return [None if text is None else json.loads(text) for text in found]


def one(name: str, *cells: object, info: TableInfo | None = None) -> pa.RecordBatch:
    """A batch with one column besides the key."""
    return to_batch([{"__KEY": str(n), "__STAMP": 1, name: cell} for n, cell in enumerate(cells)], info)


@pytest.mark.parametrize("parsed", [{"__UNIQID": "X", "dataClasses": [KUNDEN]}, KUNDEN, [KUNDEN]])
def test_every_shape_of_the_catalog_says_the_same(parsed):
    info = read_catalog(parsed, "here")["Kunden"]
    assert info == INFO
    assert info.key == ("UID",)
    assert [a.name for a in info.attributes if not a.stored] == ["Gruppe", "Belege", "Anzeige"]


@pytest.mark.parametrize("parsed", [{}, {"dataClasses": "x"}, ["Kunden"], "x", {"dataClasses": [{}]}])
def test_what_is_no_catalog_is_not_trusted(parsed):
    with pytest.raises(SourceUntrustworthy, match="no 4D catalog"):
        read_catalog(parsed, "here")


def test_the_key_is_found_when_only_the_attribute_is_marked():
    without = {name: value for name, value in KUNDEN.items() if name != "key"}
    assert read_catalog(without, "here")["Kunden"].key == ("UID",)


@pytest.mark.parametrize(("key", "stored"), [((), True), (("A", "B"), True), (("A",), False), (("Weg",), True)])
def test_without_a_single_stored_key_there_is_nothing_to_page_by(key, stored):
    info = TableInfo("T", (Attribute("A", "long", stored), Attribute("B", "long")), key)
    assert paging_key(info) is None


def test_catalog_types_decide_where_values_leave_room():
    row = {"__KEY": "A", "UID": "A", "Umsatz": 12, "Menge": 3, "Gesperrt": None, "Straße": None, "data_": None}
    batch = to_batch([row], INFO)
    kinds = [batch.schema.field(name).type for name in ("Umsatz", "Menge", "Gesperrt", "Straße")]
    assert kinds == [pa.float64(), pa.int64(), pa.bool_(), pa.string()]
    assert is_json_text(batch.schema.field("data_"))


def test_a_value_the_catalog_did_not_promise_keeps_its_own_type():
    assert one("Menge", 2.5, info=INFO).column("Menge").to_pylist() == [2.5]
    assert one("Straße", 7, info=INFO).column("Straße").to_pylist() == [7]
    assert one("Umsatz", "1,5", info=INFO).column("Umsatz").to_pylist() == ["1,5"]
    assert one("Gesperrt", 1, info=INFO).column("Gesperrt").to_pylist() == [1]


@pytest.mark.parametrize(
    "cells", [(1, "1"), (True, 1), (1.5, True), ("a", {"b": 1}), ([1], None), ({"a": 1}, {"a": "x"}), (2**63, 1)]
)
def test_mixed_kinds_objects_and_lists_become_json_texts(cells):
    for order in (cells, cells[::-1]):
        batch = one("X", *order)
        assert is_json_text(batch.schema.field("X"))
        assert [repr(cell) for cell in column(batch, "X")] == [repr(cell) for cell in order]


def test_big_whole_numbers_lose_no_digit():
    assert one("Umsatz", 2**53 + 1, info=INFO).column("Umsatz").to_pylist() == [2**53 + 1]
    assert column(one("X", 2**53 + 1, 0.5), "X") == [2**53 + 1, 0.5]
    assert one("Menge", 2**63 - 1, info=INFO).column("Menge").to_pylist() == [2**63 - 1]


def test_links_are_dropped_and_calculated_values_stay():
    link = {"__deferred": {"uri": "/rest/Gruppen(12)", "__KEY": "12"}}
    rows = [
        {"__KEY": str(n), "Gruppe": gruppe, "Belege": link, "Anzeige": "x"} for n, gruppe in enumerate([None, link])
    ]
    assert to_batch(rows, INFO).schema.names == ["__KEY", "Anzeige"]
    assert to_batch(rows).schema.names == ["__KEY", "Anzeige"]


def test_a_stored_picture_stays_as_what_the_server_said():
    info = TableInfo("T", (Attribute("Logo", "image"),))
    link = {"__deferred": {"uri": "/rest/T(1)/Logo", "image": True}}
    assert column(one("Logo", None, link, info=info), "Logo") == [None, link]


def test_attributes_that_only_some_rows_carry_are_named_as_absent():
    rows = [{"__KEY": "1", "A": 1, "B": 2}, {"__KEY": "2", "A": None}, {"__KEY": "3", "C": "x"}]
    batch = to_batch(rows)
    assert batch.column(ABSENT).to_pylist() == ["C", "B\nC", "A\nB"]
    assert batch.column("A").to_pylist() == [1, None, None]
    assert ABSENT not in to_batch(rows[:1]).schema.names


def test_the_same_number_of_attributes_does_not_hide_that_they_differ():
    batch = to_batch([{"__KEY": "1", "A": 1}, {"__KEY": "2", "B": 2}])
    assert batch.column(ABSENT).to_pylist() == ["B", "A"]


def test_time_stamps_lose_their_second_pair_of_quotes():
    batch = one("__TIMESTAMP", '"2017-03-13T08:27:17.298Z"', "2017-03-13T08:27:17.298Z")
    assert set(batch.column("__TIMESTAMP").to_pylist()) == {"2017-03-13T08:27:17.298Z"}


def test_a_numeric_key_of_the_envelope_becomes_text():
    parsed = {"__ENTITIES": [{"__KEY": 15, "ID": 15}], "__COUNT": 1}
    assert to_batch(read_envelope(parsed, "here").rows).column("__KEY").to_pylist() == ["15"]


def test_holes_are_counted_and_dropped():
    parsed = {"__SENT": 2, "__ENTITIES": [{"__STAMP": 0}, {"__KEY": "1", "__STAMP": 2}], "__COUNT": 5}
    page = read_envelope(parsed, "here")
    assert (len(page.rows), page.holes, page.received, page.count) == (1, 1, 2, 5)


@pytest.mark.parametrize(
    ("parsed", "fact"),
    [
        ({"ok": True}, '{"ok":true} without __ENTITIES'),
        ({"__COUNT": 3}, "without __ENTITIES"),
        ([], "without __ENTITIES"),
        ({"__ENTITIES": []}, "without a usable __COUNT"),
        ({"__ENTITIES": [], "__COUNT": True}, "without a usable __COUNT"),
        ({"__ENTITIES": [1], "__COUNT": 1}, "no row inside"),
        ({"__ENTITIES": [{"__STAMP": 1, "A": 2}], "__COUNT": 1}, "row without __KEY"),
    ],
)
def test_an_envelope_with_a_part_missing_is_not_trusted(parsed, fact):
    with pytest.raises(SourceUntrustworthy, match=fact):
        read_envelope(parsed, "here")


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("5!3!2024", date(2024, 3, 5)),
        ("05!03!2024", date(2024, 3, 5)),
        ("!!2024-03-05!!", date(2024, 3, 5)),
        ("2024-03-05T23:00:00.000Z", date(2024, 3, 5)),
        ("0!0!0", None),
        ("00!00!0000", None),
        ("!!0000-00-00!!", None),
        ("", None),
        (None, None),
    ],
)
def test_dates_are_read_in_every_spelling(text, day):
    assert decode_date(text) == day


@pytest.mark.parametrize("text", ["31!2!2024", "gestern", "1!2", "2024-13-01"])
def test_what_is_no_date_is_an_error_and_not_a_blank(text):
    with pytest.raises(ValueError):  # noqa: PT011  the caller adds where it stood
        decode_date(text)


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"a":', b'{"a":1} x', b"null", b'"x"', b'{"a":"\xff"}'])
def test_what_is_no_complete_json_is_none(body):
    assert parse_json(body) is None


def test_charsets_and_loose_json_are_read():
    assert parse_json('{"a":"ü"}'.encode("latin-1"), "application/json; charset=ISO-8859-1") == {"a": "ü"}
    assert parse_json('{"a":"ü"}'.encode(), "application/json") == {"a": "ü"}
    assert parse_json(b'{"a":NaN,"b":"x\ry"}') == {"a": None, "b": "x\ry"}


def test_no_rows_make_an_empty_batch():
    assert to_batch([], INFO).num_rows == 0


@given(st.lists(st.dictionaries(names, values, max_size=4), max_size=6))
def test_decoding_what_a_server_encodes_gives_the_values_back(contents):
    rows = [{"__KEY": str(n), "__STAMP": 1, **row} for n, row in enumerate(contents)]
    body = json.dumps({"__COUNT": len(rows), "__ENTITIES": rows}).encode()
    assert_same(to_batch(read_envelope(parse_json(body), "here").rows), json.loads(orjson_like(body))["__ENTITIES"])


@given(st.data())
def test_columns_of_one_kind_survive_too(data):
    cells = data.draw(st.lists(data.draw(columns) | st.none(), min_size=1, max_size=20))
    rows = [{"__KEY": str(n), "__STAMP": 1, "X": cell} for n, cell in enumerate(cells)]
    assert_same(to_batch(rows), rows)


def orjson_like(body: bytes) -> str:
    """The body as the parser sees it: whole numbers beyond 64 bits are real numbers."""
    return json.dumps(orjson.loads(body))


def assert_same(batch: pa.RecordBatch, rows: list[dict[str, object]]) -> None:
    """Every value is there, apart from attributes that are only links, and nothing else is."""
    found = {name: column(batch, name) for name in batch.schema.names}
    absent = found.pop(ABSENT, [None] * len(rows))
    assert set(found) == {name for row in rows for name in row}
    for place, row in enumerate(rows):
        missing = set((absent[place] or "").split("\n")) - {""}
        assert missing == set(found) - set(row)
        for name, value in row.items():
            assert found[name][place] == value
