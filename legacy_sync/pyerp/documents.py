"""What are the amounts and the state of a position of a sales document?"""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc

from legacy_sync.erp.catalog import Column
from legacy_sync.mapping.model import BooleanCast
from legacy_sync.pyerp.rule import DECIMAL, Inputs, Options, Rule, combined, numbers, zero_for_null
from legacy_sync.sync.casts import run_chain
from legacy_sync.sync.cells import Cells

_FLAG = Column("", "bool", "boolean", True, False, False, None, None, None)
_LINE = ("quantity", "price", "discount")


def line_subtotal(inputs: Inputs, _options: Options) -> Cells:
    """Quantity times price, less a discount in percent if there is one; commercially rounded to cents."""
    quantity, price, discount = (zero_for_null(numbers(inputs[name])) for name in _LINE)
    hundred = pa.scalar(Decimal(100)).cast(DECIMAL)
    none = pa.scalar(Decimal(0)).cast(DECIMAL)
    share = pc.subtract(hundred, pc.if_else(pc.greater(discount.values, none), discount.values, none))
    exact = _hundredth(pc.multiply(_narrow(pc.multiply(quantity.values, price.values)), share))
    return combined(_cents(exact), quantity, price, discount)


def line_tax(inputs: Inputs, options: Options) -> Cells:
    """The tax on the rounded subtotal, commercially rounded to cents."""
    subtotal = line_subtotal(inputs, options)
    rate = pa.scalar(Decimal(str(options["tax_percent"]))).cast(DECIMAL)
    exact = _hundredth(pc.multiply(subtotal.values.cast(DECIMAL), rate))
    return combined(_cents(exact), *(inputs[name] for name in _LINE), subtotal)


def line_total(inputs: Inputs, options: Options) -> Cells:
    """Subtotal and tax."""
    subtotal, tax = line_subtotal(inputs, options), line_tax(inputs, options)
    total = pc.add(subtotal.values, tax.values).cast(subtotal.values.type)
    return combined(total, subtotal, tax)


def fulfillment_status(inputs: Inputs, _options: Options) -> Cells:
    """FULFILLED when picked in full or said to be, PARTIAL when something is picked, else PENDING."""
    said = run_chain(inputs["picked_ok"], (BooleanCast(otherwise="false"),), _FLAG)
    picked, quantity = (zero_for_null(numbers(inputs[name])) for name in ("picked", "quantity"))
    none = pa.scalar(Decimal(0)).cast(DECIMAL)
    some = pc.and_(pc.greater(picked.values, none), pc.less(picked.values, quantity.values))
    done = pc.or_(pc.fill_null(said.values, False), pc.greater_equal(picked.values, quantity.values))
    state = pc.if_else(done, "FULFILLED", pc.if_else(some, "PARTIAL", "PENDING"))
    return combined(state, picked, quantity)


def _narrow(values: pa.Array) -> pa.Array:
    """Products of two numbers back to six places, exact enough for cents."""
    return pc.round(values, 6, "half_towards_infinity").cast(DECIMAL, safe=False)


def _hundredth(values: pa.Array) -> pa.Array:
    return pc.multiply(_narrow(values), pa.scalar(Decimal("0.01")).cast(pa.decimal256(4, 2)))


def _cents(values: pa.Array) -> pa.Array:
    return pc.round(values, 2, "half_towards_infinity").cast(pa.decimal256(40, 2))


DOCUMENT_RULES = {
    "line_subtotal": Rule(line_subtotal, _LINE),
    "line_tax": Rule(line_tax, _LINE, {"tax_percent": 19}),
    "line_total": Rule(line_total, _LINE, {"tax_percent": 19}),
    "fulfillment_status": Rule(fulfillment_status, ("picked_ok", "picked", "quantity")),
}
