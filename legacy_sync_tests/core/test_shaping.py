"""Which records does a mapping mean, and what do values made of several say?"""

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from legacy_sync.mapping.model import Part, Source
from legacy_sync.sources.four_d.wire import to_batch
from legacy_sync.sync.merge import merged
from legacy_sync.sync.shaping import shape
from legacy_sync.sync.values import ANY_TEXT, Records, raw_row


def source(**words: Any) -> Source:
    return Source(table="T", **words)


def value(records: list[dict[str, Any]], **words: Any) -> list[Any]:
    return Records(to_batch(records)).value(Part.model_validate(words), ANY_TEXT).values.to_pylist()


@pytest.mark.parametrize(("wanted", "kept"), [("A", [0]), (["a", "B"], [0, 1]), ("", [2, 3]), ("*", [0, 1])])
def test_only_records_with_the_wanted_values_are_meant(wanted: object, kept: list[int]):
    rows = [{"n": 0, "x": "A "}, {"n": 1, "x": "b"}, {"n": 2, "x": " "}, {"n": 3, "x": None}]
    shaped = shape(source(where={"x": wanted}), to_batch(rows))
    assert (shaped.batch.column("n").to_pylist(), shaped.ignored) == (kept, 4 - len(kept))


def test_items_of_a_list_become_records_beside_the_values_of_their_record():
    rows = [
        {"id": 1, "scope": "S", "data_": {"L": [{"id": 7, "x": 1}, {"id": 8}]}},
        {"id": 2, "scope": "S", "data_": None},
    ]
    shaped = shape(source(explode={"attribute": "data_", "list": "L"}), to_batch(rows))
    records = [raw_row(shaped.batch, n) for n in range(shaped.batch.num_rows)]
    assert records == [{"id": 7, "scope": "S", "x": 1}, {"id": 8, "scope": "S"}]
    assert shape(source(explode={"attribute": "data_", "list": "L"}), shaped.batch).batch == shaped.batch


def test_list_as_text_is_read_and_what_is_none_is_named():
    rows = [{"d": '[{"a": 1}]'}, {"d": "kaputt"}, {"d": {"L": "x"}}, {"d": [5]}]
    shaped = shape(source(explode={"attribute": "d"}), to_batch(rows))
    assert shaped.batch.column("a").to_pylist() == [1]
    assert [reason for _, reason, _ in shaped.unreadable] == ["not_a_list", "not_a_list", "not_a_record"]


def test_first_value_that_is_not_blank_counts():
    words = {"first_of": [{"from": "a"}, {"from": "b", "prefix": "Nr. "}, {"value": "?"}]}
    assert value([{"a": " ", "b": 5}, {"a": "x", "b": None}, {"a": None, "b": ""}], **words) == ["Nr. 5", "x", "?"]


def test_joined_values_leave_blanks_out_and_constants_alone_are_nothing():
    words = {"join": [{"from": "a"}, {"value": "und"}, {"from": "b"}], "separator": " "}
    assert value([{"a": "x", "b": "y"}, {"a": "x", "b": None}, {"a": None, "b": ""}], **words) == [
        "x und y",
        "x und",
        None,
    ]


rows = st.lists(
    st.fixed_dictionaries({"a": st.one_of(st.none(), st.integers(-5, 5), st.text(max_size=3), st.booleans())}),
    min_size=1,
    max_size=6,
)


@settings(deadline=None)  # the first call loads Arrow
@given(st.lists(rows, min_size=1, max_size=6))
def test_merged_batches_have_the_same_values_in_the_same_order(pages: list[list[dict[str, Any]]]):
    before = [text for page in pages for text in Records(to_batch(page)).text("a").to_pylist()]
    after = [text for batch in merged(map(to_batch, pages)) for text in Records(batch).text("a").to_pylist()]
    assert after == before


def test_many_small_pages_become_one_batch():
    pages = [pa.RecordBatch.from_pylist([{"a": n}]) for n in range(100)]
    assert [batch.num_rows for batch in merged(iter(pages))] == [100]
