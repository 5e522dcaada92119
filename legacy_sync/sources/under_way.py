"""Which requests are under way, and who ends them when the process is told to stop? They are cut off, at once.

A run that ends waits for its reading threads, and these for an answer that a busy server may take minutes to give.
"""

from __future__ import annotations

import signal
import socket
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

_connections: weakref.WeakSet[HTTPConnection] = weakref.WeakSet()
_is_stopping = threading.Event()


@contextmanager
def cut_off_by_signals() -> Iterator[None]:
    """While this lasts, Ctrl-C and the like first cut off what is under way, then do what they did before.

    Outside the main thread, which alone hears signals, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(number: int, frame: FrameType | None) -> None:
        cut_off()
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)
        elif handler == signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    for number in before:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is handle:  # else somebody else has taken over
                signal.signal(number, handler)
        _is_stopping.clear()


def cut_off() -> None:
    """Ends all requests under way, and refuses further ones until the block that hears signals ends."""
    _is_stopping.set()
    for connection in list(_connections):
        if connection.sock is not None:
            with suppress(OSError):  # it ended by itself
                connection.sock.shutdown(socket.SHUT_RDWR)


class CuttableAdapter(HTTPAdapter):
    """Connections that can be cut off while another thread waits for their answer."""

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        """The same, with connections that are known here."""
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SafePool}


class _Connection(HTTPConnection):
    def request(self, *arguments: Any, **options: Any) -> None:
        _note(self)
        super().request(*arguments, **options)


class _SafeConnection(HTTPSConnection):
    def request(self, *arguments: Any, **options: Any) -> None:
        _note(self)
        super().request(*arguments, **options)


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SafePool(HTTPSConnectionPool):
    ConnectionCls = _SafeConnection


def _note(connection: HTTPConnection) -> None:
    if _is_stopping.is_set():
        raise ConnectionAbortedError("the run was told to stop")
    _connections.add(connection)
