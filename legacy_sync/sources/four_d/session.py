"""Which session do we have at a 4D server? One per server and user, since a session is a licence.

All clients of a process share it, and through a private file (`session_file.py`) all processes of the machine.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import requests

from legacy_sync.settings import MASK
from legacy_sync.sources.four_d.session_file import SessionFile
from legacy_sync.sources.under_way import CuttableAdapter

logger = logging.getLogger(__name__)

_SESSION_COOKIES = ("WASID4D", "4DSID_")


@dataclass(frozen=True)
class Credentials:
    """A 4D user; never shown, not even in a repr."""

    user: str
    password: str = field(repr=False)

    def __repr__(self) -> str:
        return f"Credentials({MASK})"


class SharedSession:
    """The one HTTP session of this process at a server for a user: cookies, connections, login state."""

    def __init__(self, base: str, file: SessionFile | None) -> None:
        self._base = base
        self._file = file
        self._lock = threading.RLock()
        self._is_known = False
        self.logins = 0
        self.http = requests.Session()
        self.http.trust_env = False  # neither a proxy for the LAN nor credentials of a .netrc
        self.http.headers.update({"Accept": "application/json", "User-Agent": "legacy-sync"})
        adapter = CuttableAdapter(pool_connections=2, pool_maxsize=8)
        self.http.mount("http://", adapter)
        self.http.mount("https://", adapter)

    def enter(self, log_in: Callable[[], None]) -> None:
        """Log in before the first request; others wait, so that no second session is opened meanwhile."""
        if self._is_known:
            return
        with self._lock:
            if not self._is_known:
                with self._file.locked() if self._file else nullcontext():
                    if self._file:
                        self._file.load_into(self.http.cookies)
                    log_in()
                self._is_known = True
                self.logins += 1

    def log_in_again(self, before: int, log_in: Callable[[], None]) -> None:
        """Log in unless another thread did since login number `before`."""
        with self._lock:
            if self.logins == before:
                self._is_known = False
                self.enter(log_in)

    def forget(self) -> None:
        """Drop all cookies."""
        self.http.cookies.clear()

    def has_cookies(self) -> bool:
        """Whether a server ever gave us a session."""
        return len(self.http.cookies) > 0

    def cookie_values(self) -> list[str]:
        """The secrets of this session, for masking only."""
        return [cookie.value for cookie in self.http.cookies if cookie.value]

    def note_cookies(self, response: requests.Response) -> bool:
        """Whether this answer came from another session than we asked in; logged by name, never by value."""
        sent = _cookies_sent(response)
        new = {cookie.name: cookie.value for cookie in response.cookies if sent.get(cookie.name) != cookie.value}
        names = ", ".join(sorted(new))
        if new and self._file:
            self._file.save(self.http.cookies)
        changed = [name for name in new if name in sent or not any(map(_is_session_cookie, sent))]
        if new and not sent:
            logger.info("4D server %s opened a session (cookies %s)", self._base, names)
        elif new:
            logger.warning("4D server %s replaced the cookies %s", self._base, names)
        return any(map(_is_session_cookie, changed))


_sessions: dict[tuple[int, str, Credentials | None, Path | None], SharedSession] = {}
_sessions_lock = threading.Lock()


def session_for(base: str, credentials: Credentials | None, folder: Path | None) -> SharedSession:
    """The shared session; a forked process gets its own connections, since sockets cannot be shared."""
    name = (os.getpid(), base, credentials, folder)
    with _sessions_lock:
        if name not in _sessions:
            file = SessionFile(folder, base, credentials.user if credentials else None) if folder else None
            _sessions[name] = SharedSession(base, file)
        return _sessions[name]


def _is_session_cookie(name: str) -> bool:
    return name.startswith(_SESSION_COOKIES)


def _cookies_sent(response: requests.Response) -> dict[str, str]:
    header = response.request.headers.get("Cookie") or ""
    pairs = (pair.strip().partition("=") for pair in header.split(";") if pair.strip())
    return {name: value.strip('"') for name, _, value in pairs}
