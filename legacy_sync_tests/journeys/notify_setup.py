"""Who is told in the tests? A real mail server and a real receiver of webhooks, both on this machine."""

import email
import email.policy
import json
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from journey_setup import Journey

from legacy_sync.notify.look import Desk, Report, look
from legacy_sync.notify.situation import Seen


class Hook:
    """A receiver of webhooks; `status` is what it answers from now on."""

    def __init__(self) -> None:
        self.status = 200
        self.bodies: list[dict[str, Any]] = []
        self.beats: list[str] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if hook.status == 200:
                    hook.bodies.append(json.loads(body))
                self._end()

            def do_GET(self) -> None:
                hook.beats.append(self.path)
                self._end()

            def _end(self) -> None:
                self.send_response(hook.status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing is printed."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.server_port}"

    @property
    def url(self) -> str:
        return f"json://{self.host}/secret-token-of-the-hook"

    @property
    def subjects(self) -> list[str]:
        return [body["title"] for body in self.bodies]

    @property
    def last(self) -> str:
        """Subject and body of the last message."""
        return f"{self.bodies[-1]['title']}\n{self.bodies[-1]['message']}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Post:
    """A mail server that keeps what it gets."""

    def __init__(self) -> None:
        self.mails: list[email.message.EmailMessage] = []
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port)
        self._controller.start()

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        self.mails.append(email.message_from_bytes(envelope.content, policy=email.policy.default))  # type: ignore[arg-type]
        return "250 OK"

    @property
    def url(self) -> str:
        return f"mailto://127.0.0.1:{self.port}/?from=sync@example.com&to=admin@example.com"

    def close(self) -> None:
        self._controller.stop()


@pytest.fixture
def hook() -> Iterator[Hook]:
    hook = Hook()
    yield hook
    hook.close()


@pytest.fixture
def post() -> Iterator[Post]:
    post = Post()
    yield post
    post.close()


class Watcher:
    """A journey that is looked after; time passes only when told to."""

    def __init__(self, journey: Journey) -> None:
        self.journey = journey
        self.passed = timedelta()
        # days pass in these tests, and nobody loads anything
        self.say(lag={"enabled": False}, quarantine={"after": "0s"}, conflicts={"after": "0s"})

    def say(self, **words: Any) -> None:
        """From now on the environment says this of notifications."""
        self.journey.overlay["notifications"] = {**self.journey.overlay.get("notifications", {}), **words}
        self.journey.close()

    def reach(self, **channels: str) -> None:
        """These channels, each by its address in a variable."""
        for name, url in channels.items():
            self.journey.variables[f"URL_OF_{name.upper()}"] = url
        self.say(channels={name: {"url": f"${{URL_OF_{name.upper()}}}"} for name in channels})

    @property
    def desk(self) -> Desk:
        workspace = self.journey.workspace
        project = workspace.project
        return Desk(workspace.settings, project.notifications, project.mappings, project.sources)

    def look(self, *, hours: float = 0, minutes: float = 0, others: Seen | None = None, **how: Any) -> Report:
        """A look so much later than the last one."""
        self.passed += timedelta(hours=hours, minutes=minutes)
        now = datetime.now(UTC) + self.passed
        return look(self.desk, self.journey.workspace.erp, lambda _connection: others or Seen(), now, **how)


@pytest.fixture
def watcher(journey: Journey, hook: Hook) -> Watcher:
    """A journey whose webhook is told of everything."""
    watcher = Watcher(journey)
    watcher.reach(hook=hook.url)
    return watcher
