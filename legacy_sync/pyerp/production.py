"""What is left to do of a production order item?"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from legacy_sync.pyerp.rule import Inputs, Options, Rule, combined, numbers, zero_for_null
from legacy_sync.sync.cells import Cells


def remaining_quantity(inputs: Inputs, _options: Options) -> Cells:
    """Pieces ordered less pieces done, each without its fraction, as pyERP computes it when an item is saved."""
    target, completed = (zero_for_null(numbers(inputs[name], clean=True)) for name in ("target", "completed"))
    whole = [pc.round(cells.values, 0, "towards_zero").cast(pa.int64()) for cells in (target, completed)]
    return combined(pc.subtract(*whole), target, completed)


PRODUCTION_RULES = {"remaining_quantity": Rule(remaining_quantity, ("target", "completed"))}
