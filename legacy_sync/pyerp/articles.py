"""What does pyERP say about product groups that 4D does not?"""

from __future__ import annotations

import pyarrow as pa

from legacy_sync.pyerp.rule import Inputs, Options, Rule
from legacy_sync.sync.casts import to_text
from legacy_sync.sync.cells import Cells, map_unique


def category_description(inputs: Inputs, _options: Options) -> Cells:
    """A sentence for a product group that has only a code."""
    cells = inputs["code"]
    return map_unique(
        cells.with_values(to_text(cells.values)), lambda code: f"Product group {code.strip()}", pa.string()
    )


ARTICLE_RULES = {"category_description": Rule(category_description, ("code",))}
