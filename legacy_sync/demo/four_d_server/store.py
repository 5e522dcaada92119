"""What does the old database hold, and what happens in it when somebody works on it?

Rows are kept as the bytes they are sent as; columns of sortable texts and orders over them are built
when a query first needs them and follow every change. That keeps a page of a table of millions cheap.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import cast
from zoneinfo import ZoneInfo

import orjson

from legacy_sync.demo.four_d_server.collation import sort_key

Row = dict[str, object]
OrderBy = tuple[tuple[str, bool], ...]  # attribute, descending

DELETED_RECORDS = "__DeletedRecords"
GLOBAL_STAMP = "__GlobalStamp"
_CACHED_ORDERS = 8
_CACHED_RENDERINGS = 4
_SCALARLESS = frozenset({"image", "blob"})


class Clock:
    """The legacy server's own clock; it can be set, moved and stopped."""

    def __init__(self, zone: str = "Europe/Berlin") -> None:
        self.zone = ZoneInfo(zone)
        self._shift = timedelta(0)
        self._stopped: datetime | None = None

    def now(self) -> datetime:
        """The current instant, aware, in UTC."""
        return self._stopped or datetime.now(UTC) + self._shift

    def local(self) -> datetime:
        """The current instant in the zone of the office."""
        return self.now().astimezone(self.zone)

    def set(self, moment: datetime) -> None:
        """From now on it is `moment`, and the clock runs on."""
        self._stopped = None
        self._shift = moment - datetime.now(UTC)

    def freeze(self, moment: datetime) -> None:
        """It is `moment` and stays so."""
        self._stopped = moment.astimezone(UTC)

    def advance(self, *, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0) -> None:
        """Move the clock, running or not."""
        step = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        if self._stopped is None:
            self._shift += step
        else:
            self._stopped += step


@dataclass(frozen=True)
class AttributeDef:
    """One attribute as the catalog shows it.

    `target` and `foreign_key` belong to relations: kind relatedEntity (N to 1) and relatedEntities (1 to N).
    """

    name: str
    type: str = "string"
    kind: str = "storage"
    indexed: bool = False
    simple_date: bool = True
    target: str = ""
    foreign_key: str = ""
    inverse: str = ""


@dataclass(frozen=True)
class TableDef:
    """A dataclass: its name, its attributes in catalog order and its one primary key attribute."""

    name: str
    attributes: tuple[AttributeDef, ...]
    key: str = "UID"
    number: int = 1

    def attribute(self, name: str) -> AttributeDef | None:
        """The attribute of that exact name, or None."""
        return next((a for a in self.attributes if a.name == name), None)


@dataclass
class _Order:
    version: int
    slots: list[int]


@dataclass
class Matches:
    """Rows found by a filter: their slots in order, and the sortable texts of the leading order attribute."""

    version: int
    slots: list[int]
    keys: list[str]


class Table:
    """The rows of one dataclass. A row lives in a slot that is never used again after a delete."""

    def __init__(self, definition: TableDef) -> None:
        self.definition = definition
        self.keys: list[str] = []
        self.payloads: list[bytes | None] = []
        self.position: dict[str, int] = {}
        self.version = 0
        self.tracked = False
        self.media: dict[tuple[str, str], tuple[str, bytes]] = {}
        self.unreadable: frozenset[str] = frozenset()
        self.matches: dict[object, Matches] = {}
        self._columns: dict[str, list[str]] = {}
        self._orders: dict[OrderBy, _Order] = {}
        self._rendered: dict[object, dict[int, bytes]] = {}

    def __len__(self) -> int:
        return len(self.position)

    def decoded(self, slot: int) -> Row:
        """The row of a live slot as sent, with its envelope fields."""
        return cast("Row", orjson.loads(self.payloads[slot] or b"{}"))

    def column(self, attribute: str) -> list[str]:
        """The sortable texts of an attribute, by slot."""
        column = self._columns.get(attribute)
        if column is None:
            kind = self._kind(attribute)
            loads = orjson.loads
            column = [sort_key(kind, loads(p).get(attribute)) if p else "" for p in self.payloads]
            self._columns[attribute] = column
        return column

    def order(self, by: OrderBy) -> list[int]:
        """All live slots in the order asked for; without one, in an order that changes when data changes."""
        known = self._orders.get(by)
        if known is not None and known.version == self.version:
            return known.slots
        slots = self._unordered() if not by else self._sorted(by, known)
        if known is None and len(self._orders) >= _CACHED_ORDERS:
            del self._orders[next(iter(self._orders))]
        self._orders[by] = _Order(self.version, slots)
        return slots

    def renderings(self, spec: object) -> dict[int, bytes]:
        """The rows that were sent in another shape than stored before, by slot; a change of a row removes it."""
        cache = self._rendered.get(spec)
        if cache is None:
            if len(self._rendered) >= _CACHED_RENDERINGS:
                del self._rendered[next(iter(self._rendered))]
            cache = self._rendered[spec] = {}
        return cache

    def load_serialised(
        self, keys: Sequence[str], payloads: Sequence[bytes], columns: Mapping[str, list[str]] | None = None
    ) -> None:
        """Fill an empty table with rows that are serialised already; `columns` saves decoding them later."""
        self.keys = list(keys)
        self.payloads = list(payloads)
        self.position = {key: slot for slot, key in enumerate(self.keys)}
        self._columns = dict(columns or {})

    def put(self, key: str, row: Row) -> None:
        """Store a whole row (envelope fields included) as new or in place of the one it replaces."""
        payload = compact(row)
        slot = self.position.get(key)
        if slot is None:
            slot = len(self.payloads)
            self.position[key] = slot
            self.keys.append(key)
            self.payloads.append(payload)
            for column in self._columns.values():
                column.append("")
        self.payloads[slot] = payload
        for name, column in self._columns.items():
            column[slot] = sort_key(self._kind(name), row.get(name))
        self._touched(slot)

    def drop(self, key: str) -> None:
        """Remove a row; entity sets that hold it get a hole."""
        slot = self.position.pop(key)
        self.payloads[slot] = None
        self._touched(slot)

    def forget_columns(self) -> None:
        """The structure changed: nothing that was derived from rows holds any longer."""
        self._columns.clear()
        self._rendered.clear()
        self.settle()

    def settle(self) -> None:
        """The rows are as they had always been: a table nobody has changed yet is read in the order it was filled."""
        self.version = 0
        self._orders.clear()
        self.matches.clear()

    def _touched(self, slot: int) -> None:
        self.version += 1
        for cache in self._rendered.values():
            cache.pop(slot, None)

    def _kind(self, attribute: str) -> str:
        definition = self.definition.attribute(attribute)
        return definition.type if definition else "long64"

    def _unordered(self) -> list[int]:
        live = list(self.position.values())
        if not live:
            return live
        turn = self.version * 7919 % len(live)
        turned = live[turn:] + live[:turn]
        return turned[::-1] if self.version % 2 else turned

    def _sorted(self, by: OrderBy, known: _Order | None) -> list[int]:
        if known is None:
            slots = list(self.position.values())
        else:  # almost in order already, which makes the sort below cheap
            newest = max(known.slots, default=-1)
            slots = [s for s in known.slots if self.payloads[s] is not None]
            slots += [s for s in range(newest + 1, len(self.payloads)) if self.payloads[s] is not None]
        for attribute, descending in reversed(by):
            slots.sort(key=self.column(attribute).__getitem__, reverse=descending)
        return slots


@dataclass
class Store:
    """The database: its tables, its global stamp, its clock and a lock for whoever reads or writes."""

    name: str = "Standin"
    clock: Clock = field(default_factory=Clock)
    tables: dict[str, Table] = field(default_factory=dict)
    global_stamp: int = 0
    arriving: list[tuple[str, Row]] = field(default_factory=list)  # rows, by table, that somebody saves later
    lock: threading.RLock = field(default_factory=threading.RLock)

    def add_table(self, definition: TableDef) -> Table:
        """A new, empty table."""
        with self.lock:
            return self.tables.setdefault(definition.name, Table(definition))

    def load(self, table: str, rows: Iterable[Mapping[str, object]]) -> None:
        """Put rows in as they are, as if they had always been there; nothing is stamped anew."""
        with self.lock:
            target = self.tables[table]
            for values in rows:
                key = str(values[target.definition.key])
                target.put(key, self._row(target, key, values, int(str(values.get("__STAMP", 1)))))
            target.settle()

    def rows(self, table: str) -> list[Row]:
        """All rows of a table, decoded, in the order they were put in."""
        with self.lock:
            target = self.tables[table]
            return [target.decoded(slot) for slot in target.position.values()]

    def get(self, table: str, key: str) -> Row:
        """One row, decoded; KeyError if there is none."""
        with self.lock:
            target = self.tables[table]
            return target.decoded(target.position[key])

    def insert(self, table: str, values: Mapping[str, object]) -> str:
        """Save a new row and return its key; key, created_* and modified_* are set unless given."""
        with self.lock:
            target = self.tables[table]
            definition = target.definition
            key = str(values.get(definition.key) or self._new_key(target))
            kind = definition.attribute(definition.key)
            stored_key: object = int(key) if kind is not None and kind.type.startswith("long") else key
            full = {**self._signature(definition, "created"), **self._signature(definition, "modified")}
            full.update(values)
            full[definition.key] = stored_key
            target.put(key, self._row(target, key, self._stamped(target, full), 1))
            return key

    def update(self, table: str, key: str, values: Mapping[str, object], *, silent: bool = False) -> None:
        """Save changed values; `silent` leaves modified_* alone, as an import tool of the old days would."""
        with self.lock:
            target = self.tables[table]
            old = target.decoded(target.position[key])
            signature = {} if silent else self._signature(target.definition, "modified")
            full = {**old, **signature, **values}
            full.pop("__TIMESTAMP")
            stamp = int(str(old["__STAMP"])) + 1
            target.put(key, self._row(target, key, self._stamped(target, full), stamp))

    def delete(self, table: str, key: str) -> None:
        """Delete a row; a tracked table leaves a trace in __DeletedRecords."""
        with self.lock:
            target = self.tables[table]
            target.drop(key)
            if target.tracked:
                self._record_delete(target.definition, key)

    def set_media(self, table: str, key: str, attribute: str, content_type: str, body: bytes) -> None:
        """Give a row a picture or blob."""
        with self.lock:
            self.tables[table].media[(key, attribute)] = (content_type, body)
            self.update(table, key, {}, silent=True)

    def alter_table(
        self,
        table: str,
        *,
        add: Sequence[AttributeDef] = (),
        drop: Sequence[str] = (),
        rename: Mapping[str, str] | None = None,
    ) -> None:
        """Change the structure as a 4D developer would: new attributes are null, stamps stay."""
        names = dict(rename or {})
        with self.lock:
            target = self.tables[table]
            kept = (a for a in target.definition.attributes if a.name not in drop)
            changed = (*(replace(a, name=names.get(a.name, a.name)) for a in kept), *add)
            target.definition = replace(target.definition, attributes=changed)
            target.forget_columns()
            for key, slot in target.position.items():
                values = {names.get(name, name): value for name, value in target.decoded(slot).items()}
                target.put(key, self._row(target, key, values, int(str(values["__STAMP"]))))

    def enable_tracking(self, table: str) -> None:
        """Switch data change tracking on: the table gets __GlobalStamp, the database __DeletedRecords."""
        with self.lock:
            target = self.tables[table]
            if DELETED_RECORDS not in self.tables:
                self.add_table(_DELETED_RECORDS)
                self.global_stamp = max(self.global_stamp, 1)
            target.tracked = True
            for key, slot in list(target.position.items()):
                target.put(key, {**target.decoded(slot), GLOBAL_STAMP: 0})

    def set_global_stamp(self, value: int) -> None:
        """What `ds.setGlobalStamp()` does: the counter can go backwards."""
        with self.lock:
            self.global_stamp = value

    def _row(self, target: Table, key: str, values: Mapping[str, object], stamp: int) -> Row:
        timestamp = values.get("__TIMESTAMP") or iso(self.clock.now())
        row: Row = {"__KEY": key, "__TIMESTAMP": timestamp, "__STAMP": stamp}
        for attribute in target.definition.attributes:
            row[attribute.name] = _value(target, attribute, key, values, stamp)
        if target.tracked:
            row[GLOBAL_STAMP] = values.get(GLOBAL_STAMP, 0)
        return row

    def _stamped(self, target: Table, values: Row) -> Row:
        if not target.tracked:
            return values
        stamped = {**values, GLOBAL_STAMP: self.global_stamp}
        self.global_stamp += 1
        return stamped

    def _signature(self, definition: TableDef, prefix: str) -> Row:
        now = self.clock.local()
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
        milliseconds = (now.replace(tzinfo=None) - midnight) // timedelta(milliseconds=1)
        found = {f"{prefix}_name": "Admin", f"{prefix}_date": simple_date(now), f"{prefix}_time": milliseconds}
        return {name: value for name, value in found.items() if definition.attribute(name)}

    def _new_key(self, target: Table) -> str:
        kind = target.definition.attribute(target.definition.key)
        if kind is not None and kind.type.startswith("long"):
            return str(max((int(key) for key in target.keys), default=0) + 1)
        return uuid.uuid4().hex.upper()

    def _record_delete(self, definition: TableDef, key: str) -> None:
        records = self.tables[DELETED_RECORDS]
        values = {
            "__Stamp": self.global_stamp,
            "__PrimaryKey": key,
            "__TableNumber": definition.number,
            "__TableName": definition.name,
        }
        self.global_stamp += 1
        number = self._new_key(records)
        records.put(number, self._row(records, number, {"ID": int(number), **values}, 1))


def compact(row: Row) -> bytes:
    """The row as JSON, in no more memory than it needs (what `dumps` returns keeps its larger buffer)."""
    return bytes(memoryview(orjson.dumps(row)))


def iso(moment: datetime) -> str:
    """An instant as 4D writes `__TIMESTAMP`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def simple_date(day: datetime) -> str:
    """A day as 4D writes simple dates."""
    return f"{day.day}!{day.month}!{day.year}"


def quoted_key(key: str) -> str:
    """A key as it stands in the address of an entity."""
    return f'"{key}"' if any(c in "&/?\"') ," for c in key) else key


def _value(target: Table, attribute: AttributeDef, key: str, values: Mapping[str, object], stamp: int) -> object:
    if attribute.kind == "storage" and attribute.type not in _SCALARLESS:
        return values.get(attribute.name)
    uri = f"/rest/{target.definition.name}({quoted_key(key)})/{attribute.name}"
    if attribute.kind == "relatedEntity":
        other = values.get(attribute.foreign_key)
        if other in (None, "", 0):
            return None
        return {"__deferred": {"uri": f"/rest/{attribute.target}({quoted_key(str(other))})", "__KEY": str(other)}}
    if attribute.kind == "relatedEntities":
        return {"__deferred": {"uri": f"{uri}?$expand={attribute.name}"}}
    if (key, attribute.name) not in target.media:
        return None
    if attribute.type == "image":
        uri += f"?$imageformat=best&$version={stamp}&$expand={attribute.name}"
        return {"__deferred": {"uri": uri, "image": True}}
    return {"__deferred": {"uri": f"{uri}?$binary=true&$expand={attribute.name}"}}


_DELETED_RECORDS = TableDef(
    name=DELETED_RECORDS,
    key="ID",
    number=0,
    attributes=(
        AttributeDef("ID", "long64", indexed=True),
        AttributeDef("__Stamp", "long64", indexed=True),
        AttributeDef("__TableNumber", "long"),
        AttributeDef("__TableName"),
        AttributeDef("__PrimaryKey"),
    ),
)
