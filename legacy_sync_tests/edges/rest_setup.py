"""What do the tests of web services share? A real HTTP server that answers what a test tells it to."""

import json
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from source_setup import source_of

from legacy_sync.sources.rest.source import RestSource

PATIENCE = {"retry": {"attempts": 3, "first_pause": "0ms"}, "timeout_seconds": 1, "connect_timeout_seconds": 1}


@dataclass
class Asked:
    """One request as it came in."""

    method: str
    path: str
    params: dict[str, str]
    headers: dict[str, str]
    body: str

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Answered:
    """What the server says; `body` may be anything that JSON can say, or bytes as they are."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    announced: int | None = None
    """Content-Length, if another than the true one"""
    wait: float = 0


Answer = Callable[[Asked], Any]


class _Http(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: a client that hangs up is what some tests want."""


class WebService:
    """A server whose answers are a function of the request; what that returns is JSON, or an `Answered`."""

    def __init__(self, answer: Answer, tls: ssl.SSLContext | None = None) -> None:
        self.answer = answer
        self._scheme = "https" if tls else "http"
        self.log: list[Asked] = []
        self.stopping = threading.Event()
        self._http = _Http(("127.0.0.1", 0), self._handler())
        if tls:  # the handshake is left to the thread of each connection
            self._http.socket = tls.wrap_socket(self._http.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopping.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def source(self, table: dict[str, Any] | None = None, **words: Any) -> RestSource:
        """A source for this server with the one table "t"."""
        tables = {"t": {"path": "rows", **(table or {})}}
        variables = words.pop("variables", None)
        made = source_of({"type": "rest", "url": self.url + "/api", "tables": tables, **PATIENCE, **words}, variables)
        assert isinstance(made, RestSource)
        return made

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        service = self

        class Handler(BaseHTTPRequestHandler):
            def reply(self) -> None:
                parts = urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
                params = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
                asked = Asked(self.command, parts.path, params, dict(self.headers.items()), body)
                service.log.append(asked)
                said = service.answer(asked)
                answered = said if isinstance(said, Answered) else Answered(said)
                service.stopping.wait(answered.wait)
                self._send(answered)

            do_GET = do_POST = reply

            def _send(self, answered: Answered) -> None:
                content = answered.body if isinstance(answered.body, bytes) else json.dumps(answered.body).encode()
                self.send_response(answered.status)
                for name, value in {"Content-Type": "application/json", **answered.headers}.items():
                    self.send_header(name, value)
                size = len(content) if answered.announced is None else answered.announced
                self.send_header("Content-Length", str(size))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing: the service keeps its own log."""

        return Handler


def in_turn(*answers: Any) -> Answer:
    """These answers one after the other, the last one again and again."""
    left = list(answers)

    def answer(_asked: Asked) -> Any:
        return left.pop(0) if len(left) > 1 else left[0]

    return answer
