"""How does a 4D server answer that has gone mad? Valid answers of the stand-in, changed on their way over HTTP."""

import json
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from legacy_sync.demo.four_d_server import FourDServer
from legacy_sync.demo.four_d_server.rest import Request


@dataclass(frozen=True)
class Said:
    """One answer; `announced` is its Content-Length, None for the true one."""

    status: int
    headers: dict[str, str]
    body: bytes
    announced: int | None = None


Mutation = Callable[[Said, random.Random], Said]

NASTY: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        2**63,
        2**70,
        -0.0,
        1e308,
        "",
        "x",
        "0",
        "x" * 20_000,
        "\x00",
        "é\u202e𝕏",
        "5!13!2024",
    ),
    *([], {}, [[]], [None], [1, "a", {}], {"a": {"b": []}}, {"__deferred": {"uri": "x"}}, {"__KEY": None}),
)
BODIES = (
    *(b"", b" ", b"{}", b"[]", b"null", b"true", b"0", b'"x"', b"<html><body>Wartung</body></html>", b'{"ok":true}'),
    *(
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"__ENTITIES":[]}',
        b'{"__ENTITIES":[],"__COUNT":-1}',
        b"\xff\xfe",
        b"\x1f\x8b",
    ),
    *(b'{"__ENTITIES":[1],"__COUNT":1}', b'{"__ENTITIES":[{}],"__COUNT":1}', b'{"__ENTITIES":[[]],"__COUNT":1}'),
    *(b'{"__COUNT":1e400,"__ENTITIES":[]}', b'{"__COUNT":NaN,"__ENTITIES":[]}', b'{"__ENTITIES":{"a":1},"__COUNT":1}'),
    *(
        b'{"__ERROR":7}',
        b'{"__ERROR":[[1]]}',
        b'{"__ERROR":{"errCode":"x"}}',
        b'{"errors":[null]}',
        b'{"success":false}',
    ),
    *(
        b'{"dataClasses":7}',
        b'{"dataClasses":[{"name":7}]}',
        b'{"dataClasses":[null]}',
        b'{"dataClasses":[{"name":"Kunden"}]}',
    ),
    *(b'{"__ERROR":[{"errCode":' + b"9" * 5000 + b"}]}", b'{"__ERROR":"' + b"x" * 50_000 + b'"}', b'{"a":"\\ud800"}'),
)
HEADERS = (
    *(("Content-Type", v) for v in ("text/html", "application/json; charset=utf-16", "application/json; charset=nope")),
    *(("Content-Type", v) for v in ("", "application/json; charset=", "application/json;charset=idna", "x" * 3000)),
    *(("Content-Encoding", v) for v in ("gzip", "deflate", "br", "nonsense")),
    *(("Date", v) for v in ("", "yesterday", "Mon, 99 Foo 2024 25:61:61 GMT", "Thu, 01 Jan 0001 00:00:00 -2359")),
    *(("Set-Cookie", v) for v in ("WASID4D=", "WASID4D=x; Domain=evil.example", "=", ";;;", "4DSID_x=\xe9")),
    *(("Location", v) for v in ("http://[", "//evil.example/", "\xff")),
    *(("Retry-After", v) for v in ("-1", "1e9", "soon")),
    *(("X" * 3000, "y"), ("Transfer-Encoding", "chunked"), ("Connection", "close")),
)
STATUSES = (
    200,
    201,
    202,
    203,
    204,
    205,
    206,
    207,
    226,
    300,
    301,
    302,
    303,
    304,
    307,
    308,
    400,
    401,
    402,
    403,
    404,
    405,
)
STATUSES += (408, 409, 410, 415, 418, 422, 429, 451, 499, 500, 501, 502, 503, 504, 505, 507, 511, 599, 600, 799, 999)


def truncate(said: Said, dice: random.Random) -> Said:
    """A complete transfer of the beginning."""
    return replace(said, body=said.body[: dice.randrange(len(said.body) + 1)])


def break_off(said: Said, dice: random.Random) -> Said:
    """The connection ends before the announced length."""
    return replace(said, body=said.body[: dice.randrange(len(said.body) + 1)], announced=len(said.body))


def announce_less(said: Said, dice: random.Random) -> Said:
    """More comes than was announced."""
    return replace(said, announced=dice.randrange(len(said.body) + 1))


def spoil_bytes(said: Said, dice: random.Random) -> Said:
    """Some bytes more, beside quotes and brackets."""
    raw = bytearray(said.body)
    places = [n for n, byte in enumerate(raw) if byte in b'{}[],":'] or [0]
    for _ in range(dice.randint(1, 3)):
        raw[dice.choice(places) : 0] = bytes(dice.choices(b'\xff\xc3\x00\x01{}[]",:x', k=dice.randint(1, 3)))
    return replace(said, body=bytes(raw))


def other_body(said: Said, dice: random.Random) -> Said:
    """Something else altogether."""
    return replace(said, body=dice.choice(BODIES))


def other_status(said: Said, dice: random.Random) -> Said:
    """The same with another status."""
    return replace(said, status=dice.choice(STATUSES))


def other_header(said: Said, dice: random.Random) -> Said:
    """The same with a header that does not fit."""
    return replace(said, headers=said.headers | dict([dice.choice(HEADERS)]))


def other_envelope(said: Said, dice: random.Random) -> Said:
    """A part of the answer around the rows is missing, is another, or there is one more."""
    parsed = _parsed(said)
    place = dice.choice([*_containers(parsed)] or [parsed])
    if isinstance(place, dict) and place:
        name = dice.choice([*place])
        match dice.randrange(3):
            case 0:
                del place[name]
            case 1:
                place[name] = dice.choice(NASTY)
            case _:
                place[dice.choice(("__ERROR", "__ERRORS", "errors", "__STAMP", "zusätzlich", ""))] = dice.choice(NASTY)
    return replace(said, body=json.dumps(parsed).encode())


def other_rows(said: Said, dice: random.Random) -> Said:
    """Rows are missing, come twice, in another order, or are none."""
    parsed = _parsed(said)
    rows = parsed.get("__ENTITIES") if isinstance(parsed, dict) else None
    if not isinstance(rows, list) or not rows:
        return other_envelope(said, dice)
    place = dice.randrange(len(rows))
    match dice.randrange(5):
        case 0:
            del rows[place]
        case 1:
            rows.insert(dice.randrange(len(rows) + 1), dict(rows[place]))
        case 2 if len(rows) > 1:
            rows.reverse()
        case 3:
            rows[place] = dice.choice(NASTY)
        case _:
            rows[place].pop("__KEY", None)
    return replace(said, body=json.dumps(parsed).encode())


def other_values(said: Said, dice: random.Random) -> Said:
    """Rows have other values than their kind, but for those that name them."""
    parsed = _parsed(said)
    rows = parsed.get("__ENTITIES") if isinstance(parsed, dict) else None
    for row in rows if isinstance(rows, list) else ():
        for name in dice.sample([n for n in row if n not in ("UID", "__KEY")], k=2):
            row[name] = dice.choice((*NASTY, "99!99!9999999999", "!!x!!", "0!0!0", "2024-02-30", 1e308, -(2**63)))
    return replace(said, body=json.dumps(parsed).encode())


def _parsed(said: Said) -> Any:
    try:
        return json.loads(said.body)
    except ValueError:
        return {}


def _containers(value: Any) -> Iterator[Any]:
    """Everything that holds something, but not the rows."""
    if isinstance(value, dict | list):
        yield value
        for name, inside in value.items() if isinstance(value, dict) else enumerate(value):
            if name != "__ENTITIES":
                yield from _containers(inside)


MUTATIONS: tuple[Mutation, ...] = (
    *(
        truncate,
        break_off,
        announce_less,
        spoil_bytes,
        other_body,
        other_status,
        other_header,
        other_envelope,
        other_rows,
    ),
)


@dataclass
class Mad:
    """The server; `mutations` by number of the request, counted from the last `begin`."""

    url: str = ""
    mutations: dict[int, Mutation] = field(default_factory=dict)
    dice: random.Random = field(default_factory=random.Random)
    requests: int = 0

    def begin(self, mutations: dict[int, Mutation], seed: int) -> None:
        """From now on these answers are changed; -1 is every other one."""
        self.mutations, self.dice, self.requests = mutations, random.Random(seed), 0

    def change(self, said: Said) -> Said:
        """The answer as it is sent."""
        mutation = self.mutations.get(self.requests, self.mutations.get(-1))
        self.requests += 1
        return mutation(said, self.dice) if mutation else said


@contextmanager
def gone_mad(server: FourDServer) -> Iterator[Mad]:
    """The stand-in's answers, changed as `begin` says."""
    mad = Mad()
    http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(server, mad))
    http.daemon_threads = True
    http.handle_error = lambda *_: None  # type: ignore[method-assign,assignment]  # a client that hangs up is no news
    thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    mad.url = f"http://127.0.0.1:{http.server_address[1]}"
    yield mad
    http.shutdown()
    http.server_close()
    thread.join()


def _handler(server: FourDServer, mad: Mad) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            reply = server.api.handle(Request(self.command, self.path, headers, body))
            said = Said(reply.status, {"Content-Type": reply.content_type, **dict(reply.headers)}, reply.body)
            self._send(mad.change(said))

        do_GET = do_POST = answer

        def _send(self, said: Said) -> None:
            lines = [f"HTTP/1.1 {said.status} Said"]
            length = len(said.body) if said.announced is None else said.announced
            headers = {"Connection": "close", "Content-Length": str(length), **said.headers}
            lines += [f"{name}: {value}" for name, value in headers.items()]
            self.wfile.write("\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + said.body)
            self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    return Handler
