"""Which rows are in an answer? What the source file says of lists, nested objects and values beside them; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import pyarrow as pa

from legacy_sync.errors import SourceUntrustworthy
from legacy_sync.mapping.source_words import RestTable
from legacy_sync.sources.base import KEY, KEY_SEPARATOR, Attribute, Scope, TableInfo
from legacy_sync.sources.four_d.wire import to_batch
from legacy_sync.sources.plain import key_column, read_path

Row = dict[str, Any]

_TYPES = {bool: "bool", int: "long", float: "number", str: "string", dict: "object", list: "object"}


def read_rows(data: Any, table: RestTable, where: str) -> list[Row]:
    """The rows of one answer; raises SourceUntrustworthy where they should be and are not."""
    found = read_path(data, table.records)
    items = list(_pairs(found, table.pairs, where)) if table.pairs else _list(found, table, where)
    beside = {name: read_path(data, path) for name, path in table.keep.items()}
    names = [name for name in (*table.columns, *table.key) if "." in name]
    return [{**beside, **item, **_inner(item, names)} for item in items]


def to_rows_batch(rows: Sequence[Row], table: RestTable) -> pa.RecordBatch:
    """The rows as a batch, with their key if the table has one."""
    if table.key:
        keys = key_column([[row.get(name) for row in rows] for name in table.key], KEY_SEPARATOR)
        rows = [{KEY: key, **row} for key, row in zip(keys, rows, strict=True)]
    return to_batch(rows)


def describe_table(name: str, table: RestTable, sample: Sequence[Row]) -> TableInfo:
    """What the source file declares, or else what sample rows have."""
    types = dict.fromkeys([*table.pairs, *table.keep], "") | dict(table.columns)
    if not table.columns:
        for row in sample:
            types |= {attribute: _TYPES.get(type(value), "") for attribute, value in row.items()}
    attributes = [Attribute(attribute, kind) for attribute, kind in types.items()]
    if table.key:
        attributes.append(Attribute(KEY, "string"))
    return TableInfo(name, tuple(attributes), table.key)


def find_missing(table: RestTable, seen: set[str]) -> list[str]:
    """Declared attributes that no row carried."""
    return [name for name in table.columns if name not in seen]


def filled_in(value: Any, scope: Scope, first: date | None, today: date) -> Any:
    """A path, parameter or body with the days of the scope in the places that name them."""
    if isinstance(value, Mapping):
        return {key: filled_in(item, scope, first, today) for key, item in value.items()}
    if isinstance(value, list):
        return [filled_in(item, scope, first, today) for item in value]
    if not isinstance(value, str) or "{" not in value:
        return value
    last = scope.cursor_to - timedelta(days=1) if scope.cursor_to else today
    days = {"cursor_from": scope.cursor_from or first, "cursor_last": min(last, today), "today": today}
    for name, day in days.items():
        value = value.replace(f"{{{name}}}", day.isoformat() if day else "")
    return value


def _list(found: Any, table: RestTable, where: str) -> list[Row]:
    if not isinstance(found, list):
        place = f'at "{table.records}"' if table.records else "at its top"
        raise _untrustworthy(f"the answer has no list of rows {place}, but {_kind_of(found)}", where)
    if not set(map(type, found)) <= {dict}:
        raise _untrustworthy("the answer has something among its rows that is no object", where)
    return found


def _pairs(found: Any, names: Sequence[str], where: str) -> Iterator[Row]:
    """{"2025-04-01": {"USD": 1.08}} with the names day, code, rate is one row with these three."""
    if not isinstance(found, dict):
        raise _untrustworthy(f"the answer has no object to take pairs from, but {_kind_of(found)}", where)
    for key, value in found.items():
        if len(names) == 2:
            yield {names[0]: key, names[1]: value}
        else:
            for inner in _pairs(value, names[1:], where):
                yield {names[0]: key, **inner}


def _inner(item: Row, names: Sequence[str]) -> Row:
    """Values inside of objects under their dotted name; what is not there stays away."""
    found = {}
    for name in names:
        around, _, last = name.rpartition(".")
        place = read_path(item, around)
        if isinstance(place, dict) and last in place:
            found[name] = place[last]
    return found


def _kind_of(value: Any) -> str:
    match value:
        case None:
            return "nothing"
        case dict():
            return f"an object with {', '.join(map(str, list(value)[:5])) or 'nothing in it'}"
        case list():
            return "a list"
        case _:
            return "a single value"


def _untrustworthy(what: str, where: str) -> SourceUntrustworthy:
    next_step = "compare the source file with an answer of the service (`records`, `pairs`)"
    return SourceUntrustworthy(what, where=where, next_step=next_step)
