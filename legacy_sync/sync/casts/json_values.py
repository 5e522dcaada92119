"""Which value of a JSON object or list is meant?"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from legacy_sync.erp.catalog import Column
from legacy_sync.mapping.model import JsonPickCast
from legacy_sync.sync.casts.basics import loads, scalar_text, to_text
from legacy_sync.sync.cells import Cells, Refusal, map_unique


def cast_json_pick(cells: Cells, step: JsonPickCast, _column: Column) -> Cells:
    def pick(text: str) -> str | Refusal | None:
        found = loads(text)
        if found is None and text.strip() not in ("null", ""):
            return Refusal("not_json", "is no JSON")
        items = found.get(step.list) if isinstance(found, dict) and step.list else [found]
        chosen = [
            item
            for item in (items if isinstance(items, list) else [])
            if isinstance(item, dict) and _item_fits(item, step.where)
        ]
        return scalar_text(chosen[-1].get(step.value)) if chosen else None

    return map_unique(cells.with_values(to_text(cells.values)), pick, pa.string())


def _item_fits(item: dict[str, Any], where: dict[str, str]) -> bool:
    return all(str(item.get(key, "")).strip().casefold() == wanted.casefold() for key, wanted in where.items())
