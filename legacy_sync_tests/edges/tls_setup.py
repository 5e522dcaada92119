"""How does a test get real certificates, and a PostgreSQL behind TLS? The embedded one was built without OpenSSL."""

import select
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

_SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"


def authority(folder: Path) -> tuple[trustme.CA, str]:
    """An authority of our own, and the PEM file with its certificate."""
    ca = trustme.CA()
    file = folder / "ca.pem"
    ca.cert_pem.write_to_path(file)
    return ca, str(file)


def server_context(ca: trustme.CA, host: str = "127.0.0.1", *, expired: bool = False) -> ssl.SSLContext:
    """What a server with a certificate of this authority speaks TLS with."""
    ended = datetime.now(UTC) - timedelta(days=1) if expired else None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(host, not_after=ended).configure_cert(context)
    return context


@contextmanager
def behind_tls(port: int, context: ssl.SSLContext) -> Iterator[int]:
    """The port of a server that ends TLS as PostgreSQL does and passes everything on to `port`."""
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=_accept, args=(listening, port, context), daemon=True)
    thread.start()
    yield listening.getsockname()[1]
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join()


def _accept(listening: socket.socket, port: int, context: ssl.SSLContext) -> None:
    with suppress(OSError):
        while True:
            connection, _ = listening.accept()
            threading.Thread(target=_serve, args=(connection, port, context), daemon=True).start()


def _serve(connection: socket.socket, port: int, context: ssl.SSLContext) -> None:
    with suppress(OSError), connection, socket.create_connection(("127.0.0.1", port)) as behind:
        assert connection.recv(8) == _SSL_REQUEST
        connection.sendall(b"S")
        with context.wrap_socket(connection, server_side=True) as before:
            _pass_on(before, behind)


def _pass_on(before: ssl.SSLSocket, behind: socket.socket) -> None:
    other = {before: behind, behind: before}
    while True:
        ready = [before] if before.pending() else select.select([before, behind], [], [])[0]
        for end in ready:
            data = end.recv(1 << 16)
            if not data:
                return
            other[end].sendall(data)
