"""How is a connection lost at the worst moment? A door before PostgreSQL that is shut while a commit passes."""

import socket
import threading
from typing import Literal, Self
from urllib.parse import urlsplit, urlunsplit

COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"
Fate = Literal["answer lost", "commit lost", "server not told"]


class Door:
    """Passes everything on, until it is told what becomes of the commits that are still to come.

    answer lost: the server commits, and its answer never arrives. commit lost: the server hears that the client is
    gone instead. server not told: neither hears anything; the server keeps the transaction open.
    """

    def __init__(self, url: str) -> None:
        self._server = (urlsplit(url).hostname or "", urlsplit(url).port or 0)
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        parts = urlsplit(url)
        self.url = urlunsplit(parts._replace(netloc=parts.netloc.replace(f":{parts.port}", f":{port}")))
        self.fates: list[Fate | None] = []
        """of each commit to come, in order; None lets it pass"""
        self._open: list[socket.socket] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for one in (self._listener, *self._open):
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # the door is closed
            server = socket.create_connection(self._server)
            self._open += [client, server]
            told = threading.Event()
            threading.Thread(target=self._pass_on, args=(client, server, told), daemon=True).start()
            threading.Thread(target=self._pass_back, args=(server, client, told), daemon=True).start()

    def _pass_on(self, client: socket.socket, server: socket.socket, told: threading.Event) -> None:
        while data := _received(client):
            fate = self.fates.pop(0) if data.endswith(COMMIT) and self.fates else None
            if fate == "answer lost":
                told.set()
            if fate in (None, "answer lost"):
                _send(server, data)
                continue
            _shut(client)
            if fate == "server not told":
                return
            break
        _shut(server)

    def _pass_back(self, server: socket.socket, client: socket.socket, told: threading.Event) -> None:
        while data := _received(server):
            if told.is_set():
                break
            _send(client, data)
        _shut(client)


def _received(one: socket.socket) -> bytes:
    try:
        return one.recv(1 << 16)
    except OSError:
        return b""


def _send(one: socket.socket, data: bytes) -> None:
    try:
        one.sendall(data)
    except OSError:
        return  # the other side notices when it reads


def _shut(one: socket.socket) -> None:
    try:
        one.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # closed already
