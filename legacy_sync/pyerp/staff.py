"""What does an employee earn in a month?"""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc

from legacy_sync.pyerp.rule import DECIMAL, Inputs, Options, Rule, combined, numbers
from legacy_sync.sync.cells import Cells

_PLACES = 6


def monthly_salary(inputs: Inputs, _options: Options) -> Cells:
    """The gross wage, else the salary that is noted, else a twelfth of the year's; cut to cents. 0 means not known."""
    gross, given, annual = (_known(numbers(inputs[name])) for name in ("gross", "given", "annual"))
    twelfth = pc.divide(annual.values, pa.scalar(Decimal(12)).cast(pa.decimal256(2, 0)))
    month = pc.coalesce(gross.values, given.values, pc.round(twelfth, _PLACES, "towards_zero").cast(DECIMAL))
    absent = combined(month, gross, given, annual).absent
    return Cells(pc.round(month, 2, "towards_zero"), absent=absent)  # one bad number does not spoil the others


def _known(cells: Cells) -> Cells:
    none = pc.equal(cells.values, pa.scalar(Decimal(0)).cast(DECIMAL))
    return cells.with_values(pc.if_else(none, pa.scalar(None, DECIMAL), cells.values))


STAFF_RULES = {"monthly_salary": Rule(monthly_salary, ("annual", "gross", "given"))}
