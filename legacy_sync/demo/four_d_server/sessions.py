"""Who may ask, with which cookie, and what does it cost in licences?"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from legacy_sync.demo.four_d_server.query import Refusal
from legacy_sync.demo.four_d_server.store import Clock

COOKIE = "WASID4D"
_COOKIE = re.compile(rf"(?:^|;)\s*{COOKIE}=([^;]*)")
_MINIMUM_MINUTES = 60


@dataclass
class Session:
    """One visitor the server remembers; a guest of force-login mode holds no licence."""

    id: str
    user: str
    minutes: int
    expires: datetime
    licensed: bool = True


@dataclass
class Sessions:
    """All live sessions, and the rules for a request that brings none.

    `login` is "open" (anybody), "headers" (username-4D and password-4D) or "force" (guest until authentify).
    """

    clock: Clock
    app: str = "Standin"
    licences: int = 10
    login: str = "open"
    users: Mapping[str, str] = field(default_factory=dict)
    live: dict[str, Session] = field(default_factory=dict)
    opened: int = 0

    def enter(self, headers: Mapping[str, str]) -> Session:
        """The session a request belongs to; an unknown or missing cookie silently opens a new one."""
        self._sweep()
        cookies = _COOKIE.findall(headers.get("cookie", ""))
        session = self.live.get(cookies[0].strip().upper()) if len(cookies) == 1 else None
        if session is None:
            session = self._open(headers)
        session.expires = self.clock.now() + timedelta(minutes=session.minutes)
        return session

    def cookies(self, session: Session) -> list[str]:
        """The Set-Cookie values of every successful answer: the REST session and the web session."""
        age = session.minutes * 60
        second = uuid.uuid5(uuid.NAMESPACE_URL, session.id).hex.upper()
        return [
            f"{COOKIE}={session.id}; Path=/; Max-Age={age}; HttpOnly; Version=1",
            f"4DSID_{self.app}={second}; Path=/; Max-Age={age}; HttpOnly",
        ]

    def authentify(self, session: Session, name: str, password: str) -> bool:
        """Whether the guest may work from now on; only then a licence is taken."""
        if self.users.get(name) != password:
            return False
        if not session.licensed:
            self._need_licence()
            session.licensed = True
        session.user = name
        return True

    def allowed(self, headers: Mapping[str, str]) -> bool:
        """Whether the credentials in the headers are good enough to open a session."""
        if self.login != "headers":
            return True
        name = headers.get("username-4d", "")
        return bool(name) and self.users.get(name) == headers.get("password-4d", "")

    @property
    def licences_used(self) -> int:
        """How many of the live sessions hold a licence."""
        self._sweep()
        return sum(session.licensed for session in self.live.values())

    def expire_all(self) -> None:
        """Every session ends now, as after a restart of the web server."""
        self.live.clear()

    def forget(self, headers: Mapping[str, str]) -> None:
        """The session of this request ends before it is served."""
        for cookie in _COOKIE.findall(headers.get("cookie", "")):
            self.live.pop(cookie.strip().upper(), None)

    def _open(self, headers: Mapping[str, str]) -> Session:
        if not self.allowed(headers):
            raise Refusal(401, (1822, "REST login failed"))
        guest = self.login == "force"
        if not guest:
            self._need_licence()
        asked = headers.get("session-4d-length", "")
        minutes = max(_MINIMUM_MINUTES, int(asked)) if asked.isdigit() else _MINIMUM_MINUTES
        id_ = uuid.uuid4().hex.upper()
        user = headers.get("username-4d", "guest")
        session = Session(id_, user, minutes, self.clock.now(), licensed=not guest)
        self.live[id_] = session
        self.opened += 1
        return session

    def _need_licence(self) -> None:
        if self.licences_used >= self.licences:
            raise Refusal(402, (1823, "Maximum number of sessions has been reached"))

    def _sweep(self) -> None:
        now = self.clock.now()
        for id_ in [s.id for s in self.live.values() if s.expires < now]:
            del self.live[id_]
