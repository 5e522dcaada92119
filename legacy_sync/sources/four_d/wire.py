"""How do the entities of a 4D answer become an Arrow batch?

Column at a time: one list per attribute, one `pa.array` per list. Only a page whose rows differ in
their attributes, or a column whose kinds mix, pays for more. Types come from the values; the catalog
decides where values leave room (a whole number in a `number` attribute is float64, an empty column
has its catalog type). The shape is the one of `sources/base.py`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import chain
from operator import itemgetter
from types import NoneType
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from legacy_sync.errors import SourceUntrustworthy
from legacy_sync.sources.base import ABSENT, JSON_TEXT, STAMP, Attribute, TableInfo
from legacy_sync.sources.four_d.catalog import is_stub

Entity = Mapping[str, Any]

_TEXT, _WHOLE, _REAL, _JSON = "text", "whole", "real", "json"
_ARROW: dict[str, pa.DataType] = {
    _TEXT: pa.string(),
    _WHOLE: pa.int64(),
    _REAL: pa.float64(),
    "bool": pa.bool_(),
}
_HINTS = {
    "number": _REAL,
    "float": _REAL,
    "long": _WHOLE,
    "word": _WHOLE,
    "byte": _WHOLE,
    "long64": _WHOLE,
    "duration": _WHOLE,
    "bool": "bool",
    "string": _TEXT,
    "uuid": _TEXT,
    "date": _TEXT,
    "object": _JSON,
    "image": _JSON,
    "blob": _JSON,
}
_ENVELOPE_HINTS = {"__KEY": _TEXT, "__TIMESTAMP": _TEXT, "__STAMP": _WHOLE, STAMP: _WHOLE}
_DROPPED = frozenset({"__entityModel", "__DATACLASS", "__STATUS"})
_BLANK_DATES = frozenset({"", "0!0!0", "!!0000-00-00!!"})


@dataclass(frozen=True)
class Envelope:
    """One list answer: its rows (holes already dropped), holes counted, and the size of the selection."""

    rows: list[dict[str, Any]]
    holes: int
    count: int
    entity_set: str | None = None
    stamp: int | None = None
    """where the database's counter of changes stood; 0 while nothing is tracked, None from old servers"""

    @property
    def received(self) -> int:
        """Places of the page that were filled, with a row or with a hole."""
        return len(self.rows) + self.holes


def read_envelope(parsed: object, where: str) -> Envelope:
    """The rows of a list answer; raises SourceUntrustworthy when parts of the envelope are missing."""
    if not isinstance(parsed, dict) or not isinstance(parsed.get("__ENTITIES"), list):
        said = '{"ok":true}' if isinstance(parsed, dict) and parsed.get("ok") is True else "an answer"
        raise _untrustworthy(f"the 4D server sent {said} without __ENTITIES where rows were asked", where)
    count = parsed.get("__COUNT")
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise _untrustworthy(f"the 4D server sent rows without a usable __COUNT ({str(count)[:40]!r})", where)
    entities: list[Any] = parsed["__ENTITIES"]
    if not set(map(type, entities)) <= {dict}:
        raise _untrustworthy("the 4D server sent something that is no row inside __ENTITIES", where)
    if not {type(entity.get("__KEY")) for entity in entities} <= {str, int, float, NoneType}:
        raise _untrustworthy("the 4D server sent a row whose __KEY is no value", where)
    rows = [entity for entity in entities if entity.get("__KEY") is not None]
    if len(rows) != len(entities):
        _refuse_keyless(entities, where)
    stamp = parsed.get(STAMP)
    stamp = (
        int(stamp) if isinstance(stamp, int | float) and not isinstance(stamp, bool) and math.isfinite(stamp) else None
    )
    entity_set = parsed.get("__ENTITYSET")
    return Envelope(rows, len(entities) - len(rows), count, entity_set if isinstance(entity_set, str) else None, stamp)


def to_batch(rows: Sequence[Entity], info: TableInfo | None = None) -> pa.RecordBatch:
    """The rows as one batch; `info` gives the catalog's types and says which attributes are only links."""
    catalog = {attribute.name: attribute for attribute in info.attributes} if info else {}
    names, columns, absent = _columns(rows)
    fields: list[pa.Field] = []
    arrays: list[pa.Array] = []
    for name, values in zip(names, columns, strict=True):
        if _is_dropped(name, values, catalog.get(name)):
            continue
        array, is_json = _array(values, _hint(name, catalog.get(name)))
        if name == "__KEY" and pa.types.is_integer(array.type):
            array = array.cast(_ARROW[_TEXT])
        if name == "__TIMESTAMP":
            array = _without_quotes(array)
        fields.append(pa.field(name, array.type, metadata=JSON_TEXT if is_json else None))
        arrays.append(array)
    if absent is not None:
        fields.append(pa.field(ABSENT, _ARROW[_TEXT]))
        arrays.append(pa.array(absent(frozenset(f.name for f in fields)), _ARROW[_TEXT]))
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def decode_date(value: object) -> date | None:
    """The day in any of 4D's spellings (`5!3!2024`, `!!2024-03-05!!`, ISO); None for null and blank dates.

    Raises ValueError for text that is no date.
    """
    if value is None:
        return None
    text = str(value).strip().strip('"')
    if text in _BLANK_DATES:
        return None
    if text.startswith("!!"):
        return date.fromisoformat(text.strip("!"))
    if "!" in text:
        day, month, year = (int(part) for part in text.split("!"))
        if day == month == year == 0:
            return None
        if year < 100:  # spelled with two digits, as the casts read it
            year += 2000 if year < 50 else 1900
        try:
            return date(year, month, day)
        except OverflowError as error:
            raise ValueError(f"no date: {text[:40]}") from error
    return None if text.startswith("0000-00-00") else date.fromisoformat(text[:10])


class _AbsentNames:
    """Per row the attributes it lacks, computed once the dropped columns are known."""

    def __init__(self, rows: Sequence[Entity], names: Sequence[str]) -> None:
        self._rows, self._names = rows, names

    def __call__(self, kept: frozenset[str]) -> list[str | None]:
        wanted = [name for name in self._names if name in kept]
        missing = ("\n".join(n for n in wanted if n not in row) for row in self._rows)
        return [text or None for text in missing]


def _columns(rows: Sequence[Entity]) -> tuple[list[str], list[Sequence[Any]], _AbsentNames | None]:
    if not rows:
        return [], [], None
    names = list(rows[0])
    if len(names) > 1 and set(map(len, rows)) == {len(names)}:
        try:
            return names, list(zip(*map(itemgetter(*names), rows), strict=True)), None
        except KeyError:
            pass  # same number of attributes, but not the same ones
    names = list(dict.fromkeys(chain.from_iterable(rows)))
    return names, [[row.get(name) for row in rows] for name in names], _AbsentNames(rows, names)


def _is_dropped(name: str, values: Iterable[Any], attribute: Attribute | None) -> bool:
    if name in _DROPPED:
        return True
    if attribute is not None:
        return is_stub(attribute)
    if name in _ENVELOPE_HINTS:
        return False
    some = [value for value in values if value is not None]
    return bool(some) and isinstance(some[0], dict) and all(_is_deferred(value) for value in some)


def _is_deferred(value: object) -> bool:
    return isinstance(value, dict) and "__deferred" in value


def _hint(name: str, attribute: Attribute | None) -> str | None:
    if attribute is None:
        return _ENVELOPE_HINTS.get(name)
    return _HINTS.get(attribute.type)


def _array(values: Sequence[Any], hint: str | None) -> tuple[pa.Array, bool]:
    """The column and whether it holds JSON texts."""
    if hint == _JSON:
        return _json_texts(values), True
    try:
        if hint == _TEXT:
            return pa.array(values, _ARROW[_TEXT]), False
        array = pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        # the hint was wrong, or kinds mix
        return _array(values, None) if hint == _TEXT else (_json_texts(values), True)
    if pa.types.is_null(array.type):
        return array.cast(_ARROW[hint or _TEXT]), False
    if array.type not in _ARROW.values() or (pa.types.is_floating(array.type) and bool in set(map(type, values))):
        return _json_texts(values), True
    return _as_hinted(array, hint), False


def _as_hinted(array: pa.Array, hint: str | None) -> pa.Array:
    """Whole numbers in a real attribute become real, and the other way round, where no value changes."""
    if hint not in (_WHOLE, _REAL) or not (pa.types.is_integer(array.type) or pa.types.is_floating(array.type)):
        return array
    try:
        return array.cast(_ARROW[hint])
    except pa.ArrowInvalid:
        return array  # 2.5 in a `long`, or a whole number that float64 cannot hold


def _json_texts(values: Sequence[Any]) -> pa.Array:
    return pa.array([None if value is None else _json_text(value) for value in values], _ARROW[_TEXT])


def _json_text(value: object) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # a whole number beyond 64 bits
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _without_quotes(array: pa.Array) -> pa.Array:
    """Version 16 servers wrap the time stamp in a second pair of quotes."""
    if not pa.types.is_string(array.type):
        return array
    return pc.utf8_trim(array, '"')


def _refuse_keyless(entities: Iterable[Entity], where: str) -> None:
    """A row without __KEY is a hole only if it carries nothing but its stamp."""
    for entity in entities:
        if entity.get("__KEY") is None and any(name != "__STAMP" for name in entity):
            raise _untrustworthy("the 4D server sent a row without __KEY", where)


def _untrustworthy(what: str, where: str) -> SourceUntrustworthy:
    return SourceUntrustworthy(what, where=where, next_step="check the 4D server's log, then run again")
