"""Do pyERP's own rules reckon as pyERP does?"""

from decimal import ROUND_HALF_UP, Decimal

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from legacy_sync.pyerp import RULES
from legacy_sync.sync.cells import Cells

CENT = Decimal("0.01")
numbers = st.decimals(min_value=-9999, max_value=99999, places=3, allow_nan=False)


def run(rule: str, **inputs: list[object]) -> list[object]:
    cells = {name: Cells(pa.array(values)) for name, values in inputs.items()}
    return RULES[rule].function(cells, RULES[rule].options).values.to_pylist()


@settings(deadline=None)  # the first call loads Arrow
@given(st.lists(st.tuples(numbers, numbers, st.decimals(0, 100, places=2)), min_size=1, max_size=20))
def test_amounts_of_a_position_equal_exact_reckoning(rows: list[tuple[Decimal, Decimal, Decimal]]):
    quantity, price, discount = ([str(v) for v in column] for column in zip(*rows, strict=True))
    exact = [(q * p * (100 - d) / 100).quantize(CENT, ROUND_HALF_UP) for q, p, d in rows]
    assert run("line_subtotal", quantity=quantity, price=price, discount=discount) == exact
    taxes = [(amount * 19 / 100).quantize(CENT, ROUND_HALF_UP) for amount in exact]
    assert run("line_tax", quantity=quantity, price=price, discount=discount) == taxes
    totals = [amount + tax for amount, tax in zip(exact, taxes, strict=True)]
    assert run("line_total", quantity=quantity, price=price, discount=discount) == totals


def test_amount_of_something_that_is_no_number_is_refused():
    cells = {
        "quantity": Cells(pa.array(["x", "1"])),
        "price": Cells(pa.array(["2", "2"])),
        "discount": Cells(pa.nulls(2)),
    }
    out = RULES["line_subtotal"].function(cells, {})
    assert (out.values.to_pylist(), out.refused.to_pylist()) == ([None, Decimal("2.00")], [0, None])


@pytest.mark.parametrize("separator", ["\r", "\n", "\r\n", "\\r", ", "], ids=["CR", "LF", "CRLF", "written", "comma"])
def test_address_text_is_split_at_every_kind_of_line_end(separator: str):
    text = [separator.join(["Fa. Muster", "Hauptstr. 1", "86911 Diessen"])]
    names = ("name", "street", "postal_code", "city")
    parts = [run(f"address_{name}", text=text)[0] for name in names]
    assert parts == ["Fa. Muster", "Hauptstr. 1", "86911", "Diessen"]


def test_short_address_texts_leave_blanks_and_a_blank_one_is_none():
    assert run("address_city", text=["Nur Name", "A\rB\rOrt", "", None, " \r "]) == ["", "Ort", None, None, None]
    assert run("address_postal_code", text=["A\rB\rOrt\r12345 Land", "A\rWeg 123456\rOrt"]) == ["12345", ""]


def test_state_of_a_position_follows_what_is_picked():
    states = run(
        "fulfillment_status", picked_ok=[False, False, False, True], picked=[0, 1, 3, 0], quantity=[3, 3, 3, 3]
    )
    assert states == ["PENDING", "PARTIAL", "FULFILLED", "FULFILLED"]


def test_month_s_salary_is_cut_to_cents_and_never_made_of_nothing():
    salaries = run(
        "monthly_salary", annual=["50000", "50000", None], gross=[None, "4200.999", "0"], given=["", None, None]
    )
    assert salaries == [Decimal("4166.66"), Decimal("4200.99"), None]


def test_images_show_the_original_and_a_small_one():
    exported = (
        '[{"type":"png","resolution":[900,1],"image_url":"b"},{"type":"jpg_k","resolution":[200,1],"image_url":"s"}]'
    )
    assert run("image_url", original=['{"file_url":"o"}', "{}"], exported=[exported, exported]) == ["o", "b"]
    assert run("image_thumbnail", exported=[exported, "[]", None]) == ["s", None, None]
    articles = '[{"number":"1","front":true},{"article_number":2},{"front":true}]'
    assert run("image_article_numbers", articles=[articles]) == ["1\n2"]
    assert run("image_is_front", articles=[articles, "[]"]) == [True, False]


def test_remaining_pieces_are_those_ordered_less_those_done():
    assert run("remaining_quantity", target=["12.50", None], completed=["abc", "5"]) == [12, -5]
