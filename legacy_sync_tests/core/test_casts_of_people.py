"""What becomes of codes, addresses and numbers as people typed them?"""

import pyarrow as pa
import pytest

from legacy_sync.erp.catalog import Column
from legacy_sync.mapping.model import (
    BooleanCast,
    DecimalCast,
    EmailCast,
    HashCast,
    IntegerCast,
    MapCast,
    ReplaceCast,
    SlugCast,
    TextCast,
)
from legacy_sync.sync.casts import apply_casts
from legacy_sync.sync.cells import Cells


def column(kind: str, length: int | None = None, scale: int | None = None) -> Column:
    return Column("c", kind, kind, True, False, False, length, 12 if scale else None, scale)


def cast(step: object, target: Column, *values: object) -> list[object]:
    return apply_casts(Cells(pa.array(values)), (step,), target).values.to_pylist()  # type: ignore[arg-type]


def reasons(step: object, target: Column, *values: object) -> list[str]:
    cells = apply_casts(Cells(pa.array(values)), (step,), target)  # type: ignore[arg-type]
    return [r.reason for r in cells.refusals]


CODES = {"R": "INVOICE", "A": "PROPOSAL", "0": None}


def test_codes_are_found_whatever_their_case_and_blanks():
    assert cast(MapCast(values=CODES), column("text"), "R", " a ", "0") == ["INVOICE", "PROPOSAL", None]


@pytest.mark.parametrize(("others", "result"), [("null", None), ("keep", "X"), ("invalid", None)])
def test_unknown_code_is_left_out_kept_or_refused(others: str, result: str | None):
    step = MapCast(values=CODES, others=others)  # type: ignore[arg-type]
    assert cast(step, column("text"), "X") == [result]
    assert reasons(step, column("text"), "X") == (["unknown_code"] if others == "invalid" else [])


def test_emails_are_cleaned_mended_or_refused():
    plain = [" Info@Example.DE ", "", "x@y", "a@@b.de", "a@b..de", "no-at.de"]
    assert cast(EmailCast(), column("text"), *plain) == ["info@example.de", None, None, None, None, None]
    assert cast(EmailCast(repair=True), column("text"), "john_example.com", "jo hn@exa-mple") == [
        "john@example.com",
        "john@exa.mple",
    ]


def test_slug_is_cut_to_the_column_and_the_same_for_the_same_text():
    texts = ["Deutsche Post Paket International", "auf Rechnung", "Straße & Größe"]
    assert cast(SlugCast(), column("varchar", 20), *texts) == ["deutsche-post-paket", "auf-rechnung", "strasse-grosse"]


def test_hash_is_the_same_in_every_process():
    texts = ["77|Weg 1", "77|Weg 2", "77|Weg 1"]
    assert cast(HashCast(digits=8), column("text"), *texts) == ["88ba60eb", "de59b12c", "88ba60eb"]


def test_numbers_of_people_are_read():
    values = ["5,90", "1.234,50", "1,234.56", "12", " 7,5 "]
    assert cast(DecimalCast(decimal_comma=True), column("numeric", scale=2), *values) == [
        "5.90",
        "1234.50",
        "1234.56",
        "12",
        "7.5",
    ]
    clean = IntegerCast(clean=True, rounding="truncate", decimal_comma=True)
    assert cast(clean, column("int4"), "12 Stk", "abc", "", "10.5", "1.250", "-3") == [12, None, None, 10, 1, -3]


def test_comma_is_refused_where_nobody_expects_one():
    assert reasons(DecimalCast(), column("numeric", scale=2), "5,90") == ["not_a_number"]


def test_measures_are_scaled_and_zero_means_nothing():
    step = DecimalCast(factor=0.1, positive=True)
    values = ["123.45", "0", "-5", "abc"]
    assert cast(step, column("numeric", scale=2), *values)[1:] == [None, None, None]
    assert float(str(cast(step, column("numeric", scale=2), "123.45")[0])) == 12.345
    assert cast(IntegerCast(zero_is_null=True), column("int4"), 0, 7) == [None, 7]


def test_flag_can_be_turned_round():
    assert cast(BooleanCast(negate=True), column("bool"), True, False, None) == [False, True, None]


def test_long_text_is_cut_only_if_the_mapping_says_so():
    assert cast(TextCast(cut=True), column("varchar", 5), "Standard") == ["Stand"]
    assert reasons(TextCast(), column("varchar", 5), "Standard") == ["too_long"]


def test_matches_of_a_pattern_are_replaced():
    assert cast(ReplaceCast(pattern="^R|[^0-9]", by=""), column("text"), "R\u00ad11-418") == ["11418"]
