"""In which bytes does the server answer? Envelopes, catalogs, errors and the shapes of rows, by version."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import orjson

from legacy_sync.demo.four_d_server.collation import date_parts
from legacy_sync.demo.four_d_server.store import GLOBAL_STAMP, AttributeDef, Row, Store, Table, compact

HOLE = b'{"__STAMP":0}'
_ENVELOPE = ("__KEY", "__TIMESTAMP", "__STAMP", GLOBAL_STAMP)


@dataclass(frozen=True)
class WireVersion:
    """What changed on the wire between the versions of 4D."""

    sent_last: bool = True
    dataclass_key: bool = True
    global_stamp_key: bool = True
    quoted_timestamp: bool = False
    negative_sent: bool = False
    selection_word: str = "Selection"
    unique_id: bool = True
    rest_info: str = "1.1"
    login_failure: int = 200


VERSIONS = {
    "v14": WireVersion(False, False, False, False, True, "Collection", False, "1.0", 401),
    "v16": WireVersion(False, False, False, True, False, "Collection", False, "1.0", 401),
    "v18": WireVersion(dataclass_key=False),
    "v20": WireVersion(),
}


@dataclass(frozen=True)
class Shape:
    """How rows are sent: which attributes (None: all), which of them as null, and in which dialect."""

    attributes: tuple[str, ...] | None = None
    nulled: frozenset[str] = frozenset()
    quoted_timestamp: bool = False
    as_array: bool = False


AS_STORED = Shape()


def entities(table: Table, slots: Sequence[int], shape: Shape) -> list[bytes]:
    """The rows of the slots, in order; a deleted one is a hole."""
    payloads = table.payloads
    if shape == AS_STORED:
        return [payloads[slot] or HOLE for slot in slots]
    cache = table.renderings(shape)
    dates = frozenset(a.name for a in table.definition.attributes if a.type == "date")
    found: list[bytes] = []
    for slot in slots:
        row = cache.get(slot)
        if row is None:
            stored = payloads[slot]
            row = HOLE if stored is None else _render(orjson.loads(stored), shape, dates)
            cache[slot] = row
        found.append(row)
    return found


def _render(row: Row, shape: Shape, dates: frozenset[str]) -> bytes:
    if shape.attributes is not None:
        row = {name: row[name] for name in _ENVELOPE + shape.attributes if name in row}
    for name in shape.nulled & row.keys():
        row[name] = None
    if shape.quoted_timestamp:
        row["__TIMESTAMP"] = f'"{row["__TIMESTAMP"]}"'
    if shape.as_array:
        row = _array_dialect(row, dates)
    return compact(row)


def _array_dialect(row: Row, dates: frozenset[str]) -> Row:
    key = str(row["__KEY"])
    row.pop("__TIMESTAMP", None)
    row["__KEY"] = int(key) if key.isdigit() else key
    for name in dates & row.keys():
        parts = date_parts(str(row[name])) if row[name] is not None else None
        if parts is not None:
            row[name] = f"!!{parts[0]:04d}-{parts[1]:02d}-{parts[2]:02d}!!"
    return row


@dataclass(frozen=True)
class Page:
    """What an envelope says of the rows in it."""

    count: int
    first: int
    sent: int
    rows: Sequence[bytes]
    entity_set: str = ""
    plan: bytes = b""


def envelope(store: Store, table: Table, page: Page, version: WireVersion) -> bytes:
    """A list answer as this version of the server words it."""
    name = orjson.dumps(table.definition.name)
    head: list[bytes] = []
    if page.entity_set:
        address = f"/rest/{table.definition.name}/$entityset/{page.entity_set}"
        head.append(b'"__ENTITYSET":' + orjson.dumps(address))
    if version.dataclass_key:
        head.append(b'"__DATACLASS":' + name)
    head.append(b'"__entityModel":' + name)
    if version.global_stamp_key:
        head.append(b'"__GlobalStamp":%d' % store.global_stamp)
    head.append(b'"__COUNT":%d' % page.count)
    sent, first = b'"__SENT":%d' % page.sent, b'"__FIRST":%d' % page.first
    head.extend([first] if version.sent_last else [sent, first])
    start = b"{" + b",".join(head) + b',"__ENTITIES":['
    end = b"]," + sent + b"}" if version.sent_last else b"]}"
    if not page.rows:
        return start + end
    rows = list(page.rows)  # one join is one copy of the page
    rows[0] = start + rows[0]
    rows[-1] += end
    return b",".join(rows)


def single(table: Table, row: bytes, version: WireVersion) -> bytes:
    """One entity as the answer to `X(key)`."""
    name = orjson.dumps(table.definition.name)
    head = b'{"__entityModel":' + name + b","
    if version.dataclass_key:
        head += b'"__DATACLASS":' + name + b","
    return head + row[1:]


def error_body(errors: Iterable[tuple[int, str]]) -> bytes:
    """The documented error body, innermost cause first."""
    items = [{"message": text, "componentSignature": "dbmg", "errCode": code} for code, text in errors]
    return orjson.dumps({"__ERROR": items})


def catalog_list(store: Store, unique_id: str, version: WireVersion) -> bytes:
    """The short catalog: names and addresses."""
    found = [
        {"name": name, "uri": f"/rest/$catalog/{name}", "dataURI": f"/rest/{name}"} for name in sorted(store.tables)
    ]
    return orjson.dumps(_with_id({"dataClasses": found}, unique_id, version))


def catalog_full(tables: Iterable[Table], unique_id: str, version: WireVersion) -> bytes:
    """The long catalog: attributes and keys, wrapped the same way for one table as for all."""
    return orjson.dumps(_with_id({"dataClasses": [_describe(t, version) for t in tables]}, unique_id, version))


def _with_id(body: Row, unique_id: str, version: WireVersion) -> Row:
    return {"__UNIQID": unique_id, **body} if version.unique_id else body


def _describe(table: Table, version: WireVersion) -> Row:
    definition = table.definition
    attributes = [
        _attribute(a, place, a.name == definition.key, version)
        for place, a in enumerate(definition.attributes, start=1)
    ]
    if table.tracked:
        stamp = AttributeDef(GLOBAL_STAMP, "long64", indexed=True)
        attributes.append(_attribute(stamp, len(attributes) + 1, False, version))
    return {
        "name": definition.name,
        "className": definition.name,
        "collectionName": definition.name + version.selection_word,
        "tableNumber": definition.number,
        "scope": "public",
        "dataURI": f"/rest/{definition.name}",
        "attributes": attributes,
        "key": [{"name": definition.key}],
    }


def _attribute(attribute: AttributeDef, place: int, identifying: bool, version: WireVersion) -> Row:
    found: Row = {"name": attribute.name, "kind": attribute.kind}
    if attribute.kind == "storage":
        found["fieldPos"] = place
    found["scope"] = "public"
    if attribute.indexed or identifying:
        found["indexed"] = True
    found["type"] = attribute.type
    if attribute.type == "date" and attribute.simple_date:
        found["simpleDate"] = True
    if identifying:
        found["identifying"] = True
    if attribute.kind == "calculated":
        found["readOnly"] = True
    if attribute.kind == "relatedEntity":
        found |= {"type": attribute.target, "path": attribute.target, "foreignKey": attribute.foreign_key}
        found["inverseName"] = attribute.inverse
    if attribute.kind == "relatedEntities":
        found |= {"type": attribute.target + version.selection_word, "reversePath": True, "path": attribute.inverse}
        found["inverseName"] = attribute.inverse
    return found
