"""What does the server answer to a request under /rest? Routing, data, entity sets, and the faults on top."""

from __future__ import annotations

import re
import uuid
from array import array
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import orjson

from legacy_sync.demo.four_d_server import query as q
from legacy_sync.demo.four_d_server import wire
from legacy_sync.demo.four_d_server.faults import Faults, Struck
from legacy_sync.demo.four_d_server.query import Refusal
from legacy_sync.demo.four_d_server.sessions import Session, Sessions
from legacy_sync.demo.four_d_server.store import Row, Store, Table

DEFAULT_TOP = 100
_SET_SECONDS = 7200
_SAVED_SET_SECONDS = 600
_RESOURCE = re.compile(r"(?P<name>[^(:]+)(?:\((?P<keys>.*)\)|:(?P<by>[^(]+)\((?P<value>.*)\))?", re.DOTALL)
_READING = frozenset({"entityset", "release"})
_WRITING = frozenset({"update", "delete", "validate", "subentityset"})


@dataclass(frozen=True)
class Request:
    """A request as it came in; header names in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass
class Reply:
    """An answer; `cut` closes the connection after that many bytes of the body, `delay` holds it back."""

    body: bytes = b""
    status: int = 200
    content_type: str = "application/json; charset=UTF-8"
    headers: list[tuple[str, str]] = field(default_factory=list)
    cut: int | None = None
    delay: float = 0


@dataclass(frozen=True)
class Seen:
    """A request the server remembers for those who want to know what was asked."""

    method: str
    path: str
    query: Mapping[str, str]
    resource: str
    status: int
    faults: tuple[str, ...]


@dataclass
class Counters:
    """What the server has been asked so far; `requests` by table or reserved word such as $catalog."""

    requests: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    rows: int = 0
    bytes: int = 0
    write_attempts: int = 0

    def reset(self) -> None:
        """Begin to count anew."""
        self.requests.clear()
        self.statuses.clear()
        self.rows = self.bytes = self.write_attempts = 0


@dataclass
class EntitySet:
    """A stored selection; its slots stay although rows change or vanish."""

    table: str
    slots: Sequence[int]
    seconds: int
    expires: datetime
    ordered: bool


@dataclass
class RestApi:
    """Everything under /rest. `on_data_request` is called with the table and a running number before each page."""

    store: Store
    sessions: Sessions
    faults: Faults
    version: wire.WireVersion
    counters: Counters = field(default_factory=Counters)
    log: deque[Seen] = field(default_factory=lambda: deque(maxlen=20_000))
    entity_sets: dict[str, EntitySet] = field(default_factory=dict)
    unique_id: str = field(default_factory=lambda: uuid.uuid4().hex.upper())
    on_data_request: Callable[[str, int], None] | None = None
    _last_body: dict[str, bytes] = field(default_factory=dict)

    def handle(self, request: Request) -> Reply:
        """The answer to one request, faults included."""
        with self.store.lock:
            path, _, query_text = q.percent_decode(request.target).partition("?")
            segments = split_path(path)[1:]
            resource = _name_of(segments[0]) if segments else ""
            table = resource if resource and not resource.startswith("$") else None
            try:
                struck = self.faults.strike(table, request.headers.get("x-fault", ""))
            except ValueError as error:
                return Reply(orjson.dumps({"error": str(error)}), 400)
            query: dict[str, str] = {}
            try:
                query = q.split_query(query_text)
                reply = self._serve(request, segments, query, struck)
            except Refusal as refusal:
                reply = _refused(refusal)
            reply = _spoil(reply, struck, table is not None)
            reply.headers.append(("4DREST-INFO", self.version.rest_info))
            self._count(Seen(request.method, path, query, resource, reply.status, tuple(struck)), reply)
            return reply

    def _serve(self, request: Request, segments: list[str], query: dict[str, str], struck: Struck) -> Reply:
        if not segments:
            raise Refusal(404, (1800, "There is no such resource"))
        _refuse_by_fault(struck)
        if "session_expired" in struck:
            self.sessions.forget(request.headers)
        if segments[:2] == ["$directory", "login"]:
            return self._login(request)
        session = self.sessions.enter(request.headers)
        reply = self._route(request, session, segments, query, struck)
        reply.headers.extend(("Set-Cookie", cookie) for cookie in self.sessions.cookies(session))
        return reply

    def _route(
        self, request: Request, session: Session, segments: list[str], query: dict[str, str], struck: Struck
    ) -> Reply:
        if segments == ["$catalog", "authentify"]:
            return self._authentify(request, session)
        if segments[0] == "$catalog":
            return self._catalog(segments[1:])
        if not session.licensed:
            raise Refusal(401, (1822, "The guest session has no privileges"))
        if request.method != "GET":
            self.counters.write_attempts += 1
            raise Refusal(401, (1828, "No permission to alter data"))
        if segments[0] == "$info":
            return Reply(self._info(segments[1:]))
        if segments[0].startswith("$"):
            raise Refusal(404, (1800, f'The resource "{segments[0]}" cannot be found'))
        return self._data(segments, query, struck)

    # --- login, catalog, info --------------------------------------------------------------------

    def _login(self, request: Request) -> Reply:
        self.sessions.forget(request.headers)
        if not self.sessions.allowed(request.headers):
            if self.version.login_failure != 200:
                raise Refusal(self.version.login_failure, (1822, "REST login failed"))
            return Reply(b'{"result":false}')
        session = self.sessions.enter(request.headers)
        return Reply(b'{"result":true}', headers=[("Set-Cookie", c) for c in self.sessions.cookies(session)])

    def _authentify(self, request: Request, session: Session) -> Reply:
        if request.method != "POST":
            raise Refusal(500, (1829, "authentify cannot be called with GET"))
        try:
            arguments = orjson.loads(request.body)
        except orjson.JSONDecodeError as error:
            raise Refusal(400, (1806, "The body cannot be read")) from error
        given = arguments[0] if isinstance(arguments, list) and arguments else {}
        if not isinstance(given, dict):
            given = {}
        accepted = self.sessions.authentify(session, str(given.get("name", "")), str(given.get("password", "")))
        return Reply(orjson.dumps({"result": accepted}))

    def _catalog(self, rest: list[str]) -> Reply:
        if not rest:
            return Reply(wire.catalog_list(self.store, self.unique_id, self.version))
        tables = sorted(self.store.tables) if rest == ["$all"] else rest[0].split(",")
        return Reply(wire.catalog_full([self._table(t) for t in tables], self.unique_id, self.version))

    def _info(self, rest: list[str]) -> bytes:
        now = self.store.clock.now()
        sets = [
            {"id": id_, "tableName": s.table, "selectionSize": len(s.slots), "sorted": s.ordered}
            for id_, s in self.entity_sets.items()
        ]
        sessions = [
            {
                "sessionID": s.id,
                "userID": s.user,
                "userName": s.user,
                "lifeTime": s.minutes,
                "expiration": s.expires.isoformat(),
            }
            for s in self.sessions.live.values()
            if s.expires >= now
        ]
        info: Row = {
            "cacheSize": 419430400,
            "usedCache": 4194304,
            "entitySetCount": len(sets),
            "entitySet": sets,
            "ProgressInfo": [],
            "sessionInfo": sessions,
        }
        if not rest:
            return orjson.dumps(info)
        if rest[0] not in info:
            raise Refusal(404, (1800, f'The resource "{rest[0]}" cannot be found'))
        return orjson.dumps({rest[0]: info[rest[0]]})

    # --- data --------------------------------------------------------------------------------------

    def _table(self, name: str) -> Table:
        table = self.store.tables.get(name)
        if table is None:
            raise Refusal(404, (1800, f'The "{name}" datastore class cannot be found'))
        return table

    def _data(self, segments: list[str], query: dict[str, str], struck: Struck) -> Reply:
        match = _RESOURCE.fullmatch(segments[0])
        if match is None:
            raise Refusal(400, (1806, "The URL is malformed"))
        table = self._table(match["name"])
        _check_words(query)
        if self.on_data_request is not None:
            self.on_data_request(table.definition.name, self.counters.requests[table.definition.name] + 1)
        if "churn" in struck:
            self._churn(table)
        if "set_expired" in struck:
            self.entity_sets.clear()
        rest, set_id = _entity_set_of(segments[1:])
        if match["keys"] or match["by"]:
            return self._one(table, self._keys(table, match), rest, query, struck)
        if "$distinct" in query or "$compute" in query:
            return self._aggregate(table, rest, query)
        return self._list(table, rest, set_id, query, struck)

    def _keys(self, table: Table, match: re.Match[str]) -> list[str]:
        if match["keys"]:
            return [key.strip().strip("'\"") for key in re.findall(r"\"[^\"]*\"|'[^']*'|[^,]+", match["keys"])]
        name, value = match["by"], match["value"].strip("'\"")
        q.attribute_type(table, name, status=404)
        condition = q.parse_filter(table, f"{name} === :1", orjson.dumps([value]).decode()).condition
        slots = q.select(table, condition, ()).page(0, 1)
        return [table.keys[slot] for slot in slots] or [value]

    def _one(self, table: Table, keys: list[str], rest: list[str], query: dict[str, str], struck: Struck) -> Reply:
        name = table.definition.name
        slots = [table.position[key] for key in keys if key in table.position]
        if len(keys) > 1:
            shape = self._shape(table, rest, query, struck)
            return self._page(table, slots, len(slots), 0, shape, struck)
        if not slots:
            raise Refusal(404, (1500, f'Cannot load entity# {keys[0]} of the "{name}" datastore class'))
        kind = table.definition.attribute(rest[0]) if len(rest) == 1 else None
        if kind is not None and kind.type in {"image", "blob"} and ("$expand" in query or "$binary" in query):
            content_type, body = table.media.get((keys[0], kind.name), ("application/octet-stream", b""))
            return Reply(body, content_type=content_type)
        row = wire.entities(table, slots, self._shape(table, rest, query, struck))[0]
        return Reply(wire.single(table, row, self.version))

    def _aggregate(self, table: Table, rest: list[str], query: dict[str, str]) -> Reply:
        if len(rest) != 1:
            raise Refusal(404, (1816, "The attribute list is empty"))
        q.attribute_type(table, rest[0], status=404)
        filter_ = self._filter(table, query, Struck())
        slots = q.select(table, filter_.condition, ((rest[0], False),)).page(0, -1)
        values = [table.decoded(slot)[rest[0]] for slot in slots]
        if "$distinct" in query:
            found = list(dict.fromkeys(v for v in values if not isinstance(v, (dict, list))))
            skip, top = _integer(query, "$skip", 0), _integer(query, "$top", len(found))
            return Reply(orjson.dumps(found[skip : skip + top]))
        return Reply(orjson.dumps(_compute(rest[0], values, query["$compute"])))

    def _list(self, table: Table, rest: list[str], set_id: str | None, query: dict[str, str], struck: Struck) -> Reply:
        shape = self._shape(table, rest, query, struck)
        top = _integer(query, "$top", _integer(query, "$limit", -1 if shape.as_array else DEFAULT_TOP))
        skip = max(0, _integer(query, "$skip", 0))
        if set_id is not None:
            return self._from_set(table, set_id, query, skip, top, shape, struck)
        filter_ = self._filter(table, query, struck)
        order = self._order(table, query) or filter_.order
        selection = q.select(table, filter_.condition, order)
        stored = ""
        if query.get("$method") == "entityset":
            stored = self._store_set(table, selection.page(0, -1), bool(order), query, _SET_SECONDS)
        return self._page(table, selection.page(skip, top), len(selection), skip, shape, struck, stored)

    def _from_set(
        self,
        table: Table,
        set_id: str,
        query: dict[str, str],
        skip: int,
        top: int,
        shape: wire.Shape,
        struck: Struck,
    ) -> Reply:
        if query.get("$method") == "release":
            self.entity_sets.pop(set_id, None)
            return Reply(b'{"ok":true}')
        found = self._entity_set(table, set_id, query)
        slots: Sequence[int] = found.slots
        filter_ = self._filter(table, query, struck)
        order = self._order(table, query) or filter_.order
        if filter_.condition is not None or order:
            slots = q.restrict(table, slots, filter_.condition, order)
        stored = set_id
        if query.get("$method") == "entityset":
            if query.get("$clean") == "true":
                slots = [slot for slot in slots if table.payloads[slot] is not None]
            stored = self._store_set(table, slots, found.ordered, query, _SET_SECONDS)
        page = slots[skip:] if top < 0 else slots[skip : skip + top]
        return self._page(table, page, len(slots), skip, shape, struck, stored)

    def _entity_set(self, table: Table, set_id: str, query: dict[str, str]) -> EntitySet:
        now = self.store.clock.now()
        found = self.entity_sets.get(set_id)
        if found is None or found.expires < now:
            self.entity_sets.pop(set_id, None)
            if "$savedfilter" not in query and "$savedorderby" not in query:
                raise Refusal(404, (1802, f'The entity set "{set_id}" cannot be found'))
            saved = {"$filter": query.get("$savedfilter", ""), "$params": query.get("$params", "")}
            order = q.parse_order(table, query["$savedorderby"]) if query.get("$savedorderby") else ()
            slots = q.select(table, self._filter(table, saved, Struck()).condition, order).page(0, -1)
            self._store_set(table, slots, bool(order), query, _SAVED_SET_SECONDS, set_id)
            found = self.entity_sets[set_id]
        if found.table != table.definition.name:
            raise Refusal(404, (1803, f'The entity set "{set_id}" belongs to another datastore class'))
        found.expires = now + timedelta(seconds=found.seconds)
        return found

    def _store_set(
        self,
        table: Table,
        slots: Sequence[int],
        ordered: bool,
        query: dict[str, str],
        seconds: int,
        set_id: str | None = None,
    ) -> str:
        set_id = set_id or uuid.uuid4().hex.upper()
        seconds = _integer(query, "$timeout", seconds)
        expires = self.store.clock.now() + timedelta(seconds=seconds)
        self.entity_sets[set_id] = EntitySet(table.definition.name, array("l", slots), seconds, expires, ordered)
        return set_id

    def _filter(self, table: Table, query: dict[str, str], struck: Struck) -> q.Filter:
        text = query.get("$filter", "").strip()
        if not text or "ignore_filter" in struck:
            return q.Filter()
        return q.parse_filter(table, text, query.get("$params"))

    def _order(self, table: Table, query: dict[str, str]) -> tuple[tuple[str, bool], ...]:
        text = query.get("$orderby", "").strip()
        return q.parse_order(table, text) if text else ()

    def _shape(self, table: Table, rest: list[str], query: dict[str, str], struck: Struck) -> wire.Shape:
        text = rest[0] if rest else query.get("$attributes", "*")
        names = tuple(name.strip() for name in text.split(",") if name.strip())
        for name in names:
            _check_attribute(table, name)
        nulled = set(table.unreadable)
        if "null_column" in struck:
            nulled.add(struck.text("null_column", "attribute"))
        return wire.Shape(
            attributes=None if "*" in names or not names else tuple(name.split(".")[0] for name in names),
            nulled=frozenset(nulled),
            quoted_timestamp=self.version.quoted_timestamp,
            as_array=query.get("$asArray") == "true",
        )

    def _page(
        self,
        table: Table,
        slots: Sequence[int],
        count: int,
        skip: int,
        shape: wire.Shape,
        struck: Struck,
        entity_set: str = "",
    ) -> Reply:
        name = table.definition.name
        if "repeat_page" in struck and name in self._last_body:
            return Reply(self._last_body[name])
        if "empty" in struck:
            slots, count = [], 0
        if "short_page" in struck:
            slots = slots[: max(0, len(slots) - int(struck.number("short_page", "missing", 1)))]
        rows = wire.entities(table, slots, shape)
        if "hole" in struck and rows:
            rows[0] = wire.HOLE
        self.counters.rows += len(rows)
        if shape.as_array:
            return Reply(b"[" + b",".join(rows) + b"]")
        sent = count - skip if self.version.negative_sent and skip > count else len(rows)
        count += int(struck.number("count_lies", "delta", 1))
        body = wire.envelope(self.store, table, wire.Page(count, skip, sent, rows, entity_set), self.version)
        self._last_body[name] = body
        return Reply(body)

    def _churn(self, table: Table) -> None:
        """What clerks do while an import runs: change one row, insert a copy of it, delete another."""
        keys = list(table.position)
        if len(keys) < 2:
            return
        number = self.counters.requests[table.definition.name]
        first, second = keys[number * 7919 % len(keys)], keys[(number * 7919 + 1) % len(keys)]
        name = table.definition.name
        row = self.store.get(name, first)
        values = {k: v for k, v in row.items() if not k.startswith("__") and k != table.definition.key}
        self.store.update(name, first, {})
        self.store.insert(name, values)
        self.store.delete(name, second)

    def _count(self, seen: Seen, reply: Reply) -> None:
        self.counters.requests[seen.resource] += 1
        self.counters.statuses[reply.status] += 1
        self.counters.bytes += len(reply.body)
        self.log.append(seen)


def split_path(path: str) -> list[str]:
    """The parts of a decoded path; a slash inside quotes or parentheses belongs to a key."""
    parts, depth, quote = [""], 0, ""
    for character in path.strip("/"):
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"" and depth:
            quote = character
        elif character in "()":
            depth += 1 if character == "(" else -1
        if character == "/" and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += character
    return [part for part in parts if part]


def _name_of(segment: str) -> str:
    return re.split(r"[(:]", segment, maxsplit=1)[0]


def _entity_set_of(rest: list[str]) -> tuple[list[str], str | None]:
    if "$entityset" not in rest:
        return rest, None
    place = rest.index("$entityset")
    return rest[:place], rest[place + 1] if len(rest) > place + 1 else ""


def _check_words(query: dict[str, str]) -> None:
    method = query.get("$method", "entityset")
    if method in _WRITING:
        raise Refusal(400, (1813, f'The method "{method}" is not applicable'))
    if method not in _READING:
        raise Refusal(400, (1812, f'The method "{method}" is unknown'))
    if query.get("$format", "json") != "json":
        raise Refusal(400, (1801, f'The format "{query["$format"]}" is not supported'))


def _check_attribute(table: Table, name: str) -> None:
    known = table.definition.attribute(name.split(".")[0])
    if name == "*" or known is not None or (name == "__GlobalStamp" and table.tracked):
        return
    class_ = table.definition.name
    raise Refusal(
        404,
        (1500, f'The "{name}" attribute cannot be found in The "{class_}" datastore class'),
        (1804, f'Cannot completely build a list of attributes with "{name}" for the "{class_}" datastore class'),
    )


def _integer(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name, "").strip()
    return int(text) if re.fullmatch(r"[+-]?\d+", text) else default


def _compute(attribute: str, values: list[object], wanted: str) -> object:
    numbers = [v for v in values if isinstance(v, (int, float)) and not isinstance(v, bool)]
    total = sum(numbers)
    found: dict[str, object] = {
        "count": len(values),
        "sum": total,
        "average": total / len(numbers) if numbers else None,
        "min": min(numbers, default=None),
        "max": max(numbers, default=None),
    }
    name = wanted.lstrip("$")
    if name == "all":
        return {attribute: found}
    if name not in found:
        raise Refusal(404, (1817, f'The action "{wanted}" is unknown'))
    return found[name]


# --- faults ------------------------------------------------------------------------------------------

_HTML = b"<!DOCTYPE html><html><head><title>4D</title></head><body><h1>%s</h1></body></html>"
_MESSAGE = {"message": "The operation failed", "componentSignature": "dbmg", "errCode": 1046}
_ERROR_BODIES: dict[str, object] = {
    "error_array": {"__ERROR": [_MESSAGE]},
    "error_string": {"__ERROR": "The operation failed"},
    "error_plural": {"__ERRORS": [{"message": "The operation failed"}]},
    "error_errors": {"errors": [{"message": "The operation failed", "code": 1046}]},
    "error_success": {"success": False, "__ERROR": [_MESSAGE]},
    "error_status_text": {"statusText": "The operation failed"},
    "ok": {"ok": True},
}
_GATEWAY = {502: b"Bad Gateway", 503: b"Service Unavailable", 504: b"Gateway Timeout"}


def _refuse_by_fault(struck: Struck) -> None:
    if "session_limit" in struck:
        raise Refusal(402, (1823, "Maximum number of sessions has been reached"))
    if "login_refused" in struck:
        raise Refusal(401, (1822, "REST login failed"))
    if "http_500" in struck:
        raise Refusal(500, (1046, "The record cannot be loaded"))


def _refused(refusal: Refusal) -> Reply:
    reply = Reply(wire.error_body(refusal.errors), refusal.status)
    if refusal.status == 401:
        reply.content_type = "application/json"
        reply.headers += [("www-authenticate", ""), ("4D-CREDENTIALS", "1.0")]
    return reply


def _spoil(reply: Reply, struck: Struck, is_data: bool) -> Reply:
    """The answer after the faults that change it; refusals pass except for slowness and broken lines."""
    for status, text in _GATEWAY.items():
        if f"http_{status}" in struck:
            reply = Reply(_HTML % text, status, "text/html; charset=UTF-8")
    if is_data and reply.status == 200:
        _spoil_body(reply, struck)
    if "truncated" in struck:
        reply.body = reply.body[: len(reply.body) * 2 // 3]
    if "drop" in struck:
        reply.cut = len(reply.body) // 2
    reply.delay = struck.number("slow", "seconds", 1)
    return reply


def _spoil_body(reply: Reply, struck: Struck) -> None:
    for name, body in _ERROR_BODIES.items():
        if name in struck:
            reply.body = orjson.dumps(body)
    if "html" in struck:
        reply.body, reply.content_type = _HTML % b"4D Web Server", "text/html; charset=UTF-8"
    if "no_entities" in struck or "error_in_entity" in struck:
        answer = orjson.loads(reply.body)
        if isinstance(answer, dict) and "__ENTITIES" in answer:
            rows = answer.pop("__ENTITIES")
            if "error_in_entity" in struck and rows:
                rows[0]["__ERROR"] = [_MESSAGE]
                answer["__ENTITIES"] = rows
        reply.body = orjson.dumps(answer)
