"""How is a restriction written so that a 4D server cannot misread it, and do the rows obey it?

The server decodes the whole URL before it looks for quotes and `=`, and silently drops a filter it
cannot read. So there is one writer (`Filter.parameters`: the expression in double quotes, values only
as `:n` through `$params`) and one verifier (`Selection.check`), which every page passes.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from legacy_sync.errors import SourceRefused, SourceUntrustworthy
from legacy_sync.sources.base import ENVELOPE, STAMP, Scope
from legacy_sync.sources.four_d.catalog import NUMERIC_TYPES
from legacy_sync.sources.four_d.wire import decode_date

KeyValue = str | int | float

logger = logging.getLogger(__name__)

_FIRST_DAY = "1000-01-01"  # later than the blank date, earlier than any other
_IDENTIFIER = re.compile(r"\w+")
_WHOLE_NUMBER = re.compile(r"[+-]?\d{1,18}")


@dataclass(frozen=True)
class Filter:
    """A 4D query expression with placeholders and their values."""

    expression: str
    values: tuple[KeyValue, ...] = ()

    def parameters(self) -> dict[str, str]:
        """The raw (not yet percent-encoded) `$filter` and `$params`; empty for no restriction."""
        if not self.expression:
            return {}
        parameters = {"$filter": f'"{self.expression}"'}
        if self.values:
            parameters["$params"] = f"'{_params_text(self.values)}'"
        return parameters


@dataclass(frozen=True)
class Selection:
    """Which rows one request asks for: a window on the cursor, a range of a number and one of the paging key.

    `after` is exclusive (the last key already read); `key_from` and `number_from` are inside, `key_to` and
    `number_to` outside; `stamp_from` is a place of 4D's counter of changes, inside; `one_of` are some keys.
    `with_blank_cursor` adds the rows without a cursor, null or blank; rows without a number belong to the range
    that is open below.
    """

    cursor: str | None = None
    cursor_from: date | None = None
    cursor_to: date | None = None
    with_blank_cursor: bool = False
    key: str | None = None
    key_from: KeyValue | None = None
    key_to: KeyValue | None = None
    after: KeyValue | None = None
    number: str | None = None
    number_from: int | None = None
    number_to: int | None = None
    stamp_from: int | None = None
    one_of: tuple[KeyValue, ...] = ()

    @property
    def is_everything(self) -> bool:
        """Whether no bound restricts it."""
        bounds = (self.key_from, self.key_to, self.after, self.number_from, self.number_to, self.stamp_from)
        return not (self.cursor_from or self.cursor_to or self.one_of) and bounds.count(None) == len(bounds)

    def filter(self) -> Filter:
        """The filter that selects these rows; AND and OR have no precedence in 4D, so every part has its brackets."""
        parts: list[str] = []
        values: list[KeyValue] = []

        def compared(name: str, operator: str, value: KeyValue) -> str:
            values.append(value)
            return f"({name} {operator} :{len(values)})"

        if self.cursor:
            cursor = writable_name(self.cursor)
            if self.cursor_from:
                since = compared(cursor, ">=", self.cursor_from.isoformat())
                if self.with_blank_cursor:  # 0!0!0 is no null, but before every date
                    since = f"(({since} or ({cursor} = null)) or {compared(cursor, '<', _FIRST_DAY)})"
                parts.append(since)
            if self.cursor_to:
                before = compared(cursor, "<", self.cursor_to.isoformat())
                parts.append(f"({before} or ({cursor} = null))" if self.with_blank_cursor else before)
        if self.number:
            number = writable_name(self.number)
            if self.number_from is not None:
                parts.append(compared(number, ">=", self.number_from))
            if self.number_to is not None:
                below = compared(number, "<", self.number_to)
                parts.append(f"({below} or ({number} = null))" if self.number_from is None else below)
        if self.stamp_from is not None:
            parts.append(compared(STAMP, ">=", self.stamp_from))
        if self.one_of and self.key:
            parts.append(_joined([compared(writable_name(self.key), "=", key) for key in self.one_of], "or"))
        for operator, bound in ((">=", self.key_from), ("<", self.key_to), (">", self.after)):
            if bound is not None and self.key:
                parts.append(compared(writable_name(self.key), operator, bound))
        return Filter(_joined(parts), tuple(values))

    def check(self, rows: Sequence[Mapping[str, Any]], where: str) -> None:
        """Raise SourceUntrustworthy if a row lies outside: the server ignored the filter."""
        if self.cursor and (self.cursor_from or self.cursor_to):
            for value in {str(row.get(self.cursor)) if row.get(self.cursor) else None for row in rows}:
                if not self._holds_cursor(value, where):
                    raise _ignored(self.cursor, value, where)
        if self.number:
            self._check_numbers(rows, where)
        if self.stamp_from is not None:
            for stamp in (row.get(STAMP) for row in rows):
                if not isinstance(stamp, int) or stamp < self.stamp_from:
                    raise _ignored(STAMP, stamp, where)
        if self.key:
            self._check_keys(rows, where)

    def _holds_cursor(self, value: str | None, where: str) -> bool:
        try:
            day = decode_date(value)
        except ValueError:
            logger.warning('%s: the value "%s" of the cursor "%s" is no date', where, value, self.cursor)
            return True  # nothing can be said of it; the row is used like any other
        if day is None:
            return self.with_blank_cursor
        # a date with a time of day may lie in another zone than the server's
        slack = timedelta(days=1) if value and "T" in value else timedelta()
        if self.cursor_from and day < self.cursor_from - slack:
            return False
        return not (self.cursor_to and day >= self.cursor_to + slack)

    def _check_numbers(self, rows: Sequence[Mapping[str, Any]], where: str) -> None:
        values: Sequence[Any] = [row.get(self.number or "") for row in rows]
        if set(map(type, values)) == {int}:
            values = (min(values), max(values))
        for value in values:
            if not self._holds_number(value, where):
                raise _ignored(self.number, value, where)

    def _holds_number(self, value: object, where: str) -> bool:
        text = str(value).strip() if value is not None else ""
        if not text:
            return self.number_from is None
        try:
            number = float(text)
        except ValueError:
            logger.warning('%s: the value "%s" of "%s" is no number', where, value, self.number)
            return True  # nothing can be said of it; the row is used like any other
        if self.number_from is not None and number < self.number_from:
            return False
        return self.number_to is None or number < self.number_to

    def _check_keys(self, rows: Sequence[Mapping[str, Any]], where: str) -> None:
        keys = [row.get(self.key or "") for row in rows]
        if None in keys:
            raise _untrustworthy(f'a row came without its key attribute "{self.key}"', where)
        if not set(map(type, keys)) <= {str, int, float}:
            raise _untrustworthy(f'the key attribute "{self.key}" of a row is no value', where)
        if self.one_of:
            self._check_known(keys, where)
        if self.after is not None and self.after in keys:
            raise _ignored(self.key, self.after, where)
        bounds = [bound for bound in (self.key_from, self.key_to, self.after) if bound is not None]
        ordered = in_server_order([*keys, *bounds]) if keys and bounds else None
        if ordered is None:
            return  # only the server's language rules could tell
        folded = dict(zip(bounds, ordered[len(keys) :], strict=True))
        lowest, highest = min(ordered[: len(keys)]), max(ordered[: len(keys)])
        if self.after is not None and lowest <= folded[self.after]:
            raise _ignored(self.key, lowest, where)
        if self.key_from is not None and lowest < folded[self.key_from]:
            raise _ignored(self.key, lowest, where)
        if self.key_to is not None and highest >= folded[self.key_to]:
            raise _ignored(self.key, highest, where)

    def _check_known(self, keys: Sequence[Any], where: str) -> None:
        """4D compares texts without regard to case and accents, and `@` stands for any text."""
        if any(not str(key).isascii() or "@" in str(key) for key in self.one_of):
            return
        known = {str(key).lower() for key in self.one_of}
        for key in keys:
            if str(key).lower() not in known:
                raise _ignored(self.key, key, where)


def selection_of(scope: Scope, key: str | None, key_type: str) -> Selection:
    """The rows of a scope, without paging; raises SourceRefused for bounds that cannot be asked for."""
    if (scope.cursor_from or scope.cursor_to) and not scope.cursor:
        raise _refused("the scope bounds a cursor but names none", scope.table, "name the cursor attribute")
    if (scope.key_from or scope.key_to) and not key:
        raise _refused(
            f'the table "{scope.table}" has no single stored key to select a key range by',
            scope.table,
            "choose windows on a cursor or no partitions for this table",
        )
    has_numbers = scope.number_from is not None or scope.number_to is not None
    if has_numbers and not scope.number_attribute:
        raise _refused("the scope bounds a number but names no attribute", scope.table, "name the attribute")
    return Selection(
        cursor=scope.cursor if scope.cursor_from or scope.cursor_to else None,
        cursor_from=scope.cursor_from,
        cursor_to=scope.cursor_to,
        with_blank_cursor=scope.cursor_from is None or scope.with_blank_cursor,
        key=key,
        key_from=_key_bound(scope.key_from, key_type, scope.table),
        key_to=_key_bound(scope.key_to, key_type, scope.table),
        number=scope.number_attribute if has_numbers else None,
        number_from=scope.number_from,
        number_to=scope.number_to,
        stamp_from=scope.stamp_from,
    )


def writable_name(name: str) -> str:
    """The attribute name if it can stand in an expression or a path; raises SourceRefused otherwise."""
    if _IDENTIFIER.fullmatch(name) and name not in ENVELOPE:
        return name
    raise _refused(
        f'"{name}" cannot be asked for: it is no attribute name',
        f'attribute "{name}"',
        "use an attribute of the 4D catalog, written with letters, digits and underscores",
    )


def in_server_order(keys: Sequence[Any]) -> list[Any] | None:
    """The keys in a form that compares as the server does, or None where its collation could differ from any guess."""
    kinds = set(map(type, keys))
    if kinds <= {int, float}:
        return list(keys)
    if kinds != {str}:
        return None
    text = "\n".join(keys)
    if text.count("\n") >= len(keys):
        return None  # a key of several lines
    plain = text.replace("\n", "")
    if "-" in plain and len(set(map(len, keys))) == 1:
        plain = plain.replace("-", "")
    return text.lower().split("\n") if plain.isascii() and plain.isalnum() else None  # compares without regard to case


def _joined(parts: Sequence[str], operator: str = "and") -> str:
    """All parts with `and` or `or`, nested to the left so that two operators never stand side by side."""
    joined = ""
    for part in parts:
        joined = f"({joined} {operator} {part})" if joined else part
    return joined


def _params_text(values: Sequence[KeyValue]) -> str:
    """A JSON array in which no quote but the delimiters and no byte above 0x7F occurs."""
    return "[" + ",".join(_param_text(value) for value in values) + "]"


def _param_text(value: KeyValue) -> str:
    if not isinstance(value, str):
        return json.dumps(value)
    inner = json.dumps(value)[1:-1].replace('\\"', "\\u0022").replace("'", "\\u0027")
    return f'"{inner}"'


def _key_bound(bound: str | None, key_type: str, table: str) -> KeyValue | None:
    if bound is None or key_type not in NUMERIC_TYPES:
        return bound
    if not _WHOLE_NUMBER.fullmatch(bound):
        raise _refused(f'the key bound "{bound}" is no whole number', f'table "{table}"', "correct the key range")
    return int(bound)


def _ignored(name: str | None, value: object, where: str) -> SourceUntrustworthy:
    return _untrustworthy(f'filter ignored: a row has {name} = "{value}", which was not asked for', where)


def _untrustworthy(what: str, where: str) -> SourceUntrustworthy:
    return SourceUntrustworthy(
        what, where=where, next_step="check the 4D server's version and log; nothing of this answer was used"
    )


def _refused(what: str, where: str, next_step: str) -> SourceRefused:
    return SourceRefused(what, where=where, next_step=next_step)
