"""What would the rows of a landed batch look like in the ERP, and which are set aside?"""

from datetime import UTC, datetime
from typing import Any

import orjson
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from legacy_sync.erp.catalog import Column, ErpTable
from legacy_sync.erp.staging import keep_column
from legacy_sync.mapping.loader import load_project
from legacy_sync.mapping.model import Mapping
from legacy_sync.settings import read_settings
from legacy_sync.sources.base import ABSENT, JSON_TEXT
from legacy_sync.sources.four_d.wire import to_batch
from legacy_sync.sync.transform import Transform, Transformed
from legacy_sync.sync.values import raw_row


def column(
    name: str, kind: str = "text", *, nullable: bool = True, default: bool = False, length: int | None = None
) -> Column:
    return Column(name, kind, kind, nullable, default, False, length, None, None)


def transform(fields: dict[str, Any], *columns: Column, **words: Any) -> Transform:
    said = {"entity": "t", "source": {"table": "T"}, "target": {"table": "t"}, "fields": fields, **words}
    by_name = {c.name: c for c in (column("id", "int8", nullable=False, default=True), *columns)}
    return Transform(Mapping.model_validate(said), ErpTable("public", "t", by_name, ("id",), (), ()))


def rows_of(*records: dict[str, Any]) -> pa.RecordBatch:
    """Records as the 4D client would deliver them."""
    return to_batch([{"__KEY": f"K{n}", **record} for n, record in enumerate(records)])


def staged(done: Transformed, name: str) -> list[Any]:
    return done.staged.column(name).to_pylist()


def kept(done: Transformed, position: int) -> list[bool]:
    mask, bit = keep_column(position)
    return [bool(value & bit) for value in done.staged.column(mask).to_pylist()]


def parked(done: Transformed) -> list[tuple[int, str, str | None]]:
    return [(p.position, p.reason, p.column) for p in done.parked]


A, B = column("a"), column("b")


def test_every_column_arrives_under_its_erp_name():
    done = transform({"a": {"from": "Name"}, "b": {"value": 5}}, A, B).apply(rows_of({"Name": "x"}, {"Name": "y"}), 100)
    assert staged(done, "_row") == [100, 101]
    assert staged(done, "_key") == ["K0", "K1"]
    assert (staged(done, "a"), staged(done, "b")) == (["x", "y"], ["5", "5"])


def test_key_is_the_same_text_from_numbers_and_texts():
    work = transform({"a": {"from": "Name"}}, A, source={"table": "T", "key": ["Nr"]})
    for number in (803721, "803721", " 803721 ", 803721.0):
        assert staged(work.apply(pa.RecordBatch.from_pylist([{"Nr": number, "Name": "x"}]), 0), "_key") == ["803721"]


def test_several_key_attributes_are_joined():
    work = transform({"a": {"from": "Name"}}, A, source={"table": "T", "key": ["Nr", "Pos"]})
    batch = pa.RecordBatch.from_pylist([{"Nr": 1, "Pos": "a", "Name": "x"}, {"Nr": 1, "Pos": None, "Name": "x"}])
    done = work.apply(batch, 0)
    assert staged(done, "_key") == ["1|a"]
    assert parked(done) == [(1, "no_key", "Nr/Pos")]


@pytest.mark.parametrize("key", ["", "  ", None])
def test_record_without_key_is_parked(key: str | None):
    batch = pa.RecordBatch.from_pylist([{"__KEY": key, "Name": "x"}, {"__KEY": "K", "Name": "y"}])
    done = transform({"a": {"from": "Name"}}, A).apply(batch, 0)
    assert parked(done) == [(0, "no_key", "__KEY")]
    assert staged(done, "_row") == [1]


def test_undelivered_attribute_is_kept_and_null_takes_the_default():
    work = transform({"a": {"from": "Name", "default": "leer"}, "b": {"from": "Ort"}}, A, B)
    done = work.apply(rows_of({"Ort": 1}, {"Name": None, "Ort": 1}, {"Name": "x", "Ort": 1}), 0)
    assert staged(done, "a") == [None, "leer", "x"]
    assert kept(done, 0) == [True, False, False]
    assert done.kept == {"a"}


def test_attribute_that_no_record_carries_is_kept_everywhere():
    done = transform({"a": {"from": "Name"}, "b": {"from": "Ort"}}, A, B).apply(rows_of({"Ort": 1}), 0)
    assert (kept(done, 0), kept(done, 1)) == ([True], [False])


def test_first_delivered_spelling_counts_even_when_null():
    work = transform({"a": {"from": ["aktiv", "Aktiv"]}}, A)
    done = work.apply(rows_of({"aktiv": "x", "Aktiv": "y"}, {"Aktiv": "y"}, {"aktiv": None, "Aktiv": "y"}, {}), 0)
    assert staged(done, "a") == ["x", "y", None, None]
    assert kept(done, 0) == [False, False, False, True]


def test_spellings_may_have_different_types():
    done = transform({"a": {"from": ["x", "X"]}}, A).apply(rows_of({"x": 1}, {"X": "eins"}), 0)
    assert staged(done, "a") == ["1", "eins"]


def test_first_filled_alternative_counts():
    fields = {"a": {"first_of": [{"from": "fk"}, {"from": "alt", "cast": {"type": "split_last", "part": "before"}}]}}
    records = [
        {"fk": "11400", "alt": "1-BE"},
        {"fk": "", "alt": "11400-BE"},
        {"fk": None, "alt": None},
        {"fk": 5, "alt": ""},
    ]
    done = transform(fields, A).apply(rows_of(*records), 0)
    assert [v or "" for v in staged(done, "a")] == ["11400", "11400", "", "5"]


def test_alternatives_are_kept_only_if_none_was_delivered():
    done = transform({"a": {"first_of": [{"from": "fk"}, {"from": "alt"}]}}, A).apply(
        rows_of({"fk": ""}, {"alt": "x"}, {}), 0
    )
    assert kept(done, 0) == [False, False, True]


@pytest.mark.parametrize("value", ["", "  ", None])
def test_required_value_that_is_blank_parks_the_row(value: str | None):
    done = transform({"a": {"from": "Name", "required": True}}, A).apply(rows_of({"Name": value}, {"Name": "x"}), 0)
    assert parked(done) == [(0, "required", "a")]


def test_required_value_that_is_not_delivered_is_left_to_the_plan():
    done = transform({"a": {"from": "Name", "required": True}}, A).apply(rows_of({"Name": "x"}, {}), 0)
    assert parked(done) == []
    assert done.kept == {"a"}


def test_null_for_a_column_that_takes_none_parks_the_row():
    strict = column("a", nullable=False)
    done = transform({"a": {"from": "Name"}}, strict).apply(rows_of({"Name": None}, {"Name": "x"}, {}), 0)
    assert parked(done) == [(0, "null", "a")]
    assert kept(done, 0) == [False, True]


@pytest.mark.parametrize(
    ("if_invalid", "value", "keeps"), [("park", None, None), ("default", 7, False), ("keep", None, True)]
)
def test_invalid_value_has_the_declared_answer(if_invalid: str, value: object, keeps: bool | None):
    field = {"from": "Nr", "default": 7, "if_invalid": if_invalid}
    done = transform({"a": field}, column("a", "int4")).apply(rows_of({"Nr": "ca. 12"}), 0)
    if keeps is None:
        assert parked(done) == [(0, "not_a_number", "a")]
        assert (done.parked[0].value, done.parked[0].message) == ("ca. 12", 'a "ca. 12" is no number')
    else:
        assert (staged(done, "a"), kept(done, 0)) == ([value], [keeps])
        assert done.notes == {"a: invalid value replaced": 1}


def test_null_can_keep_the_erp_value():
    done = transform({"a": {"from": "Preis", "if_null": "keep"}}, A).apply(rows_of({"Preis": None}, {"Preis": 1}), 0)
    assert kept(done, 0) == [True, False]


def test_first_reason_of_a_row_is_the_one_told():
    fields = {"a": {"from": "x", "required": True}, "b": {"from": "y"}}
    done = transform(fields, A, column("b", "int4")).apply(rows_of({"x": "", "y": "abc"}), 0)
    assert parked(done) == [(0, "required", "a")]


def test_long_values_are_cut_in_messages_and_nul_bytes_made_visible():
    work = transform({"a": {"from": "x"}}, column("a", "varchar", length=5))
    done = work.apply(rows_of({"x": "y" * 100}, {"x": "a\x00b"}), 0)
    found = {p.position: p for p in done.parked}
    assert found[0].message == f'a "{"y" * 60}…" is longer than 5 characters'
    assert found[1].value == "a\\0b"


def test_rules_park_or_count():
    rules = [
        {"name": "form", "column": "a", "matches": "[A-Z]+"},
        {"name": "size", "column": "b", "min": 0, "max": 10, "severity": "warn"},
    ]
    work = transform({"a": {"from": "x"}, "b": {"from": "y"}}, A, column("b", "int4"), rules=rules)
    done = work.apply(
        rows_of({"x": "AB", "y": 5}, {"x": "ab", "y": 11}, {"x": None, "y": None}, {"x": "ABc", "y": -1}), 0
    )
    assert parked(done) == [(1, "rule", "a"), (3, "rule", "a")]
    assert done.violations == {"form": 2, "size": 2}


def test_rule_of_allowed_words():
    rules = [{"name": "words", "column": "a", "one_of": ["R", "L", 1]}]
    done = transform({"a": {"from": "x"}}, A, rules=rules).apply(
        rows_of({"x": "R"}, {"x": "1"}, {"x": "r"}, {"x": None}), 0
    )
    assert parked(done) == [(2, "rule", "a")]


def test_whole_number_reads_the_same_in_a_mixed_column():
    work = transform({"a": {"from": "x"}}, A)
    alone = staged(work.apply(rows_of({"x": 915530.0}, {"x": 12.5}), 0), "a")
    mixed = staged(work.apply(rows_of({"x": 915530.0}, {"x": 12.5}, {"x": "A"}, {"x": True}, {"x": 7}), 0), "a")
    assert alone == ["915530", "12.5"]
    assert mixed == ["915530", "12.5", "A", "true", "7"]


def test_objects_arrive_as_json_text_and_texts_as_themselves():
    work = transform({"a": {"from": "x"}}, A)
    values = [{"DE": "Hase"}, "Hase", None, [1, 2], "null", '"quoted"']
    assert staged(work.apply(rows_of(*({"x": v} for v in values)), 0), "a") == [
        '{"DE":"Hase"}', "Hase", None, "[1,2]", "null", '"quoted"',
    ]  # fmt: skip


def test_more_than_62_columns_use_a_second_mask():
    names = [f"c{n}" for n in range(70)]
    fields = {name: {"from": name} for name in names}
    work = transform(fields, *map(column, names))
    done = work.apply(rows_of(dict.fromkeys(names[:61] + names[65:], 1), dict.fromkeys(names, 1)), 0)
    assert [n for n in range(70) if kept(done, n)[0]] == [61, 62, 63, 64]
    assert not any(kept(done, n)[1] for n in range(70))
    assert [c.name for c in work.staged_columns if c.name.startswith("_keep")] == ["_keep_0", "_keep_1"]


def test_references_are_staged_as_texts_to_look_up():
    reference = {"to": "p", "match": [{"column": "legacy_id", "from": "Fam"}, {"column": "nr", "from": "Nr"}]}
    work = transform({"a": {"reference": reference}}, column("a", "int8"))
    done = work.apply(rows_of({"Fam": " X ", "Nr": 5}, {"Fam": "", "Nr": None}, {"Nr": 7}), 0)
    assert staged(done, "_ref_0_0_a") == ["X", None, None]
    assert staged(done, "_ref_1_0_a") == ["5", None, "7"]
    assert "a" not in done.staged.schema.names


def test_modified_is_staged_only_where_somebody_asks():
    assert "_modified" not in transform({"a": {"from": "x"}}, A).apply(rows_of({"x": 1}), 0).staged.schema.names
    work = transform({"a": {"from": "x", "conflict": "newest_wins"}}, A)
    done = work.apply(rows_of({"x": 1, "__TIMESTAMP": "2025-03-06T04:13:17.687Z"}, {"x": 1, "__TIMESTAMP": "?"}), 0)
    assert staged(done, "_modified") == [datetime(2025, 3, 6, 4, 13, 17, 687000, UTC), None]


def test_raw_row_is_what_the_source_delivered():
    batch = rows_of({"x": 1, "y": {"a": [1, None]}}, {"x": "eins"}, {"y": None})
    assert [raw_row(batch, n) for n in range(3)] == [
        {"__KEY": "K0", "x": 1, "y": {"a": [1, None]}},
        {"__KEY": "K1", "x": "eins"},
        {"__KEY": "K2", "y": None},
    ]


def test_raw_row_read_again_is_the_same_row():
    batch = rows_of({"x": 1, "y": {"a": 1}}, {"x": "eins"}, {"y": None, "x": 2.5})
    again = to_batch([raw_row(batch, n) for n in range(3)])
    assert [raw_row(again, n) for n in range(3)] == [raw_row(batch, n) for n in range(3)]


def test_empty_batch_is_no_problem():
    batch = pa.RecordBatch.from_pylist([], pa.schema([("__KEY", pa.string()), ("x", pa.string())]))
    assert transform({"a": {"from": "x", "required": True}}, A).apply(batch, 0).staged.num_rows == 0


def test_columns_of_any_arrow_type_are_read():
    fields = [
        pa.field("__KEY", pa.large_string()),
        pa.field("x", pa.string(), metadata=JSON_TEXT),
        pa.field(ABSENT, pa.string()),
    ]
    batch = pa.RecordBatch.from_arrays(
        [pa.array(["K0", "K1"], pa.large_string()), pa.array(['"a"', None]), pa.array([None, "x"])],
        schema=pa.schema(fields),
    )
    done = transform({"a": {"from": "x"}}, A).apply(batch, 0)
    assert (staged(done, "a"), kept(done, 0)) == (["a", None], [False, True])


# --- the mappings of the project, with anything 4D may say

PROJECT = load_project(read_settings({"LEGACY_SYNC_ENV": "test"}))
VARIANT = PROJECT.get("products_variantproduct")
WORDS = st.sampled_from(
    ["", " ", "0!0!0", "31!2!2018", "4!6!92", "ja", "1", "1,5", "12.5", "11400-BE", "a\x00b", "ÄÖ" * 40]
)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-(2**40), 2**40), st.floats(), WORDS, st.text(max_size=12))
PRICES = st.fixed_dictionaries(
    {"Coll": st.lists(st.fixed_dictionaries({"Art": WORDS, "Preis": SCALARS, "VE": SCALARS}), max_size=3)}
)
ATTRIBUTES = sorted({a for f in VARIANT.fields.values() for a in f.attributes} - {"__KEY"})
RECORDS = st.lists(
    st.dictionaries(st.sampled_from(ATTRIBUTES), st.one_of(SCALARS, PRICES), max_size=len(ATTRIBUTES)),
    min_size=1,
    max_size=5,
)


def variant_table() -> ErpTable:
    kinds = {
        "is_": "bool",
        "release": "timestamptz",
        "retail_price": "numeric",
        "wholesale_price": "numeric",
        "parent": "int8",
    }
    kinds |= {"retail_unit": "int4", "wholesale_unit": "int4"}
    columns = {}
    for name in VARIANT.columns:
        kind = next((k for prefix, k in kinds.items() if name.startswith(prefix)), "varchar")
        length = 50 if kind == "varchar" else None
        precision, scale = (10, 2) if kind == "numeric" else (None, None)
        columns[name] = Column(name, kind, kind, True, False, False, length, precision, scale)
    return ErpTable("public", "products_variantproduct", columns, ("id",), (), ())


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(RECORDS)
def test_every_record_is_staged_or_parked_and_never_both(records: list[dict[str, Any]]):
    usable = [{k: v for k, v in r.items() if not (isinstance(v, float) and v - v != 0)} for r in records]
    batch = to_batch([{"__KEY": f"K{n}", **orjson.loads(orjson.dumps(r))} for n, r in enumerate(usable)])
    done = Transform(VARIANT, variant_table()).apply(batch, 1000)
    places = [row - 1000 for row in staged(done, "_row")]
    assert sorted([*places, *(p.position for p in done.parked)]) == list(range(len(records)))
    assert all(p.message and p.reason for p in done.parked)
