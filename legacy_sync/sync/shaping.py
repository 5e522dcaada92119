"""Which records of a landed batch does a mapping mean? Chooses by value and makes many records of one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from legacy_sync.mapping.model import ANYTHING, Explode, Source
from legacy_sync.sources.base import BROKEN
from legacy_sync.sources.four_d.wire import to_batch
from legacy_sync.sync.values import Records, raw_row

_ITEM_PARKED = "not_a_record"
_LIST_PARKED = "not_a_list"


@dataclass
class Shaped:
    """The records that are meant; how many others there were; and those whose list cannot be read, with the reason.

    A record that is already one item of its list does not carry the list any more and is left as it is.
    """

    batch: pa.RecordBatch
    ignored: int = 0
    rejected: pa.RecordBatch | None = None
    """the records that are not meant, where each of them is one record"""
    unreadable: list[tuple[dict[str, Any], str, str]] = field(default_factory=list)
    """raw record, reason, sentence"""


def shape(source: Source, batch: pa.RecordBatch) -> Shaped:
    """The records of a batch that a mapping of this source means."""
    meant = _meant(source, batch) if source.where else None
    chosen = batch if meant is None else batch.filter(meant)
    ignored = batch.num_rows - chosen.num_rows
    if source.explode is None:
        return Shaped(chosen, ignored, batch.filter(pc.invert(meant)) if ignored else None)
    if source.explode.attribute not in chosen.schema.names:
        return Shaped(chosen, ignored)
    shaped = _exploded(source.explode, chosen)
    shaped.ignored = ignored
    return shaped


def _meant(source: Source, batch: pa.RecordBatch) -> pa.Array | None:
    """Which records have the values of `where`; None if all have."""
    records = Records(batch)
    meant = pa.repeat(pa.scalar(True), batch.num_rows)
    for attribute, words in source.where.items():
        texts = pc.fill_null(pc.utf8_lower(pc.utf8_trim_whitespace(records.text(attribute))), "")
        wanted = pa.array([word.strip().lower() for word in words], pa.string())
        fits = pc.is_in(texts, value_set=wanted)
        if ANYTHING in words:
            fits = pc.or_(fits, pc.not_equal(texts, ""))
        meant = pc.and_(meant, fits)
    if BROKEN in batch.schema.names:  # what nobody could read may be meant
        meant = pc.or_(meant, pc.is_valid(records.text(BROKEN)))
    return None if pc.all(meant, min_count=0).as_py() else meant


def _exploded(word: Explode, batch: pa.RecordBatch) -> Shaped:
    rows: list[dict[str, Any]] = []
    unreadable: list[tuple[dict[str, Any], str, str]] = []
    for position in range(batch.num_rows):
        record = raw_row(batch, position)
        if word.attribute not in record:
            rows.append(record)
            continue
        items = _items(word, record[word.attribute])
        if items is None:
            name = f"{word.attribute}.{word.list}" if word.list else word.attribute
            unreadable.append((record, _LIST_PARKED, f"{name} holds no list of records"))
            continue
        rest = {name: value for name, value in record.items() if name != word.attribute}
        for item in items:
            if isinstance(item, dict):
                rows.append({**rest, **item})
            else:
                unreadable.append(({**rest, "item": item}, _ITEM_PARKED, f"an item of {word.attribute} is no record"))
    return Shaped(to_batch(rows), unreadable=unreadable)


def _items(word: Explode, value: Any) -> list[Any] | None:
    """The list inside the attribute; empty where there is nothing, None where there is something else."""
    if isinstance(value, str) and value.strip():
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            return None
    if word.list is not None and isinstance(value, dict):
        value = value.get(word.list)
    if value is None or value == "":
        return []
    return value if isinstance(value, list) else None
