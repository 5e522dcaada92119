"""How do the stand-in services listen? One small HTTP server, a folder of its address for each service."""

from __future__ import annotations

import json
import threading
from base64 import b64decode
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Protocol, Self
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass(frozen=True)
class Request:
    """What a service is asked: the path below its own folder, decoded parameters and body."""

    method: str
    path: str
    params: Mapping[str, str]
    body: Mapping[str, Any]
    login: tuple[str, str] | None


@dataclass(frozen=True)
class Reply:
    """What it answers, as JSON."""

    body: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


class Service(Protocol):
    """One stand-in."""

    def answer(self, request: Request, base: str) -> Reply:
        """The answer; `base` is the address of the service's folder."""


class WebServices:
    """Several services at one address; a context manager."""

    def __init__(self, services: Mapping[str, Service], port: int = 0) -> None:
        self.services = dict(services)
        self.port = port
        self.asked: deque[str] = deque(maxlen=1000)
        """the paths of the latest requests, oldest first"""
        self._http: _Http | None = None
        self._thread: threading.Thread | None = None

    def url(self, name: str) -> str:
        """The address of a service."""
        return f"http://127.0.0.1:{self.port}/{name}"

    def __enter__(self) -> Self:
        self._http = _Http(("127.0.0.1", self.port), self)
        self.port = int(self._http.server_address[1])
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._http is not None and self._thread is not None:
            self._http.shutdown()
            self._http.server_close()
            self._thread.join()


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], owner: WebServices) -> None:
        self.owner = owner
        super().__init__(address, _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: a client that hangs up is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Http

    def reply(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        self.server.owner.asked.append(parts.path)
        name, _, path = unquote(parts.path).lstrip("/").partition("/")
        service = self.server.owner.services.get(name)
        if service is None:
            self._send(Reply({"message": "not found"}, 404))
            return
        request = Request(
            self.command, path, _params(parts.query), _body(raw), _login(self.headers.get("Authorization"))
        )
        self._send(service.answer(request, self.server.owner.url(name)))

    do_GET = do_POST = reply

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the demo's log is for what matters."""

    def _send(self, reply: Reply) -> None:
        content = json.dumps(reply.body, ensure_ascii=False).encode()
        self.send_response(reply.status)
        for header, value in {"Content-Type": "application/json; charset=utf-8", **reply.headers}.items():
            self.send_header(header, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _params(query: str) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs(query, keep_blank_values=True).items()}


def _body(raw: bytes) -> dict[str, Any]:
    try:
        found = json.loads(raw or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _login(header: str | None) -> tuple[str, str] | None:
    kind, _, value = (header or "").partition(" ")
    if kind != "Basic":
        return None
    user, _, password = b64decode(value).decode(errors="replace").partition(":")
    return user, password
