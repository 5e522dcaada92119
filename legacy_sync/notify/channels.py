"""How does a message leave? Through apprise, which knows e-mail, Slack, Teams, webhooks and many more by one URL."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import requests

from legacy_sync.errors import NotifyFailed, SettingsInvalid
from legacy_sync.mapping.notify_words import KINDS, Kind, Notifications
from legacy_sync.notify.masking import Mask
from legacy_sync.notify.texts import Message
from legacy_sync.settings import Settings

_SECONDS = 10.0
"""how long a server may take to accept a message"""


@dataclass(frozen=True)
class Channel:
    """One way to reach people; its address holds secrets and is shown nowhere."""

    name: str
    url: str = field(repr=False)
    kinds: tuple[Kind, ...] = KINDS

    def send(self, message: Message, mask: Mask) -> None:
        """Returns when the other side has taken the message; raises NotifyFailed or SettingsInvalid."""
        import apprise  # takes a moment, and is rarely needed

        asset = apprise.AppriseAsset(app_id="legacy_sync", app_desc="legacy_sync", storage_mode="memory")
        service = apprise.Apprise.instantiate(self.url, asset=asset)
        if service is None:
            raise SettingsInvalid(
                f"the address of the channel {self.name} is not understood",
                where=f"notifications, channel {self.name}",
                next_step="write it as https://appriseit.com/services lists them, then `legacy-sync notify --test`",
            )
        service.socket_connect_timeout = service.socket_read_timeout = _SECONDS
        sender = apprise.Apprise(asset=asset)
        sender.add(service)
        with _reasons() as reasons:
            is_sent = sender.notify(title=message.subject, body=message.body, body_format=apprise.NotifyFormat.TEXT)
        if not is_sent:
            raise NotifyFailed(
                f"the channel {self.name} did not take a message: {mask(' '.join(reasons)) or 'no reason was given'}",
                where=f"notifications, channel {self.name}",
                next_step="it is tried again at the next look; `legacy-sync notify --test` tries all channels now",
            )


@contextmanager
def _reasons() -> Iterator[list[str]]:
    """What apprise says of a failure; it goes no further, since it may hold addresses."""
    reasons: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: reasons.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("apprise")
    before, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield reasons
    finally:
        logger.removeHandler(handler)
        logger.propagate = before


def list_channels(settings: Settings, rules: Notifications) -> list[Channel]:
    """Those of the environment's file that have an address, and those of LEGACY_SYNC_NOTIFY."""
    named = [(name, c.url.get_secret_value().strip(), c.kinds) for name, c in rules.channels.items()]
    found = [Channel(name, url, kinds) for name, url, kinds in named if url]
    counts: dict[str, int] = {}
    for url in settings.notify_urls:
        scheme = url.partition("://")[0].lower() if "://" in url else "LEGACY_SYNC_NOTIFY"
        counts[scheme] = counts.get(scheme, 0) + 1
        found.append(Channel(f"{scheme} {counts[scheme]}", url))
    return found


def beat(url: str) -> None:
    """Tells a dead man's switch that a look went well; raises NotifyFailed."""
    try:
        reply = requests.get(url, timeout=_SECONDS)
        reason = f"HTTP {reply.status_code}" if not reply.ok else ""
    except requests.RequestException as error:
        reason = type(error).__name__  # its text holds the address
    if reason:
        raise NotifyFailed(
            f"the heartbeat was not taken: {reason}",
            where="notifications, heartbeat",
            next_step="check LEGACY_SYNC_HEARTBEAT, or `heartbeat` in the environment; the next look tries again",
        )


def no_channel(environment: str) -> SettingsInvalid:
    """Nobody can be told anything."""
    return SettingsInvalid(
        "no channel for notifications is set",
        where=f"environment variable LEGACY_SYNC_NOTIFY, and `notifications.channels` of environment {environment}",
        next_step="set LEGACY_SYNC_NOTIFY to an address such as mailtos://user:password@host/?to=you@example.com"
        " (docs/notifications.md)",
    )
