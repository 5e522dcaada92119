"""How do several processes share one 4D session, which is one licence? By a private file with its cookies."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from requests.cookies import RequestsCookieJar


class SessionFile:
    """The cookies of one server and user; readable by nobody else, outside every repository."""

    def __init__(self, folder: Path, base: str, user: str | None) -> None:
        name = hashlib.blake2b(f"{base}\n{user or ''}".encode(), digest_size=12).hexdigest()
        self._path = folder / f"{name}.json"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds off other processes that want to open a session at the same server."""
        self._make_folder()
        with open(self._path.with_suffix(".lock"), "a", opener=_private) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def load_into(self, jar: RequestsCookieJar) -> None:
        """Puts the cookies another process left here into the jar, instead of those in it."""
        try:
            cookies = json.loads(self._path.read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            return
        if not isinstance(cookies, list) or not cookies:
            return
        jar.clear()  # two cookies of one name break the login
        for cookie in cookies:
            jar.set(cookie["name"], cookie["value"], domain=cookie["domain"], path=cookie["path"])

    def save(self, jar: RequestsCookieJar) -> None:
        """Leaves the cookies of the jar for others, whole or not at all."""
        cookies = [{"name": c.name, "value": c.value, "domain": c.domain, "path": c.path} for c in jar]
        self._make_folder()
        aside = self._path.with_suffix(f".{os.getpid()}")
        with open(aside, "w", opener=_private) as file:
            json.dump(cookies, file)
        aside.replace(self._path)

    def _make_folder(self) -> None:
        folder = self._path.parent
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_mode & 0o077 and folder.stat().st_uid == os.geteuid():
            folder.chmod(0o700)


def _private(path: str, flags: int) -> int:
    """Opens a file that nobody else can read, whatever the umask is."""
    return os.open(path, flags, 0o600)
