"""How do values of databases, Parquet files and spreadsheets become the plain ones of the source contract?

Days and times are ISO texts, decimals are texts with all their digits, bytes are hexadecimal texts, lists and
objects are JSON texts; whole numbers, floats, truth values and texts stay what they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from typing import Any

import pyarrow as pa

from legacy_sync.sources.base import JSON_TEXT

_PLAIN = frozenset({bool, int, float, str})


def to_column(name: str, values: Sequence[Any], zone: tzinfo | None = None) -> tuple[pa.Field, pa.Array]:
    """A column of any Python values; instants are spelled in `zone`."""
    kinds = {type(value) for value in values}
    kinds.discard(type(None))
    if not kinds <= _PLAIN:
        values = [_plain(value, zone) for value in values]
        kinds = {type(value) for value in values}
        kinds.discard(type(None))
    is_json = bool(kinds & {dict, list}) or len(kinds) > 1
    if kinds == {int, float}:
        is_json = False
        values = [None if value is None else float(value) for value in values]
    if is_json:
        values = [None if value is None else _json_text(value) for value in values]
    try:
        array = pa.array(values, _arrow_type(kinds, is_json))
    except OverflowError:  # a whole number beyond 64 bits
        array = pa.array([None if value is None else str(value) for value in values], pa.string())
    return pa.field(name, array.type, metadata=JSON_TEXT if is_json else None), array


def to_batch(columns: Mapping[str, Sequence[Any]], zone: tzinfo | None = None) -> pa.RecordBatch:
    """A batch of any Python values."""
    made = [to_column(name, values, zone) for name, values in columns.items()]
    return pa.RecordBatch.from_arrays([array for _, array in made], schema=pa.schema([field for field, _ in made]))


def to_plain_batch(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The same rows of an Arrow batch of any types."""
    fields: list[pa.Field] = []
    arrays: list[pa.Array] = []
    for field, array in zip(batch.schema, batch.columns, strict=True):
        if pa.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        simple = _simple_type(array.type)
        if simple is None:
            made, array = to_column(field.name, array.to_pylist())
        else:
            array = array.cast(simple)
            made = pa.field(field.name, simple, metadata=field.metadata)
        fields.append(made)
        arrays.append(array)
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def key_column(parts: Sequence[Sequence[Any]], separator: str) -> list[str | None]:
    """The key of each row as text; None where a part of it is missing."""
    return [None if None in row else separator.join(map(_text, row)) for row in zip(*parts, strict=True)]


def _simple_type(type_: pa.DataType) -> pa.DataType | None:
    """The contract's type for an Arrow type whose values need no other spelling."""
    if pa.types.is_unsigned_integer(type_) and type_.bit_width == 64:
        return None
    if pa.types.is_integer(type_):
        return pa.int64()
    if pa.types.is_floating(type_):
        return pa.float64()
    if pa.types.is_boolean(type_):
        return pa.bool_()
    if pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_):
        return pa.string()
    return pa.string() if pa.types.is_null(type_) else None


def _arrow_type(kinds: set[type], is_json: bool) -> pa.DataType:
    if is_json or not kinds:
        return pa.string()
    if kinds == {bool}:
        return pa.bool_()
    if kinds == {int}:
        return pa.int64()
    return pa.float64() if float in kinds else pa.string()


def _plain(value: Any, zone: tzinfo | None) -> Any:
    match value:
        case bool() | int() | float() | str() | None:
            return value
        case datetime():
            return (value.astimezone(zone) if zone and value.tzinfo else value).isoformat()
        case date() | time():
            return value.isoformat()
        case Decimal():
            return format(value, "f")
        case bytes() | bytearray() | memoryview():
            return bytes(value).hex()
        case timedelta():
            return f"{value.total_seconds():g}"
        case dict():
            return {str(key): _plain(item, zone) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_plain(item, zone) for item in value]
        case _:  # UUIDs, networks, ranges: their text is what people know them by
            return str(value)


def _text(value: Any) -> str:
    plain = _plain(value, None)
    if isinstance(plain, bool):
        return str(plain).lower()
    if isinstance(plain, float) and plain.is_integer():
        return str(int(plain))
    return str(plain).strip()


def _json_text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def read_path(value: Any, path: str) -> Any:
    """What stands at a dotted path of JSON, such as data.items; None if there is nothing."""
    for key in filter(None, path.split(".")):
        if isinstance(value, Mapping):
            value = value.get(key)
        elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        else:
            return None
    return value
