"""How does the stand-in listen? A threaded HTTP/1.1 server around the REST answers and the admin desk."""

from __future__ import annotations

import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable, Mapping
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from legacy_sync.demo.four_d_server.admin import ADMIN, Action, AdminDesk
from legacy_sync.demo.four_d_server.faults import Faults
from legacy_sync.demo.four_d_server.rest import Counters, Reply, Request, RestApi, Seen
from legacy_sync.demo.four_d_server.sessions import Sessions
from legacy_sync.demo.four_d_server.store import Store
from legacy_sync.demo.four_d_server.wire import VERSIONS


class FourDServer:
    """A stand-in 4D REST server over a store; a context manager, and restartable on the same port.

    `licences` is how many sessions may be open at once; `login` is "open", "headers" or "force" (see
    Sessions) with `users` as name and password; `version` is one of wire.VERSIONS; `actions` are named
    changes of the store that the admin desk offers; with `tls` it speaks nothing but HTTPS.
    """

    def __init__(
        self,
        store: Store,
        port: int = 0,
        *,
        host: str = "127.0.0.1",
        licences: int = 10,
        login: str = "open",
        users: Mapping[str, str] | None = None,
        version: str = "v20",
        actions: Mapping[str, Action] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.store = store
        self.host = host
        self.port = port
        self.tls = tls
        self.faults = Faults()
        self.sessions = Sessions(store.clock, store.name, licences, login, dict(users or {}))
        self.api = RestApi(store, self.sessions, self.faults, VERSIONS[version])
        self.admin = AdminDesk(store, self.sessions, self.faults, self.api, dict(actions or {}))
        self._http: _Http | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The address without /rest."""
        return f"{'https' if self.tls else 'http'}://{self.host}:{self.port}"

    @property
    def counters(self) -> Counters:
        """What was asked so far."""
        return self.api.counters

    @property
    def log(self) -> deque[Seen]:
        """The latest requests, oldest first."""
        return self.api.log

    @property
    def on_data_request(self) -> Callable[[str, int], None] | None:
        """Called with table and number before each data request is answered, to change rows between pages."""
        return self.api.on_data_request

    @on_data_request.setter
    def on_data_request(self, action: Callable[[str, int], None] | None) -> None:
        self.api.on_data_request = action

    def expire_entity_sets(self) -> None:
        """Every entity set is gone."""
        with self.store.lock:
            self.api.entity_sets.clear()

    def start(self) -> Self:
        """Listen in a thread; with port 0 a free one is taken and kept over restarts."""
        self._http = _Http((self.host, self.port), self)
        self.port = int(self._http.server_address[1])
        if self.tls:  # the handshake is left to the thread of each connection
            listening = self._http.socket
            self._http.socket = self.tls.wrap_socket(listening, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop listening and cut every open connection; sessions and entity sets are lost, as on a restart."""
        if self._http is None or self._thread is None:
            return
        self._http.stopping.set()
        self._http.shutdown()
        self._http.server_close()
        self._http.cut_connections()
        self._thread.join()
        self._http = None
        self.sessions.expire_all()
        self.expire_entity_sets()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], owner: FourDServer) -> None:
        self.owner = owner
        self.stopping = threading.Event()
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        super().__init__(address, _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: a client that hangs up is no news."""

    def opened(self, connection: socket.socket) -> None:
        with self._open_lock:
            self._open.add(connection)

    def closed(self, connection: socket.socket) -> None:
        with self._open_lock:
            self._open.discard(connection)

    def cut_connections(self) -> None:
        with self._open_lock:
            for connection in self._open:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # the other side was faster


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "4D"
    sys_version = ""
    disable_nagle_algorithm = True
    wbufsize = 0
    server: _Http

    def setup(self) -> None:
        super().setup()
        self.server.opened(self.connection)

    def finish(self) -> None:
        self.server.closed(self.connection)
        super().finish()

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, headers, body)
        owner = self.server.owner
        if self.path.startswith(ADMIN):
            reply = owner.admin.handle(request)
        elif self.path.startswith("/rest"):
            reply = owner.api.handle(request)
        else:
            reply = Reply(b"<html><body>4D Web Server</body></html>", 404, "text/html")
        if reply.delay:
            self.server.stopping.wait(reply.delay)
        self._send(reply)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = answer

    def date_time_string(self, timestamp: float | None = None) -> str:
        """The Date header, from the clock of the store."""
        return format_datetime(self.server.owner.store.clock.now(), usegmt=True)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the server keeps its own log."""

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.content_type)
        self.send_header("Content-Length", str(len(reply.body)))
        for name, value in reply.headers:
            self.send_header(name, value)
        self.end_headers()
        if reply.cut is None:
            self.wfile.write(reply.body)
            return
        self.wfile.write(reply.body[: reply.cut])
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)
