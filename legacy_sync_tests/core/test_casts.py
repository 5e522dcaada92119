"""Does every spelling of a legacy value become the right ERP value, or a refusal with a reason?"""

import json
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from legacy_sync.erp.catalog import Column
from legacy_sync.mapping.model import (
    BooleanCast,
    Cast,
    DateCast,
    DecimalCast,
    IntegerCast,
    JsonPickCast,
    SplitLastCast,
    TextCast,
    TimestampCast,
)
from legacy_sync.sync.casts import apply_casts, parse_date, run_chain, to_text
from legacy_sync.sync.cells import Cells, Refusal


def erp_column(kind: str, full: str = "", length: int | None = None, digits: tuple[int, int] | None = None) -> Column:
    precision, scale = digits or (None, None)
    return Column("c", kind, full or kind, True, False, False, length, precision, scale)


TEXT = erp_column("text")
SHORT = erp_column("varchar", "character varying(5)", length=5)
SMALL = erp_column("int2", "smallint")
INTEGER = erp_column("int4", "integer")
BIG = erp_column("int8", "bigint")
MONEY = erp_column("numeric", "numeric(10,2)", digits=(10, 2))
ANY_NUMBER = erp_column("numeric")
BOOLEAN = erp_column("bool", "boolean")
DAY = erp_column("date")
INSTANT = erp_column("timestamptz", "timestamp with time zone")
UUID = erp_column("uuid")
JSON = erp_column("jsonb")


def cast(values: list[Any] | pa.Array, column: Column, *steps: Cast) -> list[Any]:
    """Values as the ERP column would get them; a refused one is its reason in angle brackets."""
    cells = apply_casts(Cells(values if isinstance(values, pa.Array) else pa.array(values)), steps, column)
    refused = cells.refused.to_pylist() if cells.refused is not None else [None] * len(cells)
    found = zip(cells.values.to_pylist(), refused, strict=True)
    return [f"<{cells.refusals[number].reason}>" if number is not None else value for value, number in found]


def one(value: Any, column: Column, *steps: Cast) -> Any:
    return cast([value], column, *steps)[0]


def stored(value: Any, column: Column) -> Any:
    """What PostgreSQL would make of a staged number."""
    assert column.scale is not None
    return None if value is None else Decimal(str(value)).quantize(Decimal(1).scaleb(-column.scale), ROUND_HALF_UP)


# --- days


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("25!5!2018", date(2018, 5, 25)),
        ("01!06!2020", date(2020, 6, 1)),
        ("4!6!92", date(1992, 6, 4)),
        ("12!03!18", date(2018, 3, 12)),
        ("1!1!49", date(2049, 1, 1)),
        ("1!1!50", date(1950, 1, 1)),
        ("1!1!00", date(2000, 1, 1)),
        ("2018-05-25", date(2018, 5, 25)),
        ("2018-5-5", date(2018, 5, 5)),
        ("2018-05-25 10:11:12", date(2018, 5, 25)),
        ("2025-03-06T04:13:17.687Z", date(2025, 3, 6)),
        ("25.05.2018", date(2018, 5, 25)),
        ("5.5.2018", date(2018, 5, 5)),
        ("25.05.2018 10:11:12", date(2018, 5, 25)),
        ("20180525", date(2018, 5, 25)),
        ("!!2018-05-25!!", date(2018, 5, 25)),
        ("  25!5!2018 ", date(2018, 5, 25)),
        ("29!2!2024", date(2024, 2, 29)),
        ("1!1!0001", date(1, 1, 1)),
    ],
)
def test_day_is_read_in_every_spelling(text: str, day: date):
    assert one(text, DAY, DateCast()) == day


@pytest.mark.parametrize("text", ["0!0!0", "00!00!00", "00!00!0000", "!!0000-00-00!!", "00000000", "", "   ", None])
def test_empty_day_is_null(text: str | None):
    assert one(text, DAY, DateCast()) is None


@pytest.mark.parametrize(
    "text", ["31!2!2018", "29!2!2023", "0!5!2018", "5!0!2018", "1!13!2020", "2018-02-30", "20181301"]
)
def test_impossible_day_is_refused(text: str):
    assert one(text, DAY, DateCast()) == "<impossible_date>"


@pytest.mark.parametrize(
    "text", ["Ostern", "25/5/2018", "25!5", "2018", "1!1!12345", "true", "25!5!2018!1", "٢٥!٥!٢٠١٨x"]
)
def test_other_text_is_no_day(text: str):
    assert one(text, DAY, DateCast()) == "<not_a_date>"


def test_pivot_of_two_digit_years_can_be_declared():
    assert cast(["1!1!69", "1!1!70"], DAY, DateCast(pivot=70)) == [date(2069, 1, 1), date(1970, 1, 1)]


@pytest.mark.parametrize(
    ("zone", "instant"),
    [("UTC", datetime(2018, 7, 1, tzinfo=UTC)), ("Europe/Berlin", datetime(2018, 6, 30, 22, tzinfo=UTC))],
)
def test_day_for_an_instant_is_midnight_in_the_declared_zone(zone: str, instant: datetime):
    assert one("1!7!2018", INSTANT, DateCast(timezone=zone)) == instant


def test_number_that_looks_like_a_day_is_one():
    assert cast([20180525, 20180526], DAY, DateCast()) == [date(2018, 5, 25), date(2018, 5, 26)]


@given(st.dates(min_value=date(1000, 1, 1)))
def test_every_day_is_the_same_in_all_spellings(day: date):
    spellings = [f"{day.day}!{day.month}!{day.year}", day.isoformat(), day.strftime("%d.%m.") + f"{day.year:04d}"]
    assert cast(spellings, DAY, DateCast()) == [day] * 3


@given(st.text(max_size=20))
def test_no_text_breaks_the_day_reader(text: str):
    assert isinstance(parse_date(text), date | Refusal | None)


# --- instants


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2025-03-06T04:13:17.687Z", datetime(2025, 3, 6, 4, 13, 17, 687000, UTC)),
        ('"2025-03-06T04:13:17Z"', datetime(2025, 3, 6, 4, 13, 17, 0, UTC)),
        ("2025-03-06T04:13:17+02:00", datetime(2025, 3, 6, 2, 13, 17, 0, UTC)),
        ("2025-03-06 04:13:17", datetime(2025, 3, 6, 4, 13, 17, 0, UTC)),
        ("2025-03-06", datetime(2025, 3, 6, tzinfo=UTC)),
        ("6!3!2025", datetime(2025, 3, 6, tzinfo=UTC)),
        ("", None),
        ("0!0!0", None),
        (None, None),
        ("gestern", "<not_a_timestamp>"),
        ("2025-02-31T00:00:00Z", "<not_a_timestamp>"),
    ],
)
def test_instant_is_read_from_iso_text(text: str | None, instant: object):
    assert one(text, INSTANT, TimestampCast()) == instant


def test_instant_without_offset_is_in_the_declared_zone():
    assert one("2025-07-06T04:13:17", INSTANT, TimestampCast(timezone="Europe/Berlin")) == datetime(
        2025, 7, 6, 2, 13, 17, tzinfo=UTC
    )


def test_one_odd_instant_does_not_change_the_others():
    texts = ["2025-03-06T04:13:17.687Z", "6!3!2025", "x", "2025-03-06T24:00:00Z", "2025-13-06T04:13:17Z"]
    good = datetime(2025, 3, 6, 4, 13, 17, 687000, UTC)
    found = cast(texts, INSTANT, TimestampCast())
    assert found[:3] == [good, datetime(2025, 3, 6, tzinfo=UTC), "<not_a_timestamp>"]
    assert found[4] == "<not_a_timestamp>"
    assert cast(["2025-13-06T04:13:17Z"], INSTANT, TimestampCast()) == ["<not_a_timestamp>"]
    assert cast(["2025-03-06T25:00:00Z", texts[0]], INSTANT, TimestampCast()) == ["<not_a_timestamp>", good]


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "UTC"])
def test_first_and_last_days_of_the_calendar_break_nothing(zone: str):
    texts = ["1!1!0001", "0001-01-01", "31!12!9999", "9999-12-31"]
    assert len(cast(texts, INSTANT, DateCast(timezone=zone))) == 4
    assert len(cast([f"{text}T23:59:59" for text in texts[1::2]], INSTANT, TimestampCast(timezone=zone))) == 2


# --- flags


@pytest.mark.parametrize(
    ("value", "flag"),
    [
        (True, True),
        (False, False),
        (1, True),
        (0, False),
        (1.0, True),
        (0.0, False),
        ("1", True),
        ("0", False),
        ("true", True),
        ("YES", True),
        (" y ", True),
        ("T", True),
        ("nein", False),
        ("N", False),
        ("", False),
        ("   ", False),
        (None, None),
        ("vielleicht", "<not_boolean>"),
        (2, "<not_boolean>"),
    ],
)
def test_flag_is_read_in_every_spelling(value: object, flag: object):
    assert one(value, BOOLEAN, BooleanCast()) == flag


def test_other_words_can_be_declared_false():
    assert cast(["x", "ja", "1", None], BOOLEAN, BooleanCast(otherwise="false")) == [False, False, True, None]


def test_words_for_true_and_false_can_be_declared():
    step = BooleanCast(true=("ja", "x"), false=("nein",))
    assert cast(["JA", "x", "nein", "1"], BOOLEAN, step) == [True, True, False, "<not_boolean>"]


# --- whole numbers


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (12, 12),
        ("12", 12),
        (" 12 ", 12),
        ("-12", -12),
        ("+12", 12),
        ("012", 12),
        (12.0, 12),
        ("12.0", 12),
        ("1e3", 1000),
        (True, 1),
        (False, 0),
        ("", None),
        ("  ", None),
        (None, None),
        (12.5, "<not_whole>"),
        ("12.5", "<not_whole>"),
        ("12,0", "<not_a_number>"),
        ("1_000", "<not_a_number>"),
        ("abc", "<not_a_number>"),
        ("NaN", "<not_a_number>"),
        ("Infinity", "<not_a_number>"),
        ("1e999999", "<not_a_number>"),
        (float("nan"), "<not_a_number>"),
        (float("inf"), "<not_a_number>"),
        (2**31 - 1, 2**31 - 1),
        (-(2**31), -(2**31)),
        (2**31, "<out_of_range>"),
        ("2147483648", "<out_of_range>"),
        ("99999999999999999999", "<out_of_range>"),
    ],
)
def test_whole_number_is_read_or_refused(value: object, number: object):
    assert one(value, INTEGER, IntegerCast()) == number


@pytest.mark.parametrize(
    ("rounding", "numbers"),
    [("truncate", [12, -12, 0, 1, -1]), ("half_up", [13, -13, 1, 2, -2])],
)
def test_fraction_is_dropped_as_declared(rounding: Any, numbers: list[int]):
    assert cast(["12.5", "-12.5", "0.75", "1.5", "-1.5"], INTEGER, IntegerCast(rounding=rounding)) == numbers


def test_dropped_fraction_is_noted():
    cells = apply_casts(Cells(pa.array(["12.5", "3", "4.0"])), (IntegerCast(rounding="truncate"),), INTEGER)
    assert cells.notes == {"fraction dropped": 1}


@pytest.mark.parametrize(("column", "limit"), [(SMALL, 2**15), (INTEGER, 2**31), (BIG, 2**63)])
def test_range_of_the_column_counts(column: Column, limit: int):
    values = [str(limit - 1), str(limit), str(-limit), str(-limit - 1)]
    assert cast(values, column, IntegerCast()) == [limit - 1, "<out_of_range>", -limit, "<out_of_range>"]


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1))
def test_text_to_whole_number_and_back_is_identity(numbers: list[int]):
    texts = [str(n) for n in numbers]
    assert cast(texts, BIG, IntegerCast()) == numbers
    assert to_text(pa.array(numbers, pa.int64())).to_pylist() == texts


# --- decimals


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (39.5, "39.50"),
        ("39.5", "39.50"),
        ("12.345", "12.35"),
        (12.345, "12.35"),
        (1.005, "1.01"),
        ("1.005", "1.01"),
        (2.675, "2.68"),
        (1.015, "1.02"),
        (-1.005, "-1.01"),
        (0.005, "0.01"),
        (0.0049999, "0.00"),
        (10, "10.00"),
        ("1e2", "100.00"),
        (1e-7, "0.00"),
        (".5", "0.50"),
        ("5.", "5.00"),
        ("-0.001", "0.00"),
        (99999999.99, "99999999.99"),
        ("99999999.994", "99999999.99"),
    ],
)
def test_decimal_is_rounded_half_up_at_the_columns_scale(value: object, number: str):
    assert stored(one(value, MONEY, DecimalCast()), MONEY) == Decimal(number)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("1,50", "<not_a_number>"),
        ("abc", "<not_a_number>"),
        ("NaN", "<not_a_number>"),
        (float("nan"), "<not_a_number>"),
        (float("inf"), "<not_a_number>"),
        ("1.2.3", "<not_a_number>"),
        ("--1", "<not_a_number>"),
        (".", "<not_a_number>"),
        ("99999999.995", "<out_of_range>"),
        (100000000, "<out_of_range>"),
        (-100000000, "<out_of_range>"),
        ("1e50", "<out_of_range>"),
        ("", None),
        ("  ", None),
        (None, None),
    ],
)
def test_other_decimal_is_refused_or_null(value: object, reason: object):
    assert one(value, MONEY, DecimalCast()) == reason


def test_decimal_can_be_truncated():
    found = cast(["12.349", "-12.349", "12.3"], MONEY, DecimalCast(rounding="truncate"))
    assert [str(stored(v, MONEY)) for v in found] == ["12.34", "-12.34", "12.30"]


def test_lost_places_are_noted():
    cells = apply_casts(Cells(pa.array(["12.345", "12.30", "12.340"])), (DecimalCast(),), MONEY)
    assert cells.notes == {"rounded to 2 places": 1}


def test_decimal_without_declared_scale_keeps_all_places():
    assert [Decimal(v) for v in cast(["1.23456789012345678", "1e3"], ANY_NUMBER, DecimalCast())] == [
        Decimal("1.23456789012345678"),
        Decimal(1000),
    ]


@given(st.decimals(min_value=-99999999, max_value=99999999, places=4))
def test_decimal_text_is_stored_as_its_half_up_rounding(number: Decimal):
    assert stored(one(str(number), MONEY, DecimalCast()), MONEY) == number.quantize(Decimal("0.01"), ROUND_HALF_UP)


# --- texts


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (803721, "803721"),
        (803721.0, "803721"),
        (12.5, "12.5"),
        (1e22, "10000000000000000000000"),
        (1e-7, "0.0000001"),
        (True, "true"),
        (False, "false"),
        (" 915530 ", "915530"),
        ("", ""),
        (None, None),
        ("Ä€😀", "Ä€😀"),
        ("a\x00b", "<nul_byte>"),
    ],
)
def test_anything_becomes_text(value: object, text: object):
    assert one(value, TEXT, TextCast()) == text


def test_length_counts_letters_not_bytes():
    assert cast(["Ä€😀ÄÖ", "Ä€😀ÄÖÜ", "  abcde  "], SHORT, TextCast()) == ["Ä€😀ÄÖ", "<too_long>", "abcde"]


def test_case_and_strip_can_be_declared():
    assert cast([" hase "], TEXT, TextCast(case="upper")) == ["HASE"]
    assert cast([" Ab "], TEXT, TextCast(case="lower", strip=False)) == [" ab "]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ('{"DE": "Hase", "EN": "Bunny"}', "Hase"),
        ('{"de": "Hase"}', "Hase"),
        (' {"DE": "Hase"}', "Hase"),
        ('{"EN": "Bunny"}', None),
        ('{"DE": null}', None),
        ('{"DE": ""}', ""),
        ("Hase", "Hase"),
        ("{Hase}", "{Hase}"),
        ("[1]", "[1]"),
        ('{"DE": 5}', "<not_text>"),
        (None, None),
    ],
)
def test_language_is_picked_from_an_object(value: object, text: object):
    assert one(value, TEXT, TextCast(language="DE")) == text


@pytest.mark.parametrize(
    ("text", "before", "after"),
    [
        ("BASE-VAR1", "BASE", "VAR1"),
        ("BASE_VAR2", "BASE_VAR2", ""),
        ("BASE.VAR3", "BASE.VAR3", ""),
        ("A-B-C", "A-B", "C"),
        (" 100-X ", "100", "X"),
        ("9305BUE-BE", "9305BUE", "BE"),
        ("-BE", "-BE", ""),
        ("11400-", "11400-", ""),
        ("-", "-", ""),
        ("", "", ""),
        (11400, "11400", ""),
        (None, None, None),
    ],
)
def test_old_number_is_split_at_the_last_hyphen(text: object, before: object, after: object):
    assert one(text, TEXT, SplitLastCast(part="before")) == before
    assert one(text, TEXT, SplitLastCast(part="after")) == after


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("7464FEB39C516942B01E62F44B1ED454", True),
        ("7464feb3-9c51-6942-b01e-62f44b1ed454", True),
        ("{7464feb3-9c51-6942-b01e-62f44b1ed454}", True),
        ("803721", False),
        ("", False),
    ],
)
def test_uuid_is_checked(text: str, fits: bool):
    assert one(text, UUID, TextCast()) == (text if fits else "<not_a_uuid>")


def test_json_is_checked():
    assert cast(['{"a": 1}', "null", "[1]", "{a}"], JSON, TextCast(strip=False)) == [
        '{"a": 1}',
        "null",
        "[1]",
        "<not_json>",
    ]


# --- price lists


def price(*items: str, part: str = "Preis", kind: str = "Laden") -> Any:
    text = '{"Coll": [' + ", ".join(items) + "]}"
    number: Cast = DecimalCast() if part == "Preis" else IntegerCast(rounding="truncate")
    column = MONEY if part == "Preis" else INTEGER
    found = one(text, column, JsonPickCast(list="Coll", where={"Art": kind}, value=part), number)
    return str(stored(found, MONEY)) if part == "Preis" and found and not found.startswith("<") else found


def test_price_of_a_kind_is_picked():
    items = ('{"Art": "Laden", "Preis": 39.5, "VE": 1}', '{"Art": "Handel", "Preis": 17.8, "VE": 2}')
    assert (price(*items), price(*items, part="VE")) == ("39.50", 1)
    assert (price(*items, kind="Handel"), price(*items, part="VE", kind="Handel")) == ("17.80", 2)
    assert price(*items, kind="Empf.") is None


def test_kind_of_price_is_read_in_any_case_and_text_numbers_count():
    item = '{"Art": "LADEN ", "Preis": "12.345", "VE": "6"}'
    assert (price(item), price(item, part="VE")) == ("12.35", 6)


def test_null_price_is_null_while_its_unit_counts():
    item = '{"Art": "Laden", "Preis": null, "VE": 2.9}'
    assert (price(item), price(item, part="VE")) == (None, 2)


def test_last_price_of_a_kind_counts():
    assert price('{"Art": "Laden", "Preis": 10}', '{"Art": "Laden", "Preis": 11}') == "11.00"


def test_malformed_items_are_ignored_and_numbers_refused():
    items = ('{"Preis": 10, "VE": 1}', '"garbage"', '{"Art": "Laden", "Preis": "1,50", "VE": "x"}')
    assert (price(*items), price(*items, part="VE")) == ("<not_a_number>", "<not_a_number>")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (None, None),
        ("", None),
        ("null", None),
        ("{}", None),
        ('{"Coll": null}', None),
        ('{"Coll": []}', None),
        ('{"Coll": {"Art": "Laden", "Preis": 1}}', None),
        ('{"Coll": 5}', None),
        ("[]", None),
        ("5", None),
        ("kein Preis", "<not_json>"),
        ('{"Coll": [', "<not_json>"),
    ],
)
def test_odd_price_lists_yield_nothing(text: str | None, found: object):
    step = JsonPickCast(list="Coll", where={"Art": "Laden"}, value="Preis")
    assert one(text, MONEY, step, DecimalCast()) == found


def test_value_is_picked_from_an_object_without_a_list():
    assert cast(['{"Nr": 5, "Ort": {"a": 1}}', "{}"], TEXT, JsonPickCast(value="Nr")) == ["5", None]
    assert cast(['{"Ort": {"a": 1}}'], TEXT, JsonPickCast(value="Ort")) == ['{"a":1}']


# --- chains and everything at once


def test_refusal_of_an_earlier_step_stays():
    cells = apply_casts(Cells(pa.array(["[", "1"])), (JsonPickCast(value="a"), DecimalCast()), MONEY)
    assert cells.refusals[cells.refused[0].as_py()] == Refusal("not_json", "is no JSON")


def test_absent_cells_stay_absent_through_a_chain():
    cells = Cells(pa.array(["1", None]), absent=pa.array([False, True]))
    assert run_chain(cells, (TextCast(), IntegerCast()), INTEGER).absent.to_pylist() == [False, True]


STEPS: list[Cast] = [
    TextCast(language="DE"),
    IntegerCast(),
    IntegerCast(rounding="truncate"),
    DecimalCast(),
    DecimalCast(rounding="truncate"),
    BooleanCast(),
    DateCast(),
    DateCast(timezone="Europe/Berlin"),
    TimestampCast(),
    TimestampCast(timezone="America/New_York"),
    SplitLastCast(part="after"),
    JsonPickCast(list="Coll", where={"Art": "Laden"}, value="Preis"),
]
FITTING = {
    "text": TEXT,
    "integer": INTEGER,
    "decimal": MONEY,
    "boolean": BOOLEAN,
    "split_last": SHORT,
    "json_pick": TEXT,
}
json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["Coll", "Art", "DE"]), inner, max_size=3)
    ),
    max_leaves=6,
)
numbers_as_text = st.from_regex(r"[+-]?[0-9]{0,40}([.,!:-][0-9]{0,40}){0,3}([eE][+-]?[0-9]{0,4})?", fullmatch=True)
columns_of_values = st.one_of(
    st.lists(st.none() | st.text(), max_size=6),
    st.lists(st.none() | numbers_as_text, max_size=6),
    st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), max_size=6),
    st.lists(st.none() | st.floats(), max_size=6),
    st.lists(st.none() | st.booleans(), max_size=6),
    st.lists(json_values.map(json.dumps), max_size=6),
    st.lists(
        st.dates().map(str) | st.datetimes().map(str) | st.datetimes().map(lambda d: d.isoformat() + "Z"), max_size=6
    ),
)


@pytest.mark.parametrize("step", STEPS, ids=str)
@given(values=columns_of_values)
def test_no_value_breaks_a_cast(step: Cast, values: list[Any]):
    column = FITTING.get(step.type, INSTANT)
    cells = apply_casts(Cells(pa.array(values)), (step,), column)
    assert len(cells) == len(values)
    if cells.refused is not None:
        held = zip(cells.values.to_pylist(), cells.refused.to_pylist(), strict=True)
        assert all(value is None for value, number in held if number is not None)
